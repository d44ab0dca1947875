"""Tensor families: common lives for all individuals, and the same dynamics behind arrays and tensors."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from maml_rl.envs import MetaEpisodeVectorEnv, UnknownEnvironmentError, check_meta_env, make_meta_env, make_tensor_env
from maml_rl.envs.control.cart_pole import CartPoleControl
from maml_rl.envs.life_draws import Draw, LifeDraws
from maml_rl.envs.tensor_bridge import TensorBridgeVectorEnv
from maml_rl.utils.random import Purpose, generator

LIVES = 5
GYMNASIUMS_NAMES = {"pole_mass": "masspole", "cart_mass": "masscart", "force": "force_mag"}


class NoisyCartPole(CartPoleControl):
    """The cart is pushed at random too, and the pole's angle is measured."""

    noise = Draw("normal", ())
    measures: tuple[str, ...] = ("angle", "upright")

    def _advance(self, state, actions, noise):
        after, rewards, terminated = super()._advance(state, actions, noise)
        return after + 0.02 * noise[..., None], rewards + noise, terminated

    def _measure(self, state):
        return {"angle": state[..., 2].abs(), "upright": state[..., 2].abs() < 0.1}


def streams(num_lives=LIVES, seed=0):
    return [generator(seed, Purpose.ENVIRONMENT, task=life) for life in range(num_lives)]


def roll_out(env, actions, *, seed=0, restart=True):
    """(T, P, L, ...) of an environment whose sub-environments begin again when they end; actions (T, P, L)."""
    env.set_tasks(env.sample_tasks(env.num_lives, generator(seed, Purpose.TASKS)))
    observations, _ = env.reset(options={"rngs": streams(env.num_lives, seed)})
    columns: list[Any] = [[observations], [], []]
    for action in actions:
        observations, rewards, *_ = env.step(action)
        if restart and bool(env.finished.any()):
            observations, _ = env.reset(options={"reset_mask": env.finished})
        for column, value in zip(columns, (observations, rewards, env.finished), strict=True):
            column.append(value)
    return [torch.stack(column) for column in columns]


def random_actions(num_steps, num_individuals, num_lives=LIVES):
    return torch.from_numpy(np.random.default_rng(1).integers(2, size=(num_steps, num_individuals, num_lives)))


@pytest.mark.parametrize(
    "task",
    [{}, {"length": 0.8, "pole_mass": 0.3, "cart_mass": 0.7, "gravity": 12.0, "force": 7.0}],
    ids=["default", "another"],
)
def test_the_cart_pole_moves_as_gymnasiums(task):
    env = CartPoleControl(2, 3, dtype=torch.float64)
    env.set_tasks([env.default_task() | task])
    states, _ = env.reset(options={"rngs": streams(3)})
    actions = random_actions(60, 2, 3)
    singles: Any = [gym.make("CartPole-v1").unwrapped for _ in range(6)]
    for single, state in zip(singles, states.reshape(6, 4).numpy(), strict=True):
        single.reset(seed=0)
        for name, value in task.items():
            setattr(single, GYMNASIUMS_NAMES.get(name, name), value)
        single.total_mass, single.polemass_length = single.masspole + single.masscart, single.masspole * single.length
        single.state = state
    running = np.ones(6, dtype=bool)
    for action in actions:
        states, rewards, terminated, truncated, _ = env.step(action)
        for index, single in enumerate(singles):
            flat = [values.reshape(6, -1)[index].numpy() for values in (states, rewards, terminated)]
            if running[index]:
                _, reward, ended, _, _ = single.step(int(action.reshape(6)[index]))
                assert flat[1] == reward
                assert flat[2] == ended
                running[index] = not ended
            else:
                assert flat[1] == 0
            np.testing.assert_allclose(flat[0], single.state, rtol=0, atol=1e-6)
    assert not running.all()
    assert not truncated.any()


