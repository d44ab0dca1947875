"""Random-effects Bayesian model selection: the model that most subjects follow; evidence in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import digamma, gammaln, logsumexp, softmax

_MOST_ROUNDS = 10_000
_TOLERANCE = 1e-10
_NUM_NODES = 400
_WORDS = ((1.0, "not worth more than a bare mention"), (3.0, "positive"), (5.0, "strong"))


@dataclass(frozen=True)
class GroupComparison:
    """Comparison of M models as the ways of S subjects, each of whom follows one of them.

    Attributes
    ----------
    frequencies
        (M,), expected fraction of subjects that follow each model.
    exceedance
        (M,), probability that a model is the commonest one.
    protected
        (M,), the same, allowing for all models being equally common.
    omnibus_risk
        Probability that they are: "Bayesian omnibus risk".
    attributions
        (S, M), probability that a subject follows a model.
    """

    frequencies: np.ndarray
    exceedance: np.ndarray
    protected: np.ndarray
    omnibus_risk: float
    attributions: np.ndarray


def compare_group(log_evidences: np.ndarray) -> GroupComparison:
    """Random-effects Bayesian model selection (Stephan et al. 2009; Rigoux et al. 2014).

    Models' frequencies have a uniform Dirichlet prior; their posterior is approximated by a Dirichlet distribution,
    variationally. Exceedance probabilities of that are integrals over one dimension, not samples. The omnibus risk
    compares the variational bound with the evidence for equal frequencies, and the protected exceedance probability is
    ``(1 - risk) * exceedance + risk / M``.

    Parameters
    ----------
    log_evidences
        (S, M), finite, in nats: of each model for each subject, such as ``-BIC / 2``.

    Raises
    ------
    ValueError
        If they are not.

    Examples
    --------
    Ten subjects, for each of whom the first model's evidence is 20 times the second one's:

    >>> found = compare_group(np.tile([np.log(20.0), 0.0], (10, 1)))
    >>> found.protected.round(3).tolist(), round(found.omnibus_risk, 3)
    ([0.991, 0.009], 0.017)
    """
    logs = np.asarray(log_evidences, dtype=np.float64)
    if logs.ndim != 2 or logs.size == 0 or not np.isfinite(logs).all():
        raise ValueError(f"log_evidences: got shape {logs.shape}, expected finite numbers (S, M)")
    num_models = logs.shape[1]
    counts = np.ones(num_models)
    for _ in range(_MOST_ROUNDS):
        attributions = softmax(logs + digamma(counts), axis=1)
        before, counts = counts, 1.0 + attributions.sum(axis=0)
        if np.abs(counts - before).max() < _TOLERANCE:
            break
    attributions = softmax(logs + digamma(counts), axis=1)
    even = float(logsumexp(logs, axis=1).sum() - len(logs) * np.log(num_models))
    risk = float(1.0 / (1.0 + np.exp(np.clip(_bound(logs, attributions, counts) - even, -700.0, 700.0))))
    exceedance = exceedance_probabilities(counts)
    protected = (1.0 - risk) * exceedance + risk / num_models
    return GroupComparison(counts / counts.sum(), exceedance, protected, risk, attributions)


def exceedance_probabilities(counts: np.ndarray) -> np.ndarray:
    """Probability (M,) that each component of a Dirichlet distribution with `counts` (M,) is the largest.

    Components are independent gamma variables, divided by their sum:
    ``p(k) = int dG_k(x) prod_{j != k} G_j(x)``, by Gauss-Legendre nodes of ``G_k``.

    Examples
    --------
    >>> exceedance_probabilities(np.array([1.0, 1.0, 1.0, 1.0])).round(6).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    nodes, weights = np.polynomial.legendre.leggauss(_NUM_NODES)
    levels, weights = 0.5 * (nodes + 1.0), 0.5 * weights
    found = np.empty(len(counts))
    for index, count in enumerate(counts):
        points = stats.gamma.ppf(levels, count)
        others = stats.gamma.cdf(points[:, np.newaxis], np.delete(counts, index))  # (nodes, M - 1)
        found[index] = weights @ others.prod(axis=1)
    return np.asarray(found / found.sum())


def evidence_in_words(log_factor: float) -> str:
    """Words for a log Bayes factor, in nats >= 0 (Kass & Raftery 1995, section 3.2).

    Examples
    --------
    >>> evidence_in_words(0.5), evidence_in_words(4.0), evidence_in_words(9.0)
    ('not worth more than a bare mention', 'strong', 'very strong')
    """
    return next((words for most, words in _WORDS if log_factor < most), "very strong")


def _bound(logs: np.ndarray, attributions: np.ndarray, counts: np.ndarray) -> float:
    """Variational lower bound of the log evidence for unequal frequencies."""
    expected = digamma(counts) - digamma(counts.sum())  # of the log frequencies
    shown = np.where(attributions > 0, attributions, 1.0)
    chosen = float((attributions * (logs + expected - np.log(shown))).sum())
    prior = float(gammaln(len(counts)))  # of the uniform Dirichlet distribution, whose exponents are 0
    posterior = float(gammaln(counts.sum()) - gammaln(counts).sum() + ((counts - 1.0) * expected).sum())
    return chosen + prior - posterior
