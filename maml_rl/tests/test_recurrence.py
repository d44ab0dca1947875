"""Recurrent layers with derivatives by hand against plain loops and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch.utils._pytree import tree_leaves, tree_map

from maml_rl.adaptation import inner_loss
from maml_rl.policies import policy_kinds, recurrence
from maml_rl.policies.gru_cell import GRUCell
from maml_rl.policies.joined_steps import multiply
from maml_rl.policies.linear_policy import LinearRecurrenceCell
from maml_rl.policies.lstm_cell import LSTMCell
from maml_rl.policies.recurrent_cells import RNNCell
from maml_rl.policies.scan import add_products, linear_recurrence, matrix_recurrence
from maml_rl.policies.scan_kernel import accumulate_products
from maml_rl.tests.builders import (
    POLICY_SPECS,
    flat,
    pick,
    random_like,
    spec_id,
    tiny_data,
    tiny_inner,
    tiny_policy,
    unflat,
)

pytestmark = [pytest.mark.numerical, pytest.mark.usefixtures("float64")]

STEPS, TASKS, EPISODES, SIZE = 5, 3, 2, 4
CELLS = [
    RNNCell("layer", SIZE),
    RNNCell("layer", SIZE, torch.nn.functional.silu),
    LSTMCell("layer", SIZE),
    GRUCell("layer", SIZE),
]
every_cell = pytest.mark.parametrize("cell", CELLS, ids=["tanh", "silu", "lstm", "gru"])
memory_specs = [spec for spec in POLICY_SPECS if policy_kinds()[spec.name].has_memory]


def draw(seed, *shape, scale=0.7):
    return scale * torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def inputs_of(cell, *lead):
    """Inputs, recurrent weight and initial state, with leading dimensions for tasks."""
    gates = cell.num_parts * SIZE
    state = [draw(2 + i, *lead, EPISODES, SIZE) for i in range(cell.num_states)]
    return draw(0, STEPS, *lead, EPISODES, gates), draw(1, *lead, gates, SIZE), *state


def plain(cell, inputs, weight, *state):
    """The same by a loop that autograd follows step by step."""
    outputs = []
    for now in inputs:
        state = cell.pointwise(now + state[0] @ weight.mT, *state[1:])
        outputs.append(state[0])
    return torch.stack(outputs), state


def number(function):
    """A scalar in which every output has its own, nonlinear, part."""

    def total(*arguments):
        outputs, state = function(*arguments)
        parts = [outputs, *state]
        return sum((torch.sin(part) * draw(9, *part.shape)).sum() for part in parts)

    return total


def by_hand(cell):
    def function(inputs, weight, *state):
        return recurrence.unroll(cell, inputs, weight, state)

    return function


@every_cell
def test_values_and_first_and_second_derivatives_are_those_of_a_plain_loop(cell):
    arguments = inputs_of(cell)
    positions = tuple(range(len(arguments)))

    def gradients(function):
        return torch.func.grad(number(function), argnums=positions)

    def second(function):
        """Derivative of a nonlinear number made of all first derivatives."""

        def total(*values):
            return sum((torch.sin(part) * draw(7, *part.shape)).sum() for part in gradients(function)(*values))

        return torch.func.grad(total, argnums=positions)

    def loop(*values):
        return plain(cell, *values)

    for of in (lambda function: function, gradients, second):
        assert_close(of(by_hand(cell))(*arguments), of(loop)(*arguments))


@every_cell
def test_derivatives_agree_with_finite_differences(cell):
    arguments = [part.requires_grad_() for part in inputs_of(cell)]

    def outputs(*values):
        result, state = by_hand(cell)(*values)
        return result, *state

    assert torch.autograd.gradcheck(outputs, arguments)
    assert torch.autograd.gradgradcheck(outputs, arguments)


@every_cell
@pytest.mark.parametrize("batched", ["everything", "weights", "inputs"])
def test_vmapped_layers_are_layers_of_every_task_by_itself(cell, batched):
    inputs, weight, *state = inputs_of(cell, TASKS)
    dims: list[int | None] = [1, 0, *(0 for _ in state)]
    if batched == "weights":
        inputs, state = inputs[:, 0], [part[0] for part in state]
        dims = [None, 0, *(None for _ in state)]
    if batched == "inputs":
        weight, dims[1] = weight[0], None
    arguments = (inputs, weight, *state)

    def gradients(function):
        return torch.func.grad(number(function), argnums=tuple(range(len(arguments))))

    together = torch.func.vmap(gradients(by_hand(cell)), in_dims=tuple(dims))(*arguments)
    for task in range(TASKS):
        own = [p if d is None else p.select(d, task) for p, d in zip(arguments, dims, strict=True)]
        alone = gradients(lambda *values: plain(cell, *values))(*own)
        for part, expected in zip(together, alone, strict=True):
            assert_close(part[task], expected)


def test_a_linear_recurrence_and_its_derivatives_are_those_of_a_plain_loop():
    def loop(factors, terms, begin):
        totals = []
        for factor, term in zip(factors, terms, strict=True):
            begin = factor * begin + term
            totals.append(begin)
        return torch.stack(totals)

    for width in (1, SIZE):
        arguments = [draw(0, STEPS, EPISODES, width), draw(1, STEPS, EPISODES, SIZE), draw(2, EPISODES, SIZE)]
        assert_close(linear_recurrence(*arguments), loop(*arguments))
        leaves = [part.requires_grad_() for part in arguments]
        assert torch.autograd.gradcheck(linear_recurrence, leaves)
        assert torch.autograd.gradgradcheck(linear_recurrence, leaves)


@pytest.mark.parametrize("shared", [False, True])
def test_a_matrix_recurrence_and_its_derivatives_are_those_of_a_plain_loop(shared):
    def loop(matrices, begin):
        outputs = [begin]
        for matrix in matrices:
            outputs.append((matrix @ outputs[-1].unsqueeze(-1))[..., 0])
        return torch.stack(outputs[1:])

    def whole(function):
        """A number of each of some tasks, batched by `vmap`, in which every output has its own, nonlinear, part."""

        def total(matrices, begin):
            outputs = torch.func.vmap(function, in_dims=(None if shared else 1, 0), out_dims=1)(matrices, begin)
            return (torch.sin(outputs) * draw(9, *outputs.shape)).sum()

        return total

    def slopes(function):
        return torch.func.grad(function, argnums=(0, 1))

    def second(function):
        def total(*values):
            return sum((torch.sin(part) * draw(7, *part.shape)).sum() for part in slopes(function)(*values))

        return slopes(total)

    tasks = () if shared else (TASKS,)
    arguments = draw(0, STEPS, *tasks, EPISODES, 3, 3), draw(1, TASKS, EPISODES, 3)
    for of in (lambda function: function, slopes, second):
        assert_close(of(whole(matrix_recurrence))(*arguments), of(whole(loop))(*arguments))


@pytest.mark.parametrize("reverse", [False, True])
def test_the_kernel_of_a_matrix_recurrence_computes_what_tensors_do(reverse):
    matrices, total = draw(0, STEPS, EPISODES, 3, 3), draw(1, STEPS, EPISODES, 3, 1)
    by_kernel = total.clone()
    accumulate_products(matrices.numpy(), by_kernel[..., 0].numpy(), reverse)
    add_products(matrices, total, reverse)
    assert_close(by_kernel, total)


def test_no_steps_apart_the_first_step_of_a_linear_recurrence_is_one_multiplication():
    factors, terms, begin = draw(0, 1, SIZE), draw(1, 1, SIZE), draw(2, SIZE)
    assert_close(linear_recurrence(factors, terms, begin), factors * begin + terms, rtol=0, atol=0)


@pytest.mark.parametrize("spec", memory_specs, ids=spec_id)
def test_the_gradient_through_a_hundred_steps_agrees_with_finite_differences(spec):
    policy, params = tiny_policy(spec)
    inner = tiny_inner(policy)
    data = pick(tiny_data(spec, 1, num_tasks=1, num_steps=100), 0)
    gradient = torch.func.grad(lambda values: inner_loss(inner, values, data))(params)
    direction = flat(random_like(params, inner.names, 3), inner.names)
    theta, step = flat(params, inner.names), 1e-5  # a longer one meets weights of plastic networks at their limit

    def loss(scale):
        return inner_loss(inner, unflat(theta + scale * step * direction, params, inner.names), data)

    expected = (8 * (loss(1) - loss(-1)) - (loss(2) - loss(-2))) / (12 * step)
    assert_close(flat(gradient, inner.names) @ direction, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("spec", memory_specs, ids=spec_id)
def test_unrolling_a_hundred_steps_of_unequal_episodes_is_stepping(spec):
    policy, params = tiny_policy(spec)
    data = pick(tiny_data(spec, 1, num_tasks=1, num_steps=100, num_episodes=6), 0)
    observations, mask = data.observations, data.mask
    state = policy.initial_state(params, (observations.shape[1],))
    unrolled = policy.unroll(params, observations, None, state)
    for index, observation in enumerate(observations):
        distribution, state = policy.step(params, observation, state)
        for part, expected in zip(unrolled, distribution, strict=True):
            played = mask[index].bool()
            assert_close(part[index][played], expected[played], rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (40, 7)], ids=str)
@pytest.mark.parametrize(
    "cell", [*CELLS[2:], LinearRecurrenceCell("layer", SIZE, horizon=10)], ids=["lstm", "gru", "linear"]
)
def test_first_derivatives_in_float32_are_those_of_a_higher_order(cell, shape):
    """Along T steps of n episodes, in inputs, all parameters and the state before; a higher order in float64."""
    num_steps, num_episodes = shape
    layers = cell.make_layers(6)
    generator = np.random.default_rng(0)
    values = {f"layer.{name}": generator.normal(size=tuple(part.shape)) for name, part in layers.named_parameters()}
    results = []
    for order, dtype in ((1, torch.float32), (2, torch.float64)):
        params = {name: torch.tensor(value, dtype=dtype, requires_grad=True) for name, value in values.items()}
        inputs = draw(1, num_steps, num_episodes, 6).to(dtype).requires_grad_()
        before = draw(2, num_episodes, SIZE).to(dtype).requires_grad_()
        state = (before, before if isinstance(cell, GRUCell) else 0.5 * before)
        outputs, after = cell.unroll(params, inputs, state, order=order)
        loss = (outputs * draw(3, *outputs.shape).to(dtype)).sum() + sum((part * part).sum() for part in after)
        results.append([outputs, *after, *torch.autograd.grad(loss, [inputs, before, *params.values()])])
    for first, second in zip(*results, strict=True):
        assert_close(first.double(), second, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("cell", [CELLS[0], CELLS[2]], ids=["tanh", "lstm"])
@pytest.mark.parametrize("batched", ["everything", "weights", "inputs", "nothing"])
def test_derivatives_in_float32_are_those_in_float64(monkeypatch, batched, cell):
    """The first, products with the second, and their derivatives, in all inputs, of tasks batched by `vmap`."""
    general = recurrence.unroll

    def unroll(layer, inputs, *others):
        assert inputs.dtype == torch.float64, "not compiled"
        return general(layer, inputs, *others)

    monkeypatch.setattr(recurrence, "unroll", unroll)

    def results(dtype):
        inputs, weight, *state = (part.to(dtype) for part in inputs_of(cell, TASKS))
        dims: list[int | None] = [1, 0, *(0 for _ in state)]
        if batched in ("weights", "nothing"):
            inputs, state, dims = inputs[:, 0], [part[0] for part in state], [None, 0, *(None for _ in state)]
        if batched in ("inputs", "nothing"):
            weight, dims[1] = weight[0], None
        num_gates = weight.shape[-2]
        eye, zero = torch.eye(num_gates, dtype=dtype), torch.zeros(num_gates, dtype=dtype)
        own = {"layer.ih.weight": eye, "layer.ih.bias": zero, "layer.hh.bias": zero}

        def loss(inputs, weight, *state):
            outputs, after = cell.unroll({**own, "layer.hh.weight": weight}, inputs, state)
            return sum((torch.sin(part) * draw(9, *part.shape).to(dtype)).sum() for part in (outputs, *after))

        def slopes(*arguments):
            gradient = torch.func.grad(loss, argnums=tuple(range(len(dims))))
            return gradient(*arguments) if batched == "nothing" else torch.func.vmap(gradient, tuple(dims))(*arguments)

        def product(*arguments):
            found, pull = torch.func.vjp(slopes, *arguments)  # type: ignore[misc]
            return pull(tuple(torch.cos(part) for part in found))

        arguments = (inputs, weight, *state)
        second, pull = torch.func.vjp(product, *arguments)  # type: ignore[misc]
        return *slopes(*arguments), *second, *pull(tuple(torch.cos(part) for part in second))

    for low, high in zip(results(torch.float32), results(torch.float64), strict=True):
        assert_close(low.double(), high, rtol=1e-4, atol=1e-4 * float(high.abs().max()))


LINEAR = LinearRecurrenceCell("layer", SIZE, horizon=5)
COMPILED = pytest.mark.parametrize("cell", [CELLS[0], CELLS[2], LINEAR], ids=["tanh", "lstm", "linear"])


def parameters_and_inputs(cell, dtype, num_inputs=3):
    """All parameters of a cell with inputs of another length than its gates, inputs, and a state."""
    modules = torch.nn.ModuleDict({"layer": cell.make_layers(num_inputs)}).named_parameters()
    params = {name: draw(20 + i, *value.shape).to(dtype) for i, (name, value) in enumerate(modules)}
    shapes = [part.shape for part in cell.initial_state(params, (EPISODES,))]
    state = [draw(2 + i, *shape).to(dtype) for i, shape in enumerate(shapes)]
    return params, draw(0, STEPS, EPISODES, num_inputs).to(dtype), state


def gradient_of(cell, inputs, state, *, by_inputs=False):
    """Gradient of a loss of all that `cell` returns as a function of its parameters, or of parameters and inputs."""

    def loss(params, inputs):
        outputs, after = cell.unroll(params, inputs, state)
        return sum((torch.sin(part) * draw(9, *part.shape).to(part)).sum() for part in (outputs, *after))

    if by_inputs:
        return lambda params: torch.func.grad(loss, argnums=(0, 1))(params, inputs)
    return lambda params: torch.func.grad(loss)(params, inputs)


@COMPILED
@pytest.mark.parametrize("by_inputs", [False, True])
@pytest.mark.parametrize("batched", [False, True])
def test_derivatives_in_all_parameters_in_float32_are_those_in_float64(cell, by_inputs, batched):
    """The first, products with the second, and their derivatives, whether inputs are to be differentiated or not.

    Of one task, and the first two of several with weights of their own that see the same: with a third one,
    PyTorch 2.13 fails an assertion of its own.
    """

    def waves(found):
        """Cotangents that depend on what was found, of which hundreds are as exact as ones."""
        return torch.cos(0.01 * found)

    def results(dtype):
        params, inputs, state = parameters_and_inputs(cell, dtype)
        gradient = gradient_of(cell, inputs, state, by_inputs=by_inputs)

        def product(params):
            found, pull = torch.func.vjp(gradient, params)  # type: ignore[misc]
            return pull(tree_map(waves, found))[0]

        def everything(params):
            second, pull = torch.func.vjp(product, params)  # type: ignore[misc]
            return tree_leaves((gradient(params), second, pull(tree_map(waves, second))))

        if not batched:
            return everything(params)

        def twice(params):
            return tree_leaves((gradient(params), product(params)))

        several = {name: torch.stack([value, 0.5 * value, -value]) for name, value in params.items()}
        return torch.func.vmap(twice)(several)

    for low, high in zip(results(torch.float32), results(torch.float64), strict=True):
        assert_close(low.double(), high, rtol=1e-4, atol=1e-4 * float(high.abs().max()))


@COMPILED
def test_cotangents_alone_may_be_batched(cell):
    """As in a Jacobian and a Hessian: the sequence is of one task, what comes back along it of many."""

    def results(dtype):
        params, inputs, state = parameters_and_inputs(cell, dtype)
        jacobian = torch.func.jacrev(lambda values: cell.unroll(values, inputs, state)[0])(params)
        hessian = torch.func.jacrev(gradient_of(cell, inputs, state))(params)
        return tree_leaves((jacobian, hessian))

    for low, high in zip(results(torch.float32), results(torch.float64), strict=True):
        assert_close(low.double(), high, rtol=1e-4, atol=1e-4 * float(high.abs().max()))


@COMPILED
def test_no_steps_leave_a_state_as_it_is(cell):
    params, inputs, state = parameters_and_inputs(cell, torch.float32)
    outputs, after = cell.unroll(params, inputs[:0], state)
    assert outputs.shape == (0, EPISODES, SIZE)
    assert_close(after, tuple(state))
    gradient = gradient_of(cell, inputs[:0], state)(params)
    assert all((value == 0).all() for value in gradient.values())


@pytest.mark.parametrize("rows", [1, 3, 4, 20])
def test_products_in_blocks_are_products(rows):
    """With 128 units a block is three rows."""
    seen, weight = draw(1, rows, 137).float().numpy(), draw(2, 137, 512).float().numpy()
    out = np.full((rows, 512), np.nan, np.float32)
    multiply(seen, weight, out)
    np.testing.assert_allclose(out, seen @ weight, rtol=1e-4, atol=1e-4)


def test_a_linear_recurrence_of_no_steps_is_nothing():
    assert linear_recurrence(draw(0, 1, 2, 0), draw(1, 1, 2, 0), draw(2, 2, 0)).shape == (1, 2, 0)
