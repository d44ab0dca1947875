"""Learn to learn in a few minutes: a half cheetah that runs either way after one gradient step.

Run it with ``python -m maml_rl.demo --output-folder runs/demo``.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maml_rl.algorithms import Algorithm, Evaluation, make_algorithm
from maml_rl.analysis import plot_adaptation, plot_training_curve
from maml_rl.analysis.plots import labels_of_steps
from maml_rl.callbacks import Progress
from maml_rl.callbacks.progress import bar_is_wanted
from maml_rl.cli import run_command
from maml_rl.config import Config
from maml_rl.evaluation import evaluate, interval_over_tasks, save_results, summary_lines
from maml_rl.experiment import train
from maml_rl.run_folder import Checkpoint, RunFolder
from maml_rl.utils.command_lines import Parser
from maml_rl.utils.cores import available_cores
from maml_rl.utils.errors import InputError
from maml_rl.utils.files import write_atomically
from maml_rl.utils.graphics import NO_SCREEN_CURE, choose_gl
from maml_rl.video import VideoError, check_can_film, film, task_words

NUM_STEPS = (0, 1, 2, 3)
# The values of configs/maml/halfcheetah-dir-promp.yaml, for a visible gain within minutes.
CONFIG = Config(
    env_name="HalfCheetahDir-v2",
    env_kwargs={"normalization_scale": 10.0, "max_episode_steps": 100},
    fast_batch_size=20,
    fast_lr=0.2,
    maml_outer_step="promp",
    promp_learning_rate=2e-3,
    meta_batch_size=8,
    num_batches=200,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, evaluate, plot and film; what is done already is not done again."""
    parser = Parser(
        prog="python -m maml_rl.demo", description="Meta-train a half cheetah, evaluate it, plot it, film it."
    )
    parser.add_argument("--output-folder", default="runs/demo", help="where everything goes (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=3.0, help="longest training (default: %(default)s)")
    parser.add_argument(
        "--num-workers",
        type=int,
        default=available_cores(),
        help="worker processes (default: one per core, %(default)s)",
    )
    arguments = parser.parse_args(argv)

    def demo() -> None:
        if not arguments.minutes > 0:
            raise InputError(f"--minutes: got {arguments.minutes:g}, expected a number > 0")
        if arguments.num_workers < 1:
            raise InputError(f"--num-workers: got {arguments.num_workers}, expected at least 1")
        run_demo(
            CONFIG,
            Path(arguments.output_folder),
            max_seconds=60.0 * arguments.minutes,
            num_workers=arguments.num_workers,
        )

    return run_command(demo, interrupted="run the same command again to continue")


def run_demo(config: Config, path: Path, *, max_seconds: float, num_workers: int) -> None:
    """Fill the folder `path`; called again, continue where it stopped.

    Parameters
    ----------
    config
        What to train.
    path
        The folder.
    max_seconds
        Longest training, start of the workers not counted.
    num_workers
        Worker processes.

    Raises
    ------
    RunFolderError
        If the folder holds another run.
    """
    choose_gl()
    algorithm = make_algorithm(config)
    state, is_new = _train(algorithm, RunFolder(path), max_seconds, num_workers)
    results, plot, gif = path / "results.npz", path / "plot.png", path / "cheetah.gif"
    if is_new or not (results.exists() and plot.exists()):
        print("evaluating in new episodes", flush=True)
        evaluation = evaluate(
            algorithm,
            state.parameters,
            num_batches=1,
            meta_batch_size=40,
            num_adaptation_steps=max(NUM_STEPS),
            num_workers=num_workers,
            backend="multiprocess",
        )
        save_results(results, evaluation, NUM_STEPS)
        print("\n".join([*summary_lines(evaluation, NUM_STEPS), *_lines_by_task(evaluation)]))
        _plot(plot, path / "metrics.csv", evaluation)
    if is_new or not gif.exists():
        _film(algorithm, state.parameters, gif)
    print(f"in {path}:")
    for name, meaning in _CONTENTS.items():
        if (path / name).exists():
            print(f"  {name:<12} {meaning}")


_CONTENTS = {
    "plot.png": "returns before and after adaptation",
    "cheetah.gif": "one cheetah before and after adapting to each direction",
    "metrics.csv": "a row per iteration",
    "policy.th": "the meta-learned weights; evaluate them with test.py",
    "config.json": "the configuration",
    "results.npz": "returns in new episodes as NumPy arrays",
}


def _train(algorithm: Algorithm, folder: RunFolder, max_seconds: float, num_workers: int) -> tuple[Checkpoint, bool]:
    """Train until done; return where the run stands and whether it moved."""
    config, expected = algorithm.config, algorithm.run_format
    exists = folder.config_path.exists()
    state = folder.resume(config, expected) if exists else None
    if state is not None and (state.iteration >= config.num_batches or state.seconds >= max_seconds):
        print(f"{folder.path} holds a finished demo ({state.iteration} iterations); delete it to train anew")
        return state, False
    longest = f"{max_seconds / 60:g} minutes"
    print(f"meta-training on {config.env_name}: {config.num_batches} iterations or {longest}", flush=True)
    train(
        algorithm,
        num_workers=num_workers,
        backend="multiprocess",
        folder=folder,
        resume=exists,
        callbacks=[Progress(lambda line: print(line, flush=True), bar=bar_is_wanted())],
        max_seconds=max_seconds,
    )
    return folder.load_checkpoint(config, expected), True


def _plot(path: Path, metrics_path: Path, evaluation: Evaluation) -> None:
    from matplotlib.figure import Figure

    with metrics_path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    env_steps, before, after = (
        np.array([float(row[name]) for row in rows]) for name in ("env_steps", "return_before", "return_after")
    )
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot_training_curve(left, env_steps, before, after, labels=labels_of_steps(evaluation.trained))
    left.set_title("meta-training")
    interval = interval_over_tasks(evaluation, NUM_STEPS)
    band = "95% interval over draws of the tasks, of this agent"
    plot_adaptation(right, np.array(NUM_STEPS), interval.mean, interval.low, interval.high, band=band)
    right.set_title(f"{len(evaluation.tasks)} draws of the tasks, new episodes")
    write_atomically(path, lambda file: figure.savefig(file, dpi=120))


def _lines_by_task(evaluation: Evaluation) -> list[str]:
    """Mean return before and after adaptation to each task, where tasks are as few as directions."""
    words = np.array([task_words(task) for task in evaluation.tasks])
    distinct = sorted(set(words.tolist()))
    if len(distinct) > 3:
        return []
    before, after = (evaluation.returns[k].mean(axis=-1) for k in (0, evaluation.trained))  # (N,) each
    return [f"{name}: {before[words == name].mean():.1f} -> {after[words == name].mean():.1f}" for name in distinct]


def _film(algorithm: Algorithm, parameters: np.ndarray, path: Path) -> None:
    """Film the agent; where this machine cannot draw, say in one line how it could."""
    try:
        check_can_film(algorithm, path)
    except VideoError:
        print(f"no {path.name}: {NO_SCREEN_CURE}; then run the same command again", flush=True)
        return
    print("filming", flush=True)
    film(algorithm, parameters, path)


if __name__ == "__main__":
    sys.exit(main())
