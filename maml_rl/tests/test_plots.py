"""Figures show the numbers they are given and say what their bands mean."""

from __future__ import annotations

import matplotlib.pyplot
import numpy as np
import pytest
from matplotlib.figure import Figure

from maml_rl.analysis.behaviour_plots import plot_regret, plot_stay_probabilities
from maml_rl.analysis.intervals import Interval, mean_interval
from maml_rl.analysis.learning_curve_plots import (
    plot_learning_curve_areas,
    plot_seeds_and_line,
    plot_smoothed_curves,
)
from maml_rl.analysis.plots import labels_of_steps, plot_adaptation, plot_adaptation_of_runs, plot_training_curve


@pytest.fixture
def ax():
    return Figure().subplots()


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_a_single_run_is_drawn_as_it_is_and_without_a_band(ax):
    steps, before, after = np.array([10, 20, 30]), np.array([0.0, 1.0, 0.0]), np.array([1.0, 2.0, 4.0])
    plot_training_curve(ax, steps, before, after, labels=labels_of_steps(2))
    np.testing.assert_array_equal([line.get_ydata() for line in ax.lines], [before, after])
    assert not ax.collections
    assert texts(ax) == []
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["before", "after 2 gradient steps"]


def test_two_curves_of_one_name_are_drawn_as_one(ax):
    plot_training_curve(ax, np.array([1, 2]), np.zeros(2), np.ones(2), labels=("meta-episode", "meta-episode"))
    assert [line.get_ydata().tolist() for line in ax.lines] == [[1.0, 1.0]]


def test_a_few_seeds_are_drawn_one_by_one_under_their_mean(ax):
    returns = np.array([[0.0, 1.0], [2.0, 3.0]])
    plot_training_curve(ax, np.array([1_000_000, 2_000_000]), returns, returns + 1)
    np.testing.assert_array_equal([line.get_ydata() for line in ax.lines[:3]], [[1.0, 2.0], *returns])
    assert ax.lines[0].get_xdata().tolist() == [1.0, 2.0]
    assert not ax.collections
    assert texts(ax) == ["thick: mean of 2 seeds; thin: each seed"]


def test_many_seeds_are_drawn_as_mean_and_interval_over_seeds(ax):
    returns = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 8.0], [2.0, 4.0], [2.0, 4.0]])
    plot_training_curve(ax, np.array([1, 2]), returns, returns + 1)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [2.0, 4.0])
    interval = mean_interval(returns.T)
    edges = ax.collections[0].get_paths()[0].vertices
    assert edges[:, 1].min() == pytest.approx(interval.low.min())
    assert edges[:, 1].max() == pytest.approx(interval.high.max())
    assert texts(ax) == ["band: 95% interval of the mean over 5 seeds"]


def test_adaptation_is_drawn_in_the_order_of_steps_with_its_band_explained(ax):
    mean = np.array([3.0, 1.0, 2.0])
    plot_adaptation(ax, np.array([2, 0, 1]), mean, mean - 0.5, mean + 0.5)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[0, 1], [1, 2], [2, 3]])
    assert texts(ax) == ["band: 95% interval of the mean over tasks"]
    assert ax.get_xticks().tolist() == [0, 1, 2]


def test_two_agents_share_axes_in_two_colours_and_one_explanation(ax):
    steps, mean = np.array([0, 1]), np.array([0.0, 1.0])
    for name in ("one", "other"):
        plot_adaptation(ax, steps, mean, mean - 1, mean + 1, label=name, band="range over 2 tasks")
    assert ax.lines[0].get_color() != ax.lines[1].get_color()
    assert texts(ax) == ["band: range over 2 tasks"]
    assert len(ax.get_legend().get_texts()) == 2


def test_the_line_of_several_seeds_is_that_of_their_mean(ax):
    returns = np.random.default_rng(0).normal(size=(3, 7)) + np.arange(7)
    plot_seeds_and_line(ax, returns, name="lstm", colour="red")
    mean, *seeds, dashed = (line.get_ydata() for line in ax.lines)
    np.testing.assert_allclose(mean, returns.mean(axis=0))
    np.testing.assert_array_equal(seeds, returns)
    slope, intercept = np.polyfit(np.arange(7), returns.mean(axis=0), 1)
    np.testing.assert_allclose(dashed, intercept + slope * np.arange(7))
    r_squared = np.mean([np.corrcoef(np.arange(7), values)[0, 1] ** 2 for values in returns])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["lstm, 3 seeds", f"slope {slope:+.3g}, R² {r_squared:.2f}"]


