"""Evolution of parameters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from maml_rl.settings.base import Count, Settings


class EvolutionSettings(Settings):
    """Population, strategy and fitness of evolution."""

    population_size: Count = Field(
        default=128, description="Individuals of a generation; even for openai-es, where they come in pairs."
    )
    es_strategy: Literal["openai-es", "cma-es", "genetic-algorithm"] = Field(
        default="openai-es",
        description=(
            "Strategy: 'openai-es' a Gaussian of fixed shape (Salimans et al. 2017), 'cma-es' one whose covariance "
            "adapts (diagonal beyond 600 parameters), 'genetic-algorithm' elites, crossover and mutation."
        ),
    )
    es_sigma: float = Field(
        default=0.1, gt=0, description="Standard deviation of individuals around the mean, of mutations; initial scale."
    )
    es_sigma_decay: float = Field(
        default=1.0, gt=0, le=1, description="Factor of es-sigma from one generation to the next (openai-es)."
    )
    es_sigma_limit: float = Field(default=0.0, ge=0, description="Value es-sigma does not fall below (openai-es).")
    es_learning_rate: float = Field(
        default=0.03, gt=0, description="Step size of Adam (openai-es); it falls as es-sigma does."
    )
    es_weight_decay: float = Field(
        default=0.0, ge=0, lt=1, description="Fraction of the mean that is lost in every generation (openai-es)."
    )
    fitness: Literal["mean", "min", "mean-min"] = Field(
        default="mean",
        description="Fitness over an individual's lives: their mean, the least of them, or the mean of these two.",
    )
    late_episodes_count: bool = Field(
        default=False,
        description=(
            "Whether episode e of a life counts e times: learning within a life pays, what is innate does less. False: "
            "all episodes count the same."
        ),
    )
    chunk_size: Count = Field(
        default=64,
        description="Most individuals that act together in one batch of a worker; changes memory and speed alone.",
    )
    yoked_reward: bool = Field(
        default=False,
        description=(
            "Whether every life observes the rewards of another life of the same agent in place of its own: a control, "
            "for test.py alone."
        ),
    )
    hidden_ends: bool = Field(
        default=False,
        description=(
            "Whether lives do not observe where episodes end, which tells of failure too: a control beside "
            "yoked-reward, for test.py alone."
        ),
    )
