"""A picture of a point on its way to a goal."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

_SIZE = 240  # pixels
_SUPERSAMPLING = 3  # drawn larger, then reduced: smooth lines
_BACKGROUND, _GRID, _AXIS = "#ffffff", "#e4e4e4", "#b0b0b0"
_TRAIL, _POINT, _GOAL = "#56b4e9", "#0072b2", "#d55e00"


def draw_navigation(trail: np.ndarray, goal: np.ndarray, *, half_width: float) -> np.ndarray:
    """Return an RGB picture (240, 240, 3) uint8: goal, start at the origin, way so far, present position.

    Parameters
    ----------
    trail
        Positions so far (T, 2), T >= 1, the last one the present.
    goal
        (2,).
    half_width
        The picture shows [-half_width, half_width]^2; the way outside is not seen.
    """
    size = _SIZE * _SUPERSAMPLING
    scale = size / (2.0 * half_width)

    def pixels(points: np.ndarray) -> list[tuple[float, float]]:
        x, y = (np.atleast_2d(points) * (scale, -scale) + size / 2).T  # (T, 2) -> (T,), (T,)
        return list(zip(x.tolist(), y.tolist(), strict=True))

    picture = Image.new("RGB", (size, size), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    for tick in np.arange(-8, 9) * half_width / 4:
        colour = _AXIS if tick == 0 else _GRID
        draw.line(pixels(np.array([[tick, -half_width], [tick, half_width]])), fill=colour, width=_SUPERSAMPLING)
        draw.line(pixels(np.array([[-half_width, tick], [half_width, tick]])), fill=colour, width=_SUPERSAMPLING)
    draw.circle(pixels(goal)[0], 6 * _SUPERSAMPLING, outline=_GOAL, width=2 * _SUPERSAMPLING)
    if len(trail) > 1:
        draw.line(pixels(trail), fill=_TRAIL, width=2 * _SUPERSAMPLING, joint="curve")
    draw.circle(pixels(trail[-1])[0], 4 * _SUPERSAMPLING, fill=_POINT)
    return np.asarray(picture.resize((_SIZE, _SIZE), Image.Resampling.LANCZOS))
