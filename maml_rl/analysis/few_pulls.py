"""Exact Bayes-optimal behaviour on many Bernoulli arms, for so few pulls that all that can happen can be counted."""

from __future__ import annotations

from collections import Counter

from maml_rl.utils.checks import check_at_least

_MOST_PULLS = 16

Records = tuple[tuple[int, int], ...]
"""(wins, losses) of the arms pulled so far, sorted: arms are alike, so which is which does not matter."""


def few_pulls_optimum(num_arms: int, num_pulls: int) -> float:
    """Expected total reward of Bayes-optimal behaviour on arms whose means are independent and uniform on [0, 1].

    Backward induction over what is known of the arms, which is a multiset of records: with 10 pulls there are 4,435
    of them, however many arms there are. No agent obtains more on average; what a mean over 1000 tasks shows above
    it is luck (its standard error is about 0.07 at 10 pulls).

    Parameters
    ----------
    num_arms
        Number of arms K, >= 1.
    num_pulls
        Number of pulls, from 1 to 16; 10 take a tenth of a second, 16 some seconds.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> [round(few_pulls_optimum(num_arms, 10), 3) for num_arms in (2, 5, 10, 50)]
    [6.022, 6.66, 6.714, 6.714]
    """
    check_at_least(1, num_arms=num_arms)
    if not 1 <= num_pulls <= _MOST_PULLS:
        raise ValueError(f"num_pulls: got {num_pulls}, expected 1 to {_MOST_PULLS}: more than can be counted")
    reachable: list[set[Records]] = [{()}]
    for _ in range(num_pulls - 1):
        reachable.append(
            {after for records in reachable[-1] for arm in _arms(records, num_arms) for after in _pull(records, arm)}
        )
    values: dict[Records, float] = {}
    for states in reversed(reachable):
        values = {records: _best(records, num_arms, values) for records in states}
    return values[()]


def _best(records: Records, num_arms: int, values: dict[Records, float]) -> float:
    """Value of the best arm, where `values` are those one pull later; empty: there is none."""
    best = 0.0
    for wins, losses in _arms(records, num_arms):
        won, lost = (values.get(after, 0.0) for after in _pull(records, (wins, losses)))
        chance = (wins + 1) / (wins + losses + 2)
        best = max(best, chance * (1.0 + won) + (1.0 - chance) * lost)
    return best


def _arms(records: Records, num_arms: int) -> set[tuple[int, int]]:
    """Records of arms that differ in what is known of them; (0, 0) while there is one never pulled."""
    return {*records, (0, 0)} if len(records) < num_arms else set(records)


def _pull(records: Records, arm: tuple[int, int]) -> tuple[Records, Records]:
    """Records after a win and after a loss of an arm."""
    others = Counter(records)
    if arm != (0, 0):
        others[arm] -= 1
    left = tuple(others.elements())
    wins, losses = arm
    return tuple(sorted((*left, (wins + 1, losses)))), tuple(sorted((*left, (wins, losses + 1))))
