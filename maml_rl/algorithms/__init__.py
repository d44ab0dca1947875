"""Algorithms: what is meta-learned, and how."""

from maml_rl.algorithms.algorithm import Adaptation, Algorithm, Evaluation, Stage
from maml_rl.algorithms.registry import (
    adaptation_of,
    make_algorithm,
    register_algorithm,
    registered_algorithms,
)

__all__ = [
    "Adaptation",
    "Algorithm",
    "Evaluation",
    "Stage",
    "adaptation_of",
    "make_algorithm",
    "register_algorithm",
    "registered_algorithms",
]
