"""The message-passing rule as it was first built, written plainly: a population's lives on a pendulum, all at once.

Every function takes a library of arrays, `torch` or `jax.numpy`; so all baselines of `benchmarks.evolution_scale` have
the same arithmetic. Nothing is fused, chunked or kept between steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from maml_rl.envs import make_tensor_env
from maml_rl.policies import Policy
from maml_rl.policies.learning_rules.noise import neuron_noise
from maml_rl.samplers.rollout import begin_lives
from maml_rl.settings import TaskSettings
from maml_rl.shard import Shard

RATE, LIMIT, LEVELS = 0.03, 3.0, (0.01, 1.0)


class Life(NamedTuple):
    """Birth, task and noise of a life, common to all individuals.

    Attributes
    ----------
    weights
        At birth (I, J + 1) of each layer.
    angle, spin
        Of the pendulum at the start.
    task
        Length, mass, gravity, torque ratio, sign, target.
    hidden_noise, action_noise
        (T, hidden neurons) and (T, 1).
    """

    weights: tuple[np.ndarray, ...]
    angle: float
    spin: float
    task: tuple[float, ...]
    hidden_noise: np.ndarray
    action_noise: np.ndarray


class State(NamedTuple):
    """Of a population: lists by layer, then numbers of the network and of the pendulum (P,)."""

    weights: list[Any]
    synapses: list[Any]
    levels: list[Any]
    neurons: list[Any]
    inputs: list[Any]
    drives: list[Any]
    outputs: list[Any]
    noise: list[Any]
    squares: Any
    age: Any
    angle: Any
    spin: Any
    reward: Any
    returned: Any


def draw_life(policy: Policy, task: TaskSettings, shard: Shard, params: dict[str, torch.Tensor], steps: int) -> Life:
    """The life that a worker would give the individuals with these parameters (P, ...), one each."""
    (dtype,) = {value.dtype for value in params.values()}
    env = make_tensor_env(task.env_name, (1, 1), task.env_kwargs, dtype=dtype)
    streams = shard.streams()
    env.set_tasks(shard.tasks)
    (cosine, sine, spin), _ = env.reset(options={"rngs": streams.environment})[0].double().flatten(), None
    state: Any = begin_lives(policy, {name: value[:1] for name, value in params.items()}, (1, 1), streams.actions)
    weights = tuple(weight[0, 0].numpy() for weight in state.rule.weights)
    num_hidden = sum(len(weight) for weight in weights[:-1])
    ages = torch.arange(1, steps + 1, dtype=dtype)
    blocks = [policy.draw_noise(streams.actions[0], (128, 1))[:, 0] for _ in range(-(-steps // 128))]
    return Life(
        weights,
        float(torch.atan2(sine, cosine)),
        float(8.0 * spin),
        tuple(float(value) for value in shard.tasks[0].values()),
        neuron_noise(state.key.expand(1, steps)[0], ages, num_hidden).numpy(),
        np.concatenate(blocks)[:steps],
    )


def begin(xp: Any, life: Life, num_individuals: int, size: int, as_array: Any) -> State:
    """State of a population at birth; `as_array` makes an array of the library from numpy's."""

    def zeros(*shape: int) -> Any:
        return as_array(np.zeros((num_individuals, *shape)))

    weights = [as_array(np.broadcast_to(one, (num_individuals, *one.shape)).copy()) for one in life.weights]
    shapes = [one.shape for one in life.weights]
    return State(
        weights,
        [zeros(*shape, size) for shape in shapes],
        [zeros(out) + 0.2 for out, _ in shapes],
        [zeros(out, size) for out, _ in shapes],
        [zeros(inputs) for _, inputs in shapes],
        *([zeros(out) for out, _ in shapes] for _ in range(3)),
        zeros(shapes[0][1] - 1),
        zeros(),
        zeros() + life.angle,
        zeros() + life.spin,
        zeros(),
        zeros(),
    )


