"""Training from Python: a configuration and callbacks in, an agent out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maml_rl import experiment
from maml_rl.agent import Agent
from maml_rl.algorithms import Algorithm, make_algorithm
from maml_rl.callbacks import Callback
from maml_rl.config import Config, load_config
from maml_rl.config_sections import with_current_names
from maml_rl.policies import DTYPES
from maml_rl.run_folder import RunFolder
from maml_rl.samplers import BackendChoice
from maml_rl.utils.config_files import to_kebab
from maml_rl.utils.errors import InputError
from maml_rl.utils.graphics import choose_gl
from maml_rl.utils.platforms import check_platform


def train(
    config: str | Path | Mapping[str, Any] | Config | None = None,
    callbacks: Sequence[Callback] = (),
    output_folder: str | Path | RunFolder | None = None,
    *,
    resume: bool = False,
    num_workers: int | None = 1,
    backend: BackendChoice | str | None = None,
    dtype: str | None = None,
    device: str = "cpu",
) -> Agent:
    """Meta-train an agent; what ``train.py`` does.

    Nothing is printed: progress is logged by the logger ``maml_rl``, and `maml_rl.callbacks.Progress` is among the
    callbacks. The agent is the one at the end, `maml_rl.callbacks.KeepBest` keeps the best.

    Parameters
    ----------
    config
        Path of a configuration (.yaml or .json), the name of one that comes with the package, a mapping of its keys
        (``{"env-name": "Bandit-K5-v0"}``), or a `maml_rl.config.Config`, which `maml_rl.config.load_config` reads with
        overrides and modules from outside; ``None``: that of the run to be resumed.
    callbacks
        Called in this order after each iteration; see `maml_rl.callbacks.Callback`.
    output_folder
        Run folder; ``None``: nothing is kept. As ``RunFolder(path, json_lines=True)`` with ``metrics.jsonl``.
    resume
        Continue the run in `output_folder`; one that has come to its end is loaded.
    num_workers
        Processes that work, >= 1; ``None``: one for each core. More than one start anew from the main module, whose
        work must stand under ``if __name__ == "__main__":``.
    backend
        Where workers run; ``None``: in this process if there is one, else ``"multiprocess"``.
    dtype
        ``"float32"`` or ``"float64"``; ``None``: float32, of a resumed run its own.
    device
        Device that learns, such as ``"cuda"``.

    Returns
    -------
    Agent
        The agent, before adaptation; of several that are trained together the first.

    Raises
    ------
    InputError
        In one line, for whatever is wrong with an argument, the configuration or the folder.
    TrainingError, WorkerError
        If the run cannot go on; what is finished is saved.
    """
    check_platform()
    choose_gl()
    if num_workers is not None and num_workers < 1:
        raise InputError(f"num_workers: got {num_workers}, expected at least 1")
    folder = RunFolder(output_folder) if isinstance(output_folder, str | Path) else output_folder
    if resume and folder is None:
        raise InputError("resume: got no output_folder, expected the folder of the run to continue")
    resumed = folder if resume else None
    algorithm = algorithm_of_run(_config(config, resumed), resumed, dtype=dtype, device=device)
    parameters = experiment.train(
        algorithm,
        num_workers=num_workers,
        backend=backend or ("serial" if num_workers == 1 else "multiprocess"),
        folder=folder,
        resume=resume,
        callbacks=callbacks,
    )
    return experiment.agent_at(algorithm, parameters)


def algorithm_of_run(
    config: Config, resumed: RunFolder | None, *, dtype: str | None = None, device: str = "cpu"
) -> Algorithm:
    """The algorithm of a run, of a resumed one in its own float type unless `dtype` names another."""
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype: got {dtype!r}, expected one of {', '.join(DTYPES)}")
    recorded = "float32" if resumed is None else resumed.dtype()
    if recorded not in DTYPES:
        recorded = "float32"  # a damaged checkpoint, which is refused when it is read
    return make_algorithm(config, device=device, dtype=dtype or recorded)


def _config(config: str | Path | Mapping[str, Any] | Config | None, resumed: RunFolder | None) -> Config:
    if isinstance(config, Config):
        return config
    if isinstance(config, Mapping):
        return Config.from_mapping(
            with_current_names({to_kebab(str(key)): value for key, value in config.items()}), "config"
        )
    if config is not None:
        return load_config(config)
    if resumed is None:
        raise InputError("config: got None, expected a path, a name, a mapping, or a run to resume")
    resumed.check_there()
    return load_config(resumed.config_path, quiet=True)
