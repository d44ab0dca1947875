"""Checks of numbers at the door; an error says in one line: name, got, expected."""

from __future__ import annotations


def check_at_least(least: int, **values: int | None) -> None:
    """Raise `ValueError` if a value, named as the keyword is, is below `least`; ``None`` is not checked.

    >>> check_at_least(1, num_pulls=0)
    Traceback (most recent call last):
    ValueError: num_pulls: got 0, expected at least 1
    """
    for name, value in values.items():
        if value is not None and value < least:
            raise ValueError(f"{name}: got {value}, expected at least {least}")


def check_probabilities(**values: float) -> None:
    """Raise `ValueError` if a value, named as the keyword is, is outside [0, 1]."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name}: got {value}, expected a probability")


def check_low_high(low: float, high: float) -> None:
    """Raise `ValueError` unless ``low <= high``."""
    if not low <= high:
        raise ValueError(f"low: got {low} with high = {high}, expected low <= high")
