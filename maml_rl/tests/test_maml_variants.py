"""ProMP, E-MAML, Meta-SGD, Reptile and DiCE against closed forms and plain automatic differentiation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from maml_rl.adaptation import (
    INNER_OBJECTIVES,
    STEP_SIZE,
    adapt,
    adaptation_path,
    expand,
    inner_loss,
    masked_mean,
    policy_distribution,
)
from maml_rl.agent import Agent
from maml_rl.algorithms import make_algorithm
from maml_rl.algorithms.maml import MAML
from maml_rl.episode import LearningData
from maml_rl.evaluation import evaluate
from maml_rl.experiment import train
from maml_rl.linearisation import linearise
from maml_rl.metalearners.minibatches import minibatches
from maml_rl.objectives import credit_loss, linearised_curvature, meta_gradient, surrogate
from maml_rl.policies import PolicySpec
from maml_rl.proximal import ProximalWeights, clipped_loss, distributions_along, proximal_gradient, proximal_terms
from maml_rl.run_folder import RunFolder, RunFolderError
from maml_rl.samplers import SerialBackend
from maml_rl.samplers.maml_worker import MAMLWorker
from maml_rl.settings import ProMPSettings
from maml_rl.shard import Shard
from maml_rl.tests.builders import (
    MAML_VARIANTS,
    POLICY_SPECS,
    flat,
    hessian,
    pick,
    random_like,
    spec_id,
    tiny_config,
    tiny_data,
    tiny_inner,
    tiny_policy,
    unflat,
    with_step_sizes,
)
from maml_rl.utils.errors import InputError
from maml_rl.utils.random import Purpose, generator

pytestmark = [pytest.mark.numerical, pytest.mark.usefixtures("float64")]
MLPS = [spec for spec in POLICY_SPECS if spec.name == "mlp"]
every_mlp = pytest.mark.parametrize("spec", MLPS, ids=spec_id)
TASKS = 2
CREDIT = torch.tensor([0.7, -1.3], dtype=torch.float64)
every_variant = pytest.mark.parametrize("variant", MAML_VARIANTS)


def case(spec, num_steps=1, *, step_sizes="none"):
    """Inner loop, parameters and episodes of every inner step and after the last."""
    policy, params = tiny_policy(spec)
    inner = tiny_inner(policy, learns_step_sizes=step_sizes != "none")
    if inner.learns_step_sizes:
        params = with_step_sizes(inner, params, step_sizes)
    return inner, params, [tiny_data(spec, seed) for seed in range(1, num_steps + 2)]


def old_policies(inner, params, episodes):
    """Distributions of the policies before every inner step and after the last."""
    return distributions_along(inner, params, adaptation_path(inner, params, episodes[:-1], num_tasks=TASKS), episodes)


def moved(inner, params, scale=0.2):
    """Other parameters, far enough for some ratios to be clipped."""
    way = random_like(params, inner.names, 3)
    return {name: value + scale * way[name] if name in way else value for name, value in params.items()}


def new_policy(inner, params, values, data, task):
    """Distribution of one task's policy along its episodes."""
    return policy_distribution(inner.policy, {**params, **{k: v[task] for k, v in values.items()}}, pick(data, task))


def gradient_by_autograd(inner, params, loss):
    """Derivative of losses (M,), a function of the meta-learned values, without anything of the outer loop's code."""
    values = {name: params[name] for name in inner.meta_names}
    return torch.func.jacrev(loss)(values)


