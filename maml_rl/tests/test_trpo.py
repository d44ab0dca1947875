"""Conjugate gradient against a direct solver; the trust-region step on a quadratic."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maml_rl.episode import CollectReport
from maml_rl.metalearners import MAMLTRPO, conjugate_gradient, trust_region_step
from maml_rl.settings import TrustRegion

EXACT = TrustRegion(cg_iters=20, cg_damping=0.0)


def never(vector):
    raise AssertionError("must not be called")


def positive_definite(size, seed, condition):
    """Symmetric matrix with eigenvalues from 1 to `condition`."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
    return (basis * np.geomspace(1.0, condition, size)) @ basis.T


@settings(deadline=None, max_examples=60)
@given(size=st.integers(1, 12), seed=st.integers(0, 10_000), condition=st.floats(1.0, 100.0))
def test_conjugate_gradient_solves_like_a_direct_solver(size, seed, condition):
    matrix = positive_definite(size, seed, condition)
    target = np.random.default_rng(seed + 1).normal(size=size)
    before = target.copy()
    solution = conjugate_gradient(lambda v: matrix @ v, target, num_iterations=4 * size, tolerance=1e-24)
    np.testing.assert_allclose(solution, np.linalg.solve(matrix, target), rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(target, before)


@settings(deadline=None, max_examples=30)
@given(size=st.integers(4, 12), seed=st.integers(0, 10_000), num_iterations=st.integers(1, 3))
def test_k_iterations_find_the_best_point_of_the_krylov_space(size, seed, num_iterations):
    matrix = positive_definite(size, seed, 50.0)
    target = np.random.default_rng(seed + 1).normal(size=size)
    krylov = np.stack([np.linalg.matrix_power(matrix / 50.0, k) @ target for k in range(num_iterations)], 1)
    weights = np.linalg.solve(krylov.T @ matrix @ krylov, krylov.T @ target)
    solution = conjugate_gradient(lambda v: matrix @ v, target, num_iterations=num_iterations)
    np.testing.assert_allclose(solution, krylov @ weights, rtol=1e-6, atol=1e-9)


def test_a_zero_gradient_needs_no_product():
    solution = conjugate_gradient(never, np.zeros(3), num_iterations=5)
    assert not solution.any()


def quadratic(seed=0, size=5):
    """Linear objective and quadratic divergence: gradient, matrix F, and their evaluation around 0."""
    matrix = positive_definite(size, seed, 20.0)
    gradient = np.random.default_rng(seed + 1).normal(size=size)

    def evaluate(vector):
        return 1.0 + float(gradient @ vector), 0.5 * float(vector @ matrix @ vector)

    return gradient, matrix, evaluate


@pytest.mark.parametrize("seed", range(5))
def test_the_full_step_is_the_natural_one_and_as_long_as_the_region(seed):
    gradient, matrix, evaluate = quadratic(seed)
    candidates = []

    def watched(vector):
        candidates.append(vector)
        return evaluate(vector)

    trust_region_step(np.zeros(5), 1.0, gradient, curvature=lambda v: matrix @ v, evaluate=watched, settings=EXACT)
    natural = np.linalg.solve(matrix, gradient)
    assert evaluate(candidates[0])[1] == pytest.approx(EXACT.max_kl, rel=1e-9)
    np.testing.assert_allclose(candidates[0], -natural * np.sqrt(2e-2 / (gradient @ natural)), rtol=1e-7)


def test_an_accepted_step_improves_within_the_region():
    gradient, matrix, evaluate = quadratic()
    start = np.zeros(5)
    result = trust_region_step(start, 1.0, gradient, curvature=lambda v: matrix @ v, evaluate=evaluate, settings=EXACT)
    assert result.accepted
    assert (result.loss, result.kl) == evaluate(result.parameters)
    assert result.loss < 1.0
    assert 0.5 * EXACT.max_kl < result.kl < EXACT.max_kl
    assert not start.any()


def test_damping_is_added_to_the_curvature():
    gradient, matrix, evaluate = quadratic()
    candidates = []

    def watched(vector):
        candidates.append(vector)
        return evaluate(vector)

    damped = EXACT.model_copy(update={"cg_damping": 3.0})
    trust_region_step(np.zeros(5), 1.0, gradient, curvature=lambda v: matrix @ v, evaluate=watched, settings=damped)
    expected = np.linalg.solve(matrix + 3.0 * np.eye(5), gradient)
    cosine = -candidates[0] @ expected / np.linalg.norm(candidates[0]) / np.linalg.norm(expected)
    assert cosine == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("loss", "divergence", "factor"),
    [
        (2.0, 0.0, 0.8),  # no improvement: the backtrack ratio
        (0.0, 1.0, 0.8**3),  # far outside: three backtracks at once
        (0.0, 2 * EXACT.max_kl, 0.98 * math.sqrt(0.5)),  # outside: where the divergence would be within
    ],
)
def test_every_candidate_is_the_one_before_shortened(loss, divergence, factor):
    gradient, matrix, _ = quadratic()
    candidates = []

    def poor(vector):
        candidates.append(vector)
        return (loss, divergence) if len(candidates) < 4 else (0.0, 0.0)

    result = trust_region_step(np.ones(5), 1.0, gradient, curvature=lambda v: matrix @ v, evaluate=poor, settings=EXACT)
    assert result.line_search_steps == 4
    for before, after in pairwise(candidates):
        np.testing.assert_allclose(after - 1.0, factor * (before - 1.0))


