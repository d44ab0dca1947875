"""Rules that a Python source file can break without any test noticing, found in its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence

# From the lowest row to the highest. A member imports from lower rows only, never from its own.
ROWS: tuple[frozenset[str], ...] = (
    frozenset({"utils"}),
    frozenset({"settings"}),
    frozenset({"envs", "policies", "episode", "analysis"}),
    frozenset({"config_sections"}),
    frozenset({"config", "shard"}),
    frozenset({"adaptation", "baseline", "evolution"}),
    frozenset({"linearisation", "actor_critic_kernel"}),
    frozenset({"objectives", "proximal", "actor_critic"}),
    frozenset({"metalearners"}),
    frozenset({"samplers"}),
    frozenset({"checkpoint", "metrics_file"}),
    frozenset({"run_folder"}),
    frozenset({"algorithms"}),
    frozenset({"workforce", "video", "zoo"}),
    frozenset({"evaluation"}),
    frozenset({"agent"}),
    frozenset({"callbacks"}),
    frozenset({"experiment"}),
    frozenset({"training"}),
    frozenset({"cli"}),
    frozenset({"studies", "demo"}),
    frozenset({"commands"}),
    frozenset({"__main__"}),
    frozenset({"train", "test"}),
)

NAMING_MEMBERS = frozenset({"algorithms", "policies", "envs"})
"""Members that may name algorithms, policies and environments: registries and the files that define them."""

SERIALISERS = frozenset({"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"})
NUMPY_RANDOM_TYPES = frozenset(
    {"Generator", "SeedSequence", "BitGenerator", "PCG64", "PCG64DXSM", "Philox", "SFC64", "MT19937"}
)
STATE_READERS = frozenset({"random.getstate", "numpy.random.get_state", "torch.get_rng_state"})
TORCH_SEEDING = frozenset({"manual_seed", "seed", "set_rng_state", "initial_seed"})
TORCH_DRAWS = frozenset(
    {"bernoulli", "multinomial", "normal", "poisson", "rand", "rand_like", "randint", "randint_like", "randn"}
    | {"randn_like", "randperm"}
)
TORCH_INIT_DRAWS = frozenset(
    {"kaiming_normal_", "kaiming_uniform_", "normal_", "orthogonal_", "sparse_", "trunc_normal_", "uniform_"}
    | {"xavier_normal_", "xavier_uniform_"}
)
TENSOR_DRAWS = frozenset(
    {"bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_"}
    | {"multinomial"}
)


def layer_violations(source: str, member: str) -> list[str]:
    """Return one line for each import of `source` that points sideways or upwards.

    Parameters
    ----------
    source
        Text of a file.
    member
        The package's direct child that the file belongs to ("envs"), or the script's name ("train").
    """
    row = _row(member)
    if row is None:
        return [f"{member}: stands in no row; place it in maml_rl/tests/source_rules.py"]
    found = []
    for line, target in _imported_members(ast.parse(source)):
        if target == "":
            found.append(f"line {line}: relative import; write it absolute")
            continue
        target_row = _row(target)
        if target_row is None:
            found.append(f"line {line}: {target} stands in no row")
        elif target_row > row or (target_row == row and target != member):
            found.append(f"line {line}: {member} imports {target}, which is not in a lower row")
    return found


def _row(member: str) -> int | None:
    return next((index for index, row in enumerate(ROWS) if member in row), None)


def _imported_members(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, member) for every import of the package, wherever it stands; "" for a relative one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node.lineno, ""
        elif isinstance(node, ast.ImportFrom) and node.module == "maml_rl":
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name != "__version__")
        elif isinstance(node, ast.ImportFrom | ast.Import):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                root, *rest = module.split(".")
                if root == "maml_rl" and rest:
                    yield node.lineno, rest[0]
                elif root in ROWS[-1]:
                    yield node.lineno, root


def name_violations(source: str, names: Collection[str]) -> list[str]:
    """Return one line for each place where the program branches on the name of an algorithm, policy or environment.

    That is a comparison (``==``, ``!=``, ``in``, ``not in``) with the name as text, alone or within a collection
    written there, a method that asks how a text begins or ends, or a case of a match statement.

    Parameters
    ----------
    source
        Text of a file.
    names
        The registered names.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        asked: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.match_case):
            asked = [node.pattern]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            asked = list(node.args) if node.func.attr in ("startswith", "endswith") else []
        texts = {text for one in asked for text in _texts(one) if text in names}
        found += [f"line {_line_of(node)}: asks for {text!r} by name; ask its registry" for text in sorted(texts)]
    return found


