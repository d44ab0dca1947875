"""Encoders against torch's modules and NumPy's bits; policies behind them."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from maml_rl.algorithms import make_algorithm
from maml_rl.config import Config
from maml_rl.policies import PolicySpec, make_policy
from maml_rl.policies.encoders import ConvEncoder, RAMEncoder, StandardEncoder, as_numbers
from maml_rl.tests.builders import ENCODED_SPECS, spec_id, tiny_data, tiny_policy
from maml_rl.utils.errors import InputError

encoded = pytest.mark.parametrize("spec", ENCODED_SPECS, ids=spec_id)
PIXELS = PolicySpec("mlp", 2 * 42 * 42, 6, False, (8,), "tanh", encoder="conv", observation_shape=(2, 42, 42))


def some_bytes(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.numerical
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("channels", "gain"), [((3,), 1.0), ((3, 5), 20.0), ((3, 5, 4), 1.0)])
def test_convolutions_are_torchs_sequential(channels, gain):
    policy, params = tiny_policy(replace(PIXELS, encoder_channels=channels, encoder_gain=gain))
    layers, inputs = [], 2
    for index, (outputs, (kernel, stride)) in enumerate(zip(channels, ((8, 4), (4, 2), (3, 1)), strict=False), 1):
        layer = nn.Conv2d(inputs, outputs, kernel, stride)
        layer.load_state_dict({key: params[f"encoder{index}.{key}"] for key in ("weight", "bias")})
        layers += [layer, nn.ReLU()]
        inputs = outputs
    encoder = policy.encoder
    assert isinstance(encoder, ConvEncoder)
    assert policy.input_size == encoder.output_size
    theirs = [getattr(layer, key) for layer in layers[::2] for key in ("weight", "bias")]
    ours = {name: value.clone().requires_grad_() for name, value in params.items() if name.startswith("encoder")}
    for num_images in (12, 300):  # few, and as many as blocks of pixels are made for
        images = some_bytes(2, num_images // 2, 2, 42, 42)
        for seen in (images, images / 255.0):
            expected = nn.Sequential(*layers)(gain / 255.0 * images.flatten(0, 1)).reshape(2, num_images // 2, -1)
            found = encoder(ours, seen.reshape(2, num_images // 2, -1))
            assert_close(found, expected)
            assert_close(derivatives(found, [*ours.values()]), derivatives(expected, theirs))


def derivatives(features, leaves):
    """Gradient of a mean of squares, and the gradient of its own squared length."""
    first = torch.autograd.grad(features.square().mean(), leaves, create_graph=True)
    return [*first, *torch.autograd.grad(sum(part.square().sum() for part in first), leaves)]


@pytest.mark.numerical
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("num_images", [5, 260])
def test_gradients_of_many_tasks_through_convolutions_are_those_of_every_task_by_itself(num_images):
    encoder, (_, params) = ConvEncoder((2, 42, 42), 2 * 42 * 42, gain=7.0), tiny_policy(PIXELS)
    rng = torch.Generator().manual_seed(1)
    many = {
        name: value + torch.rand((2, *value.shape), generator=rng, dtype=value.dtype)
        for name, value in params.items()
        if name.startswith("encoder")
    }
    images = some_bytes(2, num_images, 2 * 42 * 42)

    def loss(own, seen):
        return encoder(own, seen).square().mean()

    together = torch.func.vmap(torch.func.grad(loss))(many, images)
    for task in range(2):
        alone = torch.func.grad(loss)({name: value[task] for name, value in many.items()}, images[task])
        assert_close({name: value[task] for name, value in together.items()}, alone)


def test_tasks_that_share_weights_are_convolved_without_groups(monkeypatch):
    encoder, (_, params) = ConvEncoder((2, 42, 42), 2 * 42 * 42), tiny_policy(PIXELS)
    groups, plain = [], torch.nn.functional.conv2d

    def convolve(*args, **kwargs):
        groups.append(kwargs["groups"])
        return plain(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "conv2d", convolve)
    shared = {name: value.expand(3, *value.shape) for name, value in params.items()}
    encoder(shared, some_bytes(3, 2, 2 * 42 * 42))
    assert groups == [1, 1]
    encoder({name: value.clone() for name, value in shared.items()}, some_bytes(3, 2, 2 * 42 * 42))
    assert groups[2:] == [3, 3]


def test_memory_is_seen_as_bytes_and_as_bits():
    encoder = RAMEncoder(128, 130)
    memory = some_bytes(5, 130)
    code = 3.0 * encoder({}, memory)
    assert code.shape == (5, encoder.output_size)
    ram = memory[:, :128].numpy()
    codes = code[:, : 9 * 128].reshape(5, 128, 9)
    np.testing.assert_allclose(codes[..., 0], 2.0 * ram / 255.0 - 1.0, atol=1e-6)
    bits = np.unpackbits(ram[..., None], axis=2, bitorder="little")
    np.testing.assert_allclose(codes[..., 1:], 2.0 * bits - 1.0, atol=1e-6)
    np.testing.assert_allclose(code[:, 9 * 128 :] / 3.0, memory[:, 128:] / 255.0, atol=1e-6)
    assert_close(encoder({}, memory / 255.0), encoder({}, memory))


def test_images_without_convolutions_are_seen_larger_too():
    encoder, images = ConvEncoder((2, 4, 4), 34, (), gain=3.0), some_bytes(5, 34)
    expected = torch.cat([3.0 * images[:, :32] / 255.0, images[:, 32:] / 255.0], -1)
    assert_close(encoder({}, images), expected)
    assert_close(encoder({}, images / 255.0), expected)


def test_bytes_are_numbers_from_0_to_1_and_numbers_stay():
    assert_close(as_numbers(torch.tensor([0, 51, 255], dtype=torch.uint8)), torch.tensor([0.0, 0.2, 1.0]))
    numbers = torch.tensor([-3.0, 300.0])
    assert as_numbers(numbers) is numbers


@pytest.mark.numerical
@pytest.mark.usefixtures("float64")
@encoded
def test_unrolling_behind_an_encoder_is_stepping_again_and_again(spec):
    policy, params = tiny_policy(spec)
    data = tiny_data(spec, 1, num_tasks=1)
    state = policy.initial_state(params, (data.mask.shape[2],))
    unrolled, steps = policy.unroll(params, data.observations[0], data.started[0], state), []
    for observation, started in zip(data.observations[0], data.started[0], strict=True):
        state = policy.begin_episode(params, state, observation, started)
        distribution, state = policy.step(params, observation, state)
        steps.append(distribution[0])
    assert_close(unrolled[0], torch.stack(steps))


@pytest.mark.numerical
@pytest.mark.usefixtures("float64")
@encoded
def test_steps_of_many_tasks_behind_encoders_are_steps_of_every_task_by_itself(spec):
    policies = [tiny_policy(spec, seed) for seed in (1, 2)]
    policy = policies[0][0]
    stacked = {name: torch.stack([params[name] for _, params in policies]) for name in policies[0][1]}
    observations = tiny_data(spec, 1).observations[:, 0]  # (M, B, O)
    together, _ = policy.step(stacked, observations, policy.initial_state(stacked, (2, 3)))
    for task, (_, params) in enumerate(policies):
        alone, _ = policy.step(params, observations[task], policy.initial_state(params, (3,)))
        assert_close(together[0][task], alone[0])


@pytest.mark.numerical
@pytest.mark.usefixtures("float64")
@encoded
def test_tasks_that_share_weights_step_as_with_copies_of_them(spec):
    policy, params = tiny_policy(spec)
    shared = {name: value.expand(2, *value.shape) for name, value in params.items()}
    observations = tiny_data(spec, 1).observations[:, 0]  # (M, B, O)
    results = [
        policy.step(each, observations, policy.initial_state(each, (2, 3)))[0][0]
        for each in (shared, {name: value.clone() for name, value in shared.items()})
    ]
    assert_close(*results)


@encoded
def test_what_comes_behind_image_and_memory_reaches_the_policy(spec):
    policy, params = tiny_policy(spec)
    observation = tiny_data(spec, 1).observations[0, 0].float()
    other = observation.clone()
    other[:, -1] += 1.0
    state = policy.initial_state(params, (3,))
    assert not torch.allclose(policy.step(params, observation, state)[0][0], policy.step(params, other, state)[0][0])


def test_convolutions_start_xavier_uniform():
    policy = make_policy(PIXELS)
    policy.initialise(np.random.default_rng(0))
    for name in ("encoder1", "encoder2"):
        outputs, inputs, height, width = policy.params()[f"{name}.weight"].shape
        bound = (6.0 / ((inputs + outputs) * height * width)) ** 0.5
        assert 0.95 * bound < policy.params()[f"{name}.weight"].abs().max() <= bound
        assert not policy.params()[f"{name}.bias"].any()


def config(**settings):
    return Config(env_name="SpaceInvadersModes-v0", meta_batch_size=2, fast_batch_size=1, **settings)


@pytest.mark.parametrize("algorithm", ["maml", "rl2"])
def test_images_get_convolutions_and_other_observations_none(algorithm):
    pytest.importorskip("ale_py")
    kind = {"algorithm": algorithm, "policy": "lstm"}
    images = make_algorithm(config(env_kwargs={"observation": "pixels", "num_stack": 2}, **kind))
    assert images.policy.encoder is not None
    assert isinstance(images.policy.encoder, ConvEncoder)
    assert images.policy.encoder.shape == (2, 42, 42)
    assert make_algorithm(config(**kind)).policy.encoder is None
    bits = make_algorithm(config(encoder="ram", **kind)).policy
    extras = 6 + 2 if algorithm == "rl2" else 0
    assert bits.input_size == 9 * 128 + extras


@pytest.mark.parametrize(
    ("env_kwargs", "settings", "words"),
    [
        (
            {"observation": "pixels"},
            {"encoder": "ram"},
            r"encoder: got 'ram', expected .* bytes of a memory, not \(4, 42, 42\) of uint8; choose another",
        ),
        ({}, {"encoder": "conv"}, r"encoder: got 'conv', expected images .* shape \(128,\); choose"),
        (
            {"observation": "pixels", "size": 10},
            {"encoder": "conv", "encoder_channels": (4, 4)},
            r"encoder-channels: got \[4, 4\], expected at most 1 layers .* 10 x 10, channels first; give fewer",
        ),
    ],
)
def test_encoders_that_do_not_fit_are_refused_in_one_line(env_kwargs, settings, words):
    pytest.importorskip("ale_py")
    with pytest.raises(InputError, match=words):
        make_algorithm(config(env_kwargs=env_kwargs, **settings))


def test_an_unknown_encoder_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"encoder: got 'con', expected one of \['none', 'ram', 'conv', 'standard'\]"):
        make_policy(replace(PIXELS, encoder="con"))


def test_a_memory_is_bytes():
    with pytest.raises(InputError, match=r"encoder: got 'ram', expected .* not \(2,\) of float32"):
        make_algorithm(Config(env_name="2DNavigation-v0", encoder="ram"))


def test_images_with_channels_last_or_too_small_get_no_convolutions(monkeypatch):
    for shape in ((30, 30, 3), (4, 4, 4)):
        monkeypatch.setattr(
            "maml_rl.algorithms.building._own_observation_space",
            lambda env, shape=shape: gym.spaces.Box(0, 255, shape, np.uint8),
        )
        assert make_algorithm(Config(env_name="2DNavigation-v0")).policy.encoder is None


STANDARD = PolicySpec(
    "mlp", 5, 2, True, (4,), "tanh", encoder="standard", observation_shape=(3,),
    encoder_centre=(1.0, -2.0, 0.0), encoder_deviation=(0.1, 4.0, 1.0),
)  # fmt: skip


@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_numbers_are_seen_less_their_centre_in_deviations_and_what_follows_them_as_it_is(name):
    policy, params = tiny_policy(replace(STANDARD, name=name))
    plain, same = tiny_policy(replace(STANDARD, name=name, encoder="none", encoder_centre=(), encoder_deviation=()))
    assert params.keys() == same.keys()
    seen = torch.randn(6, 2, 5, generator=torch.Generator().manual_seed(0))
    shown = (seen - torch.tensor([1.0, -2.0, 0.0, 0.0, 0.0])) / torch.tensor([0.1, 4.0, 1.0, 1.0, 1.0])
    states = [one.initial_state(params, (2,)) for one in (policy, plain)]
    assert_close(policy.unroll(params, seen, state=states[0]), plain.unroll(params, shown, state=states[1]))
    assert_close(policy.encode(params, seen.double()), shown.double(), rtol=1e-5, atol=1e-5)


def test_without_numbers_for_it_the_standard_encoder_changes_nothing():
    seen = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    assert_close(StandardEncoder(3, 5)({}, seen), seen, rtol=0.0, atol=0.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder_centre": (1.0, 2.0)}, "^encoder-centre: got 2 numbers, expected 3, one for each of an observation"),
        ({"encoder_deviation": (1.0,) * 5}, "^encoder-deviation: got 5 numbers, expected 3, one for each"),
        ({"encoder": "none"}, "^encoder-centre: got numbers with encoder 'none', expected none; remove them, or set"),
        ({"encoder": "ram", "encoder_centre": ()}, "^encoder-deviation: got numbers with encoder 'ram', expected none"),
    ],
)
def test_numbers_of_the_standard_encoder_fit_the_observation(changes, words):
    with pytest.raises(InputError, match=words):
        replace(STANDARD, **changes).interface()
