"""Fixtures that several test files use; lets MuJoCo draw without a screen."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import pytest
import torch

from maml_rl.utils.graphics import choose_gl

choose_gl()  # before any test imports mujoco

collect_ignore = ["outside"]  # modules that register themselves when they are imported

# Tests of which some variants are slow, and a pattern of these; others of their kind stay in the default suite.
SLOW_VARIANTS = {
    "test_weights_evolve_that_balance_poles": "cma-es",
    "test_the_vector_environment_keeps_the_contract": "DemonAttack|PendulumMass|Walker2DVel|WalkerRandParams",
    "test_families_with_hidden_parts_keep_the_contract": "PendulumMass",
    "test_each_life_has_its_own_order": "PendulumMass",
    "test_an_agent_of_an_ensemble_is_the_agent_of_its_seed_alone": "geometric",
    "test_a_run_and_its_evaluation_have_the_recorded_numbers": "atari|maml-geometric",
    "test_recurrent_weights_learn_or_stay_as_they_are_for_ten_iterations": "^(?!rnn|(lstm|linear)-True)",
    "test_more_iterations_continue_a_finished_run": "plastic|geometric|attention|delta|gru|linear|episodic-MetaEpisode"
    "|^variant-(?!promp)",
    "test_memories_have_the_same_episodes_gradient_and_curvature_for_any_number_of_shards": "plastic",
    "test_the_curve_is_the_same_for_one_two_and_three_workers": "TabularMDP-v0-trpo|Bandit-K5-v0-maml|^variant",
    "test_the_kernel_of_message_passing_computes_what_tensors_do": "sizes[1-3]",
    "test_the_kernel_of_a_network_computes_what_tensors_do": "sizes1",
    "test_kernels_are_the_tensors": "-1$",
    "test_a_stopped_run_leaves_no_orphan_and_resumes_bit_for_bit": ".",
    "test_an_interrupt_at_an_early_moment_ends_in_one_line": ".",
    "test_a_variant_learns_the_same_for_any_number_of_shards_and_nothing_like_the_others": "dice|layers|e-maml",
    "test_states_observations_rewards_and_ends_are_gymnasiums": "False-(Walker2DVel|WalkerRand)|True-Walker2DDir",
    "test_no_interrupt_ever_reaches_a_worker": ".",
    "test_the_curvature_is_the_hessian_of_the_mean_divergence": "plastic|geometric-[cd]|episodic|attention|delta|gru",
    "test_the_meta_gradient_is_the_derivative_of_the_loss_after_adaptation": "^2-(?!mlp|rnn|lstm)|^2-.*conv",
    "test_along_a_path_the_hessians_are_those_of_its_points": "delta",
    "test_derivatives_agree_with_finite_differences": "gru",
    "test_neither_workers_nor_chunks_change_anything": "plastic pole|cart pole",
    "test_a_reward_clip_that_no_reward_reaches_is_a_number_of_the_rewards_type": ".",
    "test_each_file_of_rl2_trains": "contextual",
    "test_an_agent_with_memory_is_filmed_along_its_meta_episode": "3",
    "test_an_episode_is_the_emulator_s_own": "DemonAttack",
    "test_legal_tasks_are_the_cartridge_s_and_differ": "DemonAttack",
    "test_every_policy_learns_from_memory_and_pixels": "mlp|geometric|attention|delta|gru|linear",
    "test_the_double_pendulum_keeps_its_energy_and_damping_takes_it": r"0\.2",
    "test_processes_give_what_shards_in_this_process_give": "float32",
    "test_derivatives_of_a_short_life_are_those_of_finite_differences": "continuous|message-passing",
    "test_the_likelihood_is_that_of_the_simulated_model": "trials",
    "test_heads_stay_on_the_sphere_for_ten_thousand_steps": "dtype1",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow variants, before slow tests are deselected."""
    for item in items:
        name, _, variant = item.name.removesuffix("]").partition("[")
        if name in SLOW_VARIANTS and re.search(SLOW_VARIANTS[name], variant):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def hear_interrupts() -> None:
    """Undo an ignored Ctrl-C, which a shell hands down to what it starts in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Compute in one thread, as training does: the tensors here are small."""
    torch.set_num_threads(1)


@pytest.fixture
def float64() -> Iterator[None]:
    """Make float64 the default type: `tiny_policy` then builds policies in it."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
