"""Two sets of answers to the same rows: what one fixed and broke, and whether that is chance.

The test is McNemar's, exact: of the rows on which only one of the two is right, each would be
either one's by a fair coin (McNemar, "Note on the sampling error of the difference between
correlated proportions or percentages", Psychometrika 12, 1947). Rows on which both are right, or
both wrong, don't tell them apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ...prompts import Field
from ..evidence import MATCHES
from .intervals import Interval, wilson
from .scores import NUMBERS, MatchScore, Pair, class_of, items_of

__all__ = ["Paired", "by_match", "pair", "same_answer", "sign_test"]

CHANCE = 0.05  # a difference that comes about by chance at least as often is a tie
_EXACT = 2_000  # pairs up to which the test is summed in whole numbers
_CLOSE = 1e-9  # relative: by so little numbers differ that are one


@dataclass(frozen=True, slots=True)
class Paired:
    """How two sets of answers stand to the labels of `n` rows that both have answered.

    `fixed` rows are right by the second alone, `broke` by the first alone. `unpaired` labelled rows
    have an answer of one side only, or of none: they don't count.
    """

    first: str
    second: str
    both_right: int
    both_wrong: int
    fixed: int
    broke: int
    unpaired: int = 0

    @property
    def n(self) -> int:
        """How many labelled rows both have answered."""
        return self.both_right + self.both_wrong + self.fixed + self.broke

    @property
    def p(self) -> float:
        """McNemar's exact test, two-sided: how often chance makes as large a difference."""
        return sign_test(self.fixed, self.broke)

    @property
    def tie(self) -> bool:
        """Whether these rows are too few to tell the two apart: p is 0.05 or more."""
        return self.p >= CHANCE

    @property
    def accuracies(self) -> tuple[float | None, float | None]:
        """The share of right answers of each; None without rows."""
        return self._share(self.both_right + self.broke), self._share(self.both_right + self.fixed)

    def _share(self, right: int) -> float | None:
        return right / self.n if self.n else None

    @property
    def intervals(self) -> tuple[Interval | None, Interval | None]:
        """Wilson's 95 % interval of each accuracy; None without rows."""
        one, two = (None if it is None else wilson(it, self.n) for it in self.accuracies)
        return one, two

    @property
    def sentence(self) -> str:
        """The test in plain words: who is right where the other is wrong, and how sure that is."""
        if not self.n:
            return "no labelled row was answered by both: there is nothing to test"
        if not self.fixed + self.broke:
            return (
                f"{self.second} is right and wrong on the same rows as {self.first} "
                f"({_rows(self.n)}): nothing tells them apart"
            )
        says = "could be chance" if self.tie else "hardly chance"
        return (
            f"{self.second} is right on {_rows(self.fixed)} where {self.first} is wrong, "
            f"{self.first} on {self.broke:,} where {self.second} is wrong: "
            f"{says} ({p_text(self.p)})"
        )

    def judgement(self, first_cost: Decimal | None, second_cost: Decimal | None) -> str:
        """Which of the two leads, whether that is a tie, and what the dearer one costs.

        The costs are of the same number of rows, in USD; None where a price isn't known.
        """
        lead = self.fixed - self.broke
        ahead, behind = (self.second, self.first) if lead > 0 else (self.first, self.second)
        of = f"{_rows(abs(lead))} of {self.n:,}"
        if not self.n:
            said = f"{self.first} and {self.second} have no labelled row in common"
        elif not lead:
            said = f"{self.first} and {self.second} are right on as many of {self.n:,} rows"
        elif self.tie:
            said = f"{ahead} leads {behind} by {of}, too few to tell them apart"
        else:
            said = f"{ahead} leads {behind} by {of} ({p_text(self.p)})"
        dearer = self._dearer(first_cost, second_cost)
        if not dearer:
            return said
        name, costs = dearer
        return f"{said}, and {costs}" if lead and name == ahead else f"{said}; {name} {costs}"

    def _dearer(self, first: Decimal | None, second: Decimal | None) -> tuple[str, str] | None:
        if first is None or second is None or first == second:
            return None
        name = self.second if second > first else self.first
        low, high = sorted((first, second))
        if not low:
            return name, "costs money, where the other is free"
        times = high / low
        if times < Decimal("1.05"):
            return None
        return name, f"costs {times:.{0 if times >= 9.5 else 1}f} times as much"


def pair(
    first: str,
    second: str,
    one: Sequence[bool | None],
    two: Sequence[bool | None],
) -> Paired:
    """Pairs whether each labelled row is right by the first and by the second (None: no answer)."""
    pairs = list(zip(one, two, strict=True))
    counts = {cell: pairs.count(cell) for cell in set(pairs)}
    right, wrong = counts.get((True, True), 0), counts.get((False, False), 0)
    fixed, broke = counts.get((False, True), 0), counts.get((True, False), 0)
    unpaired = len(pairs) - right - wrong - fixed - broke
    return Paired(first, second, right, wrong, fixed, broke, unpaired)


def same_answer(known: Field, one: Any, other: Any) -> bool:
    """Whether two values of a field are one, as `score_pairs` compares them: classes by their text,
    lists by their items, numbers by their size."""
    if known.kind.startswith("list["):
        return items_of(one) == items_of(other)
    if known.kind in NUMBERS and one is not None and other is not None:
        return math.isclose(float(one), float(other), rel_tol=_CLOSE)
    return class_of(one) == class_of(other)


def by_match(known: Field, pairs: Iterable[tuple[str | None, Pair]]) -> dict[str, MatchScore]:
    """How right answers are by how their evidence matches, the best match first."""
    found: dict[str, list[bool]] = {word: [] for word in MATCHES}
    for match, pair in pairs:
        if match is not None:
            found[match].append(same_answer(known, pair.truth, pair.answer))
    shares = {word: (sum(each) / len(each), len(each)) for word, each in found.items() if each}
    return {word: MatchScore(n, share, wilson(share, n)) for word, (share, n) in shares.items()}


def sign_test(one: int, other: int) -> float:
    """The exact two-sided binomial test of `one` against `other` by a fair coin; 1.0 for none."""
    n, least = one + other, min(one, other)
    if one == other:
        return 1.0
    if n <= _EXACT:
        ways: int = sum(math.comb(n, k) for k in range(least + 1))
        return min(1.0, 2 * ways / (1 << n))
    # From the largest term down: each is the one above it times k / (n - k + 1).
    logs = math.lgamma(n + 1) - math.lgamma(least + 1) - math.lgamma(n - least + 1)
    term, tail = 1.0, 0.0
    for k in range(least, -1, -1):
        tail += term
        term *= k / (n - k + 1)
        if term < tail * 1e-17:
            break
    return min(1.0, 2 * tail * math.exp(logs - n * math.log(2)))


def p_text(p: float) -> str:
    """ "p = 0.07", "p = 0.003", "p < 0.001"."""
    if p < 0.001:
        return "p < 0.001"
    places = 3 if p < 0.0095 or 0.045 <= p < 0.055 else 2
    return f"p = {p:.{places}f}"


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
