"""The order in which rows come before a reviewer, and the chance by which each was drawn.

Pure functions over columns. `at_random` and `one_of_each` draw by known chances: however far a
reviewer gets, the first rows of each stratum are a random sample of it, so that a score can speak
for all rows. The others look where it is worth looking, and speak for nothing but their own rows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from ..text import as_text, is_missing
from .evidence import DOUBTFUL, MATCHES
from .labels import Draw

__all__ = [
    "Drawn",
    "at_random",
    "failed",
    "in_doubt",
    "in_order",
    "least_agreed",
    "least_sure",
    "one_of_each",
    "where_differ",
]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A row to review, by position, and how it was drawn: what its label is kept with."""

    position: int
    draw: Draw


def in_order(rows: int, *, among: Sequence[int] | None = None) -> list[Drawn]:
    """All rows as they stand in the frame; with `among`, those at these positions."""
    return _by_no_chance("in order", _places(rows, among))


def least_sure(
    confidence: Sequence[float | None], *, among: Sequence[int] | None = None
) -> list[Drawn]:
    """The rows by how sure the model is, the least sure first; those that don't say come last."""
    places = _places(len(confidence), among)

    def order(position: int) -> tuple[bool, float]:
        sure = confidence[position]
        return (True, 0.0) if sure is None or is_missing(sure) else (False, float(sure))

    return _by_no_chance("least sure", sorted(places, key=order))


def least_agreed(
    agreed: Sequence[int | None], votes: int, *, among: Sequence[int] | None = None
) -> list[Drawn]:
    """The rows on which votes differ, those with the fewest that agree first.

    `agreed` is how many of the `votes` agree on a row (None where it has no answer).
    """
    found = [
        (count, at)
        for at in _places(len(agreed), among)
        if (count := agreed[at]) is not None and count < votes
    ]
    return _by_no_chance("votes differ", [at for _, at in sorted(found)])


def where_differ(
    one: Sequence[Any], other: Sequence[Any], *, among: Sequence[int] | None = None
) -> list[Drawn]:
    """The rows on which two runs differ: `one` and `other` have each row's answer of either.

    Raises ValueError where they are of two lengths.
    """
    if len(one) != len(other):
        raise ValueError(f"the runs have {len(one):,} and {len(other):,} rows")
    places = _places(len(one), among)
    return _by_no_chance("differ", [at for at in places if one[at] != other[at]])


def failed(statuses: Sequence[str], *, among: Sequence[int] | None = None) -> list[Drawn]:
    """The rows that failed, as they stand in the frame."""
    places = _places(len(statuses), among)
    return _by_no_chance("failed", [at for at in places if statuses[at] == "failed"])


def in_doubt(matches: Sequence[str | None], *, among: Sequence[int] | None = None) -> list[Drawn]:
    """The rows whose evidence is missing or only approximate, the missing first.

    `matches` has for each row how the worst of its evidence matches.
    """
    places = [at for at in _places(len(matches), among) if matches[at] in DOUBTFUL]
    order = {word: -rank for rank, word in enumerate(MATCHES)}
    return _by_no_chance("in doubt", sorted(places, key=lambda at: order[matches[at] or ""]))


def at_random(rows: int, *, seed: int = 0, among: Sequence[int] | None = None) -> list[Drawn]:
    """All rows in an order that chance alone decides, fixed by `seed`."""
    places = _places(rows, among)
    random.Random(seed).shuffle(places)  # noqa: S311
    draw = Draw("random", "", len(places))
    return [Drawn(position, draw) for position in places]


def one_of_each(
    values: Sequence[Any], *, of: str = "", seed: int = 0, among: Sequence[int] | None = None
) -> list[Drawn]:
    """A row of each value in turn (the rarest value first), then a second of each, and so on.

    Stratified: which of a value's rows is next, chance decides, fixed by `seed`. `of` names the
    field that has the values: draws by two fields are two designs, and are told apart by it.
    """
    strata: dict[str, list[int]] = {}
    for position in _places(len(values), among):
        strata.setdefault(as_text(values[position]), []).append(position)
    dice = random.Random(seed)  # noqa: S311
    columns = []
    for value, places in sorted(strata.items(), key=lambda each: (len(each[1]), each[0])):
        dice.shuffle(places)
        draw = Draw(f"one of each {of}".rstrip(), value, len(places))
        columns.append([Drawn(position, draw) for position in places])
    return [drawn for turn in zip_longest(*columns) for drawn in turn if drawn is not None]


def _places(rows: int, among: Sequence[int] | None) -> list[int]:
    return list(range(rows) if among is None else among)


def _by_no_chance(queue: str, positions: Sequence[int]) -> list[Drawn]:
    draw = Draw(queue)
    return [Drawn(position, draw) for position in positions]
