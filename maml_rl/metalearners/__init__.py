"""Learners: own the parameters and the outer step."""

from maml_rl.metalearners.learner import Learner, Report
from maml_rl.metalearners.maml import MAMLLearner
from maml_rl.metalearners.maml_trpo import MAMLTRPO
from maml_rl.metalearners.promp import ProMP
from maml_rl.metalearners.reptile import Reptile
from maml_rl.metalearners.rl2 import RL2, RL2Step
from maml_rl.metalearners.trpo import conjugate_gradient, trust_region_step

__all__ = [
    "MAMLTRPO",
    "RL2",
    "Learner",
    "MAMLLearner",
    "ProMP",
    "RL2Step",
    "Report",
    "Reptile",
    "conjugate_gradient",
    "trust_region_step",
]
