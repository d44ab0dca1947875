"""The best policy of a run, beside the last one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal

from maml_rl.agent import Agent
from maml_rl.callbacks.callback import Callback, Row, TrainingRun
from maml_rl.callbacks.stopping import check_metric
from maml_rl.utils.errors import InputError
from maml_rl.utils.files import write_atomically


class KeepBest(Callback):
    """Keep the agent with the best value of a metric; of equal ones the first.

    A run with a folder has it in ``best/``, which `maml_rl.load_agent` and ``test.py`` read like a run folder:
    ``config.json``, ``policy.th`` and ``best.json`` with metric, value and iteration. The best of many noisy values is
    better than the policy behind it: evaluate it anew, on tasks that had no part in the choice. Of agents that are
    trained together the first is kept.

    Parameters
    ----------
    metric
        Column of ``metrics.csv``, or a number that an earlier callback adds, such as ``evaluated_return_after``.
    mode
        Whether large values are good, ``"max"``, or small ones, ``"min"``.

    Attributes
    ----------
    agent, value, iteration
        The best so far; ``None``: there was none since the start, or it stands in the folder alone.
    """

    def __init__(self, metric: str = "return_after", *, mode: Literal["max", "min"] = "max") -> None:
        if mode not in ("max", "min"):
            raise InputError(f"KeepBest: mode: got {mode!r}, expected 'max' or 'min'")
        self.metric, self.mode = metric, mode
        self.agent: Agent | None = None
        self.value: float | None = None
        self.iteration: int | None = None
        self._folder: Path | None = None

    def on_start(self, run: TrainingRun) -> None:
        """See `Callback.on_start`; catches up on an iteration that an interrupted run could not look at."""
        check_metric("KeepBest", self.metric, run.columns)
        self._folder = None if run.folder is None else run.folder / "best"
        if run.iteration and self._folder is not None:
            self._read(self._folder / "best.json")
        if self.metric in run.last_row:
            self.on_iteration(run.last_row, run.agent)

    def on_iteration(self, row: Row, agent: Agent) -> None:
        """See `Callback.on_iteration`."""
        value = row.get(self.metric)
        if value is None or math.isnan(value):
            return
        if self.value is not None and (value <= self.value if self.mode == "max" else value >= self.value):
            return
        self.agent, self.value, self.iteration = agent, float(value), int(row["iteration"])
        if self._folder is not None:
            agent.save(self._folder)
            best = {"metric": self.metric, "mode": self.mode, "value": self.value, "iteration": self.iteration}
            text = json.dumps(best) + "\n"
            write_atomically(self._folder / "best.json", lambda file: file.write_text(text, encoding="utf-8"))

    def _read(self, path: Path) -> None:
        if not path.exists():
            return
        try:
            best = json.loads(path.read_text(encoding="utf-8"))
            kept, value, iteration = (best["metric"], best["mode"]), float(best["value"]), int(best["iteration"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"KeepBest: cannot read {str(path)!r} ({error}); move it away to go on") from error
        if kept != (self.metric, self.mode):
            raise InputError(
                f"KeepBest: got {self.mode} of {self.metric!r}, but {str(path)!r} has {kept[1]} of {kept[0]!r}; "
                "use the same or move that folder away"
            )
        self.value, self.iteration = value, iteration
