"""Commands of the pages are commands: the programs read them, and, made small, they run."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from maml_rl import cli
from maml_rl.commands import main as tool
from maml_rl.config import Config, load_config
from maml_rl.studies import __main__ as studies_command
from maml_rl.studies.study import load_study
from maml_rl.tests.documents import ROOT, Command, commands, name_of, pages, text_and_blocks
from maml_rl.utils.config_files import apply_override

PAGES = [page for page in pages() if page.name != "CHANGELOG.md"]  # it names commands of earlier versions
pytestmark = pytest.mark.skipif(not PAGES, reason="the documentation is not installed with the package")
COMMANDS = [command for page in PAGES for command in commands(page)]
IN_BLOCKS = [command for command in COMMANDS if command.in_block]

NOT_RUN = {
    "source": "it changes the shell it is given to",
    "sudo": "it installs on the machine",
    "pip": "it installs; its extras are looked up",
    "git": "it fetches from the network",
    "maml-rl": "its subcommands have tests of their own; their arguments are read here",
    "make": "it installs first; its target is looked up, and what it runs is a test of its own",
    "ray": "it starts or joins a cluster that outlives the test; maml_rl/tests/test_ray.py has clusters of its own",
    "tensorboard": "it serves until it is stopped",
    ".venv/bin/pytest": "it runs these tests",
    ".venv/bin/pre-commit": "it changes the repository's hooks",
    "pytest": "it runs these tests",
}
"""First words of commands that no test runs, and why."""
NEEDS_A_CLUSTER = "--backend ray without --address local needs a cluster that runs"
SLURM = "#SBATCH"  # a block with this needs Slurm's scheduler
PLACEHOLDERS = {
    "FILE": "configs/maml/2d-navigation.yaml",
    "N": "1",
    "W": "1",
    "TYPE": "float64",
    "RUN": "runs/run",
    "100S": "1001",
}


class ParsedError(Exception):
    """Arguments that a program has read, thrown before it does anything."""


def arguments_of(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """What the program's own parser makes of a ``python ...`` command."""
    original = argparse.ArgumentParser.parse_args

    def parse_args(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
        raise ParsedError(original(self, args, namespace))

    program, rest = (words[2], words[3:]) if words[1] == "-m" else (words[1], words[2:])
    main = _main_of(program)
    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        patch.setattr(sys, "argv", [program, *rest])
        with pytest.raises(ParsedError) as parsed:
            main()
    result: argparse.Namespace = parsed.value.args[0]
    return result


def _main_of(program: str) -> Callable[..., Any]:
    """The entry point of a script or module; without arguments it reads ``sys.argv``."""
    known: dict[str, Callable[..., Any]] = {
        "train.py": cli.train_command,
        "test.py": cli.test_command,
        "maml_rl.studies": studies_command.main,
        "maml_rl": tool.main,
    }
    found: Callable[..., Any] = known.get(program) or importlib.import_module(program).main
    return found


def is_slurm(command: Command) -> bool:
    """Whether a command stands in a script for Slurm."""
    _, blocks = text_and_blocks((ROOT / command.page).read_text(encoding="utf-8"))
    return any(
        start <= command.line <= start + content.count("\n") and SLURM in content for start, _, content in blocks
    )


def is_pattern(command: Command) -> bool:
    """Whether words of the command stand for others, in a way that nobody can fill in."""
    return any("…" in word or "..." in word or word.startswith("studies/NAME") for word in command.words)


def filled_in(command: Command) -> list[str]:
    return [PLACEHOLDERS.get(word, word) for word in command.words]


def is_mention(command: Command) -> bool:
    """Whether a sentence names a program, or one with a part of its arguments, and not a command to be run."""
    words = command.words
    if command.in_block:
        return False
    if words[1] != "-m":
        return len(words) == 2 or not words[1].endswith(".py")
    return len(words) == 3 or (words[2] in ("maml_rl", "maml_rl.studies") and len(words) == 4)


def unsaid(command: Command) -> str | None:
    """Why a command of a block is not run; ``None``: it is."""
    if is_slurm(command):
        return "it needs Slurm's scheduler"
    if command.words[0] in NOT_RUN:
        return NOT_RUN[command.words[0]]
    words = command.words
    if "ray" in words and "local" not in words:
        return NEEDS_A_CLUSTER
    return None


def _python(selected: Sequence[Command]) -> list[Command]:
    return [one for one in selected if one.words[0] == "python" and not is_pattern(one) and not is_slurm(one)]


def _distinct(selected: Sequence[Command]) -> Iterator[Command]:
    """The first of commands with the same words."""
    seen: set[tuple[str, ...]] = set()
    for command in selected:
        if command.words not in seen:
            seen.add(command.words)
            yield command


def test_every_command_of_a_block_is_run_or_known_not_to_be():
    assert [str(one) for one in IN_BLOCKS if one.words[0] != "python" and unsaid(one) is None] == []


def _configured(arguments: argparse.Namespace, made: Mapping[str, Config]) -> Config:
    """The configuration of a command; a run folder's is that of the command above that makes it."""
    folder = str(Path(arguments.config).parent)
    if folder not in made:
        return load_config(ROOT / arguments.config, arguments.set, quiet=True)
    values = made[folder].to_json_dict()
    for change in arguments.set:
        apply_override(values, change)
    return Config.from_mapping(values, "the page")


@pytest.mark.parametrize("page", [page for page in PAGES if _python(commands(page))], ids=name_of)
def test_programs_read_the_commands_of_a_page(page, monkeypatch):
    made: dict[str, Config] = {}
    for command in _python(commands(page)):
        words = filled_in(command)
        try:
            if is_mention(command) or len(words) == 3:  # without arguments there is nothing to parse
                assert (ROOT / words[1]).exists() or importlib.util.find_spec(words[2])
                continue
            arguments = arguments_of(words, monkeypatch)
            if words[1] in ("train.py", "test.py"):
                config = _configured(arguments, made)
            if words[1] == "train.py" and arguments.output_folder is not None:
                made[arguments.output_folder] = config
            if words[1] == "test.py" and arguments.policy != "random":
                folder = str(Path(arguments.policy).parent)
                assert folder in made or (ROOT / arguments.policy).exists(), arguments.policy
            if words[1:3] == ["-m", "maml_rl.studies"]:
                study = load_study(ROOT / arguments.study)
                assert set(arguments.only or ()) <= set(study.runs)
        except Exception as error:
            raise AssertionError(f"{command}: {error}") from error


@pytest.mark.parametrize("command", [one for one in IN_BLOCKS if one.words[0] == "maml-rl"], ids=str)
def test_the_tool_reads_its_commands(command, monkeypatch):
    arguments_of(["python", "-m", "maml_rl", *filled_in(command)[1:]], monkeypatch)


def test_targets_of_make_are_in_the_makefile():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        (str(command), word)
        for command in COMMANDS
        if command.words[0] == "make"
        for word in command.words[1:]
        if "=" not in word
    }
    assert [one for one in sorted(named) if one[1] not in targets] == []


