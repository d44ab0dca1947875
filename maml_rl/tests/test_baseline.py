"""The baseline against NumPy's least squares, and where float32 would fail."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from maml_rl.baseline import LinearFeatureBaseline

pytestmark = pytest.mark.numerical

M, T, B = 2, 12, 6
RIDGE = 1e-5


def draw(seed=0, scale=1.0, num_features=3):
    """Observations, returns and mask (M, T, B, ...) of episodes of unequal length, float64."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, T + 1, (M, 1, B))
    lengths[:, 0, 0] = T
    mask = (np.arange(T)[:, None] < lengths).astype(np.float64)
    observations = scale * rng.normal(size=(M, T, B, num_features)) * mask[..., None]
    returns = rng.normal(size=(M, T, B)) * mask
    return [torch.from_numpy(array) for array in (observations, returns, mask)]


def features_of(observations):
    """Features (T * B, F) of one task's observations (T, B, O), as the docstring says."""
    num_steps, num_episodes, _ = observations.shape
    t = np.repeat(np.arange(num_steps) / 100.0, num_episodes)[:, None]
    s = observations.reshape(num_steps * num_episodes, -1)
    return np.concatenate([s, s**2, t, t**2, t**3, np.ones_like(t)], 1)


def ridge_regression(observations, returns, mask, ridge=RIDGE):
    """Predictions (T, B) of one task by NumPy's least squares on the system [X; sqrt(ridge) I]."""
    features, weight = features_of(observations), mask.reshape(-1)
    used = weight == 1
    rows = np.concatenate([features[used], np.sqrt(ridge) * np.eye(features.shape[1])])
    targets = np.concatenate([returns.reshape(-1)[used], np.zeros(features.shape[1])])
    weights = np.linalg.lstsq(rows, targets, rcond=None)[0]
    return (features @ weights * weight).reshape(mask.shape)


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_predictions_are_those_of_ridge_regression(scale):
    observations, returns, mask = draw(scale=scale)
    values = LinearFeatureBaseline(RIDGE).fit_predict(observations, returns, mask)
    for m in range(M):
        expected = ridge_regression(*(part[m].numpy() for part in (observations, returns, mask)))
        np.testing.assert_allclose(values[m].numpy(), expected, rtol=1e-6, atol=1e-7)


def test_of_more_features_than_returns_only_a_stiff_baseline_leaves_something_to_learn_from():
    observations, returns, mask = draw(num_features=100)
    kept = [
        float(((returns - LinearFeatureBaseline(ridge).fit_predict(observations, returns, mask)) * mask).square().sum())
        for ridge in (1e-9, 1e5)
    ]
    assert kept[0] < 1e-6 * float(returns.square().sum())
    assert kept[1] > 0.9 * float(returns.square().sum())


def test_a_return_that_is_a_feature_is_predicted():
    observations, _, mask = draw()
    returns = (2.0 * observations[..., 0] - observations[..., 1].square() + 0.5) * mask
    values = LinearFeatureBaseline(1e-9).fit_predict(observations, returns, mask)
    assert_close(values, returns, rtol=1e-4, atol=1e-6)


def test_padding_never_changes_the_predictions():
    observations, returns, mask = draw()

    def padded(part, value):
        part = torch.cat([part, torch.full((M, 4, *part.shape[2:]), value, dtype=part.dtype)], 1)
        return torch.cat([part, torch.full((M, T + 4, 2, *part.shape[3:]), value, dtype=part.dtype)], 2)

    values = LinearFeatureBaseline().fit_predict(padded(observations, 7.0), padded(returns, -3.0), padded(mask, 0.0))
    assert_close(values[:, :T, :B], LinearFeatureBaseline().fit_predict(observations, returns, mask))
    assert not values[:, T:].any()
    assert not values[:, :, B:].any()


