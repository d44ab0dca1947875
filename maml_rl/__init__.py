"""Meta-reinforcement learning: agents that learn to learn, on the same tasks, measured the same way."""

__version__ = "0.1.0"
