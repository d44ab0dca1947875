"""A picture of a scene, of the part of it that is looked at, and of the trials so far."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

_WIDTH, _HEIGHT, _TOP = 240, 180, 16  # pixels
_FRAME, _GAZE, _DARK = "#e69f00", "#f0e442", "#202020"
_COLOURS = {1: "#009e73", -1: "#d55e00"}
_OPEN = "#808080"
_MOST_DOTS = 20


def draw_scene(scene: np.ndarray, *, start: int, outcomes: np.ndarray) -> np.ndarray:
    """Return an RGB picture (180, 240, 3) uint8: the scene, a frame around the retina, a ring at the gaze.

    Dots below are the trials: green after a right choice, red after a wrong one, rings before it.

    Parameters
    ----------
    scene
        (3, S, W) uint8; the retina is S pixels wide.
    start
        First column that the retina sees, 0 to W - S.
    outcomes
        (K,), 1 right, -1 wrong, 0 not yet; of more than 20 the first 20 are drawn.
    """
    size, scene_width = scene.shape[1:]
    scale = _WIDTH / scene_width
    height = round(size * scale)
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), _DARK)
    shown = Image.fromarray(np.ascontiguousarray(scene.transpose(1, 2, 0)))
    picture.paste(shown.resize((_WIDTH, height), Image.Resampling.NEAREST), (0, _TOP))
    draw = ImageDraw.Draw(picture)
    left, right = start * scale, (start + size) * scale - 1
    draw.rectangle((left, _TOP, right, _TOP + height - 1), outline=_FRAME, width=2)
    draw.circle(((left + right) / 2, _TOP + height / 2), 5, outline=_GAZE, width=2)
    for index, outcome in enumerate(outcomes[:_MOST_DOTS].tolist()):
        place = (14 + 11 * index, _TOP + height + 22)
        draw.circle(place, 4, fill=_COLOURS.get(outcome), outline=_COLOURS.get(outcome, _OPEN))
    return np.asarray(picture)
