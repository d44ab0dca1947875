"""Pendulums, food and a cart with a hidden target: dynamics against independent derivations, and what rewards tell."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian, jacobian

from maml_rl.envs import MetaEpisodeVectorEnv, make_meta_env, make_tensor_env
from maml_rl.envs.control.double_pendulum import Arms, Moments, motion
from maml_rl.tests.test_hidden_tasks import FAMILIES, random_actions, roll_out, streams, tensors
from maml_rl.utils.random import Purpose, generator


def begun(name, tasks, seed=0, num_individuals=1, **kwargs) -> tuple[Any, torch.Tensor]:
    """An environment with a life for each task, and its first observations."""
    env = tensors(name, len(tasks), num_individuals, **kwargs)
    env.set_tasks([{**env.default_task(), **task} for task in tasks])
    return env, env.reset(options={"rngs": streams(len(tasks), seed)})[0]


@pytest.mark.parametrize("start", ["hanging", "uniform"])
def test_the_pendulum_moves_as_gymnasiums(start):
    tasks = [{}, {"gravity": 9.0}, {"length": 0.8, "mass": 1.2, "gravity": 10.0}]
    tasks[2]["torque_ratio"] = 2.0 / (1.2 * 10.0 * 0.8 / 2)
    tasks[1]["torque_ratio"] = 2.0 / 4.5
    env, observations = begun("PendulumSwingUp-v0", tasks, start=start)
    singles: list[Any] = [gym.make("Pendulum-v1").unwrapped for _ in tasks]
    for single, task, seen in zip(singles, tasks, observations[0].numpy(), strict=True):
        single.reset(seed=0)
        single.g, single.l, single.m = task.get("gravity", 10.0), task.get("length", 1.0), task.get("mass", 1.0)
        single.state = np.array([math.atan2(seen[1], seen[0]), 8.0 * seen[2]])
    for action in random_actions(env, 150):
        observations, *_ = env.step(1.5 * action)  # some beyond the bounds
        for single, seen, own in zip(singles, observations[0].numpy(), action[0].numpy(), strict=True):
            single.step(3.0 * own)
            angle, spin = single.state
            np.testing.assert_allclose(seen, [math.cos(angle), math.sin(angle), spin / 8], rtol=0, atol=1e-9)


def test_a_pendulum_of_another_mass_has_gymnasiums_motor():
    """Whatever the mass, a full action is a torque of 2 N m; nothing else differs between tasks."""
    env = tensors("PendulumMass-v0", 4)
    tasks = env.sample_tasks(4, generator(0, Purpose.TASKS))
    assert {tuple(task[key] for key in ("length", "gravity", "sign", "target")) for task in tasks} == {(1, 10, 1, 0)}
    env.set_tasks(tasks)
    observations = env.reset(options={"rngs": streams(4, 0)})[0]
    singles: list[Any] = [gym.make("Pendulum-v1").unwrapped for _ in tasks]
    for single, task, seen in zip(singles, tasks, observations[0].numpy(), strict=True):
        single.reset(seed=0)
        single.m = task["mass"]
        single.state = np.array([math.atan2(seen[1], seen[0]), 8.0 * seen[2]])
    for action in random_actions(env, 50):
        observations, *_ = env.step(action)
        for single, seen, own in zip(singles, observations[0].numpy(), action[0].numpy(), strict=True):
            single.step(2.0 * own)
            angle, spin = single.state
            np.testing.assert_allclose(seen, [math.cos(angle), math.sin(angle), spin / 8], rtol=0, atol=1e-9)


def test_the_pendulums_reward_is_its_nearness_to_the_target_less_the_cost_of_its_action():
    targets = [0.0, 1.0, -2.5, math.pi]
    env, first = begun("PendulumSwingUp-v0", [{"target": t} for t in targets], start="uniform", torque_cost=0.1)
    env.reset(options={"rngs": [np.random.default_rng(0) for _ in targets]})  # all alike
    reached = torch.zeros(4, dtype=torch.float64)
    for step, action in enumerate(random_actions(env, 120)[:, :, :1].expand(-1, -1, 4, -1), 1):
        observations, rewards, terminated, _, info = env.step(action)
        assert torch.equal(observations, observations[:, :1].expand_as(observations))  # the target is not seen
        angle = torch.atan2(observations[0, :, 1], observations[0, :, 0])
        nearness = torch.cos(angle - torch.tensor(targets, dtype=torch.float64))
        torch.testing.assert_close(rewards[0], nearness - 0.1 * action[0, :, 0] ** 2)
        reached += nearness > 0.95
        torch.testing.assert_close(info["at_target"][0], reached / step)
        assert not terminated.any()
    assert first.shape == (1, 4, 3)
    assert reached.any()


@pytest.mark.parametrize("length", [7, 40])
def test_late_steps_at_the_target_are_those_of_the_second_half(length):
    env, _ = begun("PendulumSwingUp-v0", [{"target": t} for t in (0.0, 2.0)], start="uniform", max_episode_steps=length)
    reached = []
    for action in random_actions(env, length)[:, :, :2]:
        observations, *_, info = env.step(action)
        angle = torch.atan2(observations[0, :, 1], observations[0, :, 0])
        reached.append(torch.cos(angle - torch.tensor([0.0, 2.0], dtype=torch.float64)) > 0.95)
    late = torch.stack(reached)[length // 2 :].double().mean(0)
    torch.testing.assert_close(info["at_target_late"][0], late)


def test_targets_are_drawn_from_their_set():
    def drawn(angles):
        env = make_tensor_env("PendulumSwingUp-v0", (1, 1), {"target_angles": angles})
        return np.array([task["target"] for task in env.sample_tasks(2000, generator(0, Purpose.TASKS))])

    assert not drawn("upright").any()
    assert set(drawn("two")) == {0.0, math.pi}
    assert (drawn("two") == 0).mean() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(
        np.quantile(drawn("circle"), [0, 0.25, 0.5, 1]), [-math.pi, -math.pi / 2, 0, math.pi], atol=0.2
    )


@pytest.mark.parametrize("name", ["PendulumSwingUp-v0", "DoublePendulum-v0", "FoodWorld-v0"])
def test_a_flipped_motor_pushes_the_other_way(name):
    env = tensors(name, 1)
    actions = random_actions(env, 20)
    ways = [roll_out(env, [{**env.default_task(), "sign": sign}], sign * actions) for sign in (1, -1)]
    for one, other in zip(*ways, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["PendulumSwingUp-v0", "DoublePendulum-v0"])
def test_pendulums_begin_hanging_or_anywhere(name):
    hanging, anywhere = (begun(name, [{}] * 200, start=start)[1][0] for start in ("hanging", "uniform"))
    assert (hanging[:, 0] < -0.99).all()
    assert (hanging[:, -1].abs() <= 0.1 / 8).all()
    assert hanging[:, 1].min() < -0.05 < 0.05 < hanging[:, 1].max()
    assert anywhere[:, 0].min() < -0.9 < 0.9 < anywhere[:, 0].max()


def arms(rng, shape=()):
    return Arms(*torch.from_numpy(rng.uniform(0.3, 2.0, (5, *shape))))


def energies(angles, spins, arms):
    """Kinetic and potential energy, from the places of the masses alone; angles and spins (2, ...)."""
    velocity_1 = arms.length_1 * spins[0] * torch.stack([-torch.cos(angles[0]), -torch.sin(angles[0])])
    velocity_2 = velocity_1 + arms.length_2 * spins[1] * torch.stack([-torch.cos(angles[1]), -torch.sin(angles[1])])
    kinetic = arms.mass_1 * velocity_1.square().sum(0) / 2 + arms.mass_2 * velocity_2.square().sum(0) / 2
    height_1 = arms.length_1 * torch.cos(angles[0])
    height_2 = height_1 + arms.length_2 * torch.cos(angles[1])
    return kinetic, arms.gravity * (arms.mass_1 * height_1 + arms.mass_2 * height_2)


def lagrangian(angles, spins, arms):
    kinetic, potential = energies(angles, spins, arms)
    return kinetic - potential


@pytest.mark.parametrize("seed", range(5))
def test_the_double_pendulum_obeys_the_equations_of_euler_and_lagrange(seed):
    rng = np.random.default_rng(seed)
    state, own = torch.from_numpy(rng.normal(0, 2, 4)), arms(rng)
    torque, damping = torch.tensor(rng.normal(), dtype=torch.float64), float(rng.uniform(0, 0.5))
    angles, spins = state[:2], state[2:]
    mass = hessian(lambda s: lagrangian(angles, s, own), spins)
    momentum_change = jacobian(lambda a: jacobian(lambda s: lagrangian(a, s, own), spins, create_graph=True), angles)
    slope = jacobian(lambda a: lagrangian(a, spins, own), angles)
    bend = damping * (spins[0] - spins[1])
    forces = torch.stack([torque - damping * spins[0] - bend, bend])
    expected = torch.linalg.solve(mass, slope + forces - momentum_change @ spins)
    torch.testing.assert_close(motion(state, Moments.of(own), torque, damping), torch.cat([spins, expected]))


@pytest.mark.parametrize("damping", [0.0, 0.2])
def test_the_double_pendulum_keeps_its_energy_and_damping_takes_it(damping):
    task = {"length_1": 0.8, "length_2": 1.1, "mass_1": 1.3, "mass_2": 0.6, "gravity": 9.8}
    env, _ = begun("DoublePendulum-v0", [task] * 6, start="uniform", num_substeps=25, damping=damping)
    own = Arms(*(torch.tensor(value, dtype=torch.float64) for value in task.values()))

    def energy():
        state = env._state[0].T  # (S, L)
        return sum(energies(state[:2], state[2:4], own))

    measured = [energy()]
    for _ in range(200):  # 10 s
        _, rewards, *_ = env.step(torch.zeros(1, 6, 1, dtype=torch.float64))
        assert (rewards.abs() <= 1).all()
        measured.append(energy())
    whole = torch.stack(measured)
    if damping:
        assert (whole.diff(dim=0) <= 1e-9).all()
        assert (whole[-1] < whole[0] - 0.1).all()
    else:
        assert ((whole - whole[0]).abs() / whole[0].abs()).max() < 1e-5


def test_the_double_pendulums_reward_is_the_height_of_its_tip():
    env, _ = begun("DoublePendulum-v0", [{"length_1": 0.5, "length_2": 1.5}] * 80, start="uniform")
    reached = torch.zeros(1, 80, dtype=torch.float64)
    for step, action in enumerate(random_actions(env, 40), 1):
        seen, rewards, _, _, info = env.step(action)
        height = (0.5 * seen[..., 0] + 1.5 * seen[..., 2]) / 2.0
        torch.testing.assert_close(rewards, height)
        reached += height > 0.9
        torch.testing.assert_close(info["at_top"], reached / step)
    assert reached.any()


def test_without_force_and_drag_a_point_keeps_its_speed_and_walls_mirror_it():
    env, _ = begun("FoodWorld-v0", [{"drag": 0.0, "force": 40.0}] * 8, distance_reward=0.0)
    env.step(torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (1, 8, 2))))
    speeds, places = [], []
    for _ in range(150):
        seen, *_ = env.step(torch.zeros(1, 8, 2, dtype=torch.float64))
        speeds.append(seen[..., 2:4].norm(dim=-1))
        places.append(seen[..., :2])
    assert torch.stack(speeds).std(dim=0).max() < 1e-12
    assert torch.stack(places).abs().max() <= 1
    assert (torch.stack(places).amax(dim=0) > 0.9).any()
    assert speeds[0].min() > 0


def chase(env, seen):
    """Actions that go to the food, as far as its place tells."""
    return torch.sign(seen[..., 4:6] - 0.3 * seen[..., 2:4])


@pytest.mark.parametrize("sparse", [False, True])
def test_food_pays_for_coming_nearer_and_for_eating_but_never_for_its_jump(sparse):
    tasks = [{"reward_sign": sign} for sign in (1, -1)]
    env, _ = begun("FoodWorld-v0", tasks, sparse=sparse)
    seen, _ = env.reset(options={"rngs": [np.random.default_rng(0) for _ in tasks]})
    eaten, meals = torch.zeros(1, 2, dtype=torch.float64), 0
    for _ in range(200):
        after, rewards, _, _, info = env.step(chase(env, seen))
        meal = info["eaten"] > eaten
        old_food = seen[..., :2] + seen[..., 4:6]
        nearer = seen[..., 6] - (after[..., :2] - old_food).norm(dim=-1)
        scale = 0.0 if sparse else 0.3
        torch.testing.assert_close(rewards, torch.tensor([[1.0, -1.0]]) * (scale * nearer + 1.0 * meal))
        if bool(meal[0, 0]):  # eating pays more than any jump in distance would cost
            assert rewards[0, 0] > 0.3 * 2 * math.sqrt(2)
            assert rewards[0, 1] < -0.3 * 2 * math.sqrt(2)
            assert (after[0, 0, 4:6] + after[0, 0, :2]).abs().max() <= 1
            meals += 1
        assert torch.equal(after[:, 0], after[:, 1])  # poison is not seen
        seen, eaten = after, info["eaten"]
    assert meals == int(eaten[0, 0]) >= 5


def test_the_next_food_is_the_same_for_all_individuals_whenever_they_come_to_it():
    env, seen = begun("FoodWorld-v0", [{}], num_individuals=2, max_episode_steps=120)
    foods: list[list[list[float]]] = [[], []]
    eaten = torch.zeros(2, 1, dtype=torch.float64)
    for step in range(240):
        if step == 120:
            seen, _ = env.reset(options={"reset_mask": env.finished})
            eaten = torch.zeros_like(eaten)
        actions = chase(env, seen)
        actions[1] *= step % 2  # the second one is slower
        seen, _, _, _, info = env.step(actions)
        for index in range(2):
            if bool(info["eaten"][index] > eaten[index]):
                foods[index].append((seen[index, 0, :2] + seen[index, 0, 4:6]).tolist())
        eaten = info["eaten"]
    common = min(map(len, foods))
    assert 4 <= common < max(map(len, foods))
    np.testing.assert_allclose(foods[0][:common], foods[1][:common], atol=1e-12)
    assert len({tuple(np.round(food, 9)) for food in foods[0]}) == len(foods[0])  # none comes twice in a life


def test_what_was_eaten_is_counted_by_episode_and_passes_bridge_and_meta_episodes():
    env = MetaEpisodeVectorEnv(make_meta_env("FoodWorld-v0", 2, {"max_episode_steps": 80}), 2)
    env.set_tasks([env.default_task()])
    seen, _ = env.reset(seed=0)
    counts = []
    for _ in range(160):
        seen, _, _, _, info = env.step(chase(None, torch.from_numpy(seen)).numpy())
        counts.append(info["eaten"])
    table = np.stack(counts)
    assert (np.diff(table[:80], axis=0) >= 0).all()
    assert (table[79] >= 2).all()
    assert (table[80] <= 1).all()


def test_a_hidden_target_is_told_by_the_cart_poles_reward_alone():
    targets = [-1.0, 0.0, 1.1]
    env, _ = begun("CartPoleControl-v0", [{"target_position": t} for t in targets], target="hidden")
    env.reset(options={"rngs": [np.random.default_rng(0) for _ in targets]})
    for action in random_actions(env, 8)[:, :, :1].expand(-1, -1, 3):
        seen, rewards, *_ = env.step(action)
        assert torch.equal(seen, seen[:, :1].expand_as(seen))
        np.testing.assert_allclose(rewards[0], 1 - np.abs(seen[0, :, 0].numpy() - targets) / 4.8, atol=1e-12)
    drawn = [task["target_position"] for task in env.sample_tasks(500, generator(0, Purpose.TASKS))]
    np.testing.assert_allclose(np.quantile(drawn, [0, 0.5, 1]), [-1.2, 0, 1.2], atol=0.2)
    assert "target_position" not in tensors("CartPoleControl-v0").default_task()


@pytest.mark.parametrize("name", FAMILIES)
def test_pictures_show_the_state_and_change_nothing(name):
    rollouts, films = [], []
    for mode in (None, "rgb_array"):
        env = make_meta_env(name, 2, {"render_mode": mode})
        env.set_tasks(env.sample_tasks(2, generator(0, Purpose.TASKS)))
        env.reset(seed=0)
        env.action_space.seed(0)
        for _ in range(6):
            rollouts.append(env.step(env.action_space.sample())[0])
            if mode:
                films.append(env.render())
    np.testing.assert_array_equal(rollouts[:6], rollouts[6:])
    pictures: Any = np.array(films)
    assert pictures.shape == (6, 2, 240, 240, 3)
    assert pictures.dtype == np.uint8
    assert (pictures[0] != pictures[-1]).any(axis=(1, 2, 3)).all()
    assert env.metadata["render_modes"] == ["rgb_array"]


def test_what_cannot_be_drawn_is_said_in_one_line():
    with pytest.raises(ValueError, match=r"^render: got render_mode None, expected 'rgb_array'; pass it to make$"):
        make_meta_env("FoodWorld-v0").render()
    with pytest.raises(ValueError, match=r"^render: got no episode, expected one; call reset first$"):
        make_meta_env("FoodWorld-v0", 1, {"render_mode": "rgb_array"}).render()


@pytest.mark.parametrize(
    ("name", "env_kwargs", "message"),
    [
        (
            "PendulumSwingUp-v0",
            {"torque_ratio": [0.0, 0.4]},
            r"torque_ratio: got \(0.0, 0.4\), expected 0 < low <= high$",
        ),
        ("PendulumSwingUp-v0", {"torque_cost": -1.0}, r"torque_cost: got -1.0, expected a number >= 0$"),
        ("PendulumSwingUp-v0", {"target_angles": "down"}, r"env-kwargs.target_angles: got 'down', expected "),
        ("DoublePendulum-v0", {"num_substeps": 0}, r"num_substeps: got 0, expected at least 1$"),
        ("DoublePendulum-v0", {"damping": -0.1}, r"damping: got -0.1, expected a number >= 0$"),
        ("FoodWorld-v0", {"poison_probability": 2.0}, r"poison_probability: got 2.0, expected a probability$"),
        ("FoodWorld-v0", {"drag": [-1.0, 1.0]}, r"drag: got \(-1.0, 1.0\), expected 0 <= low <= high$"),
        ("FoodWorld-v0", {"radius": 1.0}, r"radius: got 1.0, expected a number between 0 and 1$"),
        ("CartPoleControl-v0", {"target_position": [0.0, 3.0]}, r"target_position: got \(0.0, 3.0\), expected low <= "),
    ],
)
def test_wrong_keywords_are_named_in_one_line(name, env_kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_meta_env(name, 1, env_kwargs)
