"""Scores by reviewed rows: those that chance drew speak for all rows, the others for themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..prompts import Field
from .labels import Draw
from .scores import Pair, Scores, WeightedRows, score_pairs

__all__ = ["Reviewed", "score_reviewed"]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A reviewed row: its label, its answer if it has one, and how it came to be reviewed."""

    truth: Any
    answer: Any
    answered: bool
    draws: frozenset[Draw]

    @property
    def queue(self) -> str:
        """The queue of no known chance that it came by."""
        names = sorted(draw.queue for draw in self.draws if not draw.rows)
        return (names[0] if names else "") or "picked by hand"


def score_reviewed(
    known: Field, reviewed: Sequence[Reviewed], rows: int, notes: tuple[str, ...] = ()
) -> Scores:
    """The scores of a field by reviewed rows, of a run of `rows` rows.

    Where chance drew some of them, these alone are scored, each by the inverse of its chance: an
    estimate for all rows that they were drawn from. `Scores.rest` has the others by queue.
    """
    weights, of = _weights(reviewed)
    drawn = [row for row, weight in zip(reviewed, weights, strict=True) if weight]
    if not drawn:
        return _score(known, reviewed, [1.0] * len(reviewed), _own(reviewed, rows), notes)
    others: dict[str, list[Reviewed]] = defaultdict(list)
    for row, weight in zip(reviewed, weights, strict=True):
        if not weight:
            others[row.queue].append(row)
    rest = {
        queue: _score(known, some, [1.0] * len(some), _own(some, rows))
        for queue, some in others.items()
    }
    queues = sorted({draw.queue for row in drawn for draw in row.draws if draw.rows})
    scope = (
        f"An estimate for the {of:,} rows that these were drawn from by chance "
        f"({', '.join(queues)})"
    )
    found = _score(known, drawn, [weight for weight in weights if weight], scope, notes)
    return replace(found, rest=rest)


def _own(reviewed: Sequence[Reviewed], rows: int) -> str:
    """What rows that no chance drew speak for."""
    if len(reviewed) >= rows:
        return "All rows are labelled"
    queues = ", ".join(sorted({row.queue for row in reviewed}))
    return (
        f"These rows only ({queues}): chance didn't draw them, so the figures say nothing of the "
        "others"
    )


def _score(
    known: Field,
    reviewed: Sequence[Reviewed],
    weights: Sequence[float],
    scope: str,
    notes: tuple[str, ...] = (),
) -> Scores:
    pairs = [
        Pair(row.truth, row.answer, weight)
        for row, weight in zip(reviewed, weights, strict=True)
        if row.answered
    ]
    found = score_pairs(known, pairs)
    told = (*notes, *found.notes)
    return replace(found, scope=scope, unanswered=len(reviewed) - len(pairs), notes=told)


def _weights(reviewed: Sequence[Reviewed]) -> tuple[list[float], int]:
    """Each row's weight (0: by no known chance), and how many rows the drawn ones stand for.

    A row's chance is how many of its stratum were reviewed by how many there were. The weights of
    each queue are scaled to its effective number of rows: so what several queues say of the same
    rows is put together by how much each knows.
    """
    weights, most = [0.0] * len(reviewed), 0
    for queue in sorted({draw.queue for row in reviewed for draw in row.draws if draw.rows}):
        sizes: dict[str, int] = {}
        members: dict[str, list[int]] = defaultdict(list)
        for at, row in enumerate(reviewed):
            for draw in row.draws:
                if draw.queue == queue and draw.rows:
                    sizes[draw.stratum] = max(draw.rows, sizes.get(draw.stratum, 0))
                    if at not in members[draw.stratum][-1:]:
                        members[draw.stratum].append(at)
        own = {at: sizes[name] / len(some) for name, some in members.items() for at in some}
        scale = WeightedRows(list(own.values())).size / sum(own.values())
        for at, weight in own.items():
            weights[at] += weight * scale
        most = max(most, sum(sizes.values()))
    return weights, most
