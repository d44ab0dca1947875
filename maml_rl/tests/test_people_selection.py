"""Random-effects model selection against closed forms and integrals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import beta

from maml_rl.analysis.people.selection import _bound, compare_group, evidence_in_words, exceedance_probabilities
from maml_rl.utils.random import Purpose, generator


@pytest.mark.parametrize("num_models", [2, 3, 8])
def test_equal_evidence_leaves_all_models_alike(num_models):
    found = compare_group(np.tile(np.arange(14.0)[:, None], (1, num_models)))
    np.testing.assert_allclose(found.frequencies, 1 / num_models)
    np.testing.assert_allclose(found.exceedance, 1 / num_models)
    np.testing.assert_allclose(found.protected, 1 / num_models)
    np.testing.assert_allclose(found.attributions, 1 / num_models)
    assert found.omnibus_risk >= 0.5  # the bound is below the evidence, which is that of equal frequencies


def test_neither_order_nor_what_all_models_share_matters():
    logs = generator(1, Purpose.STATISTICS).normal(0.0, 3.0, (9, 4))
    order, found = [2, 0, 3, 1], compare_group(logs)
    other = compare_group(logs[::-1][:, order] + np.arange(9.0)[:, None])
    for part in ("frequencies", "exceedance", "protected"):
        np.testing.assert_allclose(getattr(other, part), getattr(found, part)[order], atol=1e-9)
    assert other.omnibus_risk == pytest.approx(found.omnibus_risk, abs=1e-9)


@pytest.mark.parametrize("counts", [(1.0, 1.0), (3.5, 2.0), (12.0, 4.0), (1.2, 15.0)])
def test_of_two_models_exceedance_is_a_beta_distribution(counts):
    expected = beta.sf(0.5, *counts)
    np.testing.assert_allclose(exceedance_probabilities(np.array(counts)), [expected, 1 - expected], atol=1e-5)


def test_of_many_models_exceedance_is_what_samples_say():
    counts = np.array([4.0, 2.0, 6.0, 1.0])
    drawn = generator(2, Purpose.STATISTICS).dirichlet(counts, 100_000).argmax(axis=1)
    np.testing.assert_allclose(exceedance_probabilities(counts), np.bincount(drawn) / 100_000, atol=0.006)


@pytest.mark.parametrize("scale", [0.5, 2.0, 6.0])
def test_the_bound_is_below_the_evidence_and_near_it(scale):
    logs = generator(3, Purpose.STATISTICS).normal(0.0, scale, (6, 2))
    fractions = (np.arange(20_000) + 0.5) / 20_000
    likely = logsumexp(logs[:, :, None] + np.log([fractions, 1 - fractions]), axis=1).sum(axis=0)  # (nodes,)
    evidence = logsumexp(likely) - np.log(len(fractions))
    found = compare_group(logs)
    counts = found.frequencies * (6 + 2)
    bound = _bound(logs, found.attributions, counts)
    assert evidence - 1.5 < bound < evidence
    even = logsumexp(logs, axis=1).sum() - 6 * np.log(2)
    assert found.omnibus_risk == pytest.approx(1 / (1 + np.exp(bound - even)))


def test_one_outlier_does_not_decide_for_a_group():
    logs = np.zeros((14, 2))
    logs[:, 1] = 1.5  # thirteen subjects favour the second model a little
    logs[0] = (100.0, 0.0)  # one the first, very much
    assert logs.sum(axis=0).argmax() == 0
    found = compare_group(logs)
    assert found.protected[1] > 0.9
    assert found.attributions[0, 0] > 0.99


@pytest.mark.slow
def test_more_subjects_are_more_evidence():
    risks = [compare_group(np.tile([2.0, 0.0, 0.0], (count, 1))).omnibus_risk for count in (3, 10, 30)]
    assert risks[0] > risks[1] > risks[2]
    assert compare_group(np.tile([2.0, 0.0, 0.0], (30, 1))).protected[0] > 0.99


def test_words_and_errors():
    assert [evidence_in_words(size) for size in (0.99, 2.99, 4.99, 5.0)] == [
        "not worth more than a bare mention",
        "positive",
        "strong",
        "very strong",
    ]
    with pytest.raises(ValueError, match=r"log_evidences: got shape \(2,\), expected finite numbers \(S, M\)"):
        compare_group(np.zeros(2))
