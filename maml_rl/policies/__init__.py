"""Policies: pure functions of (parameters, observations, state)."""

from maml_rl.policies.categorical_mlp import CategoricalMLPPolicy
from maml_rl.policies.distributions import Categorical, Distribution, Normal
from maml_rl.policies.normal_mlp import NormalMLPPolicy
from maml_rl.policies.params import Params
from maml_rl.policies.policy import Policy
from maml_rl.policies.registry import DTYPES, PolicySpec, make_policy, registered_policies

__all__ = [
    "DTYPES",
    "Categorical",
    "CategoricalMLPPolicy",
    "Distribution",
    "Normal",
    "NormalMLPPolicy",
    "Params",
    "Policy",
    "PolicySpec",
    "make_policy",
    "registered_policies",
]
