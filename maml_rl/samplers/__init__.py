"""Workers (one class per algorithm) and backends (which know nothing of algorithms)."""

from maml_rl.samplers.backend import Backend, WorkerError, WorkerSpec
from maml_rl.samplers.maml_worker import MAMLWorker, MAMLWorkerSpec
from maml_rl.samplers.multiprocess import MultiprocessBackend
from maml_rl.samplers.registry import check_backend, register_backend, registered_backends, start_workers
from maml_rl.samplers.rl2_worker import RL2WorkerSpec
from maml_rl.samplers.serial import SerialBackend

__all__ = [
    "Backend",
    "MAMLWorker",
    "MAMLWorkerSpec",
    "MultiprocessBackend",
    "RL2WorkerSpec",
    "SerialBackend",
    "WorkerError",
    "WorkerSpec",
    "check_backend",
    "register_backend",
    "registered_backends",
    "start_workers",
]
