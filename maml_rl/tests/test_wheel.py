"""The wheel, away from the repository: it has what it needs, and nothing of the tests."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADAPTS = """
import maml_rl
agent = maml_rl.load_agent("2d-navigation")
print(agent.adapt(agent.sample_tasks(1)[0], episodes=1).act([0.0, 0.0]).shape, maml_rl.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Path of a wheel, built from a copy of the tracked files without a network."""
    pytest.importorskip("setuptools")
    copy, out = tmp_path_factory.mktemp("source") / "maml_rl", tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(
        ".git", ".venv", "runs", "results", "build", "*.egg-info", "__pycache__", ".*cache"
    )
    shutil.copytree(ROOT, copy, ignore=ignored)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", out, copy]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    if "No module named pip" in done.stderr:
        pytest.skip("pip is not installed")
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_has_configurations_and_policies_and_no_tests(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, pattern in (("configs", "*.yaml"), ("zoo", "*/*")):
        expected = {path.relative_to(ROOT / folder).as_posix() for path in (ROOT / folder).rglob(pattern)}
        assert {name.partition("/_")[2] for name in names if name.startswith(f"maml_rl/_{folder}/")} == {
            f"{folder}/{name}" for name in expected
        }
    assert "maml_rl/py.typed" in names
    assert not [name for name in names if name.startswith("maml_rl/tests") or not name.startswith("maml_rl")]


@pytest.mark.slow
def test_the_installed_command_trains_by_name_and_an_agent_adapts_in_three_lines(wheel, tmp_path):
    place = tmp_path / "venv"
    venv.create(place, symlinks=True)
    python = place / "bin" / "python"
    own = next(place.glob("lib/python*/site-packages"))
    # Libraries are those of this interpreter; this package's editable installation is none of them.
    (own / "libraries.pth").write_text("".join(f"{folder}\n" for folder in site.getsitepackages()), encoding="utf-8")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", own, wheel]
    subprocess.run(install, check=True, capture_output=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command):
        return subprocess.run(
            [str(part) for part in command], cwd=empty, env=environment, capture_output=True, text=True, check=False
        )

    main = "import sys; from maml_rl.commands.main import main; sys.exit(main())"
    sets = ["--set", "num-batches=1", "--set", "meta-batch-size=2", "--set", "env-kwargs.max_episode_steps=3"]
    train = ["train", "--config", "2d-navigation", *sets, "--output-folder", "run", "--num-workers", "1"]
    done = run(python, "-c", main, *train, "--backend", "serial")
    assert done.returncode == 0, done.stderr
    assert (empty / "run" / "policy.th").exists()
    done = run(python, "-c", ADAPTS)
    assert done.returncode == 0, done.stderr
    shape, place_of_package = done.stdout.strip().rsplit(" ", 1)
    assert shape == "(2,)"
    assert place_of_package.startswith(str(own))
    zoo = run(python, "-m", "maml_rl", "zoo")
    assert zoo.returncode == 0, zoo.stderr
    assert "halfcheetah-dir" in zoo.stdout
    scripts = next(own.glob("maml_rl-*.dist-info")) / "entry_points.txt"
    assert "maml-rl = maml_rl.commands.main:main" in scripts.read_text(encoding="utf-8")
