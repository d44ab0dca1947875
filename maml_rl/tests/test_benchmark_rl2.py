"""The batch that RecurrentPPO is compared with is the fastest of the grid."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from maml_rl.config import Config

rl2 = pytest.importorskip("benchmarks.rl2")


def test_the_best_batch_is_the_fastest_of_the_grid(monkeypatch):
    def learner(config, cores, *, num_envs, batch_size):
        return SimpleNamespace(n_envs=num_envs, batch_size=batch_size, n_steps=rl2.NUM_STEPS, n_epochs=rl2.NUM_EPOCHS)

    def speed(learner):
        return 1000.0 if (learner.n_envs, learner.batch_size) == (64, 2048) else float(learner.n_envs)

    monkeypatch.setattr(rl2, "_recurrent_ppo", learner)
    monkeypatch.setattr(rl2, "_speed", speed)
    best, grid = rl2.fastest_batch(Config(env_name="Bandit-K5-v0"), 1)
    assert (best.n_envs, best.batch_size) == (64, 2048)
    assert len({(row["n_envs"], row["batch_size"]) for row in grid}) == 9
    assert max(row["steps_per_second"] for row in grid) == 1000.0


def test_a_speed_is_that_of_one_whole_rollout(monkeypatch):
    class Learner:
        n_envs, n_steps, num_timesteps = 4, 8, 100

        def learn(self, total_timesteps, *, reset_num_timesteps):
            assert not reset_num_timesteps
            self.num_timesteps += total_timesteps

    ticks = iter([1.0, 3.0])
    monkeypatch.setattr(rl2.time, "perf_counter", lambda: next(ticks))
    assert rl2._speed(Learner()) == 16.0


def test_no_minibatch_of_the_grid_is_cut_short():
    for num_envs in rl2.GRID_OF_ENVS:
        for batch_size in rl2.GRID_OF_BATCH_SIZES:
            assert num_envs * rl2.NUM_STEPS % batch_size == 0
