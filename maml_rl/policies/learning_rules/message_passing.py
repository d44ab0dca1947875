"""A rule of messages that run back through the network, made by small networks that all neurons share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from maml_rl.policies.learning_rules.fused import as_arrays, as_lanes, fill_lanes, from_lanes, has_kernel
from maml_rl.policies.learning_rules.rule import NUM_BASELINES, NUM_SIGNALS, Activity, LearningRule, product, spread
from maml_rl.policies.params import Params

_INFO = 5  # drive, output, noise, noise level, bias
Infos = list[Tensor]
_LOWEST_LEVEL, _HIGHEST_LEVEL = 0.01, 1.0
_PARAMETERS = (
    *("reward_in", "reward_out", "node_in", "node_out", "post_in", "pre_in", "synapse_in", "synapse_out"),
    *("leak", "sum", "trace"),
)


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


class _Layer(NamedTuple):
    """A layer after a step."""

    weight: Tensor
    memory: Tensor
    trace: Tensor | None
    levels: Tensor
    neurons: Tensor


class _Connections(NamedTuple):
    """All that the connection networks of a layer see."""

    weight: Tensor  # (..., I, J + 1)
    memory: Tensor  # (..., I, J + 1, S)
    trace: Tensor | None  # (..., I, J + 1)
    post: Tensor  # (..., I, K)
    pre: Tensor  # (..., J + 1, K)
    inputs: Tensor  # (..., J + 1)
    noise: Tensor  # (..., I)
    bias_change: Tensor  # (..., I)
    signals: Tensor  # (..., 5)


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
    rate, limit, baseline
        As in `SynapseGRU`.
    trace
        As in `SynapseGRU`; ``None``: 1.6. Without eligibility there is none.
    repairs
        See `Repairs`.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        state_size: int,
        units: int,
        rate: float,
        limit: float,
        repairs: Repairs,
        baseline: int = 0,
        trace: float | None = None,
    ) -> None:
        super().__init__(sizes)
        self.state_size, self.units, self.rate, self.limit, self.repairs = state_size, units, rate, limit, repairs
        self.baseline, self.reach = baseline, trace
        rewards = NUM_SIGNALS if repairs.centred else 1
        shapes = {
            "reward_in": (rewards + 2, units),
            "reward_out": (units + 1, 1),
            "node_in": (_INFO + 2 + state_size, units),
            "node_out": (units + 1, 3 + state_size),
            "post_in": (_INFO + 2, units),
            "pre_in": (_INFO, units),
            "synapse_in": (1 + repairs.eligibility + state_size, units),
            "synapse_out": (units + 1, 2 + state_size),
            "leak": (2 * state_size,),
        }
        if repairs.summed:
            shapes["sum"] = (1,)
        if repairs.eligibility:
            shapes["trace"] = (1 + NUM_BASELINES,)
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    def initialise(self, rng: np.random.Generator) -> None:
        """See `LearningRule.initialise`; with eligibility near node perturbation."""
        with torch.no_grad():
            for value in self.parameters():
                scale = 0.5 / np.sqrt(value.shape[0])
                value.copy_(torch.from_numpy(scale * rng.standard_normal(value.shape)))
            if self.repairs.summed:
                dict(self.named_parameters())["sum"].fill_(0.5)
            if self.repairs.eligibility:
                trace = dict(self.named_parameters())["trace"]
                trace.zero_()
                trace[0] = 0.5 if self.reach is None else -np.log(self.reach - 1.0)  # what enters of a new step
                trace[1 + self.baseline] = 1.0

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
        if has_kernel(own["node_in"], state.weights[0]) and fill_lanes(activity.signals):
            return self._by_kernel(own, activity, state)
        signal: Tensor | None = None
        layers = []
        infos = self._infos(activity, state)
        for index in reversed(range(len(self.shapes))):
            if index == len(self.shapes) - 1 or self.repairs.broadcast:
                told = self._rewarded(own, activity, index)
                signal = told if signal is None else signal + told
            assert signal is not None
            layer, signal = self._layer(own, activity, state, infos, index, signal)
            layers.append(layer)
        layers.reverse()
        return MessagePassingState(
            tuple(layer.weight for layer in layers),
            tuple(layer.memory for layer in layers),
            tuple(layer.trace for layer in layers if layer.trace is not None),
            tuple(layer.levels for layer in layers),
            tuple(layer.neurons for layer in layers),
        )

    def _infos(self, activity: Activity, state: MessagePassingState) -> Infos:
        """Info (..., I, 5) of the neurons of every layer, the input layer's first."""
        first = activity.inputs[0][..., :-1, None]
        infos = [nn.functional.pad(first, (1, _INFO - 2))]
        for index, weight in enumerate(state.weights):
            parts = (activity.drives, activity.outputs, activity.noise, state.levels)
            infos.append(torch.stack([*(part[index] for part in parts), weight[..., -1]], -1))
        return infos

    def _rewarded(self, own: Params, activity: Activity, index: int) -> Tensor:
        """Signal (..., I) of the reward network to the neurons of a layer."""
        output, alone = activity.outputs[index][..., None], self.repairs.separate_neurons
        rewards = activity.signals[..., None, : own["reward_in"].shape[-2] - 2]
        seen = torch.cat([rewards.expand(*output.shape[:-1], rewards.shape[-1]), output, torch.ones_like(output)], -1)
        told = _network(own, "reward", seen)[..., 0]
        if alone and index == len(self.shapes) - 1:  # neurons of actions hear nothing of it
            return nn.functional.pad(told[..., -1:], (told.shape[-1] - 1, 0))
        return told

    def _layer(
        self, own: Params, activity: Activity, state: MessagePassingState, infos: Infos, index: int, signal: Tensor
    ) -> tuple[_Layer, Tensor]:
        """A layer after a step, given signals (..., I) to its neurons, and signals (..., J) to the layer below."""
        size, before = self.state_size, state.neurons[index]
        leaks = torch.sigmoid(own["leak"])
        ones = torch.ones_like(signal)[..., None]
        said = _network(own, "node", torch.cat([infos[index + 1], signal[..., None], ones, before], -1))
        message, bias_change, level_change = said[..., 0], said[..., 1], said[..., 2]
        neurons = before + spread(leaks[..., :size], before, 1) * (torch.tanh(said[..., 3:].contiguous()) - before)
        levels = (state.levels[index] + self.rate * level_change).clamp(_LOWEST_LEVEL, _HIGHEST_LEVEL)
        flag = torch.full_like(ones, float(index > 0))
        post = product(own["post_in"], torch.cat([infos[index + 1], message[..., None], flag], -1))
        pre = product(own["pre_in"], nn.functional.pad(infos[index], (0, 0, 0, 1), value=1.0))  # the bias's too
        part = _Connections(
            state.weights[index],
            state.synapses[index],
            state.traces[index] if self.repairs.eligibility else None,
            post,
            pre,
            activity.inputs[index],
            activity.noise[index],
            bias_change,
            activity.signals,
        )
        weight, synapses, trace, messages = self._connected(own, part, leaks[..., size:])
        signal = messages[..., :-1]
        signal = signal * spread(own["sum"], signal, 1) if self.repairs.summed else signal / post.shape[-2]
        return _Layer(weight, synapses, trace, levels, neurons), signal

    def _connected(self, own: Params, part: _Connections, leak: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Weights, states and traces after a step, and sums of messages (..., J + 1); states follow by `leak` (S)."""
        parts, trace, memory = [part.weight[..., None]], part.trace, part.memory
        if trace is not None:
            decay = spread(torch.sigmoid(own["trace"][..., :1]), part.weight, 1)
            trace = trace + decay * (part.noise[..., None] * part.inputs[..., None, :] - trace)
            parts.append(trace[..., None])
        seen = product(own["synapse_in"], torch.cat([*parts, memory], -1))
        hidden = torch.tanh(seen + part.post[..., None, :] + part.pre[..., None, :, :])
        out = _with_bias(own["synapse_out"], hidden)
        change = out[..., 0]
        if trace is not None:
            change = change + self._gains(own, part)[..., None] * trace
        change = torch.cat([change[..., :-1], change[..., -1:] + part.bias_change[..., None]], -1)
        weight = (part.weight + self.rate * change).clamp(-self.limit, self.limit)
        memory = memory + spread(leak, memory, 1) * (torch.tanh(out[..., 2:].contiguous()) - memory)
        return weight, memory, trace, out[..., 1].sum(-2)

    def _by_kernel(self, own: Params, activity: Activity, state: MessagePassingState) -> MessagePassingState:
        """As `update`, for populations (P, L, ...)."""
        from maml_rl.policies.learning_rules.message_passing_kernel import message_passing_kernel

        repairs, num_rewards = self.repairs, own["reward_in"].shape[1] - 2
        kernel = message_passing_kernel(
            self.units,
            self.state_size,
            num_rewards,
            repairs.eligibility,
            repairs.summed,
            repairs.broadcast,
            repairs.separate_neurons,
        )
        lives = activity.signals.shape[:2]
        traces = state.traces or [weight[..., :0, :0] for weight in state.weights]
        before = tuple(as_lanes(*layers) for layers in (*state[:2], traces, *state[3:]))
        after = tuple(tuple(np.empty_like(layer) for layer in layers) for layers in before)
        absent = own["leak"][:, :0]
        kernel(
            after,
            before,
            tuple(as_lanes(*layers) for layers in activity[:4]),
            *as_lanes(activity.signals),
            as_arrays(*(own.get(name, absent).flatten(1) for name in _PARAMETERS)),
            lives[1],
            np.float32(self.rate),
            np.float32(self.limit),
            (np.float32(_LOWEST_LEVEL), np.float32(_HIGHEST_LEVEL)),
        )
        weights, memory, traces, *rest = (from_lanes(lives, *layers) for layers in after)
        return MessagePassingState(weights, memory, traces if state.traces else (), *rest)

    def _gains(self, own: Params, part: _Connections) -> Tensor:
        """Factors (..., I) of traces in changes of weights."""
        told = part.signals[..., 1 : 1 + NUM_BASELINES]
        gains = (spread(own["trace"][..., 1:], told, 1) * told).sum(-1, keepdim=True)
        return gains.expand_as(part.noise)


def _network(own: Params, name: str, inputs: Tensor) -> Tensor:
    """Outputs (..., K) of one of the shared networks for inputs (..., F)."""
    return _with_bias(own[f"{name}_out"], torch.tanh(product(own[f"{name}_in"], inputs)))


def _with_bias(weight: Tensor, inputs: Tensor) -> Tensor:
    """``inputs @ weight[:-1] + weight[-1]`` for inputs (..., F)."""
    return product(weight[..., :-1, :], inputs) + spread(weight[..., -1, :], inputs, 1)