def proximal_loss_in_full(inner, params, episodes, old, coefs, entropy_coef):
    """The loss of ProMP with a bonus for entropy as a function of the meta-learned values, written step by step."""

    def loss(values):
        path, each = adaptation_path(inner, {**params, **values}, episodes[:-1]), []
        for task in range(TASKS):
            data, before = pick(episodes[-1], task), pick(old[-1], task)
            new = new_policy(inner, {**params, **values}, path[-1], episodes[-1], task)
            ratio = new.log_prob(data.actions).exp() / before.log_prob(data.actions).exp()
            lower = torch.where(data.advantages > 0, ratio.clamp(max=1.2), ratio.clamp(min=0.8))
            gains = lower * data.advantages + entropy_coef * new.entropy()
            total = -(gains * data.mask).sum() / data.mask.sum()
            for k, coef in enumerate(coefs):
                policy = new_policy(inner, {**params, **values}, path[k], episodes[k], task)
                total = total + coef / len(coefs) * masked_mean(pick(old[k], task).kl(policy), episodes[k].mask[task])
            each.append(total)
        return torch.stack(each)

    return loss


@every_mlp
@pytest.mark.parametrize("coefs", [[0.0], [0.3], [0.3, 0.7]], ids=str)
@pytest.mark.parametrize("step_sizes", ["none", "parameter"])
def test_the_proximal_gradient_is_that_of_the_loss_in_full(spec, coefs, step_sizes):
    num_steps = len(coefs)
    inner, params, episodes = case(spec, num_steps, step_sizes=step_sizes)
    old = old_policies(inner, params, episodes)
    elsewhere = moved(inner, params)
    loss = proximal_loss_in_full(inner, elsewhere, episodes, old, coefs, 0.3)
    weights = ProximalWeights(0.2, coefs, 0.3)
    terms = proximal_terms(inner, elsewhere, episodes, old, weights)
    assert terms.clipped.max() > 0.1
    assert (terms.inner_divergences > 1e-3).all()
    assert_close(terms.losses, loss({name: elsewhere[name] for name in inner.meta_names}))
    gradient = proximal_gradient(inner, elsewhere, episodes, old, weights)
    expected = gradient_by_autograd(inner, elsewhere, loss)
    assert_close({name: gradient[name] for name in expected}, expected)


@every_mlp
@pytest.mark.parametrize("num_steps", [0, 1, 2])
def test_at_the_old_parameters_the_proximal_gradient_is_the_plain_meta_gradient(spec, num_steps):
    inner, params, episodes = case(spec, num_steps)
    old, coefs = old_policies(inner, params, episodes), [5.0] * num_steps
    gradient = proximal_gradient(inner, params, episodes, old, ProximalWeights(0.2, coefs))
    plain, losses, _ = meta_gradient(inner, params, episodes[:-1], episodes[-1])
    assert_close(gradient, plain)
    terms = proximal_terms(inner, params, episodes, old, ProximalWeights(0.2, coefs))
    assert_close(terms.losses, losses)
    assert not terms.clipped.any()
    assert_close(terms.inner_divergences, torch.zeros(num_steps, TASKS))


def test_ratios_beyond_the_clip_range_gain_nothing_but_lose():
    ratios = torch.tensor([0.5, 0.9, 1.1, 1.5]).repeat(2, 1)  # with positive advantages, then with negative ones
    advantages = torch.tensor([[1.0], [-1.0]]).expand(2, 4)
    mask = torch.ones(2, 4)
    data = LearningData(mask, mask, mask, mask, advantages)

    def loss(log_prob):
        return 8 * clipped_loss(log_prob, torch.zeros(2, 4), data, 0.2)

    slopes = torch.func.grad(loss)(ratios.log())
    assert_close(loss(ratios.log()), -torch.tensor(0.5 + 0.9 + 1.1 + 1.2 - 0.8 - 0.9 - 1.1 - 1.5))
    assert_close(slopes, -ratios * advantages * torch.tensor([[1.0, 1, 1, 0], [0, 1, 1, 1]]))


