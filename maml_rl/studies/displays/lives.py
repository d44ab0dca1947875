"""Learning within lives: returns and measures over the parts of a life, with their controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import matplotlib.figure
import numpy as np

from maml_rl.analysis.axes import tidy
from maml_rl.analysis.intervals import Interval, mean_interval
from maml_rl.studies.displays.display import Display, seeds_in_words
from maml_rl.studies.study_run import StudyRun, by_name
from maml_rl.studies.tables import two_decimals

_HEAD = [
    "## Over the parts of a life",
    "",
    "New births on new tasks; lives of all seeds together, means with their 95 % intervals over lives: they hold for "
    "these agents, not for others that would be trained. First, last: episode of a life. Gain: the last less the "
    "first of the same life.",
    "",
    "| run | lives on | seeds x lives | of an episode | first | last | gain |",
    "|---|---|---|---|---|---|---|",
]


class LivesDisplay(Display):
    """Returns and the family's measures, from the first to the last episode of a life."""

    figure_name = "lives"
    caption = "learning within lives"
    trials_read = frozenset()

    def table(self, runs: Sequence[StudyRun]) -> list[str]:
        """Rows for every run, test set and measure; nothing before there are evaluations."""
        rows = []
        for name, seeds in by_name(runs).items():
            for test_set, config in seeds[0].configs.items():
                if self.applies(config):
                    rows += [_row(name, test_set, *part) for part in _parts(seeds, test_set)]
        return [*_HEAD, *rows] if rows else []

    def figure(self, runs: Sequence[StudyRun]) -> matplotlib.figure.Figure | None:
        """The first measure, or the return, against the episode of a life, with a line for each test set."""
        lines = []
        for test_set in runs[0].configs:
            parts = list(_parts(runs, test_set))
            if parts:
                lines.append(("as trained" if test_set is None else test_set, *parts[-1]))
        if not lines:
            return None
        figure = matplotlib.figure.Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for label, measure, _, values in lines:
            intervals = [mean_interval(row) for row in values]
            episodes = np.arange(1, len(values) + 1)
            (line,) = axes.plot(episodes, [x.mean for x in intervals], marker="o", label=label)
            low, high = [float(x.low) for x in intervals], [float(x.high) for x in intervals]
            axes.fill_between(episodes, low, high, color=line.get_color(), alpha=0.2)
            axes.set_ylabel(f"{measure} (band: 95 % interval over lives)")
        axes.set_xticks(range(1, len(lines[0][-1]) + 1))
        axes.set_xlabel(f"episode of a life; {seeds_in_words(len(runs))}")
        axes.legend(fontsize="small")
        tidy(axes)
        return figure


def _parts(seeds: Sequence[StudyRun], test_set: str | None) -> Iterator[tuple[str, int, np.ndarray]]:
    """Name, number of seeds and values (E, N) of the return and each measure, of the lives of all seeds."""
    found = [results for run in seeds if (results := run.results(test_set)) is not None]
    if not found:
        return
    names = [name for name in found[0] if name.startswith("measure_")]
    for name in ("returns", *names):
        values = np.concatenate([part[name].mean(axis=-1, dtype=np.float64) for part in found], axis=1)
        yield name.removeprefix("measure_").removesuffix("s" if name == "returns" else ""), len(found), values


def _row(run: str, test_set: str | None, measure: str, num_seeds: int, values: np.ndarray) -> str:
    intervals: list[Interval] = [mean_interval(part) for part in (values[0], values[-1], values[-1] - values[0])]
    columns = [
        run,
        "new tasks" if test_set is None else test_set,
        f"{num_seeds} x {values.shape[1] // num_seeds}",
        measure,
        *(two_decimals(interval) for interval in intervals),
    ]
    return f"| {' | '.join(columns)} |"
