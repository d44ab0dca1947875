"""Tables and figures of a study whose units are seeds."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats

from maml_rl.studies.scores import finished_seeds
from maml_rl.studies.tables import probability, three_digits, three_figures
from maml_rl.tests.builders import tiny_config, write_config
from maml_rl.tests.study_builders import all_runs, run_study


@pytest.mark.parametrize(
    ("value", "text"), [(0.123, "0.12"), (-9.994, "-9.99"), (9.996, "10.0"), (99.96, "100"), (-257.77, "-258")]
)
def test_numbers_have_three_figures(value, text):
    assert three_figures(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (0.01234, "0.0123"), (-0.8, "-0.800"), (17.55, "17.6"), (1234.5, "1234")]
)
def test_small_numbers_keep_three_digits(value, text):
    assert three_digits(value) == text


NUM_ITERATIONS = 20


@pytest.fixture
def compared(tmp_path):
    """Path of a study of three runs by three seeds, two of them compared to the first; nothing is done."""
    config = write_config(tmp_path / "tiny.json", tiny_config("Bandit-K5-v0", num_batches=NUM_ITERATIONS))
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "name: tiny\nquestion: Which is better?\ncomparisons: [[high, low], [near, low]]\nruns:\n"
        + "".join(f"  {name}: {{config: {config}, seeds: [1, 2, 3]}}\n" for name in ("low", "high", "near"))
    )
    return path


def record(study, name, seed, returns):
    """Write what a training with these returns after adaptation leaves behind, as far as a report reads it."""
    folder = study.parent / "results" / "tiny" / name / f"seed-{seed}"
    folder.mkdir(parents=True)
    rows = [f"{i},{100 * (i + 1)},{i}.5,0.0,{value!r}" for i, value in enumerate(np.asarray(returns).tolist())]
    (folder / "metrics.csv").write_text(
        "\n".join(["iteration,env_steps,seconds,return_before,return_after", *rows]) + "\n"
    )


def rows_of(study, heading):
    """Columns of the table below this heading, by the first of each row."""
    assert run_study(study, command="report") == 0
    text = (study.parent / "results" / "tiny" / "table.md").read_text()
    part = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [[column.strip() for column in line.split("|")[1:-1]] for line in part.splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows[1:]}, part


FINALS = {"low": [1.0, 2.0, 3.0], "high": [4.0, 5.0, 6.0], "near": [2.0, 4.0, 3.0]}


def test_a_comparison_says_difference_and_tests_of_final_returns_corrected_together(compared):
    for name, finals in FINALS.items():
        for seed, final in enumerate(finals, start=1):
            record(compared, name, seed, [99.0] * (NUM_ITERATIONS - 10) + [final] * 10)  # the end alone counts
    rows, text = rows_of(compared, "Comparisons")
    p_high, p_near = (stats.ttest_ind(FINALS[name], FINALS["low"], equal_var=False).pvalue for name in ("high", "near"))
    assert p_high < p_near
    high, near = rows["high - low"], rows["near - low"]
    assert high[0] == "3 against 3"
    assert high[1].startswith("3.00 [")
    assert near[1].startswith("1.00 [")
    assert high[2:] == [probability(p_high), probability(2 * p_high), "0.1", "0.2", "1.00"]
    assert near[2:4] == [probability(p_near), probability(max(p_near, 2 * p_high))]
    assert "With 3 against 3 seeds no permutation test can give less than p = 0.1, corrected 0.2." in text


def test_a_run_says_what_its_seeds_have_in_common_and_in_what_they_differ(compared):
    iterations = np.arange(NUM_ITERATIONS)
    zigzag = np.where(iterations % 4 % 3 == 0, 1.0, -1.0)  # has no slope
    for seed, (slope, noise) in enumerate([(1.0, 0.0), (2.0, 0.0), (3.0, 6.0)], start=1):
        record(compared, "low", seed, slope * (iterations - 14.5) + noise * zigzag)
    rows, _ = rows_of(compared, "Seeds as units")
    seeds, area, final, deviation, slope, r_squared, residual = rows["low"]
    assert seeds == "3 of 3"
    assert area == "-10.0 (-15.0 to -5.00)"  # the mean iteration is 9.5
    last = np.array([0.0, 0.0, 6 * zigzag[-10:].mean()])  # the mean of the last ten iterations is 14.5
    assert final.startswith(f"{three_figures(last.mean())} [")
    assert deviation == three_digits(last.std(ddof=1))
    assert slope == "2.00 (1.00 to 3.00)"
    assert r_squared.endswith(" to 1.00)")
    spread = 6 * np.sqrt(NUM_ITERATIONS / (NUM_ITERATIONS - 2))
    assert residual.startswith(three_digits(spread / 3))
    assert residual.endswith(f" to {three_digits(spread)})")


def test_a_run_under_way_is_not_compared_and_the_report_says_so(compared):
    for seed in (1, 2):
        record(compared, "low", seed, np.arange(NUM_ITERATIONS + 5.0))  # longer than the study asks for
    record(compared, "low", 3, np.full(NUM_ITERATIONS - 1, 1000.0))
    record(compared, "high", 1, np.full(NUM_ITERATIONS, 15.5))
    record(compared, "near", 1, [*np.zeros(NUM_ITERATIONS - 1), np.nan])
    rows, text = rows_of(compared, "Comparisons")
    assert rows["high - low"] == ["1 against 2", "1.00", "too few seeds", "-", "too few seeds", "-", "-"]
    assert rows["near - low"][:3] == ["0 against 2", "not finished", "too few seeds"]
    assert "no permutation test" not in text
    assert "low seed 3 (19/20 iterations); near seed 1 (some returns are not finite)" in text
    rows, _ = rows_of(compared, "Seeds as units")
    assert rows["low"][:2] == ["2 of 3", "9.50 (9.50 to 9.50)"]
    assert rows["high"][3] == "one seed"
    assert "near" not in rows


def test_a_single_iteration_has_no_slope(compared):
    compared.write_text(compared.read_text().replace("seeds:", "set: [num-batches=1], seeds:"))
    for seed in (1, 2):
        record(compared, "low", seed, [1.0])
    rows, _ = rows_of(compared, "Seeds as units")
    assert rows["low"][4:] == ["none", "none", "none"]


def test_a_report_without_seeds_or_comparisons_is_the_table_of_runs(compared):
    compared.write_text(re.sub("comparisons: .*\n", "", compared.read_text()))
    record(compared, "low", 1, np.zeros(NUM_ITERATIONS))
    assert rows_of(compared, "Seeds as units") == ({}, "")
    assert rows_of(compared, "Comparisons") == ({}, "")


def test_the_comparison_is_drawn_where_the_study_compares_and_two_runs_are_done(compared):
    figure = compared.parent / "results" / "tiny" / "figures" / "comparison.png"
    for seed in (1, 2):
        record(compared, "low", seed, np.zeros(NUM_ITERATIONS))
    assert "comparison.png" not in rows_of(compared, "Comparisons")[1]
    assert not figure.exists()
    record(compared, "near", 1, np.arange(NUM_ITERATIONS))
    evaluated = figure.parents[1] / "near" / "seed-1" / "results.npz"
    assert "comparison.png" in rows_of(compared, "Comparisons")[1]  # nothing evaluated yet
    np.savez(evaluated, returns=np.ones((4, 2, 3)), num_steps=np.arange(4))
    before = figure.read_bytes()
    assert "comparison.png" in rows_of(compared, "Comparisons")[1]
    assert figure.read_bytes() != before
    compared.write_text(re.sub("comparisons: .*\n", "", compared.read_text()))
    assert run_study(compared, command="report") == 0
    assert "comparison.png" not in (figure.parents[1] / "table.md").read_text()


def test_new_tasks_are_averaged_within_a_seed_and_compared_between_seeds(compared):
    for seed, level in enumerate([1.0, 3.0], start=1):
        record(compared, "low", seed, np.zeros(NUM_ITERATIONS))
        folder = compared.parent / "results" / "tiny" / "low" / f"seed-{seed}"
        returns = level + np.array([0.0, 10.0])[:, None, None] + np.linspace(-5, 5, 6).reshape(2, 3)
        np.savez(folder / "results.npz", returns=returns, num_steps=np.arange(2))
    runs, _ = finished_seeds([run for run in all_runs(compared) if run.iterations_done])
    interval = runs["low"].adapted(num_steps=1)
    assert interval is not None
    np.testing.assert_allclose([interval.low, interval.mean, interval.high], [[1, 11], [2, 12], [3, 13]])
    assert runs["low"].adapted(num_steps=2) is None  # evaluated with fewer
