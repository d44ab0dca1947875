"""A configuration file either says exactly what will run, or is refused in one line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from maml_rl.algorithms import make_algorithm
from maml_rl.config import Config, ConfigError, load_config
from maml_rl.config_sections import all_sections, keys_of
from maml_rl.envs import make_meta_env
from maml_rl.experiment import train
from maml_rl.settings import MAMLSettings, RL2Settings, Settings, TaskSettings
from maml_rl.tests.builders import travelled

ROOT = Path(__file__).resolve().parents[2]
CONFIG_FILES = sorted((ROOT / "configs" / "maml").rglob("*.yaml"))
RL2_FILES = sorted((ROOT / "configs" / "rl2").rglob("*.yaml"))
ATARI_FILES = {f"{game}{kind}" for game in ("space-invaders", "demon-attack") for kind in ("", "-pixels")}
ROBOT_FILES = {  # name -> steps of an episode
    "halfcheetah-dir-promp": 100,
    "hopper-rand-params": 200,
    "humanoid-dir": 200,
    "walker-rand-params": 200,
    "walker2d-dir": 200,
    "walker2d-vel": 200,
}
OWN_FILES = {
    "delayed-recall",
    "memory-bandit",
    "meta-world",
    "meta-world-episodic",
    "meta-world-memory",
    *ATARI_FILES,
    *ROBOT_FILES,
}
BANDITS = [(k, n) for k in (5, 10, 50) for n in (10, 100, 500)]
MUJOCO_KWARGS = {"normalization_scale": 10.0, "max_episode_steps": 100}
EXPECTED_TASKS = {
    "2d-navigation": ("2DNavigation-v0", {"low": -0.5, "high": 0.5}),
    "ant-dir": ("AntDir-v2", MUJOCO_KWARGS),
    "ant-goal": ("AntPos-v1", {"low": -3.0, "high": 3.0, **MUJOCO_KWARGS}),
    "ant-vel": ("AntVel-v2", {"low": 0.0, "high": 3.0, **MUJOCO_KWARGS}),
    "halfcheetah-dir": ("HalfCheetahDir-v2", MUJOCO_KWARGS),
    "halfcheetah-vel": ("HalfCheetahVel-v2", {"low": 0.0, "high": 2.0, **MUJOCO_KWARGS}),
    **{f"bandit-k{k}-n{n}": (f"Bandit-K{k}-v0", {}) for k, n in BANDITS},
}


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file and gives its path."""

    def _write(text: str, name: str = "bandit.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def refusal(path: Path | str, *overrides: str) -> str:
    """Return the line with which a configuration is refused, the folder cut off."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{Path(path).parent}/", "")


def test_all_fifteen_files_are_here():
    assert {path.stem for path in CONFIG_FILES} - OWN_FILES == set(EXPECTED_TASKS)


@pytest.mark.parametrize("path", [p for p in CONFIG_FILES if p.stem not in OWN_FILES], ids=lambda path: path.stem)
def test_each_file_says_what_pytorch_maml_rl_ran(path):
    config = load_config(path)
    common = Config(env_name="x", cg_damping=1e-5, max_kl=1e-2, ls_backtrack_ratio=0.8, ls_max_steps=15)
    name, kwargs = EXPECTED_TASKS[path.stem]
    changes: dict = {"env_name": name, "env_kwargs": kwargs}
    if "bandit" in path.stem:
        changes.update(gamma=0.95, hidden_sizes=(32, 32), nonlinearity="relu", fast_lr=0.5)
        changes.update(fast_batch_size=int(path.stem.rpartition("n")[2]), meta_batch_size=20)
    elif path.stem == "2d-navigation":
        changes.update(meta_batch_size=20)
    assert config == common.replace(**changes)


@pytest.mark.parametrize("path", [*CONFIG_FILES, *RL2_FILES], ids=lambda path: path.stem)
def test_each_file_comments_every_key(path):
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if ":" in line.partition("#")[0]]
    assert all("#" in line for line in lines if line != "env-kwargs:")


@pytest.mark.parametrize("path", [*CONFIG_FILES, *RL2_FILES], ids=lambda path: path.stem)
def test_config_json_reads_back_as_the_same_configuration(path, write):
    config = load_config(path)
    assert load_config(write(json.dumps(config.to_json_dict()), "config.json")) == config


@pytest.mark.parametrize(("name", "num_steps"), ROBOT_FILES.items())
def test_each_file_of_robots_asks_for_what_its_family_takes(name, num_steps):
    config = load_config(ROOT / "configs" / "maml" / f"{name}.yaml")
    env = make_meta_env(config.task.env_name, 1, config.task.env_kwargs)
    assert env.max_episode_steps == num_steps


def test_memory_based_learning_needs_a_memory(write):
    line = refusal(write("algorithm: rl2\nenv-name: x\n"))
    assert line == (
        "policy in bandit.yaml: got 'mlp', expected one with memory for algorithm rl2: rnn, lstm, gru, linear, "
        "geometric, plastic, attention, delta or episodic"
    )
    assert refusal(write("env-name: x\nouter-step: ppo\n")) == (
        "outer-step in bandit.yaml: got 'ppo', which algorithm 'maml' has no use for; "
        "leave it out or set algorithm: rl2"
    )


FOREIGN = [
    ("algorithm: maml", "num-epochs: 2", "num-epochs", "2", "algorithm 'maml'", "algorithm: rl2"),
    ("algorithm: maml", "value-weight: 0.5", "value-coef", "0.5", "algorithm 'maml'", "algorithm: rl2"),
    ("algorithm: RL2\npolicy: rnn", "fast-lr: 0.2", "fast-lr", "0.2", "algorithm 'RL2'", "algorithm: maml"),
    ("policy: rnn", "memory-slots: 4", "memory-slots", "4", "policy 'rnn'", "policy: geometric"),
    ("policy: geometric", "memory-horizon: 9", "memory-horizon", "9", "policy 'geometric'", "policy: lstm"),
    ("policy: rnn", "hessian-steps: 500", "hessian-steps", "500", "policy 'rnn'", "policy: mlp"),
    ("algorithm: rl2\npolicy: rnn", "fisher-steps: 9", "fisher-steps", "9", "algorithm 'rl2'", "algorithm: maml"),
]


@pytest.mark.parametrize(("chosen", "line", "key", "value", "owner", "cure"), FOREIGN)
def test_a_key_without_use_is_refused_in_a_file_and_in_an_override(chosen, line, key, value, owner, cure, write):
    words = f"got {value}, which {owner} has no use for; leave it out or set {cure}"
    assert refusal(write(f"env-name: x\n{chosen}\n{line}\n")) == f"{key} in bandit.yaml: {words}"
    override = line.replace(": ", "=")
    assert refusal(write(f"env-name: x\n{chosen}\n"), override) == f"{key} in --set {override}: {words}"


@pytest.mark.parametrize(("chosen", "line", "key", "value", "owner", "cure"), FOREIGN)
def test_a_key_without_use_is_dropped_from_config_json_with_one_line(
    chosen, line, key, value, owner, cure, write, capfd
):
    expected = load_config(write(f"env-name: x\n{chosen}\n"))
    name, _, text = line.partition(": ")
    values = {**expected.to_json_dict(), name: json.loads(text)}
    path = write(json.dumps(values), "config.json")
    capfd.readouterr()
    assert load_config(path) == expected
    assert capfd.readouterr().err == f"{path}: dropped 1 keys of another use ({key})\n"
    assert load_config(path, quiet=True) == expected
    assert capfd.readouterr().err == ""
    assert "has no use for" in refusal(path, line.replace(": ", "="))


@pytest.mark.parametrize(
    ("chosen", "override", "owner", "user"),
    [
        ("algorithm: maml", "promp-learning-rate=0.01", "maml-outer-step 'trpo'", "promp"),
        ("algorithm: maml", "reptile-step-size-end=0.5", "maml-outer-step 'trpo'", "reptile"),
        ("maml-outer-step: promp\ncg-iters: 5", "max-kl=0.1", "maml-outer-step 'promp'", "trpo"),
        ("maml-outer-step: reptile", "hessian-steps=5", "maml-outer-step 'reptile'", "trpo"),
        ("algorithm: rl2\npolicy: rnn\nouter-step: a2c", "clip-range=0.3", "outer-step 'a2c'", "ppo"),
        ("algorithm: rl2\npolicy: rnn\nouter-step: trpo", "learning-rate=0.3", "outer-step 'trpo'", "ppo"),
        ("algorithm: rl2\npolicy: rnn", "cg-iters=3", "outer-step 'auto'", "trpo"),
    ],
)
def test_an_override_that_the_outer_step_has_no_use_for_is_refused(chosen, override, owner, user, write):
    path = write(f"env-name: x\n{chosen}\n")
    key, value = override.split("=")
    words = f"got {value}, which {owner} has no use for; leave it out or set {owner.split()[0]}: {user}"
    assert refusal(path, override) == f"{key} in --set {override}: {words}"
    assert load_config(path, [override, f"{owner.split()[0]}={user}"]).to_json_dict()[key] == json.loads(value)


def test_a_config_json_that_is_refused_costs_no_second_line(write, capfd):
    values = {**Config(env_name="x").to_json_dict(), "num-epochs": 2, "gamma": 7}
    assert refusal(write(json.dumps(values), "config.json")) == (
        "gamma in config.json: got 7, expected a number in [0, 1]"
    )
    assert capfd.readouterr().err == ""


def test_an_unknown_key_of_config_json_is_refused(write):
    values = {**Config(env_name="x").to_json_dict(), "fast-lrr": 0.1}
    assert refusal(write(json.dumps(values), "config.json")).startswith("unknown key 'fast-lrr' in config.json")


def test_choosing_another_algorithm_or_policy_for_a_config_json_drops_what_the_former_had(write):
    config = Config(env_name="x", policy="geometric", memory_slots=4, fast_lr=0.2)
    path = write(json.dumps(config.to_json_dict()), "config.json")
    assert load_config(path, ["policy=lstm", "algorithm=rl2", "num-epochs=2"]) == Config(
        env_name="x", policy="lstm", algorithm="rl2", num_epochs=2
    )


ZOO = sorted((ROOT / "zoo").glob("*/config.json"))
ARCHIVES = sorted((ROOT / "results").glob("*/scores.npz"))


def configurations_that_ran():
    """Texts of ``config.json``, as versions up to now wrote them, by where they are kept."""
    found = {str(path): path.read_text(encoding="utf-8") for path in ZOO}
    for path in ARCHIVES:
        with np.load(path, allow_pickle=False) as arrays:
            found |= {f"{path}:{key}": str(arrays[key]) for key in arrays.files if "/config/" in key}
    return found


def test_every_result_s_configuration_is_read_with_its_values(capfd, tmp_path):
    texts = configurations_that_ran()
    if not ARCHIVES:
        pytest.skip("results are not installed with the package")
    assert len(texts) > 100
    for number, (where, text) in enumerate(texts.items()):
        path = tmp_path / f"{number}.json"
        path.write_text(text, encoding="utf-8")
        values = json.loads(text)
        loaded = load_config(path).to_json_dict()
        dropped = "".join(capfd.readouterr().err.splitlines()).partition("(")[2].rstrip(")").split(", ")
        renamed = {RL2_NAMES.get(key, key): value for key, value in values.items()}
        assert renamed.keys() - loaded.keys() == {key for key in dropped if key}, where
        for key in renamed.keys() & loaded.keys():
            assert loaded[key] == renamed[key], (where, key)


RL2_NAMES = RL2Settings.former_names
FORMER = {"show-progress": True, "value-weight": 0.3, "entropy-weight": 0.02, "entropy-weight-end": 0.01}


def test_former_names_of_keys_are_read_silently_wherever_they_stand(write, capfd):
    assert RL2_NAMES.keys() == FORMER.keys()
    lines = ["env-name: x", "algorithm: rl2", "policy: rnn"]
    new = {RL2_NAMES[key].replace("-", "_"): value for key, value in FORMER.items()}
    expected = Config(env_name="x", algorithm="rl2", policy="rnn", **new)
    old_lines = [f"{key}: {json.dumps(value)}" for key, value in FORMER.items()]
    assert load_config(write("\n".join([*lines, *old_lines]))) == expected
    overrides = [line.replace(": ", "=") for line in old_lines]
    assert load_config(write("\n".join(lines)), overrides) == expected
    values = {**dict(line.split(": ") for line in lines), **FORMER}
    assert load_config(write(json.dumps(values), "config.json")) == expected
    assert capfd.readouterr().err == ""
    assert load_config(write("\n".join([*lines, *old_lines])), ["value-coef=0.7"]).value_coef == 0.7


def test_a_key_that_stands_under_both_its_names_is_refused(write):
    text = "env-name: x\nalgorithm: rl2\npolicy: rnn\nvalue-coef: 0.3\nvalue-weight: 0.4\n"
    assert refusal(write(text)) == (
        "value-weight in bandit.yaml: stands beside value-coef, its name today; keep one of the two"
    )


def test_words_of_a_choice_may_be_in_capitals(write):
    config = load_config(write("algorithm: RL2\nenv-name: x\npolicy: LSTM\nouter-step: PPO\noptimiser: Adam\n"))
    assert (config.algorithm, config.policy, config.outer_step, config.optimiser) == ("rl2", "lstm", "ppo", "adam")


@pytest.mark.parametrize("path", RL2_FILES, ids=lambda path: path.stem)
def test_each_file_of_rl2_trains(path):
    small = ["meta-batch-size=2", "num-batches=2", "hidden-sizes=[4]", "num-epochs=1"]
    if path.stem.startswith("meta-world"):
        small.append("env-kwargs.max_episode_steps=5")
    config = load_config(path, small)
    assert config.algorithm == "rl2"
    before = make_algorithm(config).initial_parameters()
    assert np.abs(train(make_algorithm(config), num_workers=1) - before).max() > 0


@hypothesis_settings(deadline=None, max_examples=50)
@given(
    gamma=st.floats(0, 1),
    fast_lr=st.floats(0, 1e6),
    seed=st.integers(0, 2**64),
    hidden_sizes=st.lists(st.integers(1, 4096), max_size=4).map(tuple),
    kwargs=st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())),
)
def test_any_configuration_survives_json(gamma, fast_lr, seed, hidden_sizes, kwargs):
    config = Config(env_name="x", gamma=gamma, fast_lr=fast_lr, seed=seed, hidden_sizes=hidden_sizes, env_kwargs=kwargs)
    values = json.loads(json.dumps(config.to_json_dict()))
    assert Config.from_mapping(values, source="config.json") == config


@hypothesis_settings(deadline=None, max_examples=200)
@given(text=st.text(alphabet=st.sampled_from("env-name: x\n\t#&*!<>[]{},'\"|%@`0123456789.eE~?"), max_size=60))
def test_any_text_is_a_configuration_or_refused_in_one_line(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "fuzz.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        load_config(path)
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017


def test_a_configuration_cannot_be_changed():
    config = Config(env_name="x")
    for change in (
        lambda: setattr(config, "gamma", 0.5),
        lambda: setattr(config, "sections", ()),
        lambda: setattr(config, "anything", 1),
        lambda: delattr(config, "sections"),
        lambda: setattr(config.run, "seed", 1),
    ):
        with pytest.raises((AttributeError, ValueError), match=r"never changes|frozen"):
            change()
    assert config == Config(env_name="x")


def test_a_configuration_travels_and_is_a_key_of_dictionaries():
    config = Config(env_name="x", env_kwargs={"sizes": [1, 2]}, policy="geometric", memory_slots=4)
    same = travelled(config)
    assert same == config
    assert {config: 1}[same] == 1
    assert same.policy_options == config.policy_options
    other = config.replace(memory_slots=5)
    assert other != config
    assert (other.memory_slots, config.memory_slots) == (5, 4)


@pytest.mark.parametrize("other", [{"b": {"c": 2}, "a": 1}, {"a": 1.0, "b": {"c": 2.0}}], ids=["order", "numbers"])
def test_equal_configurations_are_the_same_key_of_a_dictionary(other):
    config, same = (Config(env_name="x", env_kwargs=kwargs) for kwargs in ({"a": 1, "b": {"c": 2}}, other))
    assert config == same
    assert hash(config) == hash(same)


def test_an_attribute_that_the_chosen_algorithm_lacks_is_an_error_in_words():
    config = Config(env_name="x")
    with pytest.raises(AttributeError, match="configuration has no key 'num-epochs'"):
        config.num_epochs  # noqa: B018
    with pytest.raises(KeyError, match="no section RL2Settings with algorithm 'maml'"):
        config.section(RL2Settings)
    assert config.section(TaskSettings).env_name == config.env_name == "x"
    assert config.policy_options == Settings()


def test_other_values_of_another_algorithm_keep_all_that_both_have():
    config = Config(env_name="x", gamma=0.5, fast_lr=0.3, policy="lstm", memory_horizon=9)
    other = config.replace(algorithm="rl2", num_epochs=2)
    assert (other.gamma, other.memory_horizon, other.num_epochs) == (0.5, 9, 2)
    assert "fast-lr" not in other.to_json_dict()
    with pytest.raises(ConfigError, match=r"fast-lr in Config: got 0\.1, which algorithm 'rl2' has no use for"):
        other.replace(fast_lr=0.1)
    with pytest.raises(ConfigError, match=r"gamma in Config: got 2, expected a number in \[0, 1\]"):
        config.replace(gamma=2)


def test_json_dict_shares_nothing_with_the_configuration():
    config = Config(env_name="x", env_kwargs={"sizes": [1]})
    config.to_json_dict()["env-kwargs"]["sizes"].append(2)
    assert config.env_kwargs == {"sizes": [1]}


def test_every_key_is_explained():
    for section in all_sections():
        assert section.__doc__, section
        assert all(field.description for field in section.model_fields.values()), section


def test_every_key_belongs_to_one_section_and_no_former_name_is_a_key():
    counts = Counter(key for section in all_sections() for key in keys_of(section))
    assert [key for key, count in counts.items() if count > 1] == []
    former = Counter(key for section in all_sections() for key in section.former_names)
    assert [key for key, count in former.items() if count > 1 or key in counts] == []
    assert {new for section in all_sections() for new in section.former_names.values()} <= counts.keys()
    assert {"fast-lr", "num-epochs", "max-kl", "memory-slots", "memory-horizon"} <= counts.keys()
    assert "num-steps" in keys_of(MAMLSettings)


@pytest.mark.parametrize("name", ["tanh", "Tanh", "relu", "ReLU", "elu", "gelu", "silu", "Sigmoid"])
def test_nonlinearity_is_read_in_any_case(name, write):
    assert load_config(write(f"env-name: x\nnonlinearity: {name}")).nonlinearity == name.lower()


@pytest.mark.parametrize("text", ["1e-2", "1E-2", "1.0e-2", "0.01", ".01", "1.e-2", "+1e-2"])
def test_every_way_of_writing_a_number_gives_that_number(text, write):
    assert load_config(write(f"env-name: x\nmax-kl: {text}")).max_kl == 0.01
    assert load_config(write("env-name: x"), [f"max-kl={text}"]).max_kl == 0.01


def test_a_whole_number_is_a_number(write):
    config = load_config(write("env-name: x\ngamma: 1"))
    assert config.gamma == 1.0
    assert isinstance(config.gamma, float)


@pytest.mark.parametrize("text", ["env-name: x", "env-name: x\nenv-kwargs:", "env-name: x\nenv-kwargs: {}"])
def test_env_kwargs_may_be_left_out_or_empty(text, write):
    assert load_config(write(text)).env_kwargs == {}


def test_a_run_folder_of_pytorch_maml_rl_loads(write):
    old = {
        **load_config(CONFIG_FILES[0]).to_json_dict(),
        "config": "configs/maml/x.yaml",
        "output_folder": "maml",
        "seed": None,
        "num_workers": 3,
        "use_cuda": False,
        "device": "cpu",
    }
    for key in ("algorithm", "policy", "hessian-steps", "fisher-steps", "worker-timeout"):
        del old[key]
    assert load_config(write(json.dumps(old), "config.json")) == load_config(CONFIG_FILES[0])
    assert load_config(write(json.dumps({**old, "seed": 7}), "config.json")).seed == 7


def test_command_line_keys_are_ignored_in_config_json_only(write):
    line = refusal(write("env-name: x\nnum-workers: 3"))
    assert line.startswith("unknown key 'num-workers' in bandit.yaml")


def test_overrides_win_and_the_last_one_wins(write):
    path = write("env-name: x\nfast-lr: 0.1\nenv-kwargs: {low: 0.0, high: 2.0}")
    config = load_config(
        path, ["fast-lr=0.2", "fast-lr=0.3", "env-kwargs.low=-1", "hidden-sizes=[8]", "first-order=true"]
    )
    assert config.fast_lr == 0.3
    assert config.env_kwargs == {"low": -1, "high": 2.0}
    assert config.hidden_sizes == (8,)
    assert config.first_order is True


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fast-lrr: 0.1", "unknown key 'fast-lrr' in bandit.yaml; did you mean 'fast-lr'?"),
        ("fast_lr: 0.1", "unknown key 'fast_lr' in bandit.yaml; did you mean 'fast-lr'?"),
        ("5: 0.1", "unknown key 5 in bandit.yaml"),
        ("gamma: 1.5", "gamma in bandit.yaml: got 1.5, expected a number in [0, 1]"),
        ("gamma: .nan", "gamma in bandit.yaml: got nan, expected a number in [0, 1]"),
        ("fast-lr: .inf", "fast-lr in bandit.yaml: got inf, expected a number >= 0"),
        ("max-kl: 0", "max-kl in bandit.yaml: got 0, expected a number > 0"),
        ("ls-backtrack-ratio: 1", "ls-backtrack-ratio in bandit.yaml: got 1, expected a number in (0, 1)"),
        ("hessian-steps: 0", "hessian-steps in bandit.yaml: got 0, expected a whole number in [1, 1000000], or null"),
        (
            "hessian-steps: '9'",
            "hessian-steps in bandit.yaml: got '9', expected a whole number in [1, 1000000], or null; "
            "write it without quotes",
        ),
        ("gamma:", "gamma in bandit.yaml: got nothing, expected a number in [0, 1]"),
        ("gamma: true", "gamma in bandit.yaml: got True, expected a number in [0, 1]"),
        (
            "algorithm: rl2\npolicy: rnn\nlearning-rate-end: -1",
            "learning-rate-end in bandit.yaml: got -1, expected a number >= 0, or null",
        ),
        ("num-batches: true", "num-batches in bandit.yaml: got True, expected a whole number in [1, 1000000]"),
        ("num-batches: 500.0", "num-batches in bandit.yaml: got 500.0, expected a whole number in [1, 1000000]"),
        ("num-steps: -1", "num-steps in bandit.yaml: got -1, expected a whole number in [0, 1000000]"),
        ("seed: -1", "seed in bandit.yaml: got -1, expected a whole number >= 0"),
        (
            "cg-iters: '10'",
            "cg-iters in bandit.yaml: got '10', expected a whole number in [1, 1000000]; write it without quotes",
        ),
        (
            "first-order: 'false'",
            "first-order in bandit.yaml: got 'false', expected true or false; write it without quotes",
        ),
        ("first-order: 0", "first-order in bandit.yaml: got 0, expected true or false"),
        (
            "hidden-sizes: 64",
            "hidden-sizes in bandit.yaml: got 64, expected a list of whole numbers in [1, 10000], such as [64, 64]",
        ),
        (
            "hidden-sizes: [64, 0]",
            "hidden-sizes in bandit.yaml: got [64, 0], "
            "expected a list of whole numbers in [1, 10000], such as [64, 64]",
        ),
        (
            "nonlinearity: rellu",
            "nonlinearity in bandit.yaml: got 'rellu', expected one of 'elu', 'gelu', 'relu', 'sigmoid', "
            "'silu', 'tanh'; did you mean 'relu'?",
        ),
        (
            "algorithm: rl3",
            "algorithm in bandit.yaml: got 'rl3', expected one of 'evolution', 'maml', 'rl2'; did you mean 'rl2'?",
        ),
        (
            "env-kwargs: 3",
            "env-kwargs in bandit.yaml: got 3, expected a mapping, such as {low: 0.0, high: 2.0}",
        ),
        ("env-kwargs: {low: .nan}", "env-kwargs.low in bandit.yaml: got nan, expected a finite number"),
        ("env-kwargs: {1: 2}", "env-kwargs in bandit.yaml: got the key 1, expected names as keys"),
        (
            "env-kwargs: {a: [2026-01-01]}",
            "env-kwargs.a[0] in bandit.yaml: got datetime.date(2026, 1, 1), expected text, a number, true, "
            "false, a list or a mapping",
        ),
        (
            "gamma: 0.9\ngamma: 0.8",
            "cannot read bandit.yaml: line 3: duplicate key 'gamma'; keep one of the two",
        ),
    ],
)
def test_a_bad_line_is_refused_in_words(line, expected, write):
    assert refusal(write(f"env-name: x\n{line}\n")) == expected


def test_a_missing_environment_is_named(write):
    assert refusal(write("gamma: 0.9")) == (
        "env-name in bandit.yaml: got nothing, expected text, such as 'HalfCheetahDir-v2'"
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("fast-lr", "--set: got 'fast-lr', expected key=value, such as fast-lr=0.1"),
        ("=3", "--set: got '=3', expected key=value, such as fast-lr=0.1"),
        ("fast-lrr=3", "unknown key 'fast-lrr' in --set fast-lrr=3; did you mean 'fast-lr'?"),
        ("gamma=2", "gamma in --set gamma=2: got 2, expected a number in [0, 1]"),
        ("gamma=", "gamma in --set gamma=: got nothing, expected a number in [0, 1]"),
        ("gamma.x=2", "--set: got 'gamma.x', expected a key without a dot, or env-kwargs.NAME"),
        ("env-kwargs.=2", "--set: got 'env-kwargs.', expected a key without a dot, or env-kwargs.NAME"),
    ],
)
def test_a_bad_override_is_refused_in_words(override, expected, write):
    assert refusal(write("env-name: x"), override) == expected


def test_an_override_that_is_no_yaml_is_refused(write):
    assert refusal(write("env-name: x"), "gamma=[1").startswith("--set gamma=[1: line 1: ")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.yaml", "", "cannot read a.yaml: got an empty file, expected 'key: value' lines"),
        ("a.yaml", "# nothing\n", "cannot read a.yaml: got an empty file, expected 'key: value' lines"),
        ("a.yaml", "- 1\n- 2\n", "cannot read a.yaml: got [1, 2], expected 'key: value' lines"),
        ("a.yaml", "a: 1\nb: [1\nc: 2\n", "cannot read a.yaml: line 3: expected ',' or ']', but got ':'"),
        (
            "a.yaml",
            "env-name: !!python/name:os.system\n",
            "cannot read a.yaml: line 1: could not determine a",
        ),
        ("a.yaml", "gamma: !!bool maybe\n", "cannot read a.yaml: cannot be understood: "),
        ("a.yaml", "a: \x01", "cannot read a.yaml: "),
        ("a.json", '{"a": ' + "[" * 60 + "]" * 60 + "}", "cannot read a.json: nested more than 50 deep"),
        (
            "a.yaml",
            "# " + "x" * 1_000_000,
            "cannot read a.yaml: got a file of more than 1,000,000 bytes, expected fewer",
        ),
        ("a.yaml", "[" * 5000, "cannot read a.yaml: nested more than 50 deep; write the values out"),
        ("a.yaml", "env-name: x\nenv-kwargs: &a {b: *a}", "env-kwargs in a.yaml: got a value inside itself"),
        ("a.json", "{\n'a': 1}", "cannot read a.json: line 2: "),
        (
            "a.json",
            '{"gamma": 1, "gamma": 2}',
            "cannot read a.json: duplicate key 'gamma'; keep one of the two",
        ),
        ("a.json", "", "cannot read a.json: line 1: "),
        ("a.toml", "gamma = 1", "config: got 'a.toml', expected a file that ends in .yaml, .yml or .json"),
    ],
)
def test_an_unreadable_file_is_refused_in_words(name, text, expected, write):
    assert refusal(write(text, name)).startswith(expected)


def test_a_missing_file_is_refused_with_its_nearest_neighbour(write, tmp_path):
    path = write("env-name: x", "halfcheetah-dir.yaml")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "halfcheeta-dir.yaml")
    wrong = tmp_path / "halfcheeta-dir.yaml"
    assert str(caught.value) == f"config: no such file: {str(wrong)!r}; did you mean {str(path)!r}?"


def test_a_folder_and_a_binary_file_are_refused(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xff")
    assert refusal(tmp_path / "folder.yaml") == "cannot read folder.yaml: Is a directory"
    assert refusal(tmp_path / "binary.yaml") == (
        "cannot read binary.yaml: got bytes that are not UTF-8; save it as UTF-8"
    )
