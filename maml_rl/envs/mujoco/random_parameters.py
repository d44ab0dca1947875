"""Tasks that change a robot's body instead of what it is rewarded for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from maml_rl.envs.meta_env import Task
from maml_rl.envs.mujoco.mujoco_engine import MujocoVectorEnv

_ARRAYS = {"mass": "body_mass", "inertia": "body_inertia", "damping": "dof_damping", "friction": "geom_friction"}
"""Entries of a task, and the model's arrays that they multiply."""

_LARGEST_LIMIT = 10.0
_DIGITS = 12
"""Decimals of a factor: the last bits of a power depend on the processor, and a task must not."""
_BASES = {"mass": 1.5, "inertia": 1.5, "damping": 1.3, "friction": 1.5}


class RandomParameterTasks(MujocoVectorEnv):
    """Task: ``{"mass", "inertia", "damping", "friction"}``, factors of what the model has.

    A factor for the mass of each body, for each of its three moments of inertia, for the damping of each degree of
    freedom, and for each of the three friction coefficients of each geom, all independent:
    ``1.5 ** u`` with u ~ U(-limit, limit), of damping ``1.3 ** u``, to twelve decimals. These are the families of
    rand_param_envs (github.com/dennisl88/rand_param_envs), which ProMP (Rothfuss et al. 2019) and PEARL (Rakelly et al.
    2019) use. As there, constants that the engine derives from masses when it compiles a model stay those of the
    original.

    The model's arrays are written when the task changes from one robot to the next: tasks of a batch share one model,
    whose memory stays in cache.
    """

    def _set_limit(self, log_scale_limit: float) -> None:
        """Set the largest exponent of a factor, in [0, 10]; before the model is made."""
        if not 0 <= log_scale_limit <= _LARGEST_LIMIT:
            raise ValueError(
                f"log_scale_limit: got {log_scale_limit}, expected a number in [0, {_LARGEST_LIMIT:g}], 3 in the "
                "literature: no engine simulates bodies a thousand times heavier than others"
            )
        self.log_scale_limit = float(log_scale_limit)
        self._bodies = np.zeros(0, dtype=np.int64)

    def default_task(self) -> Task:
        """The model as it is."""
        return {name: np.ones(getattr(self.model, array).shape) for name, array in _ARRAYS.items()}

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw the exponents of all factors uniformly from [-limit, limit]."""
        limit, shapes = self.log_scale_limit, {name: value.shape for name, value in self.default_task().items()}
        return [
            {
                name: np.round(_BASES[name] ** rng.uniform(-limit, limit, shape), _DIGITS)
                for name, shape in shapes.items()
            }
            for _ in range(num_tasks)
        ]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        if not len(self._bodies):
            self._views = [getattr(self.model, array) for array in _ARRAYS.values()]
            self._originals = [view.copy() for view in self._views]
        kinds: list[Task] = []
        bodies = []
        for task in tasks:  # the robots of a task follow one another
            if not kinds or task is not kinds[-1]:
                kinds.append(task)
            bodies.append(len(kinds) - 1)
        self._values = [self._scaled(task) for task in kinds]
        self._bodies = np.array(bodies)

    def _scaled(self, task: Task) -> list[np.ndarray]:
        """Values of the model's arrays for a task."""
        scaled = []
        for name, original in zip(_ARRAYS, self._originals, strict=True):
            factors = np.asarray(task[name], dtype=np.float64)
            if factors.shape != original.shape:
                raise ValueError(f"task[{name!r}]: got shape {factors.shape}, expected {original.shape}")
            wrong = factors[~(np.isfinite(factors) & (factors >= 0))]
            if len(wrong):
                raise ValueError(f"task[{name!r}]: got a factor of {wrong[0]}, expected finite factors >= 0")
            scaled.append(factors * original)
        return scaled

    def _groups(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        bodies = self._bodies[indices]
        for group in np.split(indices, np.flatnonzero(np.diff(bodies)) + 1):
            if not len(group):
                return
            for view, values in zip(self._views, self._values[self._bodies[group[0]]], strict=True):
                view[...] = values
            yield group
