"""Plastic networks: their weights are state, and the rule that changes them is what is meta-learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from maml_rl.policies.heads import NeuronHead
from maml_rl.policies.learning_rules.forward import run_forward
from maml_rl.policies.learning_rules.rule import NUM_SIGNALS, Activity, LearningRule
from maml_rl.policies.params import Params
from maml_rl.policies.policy import Interface, Policy
from maml_rl.settings import Settings
from maml_rl.settings.base import Width

_HORIZONS = (2.0, 20.0, 200.0)
"""Steps over which the means of reward reach back."""
_SMALLEST_SCALE = 1e-3
_LARGEST_SIGNAL = 5.0


class PlasticOptions(Settings):
    """Options of policy ``plastic``."""

    plastic_rule: Literal["message-passing", "synapse-gru", "hebbian"] = Field(
        default="synapse-gru",
        description=(
            "Rule that changes the weights: messages that run back through the network, a recurrent unit in every "
            "synapse, or Hebbian learning with coefficients of each synapse."
        ),
    )
    plastic_state_size: Width = Field(default=4, description="Numbers in the state of a synapse or neuron.")
    plastic_units: Width = Field(default=8, description="Hidden units of the networks of rule message-passing.")
    plastic_rate: float = Field(default=0.03, gt=0, description="Order of a weight's largest change in a step.")
    plastic_weight_limit: float = Field(default=3.0, gt=0, description="Size that no weight exceeds.")
    plastic_normalise: bool = Field(
        default=True, description="Whether inputs are divided by their root mean square in the life so far."
    )
    plastic_normalise_reward: bool = Field(
        default=True,
        description="Whether reward less its running means is divided by the usual size of the difference.",
    )
    plastic_baseline: Literal["fast", "middle", "slow"] = Field(
        default="fast",
        description="Running mean of reward, over 2, 20 or 200 steps, that the rule begins with as its baseline.",
    )
    plastic_trace: float | None = Field(
        default=None,
        gt=1,
        description="Steps over which traces of input times noise reach back in the rule that evolution begins with; "
        "null: 2.6 (synapse-gru), 1.6 (message-passing).",
    )
    plastic_hidden_noise: bool = Field(
        default=True, description="Whether chance moves hidden neurons as it moves actions: they are stochastic units."
    )
    plastic_moves_levels: bool = Field(
        default=True, description="Synapse-gru: whether noise levels change within a life; message-passing: they do."
    )
    plastic_write_action: bool = Field(
        default=True, description="Whether the action taken is written into the output neurons before the rule acts."
    )
    plastic_frozen: bool = Field(
        default=False, description="Whether weights stay as they were at birth: a control, for test.py."
    )
    plastic_broadcast: bool = Field(default=True, description="Message-passing: whether reward reaches all neurons.")
    plastic_centred: bool = Field(
        default=True, description="Message-passing: whether reward comes with itself less its running means."
    )
    plastic_summed: bool = Field(
        default=True, description="Message-passing: whether messages are summed by a learned factor; False: their mean."
    )
    plastic_eligibility: bool = Field(
        default=True, description="Message-passing: whether synapses keep a trace of input times noise."
    )
    plastic_separate_neurons: bool = Field(
        default=False, description="Message-passing: whether reward enters at a neuron beside those of the actions."
    )


class PlasticState(NamedTuple):
    """State of lives: tensors that lead with (..., B).

    Attributes
    ----------
    rule
        The rule's, with the weights.
    activity
        Of the last step.
    means
        Running means of reward (..., 3), and of the size of its deviations from them (..., 3): (..., 6).
    squares
        Running mean squares of the observation (..., O).
    age
        Steps lived (...).
    key
        Of the hidden neurons' noise (...) int64.
    """

    rule: Any
    activity: Activity
    means: Tensor
    squares: Tensor
    age: Tensor
    key: Tensor


class PlasticPolicy(Policy):
    """A feed-forward network of stochastic units whose weights a `LearningRule` changes after every step.

    It is born with normal weights of standard deviation 1 / sqrt(inputs), drawn for each life. The observation is that
    of a meta-episode: the environment's own, previous action, previous reward, previous done. When it arrives the rule
    first sees what the action before was worth; then the network acts with its new weights. The actions' noise is read
    back from the action taken, and that of hidden neurons is a function of a key that a life is born with, so that
    `unroll` meets again what `step` met.

    Parameters
    ----------
    interface
        See `Policy`; no encoder.
    sizes
        Units of the network from its inputs to its outputs.
    rule
        Made for a network of these sizes.
    num_observed
        Length O of the environment's own observation.
    options
        See `PlasticOptions`.
    """

    has_memory = True

    def __init__(
        self,
        interface: Interface,
        sizes: Sequence[int],
        rule: LearningRule,
        *,
        num_observed: int,
        options: PlasticOptions,
    ) -> None:
        num_hidden = sum(sizes[1:-1])
        num_features = 2 * interface.head.output_size + (num_hidden if interface.with_value else 0)
        super().__init__(interface, {"rule": rule}, num_features)
        self.rule, self.options = rule, options
        self.num_observed, self.num_actions = num_observed, self.output_size
        self.discrete = isinstance(self.head, NeuronHead) and self.head.discrete
        self.sizes = tuple(sizes)

    def initialise(self, rng: np.random.Generator) -> None:
        """See `Policy.initialise`."""
        super().initialise(rng)
        self.rule.initialise(rng)

    def draw_initial_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """See `Policy.draw_initial_noise`: weights at birth, and a key of 24 bits."""
        count = sum(math.prod(size) for size in self.rule.shapes)
        key = rng.integers(2**24, size=(*shape, 1)).astype(np.float64)
        return np.concatenate([rng.standard_normal((*shape, count)), key], axis=-1)

    def initial_state(self, params: Params, batch_shape: tuple[int, ...], noise: Tensor | None = None) -> PlasticState:
        """See `Policy.initial_state`; without noise weights begin at 0."""
        some = next(iter(params.values()))
        count = sum(math.prod(size) for size in self.rule.shapes)
        noise = some.new_zeros((*batch_shape, count + 1)) if noise is None else noise
        pieces = noise[..., :-1].split([math.prod(size) for size in self.rule.shapes], -1)
        weights = [
            piece.reshape(*batch_shape, *size) / math.sqrt(size[1])
            for piece, size in zip(pieces, self.rule.shapes, strict=True)
        ]
        zeros = noise.new_zeros
        outputs = tuple(zeros((*batch_shape, size)) for size in self.sizes[1:])
        inputs = tuple(zeros((*batch_shape, size + 1)) for size in self.sizes[:-1])
        activity = Activity(inputs, outputs, outputs, outputs, zeros((*batch_shape, NUM_SIGNALS)))
        return PlasticState(
            self.rule.initial_state(params, weights),
            activity,
            zeros((*batch_shape, 2 * len(_HORIZONS))),
            zeros((*batch_shape, self.num_observed)),
            zeros(batch_shape),
            noise[..., -1].long(),
        )

    def remembered(self, state: PlasticState) -> Tensor:
        """See `Policy.remembered`: the weights."""
        return torch.cat([weight.flatten(-2) for weight in self.rule.weights(state.rule)], -1)

    def advance(self, params: Params, inputs: Tensor, state: PlasticState) -> tuple[Tensor, PlasticState]:
        """See `Policy.advance`: features are outputs, logarithms of their noise, and hidden units for values."""
        observed, actions, told = inputs[..., : self.num_observed + self.num_actions + 2].split(
            [self.num_observed, self.num_actions, 2], -1
        )
        age = state.age + 1
        signals, means = self._signals(told, age, state.means)
        rule = state.rule
        if not self.options.plastic_frozen:
            rule = self.rule.update(params, self._judged(state.activity, actions, signals), rule)
        squares = state.squares + (observed.square() - state.squares) / age[..., None]
        if self.options.plastic_normalise:
            observed = observed * torch.rsqrt(squares + _SMALLEST_SCALE**2)
        weights, levels = self.rule.weights(rule), self.rule.levels(params, rule)
        noisy = self.options.plastic_hidden_noise
        activity = run_forward(weights, levels, observed, signals, age=age, key=state.key, noisy=noisy)
        outputs = activity.drives[-1][..., : self.num_actions]
        features = [outputs, levels[-1].log().expand_as(activity.drives[-1])[..., : self.num_actions]]
        if self._modules.get("value") is not None:
            features += activity.outputs[:-1]
        return torch.cat(features, -1), PlasticState(rule, activity, means, squares, age, state.key)

    def _signals(self, told: Tensor, age: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """Signals (..., 5) of reward and done (..., 2), and the means (..., 6) that `PlasticState` keeps."""
        reward, done = told.split(1, -1)
        means, sizes = before.split(len(_HORIZONS), -1)
        rest = reward - means
        fractions = torch.maximum(1.0 / reward.new_tensor((*_HORIZONS,)), 1.0 / age[..., None])
        means = means + fractions * rest
        sizes = sizes + (1.0 / age[..., None]).clamp(min=1.0 / _HORIZONS[-1]) * (rest.abs() - sizes)
        if self.options.plastic_normalise_reward:
            rest = rest / (sizes + _SMALLEST_SCALE)
        signals = torch.cat([reward, rest], -1).clamp(-_LARGEST_SIGNAL, _LARGEST_SIGNAL)
        return torch.cat([signals, done], -1), torch.cat([means, sizes], -1)

    def _judged(self, activity: Activity, actions: Tensor, signals: Tensor) -> Activity:
        """The last step's activity with what became known since: the actions' noise, and the signals."""
        outputs = activity.outputs[-1]
        said = outputs[..., : self.num_actions]
        expected = torch.softmax(said, -1) if self.discrete else said
        rest = outputs[..., self.num_actions :]
        noise = torch.cat([actions - expected, torch.zeros_like(rest)], -1)
        written = torch.cat([actions, rest], -1) if self.options.plastic_write_action else outputs
        return activity._replace(
            outputs=(*activity.outputs[:-1], written), noise=(*activity.noise[:-1], noise), signals=signals
        )