def live_step(
    xp: Any, own: dict[str, Any], task: tuple[float, ...], state: State, hidden_noise: Any, action_noise: Any
) -> State:
    """One step of every individual: the rule on what came before, the network, the pendulum.

    Parameters
    ----------
    own
        The rule's parameters (P, ...).
    task
        See `Life`.
    hidden_noise, action_noise
        Of the step, (hidden neurons,) and (1,).
    """
    state = _learn(xp, own, state)
    age = state.age + 1.0
    observed = xp.stack([xp.cos(state.angle), xp.sin(state.angle), state.spin / 8.0], -1)
    squares = state.squares + (observed**2 - state.squares) / age[:, None]
    unit, first = observed / xp.sqrt(squares + 1e-6), 0
    inputs, drives, outputs, noise = [], [], [], []
    for weight, level in zip(state.weights, state.levels, strict=True):
        carried = xp.concatenate([unit, xp.ones_like(unit[:, :1])], -1)
        drive = xp.einsum("pij,pj->pi", weight, carried)
        if len(drives) < len(state.weights) - 1:
            random = level * hidden_noise[first : first + drive.shape[1]]
            first, unit = first + drive.shape[1], xp.tanh(drive + random)
        else:  # the action, written into its neuron
            random = level * action_noise
            unit = drive + random
        inputs.append(carried)
        drives.append(drive)
        outputs.append(unit)
        noise.append(random)
    length, mass, gravity, torque_ratio, sign, target = task
    action = xp.clip(unit[:, 0], -1.0, 1.0)
    torque = sign * action * (torque_ratio * mass * gravity * length / 2)
    change = 3 * gravity / (2 * length) * xp.sin(state.angle) + 3 * torque / (mass * length**2)
    spin = xp.clip(state.spin + 0.05 * change, -8.0, 8.0)
    angle = state.angle + 0.05 * spin
    reward = xp.cos(angle - target) - 0.001 * action**2
    return State(
        state.weights,
        state.synapses,
        state.levels,
        state.neurons,
        inputs,
        drives,
        outputs,
        noise,
        squares,
        age,
        angle,
        spin,
        reward,
        state.returned + reward,
    )


def _learn(xp: Any, own: dict[str, Any], state: State) -> State:
    """Reward network on the outputs; then, layer by layer, node network, connection network, mean of messages."""
    weights, synapses = list(state.weights), list(state.synapses)
    levels, neurons = list(state.levels), list(state.neurons)
    size = state.neurons[0].shape[-1]
    leaks = 1.0 / (1.0 + xp.exp(-own["leak"]))
    ones = xp.ones_like(state.outputs[-1])[..., None]
    reward = xp.clip(state.reward, -5.0, 5.0)[:, None, None] * ones
    signal = _network(xp, own, "reward", xp.concatenate([reward, state.outputs[-1][..., None], ones], -1))[..., 0]
    for index in reversed(range(len(weights))):
        weight, info = state.weights[index], _info(xp, state, index)
        ones = xp.ones_like(signal)[..., None]
        seen = xp.concatenate([info, signal[..., None], ones, state.neurons[index]], -1)
        said = _network(xp, own, "node", seen)
        kept = state.neurons[index]
        neurons[index] = kept + leaks[:, None, :size] * (xp.tanh(said[..., 3:]) - kept)
        levels[index] = xp.clip(state.levels[index] + RATE * said[..., 2], *LEVELS)
        told = xp.concatenate([info, said[..., :1], ones * float(index > 0)], -1)
        below = _info(xp, state, index - 1)
        below = xp.concatenate([below, xp.ones_like(below[:, :1])], 1)
        shape = (*weight.shape, told.shape[-1] + below.shape[-1])
        both = xp.broadcast_to(told[:, :, None, :], (*shape[:-1], told.shape[-1]))
        other = xp.broadcast_to(below[:, None, :, :], (*shape[:-1], below.shape[-1]))
        seen = xp.concatenate([both, other, weight[..., None], state.synapses[index]], -1)
        out = _network(xp, own, "connection", seen)
        change = xp.concatenate([out[..., :-1, 0], out[..., -1:, 0] + said[..., 1:2]], -1)
        weights[index] = xp.clip(weight + RATE * change, -LIMIT, LIMIT)
        kept = state.synapses[index]
        synapses[index] = kept + leaks[:, None, None, size:] * (xp.tanh(out[..., 2:]) - kept)
        signal = out[..., :-1, 1].mean(1)
    return state._replace(weights=weights, synapses=synapses, levels=levels, neurons=neurons)


def _info(xp: Any, state: State, index: int) -> Any:
    """Drive, output, noise, noise level, bias of a layer's neurons (P, I, 5); the input layer's have only an output."""
    if index < 0:
        output = state.inputs[0][:, :-1]
        none = xp.zeros_like(output)
        return xp.stack([none, output, none, none, none], -1)
    parts = (state.drives, state.outputs, state.noise, state.levels)
    return xp.stack([*(part[index] for part in parts), state.weights[index][..., -1]], -1)


def _network(xp: Any, own: dict[str, Any], name: str, seen: Any) -> Any:
    """Outputs (P, ..., K) of a network with one hidden layer for what it sees (P, ..., F)."""
    hidden = xp.tanh(xp.einsum("p...f,pfk->p...k", seen, own[f"{name}_in"]))
    bias = own[f"{name}_out"][:, -1]
    bias = bias.reshape(len(bias), *[1] * (len(hidden.shape) - 2), -1)
    return xp.einsum("p...f,pfk->p...k", hidden, own[f"{name}_out"][:, :-1]) + bias


def rule_parameters(params: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Arrays (P, ...) of the rule's parameters; the connection network's in one piece."""
    own = {name.removeprefix("rule."): value.numpy() for name, value in params.items()}
    whole = [own.pop(name) for name in ("post_in", "pre_in", "synapse_in")]
    return {**own, "connection_in": np.concatenate(whole, axis=1), "connection_out": own.pop("synapse_out")}
