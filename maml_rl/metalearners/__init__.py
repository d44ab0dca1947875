"""Learners: own the parameters and the outer step."""

from maml_rl.metalearners.maml_trpo import MAMLTRPO, IterationReport
from maml_rl.metalearners.trpo import TrustRegion, conjugate_gradient, trust_region_step

__all__ = ["MAMLTRPO", "IterationReport", "TrustRegion", "conjugate_gradient", "trust_region_step"]
