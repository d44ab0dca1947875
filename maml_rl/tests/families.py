"""Task families that tests go over."""

from __future__ import annotations

from typing import Any

import pytest

from maml_rl.envs import registered_meta_envs

_ALIKE = {"ML1": ("ML1-push-v0",), "ML45": ()}
"""Beginnings of names of many families that one class makes, and those of them that the default suite tests."""


def families() -> list[Any]:
    """Ids of all registered families as parameters of a test, most of those that are alike marked as slow."""
    return [
        pytest.param(name, marks=[pytest.mark.slow] if _is_one_of_many(name) else []) for name in registered_meta_envs()
    ]


def _is_one_of_many(name: str) -> bool:
    return any(name.startswith(beginning) and name not in tested for beginning, tested in _ALIKE.items())
