"""A rule in which every synapse is a small recurrent network, the same for all synapses of a layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from maml_rl.policies.learning_rules.rule import NUM_SIGNALS, Activity, LearningRule, product, spread
from maml_rl.policies.params import Params

_NODE = 2 + NUM_SIGNALS + 1  # output, noise, signals, 1
_CHANGE = 3  # outputs of the read-out: at all times, with the reward less either mean


class SynapseGRU(LearningRule):
    """A gated recurrent unit in every synapse, shared by a layer's (after Pedersen et al. 2024, section 3).

    The synapse between neurons j and i has a state m of S numbers and a weight w. After a step it sees the input x_j
    that it carried, output y_i and noise n_i of its neuron, the signals s, and products of them:

        a = A (y_i, n_i, s, 1) + x_j G (y_i, n_i, s, 1) + U (m, w)      for update gate, reset gate and candidate
        m' = z m + (1 - z) tanh(a_candidate),  the reset gate scales U's part of the candidate
        w' = clip(w + rate (1, s_2, s_3) . V m', -limit, limit)

    so that node perturbation, a trace of x_j n_i times the reward less its mean, is one of the rules it can be.

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
    """

    def __init__(self, sizes: Sequence[int], *, state_size: int, rate: float, limit: float) -> None:
        super().__init__(sizes)
        self.state_size, self.rate, self.limit = state_size, rate, limit
        gates = 3 * state_size
        for index in range(len(self.shapes)):
            self.register_parameter(f"node{index}", nn.Parameter(torch.zeros(gates, _NODE)))
            self.register_parameter(f"product{index}", nn.Parameter(torch.zeros(gates, _NODE)))
            self.register_parameter(f"synapse{index}", nn.Parameter(torch.zeros(gates, state_size + 1)))
            self.register_parameter(f"change{index}", nn.Parameter(torch.zeros(_CHANGE, state_size)))
        self.log_level = nn.Parameter(torch.zeros(len(self.shapes)))

    def initialise(self, rng: np.random.Generator) -> None:
        """See `LearningRule.initialise`: near node perturbation, with traces of some steps."""
        size = self.state_size
        with torch.no_grad():
            for name, value in self.named_parameters():
                scale = 0.0 if name == "log_level" else 0.1
                value.copy_(torch.from_numpy(scale * rng.standard_normal(value.shape)))
            self.log_level.fill_(-1.0)
            for index in range(len(self.shapes)):
                parameters = dict(self.named_parameters())
                parameters[f"node{index}"][:size, -1] += 0.5  # the update gate: traces of two to three steps
                parameters[f"product{index}"][2 * size, 1] += 1.0  # the first state follows x_j n_i
                parameters[f"change{index}"][1, 0] += 1.0  # which counts with the reward less its mean

    def initial_state(self, params: Params, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """See `LearningRule.initial_state`: of each layer (..., I, J + 1, S + 1), the weight behind its synapse's state."""
        return tuple(nn.functional.pad(weight[..., None], (self.state_size, 0)) for weight in weights)

    def weights(self, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """See `LearningRule.weights`."""
        return tuple(layer[..., -1] for layer in state)

    def levels(self, params: Params, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """See `LearningRule.levels`."""
        levels = spread(params["rule.log_level"], state[0][..., 0, 0, :], 1).clamp(-4.0, 1.0).exp()
        return levels.split(1, -1)

    def update(self, params: Params, activity: Activity, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """See `LearningRule.update`."""
        return tuple(self._updated(params, activity, layer, index) for index, layer in enumerate(state))

    def _updated(self, params: Params, activity: Activity, layer: Tensor, index: int) -> Tensor:
        """State (..., I, J + 1, S + 1) of a layer's synapses after a step."""
        size = self.state_size
        output, noise, signals = activity.outputs[index], activity.noise[index], activity.signals
        seen = [output[..., None], noise[..., None]]
        common = nn.functional.pad(signals, (0, 1), value=1.0)[..., None, :].expand(*output.shape, NUM_SIGNALS + 1)
        nodes = torch.cat([*seen, common], -1)  # (..., I, 7)
        of_node = product(params[f"rule.node{index}"], nodes)[..., None, :]  # (..., I, 1, 3S)
        of_product = product(params[f"rule.product{index}"], nodes)[..., None, :]
        carried = activity.inputs[index][..., None, :, None]  # (..., 1, J + 1, 1)
        own = product(params[f"rule.synapse{index}"], layer)  # (..., I, J + 1, 3S)
        seen_by = torch.addcmul(of_node, carried, of_product)
        keep, reset = torch.sigmoid(seen_by[..., : 2 * size] + own[..., : 2 * size]).split(size, -1)
        candidate = torch.tanh(torch.addcmul(seen_by[..., 2 * size :], reset, own[..., 2 * size :]))
        memory = torch.lerp(candidate, layer[..., :size], keep)
        change = product(params[f"rule.change{index}"], memory)  # (..., I, J + 1, 3)
        always, fast, slow = change.split(1, -1)  # (..., I, J + 1, 1) each
        reward_fast, reward_slow = signals[..., None, None, 1:3].split(1, -1)
        weight = layer[..., size:] + self.rate * (always + reward_fast * fast + reward_slow * slow)
        return torch.cat([memory, weight.clamp(-self.limit, self.limit)], -1)
