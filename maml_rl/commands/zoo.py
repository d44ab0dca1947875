"""`maml-rl zoo`: trained policies that come with the package."""

from __future__ import annotations

from collections.abc import Sequence

from maml_rl.utils.command_lines import Parser, answer
from maml_rl.utils.log import LOGGER
from maml_rl.zoo import zoo, zoo_card, zoo_entry


def zoo_command(argv: Sequence[str] | None = None, *, prog: str = "maml-rl zoo") -> int:
    """List the policies with task family, network, algorithm, size and a figure, or show the card of one."""
    parser = Parser(prog=prog, description="List trained policies, or show the card of one.")
    parser.add_argument("name", nargs="?", help="the policy whose card is shown")
    arguments = parser.parse_args(argv)
    return answer(lambda: LOGGER.info(_listing() if arguments.name is None else zoo_card(arguments.name).rstrip()))


def _listing() -> str:
    rows = [("name", "task family", "policy", "algorithm", "kB", "figure of its card")]
    for name in zoo():
        entry = zoo_entry(name)
        size = f"{entry.num_bytes / 1000:.0f}"
        rows.append((entry.name, entry.env_name, entry.policy, entry.algorithm, size, entry.figure))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    aligned = [[f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)] + [row[-1]] for row in rows]
    return "\n".join("  ".join(row) for row in aligned)