@every_mlp
@pytest.mark.parametrize("num_steps", [1, 2])
def test_credit_to_exploration_adds_its_own_gradient_through_the_inner_loop(spec, num_steps):
    inner, params, (*early, valid) = case(spec, num_steps)
    gradient, losses, old = meta_gradient(inner, params, early, valid, CREDIT)
    elsewhere = moved(inner, params)

    def loss(values):
        path, each = adaptation_path(inner, {**params, **values}, early), []
        for task in range(TASKS):
            data = pick(valid, task)
            new = new_policy(inner, params, path[-1], valid, task)
            ratio = new.log_prob(data.actions).exp() / pick(old, task).log_prob(data.actions).exp()
            total = -masked_mean(ratio * data.advantages, data.mask)
            for k, episodes in enumerate(early):
                before = pick(episodes, task)
                log_prob = new_policy(inner, params, path[k], episodes, task).log_prob(before.actions)
                total = total - CREDIT[task] * masked_mean((log_prob - before.log_probs).exp(), before.mask)
            each.append(total)
        return torch.stack(each)

    names = inner.meta_names
    assert_close(gradient, gradient_by_autograd(inner, params, loss))
    assert_close(losses, loss({name: params[name] for name in names}))
    assert_close(surrogate(inner, elsewhere, early, valid, old, CREDIT)[0], loss({n: elsewhere[n] for n in names}))
    plain, _, _ = meta_gradient(inner, params, early, valid)
    assert (flat(pick(plain, 0), names) - flat(pick(gradient, 0), names)).abs().max() > 1e-2
    assert_close(meta_gradient(inner, params, early, valid, torch.zeros(TASKS))[0], plain)


ARMS = PolicySpec("mlp", 1, 3, continuous=False, hidden_sizes=(2,), nonlinearity="tanh")
REWARDS = torch.tensor([0.2, -1.0, 0.7], dtype=torch.float64)


def one_pull(action, log_prob=None):
    """The episode (1, 1, 1, ...) of one pull; its recorded probability is 1 unless another one is given."""
    one = torch.ones(1, 1, 1)
    recorded = 0.0 * one if log_prob is None else log_prob.detach() * one
    return LearningData(torch.ones(1, 1, 1, 1), torch.full((1, 1, 1), action), one, recorded, REWARDS[action] * one)


def test_only_with_credit_the_mean_gradient_is_that_of_the_expected_return_after_adaptation():
    """Stadie et al. 2018, section 2: over all that might be pulled, of the policy that adapts to what it pulled."""
    policy, params = tiny_policy(ARMS)
    inner = tiny_inner(policy, objective="reinforce", fast_lr=2.0)
    theta = flat(params, inner.names)

    def probabilities(values):
        return policy.step(values, torch.ones(3, 1), ())[0].log_prob(torch.arange(3)).exp()

    def return_after(vector, action):
        adapted = adapt(inner, unflat(vector, params, inner.names), [one_pull(action)])
        return probabilities({name: value[0] for name, value in adapted.items()}) @ REWARDS

    def expected_return(vector):
        chances = probabilities(unflat(vector, params, inner.names))
        return torch.stack([chances[action] * return_after(vector, action) for action in range(3)]).sum()

    exact, with_credit, without = torch.func.grad(expected_return)(theta), torch.zeros(()), torch.zeros(())
    for action, chance in enumerate(probabilities(params)):
        obtained = return_after(theta, action)
        data = pick(one_pull(action, chance.log()), 0)

        def credited(vector, data=data, obtained=obtained):
            values = unflat(vector, params, inner.names)
            log_prob = policy_distribution(policy, values, data).log_prob(data.actions)
            return -credit_loss(log_prob, data, obtained.detach())

        without = without + chance * torch.func.grad(return_after)(theta, action)
        with_credit = with_credit + chance * torch.func.grad(credited)(theta)
    assert_close(without + with_credit, exact)
    assert (without - exact).abs().max() > 0.1 * exact.abs().max()