@pytest.mark.parametrize(
    ("returns", "labels"),
    [
        ([[1.0]], ["rnn, 1 seed"]),
        ([[2.0, 2.0, 2.0]], ["rnn, 1 seed", "slope +0.00"]),
        ([[1.0], [2.0]], ["rnn, 2 seeds"]),
    ],
)
def test_what_no_line_explains_has_no_r_squared(ax, returns, labels):
    plot_seeds_and_line(ax, np.array(returns), name="rnn", colour="red")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == labels


def test_runs_stand_side_by_side_with_their_own_intervals(ax):
    mean, unknown = np.array([0.0, 5.0]), np.full(2, np.nan)
    intervals = {"mlp": Interval(mean, mean - 1, mean + 2), "rnn": Interval(mean + 1, unknown, unknown)}
    plot_adaptation_of_runs(ax, np.arange(2), intervals, {"mlp": "grey", "rnn": "red"}, explanation="bar: range")
    assert ax.get_title() == "bar: range"
    (mlp, *_, bars), (rnn, *_) = ax.containers[0].lines, ax.containers[1].lines
    np.testing.assert_array_equal([mlp.get_ydata(), rnn.get_ydata()], [mean, mean + 1])
    assert (mlp.get_xdata() < rnn.get_xdata()).all()
    np.testing.assert_array_equal([ends[:, 1] for ends in bars[0].get_segments()], [[-1.0, 2.0], [4.0, 7.0]])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["mlp", "rnn"]
    assert ax.get_xticks().tolist() == [0, 1]


def test_what_runs_have_earned_so_far_ends_in_the_interval_over_seeds(ax):
    areas = {"one": np.array([[1.0, 3.0]]), "two": np.array([[0.0, 2.0], [2.0, 6.0]])}
    plot_learning_curve_areas(ax, np.array([1e6, 2e6]), areas, {"one": "grey", "two": "red"})
    thick = [line for line in ax.lines if line.get_linewidth() == 2]
    np.testing.assert_array_equal([line.get_ydata() for line in thick], [[1.0, 3.0], [1.0, 4.0]])
    np.testing.assert_array_equal(thick[0].get_xdata(), [1.0, 2.0])
    (bar,) = [container.lines[2][0].get_segments()[0] for container in ax.containers]
    end = mean_interval(areas["two"][:, -1])
    np.testing.assert_allclose(bar[:, 1], [end.low, end.high])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one, 1 seed", "two, 2 seeds"]
    with pytest.raises(ValueError, match=r"two: got areas of shape \(2, 2\), expected \(S, 3\)"):
        plot_learning_curve_areas(ax, np.arange(3), {"two": areas["two"]}, {"two": "red"})


def test_smoothed_curves_are_means_of_a_tenth_of_the_iterations_at_the_last_of_them(ax):
    costs, rewards = np.arange(1.0, 21.0), np.arange(20.0) ** 2
    curves = {"long": (costs, rewards), "short": (costs[:3], rewards[:3])}
    plot_smoothed_curves(ax, curves, {"long": ("red", "-"), "short": ("grey", ":")})
    long, short = ax.lines
    np.testing.assert_allclose(long.get_ydata(), (rewards[1:] + rewards[:-1]) / 2)
    np.testing.assert_array_equal(long.get_xdata(), costs[1:])
    np.testing.assert_array_equal(short.get_ydata(), rewards[:3])
    assert (short.get_color(), short.get_linestyle(), short.get_label()) == ("grey", ":", "short")
    with pytest.raises(ValueError, match=r"curves\['odd'\]: got shapes \(3,\), \(2,\), expected \(I,\) both"):
        plot_smoothed_curves(ax, {"odd": (costs[:3], rewards[:2])}, {"odd": ("red", "-")})


