"""Evaluate the trained policies of zoo/ with the present code and write what they do into their cards.

python -m benchmarks.zoo [NAME ...]
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maml_rl.agent import Agent, load_agent
from maml_rl.analysis import mean_interval
from maml_rl.zoo import zoo

SEED = 11
"""Seed of the evaluation; `maml_rl.evaluation.evaluate` never draws what training drew."""
NUM_TASKS = 100
"""Tasks of an evaluation unless others are asked for."""
HEADING = "## Evaluation by the present code"
_ROW = re.compile(
    r"^\| (?P<what>[^|]+) \| (?P<tasks>\d+) [^|]+ \| (?P<mean>\S+) \[(?P<low>\S+), (?P<high>\S+)\] \|$", re.M
)


class Figure(NamedTuple):
    """Mean return in one stage of adaptation.

    Attributes
    ----------
    stage
        Words for it.
    num_tasks
        Tasks that were drawn.
    mean, low, high
        Mean over what was drawn, and its 95 % interval.
    """

    stage: str
    num_tasks: int
    mean: float
    low: float
    high: float


def measure(agent: Agent, num_tasks: int) -> list[Figure]:
    """Returns of an agent before adaptation and after that of training, on tasks drawn with `SEED`."""
    adaptation = agent.algorithm.adaptation
    evaluation = agent.evaluate(num_tasks, seed=SEED)
    last = evaluation.trained
    stages = {adaptation.before: evaluation.returns[0], adaptation.after: evaluation.returns[last]}
    if evaluation.meta_episodes is not None:
        stages[adaptation.total] = evaluation.returns[: last + 1].sum(axis=0, dtype=np.float64)
    found = []
    for stage, returns in stages.items():  # (N, B) each
        interval = mean_interval(returns.mean(axis=-1, dtype=np.float64))
        found.append(Figure(stage, num_tasks, float(interval.mean), float(interval.low), float(interval.high)))
    return found


def section(name: str, agent: Agent, figures: Sequence[Figure]) -> str:
    """The part of a card that tells these figures."""
    known = agent.algorithm.env.num_distinct_tasks
    of = "new" if known is None else f"draws of all {known}"
    over = "tasks" if known is None else "draws, of the tasks of training, which are all that the family has"
    size = figures[0].num_tasks
    flags = "" if size == NUM_TASKS else f" --num-tasks {size}"
    rows = [f"| {f.stage} | {f.num_tasks} {of} | {f.mean:.4g} [{f.low:.4g}, {f.high:.4g}] |" for f in figures]
    return "\n".join(
        [
            HEADING,
            "",
            f"Mean return in new episodes [95 % interval over {over}]; "
            f"`python -m benchmarks.zoo {name}{flags}`, seed {SEED}.",
            "",
            "| return | tasks | mean |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def figures_of(card: str) -> list[Figure]:
    """What a card tells under `HEADING`; nothing if it has no such part."""
    _, _, told = card.partition(HEADING + "\n")
    told, _, _ = told.partition("\n## ")
    return [
        Figure(row["what"], int(row["tasks"]), float(row["mean"]), float(row["low"]), float(row["high"]))
        for row in _ROW.finditer(told)
    ]


def _write(path: Path, part: str) -> None:
    before, _, rest = path.read_text(encoding="utf-8").partition(HEADING + "\n")
    if rest:
        _, _, caveats = rest.partition("\n## ")
    else:
        before, _, caveats = before.partition("\n## Caveats")
        caveats = "Caveats" + caveats
        before += "\n"
    path.write_text(f"{before}{part}\n## {caveats}", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate and write."""
    parser = argparse.ArgumentParser(description="Evaluate the policies of the zoo with the present code.")
    parser.add_argument("names", nargs="*", help="entries (default: all)")
    parser.add_argument("--num-tasks", type=int, default=NUM_TASKS, help="tasks of each (default: %(default)s)")
    arguments = parser.parse_args(argv)
    folders = zoo()
    for name in arguments.names or folders:
        agent = load_agent(name)
        figures = measure(agent, arguments.num_tasks)
        _write(folders[name] / "card.md", section(name, agent, figures))
        print(name, *figures, sep="\n  ", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
