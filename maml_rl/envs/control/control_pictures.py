"""Pictures of poles, pendulums and a point that looks for food."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

_SIZE = 240  # pixels
_SUPERSAMPLING = 2  # drawn larger, then reduced: smooth lines
_BACKGROUND, _GRID, _AXIS, _BODY = "#ffffff", "#e4e4e4", "#b0b0b0", "#333333"
_ARM, _POINT, _GOAL, _FOOD, _POISON = "#56b4e9", "#0072b2", "#d55e00", "#009e73", "#cc79a7"
_CART = (0.5, 0.3)  # width and height, m

Point = tuple[float, float]


class _Canvas:
    """A white square that shows [-half_width, half_width]^2, with the y axis upwards."""

    def __init__(self, half_width: float) -> None:
        self._size = _SIZE * _SUPERSAMPLING
        self.scale = self._size / (2.0 * half_width)
        self._picture = Image.new("RGB", (self._size, self._size), _BACKGROUND)
        self._draw = ImageDraw.Draw(self._picture)

    def line(self, points: Sequence[Point], colour: str, width: float) -> None:
        """A line of this width in pixels of the picture, round at its ends."""
        placed = [self._place(point) for point in points]
        self._draw.line(placed, fill=colour, width=round(width * _SUPERSAMPLING), joint="curve")
        for point in placed if width > 2 else ():
            self._draw.circle(point, width * _SUPERSAMPLING / 2, fill=colour)

    def circle(self, centre: Point, radius: float, fill: str | None = None, outline: str | None = None) -> None:
        """A disk or a ring of this radius in pixels of the picture."""
        own = radius * _SUPERSAMPLING
        self._draw.circle(self._place(centre), own, fill=fill, outline=outline, width=2 * _SUPERSAMPLING)

    def box(self, centre: Point, size: Point, colour: str) -> None:
        """A filled box."""
        (x, y), (width, height) = centre, size
        low, high = self._place((x - width / 2, y - height / 2)), self._place((x + width / 2, y + height / 2))
        self._draw.rectangle((low[0], high[1], high[0], low[1]), fill=colour)

    def array(self) -> np.ndarray:
        """(240, 240, 3) uint8."""
        return np.asarray(self._picture.resize((_SIZE, _SIZE), Image.Resampling.LANCZOS))

    def _place(self, point: Point) -> Point:
        return point[0] * self.scale + self._size / 2, self._size / 2 - point[1] * self.scale


def draw_cart_pole(position: float, angle: float, *, length: float, target: float | None) -> np.ndarray:
    """Return an RGB picture (240, 240, 3) uint8 of a cart, its pole and the place where it shall be.

    Parameters
    ----------
    position, angle
        Of the cart in m, and of the pole in radians from upright, clockwise.
    length
        The pole's whole length in m.
    target
        Place in m; ``None``: there is none.
    """
    canvas = _Canvas(2.6)
    canvas.line([(-2.4, -1.0), (2.4, -1.0)], _AXIS, 2)
    for end in (-2.4, 2.4):
        canvas.line([(end, -1.15), (end, -0.85)], _AXIS, 2)
    if target is not None:
        canvas.line([(target, -1.3), (target, -0.7)], _GOAL, 2)
    top = -1.0 + _CART[1]
    canvas.box((position, -1.0 + _CART[1] / 2), _CART, _BODY)
    canvas.line([(position, top), (position + length * math.sin(angle), top + length * math.cos(angle))], _ARM, 6)
    canvas.circle((position, top), 3, fill=_POINT)
    return canvas.array()


def draw_arms(angles: Sequence[float], lengths: Sequence[float], *, target: float | None = None) -> np.ndarray:
    """Return an RGB picture (240, 240, 3) uint8 of arms, one hung on the other, and of a target on their circle.

    Parameters
    ----------
    angles
        In radians from upright, anticlockwise.
    lengths
        In m; the picture is scaled to their sum.
    target
        Target of the first angle; ``None``: there is none.
    """
    reach = sum(lengths)
    canvas, joints = _Canvas(1.25 * reach), [(0.0, 0.0)]
    canvas.circle((0.0, 0.0), reach * canvas.scale / _SUPERSAMPLING, outline=_GRID)
    for angle, length in zip(angles, lengths, strict=True):
        x, y = joints[-1]
        joints.append((x - length * math.sin(angle), y + length * math.cos(angle)))
    if target is not None:
        canvas.circle((-reach * math.sin(target), reach * math.cos(target)), 8, outline=_GOAL)
    canvas.line(joints, _ARM, 7)
    for joint in joints:
        canvas.circle(joint, 5, fill=_POINT)
    return canvas.array()


def draw_food_world(position: Point, food: Point, *, radius: float, num_eaten: int, is_food: bool) -> np.ndarray:
    """Return an RGB picture (240, 240, 3) uint8 of a point in its box, the food and a dot for each one eaten.

    Parameters
    ----------
    position, food
        Places in [-1, 1]^2.
    radius
        Distance within which food is eaten.
    num_eaten
        Dots below the box, at most 20.
    is_food
        False: it is poison, and shown in another colour.
    """
    canvas, colour = _Canvas(1.2), _FOOD if is_food else _POISON
    canvas.line([(-1, -1), (-1, 1), (1, 1), (1, -1), (-1, -1)], _AXIS, 2)
    canvas.circle(food, radius * canvas.scale / _SUPERSAMPLING, fill=colour)
    canvas.circle(position, 5, fill=_POINT)
    for index in range(min(num_eaten, 20)):
        canvas.circle((-0.95 + 0.1 * index, -1.1), 3, fill=colour)
    return canvas.array()