def test_regret_of_an_agent_stands_among_the_baseline_agents(ax):
    agent = np.array([[0.0, 1.0], [2.0, 3.0]])
    plot_regret(ax, agent, {"Thompson": agent + 1, "Gittins": agent - 1}, name="LSTM")
    np.testing.assert_array_equal([line.get_ydata() for line in ax.lines], [[1.0, 2.0], [2.0, 3.0], [0.0, 1.0]])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["LSTM", "Thompson", "Gittins"]
    assert len({line.get_color() for line in ax.lines}) == 3
    assert texts(ax) == ["band: 95% interval of the mean over meta-episodes"]
    with pytest.raises(ValueError, match="UCB1: got 3 pulls, expected 2"):
        plot_regret(ax, agent, {"UCB1": np.zeros((2, 3))}, name="LSTM")


def test_stay_probabilities_are_bars_of_reward_by_transition(ax):
    mean = np.array([[0.9, 0.6], [0.5, 0.8]])
    plot_stay_probabilities(ax, Interval(mean, mean - 0.1, mean + 0.1), seeds=np.stack([mean, mean - 0.1]))
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_array_equal(heights, [0.9, 0.5, 0.6, 0.8])  # common of both groups, then uncommon
    assert [label.get_text() for label in ax.get_xticklabels()] == ["rewarded", "unrewarded"]
    points = [line.get_ydata().tolist() for line in ax.lines if line.get_marker() == "o"]
    assert [0.9, 0.8] in points
    assert len(points) == 4
    with pytest.raises(ValueError, match="stay: got shapes"):
        plot_stay_probabilities(ax, Interval(mean[0], mean[0], mean[0]))


def test_axes_carry_units(ax):
    plot_training_curve(ax, np.array([1]), np.array([0.0]), np.array([1.0]))
    assert ax.get_xlabel() == "environment steps of meta-training (millions)"
    assert ax.get_ylabel() == "return (sum of rewards)"


def test_lengths_that_differ_are_refused(ax):
    with pytest.raises(ValueError, match=r"returns_before, returns_after: got shapes \(2,\), \(3,\)"):
        plot_training_curve(ax, np.arange(3), np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match=r"num_steps, mean, low, high: got shapes"):
        plot_adaptation(ax, np.arange(2), np.zeros(2), np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match=r"returns: got shape \(3,\), expected \(S, I\)"):
        plot_seeds_and_line(ax, np.zeros(3), name="mlp", colour="red")
    with pytest.raises(ValueError, match=r"mlp: got means of shape \(2,\), expected \(3,\)"):
        plot_adaptation_of_runs(ax, np.arange(3), {"mlp": Interval(*np.zeros((3, 2)))}, {"mlp": "red"}, explanation="")


def test_plotting_opens_no_global_figure(ax):
    plot_adaptation(ax, np.arange(2), np.zeros(2), np.zeros(2), np.ones(2))
    assert matplotlib.pyplot.get_fignums() == []


def test_interval_has_its_closed_form_for_two_units():
    interval = mean_interval(np.array([-1.0, 1.0]))
    half_width = np.tan(np.pi * 0.95 / 2)  # Student's t with one degree of freedom is Cauchy's distribution
    assert [interval.low, interval.mean, interval.high] == pytest.approx([-half_width, 0.0, half_width])


def test_interval_of_a_single_unit_is_unknown():
    interval = mean_interval(np.array([[3.0]]))
    assert interval.mean.tolist() == [3.0]
    assert np.isnan([interval.low, interval.high]).all()


def test_interval_covers_the_true_mean_as_often_as_it_says():
    samples = np.random.default_rng(0).normal(2.0, 3.0, size=(4000, 5))
    interval = mean_interval(samples, confidence=0.8)
    assert ((interval.low < 2.0) & (interval.high > 2.0)).mean() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(("values", "confidence"), [(np.zeros((2, 0)), 0.9), (np.zeros(3), 1.0), (np.zeros(3), 0.0)])
def test_no_units_and_no_probability_are_refused(values, confidence):
    with pytest.raises(ValueError, match=r"values: got shape|confidence: got"):
        mean_interval(values, confidence=confidence)
