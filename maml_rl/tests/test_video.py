"""Films show what happened; a machine that cannot draw still trains and evaluates."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maml_rl.algorithms import make_algorithm
from maml_rl.config import Config
from maml_rl.demo import main, run_demo
from maml_rl.envs import make_meta_env
from maml_rl.run_folder import RunFolderError
from maml_rl.utils.film_frames import save_film
from maml_rl.utils.graphics import choose_gl
from maml_rl.video import VideoError, check_can_film, choose_tasks, film, task_words

NAVIGATION = Config(
    env_name="2DNavigation-v0",
    env_kwargs={"max_episode_steps": 6},
    hidden_sizes=(8,),
    fast_batch_size=2,
    meta_batch_size=2,
    num_batches=1,
)
CHEETAH = Config(env_name="HalfCheetahDir-v2", env_kwargs={"max_episode_steps": 3}, fast_batch_size=2)

LIVES = Config(
    algorithm="evolution",
    env_name="FoodWorld-v0",
    env_kwargs={"max_episode_steps": 5},
    fast_batch_size=2,
    population_size=4,
)


@pytest.fixture
def navigation():
    return make_algorithm(NAVIGATION)


@pytest.fixture
def no_gl(monkeypatch):
    """A Linux machine without a screen, on which no graphics library is found."""
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    return monkeypatch


def opened(path) -> Any:
    """The file as an image; what an image of several frames offers beyond others is not in Pillow's types."""
    return Image.open(path)


def needs_mujoco_pictures(algorithm):
    try:
        check_can_film(algorithm, "film.gif")
    except VideoError as error:
        pytest.skip(str(error))


def test_a_film_has_a_column_for_each_task_and_a_frame_for_each_state(tmp_path, navigation):
    film(navigation, navigation.initial_parameters(), tmp_path / "film.gif")
    with opened(tmp_path / "film.gif") as gif:
        assert gif.size == (3 * 320, 2 * (240 + 44))
        assert gif.n_frames == NAVIGATION.env_kwargs["max_episode_steps"] + 1
        assert gif.info["loop"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["film.gif"]


def test_a_film_is_a_function_of_the_seed(tmp_path, navigation):
    for name, seed in (("one.gif", 1), ("again.gif", 1), ("other.gif", 2)):
        film(navigation, navigation.initial_parameters(), tmp_path / name, seed=seed)
    one, again, other = ((tmp_path / name).read_bytes() for name in ("one.gif", "again.gif", "other.gif"))
    assert one == again
    assert one != other


@pytest.mark.parametrize(("policy", "scope"), [("mlp", "episode"), ("rnn", "episode"), ("rnn", "task")])
def test_without_an_inner_step_size_before_and_after_differ_by_what_the_task_s_memory_holds(tmp_path, policy, scope):
    changes = {"fast_lr": 0.0, "policy": policy, "memory_scope": scope}
    algorithm = make_algorithm(NAVIGATION.replace(**changes))
    film(algorithm, algorithm.initial_parameters(), tmp_path / "film.gif")
    with opened(tmp_path / "film.gif") as gif:
        gif.seek(gif.n_frames - 1)
        picture = np.asarray(gif.convert("RGB"))
    before, after = np.split(picture, 2)
    assert np.array_equal(before[44:], after[44:]) == (scope == "episode")  # below the captions


def test_meta_episodes_of_a_family_with_pictures_can_be_filmed(tmp_path):
    kwargs = {"env_name": "2DNavigation-v0", "env_kwargs": {"max_episode_steps": 3}, "num_episodes": 2}
    algorithm = make_algorithm(NAVIGATION.replace(env_name="MetaEpisode-v0", env_kwargs=kwargs))
    film(algorithm, algorithm.initial_parameters(), tmp_path / "film.gif")
    with opened(tmp_path / "film.gif") as gif:
        assert gif.n_frames == 2 * 3 + 1


def test_lives_have_a_row_each_with_both_ends_side_by_side(tmp_path):
    algorithm = make_algorithm(LIVES)
    film(algorithm, algorithm.initial_parameters(), tmp_path / "film.gif")
    with opened(tmp_path / "film.gif") as gif:
        assert gif.size == (2 * 320, 3 * (240 + 44))
        assert gif.n_frames == 2 * 5 // 2 + 1  # half of two episodes of five steps
        gif.seek(gif.n_frames - 1)
        picture = np.asarray(gif.convert("RGB"))
    for life in np.split(picture, 3):
        first, last = np.split(life[44:], 2, axis=1)
        assert not np.array_equal(first, last)


def test_each_direction_is_filmed_and_else_three_tasks(navigation):
    assert choose_tasks(make_algorithm(CHEETAH), seed=1) == [{"direction": -1}, {"direction": 1}]
    assert len({task_words(task) for task in choose_tasks(navigation, seed=1)}) == 3


def test_rendering_changes_no_episode():
    def play(render_mode):
        env = make_meta_env("2DNavigation-v0", 2, {"render_mode": render_mode})
        rng = np.random.default_rng(0)
        env.set_tasks(env.sample_tasks(2, rng))
        env.reset(seed=1)
        rewards = []
        for _ in range(5):
            rewards.append(env.step(rng.uniform(-0.1, 0.1, (2, 2)))[1])
            if render_mode:
                env.render()
        return np.array(rewards)

    np.testing.assert_array_equal(play(None), play("rgb_array"))


def test_rendering_a_robot_changes_no_episode():
    needs_mujoco_pictures(make_algorithm(CHEETAH))

    def play(render):
        env = make_meta_env("HalfCheetahDir-v2", 2, {"render_mode": "rgb_array"})
        rng = np.random.default_rng(0)
        env.reset(seed=1)
        observations = []
        for _ in range(3):
            observations.append(env.step(rng.uniform(-1, 1, (2, 6)))[0])
            if render:
                pictures: Any = env.render()
                assert all(picture.std() > 5 for picture in pictures)
        env.close()
        return np.array(observations)

    np.testing.assert_array_equal(play(False), play(True))


def test_a_robot_can_be_filmed(tmp_path):
    algorithm = make_algorithm(CHEETAH)
    needs_mujoco_pictures(algorithm)
    film(algorithm, algorithm.initial_parameters(), tmp_path / "film.gif")
    with opened(tmp_path / "film.gif") as gif:
        assert gif.n_frames == 4
        assert gif.size == (2 * 320, 2 * (240 + 44))


def test_a_film_without_its_encoder_is_refused_with_the_cure(monkeypatch, navigation):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(VideoError, match=r"\.mp4 needs imageio-ffmpeg: pip install 'maml_rl\[video\]'"):
        check_can_film(navigation, "film.mp4")


def test_an_mp4_holds_every_frame(tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    save_film(
        tmp_path / "film.mp4", [Image.new("RGB", (64, 48), (40 * i, 0, 0)) for i in range(5)], frames_per_second=10
    )
    num_frames, _ = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "film.mp4"))
    assert num_frames == 5


