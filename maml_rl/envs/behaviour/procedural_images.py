"""Coloured textures that are functions of a number: as many objects to look at as a family needs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import numpy as np

from maml_rl.utils.random import Purpose, generator

_SUPERSAMPLING = 3
_CACHED = 4096
_NUM_LAYERS = 3
_CONTRAST = 3.0


def object_images(numbers: Iterable[int], size: int) -> np.ndarray:
    """Textures (K, 3, size, size) uint8 of the objects with these K numbers; see `object_image`."""
    return np.stack([object_image(int(number), size) for number in numbers])


@functools.lru_cache(maxsize=_CACHED)
def object_image(number: int, size: int) -> np.ndarray:
    """Texture (3, size, size) uint8 of an object, channels first, read-only.

    A colour and three layers, each a pattern (stripes, a checkerboard, rings or a blob) times a colour of its own, are
    added up and squashed into [0, 255]. It is a function of `number` alone, drawn at three times its size and averaged
    down, so that every size shows the same texture. The latest 4,096 are kept.

    Parameters
    ----------
    number
        Number of the object, >= 0.
    size
        Height and width, >= 1.
    """
    rng = generator(0, Purpose.PICTURES, task=number)
    fine = size * _SUPERSAMPLING
    middle = (np.arange(fine) + 0.5) * 2.0 / fine - 1.0
    x, y = np.meshgrid(middle, middle)  # (S, S) each, from -1 to 1
    picture = np.broadcast_to(0.5 * _colour(rng)[:, None, None], (3, fine, fine))
    for _ in range(_NUM_LAYERS):
        pattern = _PATTERNS[rng.integers(len(_PATTERNS))]
        picture = picture + _colour(rng)[:, None, None] * pattern(x, y, rng)
    shown = 255.0 / (1.0 + np.exp(-_CONTRAST * picture))
    shrunk = shown.reshape(3, size, _SUPERSAMPLING, size, _SUPERSAMPLING).mean((2, 4))
    image = np.rint(shrunk).astype(np.uint8)
    image.flags.writeable = False
    return image


def _colour(rng: np.random.Generator) -> np.ndarray:
    """A direction (3,) in red, green and blue, each alike."""
    numbers = rng.standard_normal(3)
    return np.asarray(numbers / np.linalg.norm(numbers))


def _stripes(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angle, frequency, phase = rng.uniform((0.0, 1.5, 0.0), (np.pi, 5.0, 2.0 * np.pi))
    return np.asarray(np.sin(frequency * (x * np.cos(angle) + y * np.sin(angle)) + phase))


def _checkers(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    across, down, shift_x, shift_y = rng.uniform((1.5, 1.5, 0.0, 0.0), (4.0, 4.0, np.pi, np.pi))
    return np.sign(np.sin(across * x + shift_x) * np.sin(down * y + shift_y))


def _rings(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    centre_x, centre_y, frequency, phase = rng.uniform((-0.7, -0.7, 2.0, 0.0), (0.7, 0.7, 6.0, 2.0 * np.pi))
    return np.asarray(np.sin(frequency * np.hypot(x - centre_x, y - centre_y) + phase))


def _blob(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    centre_x, centre_y, width = rng.uniform((-0.8, -0.8, 0.3), (0.8, 0.8, 0.7))
    return np.asarray(2.0 * np.exp(-0.5 * ((x - centre_x) ** 2 + (y - centre_y) ** 2) / width**2) - 0.5)


_Pattern = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
_PATTERNS: tuple[_Pattern, ...] = (_stripes, _checkers, _rings, _blob)
