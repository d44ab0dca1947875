"""Do what a study asks for and is not done yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from maml_rl.config import ConfigError, load_config
from maml_rl.evaluation import evaluate, load_parameters, save_results
from maml_rl.experiment import draw_up, train
from maml_rl.run_folder import RunFolder
from maml_rl.studies.study import Cell, Study


def run_cell(cell: Cell, study: Study, num_workers: int, show: Callable[[str], None]) -> None:
    """Train what is missing of one run, then evaluate its final policy on new tasks; `show` takes lines of progress."""
    _check_unchanged(cell)
    blueprint = draw_up(cell.config)
    results = cell.folder / "results.npz"
    batch_size = min(study.test_tasks, cell.config.meta_batch_size)
    num_batches = -(-study.test_tasks // batch_size)
    if cell.iterations_done < cell.config.num_batches:
        resume = (cell.folder / "config.json").exists()
        results.unlink(missing_ok=True)  # of a shorter run
        train(blueprint, num_workers=num_workers, folder=RunFolder(cell.folder), resume=resume, show=show)
    if not _holds(results, num_steps=study.test_steps, num_tasks=num_batches * batch_size):
        parameters = load_parameters(blueprint, cell.folder / "policy.th")
        evaluation = evaluate(
            blueprint,
            parameters,
            num_batches=num_batches,
            meta_batch_size=batch_size,
            num_steps=study.test_steps,
            num_workers=num_workers,
            seed=1000 + cell.seed,
        )
        save_results(results, evaluation, range(study.test_steps + 1))


def _check_unchanged(cell: Cell) -> None:
    """Refuse a run whose configuration is not the one the study now asks for."""
    path = cell.folder / "config.json"
    if not path.exists():
        return
    mine, theirs = cell.config.to_json_dict(), load_config(path).to_json_dict()
    for key in sorted(mine.keys() - cell.config.changeable_keys()):
        if mine[key] != theirs[key]:
            raise ConfigError(
                f"{cell.name} seed {cell.seed}: {key} is {mine[key]!r} in the study, but the run in "
                f"{str(cell.folder)!r} has {theirs[key]!r}; rename the run or move its folder away"
            )


def _holds(results: Path, *, num_steps: int, num_tasks: int) -> bool:
    """Whether the evaluation of a run is there and has this size."""
    if not results.exists():
        return False
    with np.load(results) as arrays:
        return bool(arrays["returns"].shape[:2] == (num_steps + 1, num_tasks))
