"""The display of learning within lives shows what the evaluations hold, of training's tasks and of every control."""

from __future__ import annotations

import matplotlib.figure
import numpy as np
import pytest

from maml_rl.studies.displays.registry import displays_of
from maml_rl.tests.study_builders import all_runs, only_plain, run_study, tiny_study

SETTINGS = (
    "algorithm=evolution, policy=plastic, env-name=FoodWorld-v0, env-kwargs.max_episode_steps=20, fast-batch-size=3, "
    "population-size=4"
)


@pytest.fixture
def folder(tmp_path):
    study = tiny_study(tmp_path)
    only_plain(study, SETTINGS, "test_on: {frozen: [plastic-frozen=true], yoked: [yoked-reward=true]}")
    assert run_study(study) == 0
    return study


def test_the_table_and_the_figure_hold_first_and_last_episodes(folder):
    results = folder.parent / "results" / "tiny"
    lines = (results / "table.md").read_text().splitlines()
    for test_set, file in (("new tasks", "results"), ("frozen", "results-frozen"), ("yoked", "results-yoked")):
        parts = []
        for seed in (1, 2):
            with np.load(results / "plain" / f"seed-{seed}" / f"{file}.npz") as arrays:
                parts.append({name: arrays[name] for name in ("returns", "measure_eaten")})
        for name, label in (("returns", "return"), ("measure_eaten", "eaten")):
            values = np.concatenate([part[name][..., 0] for part in parts], axis=1)
            row = next(x for x in lines if x.startswith(f"| plain | {test_set} | 2 x 6 | {label} |"))
            shown = [float(column.split()[0]) for column in row.split("|")[5:8]]
            expected = [values[0].mean(), values[-1].mean(), (values[-1] - values[0]).mean()]
            np.testing.assert_allclose(shown, expected, atol=0.0051)
    runs = all_runs(folder)
    (display,) = displays_of(runs[0].config)
    figure = display.figure(runs)
    assert isinstance(figure, matplotlib.figure.Figure)
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["as trained", "frozen", "yoked"]
    assert [np.asarray(line.get_xdata()).tolist() for line in axes.lines] == [[1, 2, 3]] * 3
