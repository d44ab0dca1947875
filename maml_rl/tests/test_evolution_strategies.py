"""Evolution strategies: they climb, move on by fitness alone, and go on from their state bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from maml_rl.evolution.cma_es import CMAES, FULL_COVARIANCE_LIMIT
from maml_rl.evolution.genetic_algorithm import GeneticAlgorithm
from maml_rl.evolution.openai_es import OpenAIES
from maml_rl.evolution.strategy import centred_ranks
from maml_rl.tests.builders import travelled

STRATEGIES = {
    "openai-es": lambda start: OpenAIES(start, population_size=40, sigma=0.1, learning_rate=0.05),
    "openai-es-decaying": lambda start: OpenAIES(
        start, population_size=40, sigma=0.3, learning_rate=0.05, sigma_decay=0.99, sigma_limit=0.05, weight_decay=1e-4
    ),
    "cma-es": lambda start: CMAES(start, population_size=16, sigma=0.5),
    "genetic-algorithm": lambda start: GeneticAlgorithm(start, population_size=100, sigma=0.1),
}
every_strategy = pytest.mark.parametrize("make", STRATEGIES.values(), ids=STRATEGIES)


def sphere(candidates):
    return -np.square(candidates - 1.0).sum(1)


def rosenbrock(candidates):
    x, y = candidates[:, :-1], candidates[:, 1:]
    return -(100.0 * (y - x**2) ** 2 + (1.0 - x) ** 2).sum(1)


def evolved(strategy, fitness, num_generations, first=0):
    """The strategy after these generations, each with its own generator."""
    for generation in range(first, first + num_generations):
        candidates = strategy.ask(np.random.default_rng((7, generation)))
        strategy.tell(candidates, fitness(candidates.vectors))
    return strategy


@every_strategy
def test_it_climbs_to_the_top(make):
    start = np.full(6, -2.0)
    found = evolved(make(start), sphere, 250).solution
    assert sphere(found[np.newaxis])[0] > -0.02 > 100 * sphere(start[np.newaxis])[0]


def test_cma_es_follows_a_bent_valley():
    found = evolved(CMAES(np.full(8, 2.0), population_size=20, sigma=0.5), rosenbrock, 500).solution
    np.testing.assert_allclose(found, 1.0, atol=1e-8)


def test_cma_es_adapts_to_axes_of_different_scale_with_a_diagonal_covariance_too():
    size = FULL_COVARIANCE_LIMIT + 1
    scales = np.where(np.arange(size) % 2, 30.0, 1.0)
    strategy = CMAES(np.ones(size), population_size=24, sigma=0.3)
    assert strategy.is_diagonal
    before = -np.square(scales).sum()
    found = evolved(strategy, lambda x: -np.square(scales * x).sum(1), 600).solution
    assert -np.square(scales * found).sum() > 0.2 * before


@every_strategy
def test_asking_changes_nothing_and_depends_on_the_generator_alone(make):
    strategy = evolved(make(np.zeros(5)), sphere, 3)
    first, again = (strategy.ask(np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(first.vectors, again.vectors)
    assert len(first) == strategy.population_size
    assert first.vectors.shape == (strategy.population_size, 5)
    assert not np.array_equal(first.vectors, strategy.ask(np.random.default_rng(2)).vectors)


@every_strategy
def test_parts_of_a_generation_are_computed_where_they_are_needed(make):
    whole = evolved(make(np.zeros(5)), sphere, 2).ask(np.random.default_rng(1))
    parts = [travelled(part) for part in whole.split(3)]
    assert [len(part) for part in parts] == [len(part) for part in np.array_split(np.arange(len(whole)), 3)]
    np.testing.assert_array_equal(np.concatenate([part.vectors for part in parts]), whole.vectors)
    for part in parts:
        np.testing.assert_array_equal(part.on(np.empty(0)).on(part.base).vectors, part.vectors)
    np.testing.assert_array_equal(whole.part([3, 1]).vectors, whole.vectors[[3, 1]])


@every_strategy
def test_it_goes_on_from_its_state_bit_for_bit(make):
    whole = evolved(make(np.zeros(5)), sphere, 9)
    part = evolved(make(np.zeros(5)), sphere, 4)
    fresh = make(np.full(5, 9.0))
    shapes = {name: value.shape for name, value in fresh.state_dict().items()}
    assert shapes == {name: value.shape for name, value in part.state_dict().items()}
    assert {value.dtype for value in part.state_dict().values()} == {np.dtype(np.float64)}
    fresh.load_state_dict(part.state_dict())
    evolved(fresh, sphere, 5, first=4)
    for name, value in whole.state_dict().items():
        np.testing.assert_array_equal(fresh.state_dict()[name], value)


@every_strategy
def test_only_the_order_of_fitness_counts(make):
    plain = evolved(make(np.zeros(4)), sphere, 5).solution
    bent = evolved(make(np.zeros(4)), lambda x: np.exp(sphere(x)) * 1e3 - 5.0, 5).solution
    np.testing.assert_array_equal(plain, bent)


@every_strategy
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_finite_number_never_survives(make, bad):
    def fitness(candidates):
        values = sphere(candidates)
        values[candidates[:, 0] > 0.0] = bad  # the better half
        return values

    found = evolved(make(np.full(3, -1.0)), fitness, 200).solution
    assert np.isfinite(found).all()
    assert found[0] < 0.2  # just beyond the border at most, by the noise around a mean


@every_strategy
def test_without_any_finite_fitness_nothing_moves(make):
    strategy = evolved(make(np.zeros(3)), sphere, 3)
    before = strategy.state_dict()
    candidates = strategy.ask(np.random.default_rng(0))
    strategy.tell(candidates, np.full(len(candidates), np.nan))
    for name, value in before.items():
        np.testing.assert_array_equal(strategy.state_dict()[name], value)


def test_openai_es_estimates_the_gradient_of_a_plane():
    slope = np.array([3.0, -1.0, 0.5])
    strategy = OpenAIES(np.zeros(3), population_size=20_000, sigma=0.1, learning_rate=1.0)
    candidates = strategy.ask(np.random.default_rng(0))
    vectors = candidates.vectors
    np.testing.assert_allclose(vectors[:10_000] + vectors[10_000:], 0.0, atol=1e-12)  # mirror images
    strategy.tell(candidates, vectors @ slope)
    found = strategy.state_dict()["first_moment"]
    assert found @ slope / np.linalg.norm(found) / np.linalg.norm(slope) > 0.999


def test_elites_are_asked_for_again_and_children_take_parts_of_parents():
    strategy = GeneticAlgorithm(np.zeros(50), population_size=40, sigma=0.1, mutation_rate=0.1, crossover_rate=1.0)
    evolved(strategy, sphere, 2)
    parents = strategy.state_dict()["parents"]
    candidates = strategy.ask(np.random.default_rng(3)).vectors
    np.testing.assert_array_equal(candidates[0], parents[0])
    child = candidates[-1]
    of_a_parent = (child == parents).any(0)
    assert 0.75 < of_a_parent.mean() < 1.0  # a tenth is mutated


def test_all_elites_survive_even_if_fewer_parents_are_asked_for():
    strategy = GeneticAlgorithm(
        np.zeros(5), population_size=20, sigma=0.1, mutation_rate=1.0, elite_fraction=0.5, parent_fraction=0.1
    )
    candidates = strategy.ask(np.random.default_rng(0))
    strategy.tell(candidates, np.arange(20.0))
    np.testing.assert_array_equal(strategy.ask(np.random.default_rng(1)).vectors[:10], candidates.vectors[:-11:-1])


def test_ranks_are_centred_and_ties_share():
    ranks = centred_ranks(np.array([5.0, 1.0, 5.0, np.inf, 2.0]))
    np.testing.assert_allclose(ranks, [0.375, -0.25, 0.375, -0.5, 0.0])
    assert ranks.sum() == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: OpenAIES(np.zeros(2), population_size=5, sigma=0.1, learning_rate=0.1), "got 5, expected an even"),
        (lambda: CMAES(np.zeros(2), population_size=3, sigma=0.1), "population-size: got 3, expected at least 4"),
        (lambda: GeneticAlgorithm(np.zeros(2), population_size=1, sigma=0.1), "population-size: got 1, expected at le"),
    ],
)
def test_populations_that_are_too_small_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
