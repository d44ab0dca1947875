"""A rule of messages that run back through the network, made by small networks that all neurons share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from maml_rl.policies.learning_rules.rule import NUM_SIGNALS, Activity, LearningRule, product, spread
from maml_rl.policies.params import Params

_INFO = 5  # drive, output, noise, noise level, bias
_LOWEST_LEVEL, _HIGHEST_LEVEL = 0.01, 1.0


@dataclass(frozen=True)
class Repairs:
    """Changes to the rule as it was first built, without which it never learned; all False: that rule.

    Attributes
    ----------
    broadcast
        The reward network speaks to every neuron, not to those of the last layer alone.
    centred
        Reward arrives less its running means, and episode ends with it, beside the raw reward.
    summed
        A neuron receives a learned multiple of the sum of its messages, not their mean.
    eligibility
        A synapse keeps a trace of (input x noise); its product with the reward less its mean changes the weight.
    separate_neurons
        Reward enters at a last neuron of the last layer, which says no action, and not at those that do.
    """

    broadcast: bool
    centred: bool
    summed: bool
    eligibility: bool
    separate_neurons: bool


class MessagePassingState(NamedTuple):
    """Tensors of each layer: weights, their states and traces, noise levels of neurons and their states."""

    weights: tuple[Tensor, ...]
    synapses: tuple[Tensor, ...]
    traces: tuple[Tensor, ...]
    levels: tuple[Tensor, ...]
    neurons: tuple[Tensor, ...]


class MessagePassing(LearningRule):
    """Reward, node and connection networks, each with one hidden layer of tanh units, shared by all of a kind.

    From the last layer back, with the info v = (drive, output, noise, noise level, bias) of a neuron:

        reward network      signal_i += R(rewards, output_i)
        node network        (message_i, change of bias, change of noise level, state') = N(v_i, signal_i, state_i)
        connection network  (change of weight, message_ij, state') = C(v_i, v_j, message_i, w_ij, flag, state_ij)
        next signal_j       = mean over i of message_ij

    A neuron of the input layer has only its output. States are leaky: ``s' = s + g (tanh(.) - s)``.

    Parameters
    ----------
    sizes
        See `LearningRule`.
    state_size
        Numbers S in the recurrent state of a neuron or synapse, >= 1.
    units
        Hidden units K of each of the three networks.
    rate, limit
        As in `SynapseGRU`.
    repairs
        See `Repairs`.
    """

    def __init__(
        self, sizes: Sequence[int], *, state_size: int, units: int, rate: float, limit: float, repairs: Repairs
    ) -> None:
        super().__init__(sizes)
        self.state_size, self.units, self.rate, self.limit, self.repairs = state_size, units, rate, limit, repairs
        rewards = NUM_SIGNALS if repairs.centred else 1
        shapes = {
            "reward_in": (units, rewards + 2),
            "reward_out": (1, units + 1),
            "node_in": (units, _INFO + 2 + state_size),
            "node_out": (3 + state_size, units + 1),
            "post_in": (units, _INFO + 2),
            "pre_in": (units, _INFO),
            "synapse_in": (units, 1 + state_size + repairs.eligibility),
            "synapse_out": (2 + state_size, units + 1),
            "leak": (2 * state_size,),
        }
        if repairs.summed:
            shapes["sum"] = (1,)
        if repairs.eligibility:
            shapes["trace"] = (3,)
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    def initialise(self, rng: np.random.Generator) -> None:
        """See `LearningRule.initialise`; with eligibility near node perturbation."""
        with torch.no_grad():
            for value in self.parameters():
                scale = 0.5 / np.sqrt(value.shape[-1])
                value.copy_(torch.from_numpy(scale * rng.standard_normal(value.shape)))
            if self.repairs.summed:
                dict(self.named_parameters())["sum"].fill_(0.5)
            if self.repairs.eligibility:
                dict(self.named_parameters())["trace"].copy_(torch.tensor([0.5, 1.0, 0.0]))

    def initial_state(self, params: Params, weights: Sequence[Tensor]) -> MessagePassingState:
        """See `LearningRule.initial_state`."""
        zeros = [torch.zeros_like(weight) for weight in weights]
        return MessagePassingState(
            tuple(weights),
            tuple(zero[..., None].expand(*zero.shape, self.state_size) for zero in zeros),
            tuple(zeros) if self.repairs.eligibility else (),
            tuple(0.2 + zero[..., 0] for zero in zeros),
            tuple(zero[..., :1].expand(*zero.shape[:-1], self.state_size) for zero in zeros),
        )

    def weights(self, state: MessagePassingState) -> tuple[Tensor, ...]:
        """See `LearningRule.weights`."""
        return state.weights

    def levels(self, params: Params, state: MessagePassingState) -> tuple[Tensor, ...]:
        """See `LearningRule.levels`."""
        return state.levels

    def update(self, params: Params, activity: Activity, state: MessagePassingState) -> MessagePassingState:
        """See `LearningRule.update`."""
        own = {name[5:]: value for name, value in params.items() if name.startswith("rule.")}
        signal: Tensor | None = None
        layers = []
        infos = self._infos(activity, state)
        for index in reversed(range(len(self.shapes))):
            if index == len(self.shapes) - 1 or self.repairs.broadcast:
                told = self._rewarded(own, activity, index)
                if self.repairs.separate_neurons and not self.repairs.broadcast:
                    told = nn.functional.pad(told[..., -1:], (told.shape[-1] - 1, 0))
                signal = told if signal is None else signal + told
            assert signal is not None
            layer, signal = self._layer(own, activity, state, infos, index, signal)
            layers.append(layer)
        columns = zip(*reversed(layers), strict=True)
        weights, synapses, traces, levels, neurons = (tuple(column) for column in columns)
        return MessagePassingState(weights, synapses, traces if self.repairs.eligibility else (), levels, neurons)

    def _infos(self, activity: Activity, state: MessagePassingState) -> list[Tensor]:
        """Info (..., I, 5) of the neurons of every layer, the input layer's first."""
        first = activity.inputs[0][..., :-1, None]
        infos = [nn.functional.pad(first, (1, _INFO - 2))]
        for index, weight in enumerate(state.weights):
            parts = (activity.drives, activity.outputs, activity.noise, state.levels)
            infos.append(torch.stack([*(part[index] for part in parts), weight[..., -1]], -1))
        return infos

    def _rewarded(self, own: Params, activity: Activity, index: int) -> Tensor:
        """Signal (..., I) of the reward network to the neurons of a layer."""
        output = activity.outputs[index][..., None]
        rewards = activity.signals[..., None, : own["reward_in"].shape[-1] - 2]
        seen = torch.cat([rewards.expand(*output.shape[:-1], rewards.shape[-1]), output, torch.ones_like(output)], -1)
        return _network(own, "reward", seen)[..., 0]

    def _layer(
        self,
        own: Params,
        activity: Activity,
        state: MessagePassingState,
        infos: list[Tensor],
        index: int,
        signal: Tensor,
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Weights, states, traces, levels and neurons' states of a layer, and signals (..., J) to the one below."""
        size = self.state_size
        weight, memory, before = state.weights[index], state.synapses[index], state.neurons[index]
        leaks = torch.sigmoid(own["leak"])
        of_neuron, of_synapse = leaks[..., :size], leaks[..., size:]
        said = _network(
            own,
            "node",
            torch.cat([infos[index + 1], signal[..., None], torch.ones_like(signal)[..., None], before], -1),
        )
        message, bias_change, level_change = said[..., 0], said[..., 1], said[..., 2]
        neurons = before + spread(of_neuron, before, 1) * (torch.tanh(said[..., 3:]) - before)
        flag = torch.full_like(message, float(index > 0))
        post = product(own["post_in"], torch.cat([infos[index + 1], message[..., None], flag[..., None]], -1))
        pre = product(own["pre_in"], nn.functional.pad(infos[index], (0, 0, 0, 1), value=1.0))  # the bias's too
        parts = [weight[..., None], memory]
        trace = ()
        if self.repairs.eligibility:
            decay, gain, gain_slow = spread(own["trace"], weight, 1).unbind(-1)
            fresh = activity.noise[index][..., None] * activity.inputs[index][..., None, :]
            trace = state.traces[index] + torch.sigmoid(decay)[..., None] * (fresh - state.traces[index])
            parts.append(trace[..., None])
        hidden = torch.tanh(
            product(own["synapse_in"], torch.cat(parts, -1)) + post[..., None, :] + pre[..., None, :, :]
        )
        out = product(own["synapse_out"][..., :-1], hidden) + spread(own["synapse_out"][..., -1], hidden, 1)
        change = out[..., 0]
        if self.repairs.eligibility:
            reward = activity.signals[..., 1:3, None, None]
            change = change + trace * (
                gain[..., None] * reward[..., 0, :, :] + gain_slow[..., None] * reward[..., 1, :, :]
            )
        change = torch.cat([change[..., :-1], change[..., -1:] + bias_change[..., None]], -1)
        weight = (weight + self.rate * change).clamp(-self.limit, self.limit)
        synapses = memory + spread(of_synapse, memory, 1) * (torch.tanh(out[..., 2:]) - memory)
        levels = (state.levels[index] + self.rate * level_change).clamp(_LOWEST_LEVEL, _HIGHEST_LEVEL)
        messages = out[..., :-1, 1]
        signal = (
            messages.sum(-2) * spread(own["sum"], messages[..., 0, :], 1) if self.repairs.summed else messages.mean(-2)
        )
        return (weight, synapses, trace, levels, neurons), signal


def _network(own: Params, name: str, inputs: Tensor) -> Tensor:
    """Outputs (..., K) of one of the shared networks for inputs (..., F)."""
    hidden = torch.tanh(product(own[f"{name}_in"], inputs))
    weight = own[f"{name}_out"]
    return product(weight[..., :-1], hidden) + spread(weight[..., -1], hidden, 1)
