"""Bad input of all kinds, drawn from a seed, and the claim that each is answered in one line."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from maml_rl.config_sections import all_sections, keys_of
from maml_rl.envs import registered_meta_envs

Rng = np.random.Generator

WORDS = (
    "env-name", "policy", "algorithm", "maml", "rl2", "evolution", "lstm", "Bandit-K5-v0", "2DNavigation-v0",
    "null", "true", "yes", "on", "NaN", ".inf", "-.inf", "1e999", "-1", "0", "1", "0.5", "1e-3", "0x10", "1_000",
    "10000000000000000000000", "[1, 2]", "{a: 1}", "''", "'1'", "~", "&a [*a]", "<<: *a", "../../etc", "2026-11-29",
    "!!python/object/apply:os.system ['touch SPY']", "!!python/name:os.system", "antigravity:X-v0", "os:system",
    "__import__('os').system('touch SPY')", "\\0", "\u202e", "é", "💥", "x" * 300, "%s%n", "=", "--set",
    "{", "}", "[", "]", "- ", "? ", ": ", "\t", "#", "|", ">",
)  # fmt: skip


class Spy:
    """Creates a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def some_value(rng: Rng, depth: int = 0) -> Any:
    """A value that a YAML file can hold."""
    kind = int(rng.integers(10 if depth < 3 else 8))
    if kind == 8:
        return [some_value(rng, depth + 1) for _ in range(int(rng.integers(4)))]
    if kind == 9:
        return {some_word(rng): some_value(rng, depth + 1) for _ in range(int(rng.integers(4)))}
    scalars: Sequence[Callable[[], Any]] = (
        lambda: None,
        lambda: bool(rng.integers(2)),
        lambda: int(rng.integers(-5, 5)),
        lambda: int(10 ** int(rng.integers(1, 30))),
        lambda: float(rng.normal()),
        lambda: float(rng.choice([np.nan, np.inf, -np.inf, 1e308, 5e-324, -0.0])),
        lambda: some_word(rng),
        lambda: some_word(rng) + some_word(rng),
    )
    return scalars[kind]()


def some_word(rng: Rng) -> str:
    """A word that means something to some reader."""
    return str(WORDS[int(rng.integers(len(WORDS)))])


def mutated(rng: Rng, data: bytes) -> bytes:
    """Bytes with some of them changed, removed, doubled, or words put in between."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        place, kind = int(rng.integers(len(changed) + 1)), int(rng.integers(5))
        length = int(rng.integers(1, 20))
        if kind == 0:
            del changed[place : place + length]
        elif kind == 1:
            changed[place:place] = some_word(rng).encode("utf-8", "surrogatepass")
        elif kind == 2:
            changed[place:place] = changed[place : place + length]
        elif kind == 3:
            changed[place:place] = bytes(rng.integers(0, 256, length, dtype=np.uint8))
        elif place < len(changed):
            changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def a_configuration(rng: Rng, valid: dict[str, Any]) -> bytes:
    """A configuration file: known and unknown keys with values of all kinds, or a valid one that was damaged."""
    if rng.random() < 0.4:
        return mutated(rng, yaml.safe_dump(valid).encode())
    keys = sorted({key for section in all_sections() for key in keys_of(section)})
    values: dict[str, Any] = dict(valid) if rng.random() < 0.7 else {}
    for _ in range(int(rng.integers(1, 4))):
        key = str(rng.choice(keys)) if rng.random() < 0.8 else some_word(rng)
        values[key] = some_value(rng)
    return yaml.safe_dump(values, allow_unicode=True).encode("utf-8", "surrogatepass")


def keyword_flags(rng: Rng) -> list[str]:
    """Flags that give a family's keywords, or names that are none, values of all kinds."""
    family = str(rng.choice(registered_meta_envs())) if rng.random() < 0.8 else some_word(rng)
    names = ("max_episode_steps", "num_pulls", "goal", "low", "num_arms", "env_id", "attributes", "package", "family")
    flags = ["--set", f"env-name={family}"]
    for _ in range(int(rng.integers(1, 3))):
        name = str(rng.choice(names)) if rng.random() < 0.7 else some_word(rng)
        value = json.dumps(some_value(rng)) if rng.random() < 0.7 else some_word(rng)
        flags += ["--set", f"env-kwargs.{name}={value}"]
    return flags


def command_flags(rng: Rng) -> list[str]:
    """Flags of train.py and test.py, some of them unknown, with values of all kinds."""
    names = ("--seed", "--num-batches", "--num-workers", "--backend", "--set", "--resume", "--dtype", "--allow-module",
             "--use-cuda", "--meta-batch-size", "--num-steps", "--render", "--x")  # fmt: skip
    flags: list[str] = []
    for _ in range(int(rng.integers(1, 4))):
        flags.append(str(rng.choice(names)))
        flags += [some_word(rng).replace("\\0", "") for _ in range(int(rng.integers(0, 3)))]
    return flags


def a_tensor_file(rng: Rng, valid: bytes, spy: Path) -> bytes:
    """A damaged file of tensors, one of something else, or one that would run code if it were unpickled."""
    kind = int(rng.integers(6))
    if kind in (0, 1):
        buffer = io.BytesIO()
        torch.save({"w": Spy(spy)}, buffer, _use_new_zipfile_serialization=kind == 1)
        return buffer.getvalue()
    if kind == 2:
        buffer = io.BytesIO()
        torch.save(some_tensors(rng), buffer)
        return buffer.getvalue()
    if kind == 3:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(some_word(rng).replace("\\0", "") or "x", b"x" * int(rng.integers(100)))
        return buffer.getvalue()
    return mutated(rng, valid)


def some_tensors(rng: Rng) -> Any:
    """What a file of tensors could hold."""
    values: Sequence[Callable[[], Any]] = (
        lambda: torch.zeros(int(rng.integers(5))),
        lambda: torch.full((2, 2), float("nan")),
        lambda: [1, 2],
        lambda: some_word(rng),
        lambda: {some_word(rng): torch.zeros(2)},
    )
    names = ("iteration", "parameters", "format", "0.weight", "sigma", "checksum", some_word(rng))
    if rng.random() < 0.2:
        return values[int(rng.integers(len(values)))]()
    return {str(rng.choice(names)): values[int(rng.integers(len(values)))]() for _ in range(int(rng.integers(1, 5)))}


def a_study(rng: Rng, valid: dict[str, Any]) -> bytes:
    """A study file with fields of all kinds, or a valid one that was damaged."""
    if rng.random() < 0.5:
        return mutated(rng, yaml.safe_dump(valid).encode())
    values = dict(valid)
    fields = ("name", "question", "test_tasks", "test_steps", "score", "test_on", "runs", "comparisons", some_word(rng))
    values[str(rng.choice(fields))] = some_value(rng)
    return yaml.safe_dump(values, allow_unicode=True).encode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Answer:
    """A command's exit code and what it wrote."""

    code: int
    output: str
    error: str


def check_answer(answer: Answer, about: object) -> None:
    """An input is used, or refused in one line.

    argparse's own refusals have its usage before their line; that there is no GPU to use is said before.

    Raises
    ------
    AssertionError
        If there is a traceback, or more or less than a line.
    """
    assert "Traceback" not in answer.error, (about, answer)
    assert answer.code in (0, 2), (about, answer)
    if answer.code == 2:
        lines = [line for line in answer.error.splitlines() if not line.startswith("--use-cuda: found no GPU")]
        assert len([line for line in lines if "error: " in line]) == 1, (about, answer)
        assert lines[0].startswith("usage: ") or len(lines) == 1, (about, answer)
