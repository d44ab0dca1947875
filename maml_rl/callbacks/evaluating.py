"""Evaluation of the agent now and then, on tasks that are never those of training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from maml_rl.agent import Agent
from maml_rl.algorithms import Evaluation
from maml_rl.callbacks.callback import Callback, Row, TrainingRun
from maml_rl.evaluation import interval_over_tasks
from maml_rl.utils.errors import InputError
from maml_rl.utils.files import write_atomically
from maml_rl.utils.log import LOGGER

EVALUATED = ("evaluated_return_before", "evaluated_return_after")
"""Mean returns of an evaluation before adaptation and after the configuration's number of steps, in rows."""


class EvaluateEvery(Callback):
    """Evaluate the agent every few iterations, as ``test.py`` does, and give callbacks behind this one its returns.

    Rows of these iterations have ``evaluated_return_before`` and ``evaluated_return_after``. A run with a folder
    keeps all evaluations in ``evaluations.jsonl``: iteration, number of tasks, and the mean return after 0 ... K steps
    of adaptation with its 95% interval over tasks. Of agents that are trained together the first is evaluated.

    Parameters
    ----------
    every
        Iterations from one evaluation to the next, >= 1.
    num_tasks, seed
        Tasks, >= 1, and the seed they are drawn with, >= 0: those of ``test.py --meta-batch-size num_tasks
        --num-batches 1 --seed seed``.
    num_steps
        Steps of adaptation to go, >= 0; ``None``: as many as in training.

    Attributes
    ----------
    latest
        The last evaluation; ``None``: there was none since the start.
    """

    def __init__(self, every: int, *, num_tasks: int = 40, num_steps: int | None = None, seed: int = 1) -> None:
        for name, count in (("every", every), ("num_tasks", num_tasks)):
            if count < 1:
                raise InputError(f"EvaluateEvery: {name}: got {count}, expected at least 1")
        self.every, self.num_tasks, self.num_steps, self.seed = every, num_tasks, num_steps, seed
        self.latest: Evaluation | None = None
        self._path: Path | None = None
        self._lines: list[dict[str, Any]] = []

    def on_start(self, run: TrainingRun) -> None:
        """See `Callback.on_start`; evaluates now what an interrupted run could not."""
        run.columns.extend(EVALUATED)
        self._path = None if run.folder is None else run.folder / "evaluations.jsonl"
        self._lines = [line for line in self._recorded() if line["iteration"] < run.iteration]
        if run.last_row and (run.iteration % self.every == 0):
            if not self._lines or self._lines[-1]["iteration"] != run.iteration - 1:
                self._evaluate(run.iteration - 1, run.agent)
            run.last_row.update(self._numbers())

    def on_iteration(self, row: Row, agent: Agent) -> None:
        """See `Callback.on_iteration`."""
        if (row["iteration"] + 1) % self.every == 0:
            self._evaluate(row["iteration"], agent)
            row.update(self._numbers())
            before, after = (row[name] for name in EVALUATED)
            LOGGER.info(f"evaluated on {self.num_tasks} tasks: before {before:.2f}  after {after:.2f}")

    def _evaluate(self, iteration: int, agent: Agent) -> None:
        self.latest = agent.evaluate(self.num_tasks, num_steps=self.num_steps, seed=self.seed)
        interval = interval_over_tasks(self.latest, range(len(self.latest.returns)))
        line: dict[str, Any] = {
            "iteration": iteration,
            "num_tasks": self.num_tasks,
            "trained": self.latest.trained,
            "mean": interval.mean.tolist(),
        }
        for name in ("low", "high"):  # NaN with a single task, which JSON has not
            line[name] = [x if np.isfinite(x) else None for x in getattr(interval, name).tolist()]
        self._lines.append(line)
        if self._path is not None:
            text = "".join(json.dumps(line) + "\n" for line in self._lines)
            write_atomically(self._path, lambda file: file.write_text(text, encoding="utf-8"))

    def _numbers(self) -> dict[str, float]:
        latest = self._lines[-1]
        return dict(zip(EVALUATED, (latest["mean"][0], latest["mean"][latest["trained"]]), strict=True))

    def _recorded(self) -> list[dict[str, Any]]:
        if self._path is None or not self._path.exists():
            return []
        try:
            lines = [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]
            for line in lines:
                float(line["mean"][line["trained"]]), int(line["iteration"])
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"EvaluateEvery: cannot read {str(self._path)!r} ({error}); move it away to evaluate anew"
            ) from error
        return lines
