"""Decoding finds what is there, and nothing where nothing is."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from maml_rl.analysis.memory_states import commonest_choice, decode_choices, decode_episodes, state_similarity
from maml_rl.utils.errors import InputError
from maml_rl.utils.random import Purpose, generator

pytest.importorskip("sklearn")


def remembering(num_lags, num_episodes=8, num_trials=60, num_arms=4):
    """States that hold the last `num_lags` choices, rotated and hidden in weaker noise; choices at random."""
    rng = generator(0, Purpose.STATISTICS)
    choices = rng.integers(0, num_arms, (num_episodes, num_trials))
    codes = np.eye(num_arms)[choices]
    held = [np.roll(codes, lag, axis=1) * (np.arange(num_trials) >= lag)[:, None] for lag in range(1, num_lags + 1)]
    states = np.concatenate(held, axis=-1)
    rotation = np.linalg.qr(rng.normal(size=(20, 20)))[0][: states.shape[-1]]
    return states @ rotation + 0.05 * rng.normal(size=(num_episodes, num_trials, 20)), choices


def test_choices_are_decoded_for_as_long_as_they_are_held():
    states, choices = remembering(2)
    shares = decode_choices(states, choices, 4)
    assert (shares[:2] > 0.98).all()
    chance = commonest_choice(choices)
    assert 0.25 <= chance < 0.3
    np.testing.assert_allclose(shares[2:], 0.25, atol=0.06)
    np.testing.assert_array_equal(shares, decode_choices(states, choices, 4))


def test_episodes_have_the_fractions_of_all_choices_together():
    states, choices = remembering(2)
    marked = np.where(np.arange(60) % 10 < 7, choices, -1)
    marked[3] = -1
    lags = (1, 3)
    each = decode_episodes(states, marked, lags)
    assert each.shape == (8, 2)
    assert np.isnan(each[3]).all()
    counts = np.array([(marked[:, :-lag] != -1).sum(axis=1) for lag in lags]).T
    pooled = np.nansum(each * counts, axis=0) / counts.sum(axis=0)
    np.testing.assert_allclose(pooled, decode_choices(states, marked, 3)[[0, 2]])


def test_what_lies_in_small_components_is_not_seen():
    states, choices = remembering(2)
    states = np.concatenate([states, 50 * generator(1, Purpose.STATISTICS).normal(size=(*choices.shape, 3))], axis=-1)
    assert decode_choices(states, choices, 1, num_components=3)[0] < 0.4
    assert decode_choices(states, choices, 1, num_components=12)[0] > 0.98


def test_the_only_choice_there_is_is_decoded():
    states, choices = remembering(1)
    np.testing.assert_array_equal(decode_choices(states, np.zeros_like(choices), 2), 1.0)
    assert commonest_choice(np.zeros_like(choices)) == 1.0


def test_missed_trials_are_neither_decoded_nor_the_commonest_choice():
    states, choices = remembering(1)
    marked = np.where(np.arange(60) % 10 < 7, -1, choices)
    assert decode_choices(states, marked, 1)[0] > 0.98
    assert commonest_choice(marked) < 0.4
    np.testing.assert_array_equal(decode_choices(states, np.where(marked < 0, -1, 2), 2), 1.0)
    assert np.isnan(decode_choices(states, np.full_like(choices, -1), 1)).all()
    with pytest.raises(ValueError, match="choices: got no choice at all"):
        commonest_choice(np.full_like(choices, -1))
    with pytest.raises(ValueError, match="choices: got nan, expected arms from 0 on"):
        decode_choices(states, choices * np.nan, 1)


def test_similarity_is_that_of_the_states():
    rng = generator(2, Purpose.STATISTICS)
    noise = rng.normal(size=(6, 400, 30))
    states = np.empty_like(noise)
    states[:, 0] = noise[:, 0]
    for trial in range(1, 400):  # correlation 0.8 ** lag
        states[:, trial] = 0.8 * states[:, trial - 1] + 0.6 * noise[:, trial]
    np.testing.assert_allclose(state_similarity(states + 100.0, 5), 0.8 ** np.arange(1, 6), atol=0.03)
    with np.errstate(invalid="raise"):
        assert np.isnan(state_similarity(np.ones((2, 5, 3)), 2)).all()


@pytest.mark.parametrize(
    ("states", "choices", "max_lag", "kwargs", "words"),
    [
        ((4, 5), (4, 5), 1, {}, r"states: got shape \(4, 5\)"),
        ((4, 5, 2), (4, 4), 1, {}, r"states: got shape .* with choices \(4, 4\)"),
        ((4, 5, 2), (4, 5), 5, {}, "max_lag: got 5, expected 1 to 4"),
        ((4, 5, 2), (4, 5), 1, {"num_folds": 5}, "num_folds: got 5 with 4 episodes, expected 2 to 4"),
        ((4, 5, 2), (4, 5), 1, {"num_components": 0, "num_folds": 2}, "num_components: got 0"),
    ],
)
def test_what_does_not_fit_is_refused(states, choices, max_lag, kwargs, words):
    with pytest.raises(ValueError, match=words):
        decode_choices(np.zeros(states), np.zeros(choices, dtype=int), max_lag, **kwargs)


def test_a_missing_package_is_named_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with pytest.raises(InputError, match=r"scikit-learn is missing; install it with pip install 'maml_rl\[analysis\]'"):
        decode_choices(np.zeros((4, 5, 2)), np.zeros((4, 5), dtype=int), 1)
