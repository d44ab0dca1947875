"""Learners: own the parameters and the outer step."""

from maml_rl.metalearners.learner import Learner, Report
from maml_rl.metalearners.maml_trpo import MAMLTRPO
from maml_rl.metalearners.rl2 import RL2, RL2Step
from maml_rl.metalearners.trpo import conjugate_gradient, trust_region_step

__all__ = ["MAMLTRPO", "RL2", "Learner", "RL2Step", "Report", "conjugate_gradient", "trust_region_step"]
