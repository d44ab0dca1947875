"""An agent in Python: load it, adapt it to a task, act.

>>> import maml_rl
>>> agent = maml_rl.load_agent("2d-navigation")
>>> task = agent.sample_tasks(1, seed=1)[0]
>>> adapted = agent.adapt(task, num_steps=1, episodes=2)
>>> adapted.act([0.0, 0.0]).shape
(2,)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch.utils._pytree import tree_map

from maml_rl.algorithms import Algorithm, Evaluation, make_algorithm
from maml_rl.algorithms.algorithm import Mind
from maml_rl.config import load_config
from maml_rl.envs import SingleMetaEnv, Task, make_meta_env
from maml_rl.envs.meta_episode import Before
from maml_rl.episode import RecordedEpisode
from maml_rl.evaluation import evaluate
from maml_rl.policies.params import dtype_of
from maml_rl.utils.errors import InputError
from maml_rl.utils.files import write_atomically
from maml_rl.utils.random import Purpose, generator
from maml_rl.utils.tensor_files import save_tensors
from maml_rl.video import film
from maml_rl.zoo import policy_files

_LONGEST = 100_000
"""Steps after which an episode counts as endless."""


def load_agent(
    path: str | Path, policy: str | Path | None = None, *, index: int = 0, allowed: Sequence[str] = ()
) -> Agent:
    """Load a trained agent.

    Parameters
    ----------
    path
        The folder of a run, the name of an entry of the zoo, or a configuration (.yaml or .json); a name that the zoo
        has not is that of a configuration that comes with the package.
    policy
        The ``policy.th``; ``None``: that of the folder or entry. Of a configuration alone: random weights.
    index
        Which of several agents, where they were trained together.
    allowed
        Names of modules from outside that the configuration may import.

    Raises
    ------
    InputError
        In one line, if something is missing, damaged, or does not fit.
    """
    path, own = policy_files(path)
    policy = own if policy is None else policy
    algorithm = make_algorithm(load_config(path, allowed=allowed, quiet=True))
    if policy is not None:
        algorithm = algorithm.with_policy(policy)
    return Agent(algorithm.individual(index))


class Agent:
    """A meta-trained agent, before or after adaptation to a task.

    Adaptation returns another agent; this one stays as it is. Acting changes its memory alone, and `reset` brings that
    back.

    Parameters
    ----------
    algorithm
        Of one individual, with the parameters of the agent before adaptation.
    mind
        Parameters and memory; ``None``: those before adaptation.
    seed
        Seed of chance in acting, >= 0.

    Attributes
    ----------
    observation_space, action_space
        Spaces of the tasks' environment.
    """

    def __init__(self, algorithm: Algorithm, mind: Mind | None = None, *, seed: int = 1) -> None:
        self.algorithm = algorithm
        self.observation_space = algorithm.task_env.single_observation_space
        self.action_space = algorithm.task_env.single_action_space
        self._seed = seed
        self._rng = generator(seed, Purpose.AGENT_ACTIONS)
        self._start = self._born() if mind is None else mind
        self._mind = _own(self._start)
        self._acted: tuple[np.ndarray, np.ndarray, int] | None = None  # what was shown and done last, episodes over

    def _born(self) -> Mind:
        params = self.algorithm.layout.on("cpu").stack(self.algorithm.initial_parameters())
        return Mind(params, self._initial_state(params))

    def _initial_state(self, params: Any) -> Any:
        policy = self.algorithm.policy
        noise = policy.draw_initial_noise(generator(self._seed, Purpose.AGENT_ACTIONS, task=1), (1, 1))
        drawn = None if noise is None else torch.from_numpy(noise).to(dtype_of(params))
        return policy.initial_state(params, (1, 1), drawn)

    def sample_tasks(self, num_tasks: int, *, seed: int = 1) -> list[Task]:
        """New tasks of the family; with equal seeds those of `evaluate`."""
        return self.algorithm.env.sample_tasks(num_tasks, generator(seed, Purpose.EVALUATION_TASKS))

    def reset(self) -> None:
        """Forget what happened since adaptation, or since the beginning."""
        self._mind = _own(self._start)
        self._acted = None

    def act(self, observation: Any, *, reward: float = 0.0, ended: bool = False) -> Any:
        """Choose an action: a whole number, or an array (*A) within the bounds of the action space.

        Parameters
        ----------
        observation
            (*O), as `observation_space` has them.
        reward
            What the action before has obtained; agents with memory learn from it.
        ended
            Whether the action before has ended an episode: `observation` is then the first one of another.
        """
        shown = self._checked(observation)[np.newaxis]
        before = self._before(reward, ended)
        params, policy = self._mind.params, self.algorithm.policy
        dtype = dtype_of(params)
        observed = torch.from_numpy(self.algorithm.observed(shown, before))[None]
        batch = observed if observed.dtype == torch.uint8 else observed.to(dtype)
        state = self._mind.state
        with torch.no_grad():
            if before is not None and bool(before.ended[0]) and policy.has_memory:
                state = self.algorithm.next_episode(self._mind, batch)
                state = self._initial_state(params) if isinstance(state, tuple) and not state else state
            noise = torch.from_numpy(policy.draw_noise(self._rng, (1, 1))).to(dtype)
            _, sampled, state = policy.act(params, batch, state, noise)
        actions = sampled.numpy()[0]  # (1, *A)
        over = 0 if before is None else int(before.episodes_over[0])
        self._mind = self._mind._replace(state=state, before=before)
        self._acted = (observed.reshape(1, -1).numpy()[:, : shown[0].size], actions, over)
        return self._as_action(actions[0])

    def _before(self, reward: float, ended: bool) -> Before | None:
        if self._acted is None:
            return self._mind.before
        shown, actions, over = self._acted
        last = self._mind.before
        earlier = np.array([np.nan]) if last is None else last.rewards_before_the_next()
        return Before(shown, actions, np.array([float(reward)]), np.array([ended]), np.array([over + ended]), earlier)

    def _checked(self, observation: Any) -> np.ndarray:
        array = np.asarray(observation)
        shape = tuple(self.observation_space.shape or ())
        if array.shape != shape:
            raise InputError(f"observation: got shape {array.shape}, expected {shape} as observation_space has it")
        if not np.isfinite(array).all():
            raise InputError("observation: got NaN or infinity, expected finite numbers; check the environment")
        return array.astype(self.observation_space.dtype)  # a copy: an environment may write into what it has shown

    def _as_action(self, action: np.ndarray) -> Any:
        space = self.action_space
        if isinstance(space, gym.spaces.Box):
            return np.clip(action.reshape(space.shape), space.low, space.high).astype(space.dtype)
        return int(action)

    def adapt(
        self,
        source: Task | gym.Env[Any, Any] | Sequence[RecordedEpisode],
        num_steps: int | None = None,
        *,
        episodes: int | None = None,
        seed: int = 1,
    ) -> Agent:
        """The agent after adaptation: gradient steps (maml) or episodes of experience (rl2, evolution).

        Parameters
        ----------
        source
            A task of the family; an environment of Gymnasium with the same spaces; or episodes that were recorded, as
            `RecordedEpisode` or triples of observations (T, *O), actions (T, *A) and rewards (T,): then each step
            learns from an equal share of them, in order.
        num_steps
            Steps of adaptation, >= 1; ``None``: as many as in training, or one for recorded episodes under maml and one
            an episode else.
        episodes
            Episodes of each step; ``None``: as many as in training.
        seed
            Seed of episodes that are played, >= 0.

        Raises
        ------
        InputError
            In one line, if spaces or shapes do not fit.
        """
        each = self.algorithm.episodes_per_step if episodes is None else episodes
        if num_steps is not None and num_steps < 1:
            raise InputError(f"num_steps: got {num_steps}, expected at least 1")
        if each < 1:
            raise InputError(f"episodes: got {each}, expected at least 1")
        if isinstance(source, Mapping | gym.Env):
            return self._adapted_by_playing(source, num_steps or max(1, self.algorithm.adaptation.trained), each, seed)
        recorded = [self._checked_episode(index, episode) for index, episode in enumerate(source)]
        if not recorded:
            raise InputError("source: got no episodes, expected at least one")
        count = num_steps or (len(recorded) if self.algorithm.episodes_per_step == 1 else 1)
        if count > len(recorded):
            raise InputError(f"num_steps: got {count}, expected at most one an episode, {len(recorded)}")
        mind = _own(self._start)
        for part in np.array_split(np.arange(len(recorded)), count):
            mind = self._with_state(self.algorithm.learned(mind, [recorded[i] for i in part]))
        return Agent(self.algorithm, mind, seed=self._seed)

    def _adapted_by_playing(self, source: Task | gym.Env[Any, Any], num_steps: int, each: int, seed: int) -> Agent:
        env, own = (source, False) if isinstance(source, gym.Env) else (self._env_of(source), True)
        try:
            self._check_spaces(env)
            mind = _own(self._start)
            for step in range(num_steps):
                agent = Agent(self.algorithm, mind, seed=seed)
                played: list[RecordedEpisode] = []
                for index in range(each):
                    played.append(agent._play(env, seed, step, index, played[-1] if played else None))
                mind = self._with_state(self.algorithm.learned(mind, played))
        finally:
            if own:
                env.close()
        return Agent(self.algorithm, mind, seed=self._seed)

    def _with_state(self, mind: Mind) -> Mind:
        empty = isinstance(mind.state, tuple) and not mind.state
        return mind._replace(state=self._initial_state(mind.params)) if empty else mind

    def _env_of(self, task: Task) -> SingleMetaEnv:
        config = self.algorithm.config
        env = SingleMetaEnv(make_meta_env(config.env_name, 1, config.env_kwargs))
        env.set_task(task)
        return env

    def _check_spaces(self, env: gym.Env[Any, Any]) -> None:
        for name in ("observation_space", "action_space"):
            mine, theirs = getattr(self, name), getattr(env, name)
            same = type(mine) is type(theirs) and mine.shape == theirs.shape
            if not same or getattr(mine, "n", None) != getattr(theirs, "n", None):
                raise InputError(f"{name}: got {theirs}, expected {mine}; wrap the environment")

    def _play(
        self, env: gym.Env[Any, Any], seed: int, step: int, index: int, before: RecordedEpisode | None
    ) -> RecordedEpisode:
        """One episode after the one `before` of the same step; memory goes on where it does in training."""
        drawn = generator(seed, Purpose.EVALUATION_ENVIRONMENT, inner_step=step, task=index)
        self._rng = generator(seed, Purpose.EVALUATION_ACTIONS, inner_step=step, task=index)
        observation, _ = env.reset(seed=int(drawn.integers(2**31)))
        rows: list[tuple[np.ndarray, Any, float]] = []
        reward, ended, over = (0.0, False, False) if before is None else (float(before.rewards[-1]), True, False)
        while not over:
            action = self.act(observation, reward=reward, ended=ended)
            following, obtained, terminated, truncated, _ = env.step(action)
            assert self._acted is not None
            rows.append((self._checked(observation), self._acted[1][0], float(obtained)))
            observation, reward, ended, over = following, float(obtained), False, bool(terminated or truncated)
            if len(rows) >= _LONGEST:
                raise InputError(
                    f"environment: got an episode of {_LONGEST} steps, expected an end; wrap it in TimeLimit"
                )
        return RecordedEpisode(*(np.array(column) for column in zip(*rows, strict=True)))

    def _checked_episode(self, index: int, episode: Sequence[Any]) -> RecordedEpisode:
        if len(episode) != len(RecordedEpisode._fields):
            raise InputError(f"episode {index}: got {len(episode)} parts, expected observations, actions and rewards")
        observations, actions, rewards = (np.asarray(part) for part in episode)
        length = len(rewards) if rewards.ndim == 1 else 0
        shapes = (
            (length, *(self.observation_space.shape or ())),
            (length, *(self.action_space.shape or ())),
            (length,),
        )
        for name, array, shape in zip(RecordedEpisode._fields, (observations, actions, rewards), shapes, strict=True):
            if length == 0 or array.shape != shape or not np.isfinite(array).all():
                expected = f"{shape} finite numbers" if length else "at least one step, as many of each"
                raise InputError(f"episode {index}: {name}: got shape {array.shape}, expected {expected}")
        if (
            isinstance(self.action_space, gym.spaces.Discrete)
            and not np.isin(actions, range(self.action_space.n)).all()
        ):
            raise InputError(f"episode {index}: actions: expected whole numbers in [0, {self.action_space.n - 1}]")
        shown = observations.astype(self.observation_space.dtype, copy=False)
        kind = np.int64 if isinstance(self.action_space, gym.spaces.Discrete) else np.float64
        return RecordedEpisode(shown, actions.astype(kind), rewards.astype(np.float64))

    def evaluate(self, num_tasks: int = 40, *, num_steps: int | None = None, seed: int = 1) -> Evaluation:
        """Returns on new tasks after 0 ... K steps of adaptation, from the agent as it was trained."""
        steps = self.algorithm.adaptation.trained if num_steps is None else num_steps
        return evaluate(
            self.algorithm,
            self.algorithm.initial_parameters(),
            num_batches=1,
            meta_batch_size=num_tasks,
            num_adaptation_steps=steps,
            seed=seed,
        )

    def save(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``policy.th``, from which `load_agent` makes the agent as it was trained."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.algorithm.config.to_json_dict(), indent=2) + "\n"
        write_atomically(folder / "config.json", lambda file: file.write_text(text, encoding="utf-8"))
        save_tensors(folder / "policy.th", self.algorithm.state_dict(self.algorithm.initial_parameters()))

    def film(self, path: str | Path, *, seed: int = 1, tasks: Sequence[Task] | None = None) -> None:
        """Film the agent, as it was trained, before and after adaptation, as .gif or .mp4; see `maml_rl.video.film`."""
        film(self.algorithm, self.algorithm.initial_parameters(), path, seed=seed, tasks=tasks)


def _own(mind: Mind) -> Mind:
    """The same with a state of its own, which a policy may write into."""
    return mind._replace(state=tree_map(torch.clone, mind.state))
