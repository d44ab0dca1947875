"""Outer steps of MAML by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maml_rl.config import Config
from maml_rl.metalearners import MAMLTRPO, MAMLLearner, ProMP, Reptile
from maml_rl.metalearners.learner import Workers
from maml_rl.settings import MAMLSettings, ProMPSettings, ReptileSettings, TrustRegion
from maml_rl.utils.config_files import to_kebab
from maml_rl.utils.errors import InputError


@dataclass(frozen=True)
class OuterStep:
    """One way to improve initial weights.

    Attributes
    ----------
    make
        Makes the learner of a configuration at parameters (1, D).
    remedy
        Keys to lower when iterations are refused because of NaN or infinity.
    inner_objective
        The inner objective that 'auto' means; ``None``: the action space decides.
    unused
        Settings of MAML that it has no use for, beyond their defaults.
    needs_steps
        Whether it learns from adapted weights alone, so that without an inner step there is nothing to learn.
    """

    make: Callable[[Config, Workers, np.ndarray], MAMLLearner]
    remedy: str
    inner_objective: str | None = None
    unused: tuple[str, ...] = ()
    needs_steps: bool = False

    def check(self, settings: MAMLSettings) -> None:
        """Refuse settings that this outer step has no use for, in one line."""
        if self.needs_steps and not settings.num_steps:
            raise InputError(
                f"num-steps: got 0 with maml-outer-step {settings.maml_outer_step!r}, which learns from adapted "
                "weights alone, expected at least 1; choose another outer step for learning without adaptation"
            )
        whose, names = f"maml-outer-step {settings.maml_outer_step!r}", self.unused
        if not settings.num_steps:
            whose, names = "num-steps 0", _OF_STEPS
        for name in names:
            value, default = getattr(settings, name), MAMLSettings.model_fields[name].default
            if value != default:
                raise InputError(
                    f"{to_kebab(name)}: got {_in_yaml(value)} with {whose}, which has no use for it, expected "
                    f"{_in_yaml(default)}; leave it out"
                )


_OF_STEPS = ("exploration_credit", "fast_lr_learned")
"""Settings of MAML that only inner steps have a use for, beyond their defaults."""


def _in_yaml(value: object) -> str:
    """A value as a file has it."""
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _trpo(config: Config, workers: Workers, parameters: np.ndarray) -> MAMLTRPO:
    credit = config.section(MAMLSettings).exploration_credit
    region = config.section(TrustRegion)
    return MAMLTRPO(workers, parameters, region, seed=config.run.seed, exploration_credit=credit)


def _promp(config: Config, workers: Workers, parameters: np.ndarray) -> ProMP:
    num_steps = config.section(MAMLSettings).num_steps
    settings = config.section(ProMPSettings)
    return ProMP(workers, parameters, settings, seed=config.run.seed, num_inner_steps=num_steps)


def _reptile(config: Config, workers: Workers, parameters: np.ndarray) -> Reptile:
    run, settings = config.run, config.section(ReptileSettings)
    return Reptile(workers, parameters, settings, seed=run.seed, num_batches=run.num_batches)


OUTER_STEPS = {
    "promp": OuterStep(_promp, "fast-lr or promp-learning-rate", "lvc", ("exploration_credit",)),
    "reptile": OuterStep(
        _reptile,
        "fast-lr or reptile-step-size",
        unused=("exploration_credit", "fast_lr_learned", "first_order"),
        needs_steps=True,
    ),
    "trpo": OuterStep(_trpo, "fast-lr or max-kl"),
}
