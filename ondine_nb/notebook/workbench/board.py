"""The leaderboard: each try with what it changed, how right it was, how sure that is, its price."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...evaluation import Change, Paired, Try, TryScore, class_of, pair
from ...pipeline import DEFAULT_MODEL
from ..ui import clean, money, span
from .actions import Work
from .trials import Trial
from .truths import decisive

__all__ = ["Leaderboard", "Line"]

MOST = 60  # tries that are shown at once
_TEXT = 60  # characters of a change
_AT_ONCE = 5  # prompts that are compared while somebody waits
_CHANGES = 2  # of a try that are shown; the others are counted


@dataclass(frozen=True, slots=True)
class Line:
    """A try on the board. `score` is of the judged field; None without labels or answers.

    `changed` is None as long as it hasn't been found out.
    """

    kept: Try
    changed: tuple[Change, ...] | None
    first: bool
    score: TryScore | None
    current: bool = False
    ticked: bool = False
    best: bool = False

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        kept, score, changed = self.kept, self.score, self.changed
        usd = kept.usd_per_1000
        return {
            "number": kept.number,
            "name": kept.name,
            "first": self.first,
            "changed": None if changed is None else [_change(it) for it in changed[:_CHANGES]],
            "more": max(0, len(changed or ()) - _CHANGES),
            "model": clean(kept.model or DEFAULT_MODEL, 60),
            "rows": kept.rows,
            "answered": kept.answered,
            "asked": len(kept.sample),
            "failed": kept.failed,
            "measure": "" if score is None else score.measure,
            "n": 0 if score is None else score.n,
            "value": None if score is None else score.value,
            "low": None if score is None else score.low,
            "high": None if score is None else score.high,
            "f1": None if score is None else score.macro_f1,
            "usd": None if usd is None else float(usd),
            "price": "unknown" if usd is None else money(usd),
            "p50": kept.p50,
            "latency": "" if kept.p50 is None else span(kept.p50),
            "note": clean(kept.note, 400),
            "current": self.current,
            "ticked": self.ticked,
            "best": self.best,
        }


class Leaderboard:
    """The tries of a bench, the last one first; `most` of them (0: all), `total` there are.

    Comparing many long prompts word by word takes a while: with `at_once` only what is known, and
    a few more, is told; `whole` says whether that is all.
    """

    def __init__(self, work: Work, most: int = MOST, *, at_once: bool = False) -> None:
        tries = work.tries.tries
        self.total: int = len(tries)
        self._work = work
        shown = tries[-most:] if most else tries
        there = {it.number for it in shown}
        shown = [
            it for it in tries if it.number in there or it.number in (work.current, work.ticked)
        ]
        befores = {after.number: before for before, after in itertools.pairwise(tries)}
        scores = {it.number: self._score(it) for it in shown}
        best = _best(scores)
        known = sum(work.knows_changes(befores.get(it.number), it) for it in shown)
        waits = at_once and len(shown) - known > _AT_ONCE
        changed = {
            it.number: None
            if waits and not work.knows_changes(befores.get(it.number), it)
            else work.changed(befores.get(it.number), it)
            for it in shown
        }
        self.whole: bool = not waits
        self.lines: list[Line] = [
            Line(
                it,
                changed[it.number],
                it.number not in befores,
                scores[it.number],
                current=it.number == work.current,
                ticked=it.number == work.ticked,
                best=it.number == best,
            )
            for it in reversed(shown)
        ]

    def _score(self, kept: Try) -> TryScore | None:
        """By labels; without any, how often it agrees with the current try."""
        first = kept.scores[0] if kept.scores else None
        if first is not None or kept.number == self._work.current:
            return first
        one, other = self._work.trials.get(self._work.current), self._work.trials.get(kept.number)
        return None if one is None or other is None else _agreement(one, other)

    def line(self, number: int) -> Line | None:
        """The line of the try of that number."""
        return next((it for it in self.lines if it.kept.number == number), None)

    @property
    def measure(self) -> str:
        """What most lines are measured by: `accuracy`, `agreement`, `mae`; "" by nothing yet."""
        found = [it.score.measure for it in self.lines if it.score is not None]
        return max(set(found), key=found.count) if found else ""

    def tie(self) -> str:
        """What the best try is ahead of the current one, or of the next, and what that costs more.

        "" where there are no two to tell apart, or they can be told apart.
        """
        lead = next((it for it in self.lines if it.best), None)
        rest = [it for it in self.lines if it is not lead and _measured(it.score)]
        if lead is None or not rest:
            return ""
        other = next((it for it in rest if it.current), None) or max(rest, key=_value)
        paired = self._paired(other.kept, lead.kept)
        if paired is None or not paired.n or not paired.tie:
            return ""
        return paired.judgement(other.kept.usd_per_1000, lead.kept.usd_per_1000) + "."

    def _paired(self, one: Try, two: Try) -> Paired | None:
        """The labelled rows that both have answered; None where the answers aren't read yet."""
        trials = self._work.trials.get(one.number), self._work.trials.get(two.number)
        if trials[0] is None or trials[1] is None:
            return None
        truths, field = self._work.bench.truths(), one.scores[0].field
        rights = [
            {
                at: truths.right(at, field, answer)
                for at, answer in zip(trial.positions, trial.answers, strict=True)
            }
            for trial in (trials[0], trials[1])
        ]
        both = [at for at in rights[0] if at in rights[1]]
        return pair(one.name, two.name, *([each[at] for at in both] for each in rights))

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "lines": [line.told() for line in self.lines],
            "total": self.total,
            "measure": self.measure,
            "against": f"v{self._work.current}" if self._work.current else "",
            "tie": self.tie(),
            "scale": _scale([line.score for line in self.lines]),
        }


def _change(change: Change) -> dict[str, str]:
    name = "" if change.name == "prompt" else change.name
    return {
        "name": clean(name, 30),
        "removed": clean(change.removed, _TEXT),
        "added": clean(change.added, _TEXT),
    }


def _measured(score: TryScore | None) -> bool:
    return score is not None and score.value is not None and score.measure == "accuracy"


def _value(line: Line) -> float:
    return (line.score.value if line.score is not None else None) or 0.0


def _best(scores: Mapping[int, TryScore | None]) -> int:
    """The number of the try that is right most often; 0 where there are no two to compare."""
    known = {at: it.value or 0.0 for at, it in scores.items() if it is not None and _measured(it)}
    return max(known, key=lambda at: (known[at], at)) if len(known) > 1 else 0


def _agreement(one: Trial, other: Trial) -> TryScore | None:
    """How often two tries say the same of the rows that both have answered."""
    names = decisive(one.fields)
    answers = dict(zip(other.positions, other.answers, strict=True))
    both = [
        (mine, theirs)
        for at, mine in zip(one.positions, one.answers, strict=True)
        if mine is not None and (theirs := answers.get(at)) is not None
    ]
    if not both:
        return None
    same = sum(
        all(class_of(mine.get(name)) == class_of(theirs.get(name)) for name in names)
        for mine, theirs in both
    )
    return TryScore(", ".join(names), "agreement", len(both), same / len(both))


def _scale(scores: Sequence[TryScore | None]) -> float:
    """Where the bars of the intervals begin: 0, or a round number below all of them."""
    lows = [it.low for it in scores if it is not None and it.low is not None]
    return max(0.0, int(min(lows) * 5 - 0.01) / 5) if lows else 0.0
