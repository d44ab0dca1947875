"""Sections of a configuration: the settings that workers, learners and policies hold as they are."""

from maml_rl.settings.base import Count, Settings, Width
from maml_rl.settings.evolution import EvolutionSettings
from maml_rl.settings.maml import CurvatureSample, MAMLSettings, ProMPSettings, ReptileSettings, TrustRegion
from maml_rl.settings.registry import AlgorithmSettings, algorithm_settings, register_algorithm_settings
from maml_rl.settings.rl2 import RL2Settings
from maml_rl.settings.run import PolicySettings, ReturnSettings, RunSettings, TaskSettings

__all__ = [
    "AlgorithmSettings",
    "Count",
    "CurvatureSample",
    "EvolutionSettings",
    "MAMLSettings",
    "PolicySettings",
    "ProMPSettings",
    "RL2Settings",
    "ReptileSettings",
    "ReturnSettings",
    "RunSettings",
    "Settings",
    "TaskSettings",
    "TrustRegion",
    "Width",
    "algorithm_settings",
    "register_algorithm_settings",
]