def test_only_dices_hessian_is_on_average_that_of_the_expected_return_of_several_steps():
    """Two steps, of which the second one's observation is the first one's action; all nine episodes are counted."""
    policy, params = tiny_policy(ARMS)
    inner = tiny_inner(policy)
    theta = flat(params, inner.names)
    rng = np.random.default_rng(0)
    first, second = torch.from_numpy(rng.normal(size=3)), torch.from_numpy(rng.normal(size=(3, 3)))
    shown = torch.tensor([[-1.0], [0.5], [2.0]])

    def chances(values):
        start = policy.step(values, torch.ones(3, 1), ())[0].log_prob(torch.arange(3))
        then = policy.step(values, shown, ())[0]
        return start, torch.stack([then.log_prob(torch.full((3,), a)) for a in range(3)], -1)  # (3,), (3, 3)

    def expected_return(vector):
        start, then = chances(unflat(vector, params, inner.names))
        return (start[:, None].exp() * then.exp() * (first[:, None] + second)).sum()

    def episode(a, b):
        start, then = chances(params)
        to_go = torch.stack([first[a] + second[a, b], second[a, b]])[:, None]
        observations = torch.stack([torch.ones(1), shown[a]])[:, None]
        log_probs = torch.stack([start[a], then[a, b]])[:, None].detach()
        return LearningData(observations, torch.tensor([[a], [b]]), torch.ones(2, 1), log_probs, to_go)

    def mean_hessian(objective):
        total, (start, then) = torch.zeros(len(theta), len(theta)), chances(params)
        for a, b in np.ndindex(3, 3):
            data = episode(a, b)

            def loss(vector, data=data):
                return 2 * inner_loss(replace(inner, objective=objective), unflat(vector, params, inner.names), data)

            total += (start[a] + then[a, b]).exp() * hessian(loss)(theta)
        return total

    exact = -hessian(expected_return)(theta)
    assert_close(mean_hessian("dice"), exact)
    for objective in set(INNER_OBJECTIVES) - {"dice"}:
        assert (mean_hessian(objective) - exact).abs().max() > 0.1 * exact.abs().max()
    assert (mean_hessian("lvc") - mean_hessian("reinforce")).abs().max() > 0.1 * exact.abs().max()


@every_mlp
def test_dice_is_the_magic_box_of_rewards_where_advantages_are_returns_to_go(spec):
    """Foerster et al. 2018, equation 5: the sum of rewards, each times the box of all actions until then."""
    policy, params = tiny_policy(spec)
    inner = tiny_inner(policy, objective="dice")
    data = pick(tiny_data(spec, 1), 0)
    rewards = torch.from_numpy(np.random.default_rng(0).normal(size=tuple(data.mask.shape))) * data.mask
    to_go = rewards.flip(0).cumsum(0).flip(0)

    def boxes(values):
        log_probs = policy_distribution(policy, values, data).log_prob(data.actions)
        box = ((log_probs - data.log_probs) * data.mask).cumsum(0).exp()
        return ((to_go[0] - (box * rewards).sum(0)).sum()) / data.mask.sum()

    assert_close(inner_loss(inner, params, data._replace(advantages=to_go)), boxes(params))


@every_mlp
@pytest.mark.parametrize("shape", ["layer", "parameter"])
def test_step_sizes_that_are_all_fast_lr_make_maml(spec, shape):
    inner, params, (*early, valid) = case(spec, 2)
    learned = replace(inner, learns_step_sizes=True)
    sized = {name: torch.full_like(size, 0.5) for name, size in with_step_sizes(learned, params, shape).items()}
    sized = {**sized, **params}
    assert_close(adapt(learned, sized, early), adapt(inner, params, early), rtol=0, atol=0)
    gradient, *rest = meta_gradient(learned, sized, early, valid)
    expected, *others = meta_gradient(inner, params, early, valid)
    assert_close({name: gradient[name] for name in inner.names}, expected)
    assert_close(rest, others)
    direction = random_like(sized, inner.names, 4)
    still = {name: torch.zeros_like(sized[name]) for name in learned.step_size_names}
    product = linearised_curvature(learned, sized, early, valid)({**direction, **still})
    plain = linearised_curvature(inner, params, early, valid)(direction)
    assert_close({name: product[name] for name in inner.names}, plain)
    assert all(gradient[name].abs().max() > 1e-4 for name in learned.step_size_names)


