"""Curves in programs that show the experiments of many runs: TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

from maml_rl.callbacks.callback import Row, RowCallback, TrainingRun
from maml_rl.utils.errors import InputError
from maml_rl.utils.event_log import EventLog
from maml_rl.utils.files import write_atomically
from maml_rl.utils.log import LOGGER

_NOT_SCALARS = ("iteration", "env_steps")


class TensorBoard(RowCallback):
    """Event files of TensorBoard; a run with a folder has them in it without being asked.

    A file that cannot be written costs one line, and the run goes on.

    Parameters
    ----------
    folder
        Where the files go; ``None``: the run's folder.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._folder = folder
        self._closing = ExitStack()
        self._events: EventLog | None = None

    def on_start(self, run: TrainingRun) -> None:
        """See `Callback.on_start`."""
        folder = run.folder if self._folder is None else Path(self._folder)
        if folder is None:
            raise InputError("TensorBoard: got no folder, expected that of its files or an output folder of the run")
        log = EventLog(folder, first_step=run.iteration, warn=LOGGER.warning)
        self._events = self._closing.enter_context(log)

    def on_row(self, row: Row) -> None:
        """See `Callback.on_iteration`."""
        if self._events is not None:
            scalars = {name: value for name, value in row.items() if name not in _NOT_SCALARS}
            self._events.record(row["iteration"], scalars)

    def on_end(self) -> None:
        """See `Callback.on_end`."""
        self._closing.close()
        self._events = None


class WandB(RowCallback):
    """A run of Weights & Biases (needs wandb) with the configuration and the numbers of each iteration.

    Its id stands in ``wandb-id.txt`` of the run's folder: when that is resumed, so is this.

    Parameters
    ----------
    options
        Arguments of ``wandb.init``, such as ``project="cheetahs"`` or ``mode="offline"``.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._run: Any = None

    def on_start(self, run: TrainingRun) -> None:
        """See `Callback.on_start`."""
        wandb = _imported("wandb", "WandB")
        options = {"config": run.config.to_json_dict(), **self._options}
        recorded = _recorded_id(run, "wandb-id.txt")
        if recorded is not None:
            options = {"id": recorded, "resume": "allow", **options}
        self._run = wandb.init(**options)
        _record_id(run, "wandb-id.txt", self._run.id)

    def on_row(self, row: Row) -> None:
        """See `Callback.on_iteration`."""
        self._run.log(dict(row), step=row["iteration"])

    def on_end(self) -> None:
        """See `Callback.on_end`."""
        self._run.finish()


class MLflow(RowCallback):
    """A run of MLflow (needs mlflow) with the configuration as parameters and the numbers of each iteration.

    Its id stands in ``mlflow-id.txt`` of the run's folder: when that is resumed, so is this.

    Parameters
    ----------
    experiment
        Name of the experiment; ``None``: the one that is set in MLflow.
    options
        Arguments of ``mlflow.start_run``, such as ``run_name="first"``.
    """

    def __init__(self, experiment: str | None = None, **options: Any) -> None:
        self._experiment = experiment
        self._options = options
        self._mlflow: Any = None

    def on_start(self, run: TrainingRun) -> None:
        """See `Callback.on_start`."""
        mlflow: Any = _imported("mlflow", "MLflow")
        self._mlflow = mlflow
        if self._experiment is not None:
            mlflow.set_experiment(self._experiment)
        recorded = _recorded_id(run, "mlflow-id.txt")
        options = self._options if recorded is None else {"run_id": recorded, **self._options}
        started = mlflow.start_run(**options)
        _record_id(run, "mlflow-id.txt", started.info.run_id)
        if recorded is None:
            mlflow.log_params(_flat(run.config.to_json_dict()))

    def on_row(self, row: Row) -> None:
        """See `Callback.on_iteration`."""
        values = {name: float(value) for name, value in row.items() if name != "iteration"}
        self._mlflow.log_metrics(values, step=row["iteration"])

    def on_end(self) -> None:
        """See `Callback.on_end`."""
        self._mlflow.end_run()


def _imported(package: str, name: str) -> ModuleType:
    """An optional package.

    Raises
    ------
    InputError
        With the cure, for the callback of this name.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise InputError(f"{name}: needs {package}: pip install {package}") from None


def _recorded_id(run: TrainingRun, name: str) -> str | None:
    """Id that an earlier part of a run has in the program; ``None``: there was none."""
    if run.folder is None or run.iteration == 0 or not (run.folder / name).exists():
        return None
    return (run.folder / name).read_text(encoding="utf-8").strip()


def _record_id(run: TrainingRun, name: str, value: str) -> None:
    if run.folder is not None:
        write_atomically(run.folder / name, lambda file: file.write_text(f"{value}\n", encoding="utf-8"))


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of mappings under names with a dot, as ``env-kwargs.low``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": entry for key, entry in value.items()}
        else:
            flat[name] = value
    return flat