@pytest.mark.parametrize("outcome", [(2.0, 0.0), (0.0, 1.0)])
def test_without_an_acceptable_candidate_the_parameters_stay(outcome):
    gradient, matrix, _ = quadratic()
    start = np.full(5, 0.3)
    result = trust_region_step(
        start, 1.0, gradient, curvature=lambda v: matrix @ v, evaluate=lambda v: outcome, settings=EXACT
    )
    assert not result.accepted
    assert result.finite
    assert (result.loss, result.kl, result.line_search_steps) == (1.0, 0.0, EXACT.ls_max_steps)
    np.testing.assert_array_equal(result.parameters, np.full(5, 0.3))


@pytest.mark.parametrize(
    ("curvature", "finite"),
    [
        (lambda v: v * np.nan, False),
        (lambda v: np.full_like(v, np.inf), False),
        (lambda v: 0.0 * v, False),  # no curvature at all: the direction is infinite
        (lambda v: 1e-320 * v, False),
        (lambda v: -v, True),
    ],
    ids=["NaN", "infinite", "zero", "next to zero", "negative"],
)
@pytest.mark.parametrize("num_iterations", [1, 20])
def test_a_curvature_that_is_no_positive_number_is_refused(curvature, finite, num_iterations):
    start, settings = np.full(5, 0.3), EXACT.model_copy(update={"cg_iters": num_iterations})
    result = trust_region_step(start, 1.0, np.ones(5), curvature=curvature, evaluate=never, settings=settings)
    assert not result.accepted
    assert result.finite is finite
    assert (result.loss, result.kl, result.line_search_steps) == (1.0, 0.0, 0)
    np.testing.assert_array_equal(result.parameters, np.full(5, 0.3))


def test_one_bad_entry_of_a_curvature_product_is_enough():
    def curvature(vector):
        return np.where(np.arange(5) == 2, np.inf, vector)

    one = EXACT.model_copy(update={"cg_iters": 1})
    result = trust_region_step(np.zeros(5), 1.0, np.ones(5), curvature=curvature, evaluate=never, settings=one)
    assert (result.accepted, result.finite) == (False, False)


@pytest.mark.parametrize("curvature", [lambda v: v, lambda v: 0.0 * v], ids=["some", "none"])
def test_a_zero_gradient_is_no_step(curvature):
    result = trust_region_step(np.ones(3), 1.0, np.zeros(3), curvature=curvature, evaluate=never, settings=EXACT)
    assert (result.accepted, result.finite) == (False, True)


NOT_FINITE = [np.nan, np.inf, -np.inf]


class StubWorkers:
    """Two workers of a quadratic objective, 1 + g x with divergence x^2 / 2; the second can be spoilt."""

    num_shards = num_workers = 2

    def __init__(self, **spoilt):
        self.spoilt = {"loss": 0.0, "kl": 0.0, "gradient": 0.0, "product": 0.0, **spoilt}

    def map(self, method, arguments):
        assert method == "collect"
        return [CollectReport(np.zeros((2, 1)), 5, True) for _ in arguments]

    def broadcast(self, method, vector, *_):
        loss, kl = 1.0 + 3.0 * vector.sum(), 0.5 * vector @ vector
        healthy, spoilt = {
            "surrogate_gradient": ((1.0, np.full(3, 3.0)), (1.0, 3.0 + self.spoilt["gradient"] * np.ones(3))),
            "fisher_vector_product": (vector, vector + self.spoilt["product"]),
            "surrogate": ((loss, kl), (loss + self.spoilt["loss"], kl + self.spoilt["kl"])),
        }[method]
        return [healthy, spoilt]


def outer_step(workers):
    """Report of one outer step from 0, and the parameters after it."""
    learner = MAMLTRPO(workers, np.zeros((1, 3)), TrustRegion(), seed=0)
    return learner.step([{}, {}], 0), learner.parameters


@pytest.mark.parametrize("where", ["gradient", "product", "loss", "kl"])
@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_step_with_a_number_that_is_not_finite_is_refused_and_said_to_be(where, value):
    report, parameters = outer_step(StubWorkers(**{where: value}))
    assert (report.finite, report.step_accepted) == (False, False)
    assert not parameters.any()


def test_a_step_of_finite_numbers_is_finite_whether_accepted_or_not():
    report, parameters = outer_step(StubWorkers())
    assert (report.finite, report.step_accepted) == (True, True)
    assert parameters.all()
    report, parameters = outer_step(StubWorkers(loss=100.0))
    assert (report.finite, report.step_accepted, report.details["line_search_steps"]) == (True, False, 15)
    assert not parameters.any()
