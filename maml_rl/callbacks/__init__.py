"""Callbacks of training: they hear of every iteration, and may end a run."""

from maml_rl.callbacks.callback import Callback, Row, RowCallback, StopTraining, TrainingRun
from maml_rl.callbacks.evaluating import EvaluateEvery
from maml_rl.callbacks.keeping import KeepBest
from maml_rl.callbacks.progress import Progress
from maml_rl.callbacks.stopping import StopWhen
from maml_rl.callbacks.trackers import MLflow, TensorBoard, WandB

__all__ = [
    "Callback",
    "EvaluateEvery",
    "KeepBest",
    "MLflow",
    "Progress",
    "Row",
    "RowCallback",
    "StopTraining",
    "StopWhen",
    "TensorBoard",
    "TrainingRun",
    "WandB",
]
