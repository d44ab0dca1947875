"""Workers (one class per algorithm) and backends (which know nothing of algorithms)."""

from maml_rl.samplers.backend import Backend, WorkerError, WorkerSpec
from maml_rl.samplers.maml_worker import MAMLWorker, MAMLWorkerSpec
from maml_rl.samplers.multiprocess import MultiprocessBackend
from maml_rl.samplers.plan import BackendChoice, WorkerPlan
from maml_rl.samplers.registry import (
    backend_options,
    check_backend,
    register_backend,
    registered_backends,
    start_workers,
)
from maml_rl.samplers.rl2_worker import RL2WorkerSpec
from maml_rl.samplers.serial import SerialBackend

__all__ = [
    "Backend",
    "BackendChoice",
    "MAMLWorker",
    "MAMLWorkerSpec",
    "MultiprocessBackend",
    "RL2WorkerSpec",
    "SerialBackend",
    "WorkerError",
    "WorkerPlan",
    "WorkerSpec",
    "backend_options",
    "check_backend",
    "register_backend",
    "registered_backends",
    "start_workers",
]
