"""Algorithms by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from maml_rl.algorithms import evolution, maml, rl2
from maml_rl.algorithms.algorithm import Adaptation, Algorithm
from maml_rl.algorithms.ensemble import Ensemble
from maml_rl.config import Config
from maml_rl.settings import RL2Settings, Settings, register_algorithm_settings


@dataclass(frozen=True)
class _Entry:
    make: Callable[[Config, str, str], Algorithm]
    adaptation: Callable[[Config], Adaptation]


def _make_rl2(config: Config, device: str, dtype: str) -> Algorithm:
    several = config.section(RL2Settings).num_agents > 1
    return Ensemble(config, device, dtype) if several else rl2.RL2Agent(config, device, dtype)


_ALGORITHMS = {
    "evolution": _Entry(evolution.EvolvedAgent, evolution.adaptation),
    "maml": _Entry(maml.MAML, maml.adaptation),
    "rl2": _Entry(_make_rl2, rl2.adaptation),
}


def register_algorithm(
    name: str,
    make: Callable[[Config, str, str], Algorithm],
    adaptation: Callable[[Config], Adaptation],
    *,
    sections: Sequence[type[Settings]] = (),
    needs_memory: bool = False,
) -> None:
    """Let ``algorithm: NAME`` mean what `make` makes of a configuration, a device and a float type.

    Parameters
    ----------
    name
        The key's value.
    make
        Makes the algorithm; raises `InputError` in one line where it cannot.
    adaptation
        What `Algorithm.adaptation` will say, without making anything.
    sections
        Sections of settings that it takes beside those of run, task and policy; their keys become keys of files.
    needs_memory
        Whether it can only train policies with memory.
    """
    register_algorithm_settings(name, sections, needs_memory=needs_memory)
    _ALGORITHMS[name] = _Entry(make, adaptation)


def registered_algorithms() -> list[str]:
    """Names that ``algorithm`` may have."""
    return sorted(_ALGORITHMS)


def make_algorithm(config: Config, *, device: str = "cpu", dtype: str = "float32") -> Algorithm:
    """Make environment, policy and worker specification of a configuration.

    Parameters
    ----------
    config
        The configuration.
    device
        Device that learns.
    dtype
        Float type of acting and learning, one of `maml_rl.policies.DTYPES`: in float64 the curve does not depend on
        the number of workers, in float32 it does by rounding.

    Raises
    ------
    ValueError, ImportError
        In one line, if the environment is unknown, its arguments are wrong or a package is missing.
    """
    return _ALGORITHMS[config.run.algorithm].make(config, device, dtype)


def adaptation_of(config: Config) -> Adaptation:
    """Amount and unit of adaptation that a configuration asks for."""
    return _ALGORITHMS[config.run.algorithm].adaptation(config)
