"""From arrays to intervals and figures; knows nothing of training."""

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
    "Interval",
    "Line",
    "compare",
    "fit_line",
    "holm",
    "interquartile_mean_interval",
    "mean_interval",
    "plot_adaptation",
    "plot_adaptation_of_runs",
    "plot_seeds_and_line",
    "plot_training_curve",
    "smallest_permutation_p",
]
