"""Sentences about fits to a group, each with how much evidence there is for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from maml_rl.analysis.intervals import Interval, mean_interval
from maml_rl.analysis.lagged_regression import LAGGED_TERMS
from maml_rl.analysis.people.group_fits import GroupFits
from maml_rl.analysis.people.selection import compare_group, evidence_in_words

_STRONG = 3.0
"""Nats of a log Bayes factor from which evidence is strong (Kass & Raftery 1995)."""
_SURE = 0.95
NESTED = (
    ("two-rates", "td"),
    ("forgetting", "td"),
    ("bonus", "td"),
    ("hybrid", "model-based"),
    ("hybrid", "model-free"),
)
"""Models and restrictions of them."""
FEW_SUBJECTS = 10
"""Below that many subjects a comparison of a group is called one of few."""


def ranking(found: GroupFits) -> list[str]:
    """Names of the models, from the best to the worst summed log evidence."""
    names, totals = list(found.models), found.log_evidences.sum(axis=0)
    return [names[index] for index in np.argsort(-totals, kind="stable")]


def statements(found: GroupFits) -> list[str]:
    """Sentences about which model explains the choices, from the least assumed to the most."""
    lines = [_against_chance(found)]
    if len(found.models) > 1:
        lines += [_fixed_effects(found), _random_effects(found)]
        lines += [_absolute_fit(found)]
    return lines


def _against_chance(found: GroupFits) -> str:
    best = ranking(found)[0]
    gains = np.array([-0.5 * fit.bic - fit.chance_log_likelihood for fit in found.fits[best]])
    return (
        f"Against chance: {best} explains choices better than chance with strong evidence or more (log Bayes factor "
        f">= {_STRONG:g} nats, by BIC) in {int((gains >= _STRONG).sum())} of {len(gains)} subjects, median "
        f"{np.median(gains):.1f} nats. Without it a subject's estimates mean little."
    )


def _fixed_effects(found: GroupFits) -> str:
    first, second = ranking(found)[:2]
    names = list(found.models)
    each = found.log_evidences[:, names.index(first)] - found.log_evidences[:, names.index(second)]
    total, count = float(each.sum()), len(each)
    whom = f"If all {count} subjects follow one model (fixed effects)" if count > 1 else "Of the one subject"
    text = f"{whom}: {first} over {second}, log Bayes factor {total:.1f} nats (evidence: {evidence_in_words(total)})"
    if count == 1:
        return text + "; one subject tells nothing of others."
    largest = float(each.max())
    without = total - largest
    doubt = f"{evidence_in_words(without)}" if without > 0 else f"for {second} instead"
    return (
        text + f"; {int((each > 0).sum())} of {count} subjects favour it, {int((each >= _STRONG).sum())} strongly, "
        f"{int((each <= -_STRONG).sum())} strongly the other. Without the subject that speaks most for it: "
        f"{without:.1f} nats ({doubt})."
    )


def _random_effects(found: GroupFits) -> str:
    names, count = list(found.models), len(found.subjects)
    if count == 1:
        return "If subjects may differ (random effects): one subject tells nothing of others."
    group = compare_group(found.log_evidences)
    best = int(group.protected.argmax())
    probability = float(group.protected[best])
    lead = f"{names[best]} is the commonest model"
    if probability < _SURE:
        lead = f"no model is shown to be the commonest; the likeliest is {names[best]}"
    few = ", a small sample" if count < FEW_SUBJECTS else ""
    return (
        f"If subjects may differ (random effects): {lead}, protected exceedance probability {probability:.3f} "
        f"(chance {1.0 / len(names):.3f}), expected in {100 * group.frequencies[best]:.0f} % of subjects; all models "
        f"are equally common with probability {group.omnibus_risk:.3f} ({count} subjects{few})."
    )


def _absolute_fit(found: GroupFits) -> str:
    best = ranking(found)[0]
    values = np.array([fit.pseudo_r2 for fit in found.fits[best]])
    return (
        f"Best of those fitted does not mean right: {best} has a median pseudo-R² of {np.median(values):.2f} (0: "
        "chance, 1: every choice certain). Which of these models can be told apart at all, with as many trials as "
        "here, is a matter of model recovery, see docs/people.md."
    )


def table_of_models(found: GroupFits) -> list[str]:
    """Markdown: the models, how well they fit and how common they are."""
    group = compare_group(found.log_evidences)
    of_group = (group.frequencies, group.exceedance, group.protected)
    best = found.log_evidences.argmax(axis=1)
    lines = [
        "| model | parameters | log likelihood | AIC | BIC | pseudo-R² | best for | expected fraction | exceedance "
        "| protected exceedance |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for index, name in enumerate(found.models):
        fits = found.fits[name]
        sums = [sum(getattr(fit, part) for fit in fits) for part in ("log_likelihood", "aic", "bic")]
        places = [f"{part[index]:.3f}" if len(fits) > 1 else "-" for part in of_group]
        cells = [name, str(len(fits[0].parameters)), *(f"{value:.1f}" for value in sums)]
        cells += [f"{np.median([fit.pseudo_r2 for fit in fits]):.3f}", f"{int((best == index).sum())} of {len(fits)}"]
        lines.append(f"| {' | '.join([*cells, *places])} |")
    count = sum(fit.num_choices for fit in found.fits[next(iter(found.models))])
    return [f"Sums over {len(found.subjects)} subjects and {count} choices; pseudo-R²: median.", "", *lines]


def table_of_parameters(found: GroupFits, model: str) -> list[str]:
    """Markdown: the parameters of a model, over subjects."""
    lines = [
        "| parameter | median [quartiles] | mean [95 % over subjects] | median standard error | at a bound |",
        "|---|---|---|---|---|",
    ]
    values = found.parameters(model)
    means = mean_interval(values.T)
    for index, part in enumerate(found.models[model].ranges):
        low, middle, high = np.quantile(values[:, index], [0.25, 0.5, 0.75])
        known = found.errors[model][:, index]
        error = f"{np.median(known[np.isfinite(known)]):.2f}" if np.isfinite(known).any() else "-"
        ends = f"[{means.low[index]:.2f}, {means.high[index]:.2f}]" if len(values) > 1 else "[-]"
        bounds = sum(bool(fit.at_bounds[index]) for fit in found.fits[model])
        lines.append(
            f"| {part.name} | {middle:.2f} [{low:.2f}, {high:.2f}] | {means.mean[index]:.2f} {ends} | {error} "
            f"| {bounds} of {len(values)} ({part.least:g} or {part.most:g}) |"
        )
    return lines


def planning_statements(found: GroupFits, effects: np.ndarray) -> list[str]:
    """Sentences about model-based and model-free choices in the two-step task.

    Parameters
    ----------
    found
        Fits, among them those of the hybrid, if any.
    effects
        (S, 4, L), coefficients of the lagged regression of each subject, see
        `maml_rl.analysis.lagged_regression.regress_on_past`.
    """
    lines = []
    if "hybrid" in found.models:
        index = next(i for i, part in enumerate(found.models["hybrid"].ranges) if part.name.startswith("w,"))
        weights = found.parameters("hybrid")[:, index]
        bounds = sum(bool(fit.at_bounds[index]) for fit in found.fits["hybrid"])
        lines.append(
            f"Weight of model-based values: {_with_interval(weights)}, {bounds} of {len(weights)} at 0 or 1. Single "
            "subjects' weights are imprecise (see their standard errors)."
        )
    sums = effects.sum(axis=2)  # (S, 4)
    for name, meaning in (("outcome", "model-free"), ("transition x outcome", "model-based")):
        values = sums[:, LAGGED_TERMS.index(name)]
        lines.append(
            f"Effect of {name} over {effects.shape[2]} trials, the mark of {meaning} learning: "
            f"{_with_interval(values)} log odds; {int((values > 0).sum())} of {len(values)} subjects above 0."
        )
    return lines


def table_of_nested(found: GroupFits) -> list[str]:
    """Markdown: likelihood ratio tests of models against restrictions of them, all subjects together.

    ``2 sum_s (log_likelihood of the larger - of the smaller)`` is chi-squared with as many degrees of freedom as there
    are further parameters, a number for each subject, if the smaller model is true; where the restriction lies at the
    end of a range, p is too large.
    """
    pairs = [pair for pair in NESTED if set(pair) <= set(found.models)]
    if not pairs:
        return []
    lines = [
        "A small p speaks against the smaller model, whatever BIC prefers: BIC asks half the logarithm of the number "
        "of choices for every further parameter of every subject, more than many subjects' choices can pay. p is not "
        "corrected for the number of tests.",
        "",
        "| larger | smaller | chi² | degrees of freedom | p | less summed BIC |",
        "|---|---|---|---|---|---|",
    ]
    for larger, smaller in pairs:
        fits = list(zip(found.fits[larger], found.fits[smaller], strict=True))
        statistic = 2.0 * sum(whole.log_likelihood - part.log_likelihood for whole, part in fits)
        freedom = sum(len(whole.parameters) - len(part.parameters) for whole, part in fits)
        p = float(stats.chi2.sf(statistic, freedom))
        gain = sum(part.bic - whole.bic for whole, part in fits)
        winner = larger if gain > 0 else smaller
        lines.append(f"| {larger} | {smaller} | {statistic:.1f} | {freedom} | {p:.2g} | {winner} |")
    return lines


def lagged_effects(effects: np.ndarray) -> Interval:
    """Means over subjects of `effects` (S, 4, L), with their 95 % intervals (4, L)."""
    return mean_interval(np.moveaxis(effects, 0, -1))


def _with_interval(values: np.ndarray) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f} (one subject, no interval)"
    interval = mean_interval(values)
    ends = f"[{float(interval.low):.2f}, {float(interval.high):.2f}]"
    return f"mean {float(interval.mean):.2f}, 95 % interval over {len(values)} subjects {ends}"


def markdown_list(lines: Sequence[str]) -> list[str]:
    """Lines of a Markdown list."""
    return [f"- {line}" for line in lines]
