"""Film an agent at the stages of its adaptation to each of a few tasks."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from maml_rl.algorithms import Algorithm, Stage
from maml_rl.envs import MetaVectorEnv, Task, make_meta_env
from maml_rl.samplers.film_recorders import EndRecorder, Film, FrameRecorder
from maml_rl.samplers.recorders import Recorder
from maml_rl.samplers.rollout import rollout
from maml_rl.shard import Shard
from maml_rl.utils.errors import InputError
from maml_rl.utils.film_frames import grid, panel, save_film, shrink
from maml_rl.utils.graphics import NO_SCREEN_CURE
from maml_rl.utils.random import Purpose, generator

ENDINGS = (".gif", ".mp4")
_MAX_STEPS = 300
_NUM_CANDIDATES, _MAX_TASKS = 64, 3
# The agent does not adapt to filmed episodes: those that it adapts to have iteration 0.
_ADAPT_ITERATION, _FILM_ITERATION = 0, 1


class VideoError(InputError):
    """A film that cannot be made; the message is one line with the cure."""


def check_can_film(algorithm: Algorithm, path: str | Path) -> None:
    """Draw one picture, to fail before the work and not after it.

    Raises
    ------
    VideoError
        If the environment has no pictures, this machine cannot draw them, or a package is missing.
    """
    if Path(path).suffix.lower() == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise VideoError("film: .mp4 needs imageio-ffmpeg: pip install 'maml_rl[video]'; or choose a .gif")
    if algorithm.films is not None or type(algorithm).stages is Algorithm.stages:
        raise VideoError(f"film: {algorithm.films or 'this algorithm shows no stages'}; make none (leave --render out)")
    env = _make_env(algorithm, 1)
    try:
        env.reset(seed=0)
        _draw(env)
    finally:
        env.close()


def film(
    algorithm: Algorithm,
    parameters: np.ndarray,
    path: str | Path,
    *,
    seed: int = 1,
    tasks: Sequence[Task] | None = None,
) -> None:
    """Write a film: a column for each task, a row for each stage of adaptation to it.

    All episodes of a task start in the same state and draw the same noise; they are none of those the
    agent adapts to. A memory that lasts for the task is carried over from the first to the second. At most the first
    300 steps are shown. Where stages are the ends of one life, each life has a row and they stand side by side, at most
    150 steps, and half of the life, each.

    Parameters
    ----------
    algorithm
        From `maml_rl.algorithms.make_algorithm`.
    parameters
        Meta-parameters (P, D).
    path
        A ``.gif`` or ``.mp4`` file, written in one motion.
    seed
        Seed of tasks and episodes, >= 0.
    tasks
        Tasks to show; ``None``: see `choose_tasks`.

    Raises
    ------
    VideoError
        See `check_can_film`.
    """
    tasks = choose_tasks(algorithm, seed) if tasks is None else list(tasks)
    adapting = Shard(range(len(tasks)), tasks, _ADAPT_ITERATION, seed, evaluation=True)
    stages = algorithm.stages(adapting, parameters)
    filming = Shard(range(len(tasks)), tasks, _FILM_ITERATION, seed, evaluation=True)
    env = _make_env(algorithm, len(tasks))
    try:
        rows, state = [], ()
        for stage in stages:
            row, state = _film_row(algorithm, env, filming, stage, state if stage.keeps_state else ())
            rows.append(row)
    finally:
        env.close()
    panels, num_columns = [each for row in rows for each in row], len(tasks)
    if any(stage.part != "whole" for stage in stages):
        panels, num_columns = [row[m] for m in range(len(tasks)) for row in rows], len(stages)
    frames = [grid([_at(each, t) for each in panels], num_columns) for t in range(max(map(len, panels)))]
    save_film(Path(path), frames, frames_per_second=float(env.metadata.get("render_fps", 20)))


def choose_tasks(algorithm: Algorithm, seed: int) -> list[Task]:
    """All tasks of a family that has at most three, in order; else the first three that `seed` gives."""
    rng = generator(seed, Purpose.EVALUATION_TASKS)
    distinct = {task_words(task): task for task in algorithm.env.sample_tasks(_NUM_CANDIDATES, rng)}
    if len(distinct) <= _MAX_TASKS:
        return [distinct[words] for words in sorted(distinct)]
    return list(distinct.values())[:_MAX_TASKS]


def task_words(task: Task) -> str:
    """A task in a few words, whole numbers first: signs and kinds differ most, and long words are cut.

    Examples
    --------
    >>> task_words({"direction": -1})
    'direction -1'
    >>> task_words({"goal": np.array([0.25, -1 / 3])})
    'goal (0.25, -0.33)'
    >>> task_words({"length": 0.95, "sign": -1})
    'sign -1, length 0.95'
    """
    fields = sorted(task.items(), key=lambda field: not isinstance(field[1], int | np.integer))  # else as they stand
    return ", ".join(f"{name} {_value_words(value)}" for name, value in fields)


def _make_env(algorithm: Algorithm, num_envs: int) -> MetaVectorEnv:
    name, env_kwargs = algorithm.config.env_name, algorithm.config.env_kwargs
    if "rgb_array" not in algorithm.env.metadata.get("render_modes", []):
        raise VideoError(f"film: {name} cannot be rendered; make none (leave --render out)")
    return algorithm.film_env(make_meta_env(name, num_envs, {**env_kwargs, "render_mode": "rgb_array"}))


def _draw(env: MetaVectorEnv) -> list[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a graphics library says there what it raises soon after
            pictures: Any = env.render()
        return [shrink(Image.fromarray(picture)) for picture in pictures]
    except Exception as error:  # whatever a graphics library raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise VideoError(f"film: cannot draw here ({reason}); {NO_SCREEN_CURE}") from error


def _film_row(
    algorithm: Algorithm, env: MetaVectorEnv, shard: Shard, stage: Stage, state: Any
) -> tuple[list[list[Image.Image]], Any]:
    """Roll out one episode of each of M tasks; M lists of captioned pictures, state at the end."""
    recorder: Recorder[Film[Image.Image]] = FrameRecorder(_draw, _MAX_STEPS)
    if stage.part != "whole":
        recorder = EndRecorder(_draw, _MAX_STEPS // 2, stage.part)
    shown, state = rollout(
        env, algorithm.policy, stage.params, shard.tasks, shard.streams(), recorder=recorder, state=state
    )
    panels = [
        [panel(row[m], (task_words(task), stage.label), shown.returns[m, t]) for t, row in enumerate(shown.pictures)]
        for m, task in enumerate(shard.tasks)
    ]
    return panels, state


def _value_words(value: Any) -> str:
    array = np.asarray(value)
    if array.ndim:
        return f"({', '.join(_value_words(x) for x in array.ravel())})"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _at(panels: Sequence[Image.Image], t: int) -> Image.Image:
    return panels[min(t, len(panels) - 1)]
