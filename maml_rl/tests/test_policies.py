"""Names, arithmetic and initial values of policies; files of old ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils._pytree import tree_leaves

from maml_rl.policies import CategoricalMLPPolicy, Normal, NormalMLPPolicy, PolicySpec, make_policy, policy_kinds
from maml_rl.policies.geometric_policy import GeometricPolicy
from maml_rl.policies.lstm_policy import LSTMOptions
from maml_rl.policies.policy import NONLINEARITIES
from maml_rl.policies.recurrence import Order
from maml_rl.policies.registry import registered_policies
from maml_rl.run_folder import RunFolderError, load_policy
from maml_rl.tests.builders import POLICY_SPECS, WITHOUT_RECURRENT_LAYER, pick, spec_id, tiny_data, tiny_policy
from maml_rl.utils.errors import InputError

pytestmark = pytest.mark.numerical

every_policy = pytest.mark.parametrize("spec", POLICY_SPECS, ids=spec_id)
SMALL_LOGITS = {"attention", "delta", "geometric"}
"""Kinds that draw smaller logits than others."""
MODULES = {
    "tanh": nn.Tanh(),
    "relu": nn.ReLU(),
    "elu": nn.ELU(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "sigmoid": nn.Sigmoid(),
}


def test_parameter_names_are_those_of_pytorch_maml_rl():
    layers = ["layer1.weight", "layer1.bias", "layer2.weight", "layer2.bias"]
    normal, categorical = NormalMLPPolicy(3, 2, (4, 5)), CategoricalMLPPolicy(3, 2, (4, 5))
    assert set(normal.state_dict()) == {*layers, "mu.weight", "mu.bias", "sigma"}
    assert set(categorical.state_dict()) == {*layers, "layer3.weight", "layer3.bias"}
    assert {k: tuple(v.shape) for k, v in normal.params().items() if k != "layer1.weight"} == {
        "layer1.bias": (4,),
        "layer2.weight": (5, 4),
        "layer2.bias": (5,),
        "mu.weight": (2, 5),
        "mu.bias": (2,),
        "sigma": (2,),
    }
    assert tuple(categorical.params()["layer3.weight"].shape) == (2, 5)


@pytest.mark.usefixtures("float64")
@every_policy
def test_unrolling_is_stepping_again_and_again(spec):
    policy, params = tiny_policy(spec)
    observations = tiny_data(spec, 1, num_tasks=1).observations[0]  # (T, B, O)
    state = policy.initial_state(params, (observations.shape[1],))
    steps = []
    begin = state
    for observation in observations:
        distribution, state = policy.step(params, observation, state)
        steps.append(distribution)
    unrolled = policy.unroll(params, observations, None, policy.initial_state(params, (observations.shape[1],)))
    for part, expected in zip(unrolled, zip(*steps, strict=True), strict=True):
        assert_close(part, torch.stack(expected))
    assert_close(policy.features(params, observations, None, begin)[1], state)


@pytest.mark.usefixtures("float64")
@every_policy
def test_steps_of_many_tasks_are_steps_of_every_task_by_itself(spec):
    policies = [tiny_policy(spec, seed) for seed in (1, 2)]
    policy = policies[0][0]
    stacked = {name: torch.stack([params[name] for _, params in policies]) for name in policies[0][1]}
    observations = tiny_data(spec, 1).observations[:, 0]  # (M, B, O)
    _, state = policy.step(stacked, observations, policy.initial_state(stacked, (2, 3)))
    together, _ = policy.step(stacked, observations, state)
    for task, (_, params) in enumerate(policies):
        _, state = policy.step(params, observations[task], policy.initial_state(params, (3,)))
        alone, _ = policy.step(params, observations[task], state)
        for part, expected in zip(together, alone, strict=True):
            assert_close(part[task], expected)


@pytest.mark.usefixtures("float64")
@every_policy
def test_values_are_linear_in_the_features_of_the_actions(spec):
    policy, params = tiny_policy(replace(spec, with_value=True))
    data = pick(tiny_data(spec, 1), 0)
    state = policy.initial_state(params, (data.mask.shape[1],))
    distribution, values, _ = policy.unroll_with_values(params, data.observations, data.started, state)
    for part, expected in zip(distribution, policy.unroll(params, data.observations, data.started, state), strict=True):
        assert_close(part, expected, rtol=0, atol=0)
    features, _ = policy.features(params, data.observations, data.started, state)
    weight, bias = params["value.weight"], params["value.bias"]
    assert_close(values, (features * weight[0]).sum(-1) + bias)
    assert values.shape == data.mask.shape
    assert set(policy.params()) - set(make_policy(spec).params()) == {"value.weight", "value.bias"}


@every_policy
def test_values_begin_at_zero(spec):
    policy = make_policy(replace(spec, with_value=True))
    policy.initialise(np.random.default_rng(1))
    state = policy.initial_state(policy.params(), (2,))
    _, values, _ = policy.unroll_with_values(policy.params(), torch.ones(3, 2, spec.input_size), None, state)
    assert_close(values, torch.zeros(3, 2), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@every_policy
def test_what_is_differentiated_once_has_the_same_values_states_and_gradients(spec, dtype):
    spec = replace(spec, with_value=True)
    policy, params = tiny_policy(spec)
    params = {name: value.to(dtype).requires_grad_() for name, value in params.items()}
    rng = np.random.default_rng(1)
    observations = torch.from_numpy(rng.standard_normal((7, 3, spec.input_size))).to(dtype)  # (T, B, O)
    started = torch.from_numpy(rng.random((7, 3)) < 0.3)
    with torch.no_grad():
        state = policy.initial_state(params, (3,))
        if policy.has_memory:  # not the one an episode begins with
            state = policy.unroll_with_values(params, observations, started, state)[2]
    results = []
    orders: tuple[Order, ...] = (2, 1)
    for order in orders:
        distribution, values, after = policy.unroll_with_values(params, observations, started, state, order=order)
        outputs = [*distribution, values, *tree_leaves(after)]
        loss = sum((part * torch.cos(part)).sum() for part in outputs)
        gradients = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
        results.append((outputs, gradients))
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    assert_close(results[1], results[0], rtol=tolerance, atol=tolerance)


@every_policy
def test_the_state_of_an_episode_begins_with_the_batch_shape(spec):
    policy, params = tiny_policy(spec)
    parts = tree_leaves(policy.initial_state(params, (2, 3)))
    assert bool(parts) == policy.has_memory
    assert all(part.shape[:2] == (2, 3) for part in parts)


@every_policy
def test_a_policy_computes_with_the_parameters_it_is_given_only(spec):
    policy, params = tiny_policy(spec)
    observation = torch.ones(4, spec.input_size)
    before, _ = policy.step(params, observation, policy.initial_state(params, (4,)))
    with torch.no_grad():
        for value in policy.parameters():
            value.fill_(float("nan"))
    after, _ = policy.step(params, observation, policy.initial_state(params, (4,)))
    for part, expected in zip(after, before, strict=True):
        assert_close(part, expected, rtol=0, atol=0)


@every_policy
def test_initial_weights_depend_on_the_generator_only(spec):
    def initial(seed):
        policy = make_policy(spec)
        before = torch.get_rng_state()
        policy.initialise(np.random.default_rng(seed))
        assert torch.equal(torch.get_rng_state(), before)
        return policy.params()

    first, again, other = initial(1), initial(1), initial(2)
    assert_close(again, first, rtol=0, atol=0)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@every_policy
def test_initial_weights_are_xavier_uniform_and_biases_zero(spec):
    policy = make_policy(replace(spec, input_size=40, hidden_sizes=(50,)))
    policy.initialise(np.random.default_rng(0))
    special_names = ["layer1.hh", "layer1.ih", "command", *(("logits",) if spec.name in SMALL_LOGITS else ())]
    special = {policy.get_submodule(name) for name in special_names if name in names_of(policy)}
    for module in set(policy.modules()) - special:
        if isinstance(module, nn.Linear):
            assert not module.bias.any()
            if module.weight.numel() < 100:  # too few for the largest to be near the bound
                continue
            bound = (6.0 / sum(module.weight.shape)) ** 0.5
            assert 0.9 * bound < module.weight.abs().max() <= bound
    if "sigma" in policy.params():
        assert not policy.params()["sigma"].any()


def names_of(policy):
    return {name for name, _ in policy.named_modules()}


@every_policy
def test_recurrent_weights_start_orthogonal_and_lstms_remember(spec):
    policy = make_policy(replace(spec, hidden_sizes=(50,)))
    policy.initialise(np.random.default_rng(0))
    if spec.name in WITHOUT_RECURRENT_LAYER:
        assert "layer1.hh" not in names_of(policy)
        return
    params = policy.params()
    for gate in params["layer1.hh.weight"].split(50):
        assert_close(gate @ gate.T, torch.eye(50), rtol=0, atol=1e-5)
    assert not params["layer1.hh.bias"].any()
    forget = params["layer1.ih.bias"][50:100]
    start = {"episodic": 1.0, "lstm": -1.0 if spec.continuous else 1.0}.get(spec.name, 0.0)
    assert bool((forget == start).all())


def fresh_lstm(*sizes, continuous=True, horizon=None):
    """A policy with LSTM layers over three observations, and its first parameters."""
    options = LSTMOptions(memory_horizon=horizon)
    dtype = str(torch.get_default_dtype()).removeprefix("torch.")
    policy = make_policy(PolicySpec("lstm", 3, 2, continuous, sizes, "tanh", options, dtype=dtype))
    policy.initialise(np.random.default_rng(0))
    return policy, policy.params()


@pytest.mark.parametrize("horizon", [None, 50])
def test_a_fresh_lstm_before_continuous_actions_averages_candidates_and_shows_them(horizon):
    _, params = fresh_lstm(400, horizon=horizon)
    input_gate, forget_gate, output_gate, candidate = params["layer1.ih.bias"].split(400)
    assert_close(input_gate, -forget_gate)  # s(-f) = 1 - s(f)
    assert_close(output_gate, torch.ones(400))
    assert not candidate.any()
    if horizon is None:
        assert_close(forget_gate, -torch.ones(400))
    else:
        assert forget_gate.min() >= 0.0


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("horizon", [None, 5])
def test_a_fresh_lstms_features_before_continuous_actions_have_the_range_of_an_elman_units(horizon):
    policy, params = fresh_lstm(4, 4, horizon=horizon)
    for layer in ("layer1", "layer2"):
        for part in ("ih", "hh"):
            params[f"{layer}.{part}.weight"].zero_()
        params[f"{layer}.ih.bias"][12:] = torch.tensor([50.0, -50.0, 50.0, -50.0])  # candidates of 1 and -1
    state = policy.initial_state(params, (1,))
    features, _ = policy.features(params, torch.zeros(200, 1, 3), None, state)
    assert_close(features[-1, 0], torch.tensor([1.0, -1.0, 1.0, -1.0]), rtol=0, atol=1e-12)
    assert features.abs().max() <= 1.0 + 1e-12


def test_features_of_a_fresh_lstm_vary_from_step_to_step_like_those_of_an_mlp():
    rng = np.random.default_rng(0)
    observations = torch.from_numpy(rng.normal(size=(100, 20, 3))).float()
    found = {}
    for name, continuous in (("mlp", True), ("lstm", True), ("lstm", False)):
        policy = make_policy(PolicySpec(name, 3, 2, continuous, (64, 64), "tanh"))
        policy.initialise(np.random.default_rng(0))
        params = policy.params()
        state = policy.initial_state(params, (20,))
        features, _ = policy.features(params, observations, None, state)
        found[name, continuous] = features.var(0, correction=0).sum(-1).mean()
    assert found["lstm", True] > 0.3 * found["mlp", True]
    assert found["lstm", False] < 0.2 * found["mlp", True]


def test_an_lstm_remembers_at_first_for_as_long_as_its_horizon():
    _, params = fresh_lstm(400, continuous=False, horizon=50)
    input_gate, forget_gate, *others = params["layer1.ih.bias"].split(400)
    times = 1.0 + forget_gate.exp()  # 1 / (1 - s(bias)), the steps after which a unit has forgotten
    assert times.min() >= 2.0
    assert times.max() <= 50.0
    assert times.mean() == pytest.approx(26.0, abs=2.0)
    assert_close(input_gate, -forget_gate)
    assert all(bool((bias.abs() < 0.5).all()) for bias in others)


@pytest.mark.parametrize("continuous", [True, False])
def test_a_geometric_memory_drifts_before_it_is_trained_and_prefers_no_choice(continuous):
    policy = make_policy(PolicySpec("geometric", 3, 2, continuous, (50,), "tanh"))
    policy.initialise(np.random.default_rng(0))
    params = policy.params()
    state = policy.initial_state(params, (1,))
    begin = state[1]
    for _ in range(125):
        distribution, state = policy.step(params, 1e-3 * torch.ones(1, 3), state)
        assert bool(distribution[0].any()) == continuous
        assert_close(state[1].read_head, begin.read_head, rtol=0, atol=0.01)
    assert_close(state[1].write_head, begin.write_head, rtol=0, atol=0.01)  # full circle
    for _ in range(62):
        _, state = policy.step(params, torch.zeros(1, 3), state)
    assert_close(state[1].write_head, -begin.write_head, rtol=0, atol=0.05)


@every_policy
def test_fresh_actions_have_the_standard_deviation_that_was_asked_for(spec):
    spec = replace(spec, initial_std=0.3)
    if spec.name == "plastic" or not spec.continuous:
        with pytest.raises(InputError, match=r"^initial-std: got 0.3, expected none with .*; leave it out$"):
            make_policy(spec)
        return
    policy = make_policy(spec)
    policy.initialise(np.random.default_rng(0))
    params, (first, *_) = policy.params(), tiny_data(spec, 1, num_tasks=1).observations[0]  # (B, O)
    distribution, _ = policy.step(params, first.to(params["sigma"]), policy.initial_state(params, first.shape[:1]))
    assert isinstance(distribution, Normal)
    assert_close(distribution.log_scale.exp(), torch.full_like(distribution.loc, 0.3))


@pytest.mark.parametrize("continuous", [True, False])
def test_what_was_read_does_not_saturate_the_layer_behind_it(continuous):
    policy = make_policy(PolicySpec("geometric", 3, 2, continuous, (50, 20), "tanh"))
    assert isinstance(policy, GeometricPolicy)
    policy.initialise(np.random.default_rng(0))
    params = policy.params()
    hidden, read = torch.zeros(50), 0.1 * torch.ones(16)
    assert policy._combine(params, hidden, read).abs().max() < 0.5
    assert policy._combine(params, hidden, read).abs().max() > 0.01


@every_policy
def test_only_recurrent_weights_and_biases_are_left_out_by_the_mask(spec):
    policy = make_policy(spec)
    everything, masked = policy.named_meta_parameters(), policy.named_meta_parameters(train_recurrent=False)
    left_out = {"layer1.hh.weight", "layer1.hh.bias"} if spec.name not in WITHOUT_RECURRENT_LAYER else set()
    assert set(everything) - set(masked) == left_out
    assert set(everything) == set(policy.params())


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("continuous", [True, False])
@pytest.mark.parametrize("hidden_sizes", [(), (4,), (4, 5, 6)])
@pytest.mark.parametrize("nonlinearity", sorted(NONLINEARITIES))
def test_the_mlp_is_torchs_sequential(continuous, hidden_sizes, nonlinearity):
    policy, params = tiny_policy(PolicySpec("mlp", 3, 2, continuous, hidden_sizes, nonlinearity))
    sizes = (3, *hidden_sizes, 2)
    names = [f"layer{i}" for i in range(1, len(sizes))]
    if continuous:
        names[-1] = "mu"
    layers: list[nn.Module] = []
    for index, name in enumerate(names):
        layer = nn.Linear(sizes[index], sizes[index + 1])
        layer.load_state_dict({key: params[f"{name}.{key}"] for key in ("weight", "bias")})
        layers += [layer, MODULES[nonlinearity]]
    expected = nn.Sequential(*layers[:-1])
    observations = torch.from_numpy(np.random.default_rng(1).normal(size=(6, 3)))
    distribution, _ = policy.step(params, observations, ())
    assert_close(distribution[0], expected(observations).detach())


def test_the_deviation_has_a_lower_bound():
    policy = NormalMLPPolicy(3, 2, (), min_std=0.1)
    params = {**policy.params(), "sigma": torch.tensor([-20.0, 1.0])}
    distribution, _ = policy.step(params, torch.zeros(5, 3))
    assert isinstance(distribution, Normal)
    assert_close(distribution.log_scale[0].exp(), torch.tensor([0.1, np.e]), check_dtype=False)


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"policy: got 'mpl', expected one of \[.*'mlp'"):
        make_policy(replace(POLICY_SPECS[0], name="mpl"))


def test_an_unknown_float_type_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"dtype: got 'float16', expected one of \['float32', 'float64'\]"):
        make_policy(replace(POLICY_SPECS[0], dtype="float16"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_policy
def test_initial_parameters_have_the_float_type_of_the_specification(spec, dtype):
    policy = make_policy(replace(spec, dtype=dtype))
    policy.initialise(np.random.default_rng(0))
    assert {str(value.dtype) for value in policy.params().values()} == {f"torch.{dtype}"}


class OldNormalPolicy(nn.Module):
    """The shape of a network that pytorch-maml-rl saved."""

    def __init__(self):
        super().__init__()
        self.layer1 = nn.Linear(3, 4)
        self.mu = nn.Linear(4, 2)
        self.sigma = nn.Parameter(torch.zeros(2))


class OldCategoricalPolicy(nn.Module):
    """The shape of a network that pytorch-maml-rl saved."""

    def __init__(self):
        super().__init__()
        self.layer1 = nn.Linear(3, 4)
        self.layer2 = nn.Linear(4, 2)


@pytest.mark.parametrize("continuous", [True, False])
def test_an_old_policy_file_loads(continuous, tmp_path):
    old = OldNormalPolicy() if continuous else OldCategoricalPolicy()
    torch.save(old.state_dict(), tmp_path / "policy.th")
    policy = make_policy(PolicySpec("mlp", 3, 2, continuous, (4,), "tanh"))
    assert_close(load_policy(tmp_path / "policy.th", policy.params()), dict(old.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda state: state.pop("sigma"), r"sigma is nothing, expected \(2,\)"),
        (lambda state: state.update(sigma=torch.zeros(3)), r"sigma is \(3,\), expected \(2,\)"),
        (lambda state: state.update(sigma=torch.tensor([0.0, np.nan])), "holds NaN or infinity"),
        (lambda state: state.update(more=torch.zeros(1)), "unexpected parameter 'more'"),
        (lambda state: state.update({"more": 1, 3: 1}), "unexpected parameter"),
    ],
    ids=["missing", "other shape", "NaN", "extra", "foreign"],
)
def test_a_policy_file_of_another_network_is_refused_in_one_line(damage, words, tmp_path):
    state = dict(OldNormalPolicy().state_dict())
    damage(state)
    torch.save(state, tmp_path / "policy.th")
    like = make_policy(PolicySpec("mlp", 3, 2, True, (4,), "tanh")).params()
    with pytest.raises(RunFolderError, match=words) as caught:
        load_policy(tmp_path / "policy.th", like)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in registered_policies() if policy_kinds()[name].has_memory])
@pytest.mark.parametrize("continuous", [True, False])
def test_a_memory_needs_a_layer_to_live_in(name, continuous):
    with pytest.raises(InputError, match=r"hidden-sizes: got \[\], .* for policy '.*'; give one"):
        make_policy(PolicySpec(name, 3, 2, continuous, (), "tanh"))