def _texts(node: ast.AST) -> Iterator[str]:
    """Text that stands here as it is, or as an entry of a collection or a pattern."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Tuple | ast.List | ast.Set):
        for entry in node.elts:
            yield from _texts(entry)
    elif isinstance(node, ast.Dict):
        for key in node.keys:
            yield from _texts(key) if key is not None else ()
    elif isinstance(node, ast.MatchValue):
        yield from _texts(node.value)
    elif isinstance(node, ast.MatchOr | ast.MatchSequence):
        for pattern in node.patterns:
            yield from _texts(pattern)
    elif isinstance(node, ast.MatchAs) and node.pattern is not None:
        yield from _texts(node.pattern)
    elif isinstance(node, ast.Call):  # frozenset({...}) and the like
        for argument in node.args:
            yield from _texts(argument)


def _line_of(node: ast.AST) -> int:
    return node.pattern.lineno if isinstance(node, ast.match_case) else getattr(node, "lineno", 0)


def randomness_violations(source: str) -> list[str]:
    """Return one line for each draw from, or seeding of, a generator that nobody passed in."""
    tree = ast.parse(source)
    names = _imported_names(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "random" and not node.level:
            found.append(f"line {node.lineno}: from random import; use maml_rl.utils.random.generator")
        elif isinstance(node, ast.Call):
            complaint = _random_call(node, _dotted(node.func, names))
            if complaint:
                found.append(f"line {node.lineno}: {complaint}; use maml_rl.utils.random.generator")
    return found


def _random_call(node: ast.Call, name: str) -> str:
    """Say what is wrong with a call of the function with this full name, or "" when nothing is."""
    module, _, function = name.rpartition(".")
    keywords = {keyword.arg for keyword in node.keywords}
    is_torch = module.partition(".")[0] == "torch"
    if name in STATE_READERS:
        return ""
    if module == "random":
        return f"{name} is global"
    if module == "numpy.random":
        unseeded = function == "default_rng" and not node.args and not node.keywords
        is_type = function in NUMPY_RANDOM_TYPES or function == "default_rng"
        return f"{name}() without a seed" if unseeded else "" if is_type else f"{name} is global"
    if module in ("torch", "torch.random", "torch.cuda", "torch.mps") and (
        function in TORCH_SEEDING or function == "manual_seed_all"
    ):
        return f"{name} is global"
    draws = module == "torch" and function in TORCH_DRAWS
    draws |= module == "torch.nn.init" and function in TORCH_INIT_DRAWS
    draws |= not is_torch and isinstance(node.func, ast.Attribute) and node.func.attr in TENSOR_DRAWS
    if draws and "generator" not in keywords and not _names_numpy_generator(node.func):
        return f"{name or ast.unparse(node.func)} without generator="
    if isinstance(node.func, ast.Attribute) and node.func.attr == "rvs" and "random_state" not in keywords:
        return f"{ast.unparse(node.func)} without random_state="
    return ""


def _names_numpy_generator(function: ast.expr) -> bool:
    """True if this is ``rng.multinomial`` and the like: a draw from an explicit NumPy generator."""
    return isinstance(function, ast.Attribute) and "rng" in ast.unparse(function.value).lower()


def persistence_violations(source: str) -> list[str]:
    """Return one line for each way of reading or writing pickled code."""
    tree = ast.parse(source)
    names = _imported_names(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules = {(node.module or "").partition(".")[0]}
        else:
            modules = set()
        found += [f"line {node.lineno}: import {name}" for name in sorted(modules & SERIALISERS)]  # type: ignore[attr-defined]
        if isinstance(node, ast.Call):
            name = _dotted(node.func, names)
            constants = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
            if name == "torch.load" and constants.get("weights_only") is not True:
                found.append(f"line {node.lineno}: torch.load without weights_only=True")
            if name == "numpy.load" and constants.get("allow_pickle", False) is not False:
                found.append(f"line {node.lineno}: numpy.load with allow_pickle")
    return found


def _imported_names(tree: ast.AST) -> dict[str, str]:
    """Map each name an import binds to the full name it stands for: {"np": "numpy", "nn": "torch.nn"}."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                names[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """Return the full name of ``np.random.rand``: "numpy.random.rand"; "" for what was not imported."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return ""
    return ".".join([names[node.id], *reversed(parts)])


def member_of(parts: Sequence[str]) -> str:
    """Return the package's direct child that a path belongs to.

    Examples
    --------
    >>> member_of(("maml_rl", "envs", "ant.py")), member_of(("train.py",))
    ('envs', 'train')
    """
    return (parts[1] if parts[0] == "maml_rl" else parts[0]).removesuffix(".py")
