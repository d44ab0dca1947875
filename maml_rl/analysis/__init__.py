"""From arrays to intervals, models of choices and figures; knows nothing of training.

Baseline agents, optima and measures of behaviour are imported from the modules that hold them.
"""

from maml_rl.analysis.choices import Choices, read_choices
from maml_rl.analysis.intervals import Interval, mean_interval
from maml_rl.analysis.learning_curve_plots import plot_learning_curve_areas, plot_seeds_and_line
from maml_rl.analysis.model_fits import ModelFit, fit_model, log_bayes_factor
from maml_rl.analysis.plots import plot_adaptation, plot_adaptation_of_runs, plot_training_curve
from maml_rl.analysis.sampling_model import SamplingModel
from maml_rl.analysis.value_models import BonusModel, ForgettingModel, KalmanModel, TDModel

__all__ = [
    "BonusModel",
    "Choices",
    "ForgettingModel",
    "Interval",
    "KalmanModel",
    "ModelFit",
    "SamplingModel",
    "TDModel",
    "fit_model",
    "log_bayes_factor",
    "mean_interval",
    "plot_adaptation",
    "plot_adaptation_of_runs",
    "plot_learning_curve_areas",
    "plot_seeds_and_line",
    "plot_training_curve",
    "read_choices",
]
