"""Every memory is measured at every length, beside the LSTM of the same length and round."""

from __future__ import annotations

import pytest

from maml_rl.policies import policy_kinds

rl2_memories = pytest.importorskip("benchmarks.rl2_memories")


def speeds(acting, learning):
    return {"acting": acting, "learning": learning, "training": 1.0}


def test_ratios_are_to_the_lstm_of_the_same_length_and_round(monkeypatch):
    monkeypatch.setattr(rl2_memories, "MEMORIES", {"lstm": [], "gru": []})
    rounds = [
        {
            "lstm-100": speeds(a, 2.0),
            "gru-100": speeds(3.0 * a, 1.0),
            "lstm-500": speeds(1.0, a),
            "gru-500": speeds(2.0, a),
        }
        for a in (1.0, 5.0, 7.0)
    ]
    found = rl2_memories.over_lstm(rounds)
    assert found["lstm-100"] == found["lstm-500"] == speeds(1.0, 1.0)
    assert found["gru-100"] == speeds(3.0, 0.5)
    assert found["gru-500"] == speeds(2.0, 1.0)
    assert rl2_memories.summary(rounds)["gru-100"]["acting"] == 15.0


def test_an_iteration_has_as_many_steps_at_every_length():
    for length in rl2_memories.LENGTHS:
        for memory in rl2_memories.MEMORIES:
            config = rl2_memories.configuration(memory, length)
            assert policy_kinds()[config.policy].has_memory
            assert config.fast_batch_size * config.meta_batch_size == rl2_memories.STEPS


@pytest.mark.slow
def test_all_are_measured(monkeypatch):
    monkeypatch.setattr(rl2_memories, "STEPS", 120)
    monkeypatch.setattr(rl2_memories, "LENGTHS", (3, 6))
    result = rl2_memories.measure(1, 1)
    assert set(result["over_lstm"]) == {f"{name}-{length}" for name in rl2_memories.MEMORIES for length in (3, 6)}
