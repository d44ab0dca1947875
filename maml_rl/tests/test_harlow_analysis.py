"""Accuracy by trial of agents whose choices are known, and what a study shows of it."""

from __future__ import annotations

import matplotlib.figure
import numpy as np
import pytest

from maml_rl.analysis.behaviour_plots import plot_accuracy_by_trial
from maml_rl.analysis.harlow import accuracy, accuracy_by_trial, fraction_made, harlow_choices
from maml_rl.analysis.intervals import Interval, fraction_interval
from maml_rl.studies.displays.registry import displays_of
from maml_rl.tests.builders import tiny_config
from maml_rl.tests.sampling import consistent, started
from maml_rl.tests.study_builders import all_runs, only_plain, run_study, tiny_study
from maml_rl.tests.test_harlow import STRIP, made, roll_out, with_win_stay
from maml_rl.utils.random import Purpose, generator


def test_one_trial_learners_guess_once_and_are_right_ever_after():
    env, tasks = started(STRIP, 200)
    rewards, _ = with_win_stay(env)
    choices = harlow_choices(rewards.T)
    assert choices.shape == (200, 6)
    np.testing.assert_array_equal(choices[:, 0], [task["rewarded"] == 0 for task in tasks])
    np.testing.assert_array_equal(accuracy_by_trial(choices).mean[1:], 1.0)
    assert fraction_made(choices) == 1.0


def test_agents_that_never_learn_are_at_chance_in_every_trial():
    env, _ = started(STRIP, 200)
    rng = generator(0, Purpose.ACTIONS)
    rewards, _ = roll_out(env, lambda wanted, reward: rng.integers(2, size=200))
    choices = harlow_choices(rewards.T, num_trials=6)
    interval = accuracy_by_trial(choices)
    assert all(consistent(column.sum(), 200, 0.5) for column in choices.T)
    expected = fraction_interval(int(choices[:, 3].sum()), 200)
    assert (interval.low[3], interval.high[3]) == (expected.low, expected.high)


def test_trials_without_a_choice_count_as_missed_and_not_as_wrong():
    rewards = np.array([[0.2, 1.0, 0.2, -1.0, 1.0], [0.0, 0.2, -0.5, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.2]])
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    choices = harlow_choices(rewards, mask)
    np.testing.assert_array_equal(choices, [[1, 0, 1], [0, -1, -1], [-1, -1, -1]])
    np.testing.assert_array_equal(harlow_choices(rewards, mask, num_trials=1), choices[:, :1])
    np.testing.assert_array_equal(harlow_choices(rewards[:, None], mask[:, None], num_trials=3), choices[:, None])
    np.testing.assert_array_equal(accuracy_by_trial(choices).mean, [0.5, 0.0, 1.0])
    assert accuracy(choices) == 0.5
    assert fraction_made(choices) == pytest.approx(4 / 9)
    longer = harlow_choices(rewards, mask, num_trials=4)
    assert np.isnan(accuracy_by_trial(longer).mean[3])
    assert np.isnan(accuracy(longer[:, 3:]))
    assert np.isnan(fraction_made(longer[:, 4:]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: harlow_choices(np.array([[np.nan]])), r"rewards: got float64 of shape \(1, 1\), expected finite"),
        (lambda: harlow_choices(np.ones((1, 2)), np.ones((1, 3))), r"mask: got shape \(1, 3\), expected \(1, 2\)"),
        (lambda: harlow_choices(np.ones((1, 2)), num_trials=0), r"num_trials: got 0, expected at least 1"),
        (lambda: accuracy_by_trial(np.ones(3)), r"choices: got shape \(3,\), expected \(episodes, trials\)"),
        (lambda: accuracy(np.array([0.2])), r"choices: got \[0.2\], expected 1, 0 or -1; see harlow_choices"),
    ],
)
def test_arrays_that_make_no_sense_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def _points(ax):
    """Heights (S, K) of the points."""
    return np.array([line.get_ydata() for line in ax.lines if line.get_marker() == "o"], dtype=float)


def test_the_figure_shows_each_agent_and_the_mean():
    ax = matplotlib.figure.Figure().subplots()
    seeds = np.array([[0.5, 0.9, 1.0], [0.4, 1.0, np.nan]])
    mean = np.array([0.45, 0.95, 1.0])
    plot_accuracy_by_trial(ax, Interval(mean, mean - 0.1, np.full(3, np.nan)), seeds=seeds)
    np.testing.assert_array_equal(_points(ax), seeds)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("trial", "accuracy (fraction of right choices)")
    with pytest.raises(ValueError, match=r"seeds: got shape \(2, 2\), expected \(S, 3\)"):
        plot_accuracy_by_trial(ax, Interval(mean, mean, mean), seeds=seeds[:, :2])
    with pytest.raises(ValueError, match=r"accuracy: got shapes .*, expected \(trials,\) each"):
        plot_accuracy_by_trial(ax, Interval(mean, mean[:2], mean))


def test_a_study_tells_accuracy_by_trial_on_old_and_new_objects(tmp_path):
    study = tiny_study(tmp_path)
    task = f"algorithm=rl2, policy=rnn, env-name={STRIP}, env-kwargs.num_trials=3, fast-batch-size=1"
    only_plain(study, task, "test_on: {new: [env-kwargs.split=held-out]}")
    assert run_study(study) == 0
    folder = study.parent / "results" / "tiny"
    lines = [line.split(" | ") for line in (folder / "table.md").read_text().splitlines() if " | 2 x 6 | " in line]
    rows = {line[0]: line for line in lines}
    held_out = set(made(STRIP).objects_of("held-out").tolist())
    for name, path in (("| plain", "results.npz"), ("| plain on new", "results-new.npz")):
        each = []
        for seed in (1, 2):
            with np.load(folder / "plain" / f"seed-{seed}" / path) as results:
                each.append(harlow_choices(results["rewards"], results["mask"], num_trials=3))
                objects = set(results["tasks"][:, :2].ravel().astype(int).tolist())
            assert (objects <= held_out) == ("new" in name)
            assert objects.isdisjoint(held_out) == ("new" not in name)
        for column, part in zip(rows[name][2:5], (slice(0, 1), slice(1, 2), slice(2, 3)), strict=True):
            values = np.array([accuracy(choices[:, part]) for choices in each])
            known = values[~np.isnan(values)]
            assert column.split()[0] == (f"{known.mean():.3f}" if len(known) else "-")
        assert rows[name][5].split()[0] == f"{np.mean([fraction_made(choices) for choices in each]):.3f}"
    runs = all_runs(study)
    (display,) = displays_of(runs[0].config)
    figure = display.figure(runs)
    assert figure is not None
    assert len(_points(figure.axes[0])) == 2
    assert "plain-behaviour.png" in (folder / "table.md").read_text()
    assert "95% interval over episodes" in display.figure(runs[:1]).axes[0].get_title()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("env_name", "env_kwargs", "is_shown"),
    [
        (STRIP, {}, True),
        (STRIP, {"wrong_reward": 0.0}, False),
        ("HarlowFixation-v0", {"stage": "choice"}, True),
        ("HarlowFixation-v0", {"stage": "fixation"}, False),
    ],
)
def test_runs_are_shown_whose_rewards_tell_right_from_wrong(env_name, env_kwargs, is_shown):
    config = tiny_config(env_name, algorithm="rl2", policy="rnn", env_kwargs=env_kwargs)
    assert bool(displays_of(config)) == is_shown