@every_mlp
def test_first_order_step_sizes_get_minus_the_inner_gradient_times_the_outer_one(spec):
    inner, params, (early, valid) = case(spec, step_sizes="parameter")
    inner = replace(inner, first_order=True)
    gradient, _, _ = meta_gradient(inner, params, [early], valid)
    adaptation = linearise(inner, params, [early])
    for name in inner.names:
        assert_close(gradient[STEP_SIZE + name], -adaptation.steps[0].gradients[name] * gradient[name])


def algorithm_of(variant, **changes):
    """A tiny run of one variant, in float64."""
    algorithm = make_algorithm(tiny_config(**MAML_VARIANTS[variant], **changes), dtype="float64")
    assert isinstance(algorithm, MAML)
    return algorithm


def learned(algorithm, num_shards, num_iterations=1):
    """Reports and parameters after some iterations."""
    learner = algorithm.learner(SerialBackend(algorithm.worker_spec, num_shards), algorithm.initial_parameters())
    reports = [learner.step(algorithm.sample_tasks(i), i) for i in range(num_iterations)]
    return [report.details for report in reports], learner.parameters


@pytest.fixture(scope="module")
def plain():
    """Initial weights of MAML with its own settings after an iteration."""
    (vector,) = learned(make_algorithm(tiny_config(), dtype="float64"), 1)[1]
    return vector


@every_variant
def test_a_variant_learns_the_same_for_any_number_of_shards_and_nothing_like_the_others(variant, plain):
    algorithm = algorithm_of(variant)
    details, parameters = learned(algorithm, 1)
    others, again = learned(algorithm, 3)
    for one, other in zip(details, others, strict=True):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(again, parameters, rtol=0, atol=1e-9)
    assert np.abs(parameters[0, : len(plain)] - plain).max() > 1e-6


def test_promps_coefficient_adapts_to_its_target():
    """A target that is far away halves the coefficient in every iteration."""
    algorithm = algorithm_of("promp", promp_inner_kl_coef=0.8).config.replace(promp_inner_kl_target=1e3)
    details, _ = learned(make_algorithm(algorithm, dtype="float64"), 1, 3)
    assert [row["inner_kl_coef"] for row in details] == [0.8, 0.4, 0.2]


def test_gradients_of_groups_of_tasks_add_up_to_that_of_all():
    algorithm = algorithm_of("promp")
    (theta,) = algorithm.initial_parameters()
    worker = algorithm.worker_spec.build(lambda: None)
    assert isinstance(worker, MAMLWorker)
    worker.collect(Shard.whole(algorithm.sample_tasks(0), iteration=0, seed=1), theta)
    worker.surrogate_gradient(theta)
    weights, elsewhere = ProximalWeights(0.2, [0.3], 0.1), theta + 0.05
    whole = worker.proximal_gradient(elsewhere, weights)
    groups = [worker.proximal_gradient(elsewhere, weights, tasks) for tasks in ([0, 3], [4], [1, 2])]
    np.testing.assert_allclose(sum(groups), whole, rtol=0, atol=1e-12)
    assert all(np.abs(group - whole).max() > 1e-6 for group in groups)
    np.testing.assert_array_equal(worker.proximal_gradient(elsewhere, weights, []), 0.0)


