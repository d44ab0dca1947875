"""Meta-reinforcement learning: agents that learn to learn, on the same tasks, measured the same way."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maml_rl.agent import Agent as Agent
    from maml_rl.agent import load_agent as load_agent
    from maml_rl.callbacks import Callback as Callback
    from maml_rl.training import train as train

__version__ = "0.1.0"

_PLACES = {
    "Agent": "maml_rl.agent",
    "load_agent": "maml_rl.agent",
    "Callback": "maml_rl.callbacks",
    "train": "maml_rl.training",
}
"""Modules of what the package exports; they are imported when it is asked for, for torch takes seconds."""

__all__ = ["Agent", "Callback", "__version__", "load_agent", "train"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'maml_rl' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
