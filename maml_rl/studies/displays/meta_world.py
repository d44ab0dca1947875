"""Success on Meta-World: per goal, and as upstream counts it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import matplotlib.figure
import numpy as np

from maml_rl.analysis.axes import tidy
from maml_rl.analysis.intervals import Interval
from maml_rl.analysis.success import success_as_upstream, success_per_goal
from maml_rl.envs.families import META_WORLD_TASKS
from maml_rl.studies.displays.display import Display, seeds_in_words
from maml_rl.studies.study_run import StudyRun, by_name
from maml_rl.studies.tables import two_decimals

_COUNTED = 3
"""Episodes of an evaluation after adaptation that upstream counts."""
_SIDE_BY_SIDE = 20
"""Goals that upstream plays together, of all tasks of a split."""
_HEAD = [
    "## Success",
    "",
    "Fraction of goals reached, each goal for itself; mean over the goals of all seeds with its 95 % interval over "
    "goals (an episode counts from its first step of success). Before: the first episodes with a goal. After: those "
    f"after adaptation; of meta-episodes the last {_COUNTED}. As upstream counts: the first {_COUNTED} episodes of a "
    "task that end, of whatever goals, which overstates success and stands here for comparison with other tables.",
    "",
    "| run | on | task | seeds x goals | before | after | as upstream counts |",
    "|---|---|---|---|---|---|---|",
]


class MetaWorldDisplay(Display):
    """Success before and after adaptation, per task and of all tasks together."""

    figure_name = "success"
    caption = "success by task"
    trials_read = frozenset()

    def table(self, runs: Sequence[StudyRun]) -> list[str]:
        """Rows for every run, test set and task of upstream's; nothing before there are evaluations."""
        rows = []
        for name, seeds in by_name(runs).items():
            for test_set, config in seeds[0].configs.items():
                if self.applies(config):
                    on = "training's split" if test_set is None else test_set
                    rows += [_row(name, on, part) for part in _parts(seeds, test_set)]
        return [*_HEAD, *rows] if rows else []

    def scores(self, run: StudyRun, test_set: str | None = None) -> dict[str, float]:
        """Success after adaptation, and in every meeting with a goal where these are met again."""
        results = run.results(test_set)
        if results is None or "measure_success" not in results or not self.applies(run.configs[test_set]):
            return {}
        found = {"success after adaptation": float(_stages(results)[1].mean())}
        for index, values in enumerate(success_by_meeting(results)):
            found[f"success, meeting {index + 1} with a goal"] = float(values.mean())
        return found

    def figure(self, runs: Sequence[StudyRun]) -> matplotlib.figure.Figure | None:
        """Success of every task before and after adaptation, on the last test set."""
        test_set = list(runs[0].configs)[-1]
        parts = list(_parts(runs, test_set))
        if not parts:
            return None
        figure = matplotlib.figure.Figure(figsize=(6.4, 1.2 + 0.35 * len(parts)), layout="constrained")
        axes = figure.subplots()
        for place, label in ((0, "before"), (1, "after")):
            intervals: list[Interval] = [success_per_goal((part[2], part[3])[place]) for part in parts]
            means = np.array([float(interval.mean) for interval in intervals])
            ends = np.array([[float(x.mean - x.low), float(x.high - x.mean)] for x in intervals]).T
            rows = np.arange(len(parts)) + 0.2 * place - 0.1
            axes.errorbar(means, rows, xerr=np.nan_to_num(ends), fmt="o", label=label)
        axes.set_yticks(range(len(parts)), [part[0] for part in parts])
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel(f"success per goal (bar: 95 % interval over goals); {seeds_in_words(len(runs))}")
        axes.legend(fontsize="small")
        tidy(axes)
        return figure


_Part = tuple[str, int, np.ndarray, np.ndarray, np.ndarray, int]


def _parts(seeds: Sequence[StudyRun], test_set: str | None) -> Iterator[_Part]:
    """Task, seeds, success before and after (N, B), steps after (N, B) and goals side by side; then of all tasks."""
    found = [results for run in seeds if (results := run.results(test_set)) is not None]
    if not found or "measure_success" not in found[0]:
        return
    numbers = np.concatenate([_numbers(part) for part in found])
    before, after, steps = (np.concatenate(parts) for parts in zip(*map(_stages, found), strict=True))
    tasks = np.unique(numbers)
    together = max(1, _SIDE_BY_SIDE // len(tasks))
    for number in tasks:
        own = numbers == number
        yield META_WORLD_TASKS[int(number)], len(found), before[own], after[own], steps[own], together
    if len(tasks) > 1:
        yield "all", len(found), before, after, steps, 0


def success_by_meeting(results: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Success (M,) of all episodes in which a goal is met for the first time in its meta-episode, the second, ...

    `results` are those of an evaluation: ``tasks`` (N, D), whose goals come in an order, and ``measure_success``
    (E, N, B) of E episodes that follow each other. Empty where no goal is met again.
    """
    fields = results["task_fields"].tolist()
    columns = [index for index, name in enumerate(fields) if name.startswith("order[")]
    orders, success = np.asarray(results["tasks"])[:, columns], results["measure_success"]  # (N, E), (E, N, B)
    if len(columns) != len(success) or len(set(orders[0])) in (1, len(columns)):
        return []
    earlier = np.array([(orders[:, :episode] == orders[:, [episode]]).sum(1) for episode in range(len(columns))])
    return [success[earlier == meeting].ravel() for meeting in range(int(earlier.max()) + 1)]


def _numbers(results: Mapping[str, np.ndarray]) -> np.ndarray:
    """Upstream's task (N,) of every task of an evaluation."""
    fields = results["task_fields"].tolist()
    return np.asarray(results["tasks"])[:, fields.index("number[0]")].astype(np.int64)


def _stages(results: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Success before and after adaptation and steps to it after (N, B); episodes of meta-episodes follow each other."""
    success, steps = results["measure_success"], results["measure_steps_to_success"]  # (S, N, B)
    if "rewards" in results or success.shape[-1] == 1:
        last = slice(max(1, len(success) - _COUNTED), None)
        later, until = (part[last].transpose(1, 2, 0).reshape(part.shape[1], -1) for part in (success, steps))
        return success[0], later, until
    return success[0], success[-1], steps[-1]


def _row(run: str, on: str, part: _Part) -> str:
    task, num_seeds, before, after, steps, together = part
    counted = min(_COUNTED, after.shape[1])
    upstream = "-"
    if 0 < together <= len(after):
        upstream = f"{success_as_upstream(after, steps, goals_together=together, num_episodes=counted):.2f}"
    columns = [
        run,
        on,
        task,
        f"{num_seeds} x {len(after) // num_seeds}",
        two_decimals(success_per_goal(before)),
        two_decimals(success_per_goal(after)),
        upstream,
    ]
    return f"| {' | '.join(columns)} |"
