"""Screens of a console, in grey and averaged down to small images, by whole numbers: the same on every processor."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from maml_rl.utils.kernels import compiled_exactly

if TYPE_CHECKING:
    from ale_py import ALEInterface

_UNKNOWN = 256
"""Stands for the grey of a colour that was not seen yet."""


class GreyReader:
    """Reads screens as `ALEInterface.getScreenGrayscale` does, by the grey it has seen for each colour of one game.

    ale-py looks up every pixel, which takes a fifth of the time of a frame; here lines equal to the one above are
    copied.

    Parameters
    ----------
    height, width
        Of a screen; the width is a multiple of 8.
    """

    def __init__(self, height: int, width: int) -> None:
        self._colours = np.zeros((height, width), np.uint8)
        self._eights = self._colours.view(np.uint64)
        self._grey_of = np.full(256, _UNKNOWN, np.uint16)

    def __call__(self, emulator: ALEInterface, screen: np.ndarray) -> None:
        """Write the latest frame of an emulator into `screen` (height, width), bytes; all have the same game."""
        emulator.getScreen(self._colours)
        if not _look_up(self._colours, self._eights, self._grey_of, screen):
            emulator.getScreenGrayscale(screen)
            self._grey_of[self._colours] = screen


class ImageShrinker:
    """Averages screens over equal stretches of lines and columns, into squares.

    A pixel at the edge of two stretches counts in both, as much as lies in each. The mean is rounded to the nearest
    byte, one in the middle of two to the even one. All sums are whole numbers that float32 holds.

    Parameters
    ----------
    height, width
        Of a screen, which has at most 65,793 pixels.
    size
        Height and width of an image, 1 to the smaller of the two.
    """

    def __init__(self, height: int, width: int, size: int) -> None:
        self._lines = np.zeros(width, np.float32)
        self._vertical, self._horizontal = _stretches(height, size), _stretches(width, size)
        self._whole = np.float32(height * width)

    def __call__(self, screens: np.ndarray, image: np.ndarray) -> None:
        """Write the mean of the lighter of one or two `screens` (K, height, width) into `image` (size, size), bytes."""
        _shrink(screens, *self._vertical, *self._horizontal, self._whole, self._lines, image)


def _stretches(length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last pixel (size, 2) of each of `size` equal stretches, and parts (size, length) of each pixel in it.

    A whole pixel is `size`.
    """
    starts, pixels = np.arange(size)[:, None] * length, np.arange(length) * size
    inside = np.maximum(np.minimum(pixels + size, starts + length) - np.maximum(pixels, starts), 0)
    return np.array([np.flatnonzero(part)[[0, -1]] for part in inside]), inside.astype(np.float32)


@compiled_exactly
def _look_up(colours, eights, grey_of, screen):
    """Greys of colours (H, W), which are `eights` (H, W / 8) too, line by line; False if one is not known."""
    seen = np.uint16(0)
    for row in range(len(colours)):
        differs = np.uint64(row == 0)
        if row > 0:
            for eight in range(eights.shape[1]):
                differs |= eights[row, eight] ^ eights[row - 1, eight]
        if differs:
            for column in range(colours.shape[1]):
                grey = grey_of[colours[row, column]]
                seen |= grey
                screen[row, column] = np.uint8(grey)
        else:
            for column in range(colours.shape[1]):
                screen[row, column] = screen[row - 1, column]
    return seen < _UNKNOWN


@compiled_exactly
def _shrink(screens, ends, parts, column_ends, column_parts, whole, sums, image):
    """Means of the lighter of the screens over the stretches of lines and columns."""
    for row in range(len(ends)):
        sums[:] = 0
        for pixel in range(ends[row, 0], ends[row, 1] + 1):
            weight, first, last = parts[row, pixel], screens[0, pixel], screens[-1, pixel]
            for column in range(sums.size):
                sums[column] += weight * np.float32(max(first[column], last[column]))
        for index in range(len(column_ends)):
            total = np.float32(0.0)
            for column in range(column_ends[index, 0], column_ends[index, 1] + 1):
                total += column_parts[index, column] * sums[column]
            image[row, index] = np.uint8(np.rint(total / whole))
