"""Workers (one class per family) and backends (which know nothing of families)."""

from maml_rl.samplers.backend import Backend, WorkerError, WorkerSpec
from maml_rl.samplers.maml_worker import MAMLWorker, MAMLWorkerSpec
from maml_rl.samplers.multiprocess import MultiprocessBackend
from maml_rl.samplers.rl2_worker import RL2WorkerSpec
from maml_rl.samplers.serial import SerialBackend


def start_workers(spec: WorkerSpec, num_workers: int, *, timeout_seconds: float = 60.0) -> Backend:
    """Return the backend for `num_workers`: serial for one, local processes for more."""
    if num_workers == 1:
        return SerialBackend(spec)
    return MultiprocessBackend(spec, num_workers, timeout_seconds=timeout_seconds)


__all__ = [
    "Backend",
    "MAMLWorker",
    "MAMLWorkerSpec",
    "MultiprocessBackend",
    "RL2WorkerSpec",
    "SerialBackend",
    "WorkerError",
    "WorkerSpec",
    "start_workers",
]
