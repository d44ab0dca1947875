"""Input that no one means, or that means harm, costs one line: never a traceback, never a hang."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import gymnasium as gym
import pytest

from maml_rl.cli import test_command as evaluate_command
from maml_rl.cli import train_command
from maml_rl.config import ConfigError, load_config
from maml_rl.envs import UnknownEnvironmentError, make_meta_env
from maml_rl.studies.__main__ import main as studies_command
from maml_rl.studies.study import load_study
from maml_rl.tests.builders import tiny_config, write_config
from maml_rl.utils.field_words import shown
from maml_rl.utils.strict_parsing import parse_yaml

CONFIG = tiny_config("Bandit-K5-v0", num_batches=1, meta_batch_size=3, hidden_sizes=(4,))
MULTIPLIED = r"got [\d,]+ values once aliases \(\*name\) are written out, expected at most 100,000; use fewer of them"


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path / "tiny.json", CONFIG)


@pytest.fixture
def own_modules(tmp_path, monkeypatch):
    """Folder whose modules can be imported and register families, as if in a process of their own."""
    monkeypatch.syspath_prepend(tmp_path)
    modules, families = set(sys.modules), set(gym.registry)
    yield tmp_path
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    for name in set(gym.registry) - families:
        del gym.registry[name]


def refused(command, capfd, *flags):
    """The one line that a refused command leaves."""
    code = command([str(flag) for flag in (*flags, "--num-workers", 1)])
    output, error = capfd.readouterr()
    assert (code, output, error.count("\n")) == (2, "", 1), error
    return error


def multiplied(levels, *, first="[x]", next_level="[{}]"):
    """A flow mapping in which each level names the one below it nine times."""
    names = [f"a0: &a0 {first}"]
    for level in range(1, levels + 1):
        names.append(f"a{level}: &a{level} {next_level.format(', '.join([f'*a{level - 1}'] * 9))}")
    return "{" + ", ".join(names) + "}"


@pytest.mark.parametrize(
    "text",
    [multiplied(10), multiplied(10, first="{x: 1}", next_level="{{<<: [{}]}}")],
    ids=["values", "merges"],
)
def test_aliases_that_multiply_are_refused(tmp_path, capfd, config, text):
    path = tmp_path / "laughs.yaml"
    path.write_text(f"env-name: Bandit-K5-v0\nenv-kwargs: {text}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"cannot read .*laughs.yaml: {MULTIPLIED}$"):
        load_config(path)
    with pytest.raises(ConfigError, match=MULTIPLIED):
        load_study(path)
    assert "expected at most 100,000" in refused(
        train_command, capfd, "--config", config, "--set", f"env-kwargs={text}"
    )


def test_aliases_that_do_not_multiply_are_read():
    assert parse_yaml(multiplied(2))["a2"] == [[["x"]] * 9] * 9
    assert parse_yaml("{a: &a {x: 1}, b: {<<: *a, y: 2}}") == {"a": {"x": 1}, "b": {"x": 1, "y": 2}}
    itself = parse_yaml("&a [*a, *a]")
    assert itself[0] is itself[1] is itself


def test_a_value_is_shown_in_a_short_line():
    nested: list[Any] = [1, 2, 3]
    for _ in range(10):
        nested = [nested] * 9
    assert len(shown(nested)) <= 200
    assert shown([1, "a"]) == "[1, 'a']"


@pytest.mark.parametrize("algorithm", ["maml", "rl2"])
def test_a_reward_clip_that_no_reward_reaches_is_a_number_of_the_rewards_type(capfd, tmp_path, algorithm):
    own = CONFIG.replace(algorithm=algorithm, policy="rnn")
    config = write_config(tmp_path / "own.json", own)
    error = refused(train_command, capfd, "--config", config, "--set", "reward-clip=1e308")
    assert error.endswith("got 1e+308, expected a number in (0, 1e+30], or null\n")
    assert train_command(["--config", str(config), "--num-workers", "1", "--set", "reward-clip=1e30"]) == 0


@pytest.mark.parametrize("module", [".x", "..", "a..b", "x."])
def test_a_module_without_its_full_name_is_refused(capfd, config, module):
    error = refused(train_command, capfd, "--config", config, "--set", f"env-name={module}:Y-v0")
    assert error == (
        f"error: env-name: got '{module}:Y-v0', expected a module's full name before the colon, such as "
        "my_package.envs:Maze-v0\n"
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("1 / 0", r"ZeroDivisionError: division by zero"),
        ("raise RuntimeError('first\\nsecond')", r"RuntimeError: first"),
        ("import sys; sys.exit(3)", r"SystemExit: 3"),
        ("def f(:", r"SyntaxError: invalid syntax.*"),
        ("assert False", r"AssertionError"),
    ],
)
def test_a_module_that_raises_when_it_is_imported_is_named(own_modules, body, words):
    (own_modules / "broken_family.py").write_text(body + "\n", encoding="utf-8")
    with pytest.raises(UnknownEnvironmentError) as caught:
        make_meta_env("broken_family:Y-v0")
    error = str(caught.value)
    assert "broken_family" not in sys.modules
    assert error.startswith("env-name: 'broken_family' of 'broken_family:Y-v0' raises when it is imported (")
    assert re.search(rf"\({words}\); mend it, python -c 'import broken_family' shows where$", error)


@pytest.mark.parametrize(
    ("family", "field"),
    [
        ("env-name=spy_family:Y-v0", "env-name"),
        (
            "env-name=MetaEpisode-v0|env-kwargs={env_name: spy_family:Y-v0, num_episodes: 2}",
            "env-kwargs of Meta.*env-name",
        ),
        (
            "env-name=AttributeSweep-v0|env-kwargs={env_id: spy_family:Y-v0, attributes: {x: [1, 2]}}",
            "env-kwargs.*env_id",
        ),
    ],
)
@pytest.mark.parametrize("command", ["train", "test"])
def test_no_file_has_code_run_that_nobody_allowed(own_modules, capfd, config, tmp_path, family, field, command):
    (own_modules / "spy_family.py").write_text(f"open({str(own_modules / 'seen')!r}, 'w').close()\n", encoding="utf-8")
    flags = ["--config", config, *(word for part in family.split("|") for word in ("--set", part))]
    if command == "test":
        flags += ["--policy", "random", "--output", tmp_path / "results.npz"]
    error = refused(train_command if command == "train" else evaluate_command, capfd, *flags)
    assert re.match(rf"error: {field}: got 'spy_family:Y-v0', whose module nobody allowed, .*", error)
    assert error.endswith("if you trust it, add --allow-module spy_family\n")
    assert not (own_modules / "seen").exists()


def test_a_family_whose_class_cannot_be_imported_is_named(own_modules, capfd, config):
    (own_modules / "lazy_family.py").write_text(
        "import maml_rl.envs as e\n"
        "e.register_meta_env('Lazy-v0', 'lazy_family_class:Family')\n"
        "e.register_meta_env('Nameless-v0', 'lazy_family:Family')\n"
        "e.register_meta_env('Other-v0', 'lazy_family:Other')\n"
        "class Other: pass\n",
        encoding="utf-8",
    )
    (own_modules / "lazy_family_class.py").write_text("1 / 0\n", encoding="utf-8")
    for name, words in (
        ("Lazy-v0", "'lazy_family_class:Family' cannot be loaded (ZeroDivisionError: division by zero)"),
        ("Nameless-v0", "'lazy_family:Family' cannot be loaded (AttributeError: module 'lazy_family' has no"),
        ("Other-v0", "'lazy_family:Other' cannot be loaded (TypeError: got Other, expected a subclass of Meta"),
    ):
        flags = ("--config", config, "--set", f"env-name=lazy_family:{name}", "--allow-module", "lazy_family")
        error = refused(train_command, capfd, *flags)
        assert error.startswith(f"error: env-name: the family {words}")


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
def test_names_that_are_not_utf_8_are_refused_where_something_would_be_written(tmp_path, capfd, config):
    odd = os.fsdecode(os.fsencode(str(tmp_path)) + b"/\xff")
    words = r"expected a name in UTF-8; choose another name"
    before = set(tmp_path.rglob("*"))
    error = refused(train_command, capfd, "--config", config, "--output-folder", odd)
    assert error == f"error: output folder: got {odd!r}, {words}\n"
    evaluation = ("--config", config, "--policy", "random", "--output")
    assert words in refused(evaluate_command, capfd, *evaluation, f"{odd}.npz")
    assert words in refused(evaluate_command, capfd, *evaluation, tmp_path / "r.npz", "--render", f"{odd}.gif")
    assert set(tmp_path.rglob("*")) == before
    assert words in refused(studies_command, capfd, "run", "studies/rl2-mdp.yaml", "--results", odd)


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
def test_a_configuration_is_read_whatever_its_name_is(tmp_path, config):
    odd = os.fsdecode(os.fsencode(str(tmp_path)) + b"/\xff.json")
    os.rename(config, odd)
    assert load_config(odd) == CONFIG
