"""The queues of a review: which rows come before the reviewer, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import ConfigurationError, nearest
from ...evaluation import (
    Drawn,
    at_random,
    failed,
    in_doubt,
    in_order,
    json_value,
    least_agreed,
    least_sure,
    one_of_each,
    where_differ,
)
from ...pipeline import JudgedRun
from ...stages import agree_name

__all__ = ["ReviewQueues", "confidence_of"]

CONFIDENCE = "confidence"


def confidence_of(run: Any, chosen: str | None) -> str | None:
    """The numeric field that says how sure the model is: the chosen one, or one named `confidence`.

    Raises `ConfigurationError` where the chosen one is no numeric field of the answers.
    """
    schema = run.pipeline.schema
    numeric = [it.name for it in schema.fields if it.kind in ("int", "float")] if schema else []
    if chosen is None:
        return CONFIDENCE if CONFIDENCE in numeric else None
    if chosen not in numeric:
        near = nearest(chosen, numeric)
        hint = f"did you mean {near!r}?" if near else f"it has {', '.join(numeric) or 'none'}"
        raise ConfigurationError(f"`{run.name}` has no numeric field {chosen!r}: {hint}")
    return chosen


class ReviewQueues:
    """The queues that a run's rows can be reviewed in, each made on first use.

    With `rows` (positions) all of them draw from among these; with `other`, a finished run over
    the same frame, there is one of the rows on which the two differ.
    """

    def __init__(
        self,
        judged: JudgedRun,
        *,
        rows: Sequence[int] | None = None,
        other: Any = None,
        confidence: str | None = None,
    ) -> None:
        self.judged: JudgedRun = judged
        self.run: Any = judged.run
        self.among: list[int] | None = None if rows is None else sorted({int(at) for at in rows})
        self.other: Any = other
        self.confidence: str | None = confidence
        self._made: dict[str, list[Drawn]] = {}
        self._makers = self._found()

    @property
    def names(self) -> Mapping[str, str]:
        """The words of each one's tab, by name; the first is the best to begin with."""
        words = {"chosen": f"these {len(self.among or ()):,}", "least sure": "least sure first"}
        words |= {"differ": "disagreements", "in doubt": "evidence in doubt"}
        return {name: words.get(name, name) for name in self._makers}

    def rows(self, name: str) -> list[Drawn]:
        """The rows of a queue. Raises `ConfigurationError` for one that this run hasn't."""
        if name not in self._makers:
            raise ConfigurationError(
                f"`{self.run.name}` has no queue {name!r}: it has {', '.join(self._makers)}"
            )
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def measures(self, name: str) -> bool:
        """Whether the rows of this queue speak for all rows: they were drawn by known chances."""
        return self.among is None and name.startswith(("random", "one of each"))

    def _found(self) -> dict[str, Callable[[], list[Drawn]]]:
        rows = len(self.judged.frame)
        answered = [at for at in self._places() if self.judged.answered[at]]
        made: dict[str, Callable[[], list[Drawn]]] = {}
        if self.among is not None:
            made["chosen"] = lambda: in_order(rows, among=self.among)
        if (votes := self.run.pipeline.votes) > 1:
            made["votes differ"] = lambda: least_agreed(self._agreed(), votes, among=answered)
        if (sure := self.confidence) is not None:
            made["least sure"] = lambda: least_sure(self.judged.answers[sure], among=answered)
        if self.other is not None:
            made["differ"] = self._differ
        if self.run.pipeline.evidence:
            made["in doubt"] = lambda: in_doubt(self.judged.matches(), among=answered)
        made["random"] = lambda: at_random(rows, among=answered)
        if (field := self._grouping()) is not None:
            made[f"one of each {field}"] = lambda: one_of_each(
                list(map(json_value, self.judged.answers[field])), of=field, among=answered
            )
        statuses = [row.status if row else "not_run" for row in self.run.plan.rowset.rows]
        if any(statuses[at] == "failed" for at in self._places()):
            made["failed"] = lambda: failed(statuses, among=self.among)
        return made

    def _agreed(self) -> list[int | None]:
        """How many votes agree on each row, by the field on which the fewest do."""
        names = [agree_name(each.name) for each in self.run.pipeline.schema.fields]
        rows = self.run.plan.rowset.rows
        return [
            min(row.outputs[name] for name in names) if row is not None and row.outputs else None
            for row in rows
        ]

    def _places(self) -> Sequence[int]:
        return range(len(self.judged.frame)) if self.among is None else self.among

    def _grouping(self) -> str | None:
        """The field of which a row of each value can be drawn: the first with few values."""
        schema = self.run.pipeline.schema
        fields = [] if schema is None else schema.fields
        return next((it.name for it in fields if it.choices or it.kind == "bool"), None)

    def _differ(self) -> list[Drawn]:
        theirs = JudgedRun(self.other)
        rows, others = len(self.judged.frame), len(theirs.frame)
        if rows != others:
            raise ConfigurationError(
                f"`{self.other.name}` has {others:,} rows and `{self.run.name}` {rows:,}: "
                "only runs over the same frame can be compared"
            )
        aside = {self.confidence, *self.run.plan.evidence}
        names = [it for it in self.run.columns if it not in aside]

        def said(judged: JudgedRun) -> list[Any]:
            answers = map(judged.answer, range(rows))
            return [[json_value(answer.get(name)) for name in names] for answer in answers]

        return where_differ(said(self.judged), said(theirs), among=self.among)
