"""From arrays to intervals and figures; knows nothing of training."""

from maml_rl.analysis.behaviour import (
    choice_autocorrelation,
    cumulative_regret,
    model_based_index,
    model_free_index,
    stay_frequencies,
    stay_probabilities,
)
from maml_rl.analysis.delta_rule import DeltaRuleFit, fit_learning_rate
from maml_rl.analysis.plots import (
    plot_adaptation,
    plot_adaptation_of_runs,
    plot_seeds_and_line,
    plot_training_curve,
)
from maml_rl.analysis.statistics import (
    Comparison,
    Interval,
    Line,
    compare,
    fit_line,
    holm,
    interquartile_mean_interval,
    mean_interval,
    smallest_permutation_p,
)

__all__ = [
    "Comparison",
    "DeltaRuleFit",
    "Interval",
    "Line",
    "choice_autocorrelation",
    "compare",
    "cumulative_regret",
    "fit_learning_rate",
    "fit_line",
    "holm",
    "interquartile_mean_interval",
    "mean_interval",
    "model_based_index",
    "model_free_index",
    "plot_adaptation",
    "plot_adaptation_of_runs",
    "plot_seeds_and_line",
    "plot_training_curve",
    "smallest_permutation_p",
    "stay_frequencies",
    "stay_probabilities",
]
