"""Learning rules compute their equations, in kernels as with tensors; noise is a function of key and age."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils._pytree import tree_map

from maml_rl.policies.learning_rules import message_passing, synapse_gru
from maml_rl.policies.learning_rules.fused import has_kernel
from maml_rl.policies.learning_rules.hebbian import HebbianABCD
from maml_rl.policies.learning_rules.message_passing import MessagePassing, Repairs
from maml_rl.policies.learning_rules.noise import neuron_noise
from maml_rl.policies.learning_rules.rule import Activity, LearningRule
from maml_rl.policies.learning_rules.synapse_gru import SynapseGRU, SynapseGRUState, SynapseState
from maml_rl.tests.builders import pick

pytestmark = pytest.mark.numerical

SIZES, RATE, LIMIT = (3, 2, 2), 0.3, 1.2
REPAIRS = [field.name for field in fields(Repairs)]
ALL, NONE = Repairs(*[True] * len(REPAIRS)), Repairs(*[False] * len(REPAIRS))


def synapses(size):
    return SynapseGRU(SIZES, state_size=size, rate=RATE, limit=LIMIT)


def messages(size, repairs):
    return MessagePassing(SIZES, state_size=size, units=5, rate=RATE, limit=LIMIT, repairs=repairs)


RULES: dict[str, LearningRule] = {
    **{f"synapse-gru, {size} states": synapses(size) for size in (1, 4, 5)},
    **{f"all repairs, {size} states": messages(size, ALL) for size in (1, 4, 5)},
    **{f"no repairs, {size} states": messages(size, NONE) for size in (1, 4, 5)},
    **{f"only {name}": messages(2, Repairs(**{n: n == name for n in REPAIRS})) for name in REPAIRS},
    "hebbian": HebbianABCD(SIZES, rate=RATE, limit=LIMIT),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def parameters(rule, lead=(), seed=0):
    """Parameters (*lead, ...) of a rule, all random."""
    rng = np.random.default_rng(seed)
    drawn = {k: 0.7 * rng.standard_normal((*lead, *v.shape)) for k, v in rule.named_parameters()}
    return {f"rule.{name}": torch.from_numpy(value) for name, value in drawn.items()}


def birth(rule, params, lead, seed=1):
    rng = np.random.default_rng(seed)
    weights = [torch.from_numpy(rng.standard_normal((*lead, *shape))) for shape in rule.shapes]
    return rule.initial_state(params, weights)


def activities(rule, lead, num_steps, seed=2):
    """Activity (*lead, ...) in some steps, all random."""
    rng = np.random.default_rng(seed)

    def draw(sizes):
        return tuple(torch.from_numpy(rng.standard_normal((*lead, size))) for size in sizes)

    for _ in range(num_steps):
        inputs = tuple(torch.cat([x, torch.ones_like(x[..., :1])], -1) for x in draw([s[1] - 1 for s in rule.shapes]))
        drives, outputs, noise = (draw([shape[0] for shape in rule.shapes]) for _ in range(3))
        yield Activity(inputs, drives, outputs, noise, draw([5])[0])


def sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x))


def rows(matrix, values):
    """Outputs of a matrix (F, K), a list."""
    return [sum(float(matrix[f, k]) * value for f, value in enumerate(values)) for k in range(matrix.shape[1])]


def clip(value, low, high):
    return min(max(value, low), high)


def synapse_gru_by_loops(rule, params, activity, state):
    """Weights and states of every synapse, one after the other."""
    size, signals, after = rule.state_size, activity.signals.tolist(), []
    for index, (layer, louder) in enumerate(zip(*state, strict=True)):
        node, product, synapse, change = (params[f"rule.{n}{index}"] for n in ("node", "product", "synapse", "change"))
        memory, weights, levels = layer.memory.clone(), layer.weight.clone(), louder.clone()
        born = clip(float(params["rule.log_level"][index]), -4.0, 0.7)
        for i in range(weights.shape[0]):
            about = [float(activity.outputs[index][i]), float(activity.noise[index][i]), *signals, 1.0]
            for j in range(weights.shape[1]):
                x, m, w = float(activity.inputs[index][j]), layer.memory[i, j].tolist(), float(layer.weight[i, j])
                told = [a + x * g for a, g in zip(rows(node, about), rows(product, about), strict=True)]
                own = rows(synapse, [*m, w])
                for s in range(size):
                    keep, reset = sigmoid(told[s] + own[s]), sigmoid(told[size + s] + own[size + s])
                    new = math.tanh(told[2 * size + s] + reset * own[2 * size + s])
                    memory[i, j, s] = keep * m[s] + (1.0 - keep) * new
                parts = rows(change, memory[i, j].tolist())
                step = parts[0] + sum(part * s for part, s in zip(parts[1:], signals[1:4], strict=True))
                weights[i, j] = clip(w + RATE * step, -LIMIT, LIMIT)
            noise = float(activity.noise[index][i])
            level = born + float(louder[i])
            surprise = noise**2 * math.exp(-2.0 * level) - 1.0
            (step,) = rows(params[f"rule.level{index}"], [*signals, 1.0, *(surprise * s for s in signals[:4])])
            levels[i] = clip(level + RATE * step, -4.0, 0.7) - born
        after.append((SynapseState(memory, weights), levels))
    return after


def network(params, name, values):
    hidden = [math.tanh(h) for h in rows(params[f"rule.{name}_in"], values)]
    return rows(params[f"rule.{name}_out"], [*hidden, 1.0])


def message_passing_by_loops(rule, params, activity, state):
    """Weights, states, traces, levels and states of neurons of every layer, from the last one back."""
    repairs, size, signals = rule.repairs, rule.state_size, activity.signals.tolist()
    leaks = [sigmoid(value) for value in params["rule.leak"].tolist()]
    told_rewards = signals if repairs.centred else signals[:1]
    last = len(rule.shapes) - 1
    signal: list[float] = []
    after: list[tuple[torch.Tensor, ...]] = []
    for index in range(last, -1, -1):
        num_out, num_in = rule.shapes[index]
        outputs, noise, inputs = (part[index].tolist() for part in (activity.outputs, activity.noise, activity.inputs))
        weights, levels = state.weights[index].clone(), state.levels[index].clone()
        memory, neurons = state.synapses[index].clone(), state.neurons[index].clone()
        trace = state.traces[index].clone() if repairs.eligibility else None
        signal = signal or [0.0] * num_out
        messages = [0.0] * (num_in - 1)
        below = None if index == 0 else [info(activity, state, index - 1, j) for j in range(num_in - 1)]
        for i in range(num_out):
            heard = signal[i]
            speaks = index < last or not repairs.separate_neurons or i == num_out - 1
            if (index == last or repairs.broadcast) and speaks:
                heard += network(params, "reward", [*told_rewards, outputs[i], 1.0])[0]
            own, before = info(activity, state, index, i), state.neurons[index][i].tolist()
            said = network(params, "node", [*own, heard, 1.0, *before])
            message, bias_change = said[0], said[1]
            levels[i] = clip(float(levels[i]) + RATE * said[2], 0.01, 1.0)
            for s in range(size):
                neurons[i, s] = before[s] + leaks[s] * (math.tanh(said[3 + s]) - before[s])
            for j in range(num_in):
                other = [1.0] * 5 if j == num_in - 1 else [0.0, inputs[j], 0.0, 0.0, 0.0] if below is None else below[j]
                w, m = float(state.weights[index][i, j]), state.synapses[index][i, j].tolist()
                kept = [w]
                if trace is not None:
                    decay = sigmoid(float(params["rule.trace"][0]))
                    trace[i, j] += decay * (inputs[j] * noise[i] - float(trace[i, j]))
                    kept.append(float(trace[i, j]))
                seen = {"post_in": [*own, message, float(index > 0)], "pre_in": other, "synapse_in": [*kept, *m]}
                parts = [rows(params[f"rule.{name}"], values) for name, values in seen.items()]
                hidden = [math.tanh(sum(received)) for received in zip(*parts, strict=True)]
                out = rows(params["rule.synapse_out"], [*hidden, 1.0])
                change = out[0] + (bias_change if j == num_in - 1 else 0.0)
                if trace is not None:
                    gain = sum(float(g) * s for g, s in zip(params["rule.trace"][1:], signals[1:4], strict=True))
                    change += gain * float(trace[i, j])
                weights[i, j] = clip(w + RATE * change, -LIMIT, LIMIT)
                for s in range(size):
                    memory[i, j, s] = m[s] + leaks[size + s] * (math.tanh(out[2 + s]) - m[s])
                if j < num_in - 1:
                    messages[j] += out[1]
        factor = float(params["rule.sum"]) if repairs.summed else 1.0 / num_out
        signal = [factor * value for value in messages]
        after.insert(0, (weights, memory, *(() if trace is None else (trace,)), levels, neurons))
    return after


def info(activity, state, layer, i):
    """Info of a neuron."""
    values = (activity.drives, activity.outputs, activity.noise, state.levels)
    return [*(float(part[layer][i]) for part in values), float(state.weights[layer][i, -1])]


def hebbian_by_loops(rule, params, activity, state):
    after = []
    for index, weight in enumerate(state):
        weights, abcd = weight.clone(), params[f"rule.abcd{index}"]
        for i, j in np.ndindex(*weights.shape):
            x, y = float(activity.inputs[index][j]), float(activity.outputs[index][i])
            a, b, c, d = abcd[:, i, j].tolist()
            weights[i, j] = clip(float(weight[i, j]) + RATE * (a * x * y + b * x + c * y + d), -LIMIT, LIMIT)
        after.append((weights,))
    return after


LOOPS: dict[type[LearningRule], Any] = {
    SynapseGRU: synapse_gru_by_loops,
    MessagePassing: message_passing_by_loops,
    HebbianABCD: hebbian_by_loops,
}


def by_layer(state):
    """Tensors of every layer, as the loops above return them."""
    if isinstance(state, SynapseGRUState):
        return list(zip(*state, strict=True))
    if isinstance(state, message_passing.MessagePassingState):
        return list(zip(*(part for part in state if part), strict=True))
    return [tuple(layer) if isinstance(layer, tuple) else (layer,) for layer in state]


@every_rule
def test_a_rule_is_its_equations_for_every_synapse_by_itself(rule):
    params, lives = parameters(rule), 2
    state = birth(rule, params, (lives,))
    for activity in activities(rule, (lives,), 4):
        after = rule.update(params, activity, state)
        for life in range(lives):
            expected = LOOPS[type(rule)](rule, params, pick(activity, life), pick(state, life))
            assert_close(by_layer(pick(after, life)), expected, rtol=0, atol=1e-12)
        state = after
    sizes = torch.cat([weight.abs().flatten() for weight in rule.weights(state)])
    assert sizes.max() == LIMIT
    assert (sizes < LIMIT).any()


@every_rule
def test_individuals_and_lives_do_not_see_each_other(rule):
    params = parameters(rule, (2,))
    state = birth(rule, params, (2, 3))
    states: dict[tuple[int, ...], Any] = {}
    for activity in activities(rule, (2, 3), 3):
        for place in np.ndindex(2, 3):
            alone = states.get(place, pick(state, place))
            states[place] = rule.update(pick(params, place[0]), pick(activity, place), alone)
        state = rule.update(params, activity, state)
    for place, alone in states.items():
        assert_close(pick(state, place), alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_lives", [1, 3])
@pytest.mark.parametrize("name", [name for name in RULES if name.startswith("synapse-gru")])
def test_kernels_are_the_tensors(name, num_lives, monkeypatch):
    rule, lead, ends = RULES[name], (2, num_lives), []

    def in_float32(value):
        return tree_map(lambda part: part.float(), value)

    def forbidden(*args):
        raise AssertionError("a kernel computes this")

    for kernel in (False, True):
        monkeypatch.setattr(synapse_gru, "has_kernel", has_kernel if kernel else lambda *args: False)
        with monkeypatch.context() as context:
            if kernel:
                context.setattr(rule, "_by_tensors", forbidden)
            params = in_float32(parameters(rule, (2,)))
            state = birth(rule, params, lead)
            state, chain = in_float32(state), []
            for activity in activities(rule, lead, 20):
                state = rule.update(params, in_float32(activity), state)
                chain.append(by_layer(state))
            ends.append(chain)
    assert_close(*ends, rtol=0, atol=1e-5)


def test_kernels_are_for_populations_in_float32_without_derivatives():
    population, alone = torch.zeros(2, 8, 3), torch.zeros(8, 3)
    lives = torch.zeros(2, 1, 4, 8)
    assert has_kernel(population, lives)
    assert not has_kernel(alone, lives[0])
    assert not has_kernel(alone, lives)
    assert not has_kernel(population.double(), lives.double())
    assert not has_kernel(population.requires_grad_(), lives)
    with torch.no_grad():
        assert has_kernel(population, lives)


@every_rule
def test_a_drawn_rule_depends_on_the_generator_alone(rule):
    before = nn.utils.parameters_to_vector(rule.parameters()).detach().clone()
    drawn = []
    for seed in (1, 1, 2):
        rule.initialise(np.random.default_rng(seed))
        drawn.append(nn.utils.parameters_to_vector(rule.parameters()).detach().clone())
    nn.utils.vector_to_parameters(before, rule.parameters())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_noise_of_neurons_is_uniform_and_independent_over_neurons_ages_and_keys(dtype):
    keys = torch.from_numpy(np.random.default_rng(0).integers(2**24, size=40))
    ages = torch.arange(1, 101, dtype=dtype)
    noise = neuron_noise(keys[:, None].expand(40, 100), ages.expand(40, 100), 8).double()  # (keys, ages, neurons)
    assert noise.abs().max() <= math.sqrt(3.0) + 1e-6
    count = noise.numel()
    bound = 4.0 / math.sqrt(count)
    assert abs(float(noise.mean())) < bound
    assert abs(float(noise.square().mean()) - 1.0) < bound  # the variance of u^2 is 0.8
    assert abs(float(noise.pow(4).mean()) - 9 / 5) < 3 * bound
    for axis, size in enumerate(noise.shape):
        for lag in (1, 2, 7):
            near, far = noise.narrow(axis, 0, size - lag), noise.narrow(axis, lag, size - lag)
            assert abs(float((near * far).mean())) < 4.0 / math.sqrt(near.numel())
    neurons = torch.corrcoef(noise.reshape(-1, 8).T) - torch.eye(8)
    assert neurons.abs().max() < 4.5 / math.sqrt(4000)


def test_noise_is_a_function_of_key_and_age():
    key, age = torch.tensor([3, 4, 3]), torch.tensor([5.0, 5.0, 6.0])
    noise = neuron_noise(key, age, 4)
    assert torch.equal(noise[:1], neuron_noise(key[:1], age[:1], 4))
    assert len(noise.unique()) == noise.numel()
    assert_close(neuron_noise(key, age.double(), 4).float(), noise, rtol=0, atol=1e-6)
