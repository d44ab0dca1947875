"""The trust-region step: conjugate gradient, then a line search on the true objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from maml_rl.settings import TrustRegion
from maml_rl.utils.vectors import dot

Vector = np.ndarray


@dataclass(frozen=True)
class StepResult:
    """Outcome of a trust-region step.

    Attributes
    ----------
    parameters
        New parameters (D,); the old ones when the step was not accepted.
    loss, kl
        Objective and divergence at `parameters`.
    line_search_steps
        Candidates evaluated.
    accepted
        Whether a candidate improved the objective within the trust region.
    finite
        False when curvature, direction, objective or divergence was NaN or infinite; the step is then refused.
    """

    parameters: Vector
    loss: float
    kl: float
    line_search_steps: int
    accepted: bool
    finite: bool = True


def conjugate_gradient(
    product: Callable[[Vector], Vector], target: Vector, *, num_iterations: int, tolerance: float = 1e-10
) -> Vector:
    """Solve ``A x = target`` approximately for a symmetric positive definite A given by `product`.

    Stops after `num_iterations` or when the squared residual falls below `tolerance`. All vectors
    (D,) float64.

    Examples
    --------
    >>> matrix = np.array([[4.0, 1.0], [1.0, 3.0]])
    >>> conjugate_gradient(lambda v: matrix @ v, np.array([1.0, 2.0]), num_iterations=2).round(6)
    array([0.090909, 0.636364])
    """
    solution = np.zeros_like(target)
    residual = target.copy()
    direction = target.copy()
    squared = dot(residual, residual)
    for _ in range(num_iterations):
        if squared < tolerance:
            break
        curved = product(direction)
        step = squared / dot(direction, curved)
        solution += step * direction
        residual -= step * curved
        new_squared = dot(residual, residual)
        direction = residual + (new_squared / squared) * direction
        squared = new_squared
    return solution


class _NotFiniteError(ArithmeticError):
    """NaN or infinity where a step needs numbers."""


def trust_region_step(
    parameters: Vector,
    loss: float,
    gradient: Vector,
    *,
    curvature: Callable[[Vector], Vector],
    evaluate: Callable[[Vector], tuple[float, float]],
    settings: TrustRegion,
) -> StepResult:
    """Minimise the objective within ``KL < max_kl`` (Schulman et al. 2015, appendix C).

    The natural direction ``x = (F + damping)^-1 g`` is scaled to ``KL = max_kl`` to second order and
    shortened until the true objective is lower and the true divergence is within the region; if that
    never happens the parameters stay. A candidate is shortened by `ls_backtrack_ratio`; one that diverges too
    far, to where its divergence, quadratic in the step, would be within the region. The first NaN or infinity,
    wherever it turns up, refuses the step.

    Parameters
    ----------
    parameters, loss, gradient
        Where the step starts: (D,), objective, its gradient (D,).
    curvature
        Product of F with a vector, without damping.
    evaluate
        Objective and divergence at given parameters.
    settings
        See `maml_rl.settings.TrustRegion`.
    """
    unchanged = StepResult(parameters, loss, 0.0, 0, False)

    def damped(vector: Vector) -> Vector:
        product = curvature(vector) + settings.cg_damping * vector
        if not np.isfinite(product).all():
            raise _NotFiniteError
        return product

    with np.errstate(all="ignore"):  # whatever overflows is refused below
        try:
            direction = conjugate_gradient(damped, gradient, num_iterations=settings.cg_iters)
        except _NotFiniteError:
            return replace(unchanged, finite=False)
        # x^T A x = x^T g for an iterate of conjugate gradient, whose residual is orthogonal to it.
        steepness = 0.5 * dot(direction, gradient)
        if np.isfinite(direction).all() and steepness <= 0.0:
            return unchanged
        full_step = direction * np.sqrt(settings.max_kl / steepness)
    if not np.isfinite(full_step).all():
        return replace(unchanged, finite=False)
    scale = 1.0
    for count in range(1, settings.ls_max_steps + 1):
        candidate = parameters - scale * full_step
        new_loss, kl = evaluate(candidate)
        if not (np.isfinite(new_loss) and np.isfinite(kl)):
            return replace(unchanged, line_search_steps=count, finite=False)
        if new_loss < loss and kl < settings.max_kl:
            return StepResult(candidate, new_loss, kl, count, True)
        scale *= _shrinkage(kl, settings)
    return replace(unchanged, line_search_steps=settings.ls_max_steps)


def _shrinkage(kl: float, settings: TrustRegion) -> float:
    """Factor to the next candidate; at most three backtracks at once, at least a fiftieth."""
    if not kl > settings.max_kl:
        return settings.ls_backtrack_ratio
    return max(settings.ls_backtrack_ratio**3, 0.98 * float(np.sqrt(settings.max_kl / kl)))
