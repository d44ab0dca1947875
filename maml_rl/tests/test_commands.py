"""The command maml-rl: its parts are loaded when they are called, and what it refuses costs one line."""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest

from maml_rl.commands import bench
from maml_rl.commands.main import SUBCOMMANDS, Subcommand, main
from maml_rl.config import load_config
from maml_rl.envs import make_meta_env
from maml_rl.tests.builders import tiny_config, write_config
from maml_rl.tests.source_rules import layer_violations
from maml_rl.utils.errors import InputError
from maml_rl.utils.scripts import run_script
from maml_rl.zoo import zoo, zoo_entry

ROOT = Path(__file__).resolve().parents[2]
BROKEN = """
from maml_rl.envs import register_meta_env
from maml_rl.envs.bandits.bandit import BernoulliBanditVectorEnv

class Forgets(BernoulliBanditVectorEnv):
    def _apply_tasks(self, tasks):
        pass

class Fails(BernoulliBanditVectorEnv):
    def _step(self, actions, active):
        return 1 / 0

register_meta_env("Forgets-v0", f"{__name__}:Forgets", k=2)
register_meta_env("Fails-v0", f"{__name__}:Fails", k=2)
"""


def run(capfd, *arguments):
    """Exit code, standard output and standard error of a command line."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as end:  # argparse
        code = int(end.code or 0)
    return code, *capfd.readouterr()


def test_help_and_the_zoo_load_no_heavy_library():
    code = (
        "import sys; from maml_rl.commands.main import main\n"
        "assert main(['--help']) == main(['--version']) == main(['zoo']) == main(['zoo', 'two-step']) == 0\n"
        "print(sorted({'torch', 'numpy', 'gymnasium', 'mujoco'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(f"  {name}" in done.stdout for name in SUBCOMMANDS)


def test_every_subcommand_explains_itself_under_its_name_and_its_flags_are_documented(capfd):
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for name, subcommand in SUBCOMMANDS.items():
        assert f"## {name}\n" in page
        if importlib.util.find_spec(subcommand.module) is not None:
            code, output, _ = run(capfd, name, "--help")
            assert code == 0
            if subcommand.takes_prog:
                assert output.startswith(f"usage: maml-rl {name} ")
                flags = set(re.findall(r"--[a-z][a-z-]+[a-z]", output.partition("options:")[2])) - {"--help"}
                assert {flag for flag in flags if f"`{flag}" not in page} == set()


BAD = [
    ([], "error: maml-rl: got no command, expected one of train, test"),
    (["trian"], "error: maml-rl: got 'trian', expected one of .*; did you mean 'train'"),
    (["train"], "error: --config: got none, expected a file or a name"),
    (["train", "--config", "2d-navigaton"], "error: config: got '2d-navigaton', .*did you mean '2d-navigation'"),
    (
        ["train", "--config", "bandit-k5-n100"],
        "is maml/bandit/bandit-k5-n100 and rl2/bandit-k5-n100; expected one",
    ),
    (["train", "--num-batches", "x"], "argument --num-batches: invalid int value: 'x'; see maml-rl train --help"),
    (["train", "--config", "two-step", "--jsonl"], "error: --jsonl: got no --output-folder"),
    (["test", "--output", "x.npz"], "error: --config: got none, expected --config and --policy, or --zoo NAME"),
    (["test", "--output", "x.npz", "--config", "two-step"], "error: --policy: got none, expected --config and"),
    (
        ["test", "--zoo", "two-step", "--policy", "p", "--output", "x.npz"],
        "error: --zoo: got --policy too, expected",
    ),
    (["test", "--zoo", "two-stepp", "--output", "x.npz"], "error: zoo: got 'two-stepp', .*did you mean 'two-step'"),
    (["study", "run"], "the following arguments are required: study; see maml-rl study --help"),
    (["study", "run", "nowhere.yaml"], "error: .*nowhere.yaml"),
    (["fit", "nowhere.csv"], "error: the following arguments are required: --output-folder; see maml-rl fit --help"),
    (["zoo", "two-stepp"], "error: zoo: got 'two-stepp', expected one of .*did you mean 'two-step'"),
    (["check"], "the following arguments are required: ENV-ID; see maml-rl check --help"),
    (["check", "Bandit-K6-v0"], "error: unknown environment 'Bandit-K6-v0'"),
    (["check", "Bandit-K5-v0", "--num-envs", "3"], "error: --num-envs: got 3, expected an even number >= 2"),
    (["check", "Bandit-K5-v0", "--set", "k=3"], "error: --set: got 'k=3', expected env-kwargs.NAME=VALUE"),
    (["check", "Bandit-K5-v0", "--set", "env-kwargs.k=0"], "error: .*k: got 0"),
    (["film", "2d-navigation"], "the following arguments are required: --output; see maml-rl film --help"),
    (["film", "2d-navigation", "--output", "x.png"], "error: --output: got 'x.png', expected a file that ends in .gif"),
    (["film", "nobody", "--output", "x.gif"], "error: zoo: got 'nobody', expected one of"),
    (["film", "2d-navigation", "--output", "x.gif", "--index", "2"], "error: index: got 2, expected a whole number"),
    (["film", "2d-navigation", "--output", "x.gif", "--seed", "-1"], "error: --seed: got -1, expected a whole number"),
    (["bench", "nowhere"], "error: config: got 'nowhere'"),
    (["bench", "--seconds", "0"], "error: --seconds: got 0, expected a number > 0"),
    (["bench", "--episodes", "0"], "error: --episodes: got 0, expected at least 1"),
]


@pytest.mark.parametrize(
    ("arguments", "words"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_costs_one_line_and_writes_nothing(arguments, words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["maml-rl"])
    code, output, error = run(capfd, *arguments)
    assert (code, output, error.count("\n")) == (2, "", 1), error
    assert re.search(words, error), error
    assert not list(tmp_path.iterdir())


def test_every_subcommand_is_given_bad_input():
    assert {arguments[0] for arguments, _ in BAD if arguments} >= SUBCOMMANDS.keys() - {"fit"}


def test_a_subcommand_that_is_not_installed_costs_one_line(monkeypatch, capfd):
    monkeypatch.setitem(SUBCOMMANDS, "gone", Subcommand("maml_rl.commands.gone", "gone_command", "", False))
    assert run(capfd, "gone") == (
        2,
        "",
        "error: maml-rl: got 'gone', which this installation has not; install the whole package\n",
    )


def test_windows_is_told_where_the_package_runs(monkeypatch, capfd):
    monkeypatch.setattr(sys, "platform", "win32")
    assert run_script(lambda: pytest.fail("loaded")) == 2
    assert capfd.readouterr().err == "error: maml_rl runs on Linux and macOS; on Windows use WSL2\n"


def refused():
    raise InputError("name: got 1, expected 2")


def interrupted():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("load", "code"),
    [(refused, 2), (lambda: refused, 2), (lambda: interrupted, 130), (lambda: lambda: 7, 7)],
)
def test_a_script_leaves_the_answer_to_an_interrupt_as_it_was(capfd, load, code):
    before = signal.getsignal(signal.SIGINT)
    assert run_script(load) == code
    assert signal.getsignal(signal.SIGINT) is before


def test_the_zoo_is_listed_with_cell_size_and_figure(capfd):
    code, output, _ = run(capfd, "zoo")
    lines = output.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines[1:]] == list(zoo())
    for line in lines[1:]:
        entry = zoo_entry(line.split()[0])
        config = load_config(zoo()[entry.name] / "config.json", quiet=True)
        assert (entry.env_name, entry.policy, entry.algorithm) == (config.env_name, config.policy, config.run.algorithm)
        assert line.split()[1:4] == [entry.env_name, entry.policy, entry.algorithm]
        assert any(character.isdigit() for character in entry.figure)
    card = run(capfd, "zoo", "two-step")[1]
    assert card.strip() == (zoo()["two-step"] / "card.md").read_text(encoding="utf-8").strip()


@pytest.fixture
def broken_families(tmp_path, monkeypatch):
    """A module that can be imported and registers families, as if in a process of its own."""
    (tmp_path / "broken_family_of_tests.py").write_text(BROKEN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("broken_family_of_tests", None)
    for name in ("Forgets-v0", "Fails-v0"):
        gym.registry.pop(name, None)


@pytest.mark.usefixtures("broken_families")
def test_a_family_is_checked_in_words(capfd):
    code, output, _ = run(capfd, "check", "Bandit-K5-v0", "--set", "env-kwargs.k=3")
    assert code == 0
    assert output.startswith("Bandit-K5-v0: keeps the contract; ")
    assert "Discrete(3)" in output
    code, output, error = run(capfd, "check", "broken_family_of_tests:Forgets-v0")
    assert (code, output, error.count("\n")) == (2, "", 1)
    assert "_apply_tasks: accepted a task without the family's keys; raise KeyError or ValueError" in error
    code, output, error = run(capfd, "check", "broken_family_of_tests:Fails-v0")
    assert (code, output, error.count("\n")) == (2, "", 1)
    assert "raised ZeroDivisionError: division by zero" in error
    assert "broken_family_of_tests.py, line 11)" in error


def test_the_sampler_and_the_environment_alone_take_the_same_steps(monkeypatch):
    config = tiny_config("TwoStep-v0", env_kwargs={"num_trials": 4}, hidden_sizes=(4,))
    steps: list[int] = []

    def counted(*arguments):
        env = make_meta_env(*arguments)
        step = env.step

        def count(actions):
            steps.append(len(actions))
            return step(actions)

        monkeypatch.setattr(env, "step", count)
        return env

    monkeypatch.setattr("maml_rl.commands.bench.make_meta_env", counted)
    rates = bench.measure(config, num_episodes=2, seconds=1e-9)
    assert len(rates.alone) == len(rates.sampler) == 3
    assert steps == [8] * (8 * 2 * 4)  # 8 steps of 8 sub-environments, twice a round, in four rounds
    assert rates.ratio > 0
    assert bench.Rates([2.0, 4.0, 8.0], [1.0, 3.0, 2.0]).ratio == 0.5


@pytest.mark.slow
def test_an_agent_of_the_zoo_is_filmed(tmp_path, capfd):
    code, output, error = run(capfd, "film", "2d-navigation", "--output", tmp_path / "film.gif")
    assert (code, output) == (0, f"wrote {tmp_path / 'film.gif'}\n"), error
    assert (tmp_path / "film.gif").read_bytes()[:3] == b"GIF"


def test_quiet_prints_nothing_on_standard_output(tmp_path, capfd):
    config = write_config(tmp_path / "tiny.json", tiny_config("Bandit-K5-v0", num_batches=1, meta_batch_size=2))
    here = ["--num-workers", "1", "--backend", "serial", "--quiet"]
    folder = tmp_path / "run"
    assert run(capfd, "train", "--config", config, "--output-folder", folder, *here) == (0, "", "")
    files = ["--config", folder / "config.json", "--policy", folder / "policy.th", "--output", tmp_path / "r.npz"]
    assert run(capfd, "test", *files, "--num-batches", 1, "--meta-batch-size", 2, *here) == (0, "", "")
    assert (tmp_path / "r.npz").exists()


def test_nothing_below_imports_the_command():
    assert layer_violations("from maml_rl.commands.main import main", "cli")
    assert not layer_violations("from maml_rl.commands.main import main", "__main__")