def test_a_flipped_motor_pushes_the_other_way():
    env = CartPoleControl(1, 2, dtype=torch.float64)
    env.set_tasks([env.default_task(), env.default_task() | {"sign": -1}])
    before, _ = env.reset(options={"rngs": [np.random.default_rng(0), np.random.default_rng(0)]})
    assert torch.equal(before[:, 0], before[:, 1])
    left, right = env.step(torch.tensor([[0, 1]]))[0].unbind(1)
    torch.testing.assert_close(left, right)


def test_a_continuous_action_scales_the_force_and_is_clipped():
    env = CartPoleControl(1, 2, continuous=True, dtype=torch.float64)
    discrete = CartPoleControl(1, 2, dtype=torch.float64)
    results = []
    for one, actions in ((env, torch.tensor([[[3.0], [-1.0]]])), (discrete, torch.tensor([[1, 0]]))):
        one.set_tasks([one.default_task()])
        one.reset(options={"rngs": streams(2)})
        results.append(one.step(actions)[0])
    torch.testing.assert_close(*results)
    assert env.single_action_space == gym.spaces.Box(-1.0, 1.0, (1,), np.float32)


@pytest.mark.parametrize("family", [CartPoleControl, NoisyCartPole])
def test_lives_are_the_same_for_every_individual(family):
    env = family(3, LIVES, dtype=torch.float64)
    actions = random_actions(80, 1).expand(-1, 3, -1)
    for values in roll_out(env, actions):
        assert torch.equal(values, values[:, :1].expand_as(values))


@pytest.mark.parametrize("family", [CartPoleControl, NoisyCartPole])
@pytest.mark.parametrize("chunks", [(7,), (1, 6), (3, 3, 1)])
def test_results_do_not_depend_on_how_the_population_is_cut(family, chunks):
    actions = random_actions(80, 7)
    whole = roll_out(family(7, LIVES, dtype=torch.float64), actions)
    parts = [roll_out(family(len(part[0]), LIVES, dtype=torch.float64), part) for part in actions.split(chunks, dim=1)]
    for together, *apart in zip(whole, *parts, strict=True):
        torch.testing.assert_close(torch.cat(apart, dim=1), together, rtol=0, atol=1e-9)


def test_a_later_episode_begins_alike_for_all_whenever_they_come_to_it():
    env = CartPoleControl(2, LIVES)
    env.set_tasks([env.default_task()])
    first, _ = env.reset(options={"rngs": streams()})
    early, _ = env.reset(options={"reset_mask": torch.tensor([[True], [False]]).expand(2, LIVES)})
    for _ in range(3):
        env.step(torch.ones(2, LIVES))
    late, _ = env.reset(options={"reset_mask": torch.tensor([[False], [True]]).expand(2, LIVES)})
    assert torch.equal(early[0], late[1])
    assert not torch.equal(early[0], first[0])
    assert torch.equal(first[0], first[1])


