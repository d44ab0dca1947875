"""The policies of zoo/ load into the present code and act."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.zoo import figures_of, measure
from maml_rl.agent import load_agent
from maml_rl.algorithms import make_algorithm
from maml_rl.config import load_config
from maml_rl.evaluation import evaluate

ZOO = Path(__file__).resolve().parents[2] / "zoo"
FOLDERS = sorted(path for path in ZOO.glob("*") if path.is_dir())
QUICK = ("delayed-recall-geometric", "maml-bandit-k5-n100")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_policy_of_the_zoo_loads_and_is_evaluated(folder):
    config = load_config(folder / "config.json", quiet=True)
    if config.env_name.endswith("Modes-v0"):
        pytest.importorskip("ale_py")
    shorter = {"max_episode_steps": 4} if "max_episode_steps" in config.env_kwargs else {}
    algorithm = make_algorithm(
        config.replace(fast_batch_size=1, env_kwargs={**config.env_kwargs, **shorter})
    ).with_policy(folder / "policy.th")
    evaluation = evaluate(
        algorithm, algorithm.initial_parameters(), num_batches=1, meta_batch_size=2, num_adaptation_steps=0
    )
    assert evaluation.returns.shape[1:] == (2, 1)
    assert np.isfinite(evaluation.returns).all()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_card_says_what_made_the_policy_and_how_good_it_is(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["card.md", "config.json", "policy.th"]
    card = (folder / "card.md").read_text(encoding="utf-8")
    for part in ("environment steps", "```bash\npython ", "| versions | maml_rl ", "## Evaluation", "## Caveats"):
        assert part in card
    assert f"[{folder.name}]({folder.name}/card.md)" in (ZOO / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "folder",
    [pytest.param(path, marks=[] if path.name in QUICK else pytest.mark.slow, id=path.name) for path in FOLDERS],
)
def test_a_policy_is_as_good_as_its_card_says(folder):
    told = figures_of((folder / "card.md").read_text(encoding="utf-8"))
    if not told:
        pytest.skip("the card says nothing of the present code")
    if load_config(folder / "config.json", quiet=True).env_name.endswith("Modes-v0"):
        pytest.importorskip("ale_py")
    agent = load_agent(folder)
    found = measure(agent, told[0].num_tasks)
    assert [figure.stage for figure in found] == [figure.stage for figure in told]
    for mine, theirs in zip(found, told, strict=True):
        assert theirs.low <= mine.mean <= theirs.high
