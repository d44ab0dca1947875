"""Harlow's task in pictures: a gaze on a scene sees the part around it, and objects are textures."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium as gym
import numpy as np

from maml_rl.envs.behaviour.harlow_picture import draw_scene
from maml_rl.envs.behaviour.harlow_trials import Course, HarlowVectorEnv
from maml_rl.envs.behaviour.procedural_images import object_images
from maml_rl.envs.meta_env import MetaVectorEnv

RETINA_PLACES = 6
"""Width of the retina, in places of the gaze."""
STAGES = ("fixation", "choice", "full")
_WHITE = 255
_MOST_OBJECTS = 1_000_000


class HarlowFixationVectorEnv(HarlowVectorEnv):
    """HarlowFixation-v0: Harlow's task for a gaze that moves over a scene and sees the square around it.

    Trials, rewards, tasks, splits and measures are those of `HarlowVectorEnv`. Actions: 0 and 1 move the gaze left and
    right by a sixth of the retina's width, 2 leaves it where it is. The mark is a white cross. Objects are textures
    (`procedural_images`), a third of the retina wide and high. They stand two saccades left and right of the middle:
    whoever looks at the mark sees both as wholes at the edges of the retina. The gaze begins, and stays, at most three
    saccades from the middle, from where half of the cross is still seen. Every second object is held out.

    Observation (3, size, size) uint8: red, green and blue of the square around the gaze; the background is black.

    Parameters
    ----------
    num_envs
        Number of sub-environments N.
    stage
        Part of the task, for a curriculum. ``"fixation"``: `num_trials` fixations, without objects. ``"choice"``: one
        trial; with `wrong_reward` -1 its choice has mean reward 0, so give 0 to reward choosing. ``"full"``:
        `num_trials` trials.
    size
        Height and width of the retina in pixels, a multiple of 6, 12 to 96.
    num_objects
        Number of objects, 4 to 1,000,000; half of them are held out.
    num_trials
        Trials of an episode, >= 1; not of the stage "choice".
    wrong_reward
        Reward of the choice of the other object, in [-1, 0].
    split
        ``"train"`` or ``"held-out"``: objects that tasks have when no split is named.
    max_episode_steps
        Steps after which an episode is truncated; ``None``: no limit.
    render_mode
        ``"rgb_array"`` for pictures.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        **MetaVectorEnv.metadata,
        "render_modes": ["rgb_array"],
        "render_fps": 4,
    }
    object_place = 2
    gaze_limit = 3
    held_out_every = 2

    def __init__(
        self,
        num_envs: int = 1,
        *,
        stage: Literal["fixation", "choice", "full"] = "full",
        size: int = 24,
        num_objects: int = 2000,
        num_trials: int = 6,
        wrong_reward: float = -1.0,
        split: Literal["train", "held-out"] = "train",
        max_episode_steps: int | None = 250,
        render_mode: str | None = None,
    ) -> None:
        if stage not in STAGES:
            raise ValueError(f"stage: got {stage!r}, expected one of {', '.join(map(repr, STAGES))}")
        if size not in range(12, 97, RETINA_PLACES):
            raise ValueError(f"size: got {size}, expected a multiple of {RETINA_PLACES} from 12 to 96")
        if num_objects > _MOST_OBJECTS:
            raise ValueError(f"num_objects: got {num_objects}, expected at most {_MOST_OBJECTS}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode: got {render_mode!r}, expected 'rgb_array' or None")
        trials = 1 if stage == "choice" else num_trials
        super().__init__(
            num_envs,
            gym.spaces.Box(0, 255, (3, size, size), np.uint8),
            3,
            num_objects=num_objects,
            split=split,
            course=Course(trials, choosing=stage != "fixation", wrong_reward=wrong_reward),
            max_episode_steps=max_episode_steps,
        )
        self.stage, self.size, self.render_mode = stage, size, render_mode
        self._step_size = size // RETINA_PLACES
        self._scene_width = size + 2 * self.gaze_limit * self._step_size
        self._retinas = self._views(_cross_scene(size, self._scene_width))
        """Retinas (1 + 2 * gaze_limit, 3, size, size) with the mark, from the leftmost gaze to the rightmost."""
        self._seen = np.zeros((num_envs, 3, size, size), np.uint8)
        """Observations, written over at every step: memory that is new each time takes four times as long."""
        self._stripes = np.zeros((num_envs, 2, 3, size // 3, self._scene_width), np.uint8)
        """Rows of the scenes in which objects stand; [:, 0] with the first object left, [:, 1] right."""
        self._stripe_views = np.lib.stride_tricks.sliding_window_view(self._stripes, size, axis=-1)

    def _apply_tasks(self, tasks: Any) -> None:
        super()._apply_tasks(tasks)
        if not self.course.choosing:
            return
        numbers, places = np.unique(self._objects, return_inverse=True)
        images = object_images(numbers, self.size // 3)[places.reshape(-1, 2)]  # (N, 2, 3, h, h)
        for index, sign in enumerate((-1, 1)):
            for first, side in ((0, sign), (1, -sign)):
                start = self._start_of(side * self.object_place) + self.size // 3
                self._stripes[:, index, :, :, start : start + self.size // 3] = images[:, first]

    def _observe(self) -> np.ndarray:
        observations = self._seen  # (N, 3, size, size)
        np.take(self._retinas, self._gaze + self.gaze_limit, axis=0, out=observations, mode="clip")
        rows = np.flatnonzero(~self._fixating)
        if len(rows):
            observations[rows] = 0
            top, starts = self.size // 3, self._start_of(self._gaze[rows])
            observations[rows, :, top : 2 * top] = self._stripe_views[rows, self._first_is_right(rows), :, :, starts]
        return observations

    def _first_is_right(self, rows: np.ndarray) -> np.ndarray:
        """(K,): 1 where the first object stands on the right in the present trial, else 0."""
        return (self.object_sides[rows, 0] > 0).astype(np.int64)

    def _start_of(self, gaze: Any) -> Any:
        """First column of the scene that is seen from a place of the gaze."""
        return (gaze + self.gaze_limit) * self._step_size

    def _views(self, scene: np.ndarray) -> np.ndarray:
        """Retinas (G, 3, size, size) at a scene (3, size, W), from each place of the gaze from left to right."""
        places = range(-self.gaze_limit, self.gaze_limit + 1)
        return np.stack([scene[..., start : start + self.size] for start in map(self._start_of, places)])

    def render(self) -> tuple[np.ndarray, ...]:
        """One picture (180, 240, 3) uint8 per sub-environment: scene, retina and gaze in it, outcomes of trials."""
        if self.render_mode is None:
            raise ValueError("render: got render_mode None, expected 'rgb_array'; pass it to make")
        scenes = np.repeat(_cross_scene(self.size, self._scene_width)[None], self.num_envs, axis=0)
        rows = np.flatnonzero(~self._fixating)
        scenes[rows] = 0
        scenes[rows, :, self.size // 3 : 2 * (self.size // 3)] = self._stripes[rows, self._first_is_right(rows)]
        return tuple(
            draw_scene(scene, start=start, outcomes=outcomes)
            for scene, start, outcomes in zip(scenes, self._start_of(self._gaze), self._outcomes, strict=True)
        )


def _cross_scene(size: int, width: int) -> np.ndarray:
    """Scene (3, size, width) uint8, black but for a white cross in its middle."""
    scene = np.zeros((3, size, width), np.uint8)
    arm, half = size // RETINA_PLACES, max(1, size // 24)
    row, column = size // 2, width // 2
    scene[:, row - half : row + half, column - arm : column + arm] = _WHITE
    scene[:, row - arm : row + arm, column - half : column + half] = _WHITE
    return scene
