"""Memories keep what they are told to keep, and nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from maml_rl.policies.memory.geometric_memory import (
    GeometricMemory,
    MemoryCommand,
    MemoryState,
    fibonacci_sphere,
    rotate,
    unit,
)
from maml_rl.policies.memory.slot_derivatives import SlotSequence

pytestmark = pytest.mark.numerical

WIDTH = 4


def draw(seed, *shape, scale=1.0):
    return scale * torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def memory(addresses, *, sharpness):
    """A memory with these addresses (S, 3) and empty slots; heads at the first slot."""
    slots = GeometricMemory("memory", len(addresses), WIDTH)
    return slots, {
        "memory.addresses": addresses,
        "memory.contents": torch.zeros(len(addresses), WIDTH).double(),
        "memory.read_head": addresses[0],
        "memory.write_head": addresses[0],
        "memory.log_sharpness": torch.tensor(math.log(sharpness)).double(),
    }


@pytest.fixture
def axes():
    """Six slots on the axes, so far apart that a head at one hardly sees the others."""
    return memory(torch.cat([torch.eye(3), -torch.eye(3)]).double(), sharpness=40.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_heads_stay_on_the_sphere_for_ten_thousand_steps(dtype):
    heads = unit(draw(1, 5, 3).to(dtype))
    turns = draw(2, 10_000, 5, 3, scale=0.7).to(dtype)
    worst = 0.0
    for turn in turns:
        heads = rotate(heads, turn)
        worst = max(worst, float((heads.norm(dim=-1) - 1.0).abs().max()))
    assert worst < 1e-6


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-3, 1.0, 10.0])
def test_turning_back_undoes_a_turn(scale):
    heads, turns = unit(draw(1, 50, 3)), draw(2, 50, 3, scale=scale)
    assert_close(rotate(rotate(heads, turns), -turns), heads, rtol=0, atol=1e-9)


def test_a_turn_is_the_exponential_of_its_cross_product_matrix():
    heads, turns = unit(draw(1, 20, 3)), draw(2, 20, 3)
    generators = torch.zeros(20, 3, 3).double()
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        generators[:, j, i], generators[:, i, j] = turns[:, k], -turns[:, k]
    expected = (torch.linalg.matrix_exp(generators) @ heads.unsqueeze(-1))[..., 0]
    assert_close(rotate(heads, turns), expected, rtol=0, atol=1e-9)


def of_slots(dtype, *, lead=()):
    """Writes, values, reads and first contents of five steps of two episodes with three slots of two values."""
    shapes = ((5, *lead, 2, 3), (5, *lead, 2, 2), (5, *lead, 2, 3), (*lead, 2, 6))
    return [torch.sigmoid(draw(seed, *shape)).to(dtype) for seed, shape in enumerate(shapes)]


def slot_loop(writes, values, reads, begin):
    """The same as `SlotSequence` by a loop that autograd follows step by step."""
    contents, found = [begin.unflatten(-1, (3, 2))], []
    for write, value, read in zip(writes, values, reads, strict=True):
        write = write.unsqueeze(-1)
        contents.append((1.0 - write) * contents[-1] + write * value.unsqueeze(-2))
        found.append((read.unsqueeze(-1) * contents[-1]).sum(-2))
    return torch.stack(found), torch.stack(contents).flatten(-2)


def three_derivatives(function, arguments):
    """Values, slopes of a loss of them, products with their derivative, and the derivative of these."""

    def loss(*values):
        return sum((torch.sin(part) * draw(9, *part.shape).to(part)).sum() for part in function(*values))

    def product(*values):
        slopes, pull = torch.func.vjp(torch.func.grad(loss, argnums=(0, 1, 2, 3)), *values)  # type: ignore[misc]
        return *slopes, *pull(tuple(torch.cos(part) for part in slopes))

    products, pull = torch.func.vjp(product, *arguments)  # type: ignore[misc]
    return *function(*arguments), *products, *pull(tuple(torch.cos(part) for part in products))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batched", [(), (0,), (3,), (0, 1, 2, 3)], ids=str)
def test_slots_along_a_sequence_and_their_derivatives_are_those_of_a_plain_loop(dtype, batched):
    """Also where tasks are batched by `vmap`, whichever arguments are theirs and whichever shared."""

    def found(function):
        if not batched:
            return three_derivatives(function, of_slots(dtype))
        own = of_slots(dtype, lead=(4,))
        dims = tuple((0 if i == 3 else 1) if i in batched else None for i in range(4))
        arguments = [part if i in batched else (part[0] if i == 3 else part[:, 0]) for i, part in enumerate(own)]
        return torch.func.vmap(lambda *values: three_derivatives(function, values), dims)(*arguments)

    compiled, plain = found(lambda *values: SlotSequence.apply(0, *values)), found(slot_loop)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    for ours, theirs in zip(compiled, plain, strict=True):
        assert_close(ours, theirs, rtol=tolerance, atol=tolerance * max(1.0, float(theirs.abs().max())))


def test_cotangents_of_slots_alone_may_be_batched():
    """As in a Jacobian and a Hessian: the sequence is of one task, what comes back along it of many."""

    def matrices(function):
        def loss(*values):
            return sum((torch.sin(part) * draw(9, *part.shape)).sum() for part in function(*values))

        def gradient(*values):
            return torch.func.grad(loss, argnums=(0, 1, 2, 3))(*values)

        every = (0, 1, 2, 3)
        arguments = of_slots(torch.float64)
        return torch.func.jacrev(function, every)(*arguments), torch.func.jacrev(gradient, every)(*arguments)

    assert_close(matrices(lambda *values: SlotSequence.apply(0, *values)), matrices(slot_loop))


def test_a_memory_that_is_not_compiled_is_the_same(monkeypatch):
    """As on a GPU: all contents by a linear recurrence of tensors."""
    slots = GeometricMemory("memory", 4, WIDTH)
    params = {name: draw(i, *shape) for i, (name, shape) in enumerate(slots.shapes.items())}
    params = {f"memory.{name}": value for name, value in params.items()}
    shapes = ((5, 2, 3), (5, 2, 3), (5, 2, 1), (5, 2, WIDTH))
    commands = MemoryCommand(*(torch.sigmoid(draw(9 + i, *shape)) for i, shape in enumerate(shapes)))

    def unrolled(values):
        read, after = slots.unroll(values, commands, slots.initial_state(values, (2,)))
        return [read, *after]

    def slopes():
        return torch.func.grad(lambda values: sum(part.sin().sum() for part in unrolled(values)))(params)

    compiled, gradient = unrolled(params), slopes()
    monkeypatch.setattr(SlotSequence, "forward", None)
    with pytest.raises(TypeError):
        unrolled(params)
    monkeypatch.setattr(slots, "compiles", lambda value: False)
    assert_close(unrolled(params), compiled)
    assert_close(slopes(), gradient)


def test_derivatives_at_no_turn_are_finite():
    def turned(turn):
        return rotate(torch.tensor([1.0, 0.0, 0.0]).double(), turn)

    zero = torch.zeros(3).double()
    jacobian = torch.func.jacrev(turned)(zero)
    assert_close(jacobian, torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, -1, 0]]).double(), rtol=0, atol=1e-6)
    assert torch.func.jacrev(torch.func.jacrev(turned))(zero).isfinite().all()


def test_addresses_are_spread_evenly():
    points = fibonacci_sphere(16)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1.0)
    cosines = points @ points.T - 2.0 * np.eye(16)
    assert cosines.max() < 0.75
    assert np.abs(points.mean(0)).max() < 0.1


def test_a_slot_changes_by_no_more_than_the_attention_it_gets():
    slots, params = memory(torch.from_numpy(fibonacci_sphere(16)), sharpness=8.0)
    state = MemoryState(draw(1, 7, 16, WIDTH).clamp(-0.5, 0.5), unit(draw(2, 7, 3)), unit(draw(3, 7, 3)))
    command = MemoryCommand(
        torch.zeros(7, 3).double(), draw(4, 7, 3), torch.ones(7, 1).double(), draw(5, 7, WIDTH).clamp(-0.5, 0.5)
    )
    _, after = slots.advance(params, command, state)
    attention = slots.attention(params, after.write_head)
    change = (after.contents - state.contents).abs().amax(-1)
    assert (change <= attention + 1e-12).all()
    assert change.max() > 0.1
    assert change.min() < 1e-3
    closed = command._replace(gate=torch.zeros(7, 1).double())
    assert_close(slots.advance(params, closed, state)[1].contents, state.contents, rtol=0, atol=0)


def test_a_value_comes_back_after_a_thousand_distractors(axes):
    slots, params = axes
    state = slots.initial_state(params, (1,))
    value = torch.tensor([[0.5, -0.5, 0.3, -0.1]]).double()
    still, gate = torch.zeros(1, 3).double(), torch.ones(1, 1).double()
    _, state = slots.advance(params, MemoryCommand(still, still, gate, value), state)
    away = torch.tensor([[0.0, 0.0, math.pi / 2]]).double()  # from the x axis to the y axis
    rng = np.random.default_rng(0)
    _, state = slots.advance(params, MemoryCommand(away, away, gate, torch.zeros(1, WIDTH).double()), state)
    for _ in range(998):
        noise = torch.from_numpy(rng.uniform(-0.5, 0.5, (1, WIDTH)))
        _, state = slots.advance(params, MemoryCommand(still, still, gate, noise), state)
    read, _ = slots.advance(params, MemoryCommand(-away, -away, 0.0 * gate, value), state)
    assert (read - value).abs().max() < 1e-3


@pytest.mark.slow
def test_gradients_stay_finite_over_a_thousand_steps(axes):
    slots, params = axes
    params = {name: value.clone().requires_grad_() for name, value in params.items()}
    state = slots.initial_state(params, (2,))
    turns, values = draw(1, 1000, 2, 2, 3, scale=0.3), draw(2, 1000, 2, WIDTH).clamp(-0.5, 0.5)
    turns.requires_grad_()
    total = torch.tensor(0.0).double()
    for turn, value in zip(turns, values, strict=True):
        command = MemoryCommand(turn[0], turn[1], torch.full((2, 1), 0.5).double(), value)
        read, state = slots.advance(params, command, state)
        total = total + read.sum()
    for gradient in torch.autograd.grad(total, [*params.values(), turns]):
        assert gradient.isfinite().all()


def test_episodes_do_not_see_each_other(axes):
    slots, params = axes
    state = slots.initial_state(params, (3,))
    command = MemoryCommand(*(draw(i, 3, n) for i, n in enumerate((3, 3, 1, WIDTH))))
    together, _ = slots.advance(params, command, state)
    for episode in range(3):
        only = slice(episode, episode + 1)
        alone, _ = slots.advance(
            params, MemoryCommand(*(part[only] for part in command)), MemoryState(*(part[only] for part in state))
        )
        assert_close(alone, together[only])