def test_garbage_in_the_padding_never_changes_the_predictions():
    observations, returns, mask = draw()
    padding = 9.0 * (1.0 - mask)
    values = LinearFeatureBaseline().fit_predict(observations + padding[..., None], returns + padding, mask)
    assert_close(values, LinearFeatureBaseline().fit_predict(observations, returns, mask))


def test_tasks_are_fitted_apart():
    observations, returns, mask = draw()
    together = LinearFeatureBaseline().fit_predict(observations, returns, mask)
    for m in range(M):
        alone = LinearFeatureBaseline().fit_predict(observations[m : m + 1], returns[m : m + 1], mask[m : m + 1])
        assert_close(alone[0], together[m], rtol=0, atol=0)


def singular(kind, observations):
    """Observations with features that say nothing new, or nothing at all."""
    first = observations[..., :1]
    extra = {"constant": torch.ones_like(first), "duplicate": first, "zero": torch.zeros_like(first)}[kind]
    return torch.cat([observations, extra, extra], -1)


@pytest.mark.parametrize("kind", ["constant", "duplicate", "zero"])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_singular_features_survive(kind, scale):
    observations, returns, mask = draw(scale=scale)
    observations = singular(kind, observations)
    values = LinearFeatureBaseline().fit_predict(observations, returns, mask)
    assert values.isfinite().all()
    for m in range(M):
        task = [part[m].numpy() for part in (observations, returns, mask)]
        best, ours = ridge_regression(*task), values[m].numpy()
        residuals = [np.square(task[1] - v * task[2]).sum() for v in (best, ours)]
        assert residuals[1] < 1.05 * residuals[0]


def test_one_step_and_one_episode_are_enough():
    observations, returns, mask = torch.ones(1, 1, 1, 2), torch.full((1, 1, 1), 3.0), torch.ones(1, 1, 1)
    values = LinearFeatureBaseline().fit_predict(observations, returns, mask)
    assert_close(values, returns, rtol=1e-4, atol=0)


def test_normal_equations_in_float32_would_be_far_off():
    # A position far from the origin: s, s^2 and 1 are then nearly the same feature.
    observations, returns, mask = (part.float() for part in draw())
    observations = (observations + 20.0) * mask[..., None]
    values = LinearFeatureBaseline().fit_predict(observations, returns, mask)
    for m in range(M):
        task = [part[m].numpy() for part in (observations, returns, mask)]
        exact = ridge_regression(*(array.astype(np.float64) for array in task))
        features = features_of(task[0]).astype(np.float32) * task[2].reshape(-1, 1)
        gram = features.T @ features + np.float32(RIDGE) * np.eye(features.shape[1], dtype=np.float32)
        weights = np.linalg.solve(gram, features.T @ task[1].reshape(-1))
        ours = np.abs(values[m].numpy() - exact).max()
        in_float32 = np.abs((features @ weights).reshape(T, B) - exact).max()
        assert ours < 1e-5
        assert in_float32 > 1e-2


def test_values_have_the_type_of_the_returns():
    for dtype in (torch.float32, torch.float64):
        observations, returns, mask = (part.to(dtype) for part in draw())
        assert LinearFeatureBaseline().fit_predict(observations, returns, mask).dtype == dtype


def test_of_an_image_strips_are_seen():
    _, returns, mask = draw()
    images = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (M, T, B, 1000), dtype=np.uint8))
    means = torch.from_numpy(np.stack([images[..., i : i + 8].numpy().mean(-1) / 255 for i in range(0, 1000, 8)], -1))
    baseline = LinearFeatureBaseline(1e-3)
    assert_close(
        baseline.fit_predict(images, returns, mask), baseline.fit_predict(means, returns, mask), rtol=1e-4, atol=1e-5
    )


def test_the_last_strip_is_what_remains():
    observations, returns, mask = draw(num_features=516)
    parts = [observations[..., i : i + 5].mean(-1) for i in range(0, 516, 5)]
    baseline = LinearFeatureBaseline()
    assert_close(
        baseline.fit_predict(observations, returns, mask), baseline.fit_predict(torch.stack(parts, -1), returns, mask)
    )