def test_new_generators_restart_the_lives_that_the_mask_selects_and_no_others():
    actions = random_actions(30, 2)
    mask = torch.zeros(2, LIVES, dtype=torch.bool)
    mask[0, 1] = mask[1, 3] = True
    envs = [NoisyCartPole(2, LIVES, dtype=torch.float64) for _ in range(3)]
    tasks = envs[0].sample_tasks(LIVES, generator(0, Purpose.TASKS))
    for env, seed in zip(envs, (0, 0, 9), strict=True):
        env.set_tasks(tasks)
        env.reset(options={"rngs": streams(seed=seed)})
    undisturbed, disturbed, fresh = envs
    for step, action in enumerate(actions[:20]):
        undisturbed.step(action), disturbed.step(action)
        if step in (3, 7):  # twice: what was restarted before is restarted again
            disturbed.reset(options={"rngs": streams(seed=9), "reset_mask": mask})
    for step, action in enumerate(actions):
        for env in envs[:2]:
            env.reset(options={"reset_mask": env.finished})
        if step == 0:
            disturbed.reset(options={"rngs": streams(seed=9), "reset_mask": mask})
        fresh.reset(options={"reset_mask": fresh.finished})
        one, other, new = (env.step(action)[:2] for env in envs)
        for index in range(2):
            assert torch.equal(other[index][~mask], one[index][~mask])
            assert torch.equal(other[index][mask], new[index][mask])


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_life_restarted_by_the_mask_moves_neither_its_neighbours_nor_their_generators(wrapped):
    episodes: list[np.ndarray] = []
    for disturbed in (False, True):
        env: Any = TensorBridgeVectorEnv(NoisyCartPole(1, 4, max_episode_steps=6, dtype=torch.float64))
        env = MetaEpisodeVectorEnv(env, 3) if wrapped else env
        env.set_tasks(env.sample_tasks(4, generator(0, Purpose.TASKS)))
        env.reset(options={"rngs": streams(4)})
        rows = []
        for step in range(40):
            if disturbed and step in (2, 9):
                again = {} if wrapped else {"rngs": streams(4, seed=step)}
                env.reset(options={"reset_mask": np.array([False, True, False, False]), **again})
            if step == 25:  # the others' next lives, or episodes, begin as if nothing had happened
                env.reset(options={"reset_mask": np.array([True, False, True, True])})
            observations, rewards, *_ = env.step(np.full(4, step % 2))
            rows.append(np.concatenate([observations, rewards[:, None]], axis=1))
        episodes.append(np.stack(rows)[:, [0, 2, 3]])
    np.testing.assert_array_equal(episodes[0], episodes[1])


