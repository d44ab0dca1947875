"""Screens of a console averaged down to small images, by whole numbers: the same on every processor."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np
import torch

from maml_rl.utils.kernels import compiled_exactly


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
        self._rows = _overlaps(height, size)
        self._tops = np.array([np.flatnonzero(row)[[0, -1]] + [0, 1] for row in self._rows])
        self._lines, self._sums = np.zeros((size, width), np.float32), np.zeros((size, size), np.float32)
        columns = torch.from_numpy(_overlaps(width, size).T.copy())
        self._factors, self._product = (torch.from_numpy(self._lines), columns), torch.from_numpy(self._sums)
        self._whole = np.float32(height * width)

    def __call__(self, screens: np.ndarray, image: np.ndarray) -> None:
        """Write the mean of the lighter of one or two `screens` (K, height, width) into `image` (size, size), bytes."""
        _add_lines(screens, self._tops, self._rows, self._lines)
        torch.mm(*self._factors, out=self._product)  # numpy's product starts threads, which a worker must not
        np.divide(self._sums, self._whole, out=self._sums)
        image[...] = np.rint(self._sums, out=self._sums)


def _overlaps(length: int, size: int) -> np.ndarray:
    """Parts (size, length) of each pixel in each of `size` equal stretches; a whole pixel is `size`."""
    starts, pixels = np.arange(size)[:, None] * length, np.arange(length) * size
    inside = np.minimum(pixels + size, starts + length) - np.maximum(pixels, starts)
    return np.maximum(inside, 0).astype(np.float32)


@compiled_exactly
def _add_lines(screens, tops, rows, lines):
    """Sums of the lines of each stretch, weighted."""
    for row in range(len(rows)):
        line = lines[row]
        line[:] = 0
        for pixel in range(tops[row, 0], tops[row, 1]):
            weight, first, last = rows[row, pixel], screens[0, pixel], screens[-1, pixel]
            for column in range(line.size):
                line[column] += weight * np.float32(max(first[column], last[column]))
