"""Modes of Atari games: the emulator is the oracle."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("ale_py")

from ale_py import Action, ALEInterface, LoggerMode, roms
from PIL import Image

from maml_rl.algorithms import make_algorithm
from maml_rl.config import load_config
from maml_rl.envs import EnvironmentArgumentError, atari_emulator, check_meta_env, make_meta_env
from maml_rl.envs.atari import AtariModesVectorEnv
from maml_rl.policies import registered_policies
from maml_rl.samplers import SerialBackend
from maml_rl.tests.builders import NEED_REWARDS
from maml_rl.tests.sampling import started
from maml_rl.utils.random import Purpose, generator
from maml_rl.video import film, task_words

ROOT = Path(__file__).resolve().parents[2]

GAMES = {"SpaceInvadersModes-v0": "space_invaders", "DemonAttackModes-v0": "demon_attack"}
TASK = {"mode": 1, "difficulty": 0}


def emulator(game, mode=None, difficulty=0):
    """A plain emulator with the rom, begun in this mode."""
    ALEInterface.setLoggerMode(LoggerMode.Error)
    ale = ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    ale.setInt("random_seed", 0)
    path = roms.get_rom_path(game)
    assert path is not None
    ale.loadROM(path)
    if mode is not None:
        ale.setDifficulty(difficulty)
        if game == "space_invaders":
            ale.setMode(mode)
        ale.reset_game()
        if game == "demon_attack":
            ale.setRAM(0x6A, mode)
    return ale


def play(env, tasks, actions, seed=0):
    """Observations (T + 1, N, ...), rewards (T, N) and ends (T, N) of these actions (T, N)."""
    env.set_tasks(tasks)
    observations, _ = env.reset(seed=seed)
    rows, rewards, ends = [observations], [], []
    for row in actions:
        observations, reward, terminated, _, _ = env.step(row)
        rows.append(observations)
        rewards.append(reward)
        ends.append(terminated)
    return np.stack(rows), np.stack(rewards), np.stack(ends)


def some_actions(num_steps, num_envs):
    return generator(0, Purpose.ACTIONS).integers(0, 6, (num_steps, num_envs))


@pytest.mark.parametrize("env_name", GAMES)
def test_an_episode_is_the_emulator_s_own(env_name):
    env = make_meta_env(env_name, 2, {"sticky_actions": 0.0})
    pairs = [(1, 1), (5, 0)]
    tasks = [dict(zip(("mode", "difficulty"), pair, strict=True)) for pair in pairs]
    actions = some_actions(150, 2)
    observations, rewards, _ = play(env, tasks, actions)
    for index, pair in enumerate(pairs):
        ale = emulator(GAMES[env_name], *pair)
        legal = ale.getMinimalActionSet()
        np.testing.assert_array_equal(observations[0, index], ale.getRAM())
        for step, action in enumerate(actions[:, index]):
            paid = sum(ale.act(legal[action]) for _ in range(4))
            assert rewards[step, index] == paid
            np.testing.assert_array_equal(observations[step + 1, index], ale.getRAM())
    assert rewards.sum() > 0


@pytest.mark.parametrize("env_name", GAMES)
def test_legal_tasks_are_the_cartridge_s_and_differ(env_name):
    ale = emulator(GAMES[env_name])
    modes, difficulties = ale.getAvailableModes(), ale.getAvailableDifficulties()
    env = make_meta_env(env_name, 1, {"split": "all"})
    assert isinstance(env, AtariModesVectorEnv)
    assert env.task_pairs == [(mode, difficulty) for mode in modes for difficulty in difficulties]
    together = make_meta_env(env_name, len(modes), {"split": "all", "sticky_actions": 0.0})
    tasks = [{"mode": mode, "difficulty": 0} for mode in modes]
    actions = np.repeat(some_actions(40, 1), len(tasks), axis=1)
    observations, _, _ = play(together, tasks, actions)
    assert len({observations[:, index].tobytes() for index in range(len(tasks))}) == len(tasks)
    harder = [{"mode": 1, "difficulty": difficulty} for difficulty in difficulties]
    observations, _, _ = play(make_meta_env(env_name, 2, {"sticky_actions": 0.0}), harder, actions[:, :2])
    assert not np.array_equal(observations[:, 0], observations[:, 1])


@pytest.mark.parametrize("env_name", GAMES)
def test_held_out_modes_are_never_sampled_in_training(env_name):
    splits = {}
    for split in ("train", "held-out", "all"):
        env = make_meta_env(env_name, 1, {"split": split})
        assert isinstance(env, AtariModesVectorEnv)
        tasks = env.sample_tasks(400, generator(1, Purpose.TASKS))
        splits[split] = {(task["mode"], task["difficulty"]) for task in tasks}
        assert splits[split] == set(env.task_pairs)
    assert not splits["train"] & splits["held-out"]
    assert splits["train"] | splits["held-out"] == splits["all"]


def test_a_batch_holds_all_tasks_before_one_comes_again():
    env = make_meta_env("SpaceInvadersModes-v0", 1)
    assert isinstance(env, AtariModesVectorEnv)
    count = len(env.task_pairs)
    for seed in range(3):
        tasks = [
            (task["mode"], task["difficulty"])
            for task in env.sample_tasks(2 * count + 3, generator(seed, Purpose.TASKS))
        ]
        for block in (tasks[:count], tasks[count : 2 * count]):
            assert set(block) == set(env.task_pairs)
        assert len(set(tasks[2 * count :])) == 3
    firsts = {tuple(env.sample_tasks(1, generator(seed, Purpose.TASKS))[0].values()) for seed in range(200)}
    assert firsts == set(env.task_pairs)


def test_sticky_actions_go_on_with_their_probability():
    env = AtariModesVectorEnv(8, game="space_invaders", sticky_actions=0.25, frame_skip=2)
    env.set_tasks([TASK])
    env.reset(seed=0)
    played, asked = [], 1 + np.arange(200) % 2
    for action in asked:
        env.step(np.full(8, action))
        played.append([env._actions.index(action) for action in env._previous])
    went_on = np.mean(np.stack(played[1:]) != asked[1:, None])
    assert went_on == pytest.approx(0.25**2, abs=0.03)  # the action before lasts through both frames
    _, first, _ = play(make_meta_env("SpaceInvadersModes-v0", 3), [TASK], some_actions(60, 3), seed=1)
    _, again, _ = play(make_meta_env("SpaceInvadersModes-v0", 3), [TASK], some_actions(60, 3), seed=1)
    np.testing.assert_array_equal(first, again)


def test_pixels_are_averages_of_the_brightest_of_two_frames():
    env = make_meta_env("SpaceInvadersModes-v0", 1, {"observation": "pixels", "size": 10, "sticky_actions": 0.0})
    actions = some_actions(40, 1)
    observations, _, _ = play(env, [TASK], actions)
    assert observations.shape == (41, 1, 4, 10, 10)
    ale = emulator("space_invaders", 1, 0)
    legal = ale.getMinimalActionSet()
    seen = [_shrunk(ale.getScreenGrayscale())] * 4
    np.testing.assert_allclose(observations[0, 0], np.stack(seen), atol=0.501)
    for step, action in enumerate(actions[:, 0]):
        screens = []
        for _ in range(4):
            ale.act(legal[action])
            screens.append(ale.getScreenGrayscale())
        seen = [*seen[1:], _shrunk(np.maximum(*screens[-2:]))]
        np.testing.assert_allclose(observations[step + 1, 0], np.stack(seen), atol=0.501)


def _shrunk(screen):
    """(210, 160) in ten by ten equal parts, means of each."""
    return screen.reshape(10, 21, 10, 16).mean(axis=(1, 3))


def test_an_image_keeps_its_mean_whatever_its_size():
    for size in (1, 42, 84, 100):
        env = make_meta_env("SpaceInvadersModes-v0", 1, {"observation": "pixels", "size": size, "num_stack": 1})
        observations, _, _ = play(env, [TASK], some_actions(1, 1))
        screen = emulator("space_invaders", 1, 0).getScreenGrayscale()
        assert observations[0].shape == (1, 1, size, size)
        assert observations[0].mean() == pytest.approx(screen.mean(), abs=0.5)


def test_the_loss_of_a_life_ends_an_episode_where_that_is_asked_for():
    lengths = {}
    for life_loss in (False, True):
        env = make_meta_env(
            "SpaceInvadersModes-v0", 1, {"life_loss": life_loss, "sticky_actions": 0.0, "max_episode_steps": 2000}
        )
        _, rewards, ends = play(env, [TASK], np.ones((2000, 1), dtype=int))
        lengths[life_loss] = int(np.flatnonzero(ends[:, 0])[0])
        assert (rewards[lengths[life_loss] + 1 :] == 0).all()
    assert lengths[True] < lengths[False] / 2


def test_episodes_begin_alike_and_are_cut_at_their_limit():
    env, _ = started("DemonAttackModes-v0", 2, {"max_episode_steps": 3})
    first = env.reset(seed=1)[0]
    for _ in range(3):
        _, _, terminated, truncated, _ = env.step(np.ones(2, dtype=int))
    assert truncated.all()
    assert not terminated.any()
    np.testing.assert_array_equal(env.reset(seed=2)[0], first)


@pytest.mark.parametrize("env_name", GAMES)
def test_a_used_emulator_begins_as_a_new_one_does(env_name):
    kwargs = {"observation": "pixels", "num_stack": 2, "render_mode": "rgb_array"}
    used, new = (make_meta_env(env_name, 2, kwargs) for _ in range(2))
    play(used, [TASK], some_actions(20, 2))
    tasks = [{"mode": 5, "difficulty": 1}, TASK]
    begun = []
    for env in (used, new):
        env.set_tasks(tasks)
        observations, _ = env.reset(seed=3)
        begun.append((observations, env.render()))
    np.testing.assert_array_equal(begun[0][0], begun[1][0])
    np.testing.assert_array_equal(begun[0][1], begun[1][1])
    actions = some_actions(3, 2)
    np.testing.assert_array_equal(play(used, tasks, actions)[0], play(new, tasks, actions)[0])
    check_meta_env(used)


def test_what_sticks_at_first_is_to_do_nothing():
    env = AtariModesVectorEnv(1, game="backgammon", sticky_actions=1.0)
    assert Action.NOOP not in env._actions
    env.reset(seed=0)
    observation, _, _, _, _ = env.step(np.array([0]))
    ale = emulator("backgammon")
    mode, difficulty = env.task_pairs[0]
    ale.setDifficulty(difficulty)
    ale.setMode(mode)
    ale.reset_game()
    for _ in range(4):
        ale.act(Action.NOOP)
    np.testing.assert_array_equal(observation[0], ale.getRAM())


def test_pictures_are_the_screen():
    env = make_meta_env("SpaceInvadersModes-v0", 2, {"render_mode": "rgb_array"})
    env.reset(seed=0)
    pictures = env.render()
    assert isinstance(pictures, tuple)
    assert [np.shape(picture) for picture in pictures] == [(210, 160, 3)] * 2
    with pytest.raises(ValueError, match="render: got render_mode None"):
        make_meta_env("SpaceInvadersModes-v0", 1).render()
    with pytest.raises(ValueError, match="render: got no episode, expected one; call reset first"):
        make_meta_env("SpaceInvadersModes-v0", 1, {"render_mode": "rgb_array"}).render()


@pytest.mark.parametrize(("frame_skip", "fps"), [(4, 15), (8, 7.5)])
def test_films_run_at_the_speed_of_the_game(frame_skip, fps):
    assert AtariModesVectorEnv(game="pong", frame_skip=frame_skip).metadata["render_fps"] == fps


@pytest.mark.parametrize(("name", "value"), [("split", "held_out"), ("observation", "Pixels")])
def test_a_mistyped_choice_is_refused_however_the_family_is_made(name, value):
    with pytest.raises(ValueError, match=f"{name}: got '{value}', expected one of"):
        gym.make_vec("SpaceInvadersModes-v0", **{name: value})


def test_modes_that_end_at_once_are_refused_before_anything_is_played(monkeypatch):
    monkeypatch.setattr(atari_emulator, "MODE_BYTES", {})
    atari_emulator.beginning_of.cache_clear()
    with pytest.raises(ValueError, match=r"modes: got \d, which ale-py ends at once in demon_attack; give modes, some"):
        AtariModesVectorEnv(game="demon_attack")
    atari_emulator.beginning_of.cache_clear()


CONFIGS = ("space-invaders", "demon-attack")


@pytest.mark.parametrize("policy", sorted(set(registered_policies()) - NEED_REWARDS))
@pytest.mark.parametrize("path", [f"{game}{kind}" for game in CONFIGS for kind in ("", "-pixels")])
def test_every_policy_learns_from_memory_and_pixels(path, policy, monkeypatch):
    if (policy != "mlp") == (path in ("demon-attack", "demon-attack-pixels")):
        pytest.skip("each game with some of the policies")
    small = ["env-kwargs.max_episode_steps=12", "meta-batch-size=2", "fast-batch-size=2", "num-batches=1"]
    config = load_config(
        ROOT / "configs/maml" / f"{path}.yaml", [*small, "hidden-sizes=[8]", "encoder-channels=[2, 3]", "cg-iters=2"]
    ).replace(policy=policy, reward_clip=None)
    played = AtariModesVectorEnv._step

    def paying(env, actions, active):  # the games themselves pay nothing so soon, and nothing would be learnt
        observations, _, terminated = played(env, actions, active)
        return observations, np.where(actions == 1, 1.0, 0.0), terminated

    monkeypatch.setattr(AtariModesVectorEnv, "_step", paying)
    algorithm = make_algorithm(config)
    learner = algorithm.learner(SerialBackend(algorithm.worker_spec), algorithm.initial_parameters())
    report = learner.step(algorithm.sample_tasks(0), 0)
    assert report.finite
    assert report.step_accepted
    assert 0 < report.details["kl"] <= config.max_kl
    assert report.env_steps == 2 * 2 * 2 * 12


def test_films_of_games_name_their_mode(tmp_path):
    config = load_config(
        ROOT / "configs/maml/space-invaders.yaml",
        ["env-kwargs.max_episode_steps=4", "meta-batch-size=2", "fast-batch-size=1", "hidden-sizes=[4]"],
    )
    algorithm = make_algorithm(config)
    tasks = [{"mode": 1, "difficulty": 0}, {"mode": 2, "difficulty": 1}]
    assert [task_words(task) for task in tasks] == ["mode 1, difficulty 0", "mode 2, difficulty 1"]
    film(algorithm, algorithm.initial_parameters(), tmp_path / "film.gif", tasks=tasks)
    with Image.open(tmp_path / "film.gif") as picture:
        assert (picture.width, picture.height) == (640, 2 * (210 + 44))
        assert getattr(picture, "n_frames", 1) == 5


@pytest.mark.parametrize(
    ("env_name", "env_kwargs", "words"),
    [
        ("AtariModes-v0", {}, "needs game"),
        (
            "AtariModes-v0",
            {"game": "spaceinvaders"},
            "game: got 'spaceinvaders', expected a game of ale-py such as .*space_inv",
        ),
        (
            "DemonAttackModes-v0",
            {"modes": [1, 2]},
            r"modes: got 2, expected some of demon_attack's own: \[1, 3, 5, 7\]",
        ),
        ("DemonAttackModes-v0", {"difficulties": [4]}, r"difficulties: got 4, expected .*: \[0, 1\]"),
        ("DemonAttackModes-v0", {"held_out_modes": [0]}, r"held_out_modes: got 0, expected"),
        (
            "DemonAttackModes-v0",
            {"modes": [7]},
            r"split: got 'train' with held_out_modes \[7\] of modes \[7\], which leaves no",
        ),
        ("AtariModes-v0", {"game": "Pong"}, "game: got 'Pong', expected a game of ale-py such as pong"),
        ("AtariModes-v0", {"game": "combat"}, "game: got 'combat', expected a game for one player"),
        ("DemonAttackModes-v0", {"modes": 3}, "modes: got 3, expected a list of whole numbers, or null"),
        ("DemonAttackModes-v0", {"observation": "sound"}, "observation: got 'sound', expected one of 'ram', 'pixels'"),
        ("DemonAttackModes-v0", {"size": 0}, "size: got 0, expected 1 to 160"),
        ("SpaceInvadersModes-v0", {"modes": [True]}, "modes: got True, expected some of"),
        ("SpaceInvadersModes-v0", {"difficulties": []}, r"difficulties: got \[\], expected at least one; leave it out"),
        ("SpaceInvadersModes-v0", {"game": "demon_attack"}, r"held_out_modes: got 11, .*; give held_out_modes"),
        ("DemonAttackModes-v0", {"num_stack": 0}, "num_stack: got 0, expected 1 to 16"),
        ("DemonAttackModes-v0", {"frame_skip": 0}, "frame_skip: got 0, expected at least 1"),
        ("DemonAttackModes-v0", {"sticky_actions": 2.0}, "sticky_actions: got 2.0, expected a probability"),
    ],
)
def test_impossible_arguments_are_refused_in_one_line(env_name, env_kwargs, words):
    with pytest.raises(EnvironmentArgumentError, match=words) as caught:
        make_meta_env(env_name, 1, env_kwargs)
    assert "\n" not in str(caught.value)


def test_a_task_the_cartridge_does_not_have_is_refused():
    env = make_meta_env("DemonAttackModes-v0", 1)
    with pytest.raises(ValueError, match=r"task\['mode'\]: got 2, expected one of demon_attack's own: \[1, 3, 5, 7\]"):
        env.set_tasks([{"mode": 2, "difficulty": 0}])
