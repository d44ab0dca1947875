"""Sections that each algorithm takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maml_rl.settings.base import Settings
from maml_rl.settings.evolution import EvolutionSettings
from maml_rl.settings.maml import CurvatureSample, MAMLSettings, ProMPSettings, ReptileSettings, TrustRegion
from maml_rl.settings.rl2 import RL2Settings
from maml_rl.settings.run import ReturnSettings


@dataclass(frozen=True)
class AlgorithmSettings:
    """Settings that an algorithm takes beside those of run, task and policy.

    Attributes
    ----------
    sections
        Its sections.
    needs_memory
        Whether it can only train policies with memory.
    """

    sections: tuple[type[Settings], ...]
    needs_memory: bool = False


_ALGORITHMS = {
    "evolution": AlgorithmSettings((EvolutionSettings,)),
    "maml": AlgorithmSettings(
        (ReturnSettings, MAMLSettings, TrustRegion, CurvatureSample, ProMPSettings, ReptileSettings)
    ),
    "rl2": AlgorithmSettings((ReturnSettings, RL2Settings, TrustRegion), needs_memory=True),
}


def register_algorithm_settings(name: str, sections: Sequence[type[Settings]], *, needs_memory: bool = False) -> None:
    """Make the keys of these sections known wherever a configuration names this algorithm."""
    _ALGORITHMS[name] = AlgorithmSettings(tuple(sections), needs_memory)


def algorithm_settings() -> Mapping[str, AlgorithmSettings]:
    """Settings of every registered algorithm, by name."""
    return _ALGORITHMS
