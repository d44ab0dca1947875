"""The inner loop and its derivatives against finite differences, plain autograd and torch.func."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from maml_rl.adaptation import INNER_OBJECTIVES, adapt, expand, inner_loss, policy_distribution
from maml_rl.episode import LearningData
from maml_rl.linearisation import linearise
from maml_rl.objectives import linearised_curvature, meta_gradient, surrogate, surrogate_loss
from maml_rl.policies import PolicySpec
from maml_rl.tests.builders import (
    ENCODED_SPECS,
    POLICIES_AND_OBJECTIVES,
    POLICY_SPECS,
    flat,
    hessian,
    pick,
    random_like,
    spec_id,
    tiny_data,
    tiny_inner,
    tiny_policy,
    unflat,
    with_step_sizes,
)

pytestmark = [pytest.mark.numerical, pytest.mark.usefixtures("float64")]
every_policy = pytest.mark.parametrize("spec", POLICY_SPECS, ids=spec_id)
every_policy_and_objective = pytest.mark.parametrize(("spec", "objective"), POLICIES_AND_OBJECTIVES)
every_way_to_adapt = pytest.mark.parametrize(
    ("spec", "settings"),
    [
        *(pytest.param(each.values[0], {"objective": each.values[1]}, id=each.id) for each in POLICIES_AND_OBJECTIVES),
        *(pytest.param(s, {"head_only": True}, id=f"{spec_id(s)}-head") for s in POLICY_SPECS if s.name != "plastic"),
        *(
            pytest.param(s, {"step_sizes": shapes, "head_only": head}, id=f"{spec_id(s)}-{shapes}-{head}")
            for s in POLICY_SPECS
            for shapes, head in (("layer", False), ("parameter", False), ("parameter", True))
            if s.name == "mlp"
        ),
        *(pytest.param(spec, {}, id=spec_id(spec)) for spec in ENCODED_SPECS),
        *(pytest.param(s, {"head_only": True}, id=f"{spec_id(s)}-head") for s in ENCODED_SPECS if s.name == "mlp"),
    ],
)
one_or_two_steps = pytest.mark.parametrize("num_steps", [1, 2])
TASKS = 2


def case(spec, num_steps, *, step_sizes="none", **inner_settings):
    """Inner loop, parameters, training episodes of each step, validation episodes."""
    policy, params = tiny_policy(spec)
    train = [tiny_data(spec, seed) for seed in range(1, num_steps + 1)]
    inner = tiny_inner(policy, learns_step_sizes=step_sizes != "none", **inner_settings)
    if inner.learns_step_sizes:
        params = with_step_sizes(inner, params, step_sizes)
    return inner, params, train, tiny_data(spec, 9)


def slope(function, values, direction, step=1e-4):
    """Directional derivative by central differences of fourth order."""

    def at(scale):
        return function({name: value + scale * step * direction[name] for name, value in values.items()})

    near, far = (at(1), at(-1)), (at(2), at(-2))
    return {k: (8 * (near[0][k] - near[1][k]) - (far[0][k] - far[1][k])) / (12 * step) for k in near[0]}


def adapt_task_by_autograd(inner, params, episodes, task):
    """The inner loop of one task, written with nothing but torch.autograd."""
    phi = {name: value.clone().requires_grad_() for name, value in params.items()}
    for step, data in enumerate(episodes):
        loss = inner_loss(inner, phi, pick(data, task))
        gradients = torch.autograd.grad(loss, [phi[name] for name in inner.adapting])
        sizes = {name: params.get(f"fast_lr.{name}", inner.fast_lr) for name in inner.adapting}
        factor = inner.later_factor if step else 1.0
        moved = {n: phi[n] - factor * sizes[n] * g for n, g in zip(inner.adapting, gradients, strict=True)}
        phi = {name: moved.get(name, value).detach().requires_grad_() for name, value in phi.items()}
    return {name: phi[name].detach() for name in inner.names}


@every_policy_and_objective
def test_the_inner_loss_is_minus_the_mean_of_the_advantages_times_the_objective_s_factor(spec, objective):
    inner, params, (data,), _ = case(spec, 1, objective=objective)
    first = pick(data, 0)
    log_prob = policy_distribution(inner.policy, params, first).log_prob(first.actions)
    ratio = log_prob.exp() / first.log_probs.exp()
    product = ratio.cumprod(0)
    weight = {"reinforce": log_prob, "lvc": ratio, "dice": product - product / ratio}[objective]
    steps = [(t, b) for t in range(4) for b in range(3) if first.mask[t, b] == 1]
    expected = -sum(weight[s] * first.advantages[s] for s in steps) / len(steps)
    assert_close(inner_loss(inner, params, first), expected)


@every_policy
def test_all_objectives_adapt_alike_to_the_policy_s_own_episodes(spec):
    inner, params, (data,), _ = case(spec, 1)
    own = [policy_distribution(inner.policy, params, pick(data, m)).log_prob(data.actions[m]) for m in range(TASKS)]
    data = data._replace(log_probs=torch.stack(own))
    adapted = [adapt(replace(inner, objective=objective), params, [data]) for objective in sorted(INNER_OBJECTIVES)]
    for other in adapted[1:]:
        assert_close(other, adapted[0])


def test_only_the_ratios_hessians_are_on_average_that_of_the_expected_reward():
    spec = PolicySpec("mlp", 1, 3, continuous=False, hidden_sizes=(2,), nonlinearity="tanh")
    policy, params = tiny_policy(spec)
    inner = tiny_inner(policy)
    theta, rewards = flat(params, inner.names), torch.tensor([0.2, -1.0, 0.7])

    def probabilities(values):
        return policy.step(values, torch.ones(3, 1), ())[0].log_prob(torch.arange(3)).exp()

    def expected_reward(vector):
        return probabilities(unflat(vector, params, inner.names)) @ rewards

    def mean_hessian(objective):
        total = torch.zeros(len(theta), len(theta))
        for action, probability in enumerate(probabilities(params)):
            one = torch.ones(1, 1)
            data = LearningData(
                torch.ones(1, 1, 1), torch.full((1, 1), action), one, probability.log() * one, rewards[action] * one
            )

            def loss(vector, data=data):
                return inner_loss(replace(inner, objective=objective), unflat(vector, params, inner.names), data)

            total += probability * hessian(loss)(theta)
        return total

    exact = -hessian(expected_reward)(theta)
    assert_close(mean_hessian("lvc"), exact)
    assert_close(mean_hessian("dice"), exact)
    assert (mean_hessian("reinforce") - exact).abs().max() > 0.1 * exact.abs().max()


@every_way_to_adapt
@one_or_two_steps
def test_adaptation_is_gradient_descent_on_every_task_by_itself(spec, num_steps, settings):
    inner, params, train, _ = case(spec, num_steps, **settings)
    adapted = adapt(inner, params, train)
    for task in range(TASKS):
        expected = adapt_task_by_autograd(inner, params, train, task)
        assert_close({name: value[task] for name, value in adapted.items()}, expected)


@every_way_to_adapt
@one_or_two_steps
def test_the_meta_gradient_is_the_derivative_of_the_loss_after_adaptation(spec, num_steps, settings):
    inner, params, train, valid = case(spec, num_steps, **settings)
    gradients, _, old = meta_gradient(inner, params, train, valid)

    def losses(values):
        phi = adapt(inner, {**params, **values}, train)
        each = []
        for task in range(TASKS):
            data, moved = pick(valid, task), {**params, **{k: v[task] for k, v in phi.items()}}
            log_prob = policy_distribution(inner.policy, moved, data).log_prob(data.actions)
            each.append(surrogate_loss(log_prob, pick(old, task).log_prob(data.actions), data))
        return {"losses": torch.stack(each)}

    assert set(gradients) == set(inner.meta_names)
    for seed in range(8):
        way = random_like(params, inner.meta_names, seed)
        slopes = sum((gradients[name] * way[name]).reshape(TASKS, -1).sum(1) for name in inner.meta_names)
        values = {name: params[name] for name in inner.meta_names}
        assert_close({"losses": slopes}, slope(losses, values, way), rtol=1e-6, atol=1e-8)


@every_way_to_adapt
@one_or_two_steps
def test_forward_and_transpose_are_the_derivatives_of_adapt(spec, num_steps, settings):
    inner, params, train, _ = case(spec, num_steps, **settings)
    learning = {name: params[name] for name in inner.meta_names}
    adaptation = linearise(inner, params, train)

    def adapted(values):
        return adapt(inner, {**params, **values}, train)

    direction = random_like(params, inner.meta_names, 5)
    assert_close(adaptation.learning, adapted(learning))
    assert_close(
        adaptation.forward(expand(direction, TASKS)), slope(adapted, learning, direction), rtol=1e-6, atol=1e-7
    )

    gradient = random_like(params, inner.names, 6, TASKS)
    (pulled,) = torch.func.vjp(adapted, learning)[1](gradient)
    assert_close({k: v.sum(0) for k, v in adaptation.transpose(gradient).items()}, pulled)


@every_policy
def test_the_path_of_all_episodes_changes_nothing(spec):
    inner, params, train, _ = case(spec, 2)
    path = [expand(inner.split(params)[0], TASKS), adapt(inner, params, train[:1]), adapt(inner, params, train)]
    plain, along = linearise(inner, params, train), linearise(inner, params, train, path=path)
    direction = random_like(params, inner.names, 5, TASKS)
    assert_close(along.learning, plain.learning)
    assert_close(along.forward(direction), plain.forward(direction))
    assert_close(along.transpose(direction), plain.transpose(direction))


@every_policy
def test_along_a_path_the_hessians_are_those_of_its_points(spec):
    inner, params, train, _ = case(spec, 2)
    path = [random_like(params, inner.names, seed, TASKS) for seed in (11, 12, 13)]
    adaptation = linearise(inner, params, train, path=path)
    direction = random_like(params, inner.names, 5, TASKS)
    forward = adaptation.forward(direction)
    assert adaptation.learning is path[-1]
    for task in range(TASKS):
        expected = flat({k: v[task] for k, v in direction.items()}, inner.names)
        for size, data, point in zip((0.5, 0.35), train, path[:-1], strict=True):
            theta = flat({k: v[task] for k, v in point.items()}, inner.names)

            def loss(vector, task_data):
                return inner_loss(inner, {**params, **unflat(vector, params, inner.names)}, task_data)

            expected = expected - size * hessian(loss)(theta, pick(data, task)) @ expected
        assert_close(flat({k: v[task] for k, v in forward.items()}, inner.names), expected)


@every_policy
@one_or_two_steps
def test_first_order_gives_exactly_the_gradient_at_the_adapted_parameters(spec, num_steps):
    inner, params, train, valid = case(spec, num_steps, first_order=True)
    gradients, _, _ = meta_gradient(inner, params, train, valid)
    frozen = inner.split(params)[1]

    def loss(values, data):
        log_prob = policy_distribution(inner.policy, {**frozen, **values}, data).log_prob(data.actions)
        return surrogate_loss(log_prob, log_prob.detach(), data)

    plain = torch.func.vmap(torch.func.grad(loss))(adapt(inner, params, train), valid)
    assert_close(gradients, plain, rtol=0, atol=0)


@every_policy
def test_first_order_sees_the_identity_through_adaptation(spec):
    inner, params, train, _ = case(spec, 2, first_order=True)
    learning, frozen = inner.split(params)
    gradient = random_like(params, inner.names, 5, TASKS)
    pull = torch.func.vjp(lambda values: adapt(inner, {**frozen, **values}, train), learning)[1]
    assert_close(pull(gradient)[0], {name: value.sum(0) for name, value in gradient.items()}, rtol=0, atol=0)
    adapted = adapt(replace(inner, first_order=False), params, train)
    assert_close(adapt(inner, params, train), adapted, rtol=0, atol=0)


@every_policy
def test_frozen_parameters_do_not_move_but_act(spec):
    inner, params, train, valid = case(spec, 2)
    frozen_name, *names = inner.names
    inner = replace(inner, names=tuple(names))
    adapted = adapt(inner, params, train)
    gradients, losses, _ = meta_gradient(inner, params, train, valid)
    assert set(adapted) == set(gradients) == set(names)
    for task in range(TASKS):
        expected = adapt_task_by_autograd(inner, params, train, task)
        assert_close({name: value[task] for name, value in adapted.items()}, expected)
    other = {**params, frozen_name: params[frozen_name] + random_like(params, [frozen_name], 7)[frozen_name]}
    assert not torch.allclose(meta_gradient(inner, other, train, valid)[0][names[0]], gradients[names[0]])
    assert losses.shape == (TASKS,)


@every_policy
def test_no_inner_step_is_an_inner_step_of_length_zero(spec):
    inner, params, train, valid = case(spec, 1, fast_lr=0.0)
    direction = random_like(params, inner.names, 5)
    assert_close(meta_gradient(inner, params, [], valid)[:2], meta_gradient(inner, params, train, valid)[:2])
    without = linearised_curvature(inner, params, [], valid)(direction)
    assert_close(without, linearised_curvature(inner, params, train, valid)(direction))
    old = meta_gradient(inner, params, [], valid)[2]
    moved = {name: value + 0.1 * direction[name] for name, value in params.items()}
    assert_close(surrogate(inner, moved, [], valid, old), surrogate(inner, moved, train, valid, old))
