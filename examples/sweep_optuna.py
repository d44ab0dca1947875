"""Search of hyper-parameters with Optuna, which stops bad runs early.

``python examples/sweep_optuna.py --config bandit-k5-n10 --trials 20`` needs optuna: pip install 'maml_rl[sweep]'.
With ``--storage sqlite:///sweep.db`` the command can run in many processes at a time, and be started again: all add
trials to one study.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import maml_rl
from maml_rl.agent import Agent
from maml_rl.callbacks import Callback, EvaluateEvery, Row
from maml_rl.config import load_config

METRIC = "evaluated_return_after"
CHOICE_SEED, FRESH_SEED = 1, 2
"""Seeds of the tasks that choose among trials, and of others that have no part in the choice."""


class Prune(Callback):
    """Tells a trial how well its run does, and ends it where the trial says so.

    Parameters
    ----------
    trial
        An `optuna.Trial`.
    pruned
        The exception that ends the run and tells Optuna why.
    """

    def __init__(self, trial: Any, pruned: type[Exception]) -> None:
        self.trial, self.pruned = trial, pruned
        self.value = float("nan")

    def on_iteration(self, row: Row, agent: Agent) -> None:
        """Report an evaluation; `EvaluateEvery` stands before this callback and has put it into the row."""
        if METRIC in row:
            self.value = row[METRIC]
            self.trial.report(self.value, row["iteration"])
            if self.trial.should_prune():
                raise self.pruned


def overrides(trial: Any) -> list[str]:
    """Values of a trial, as ``--set`` takes them: the place to change for another sweep."""
    fast_lr = trial.suggest_float("fast-lr", 0.01, 1.0, log=True)
    max_kl = trial.suggest_float("max-kl", 1e-3, 1e-1, log=True)
    width = trial.suggest_categorical("width", [16, 32, 64])
    return [f"fast-lr={fast_lr}", f"max-kl={max_kl}", f"hidden-sizes=[{width}, {width}]"]


def main() -> int:
    """Run the sweep; print the best trial, and its return on tasks that did not choose it."""
    parser = argparse.ArgumentParser(description="Search of hyper-parameters with Optuna.")
    parser.add_argument("--config", default="maml/bandit/bandit-k5-n10", help="a configuration, or the name of one")
    parser.add_argument("--num-batches", type=int, default=50, help="iterations of a trial (default: %(default)s)")
    parser.add_argument("--evaluate-every", type=int, default=10, help="iterations (default: %(default)s)")
    parser.add_argument("--num-tasks", type=int, default=100, help="of an evaluation (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--storage", help="database that processes share, such as sqlite:///sweep.db")
    arguments = parser.parse_args()
    if not 1 <= arguments.evaluate_every <= arguments.num_batches:
        parser.error(f"--evaluate-every: got {arguments.evaluate_every}, expected 1 to --num-batches")
    try:
        import optuna
    except ImportError:
        print("error: needs optuna: pip install 'maml_rl[sweep]'", file=sys.stderr)
        return 2

    agents: dict[int, Agent] = {}

    def objective(trial: Any) -> float:
        config = load_config(arguments.config, [*overrides(trial), f"num-batches={arguments.num_batches}"])
        every = EvaluateEvery(arguments.evaluate_every, num_tasks=arguments.num_tasks, seed=CHOICE_SEED)
        prune = Prune(trial, optuna.TrialPruned)
        agents[trial.number] = maml_rl.train(config, [every, prune])
        return prune.value

    study = optuna.create_study(
        study_name=arguments.config,
        direction="maximize",
        storage=arguments.storage,
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=None if arguments.storage else 0),  # processes need seeds of their own
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
    )
    study.optimize(objective, n_trials=arguments.trials)
    best = study.best_trial
    print(f"best trial {best.number}: {best.value:.4f} with {best.params}")
    if best.number in agents:  # else another process has run it
        fresh = agents[best.number].evaluate(arguments.num_tasks, seed=FRESH_SEED)
        print(f"on tasks that did not choose it: {fresh.returns[fresh.trained].mean():.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
