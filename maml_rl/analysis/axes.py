"""Colours and common elements of figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEFORE_COLOUR = REGULAR_COLOUR = "#7f7f7f"
AFTER_COLOUR = "#0072b2"  # readable with every common colour blindness (Okabe and Ito 2008)
COLOURS = (AFTER_COLOUR, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#332288")
"""Colours of runs beside each other, six of them from the same palette."""
NOTE_COLOUR = "#555555"
"""Of explanations and reference lines."""


def write_note(ax: Axes, text: str) -> None:
    """Write an explanation into the lower right corner."""
    ax.text(0.98, 0.02, text, transform=ax.transAxes, ha="right", va="bottom", fontsize="small", color=NOTE_COLOUR)


def tidy(ax: Axes) -> None:
    """Remove the frame's upper and right side, add a grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3)
