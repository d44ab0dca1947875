"""Action distributions against torch.distributions and automatic differentiation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from maml_rl.policies import Categorical, Normal

pytestmark = [
    pytest.mark.numerical,
    pytest.mark.usefixtures("float64"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
]
SHAPE = (2, 4, 3)  # (T, B, A)
KINDS = [Normal, Categorical]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def draw(kind, seed):
    """A distribution of batch shape (2, 4) over actions of length 3, or over 3 actions."""
    rng = np.random.default_rng(seed)
    return kind(*(torch.from_numpy(rng.normal(size=SHAPE)) for _ in kind._fields))


def oracle(distribution):
    if isinstance(distribution, Normal):
        normal = torch.distributions.Normal(distribution.loc, distribution.log_scale.exp())
        return torch.distributions.Independent(normal, 1)
    return torch.distributions.Categorical(logits=distribution.logits)


def some_actions(kind, seed):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=SHAPE) if kind is Normal else rng.integers(0, 3, SHAPE[:-1]))


@every_kind
def test_log_probability_entropy_and_divergence_are_torchs(kind):
    first, second, actions = draw(kind, 1), draw(kind, 2), some_actions(kind, 3)
    assert_close(first.log_prob(actions), oracle(first).log_prob(actions))
    assert_close(first.entropy(), oracle(first).entropy())
    assert_close(first.kl(second), torch.distributions.kl_divergence(oracle(first), oracle(second)))
    assert first.kl(second).shape == SHAPE[:-1]
    assert_close(first.kl(first), torch.zeros(SHAPE[:-1]), rtol=0, atol=0)


@every_kind
def test_the_mode_is_the_most_probable_action(kind):
    distribution = draw(kind, 1)
    best = distribution.log_prob(distribution.mode())
    for seed in range(20):
        assert (best >= distribution.log_prob(some_actions(kind, seed))).all()


@every_kind
def test_samples_are_a_function_of_the_noise(kind):
    distribution = draw(kind, 1)
    noise = [torch.from_numpy(kind.draw_noise(np.random.default_rng(5), SHAPE[:-1], 3)) for _ in range(2)]
    assert_close(distribution.sample(noise[0]), distribution.sample(noise[1]), rtol=0, atol=0)
    assert noise[0].dtype == torch.float32


def test_normal_samples_have_the_mean_and_deviation_of_the_distribution():
    distribution = Normal(torch.tensor([1.0, -2.0]), torch.tensor([0.5, -1.0]))
    noise = torch.from_numpy(Normal.draw_noise(np.random.default_rng(0), (40_000,), 2)).double()
    samples = distribution.sample(noise)
    scale = distribution.log_scale.exp()
    error = 4 * scale / 200
    assert ((samples.mean(0) - distribution.loc).abs() < error).all()
    assert ((samples.std(0) - scale).abs() < error).all()


def test_categorical_samples_have_the_probabilities_of_the_distribution():
    distribution = Categorical(torch.tensor([0.3, -1.0, 2.0, 0.0]))
    noise = torch.from_numpy(Categorical.draw_noise(np.random.default_rng(0), (40_000,), 4))
    counts = torch.bincount(Categorical(distribution.logits.expand(40_000, 4)).sample(noise), minlength=4)
    assert ((counts / 40_000 - torch.softmax(distribution.logits, -1)).abs() < 0.01).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_noise_gives_a_legal_action(dtype):
    noise = torch.tensor([0.0, 0.5, float(np.nextafter(np.float32(1), np.float32(0)))])
    logits = torch.tensor([[40.0, -40.0, -40.0], [0.1, 0.2, 0.3], [-40.0, -40.0, 40.0]], dtype=dtype)
    for row in logits:
        actions = Categorical(row.expand(3, 3)).sample(noise)
        assert actions.dtype == torch.int64
        assert ((actions >= 0) & (actions < 3)).all()


@every_kind
def test_vmap_gives_what_the_whole_batch_gives(kind):
    first, second, actions = draw(kind, 1), draw(kind, 2), some_actions(kind, 3)
    noise = torch.from_numpy(kind.draw_noise(np.random.default_rng(5), SHAPE[:-1], 3))
    vmap = torch.func.vmap
    assert_close(vmap(kind.log_prob)(first, actions), first.log_prob(actions))
    assert_close(vmap(kind.kl)(first, second), first.kl(second))
    assert_close(vmap(kind.entropy)(first), first.entropy())
    assert_close(vmap(kind.sample)(first, noise), first.sample(noise))
