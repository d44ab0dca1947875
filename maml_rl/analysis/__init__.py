"""From arrays to intervals and figures; knows nothing of training."""

from maml_rl.analysis.plots import plot_adaptation, plot_training_curve
from maml_rl.analysis.statistics import Interval, mean_interval

__all__ = ["Interval", "mean_interval", "plot_adaptation", "plot_training_curve"]
