"""Imports point downwards, randomness is passed in, nothing is pickled."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from maml_rl.algorithms import registered_algorithms
from maml_rl.envs import registered_meta_envs
from maml_rl.policies import registered_policies
from maml_rl.tests.conftest import SLOW_VARIANTS
from maml_rl.tests.source_rules import (
    NAMING_MEMBERS,
    ROWS,
    layer_violations,
    member_of,
    name_violations,
    persistence_violations,
    randomness_violations,
)

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = [path for path in (ROOT / "train.py", ROOT / "test.py") if path.exists()]
FILES = sorted((ROOT / "maml_rl").rglob("*.py")) + SCRIPTS
LAYERED = [
    path
    for path in FILES
    if path != ROOT / "maml_rl" / "__init__.py" and not path.is_relative_to(ROOT / "maml_rl" / "tests")
]
# They send tasks and messages in memory: to tell whether tasks can travel to a worker process, and to travel there.
PICKLES_IN_MEMORY = {ROOT / "maml_rl" / path for path in ("envs/checker_tasks.py", "samplers/shared_pickles.py")}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", LAYERED, ids=name_of)
def test_imports_point_downwards(path):
    member = member_of(path.relative_to(ROOT).parts)
    assert layer_violations(path.read_text(encoding="utf-8"), member) == []


DISPLAYS = ROOT / "maml_rl" / "studies" / "displays"
NAMELESS = [
    path
    for path in LAYERED
    if member_of(path.relative_to(ROOT).parts) not in NAMING_MEMBERS and not path.is_relative_to(DISPLAYS)
]


def registered_names():
    """Names of all algorithms, policies and task families of the package."""
    return {*registered_algorithms(), *registered_policies(), *registered_meta_envs()}


@pytest.mark.parametrize("path", NAMELESS, ids=name_of)
def test_nothing_branches_on_the_name_of_an_algorithm_a_policy_or_an_environment(path):
    assert name_violations(path.read_text(encoding="utf-8"), registered_names()) == []


def test_names_that_are_looked_for_are_those_of_every_registry():
    assert {"maml", "rl2", "mlp", "geometric", "Bandit-K5-v0", "HalfCheetahDir-v2"} <= registered_names()


def test_every_member_of_the_package_stands_in_one_row():
    members = [member for row in ROWS for member in row]
    assert len(members) == len(set(members))
    assert {member_of(path.relative_to(ROOT).parts) for path in LAYERED} <= set(members)


@pytest.mark.parametrize(
    "source",
    [
        "if config.algorithm == 'rl2': pass",
        "x = 'mlp' != policy",
        "x = policy in ('mlp', 'other')",
        "x = policy not in {'other', 'mlp'}",
        "x = policy in frozenset({'mlp'})",
        "x = name in {'mlp': 1}",
        "assert config.env_name.startswith('Bandit-K5-v0')",
        "match algorithm:\n    case 'maml': pass",
        "match algorithm:\n    case 'other' | 'maml': pass",
        "match algorithm:\n    case ('maml' as a): pass",
    ],
)
def test_a_branch_on_a_registered_name_is_found(source):
    assert len(name_violations(source, registered_names())) == 1


@pytest.mark.parametrize(
    "source",
    [
        "config = Config(env_name='Bandit-K5-v0', algorithm='rl2')",
        "KINDS = {'mlp': 1}\nx = policy in KINDS",
        "x = algorithm in registered_algorithms()",
        "x = step == 'ppo' or name in ('rnn3', 'x')",
        "x = path.endswith('.yaml')",
        "x = 'Algorithm rl2' + 'mlp'",
    ],
)
def test_names_that_decide_nothing_are_left_alone(source):
    assert name_violations(source, registered_names()) == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_draw_names_its_generator(path):
    assert randomness_violations(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", [path for path in FILES if path not in PICKLES_IN_MEMORY], ids=name_of)
def test_nothing_is_pickled(path):
    assert persistence_violations(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("member", "source"),
    [
        ("utils", "import maml_rl.envs.mujoco.ant"),
        ("utils", "from maml_rl.config import Config"),
        ("envs", "from maml_rl.policies.policy import Policy"),
        ("envs", "from maml_rl import config"),
        ("config", "def f():\n    from maml_rl.experiment import Experiment"),
        ("experiment", "from maml_rl.cli import train_command"),
        ("settings", "from maml_rl.config import Config"),
        ("metalearners", "from maml_rl.samplers import Backend"),
        ("evaluation", "from maml_rl.cli import test_command"),
        ("baseline", "if True:\n    import maml_rl.adaptation as a"),
        ("demo", "import train"),
        ("envs", "from .ant import Ant"),
        ("envs", "import maml_rl.nowhere"),
        ("nowhere", ""),
    ],
)
def test_an_import_that_points_elsewhere_is_found(member, source):
    assert len(layer_violations(source, member)) == 1


@pytest.mark.parametrize(
    ("member", "source"),
    [
        ("envs", "from maml_rl.envs.meta_env import Task\nimport maml_rl.utils.random\nimport numpy"),
        ("adaptation", "from maml_rl.policies.policy import Policy\nfrom maml_rl.episode import Episodes"),
        ("samplers", "from maml_rl.metalearners.rl2 import RL2"),
        ("evaluation", "from maml_rl.algorithms import Evaluation\nfrom maml_rl.workforce import workers"),
        ("demo", "from maml_rl.experiment import Experiment\nfrom maml_rl import __version__"),
        ("train", "from maml_rl.cli import train\nimport maml_rl"),
    ],
)
def test_an_import_that_points_downwards_is_left_alone(member, source):
    assert layer_violations(source, member) == []


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.manual_seed(0)",
        "import torch\ntorch.cuda.manual_seed_all(0)",
        "from torch import manual_seed\nmanual_seed(0)",
        "import torch\ntorch.rand(3)",
        "import torch\ntorch.randn(3, device='cpu')",
        "from torch import nn\nnn.init.xavier_uniform_(w)",
        "import torch.nn.init as init\ninit.orthogonal_(w)",
        "x.normal_()",
        "probabilities.multinomial(1)",
        "import numpy as np\nnp.random.seed(0)",
        "import numpy as np\nnp.random.rand(3)",
        "from numpy.random import normal\nnormal()",
        "import numpy as np\nrng = np.random.default_rng()",
        "import random\nrandom.random()",
        "from random import shuffle",
        "from scipy import stats\nstats.norm.rvs(3)",
    ],
)
def test_a_draw_from_a_global_generator_is_found(source):
    assert len(randomness_violations(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.rand(3, generator=g)",
        "from torch import nn\nnn.init.xavier_uniform_(w, generator=g)\nnn.init.zeros_(b)",
        "x.normal_(generator=g)",
        "import numpy as np\nrng = np.random.default_rng(0)\nrng.random(3)\nrng.multinomial(1, p)",
        "import random\nimport numpy as np\nbefore = random.getstate(), np.random.get_state()",
        "import numpy as np\nnp.random.Generator(np.random.PCG64(np.random.SeedSequence(1)))",
        "from maml_rl.utils.random import generator\ngenerator(0, p).normal()",
    ],
)
def test_a_draw_from_a_passed_generator_is_left_alone(source):
    assert randomness_violations(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from cloudpickle import dumps",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=flag)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
    ],
)
def test_a_pickle_is_found(source):
    assert len(persistence_violations(source)) == 1


def test_loading_weights_only_is_left_alone():
    assert persistence_violations("import torch\ntorch.load(path, weights_only=True)") == []


def test_importing_the_package_loads_no_heavy_library():
    code = "import sys, maml_rl; print(sorted({'torch', 'numpy', 'gymnasium', 'mujoco'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_slow_variants_are_of_tests_that_there_are():
    """A name that no test has any more would leave its variants in the default suite."""
    tests = {
        node.name
        for path in (ROOT / "maml_rl" / "tests").glob("test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    assert SLOW_VARIANTS.keys() <= tests
