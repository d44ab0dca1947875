"""Names of the displays, and the displays of a configuration."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from maml_rl.config import Config
from maml_rl.envs.registration import displays_of_family
from maml_rl.studies.displays.display import Display
from maml_rl.studies.study_run import StudyRun
from maml_rl.utils.errors import InputError
from maml_rl.utils.field_words import did_you_mean

_DISPLAYS: dict[str, str | type[Display]] = {}


def register_display(name: str, display: str | type[Display]) -> None:
    """Register a display; task families name it in ``register_meta_env(..., displays=[name])``.

    Parameters
    ----------
    name
        Its name; one that is taken is given to the new display.
    display
        A subclass of `Display`, or ``"module:class"``, imported when it is first shown.
    """
    _DISPLAYS[name] = display


def displays_of(config: Config) -> list[Display]:
    """Displays of a configuration, in the order they were registered in.

    Raises
    ------
    InputError
        In one line, if its family names a display that there is not.
    """
    names = displays_of_family(config.env_name)
    for name in names:
        if name not in _DISPLAYS:
            known = f"{did_you_mean(name, _DISPLAYS)}; registered: {', '.join(_DISPLAYS)}"
            raise InputError(f"displays of {config.env_name}: unknown display {name!r}{known}")
    found = [_load(name) for name in _DISPLAYS if name in names]
    return [display for display in found if display.applies(config)]


def displays_of_runs(runs: Iterable[StudyRun]) -> list[Display]:
    """Displays of any of these runs, on whatever test set, each once, in the order they were registered in."""
    names = {display.name for run in runs for config in run.configs.values() for display in displays_of(config)}
    return [_load(name) for name in _DISPLAYS if name in names]


def _load(name: str) -> Display:
    display = _DISPLAYS[name]
    if isinstance(display, str):
        module, _, class_name = display.partition(":")
        display = getattr(importlib.import_module(module), class_name)
    if not (isinstance(display, type) and issubclass(display, Display)):
        raise InputError(f"display {name!r}: got {display!r}, expected a subclass of Display")
    return display(name)


for _name, _place in {
    "bandit": "bandits:BanditDisplay",
    "two-step": "two_step:TwoStepDisplay",
    "tabular-mdp": "tabular_mdps:TabularMDPDisplay",
    "restless-bandit": "restless_bandits:RestlessBanditDisplay",
    "lives": "lives:LivesDisplay",
    "contextual-bandit": "contextual_bandit:ContextualBanditDisplay",
    "gates": "gates:GatesDisplay",
    "contextual-two-step": "contextual_two_step:ContextualTwoStepDisplay",
    "drifting-bandit": "drifting_bandit:DriftingBanditDisplay",
    "harlow": "harlow:HarlowDisplay",
    "meta-world": "meta_world:MetaWorldDisplay",
}.items():
    register_display(_name, f"maml_rl.studies.displays.{_place}")
