"""From arrays to intervals, models of choices and figures; knows nothing of training.

Baseline agents, optima and measures of behaviour are imported from the modules that hold them.
"""

from maml_rl.analysis.choices import Choices
from maml_rl.analysis.intervals import Interval, mean_interval
from maml_rl.analysis.kalman_models import KalmanModel, ThompsonModel
from maml_rl.analysis.learning_curve_plots import plot_learning_curve_areas, plot_seeds_and_line
from maml_rl.analysis.model_fits import ModelFit, fit_model, log_bayes_factor
from maml_rl.analysis.people.bandit_tables import read_choices
from maml_rl.analysis.people.two_step_tables import read_two_step
from maml_rl.analysis.plots import plot_adaptation, plot_adaptation_of_runs, plot_training_curve
from maml_rl.analysis.sampling_model import ForgettingSamplingModel, SamplingModel
from maml_rl.analysis.two_step_choices import TwoStepChoices
from maml_rl.analysis.two_step_models import HybridModel, RepeatModel
from maml_rl.analysis.value_models import BonusModel, ForgettingModel, TDModel, TwoRatesModel
from maml_rl.analysis.win_stay_model import WinStayModel

__all__ = [
    "BonusModel",
    "Choices",
    "ForgettingModel",
    "ForgettingSamplingModel",
    "HybridModel",
    "Interval",
    "KalmanModel",
    "ModelFit",
    "RepeatModel",
    "SamplingModel",
    "TDModel",
    "ThompsonModel",
    "TwoRatesModel",
    "TwoStepChoices",
    "WinStayModel",
    "fit_model",
    "log_bayes_factor",
    "mean_interval",
    "plot_adaptation",
    "plot_adaptation_of_runs",
    "plot_learning_curve_areas",
    "plot_seeds_and_line",
    "plot_training_curve",
    "read_choices",
    "read_two_step",
]
