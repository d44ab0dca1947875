"""Learners: own the parameters and the outer step."""

from maml_rl.metalearners.maml_trpo import MAMLTRPO, IterationReport
from maml_rl.metalearners.rl2 import RL2, RL2IterationReport, RL2Settings
from maml_rl.metalearners.trpo import TrustRegion, conjugate_gradient, trust_region_step

__all__ = [
    "MAMLTRPO",
    "RL2",
    "IterationReport",
    "RL2IterationReport",
    "RL2Settings",
    "TrustRegion",
    "conjugate_gradient",
    "trust_region_step",
]
