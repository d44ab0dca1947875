"""A rule in which every synapse is a small recurrent network, the same for all synapses of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from maml_rl.policies.learning_rules.fused import as_arrays, has_kernel
from maml_rl.policies.learning_rules.rule import NUM_BASELINES, NUM_SIGNALS, Activity, LearningRule, product, spread
from maml_rl.policies.params import Params

_NODE = 2 + NUM_SIGNALS + 1  # output, noise, signals, 1
_LOWEST, _HIGHEST = -4.0, 0.7  # of the logarithm of a noise level
_LEVEL = NUM_SIGNALS + 1 + NUM_BASELINES + 1
_CHANGE = 1 + NUM_BASELINES  # outputs of the read-out: at all times, with the reward less each of its means


class SynapseState(NamedTuple):
    """Of a layer's synapses, states (..., I, J + 1, S) and weights (..., I, J + 1)."""

    memory: Tensor
    weight: Tensor


class SynapseGRUState(NamedTuple):
    """Synapses of each layer, and how far logarithms of its neurons' noise levels (..., I) are from those of birth."""

    synapses: tuple[SynapseState, ...]
    louder: tuple[Tensor, ...]


class SynapseGRU(LearningRule):
    """A gated recurrent unit in every synapse, shared by a layer's (after Pedersen et al. 2024, section 3).

    The synapse between neurons j and i has a state m of S numbers and a weight w. After a step it sees the input x_j
    that it carried, output y_i and noise n_i of its neuron, the signals s, and products of them:

        a = A (y_i, n_i, s, 1) + x_j G (y_i, n_i, s, 1) + U (m, w)      for update gate, reset gate and candidate
        m' = z m + (1 - z) tanh(a_candidate),  the reset gate scales U's part of the candidate
        w' = clip(w + rate (1, s_2, s_3, s_4) . V m', -limit, limit)

    so that node perturbation, a trace of x_j n_i times the reward less its mean, is one of the rules it can be. The
    noise level sigma_i of a neuron follows what it sees too, with a policy gradient (Williams 1992, section 6) among
    what it can be:

        log sigma_i' = clip(log sigma_i + rate C (1, s, (n_i^2 / sigma_i^2 - 1) (s_1, ..., s_4)))

    Parameters
    ----------
    sizes
        See `LearningRule`.
    state_size
        S, >= 1.
    rate
        Largest order of a weight's change in a step, > 0.
    limit
        Weights stay in [-limit, limit], > 0.
    baseline
        Which of the reward's running means `initialise` begins with: 0, 1 or 2, the slowest.
    moves_levels
        Whether noise levels change within a life.
    trace
        Steps over which traces reach back in the rule that `initialise` begins with, > 1; ``None``: 2.6.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        state_size: int,
        rate: float,
        limit: float,
        baseline: int = 0,
        moves_levels: bool = True,
        trace: float | None = None,
    ) -> None:
        super().__init__(sizes)
        self.state_size, self.rate, self.limit, self.baseline = state_size, rate, limit, baseline
        self.moves_levels, self.trace = moves_levels, trace
        gates = 3 * state_size
        for index in range(len(self.shapes)):
            self.register_parameter(f"node{index}", nn.Parameter(torch.zeros(_NODE, gates)))
            self.register_parameter(f"product{index}", nn.Parameter(torch.zeros(_NODE, gates)))
            self.register_parameter(f"synapse{index}", nn.Parameter(torch.zeros(state_size + 1, gates)))
            self.register_parameter(f"change{index}", nn.Parameter(torch.zeros(state_size, _CHANGE)))
            if moves_levels:
                self.register_parameter(f"level{index}", nn.Parameter(torch.zeros(_LEVEL, 1)))
        self.log_level = nn.Parameter(torch.zeros(len(self.shapes)))

    def initialise(self, rng: np.random.Generator) -> None:
        """See `LearningRule.initialise`: near node perturbation, with traces of some steps by the update gate."""
        size, own = self.state_size, dict(self.named_parameters())
        with torch.no_grad():
            for value in own.values():
                value.copy_(torch.from_numpy(0.1 * rng.standard_normal(value.shape)))
            self.log_level.fill_(-1.0)
            for index in range(len(self.shapes)):
                if self.moves_levels:
                    own[f"level{index}"].zero_()
                own[f"node{index}"][-1, :size] += 0.5 if self.trace is None else np.log(self.trace - 1.0)
                own[f"product{index}"][1, 2 * size] += 1.0  # the first state follows x_j n_i
                own[f"change{index}"][0, 1 + self.baseline] += 1.0  # which counts with the reward less its mean

    def initial_state(self, params: Params, weights: Sequence[Tensor]) -> SynapseGRUState:
        """See `LearningRule.initial_state`."""
        synapses = tuple(SynapseState(w.new_zeros((*w.shape, self.state_size)), w) for w in weights)
        return SynapseGRUState(synapses, tuple(torch.zeros_like(weight[..., 0]) for weight in weights))

    def weights(self, state: SynapseGRUState) -> tuple[Tensor, ...]:
        """See `LearningRule.weights`."""
        return tuple(layer.weight for layer in state.synapses)

    def levels(self, params: Params, state: SynapseGRUState) -> tuple[Tensor, ...]:
        """See `LearningRule.levels`."""
        born = self._log_levels(params, state)
        return tuple((level + louder).exp() for level, louder in zip(born, state.louder, strict=True))

    def _log_levels(self, params: Params, state: SynapseGRUState) -> tuple[Tensor, ...]:
        """Logarithms of the noise levels of birth, (..., 1) of each layer."""
        levels = spread(params["rule.log_level"], state.louder[0], 1).clamp(_LOWEST, _HIGHEST)
        return levels.split(1, -1)

    def update(self, params: Params, activity: Activity, state: SynapseGRUState) -> SynapseGRUState:
        """See `LearningRule.update`."""
        signals, synapses, changed = activity.signals, [], []
        each = zip(*state, self._log_levels(params, state), strict=True)
        for index, (layer, louder, born) in enumerate(each):
            output, noise = activity.outputs[index], activity.noise[index]
            common = nn.functional.pad(signals, (0, 1), value=1.0)[..., None, :].expand(*output.shape, NUM_SIGNALS + 1)
            nodes = torch.cat([output[..., None], noise[..., None], common], -1)  # (..., I, 8)
            own = [params[f"rule.{name}{index}"] for name in ("node", "product", "synapse", "change")]
            step = self._by_kernel if has_kernel(own[0], nodes) else self._by_tensors
            synapses.append(step(own, layer, nodes, activity.inputs[index], signals))
            if not self.moves_levels:
                changed.append(louder)
                continue
            level = born + louder
            surprise = noise.square() * torch.exp(-2.0 * level) - 1.0
            told = torch.cat([common, surprise[..., None] * common[..., : NUM_BASELINES + 1]], -1)
            change = product(params[f"rule.level{index}"], told)[..., 0]
            changed.append((level + self.rate * change).clamp(_LOWEST, _HIGHEST) - born)
        return SynapseGRUState(tuple(synapses), tuple(changed))

    def _by_tensors(
        self, own: Sequence[Tensor], layer: SynapseState, nodes: Tensor, inputs: Tensor, signals: Tensor
    ) -> SynapseState:
        """A layer's synapses after a step, from nodes (..., I, 8), inputs (..., J + 1) and signals (..., 5)."""
        size, (node, products, synapse, change) = self.state_size, own
        memory, weight = layer
        seen = torch.addcmul(
            product(node, nodes)[..., None, :], inputs[..., None, :, None], product(products, nodes)[..., None, :]
        )  # (..., I, J + 1, 3S)
        mine = product(synapse, torch.cat([memory, weight[..., None]], -1))
        keep, reset = torch.sigmoid(seen[..., : 2 * size] + mine[..., : 2 * size]).split(size, -1)
        candidate = torch.tanh(torch.addcmul(seen[..., 2 * size :], reset, mine[..., 2 * size :]))
        memory = torch.lerp(candidate, memory, keep)
        change = product(change, memory)  # (..., I, J + 1, 4)
        told = signals[..., None, None, 1 : 1 + NUM_BASELINES]
        weight = weight + self.rate * (change[..., 0] + (change[..., 1:] * told).sum(-1))
        return SynapseState(memory, weight.clamp(-self.limit, self.limit))

    def _by_kernel(
        self, own: Sequence[Tensor], layer: SynapseState, nodes: Tensor, inputs: Tensor, signals: Tensor
    ) -> SynapseState:
        """As `_by_tensors`, for populations (P, L, ...)."""
        from maml_rl.policies.learning_rules.synapse_gru_kernel import synapse_gru

        shape = layer.weight.shape  # (P, L, I, J)
        memory = layer.memory.permute(0, 3, 4, 1, 2).flatten(3)  # -> (P, J, S, V)
        weights = layer.weight.permute(0, 3, 1, 2).flatten(2)
        arrays = as_arrays(memory, weights, nodes.permute(0, 3, 1, 2).flatten(2), inputs.mT, signals)
        memory, weights = synapse_gru(*arrays, as_arrays(*own), np.float32(self.rate), np.float32(self.limit))
        lives = shape[1:3]
        return SynapseState(
            torch.from_numpy(memory).unflatten(3, lives).permute(0, 3, 4, 1, 2),
            torch.from_numpy(weights).unflatten(2, lives).permute(0, 2, 3, 1),
        )