def test_extras_of_pip_are_in_the_project_file():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (section,) = re.findall(r"\[project.optional-dependencies\]\n(.*?)\n\[", project, re.DOTALL)
    known = set(re.findall(r"^(\w+) = ", section, re.MULTILINE))
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    named = {extra for text in texts for extra in re.findall(r"(?:maml_rl|\s'?\.|`\.)\[([a-z]+)\]", text)}
    assert named - known == set()
    assert named


def test_files_of_tests_that_pages_name_exist():
    named = {name for page in PAGES for name in re.findall(r"maml_rl/[\w/]+\.py", page.read_text(encoding="utf-8"))}
    history = {"maml_rl/envs/metaworld.py"}
    assert sorted(name for name in named - history if not (ROOT / name).exists()) == []


SMALL = {
    "num-batches": 1,
    "meta-batch-size": 2,
    "fast-batch-size": 2,
    "num-shards": 1,
    "num-minibatches": 1,
    "population-size": 4,
    "num-agents": 2,
}
"""Sizes of a run that tells that a command works."""
ONE_WORKER = ("--num-workers", "1", "--backend", "serial")


def shrunken(config: Config) -> list[str]:
    """Flags that make a run of this configuration small."""
    values = config.to_json_dict()
    sizes = [f"{key}={min(size, values[key] or size)}" for key, size in SMALL.items() if key in values]
    if "max_episode_steps" in values["env-kwargs"]:
        sizes.append("env-kwargs.max_episode_steps=20")
    return [word for size in sizes for word in ("--set", size)]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """The working directory: a folder with the repository's files, where commands may write."""
    for name in ("configs", "studies", "zoo", "benchmarks", "maml_rl", "train.py", "test.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(words: Sequence[str], folder: Path) -> None:
    """Run a command in the working directory `folder`: in this process, or, on a cluster, in one of its own."""
    program, rest = (words[2], words[3:]) if words[1] == "-m" else (words[1], words[2:])
    if "ray" not in words:
        assert _main_of(program)(rest) == 0, words
        return
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *words[1:]]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]


def small_study(path: Path, folder: Path) -> tuple[Path, str]:
    """A copy of a study with its first run, one seed, and that run's name."""
    study = yaml.safe_load(path.read_text(encoding="utf-8"))
    name, entry = next(iter(study["runs"].items()))
    config = load_config(ROOT / entry["config"], entry.get("set", []))
    changes = [word for word in shrunken(config) if word != "--set"]
    entry = {**entry, "seeds": entry["seeds"][:1], "set": [*entry.get("set", []), *changes]}
    kept = {key: value for key, value in study.items() if key in ("question", "score")}
    small = folder / "small.yaml"
    small.write_text(yaml.safe_dump({**kept, "name": "small", "test_tasks": 2, "test_steps": 1, "runs": {name: entry}}))
    return small, name


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if _python([c for c in commands(page) if c.in_block])], ids=name_of
)
def test_commands_of_blocks_run(page, desk, monkeypatch):
    ran = 0
    for command in _distinct(_python([one for one in commands(page) if one.in_block and unsaid(one) is None])):
        words = filled_in(command)
        arguments = arguments_of(words, monkeypatch)
        flags: list[str] = []
        if "ray" in words:
            pytest.importorskip("ray")
        else:
            flags = list(ONE_WORKER)
        if words[1] == "train.py":
            flags += shrunken(load_config(ROOT / arguments.config, arguments.set))
        elif words[1] == "test.py":
            flags += ["--meta-batch-size", "2", "--num-batches", "1"]
        elif words[1:3] == ["-m", "maml_rl.studies"]:
            small, _ = small_study(ROOT / arguments.study, desk)
            words = ["python", "-m", "maml_rl.studies", arguments.command, str(small)]
            flags += ["--results", "results"]
        run([*words, *flags], desk)
        ran += 1
    assert ran or page.name == "cluster.md"
