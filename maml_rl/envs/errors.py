"""What can go wrong at the door of an environment, said in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MetaEnvError(Exception):
    """A task family breaks the contract of `maml_rl.envs.meta_env.MetaVectorEnv`."""


class UnknownEnvironmentError(ValueError):
    """No task family is registered under this name."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean '...'?"`` with the nearest known word, or ``""`` when none is near.

    Examples
    --------
    >>> did_you_mean("lenght", ["length", "gravity"])
    "; did you mean 'length'?"
    >>> did_you_mean("zzz", ["length", "gravity"])
    ''
    """
    nearest = difflib.get_close_matches(word, sorted(set(known)), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