def test_promp_takes_a_step_of_adam_for_every_group_of_every_pass():
    algorithm = algorithm_of("promp-groups")
    settings, seed = algorithm.config.section(ProMPSettings), algorithm.config.seed
    (theta,) = algorithm.initial_parameters()
    tasks = algorithm.sample_tasks(0)
    learner = algorithm.learner(SerialBackend(algorithm.worker_spec), theta[np.newaxis])
    learner.step(tasks, 0)
    worker = algorithm.worker_spec.build(lambda: None)
    assert isinstance(worker, MAMLWorker)
    worker.collect(Shard.whole(tasks, iteration=0, seed=seed), theta)
    worker.surrogate_gradient(theta)  # remembers the same policies
    weights = ProximalWeights(settings.promp_clip_range, [settings.promp_inner_kl_coef], settings.promp_entropy_coef)
    parameter = torch.nn.Parameter(torch.from_numpy(theta.copy()))
    adam = torch.optim.Adam([parameter], lr=settings.promp_learning_rate)
    for number in range(2):
        rng = generator(seed, Purpose.MINIBATCHES, iteration=0, inner_step=number)
        for group in minibatches(len(tasks), 3, rng):
            gradient = worker.proximal_gradient(parameter.detach().numpy(), weights, group) / len(group)
            parameter.grad = torch.from_numpy(gradient)
            adam.step()
    np.testing.assert_allclose(learner.parameters[0], parameter.detach().numpy(), rtol=0, atol=1e-12)
    moments = learner.state_dict()
    assert int(moments["step"]) == 2 * 3
    assert_close(moments["exp_avg"], adam.state[parameter]["exp_avg"])  # sees the size of gradients, unlike the steps


def test_reptile_goes_its_fraction_of_the_way_to_the_mean_of_the_adapted_weights():
    algorithm = algorithm_of("reptile", num_steps=2, num_batches=3)
    algorithm = make_algorithm(algorithm.config.replace(reptile_step_size_end=0.1), dtype="float64")
    (theta,) = algorithm.initial_parameters()
    tasks = algorithm.sample_tasks(0)
    shard = Shard.whole(tasks, iteration=1, seed=algorithm.config.seed)
    worker = algorithm.worker_spec.build(lambda: None)
    assert isinstance(worker, MAMLWorker)
    adapted = worker.adapted_parameters(shard, theta, 2)[-1]
    mean = algorithm.layout.vector({name: value.mean(0) for name, value in adapted.items()})
    learner = algorithm.learner(SerialBackend(algorithm.worker_spec), algorithm.initial_parameters())
    report = learner.step(tasks, 1)
    assert report.details["step_size"] == pytest.approx(0.3)  # halfway from 0.5 to 0.1
    np.testing.assert_allclose(learner.parameters[0], theta + 0.3 * (mean - theta), rtol=0, atol=1e-12)


@pytest.mark.parametrize("outer_step", ["promp", "reptile"])
def test_an_iteration_with_numbers_that_are_not_finite_is_undone(outer_step):
    algorithm = algorithm_of(outer_step)
    learner = algorithm.learner(SerialBackend(algorithm.worker_spec), algorithm.initial_parameters())
    learner.step(algorithm.sample_tasks(0), 0)
    parameters, state = learner.parameters, learner.state_dict()
    spoilt = [{"goal": np.array([np.nan, 0.0])}, *algorithm.sample_tasks(1)[1:]]
    report = learner.step(spoilt, 1)
    assert (report.finite, report.step_accepted) == (False, False)
    np.testing.assert_array_equal(learner.parameters, parameters)
    assert_close(learner.state_dict(), state, rtol=0, atol=0)