def test_a_picture_that_cannot_be_drawn_costs_one_line_with_the_cure(monkeypatch, navigation):
    def fail(self):
        raise RuntimeError("no display\nand more")

    monkeypatch.setattr(type(navigation.env), "render", fail)
    with pytest.raises(
        VideoError, match=r"cannot draw here \(no display\); .*apt-get install libegl1.*osmesa"
    ) as caught:
        check_can_film(navigation, "film.gif")
    assert "\n" not in str(caught.value)


def test_the_first_library_that_is_there_is_chosen(no_gl):
    choose_gl()
    assert "MUJOCO_GL" not in os.environ
    no_gl.setattr("ctypes.util.find_library", lambda name: "lib" if name == "OSMesa" else None)
    choose_gl()
    assert os.environ.pop("MUJOCO_GL") == "osmesa"
    no_gl.setenv("DISPLAY", ":0")
    choose_gl()
    assert "MUJOCO_GL" not in os.environ


def test_the_user_s_choice_stands_unless_its_library_is_missing(no_gl):
    no_gl.setenv("MUJOCO_GL", "glfw")
    choose_gl()
    assert os.environ["MUJOCO_GL"] == "glfw"
    no_gl.setenv("MUJOCO_GL", "egl")
    choose_gl()
    assert "MUJOCO_GL" not in os.environ


@pytest.mark.slow
def test_the_demo_leaves_everything_and_does_it_once(tmp_path, capsys):
    folder = tmp_path / "demo"
    run_demo(NAVIGATION, folder, max_seconds=60.0, num_workers=1)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"policy.th", "metrics.csv", "plot.png", "cheetah.gif", "results.npz", "config.json"} <= first.keys()
    (folder / "cheetah.gif").unlink()
    capsys.readouterr()
    run_demo(NAVIGATION, folder, max_seconds=60.0, num_workers=1)
    assert "holds a finished demo (1 iterations)" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


@pytest.mark.slow
def test_the_demo_does_the_rest_where_nothing_can_be_drawn(tmp_path, capsys, monkeypatch):
    def fail(*arguments):
        raise VideoError("no")

    monkeypatch.setattr(sys.modules["maml_rl.demo"], "check_can_film", fail)
    run_demo(NAVIGATION, tmp_path / "demo", max_seconds=60.0, num_workers=1)
    assert (
        "no cheetah.gif: without a screen MuJoCo draws with libEGL (apt-get install libegl1)" in capsys.readouterr().out
    )
    assert (tmp_path / "demo" / "plot.png").exists()


@pytest.mark.slow
def test_the_demo_refuses_another_run_s_folder_and_impossible_times(tmp_path, capfd):
    run_demo(NAVIGATION, tmp_path, max_seconds=60.0, num_workers=1)
    with pytest.raises(RunFolderError, match=r"fast-lr is 0\.2, but the run in"):
        run_demo(NAVIGATION.replace(fast_lr=0.2), tmp_path, max_seconds=60.0, num_workers=1)
    assert main(["--minutes", "0"]) == 2
    assert "--minutes: got 0, expected a number > 0" in capfd.readouterr().err