def test_lives_do_not_depend_on_their_neighbours():
    actions = random_actions(40, 2)
    whole = roll_out(NoisyCartPole(2, LIVES, dtype=torch.float64), actions)
    env = NoisyCartPole(2, 2, dtype=torch.float64)
    env.sample_tasks = lambda num_tasks, rng: CartPoleControl(1, 1).sample_tasks(LIVES, rng)[:num_tasks]  # type: ignore
    for together, alone in zip(whole, roll_out(env, actions[..., :2]), strict=True):
        torch.testing.assert_close(alone, together[:, :, :2], rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_draws_are_those_of_the_generator_however_many_are_needed(kind):
    draws = [LifeDraws(streams(4), 4, Draw(kind, (2,)), torch.zeros((), dtype=torch.float64)) for _ in range(2)]
    events = torch.tensor([[0, 3, 9, 1], [5, 5, 0, 30]])
    expected = draws[0].at(torch.arange(31)[:, None].expand(31, 4))  # (31, L, 2)
    for event in (0, 1, 2, 7):
        assert torch.equal(draws[1].at(torch.full((3, 4), event)), expected[event].expand(3, 4, 2))
    assert torch.equal(draws[1].at(events), expected[events, torch.arange(4)])
    own = [np.random.default_rng(np.random.PCG64(int(rng.integers(2**63)))) for rng in streams(4)]
    numbers = [rng.random((31, 2)) if kind == "uniform" else rng.standard_normal((31, 2)) for rng in own]
    np.testing.assert_array_equal(expected, np.stack(numbers, axis=1))


def test_finished_episodes_stand_still_and_end_once():
    env = NoisyCartPole(2, 3, max_episode_steps=4, dtype=torch.float64)
    env.set_tasks([env.default_task()])
    env.reset(options={"rngs": streams(3)})
    results = [env.step(torch.ones(2, 3)) for _ in range(6)]
    ends = torch.stack([terminated | truncated for _, _, terminated, truncated, _ in results])
    assert (ends.sum(0) == 1).all()
    assert env.finished.all()
    for step in (4, 5):
        assert torch.equal(results[step][0], results[3][0])
        assert not results[step][1].any()
        for name in env.measures:
            assert torch.equal(results[step][4][name], results[3][4][name])


@pytest.mark.parametrize("env_kwargs", [{}, {"continuous": True}])
def test_arrays_and_tensors_are_the_same_episodes(env_kwargs):
    arrays = make_meta_env("CartPoleControl-v0", 4, env_kwargs)
    tensors = make_tensor_env("CartPoleControl-v0", (1, 4), env_kwargs)
    tasks = arrays.sample_tasks(4, generator(0, Purpose.TASKS))
    for env in (arrays, tensors):
        env.set_tasks(tasks)
    observations = arrays.reset(options={"rngs": streams(4)})[0], tensors.reset(options={"rngs": streams(4)})[0]
    np.testing.assert_array_equal(observations[0], observations[1][0])
    arrays.action_space.seed(0)
    for _ in range(50):
        actions = arrays.action_space.sample()
        results = tensors.step(torch.from_numpy(actions)[None])
        for array, tensor in zip(arrays.step(actions)[:4], results[:4], strict=True):
            np.testing.assert_array_equal(array, tensor[0])
    np.testing.assert_array_equal(arrays.finished, tensors.finished[0])


def test_noise_and_measures_pass_through_the_bridge():
    env = TensorBridgeVectorEnv(NoisyCartPole(1, 4))
    check_meta_env(env)
    env.set_tasks([env.default_task()])
    env.reset(seed=0)
    info = env.step(np.ones(4, dtype=np.int64))[4]
    assert {name: (values.shape, values.dtype) for name, values in info.items()} == {
        name: ((4,), np.dtype(np.float64)) for name in ("angle", "upright")
    }


def test_sampled_tasks_lie_in_their_ranges():
    env = make_tensor_env("CartPoleControl-v0", (1, 1), {"length": [0.5, 0.6], "flip_probability": 0.25})
    features = env.task_features(env.sample_tasks(2000, generator(0, Purpose.TASKS)))
    low, high = np.array([[0.5, 0.05, 0.5, 5.0, 5.0], [0.6, 0.5, 2.0, 15.0, 15.0]])
    assert ((features[:, :5] >= low) & (features[:, :5] <= high)).all()
    np.testing.assert_allclose(features[:, :5].mean(axis=0), (low + high) / 2, atol=0.3)
    assert (features[:, 5] == -1).mean() == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize(
    ("env_kwargs", "message"),
    [
        ({"length": [1.0, 0.5]}, r"length: got \(1.0, 0.5\), expected 0 < low <= high$"),
        ({"gravity": 9.8}, r"env-kwargs.gravity: got 9.8, expected two numbers \[low, high\]$"),
        ({"flip_probability": 2.0}, r"flip_probability: got 2.0, expected a probability$"),
        ({"device": "cuda"}, r"env-kwargs: unknown keyword 'device' for CartPoleControl; legal keywords: cart_mass, "),
        ({"num_lives": 3}, r"env-kwargs: unknown keyword 'num_lives' for CartPoleControl"),
    ],
)
@pytest.mark.parametrize(("make", "shape"), [(make_meta_env, 1), (make_tensor_env, (1, 1))])
def test_wrong_keywords_are_named_in_one_line(make, shape, env_kwargs, message):
    with pytest.raises(ValueError, match=message):
        make("CartPoleControl-v0", shape, env_kwargs)


def test_misuse_is_named_in_one_line():
    env = make_tensor_env("CartPoleControl-v0", (2, 3), dtype=torch.float64)
    with pytest.raises(ValueError, match=r"^step: got no episode, expected one; call reset first$"):
        env.step(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"^options\['rngs'\]: got none, expected one generator per life"):
        env.reset()
    with pytest.raises(ValueError, match=r"^options\['rngs'\]: got 2, expected a number that divides num_lives = 3$"):
        env.reset(options={"rngs": streams(2)})
    with pytest.raises(ValueError, match=r"^tasks: got 2, expected a number that divides num_lives = 3$"):
        env.set_tasks([env.default_task()] * 2)
    with pytest.raises(ValueError, match=r"^task: got .*, expected numbers > 0 and a sign of 1 or -1$"):
        env.set_tasks([env.default_task() | {"sign": 0}])
    env.reset(options={"rngs": streams(3)})
    with pytest.raises(ValueError, match=r"\['reset_mask'\]: got torch.bool \(3,\), expected torch.bool \(2, 3\)$"):
        env.reset(options={"reset_mask": torch.ones(3, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r"^actions: got shape \(3, 2\), expected to lead with \(2, 3\), the"):
        env.step(torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"^env: got 2 individuals on cpu, expected 1 on the CPU$"):
        TensorBridgeVectorEnv(env)
    with pytest.raises(ValueError, match=r"^num_individuals: got 0, expected at least 1$"):
        CartPoleControl(0, 1)
    with pytest.raises(UnknownEnvironmentError, match=r"^env-name: 'Bandit-K5-v0' steps arrays, expected a"):
        make_tensor_env("Bandit-K5-v0", (1, 1))


@pytest.mark.gpu
def test_a_device_gives_the_same_lives():
    actions = random_actions(40, 3)
    host = roll_out(NoisyCartPole(3, LIVES, dtype=torch.float64), actions)
    device = roll_out(NoisyCartPole(3, LIVES, dtype=torch.float64, device="cuda"), actions.cuda())
    for one, other in zip(host, device, strict=True):
        assert other.device.type == "cuda"
        torch.testing.assert_close(other.cpu(), one, rtol=0, atol=1e-9)


class MeasuredCartPole(NoisyCartPole):
    """Two measures are means over the steps of an episode."""

    measures = ("angle", "mean_angle", "upright")
    averaged = ("mean_angle", "upright")

    def _measure(self, state):
        values = super()._measure(state)
        return {**values, "mean_angle": values["angle"]}


def test_averaged_measures_are_means_over_the_steps_of_an_episode_so_far():
    env = MeasuredCartPole(2, 3, max_episode_steps=30, dtype=torch.float64)
    env.set_tasks([env.default_task()])
    env.reset(options={"rngs": streams(3)})
    kept: list[list[list[float]]] = [[[] for _ in range(3)] for _ in range(2)]
    lengths: set[int] = set()
    for action in random_actions(90, 2, 3):
        running = ~env.finished
        info = env.step(action)[-1]
        for p, life in np.ndindex(2, 3):
            if running[p, life]:
                kept[p][life].append(float(info["angle"][p, life]))
            angles = np.array(kept[p][life])
            assert float(info["mean_angle"][p, life]) == pytest.approx(angles.mean(), abs=1e-12)
            assert float(info["upright"][p, life]) == pytest.approx((angles < 0.1).mean(), abs=1e-12)
        if len(lengths) < 4 and bool(env.finished[0, 0]):  # one begins again, others stay as they ended
            lengths.add(len(kept[0][0]))
            env.reset(options={"reset_mask": torch.tensor([[True, False, False], [False] * 3])})
            kept[0][0] = []
    assert len(lengths) > 1
    assert bool(env.finished[1].all())


def test_averaged_measures_are_those_of_each_episode_of_a_meta_episode():
    env = MetaEpisodeVectorEnv(TensorBridgeVectorEnv(MeasuredCartPole(1, 4, max_episode_steps=30)), 3)
    env.set_tasks(env.sample_tasks(4, np.random.default_rng(0)))
    env.reset(options={"rngs": streams(4)})
    kept: list[list[float]] = [[] for _ in range(4)]
    ended = 0
    for action in random_actions(90, 1, 4)[:, 0].numpy():
        running = ~env.finished
        info = env.step(action)[-1]
        for life in np.flatnonzero(running):
            kept[life].append(float(info["angle"][life]))
            assert info["mean_angle"][life] == pytest.approx(np.mean(kept[life]), abs=1e-6)
            if info["episode_over"][life]:
                kept[life] = []
                ended += 1
    assert ended >= 8