def test_learned_step_sizes_are_saved_and_adapt_what_is_loaded(tmp_path):
    algorithm = algorithm_of("meta-sgd", num_batches=1, num_steps=1)
    parameters = train(algorithm, num_workers=1, folder=RunFolder(tmp_path))
    loaded = algorithm_of("meta-sgd", num_batches=1).with_policy(tmp_path / "policy.th")
    np.testing.assert_array_equal(loaded.initial_parameters(), parameters)
    sizes = {name: value for name, value in loaded.individuals()[0].items() if name.startswith(STEP_SIZE)}
    assert any((size != 0.1).any() for size in sizes.values())
    how: dict[str, Any] = {"num_batches": 1, "meta_batch_size": 4, "num_adaptation_steps": 1, "seed": 1}
    returns = evaluate(loaded, parameters, **how).returns
    fixed = loaded.with_individuals(
        [{n: torch.full_like(v, 0.1) if n in sizes else v for n, v in loaded.individuals()[0].items()}]
    )
    others = evaluate(fixed, fixed.initial_parameters(), **how).returns
    np.testing.assert_array_equal(others[0], returns[0])
    assert np.abs(others[1] - returns[1]).max() > 1e-6


def test_an_agent_adapts_with_its_learned_step_sizes():
    algorithm = algorithm_of("meta-sgd")
    own = {n: 0 * v if n.startswith(STEP_SIZE) else v for n, v in algorithm.individuals()[0].items()}
    agents = [Agent(algorithm), Agent(algorithm.with_individuals([own]))]
    task = agents[0].sample_tasks(1)[0]
    adapted = [agent.adapt(task, episodes=2)._mind.params for agent in agents]
    weights = expand(algorithm.policy.params(), 1)
    assert_close({name: adapted[1][name] for name in weights}, weights, rtol=0, atol=0)
    assert any((adapted[0][name] != value).any() for name, value in weights.items())


def test_weights_without_step_sizes_begin_with_fast_lr_and_others_are_refused(tmp_path):
    plain = make_algorithm(tiny_config(num_batches=1, seed=8), dtype="float64")
    train(plain, num_workers=1, folder=RunFolder(tmp_path / "plain"))
    path = tmp_path / "plain" / "policy.th"
    sized = algorithm_of("meta-sgd").with_policy(path)
    size = plain.layout.size
    np.testing.assert_array_equal(sized.initial_parameters()[:, :size], plain.with_policy(path).initial_parameters())
    np.testing.assert_array_equal(sized.initial_parameters()[:, size:], 0.1)
    train(algorithm_of("meta-sgd", num_batches=1), num_workers=1, folder=RunFolder(tmp_path / "sized"))
    with pytest.raises(RunFolderError, match=r"unexpected parameter 'fast_lr\.[^']*'; use the policy.th of a run with"):
        plain.with_policy(tmp_path / "sized" / "policy.th")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"maml_outer_step": "promp", "exploration_credit": 1.0}, "exploration-credit: got 1.0 with maml-outer-step"),
        ({"maml_outer_step": "reptile", "fast_lr_learned": "layer"}, "fast-lr-learned: got 'layer' with maml-outer-st"),
        ({"maml_outer_step": "reptile", "first_order": True}, "first-order: got true with maml-outer-step 'reptile', "),
        (
            {"maml_outer_step": "reptile", "num_steps": 0},
            "num-steps: got 0 with maml-outer-step 'reptile', which learns",
        ),
        (
            {"fast_lr_learned": "layer", "num_steps": 0},
            "fast-lr-learned: got 'layer' with num-steps 0, which has no use",
        ),
        ({"exploration_credit": 1.0, "num_steps": 0}, "exploration-credit: got 1.0 with num-steps 0, which has no use"),
    ],
)
def test_settings_that_an_outer_step_has_no_use_for_are_refused_in_words(values, words):
    with pytest.raises(InputError) as caught:
        make_algorithm(tiny_config(**values))
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_auto_means_ratios_for_promp_whatever_the_actions():
    assert algorithm_of("promp").settings.inner_objective == "lvc"
    assert algorithm_of("meta-sgd").settings.inner_objective == "reinforce"


def test_dice_sees_all_steps_in_its_curvature():
    assert algorithm_of("dice").curvature.hessian_steps is None
    assert algorithm_of("e-maml").curvature.hessian_steps == 500
