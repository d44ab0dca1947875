"""Policies: pure functions of (parameters, observations, state)."""

from maml_rl.policies.categorical_mlp import CategoricalMLPPolicy
from maml_rl.policies.distributions import Categorical, Distribution, Normal
from maml_rl.policies.normal_mlp import NormalMLPPolicy
from maml_rl.policies.params import Params
from maml_rl.policies.policy import Interface, Policy
from maml_rl.policies.registry import make_policy, policy_kind, policy_kinds, register_policy, registered_policies
from maml_rl.policies.spec import DTYPES, PolicySpec

__all__ = [
    "DTYPES",
    "Categorical",
    "CategoricalMLPPolicy",
    "Distribution",
    "Interface",
    "Normal",
    "NormalMLPPolicy",
    "Params",
    "Policy",
    "PolicySpec",
    "make_policy",
    "policy_kind",
    "policy_kinds",
    "register_policy",
    "registered_policies",
]
