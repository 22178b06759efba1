"""The review: one row at a time, its text beside the answer, judged by keyboard.

The browser holds what is being entered; whatever is accepted lies on disk, as a label, before the
next row shows. Labels are found by content: a reload, a restart and a run again change nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, ClassVar

from ...data import Frame, cell_name
from ...errors import ConfigurationError, OndineError
from ...evaluation import Draw, Drawn, Label, RowLabels, json_value
from ...pipeline import JudgedRun
from ...text import as_text
from ..ui import LiveView, RowEvidence, clean, evidence_of, safe
from .corrections import REVIEWER
from .review_form import FormError, FormField, form_fields
from .review_queue import ReviewQueues, confidence_of
from .row import detail_of
from .table import STREAMED, Results

__all__ = ["Review", "show_review"]

LONGEST = 60_000  # characters of a text
MOST_OTHERS = 60  # columns beside the prompt's
LAST = 8  # rows that were reviewed last


def show_review(
    run: Any,
    *,
    reviewer: str = REVIEWER,
    on: Sequence[str] | str | None = None,
    rows: Sequence[int] | None = None,
    queue: str | None = None,
    other: Any = None,
    confidence: str | None = None,
) -> Review:
    """Show the review of a run here; see `Run.review`."""
    view = Review(
        run,
        reviewer=reviewer,
        on=[on] if isinstance(on, str) else on,
        rows=rows,
        queue=queue,
        other=other,
        confidence=confidence,
    )
    view.show()
    return view


class Review(LiveView):
    """A review of a run's rows, live in a notebook, facts as text in a terminal."""

    module: ClassVar[str] = "results/review.js"
    sheet: ClassVar[str] = "results/review.css"

    def __init__(
        self,
        run: Any,
        *,
        reviewer: str = REVIEWER,
        on: Sequence[str] | None = None,
        rows: Sequence[int] | None = None,
        queue: str | None = None,
        other: Any = None,
        confidence: str | None = None,
    ) -> None:
        super().__init__()
        self.run: Any = run
        self.reviewer: str = reviewer
        self.results: Results = Results(run)
        if self.results.streamed:
            raise ConfigurationError(f"`{run.name}` can't be reviewed: {STREAMED}")
        self.frame: Frame = run.pipeline.frame
        self.judged: JudgedRun = JudgedRun(run, on)
        self.labels: RowLabels = self.judged.rows
        sure = confidence_of(run, confidence)
        self.fields: list[FormField] = [
            FormField(known, judged=known.name != sure) for known in form_fields(run)
        ]
        self.queues: ReviewQueues = ReviewQueues(
            self.judged, rows=rows, other=other, confidence=sure
        )
        self._queue = queue or next(iter(self.queues.names))
        self.queues.rows(self._queue)  # an unknown one is told now
        self._at = 0
        self._now: dict[str, Any] | None = None
        self._skipped: set[int] = set()
        self._go_on(0)

    # -- what the browser asks

    @property
    def actions(self) -> Mapping[str, Callable[..., Any]]:
        known = {} if self.results.pictures is None else self.results.pictures.actions
        return {
            **known,
            "accept": self.accept,
            "skip": self.skip,
            "undo": self.undo,
            "move": self.move,
            "turn": self.turn,
            "detail": self.detail,
            "ping": dict,
        }

    def accept(self, position: int, held: Mapping[str, Any], note: str = "") -> dict[str, Any]:
        """Keep what the form of the row at `position` holds as its label, then go on.

        `held` has what each control holds, by field. Gives the new state, or `wrong`: the field
        and what is wrong with it; then nothing is kept.
        """
        try:
            values = {
                field.name: field.value(held[field.name])
                for field in self.fields
                if field.judged and held.get(field.name) is not None
            }
        except FormError as error:
            return {"wrong": {"field": error.field, "text": str(error)}}
        if not values and not note.strip():
            text = "nothing is chosen yet: choose a value, or skip the row"
            return {"wrong": {"field": "", "text": text}}
        draw = next((it.draw for it in self._drawn if it.position == position), Draw(self._queue))
        self.labels.add(position, values, reviewer=self.reviewer, note=note.strip(), draw=draw)
        self._skipped.discard(position)
        return self._moved(self._at + 1)

    def skip(self) -> dict[str, Any]:
        """Go on without a label."""
        if (current := self.position) is not None:
            self._skipped.add(current)
        return self._moved(self._at + 1)

    def undo(self) -> dict[str, Any]:
        """Take this reviewer's last label back, and show its row again."""
        mine = self._mine()
        if not mine:
            return {"wrong": {"field": "", "text": "there is nothing to undo"}}
        self.labels.undo(mine[-1], reviewer=self.reviewer)
        places = self.labels.positions(mine[-1])
        queued = [at for at, it in enumerate(self._drawn) if it.position in set(places)]
        self._at = queued[0] if queued else self._at
        return self._changed()

    def move(self, by: int) -> dict[str, Any]:
        """Show the next row of the queue (`by` 1), or the one before (-1)."""
        self._at = max(0, min(self._at + int(by), len(self._drawn) - 1))
        return self._changed()

    def turn(self, queue: str) -> dict[str, Any]:
        """Go to another queue, to its first row without a label."""
        self.queues.rows(queue)
        self._queue = queue
        return self._moved(0)

    def detail(self, position: int) -> dict[str, Any]:
        """The prompt of a row, and its answers as they came."""
        found = detail_of(self.results, position)
        return {
            "prompt": found.prompt,
            "note": found.note,
            "answers": [
                {"about": it.about, "text": it.text, "body": it.body} for it in found.answers
            ],
            "facts": " · ".join(found.facts),
        }

    # -- where it stands

    @property
    def position(self) -> int | None:
        """The row that shows; None at the end of the queue."""
        return self._drawn[self._at].position if self._at < len(self._drawn) else None

    @property
    def _drawn(self) -> list[Drawn]:
        return self.queues.rows(self._queue)

    def _mine(self) -> list[Label]:
        return [it for it in self.labels.labels.labels if it.reviewer == self.reviewer]

    def _reviewed(self) -> set[int]:
        """The rows that this reviewer has given a label, by position."""
        return {
            at
            for at, labels in self.labels.lines().items()
            if any(label.reviewer == self.reviewer for label in labels)
        }

    def _go_on(self, start: int) -> None:
        """From `start` to the next row without a label, else to one before it, else to the end."""
        done = self._reviewed() | self._skipped
        every = [*range(start, len(self._drawn)), *range(min(start, len(self._drawn)))]
        left = (at for at in every if self._drawn[at].position not in done)
        self._at = next(left, len(self._drawn))

    def _moved(self, start: int) -> dict[str, Any]:
        self._go_on(start)
        return self._changed()

    def _changed(self) -> dict[str, Any]:
        self._now = self.set_state()  # made once: the scores are taken anew for it
        if threading.current_thread() is not threading.main_thread():
            self.later("static", self.show_static)
        else:
            self.show_static()
        return {"state": self._now}

    # -- the state that the browser shows

    def state(self) -> dict[str, Any]:
        done = self._reviewed()
        drawn = self._drawn
        names = self.queues.names
        return {
            "name": self.run.name,
            "about": self._about(),
            "reviewer": "" if self.reviewer == REVIEWER else self.reviewer,
            "queues": [
                {"name": name, "words": words, "rows": len(self.queues.rows(name))}
                if name == "failed"
                else {"name": name, "words": words}
                for name, words in names.items()
            ],
            "queue": self._queue,
            "measures": self.queues.measures(self._queue),
            "measuring": next((it for it in names if self.queues.measures(it)), ""),
            "total": len(drawn),
            "done": sum(it.position in done for it in drawn),
            "at": self._at,
            "fields": [field.described() for field in self.fields],
            "row": self._row(),
            "scores": self._scores(),
            "last": self._last(),
            "damaged": self.labels.labels.damaged[:3],
        }

    def _about(self) -> str:
        return " · ".join([self.frame.name, clean(self.run.pipeline.options.model, 60)])

    def _row(self) -> dict[str, Any] | None:
        position = self.position
        if position is None:
            return None
        row = self.results.rows[position]
        outputs = self.judged.answer(position)
        labelled = self.labels.values(position)
        notes = [it.note for it in self.labels.at(position) if it.note]
        texts = self.labels.on
        quoted = evidence_of(self.run, outputs)
        others = [name for name in self.frame.columns if name not in texts][:MOST_OTHERS]
        return {
            "position": position,
            "label": self._label(position),
            "texts": self._cells(position, texts, quoted),
            "evidence": list(quoted.fields),
            "others": self._cells(position, others),
            "attempts": 0 if row is None else row.attempts,
            "error": ""
            if row is None or row.failure is None
            else f"{clean(row.failure.label, 40)}: {clean(safe(row.failure.message), 300)}",
            "values": {field.name: self._value(field, outputs, labelled) for field in self.fields},
            "note": notes[-1] if notes else "",
        }

    def _value(
        self,
        field: FormField,
        outputs: Mapping[str, Any],
        labelled: Mapping[str, tuple[Any, str]],
    ) -> dict[str, Any]:
        answered = field.name in outputs
        model = field.shown(outputs[field.name]) if answered else None
        if field.name in labelled:
            value, by = labelled[field.name]
            return {"held": field.shown(value), "model": model, "by": by, "answered": answered}
        return {
            "held": model,
            "model": model,
            "by": "model" if answered else "",
            "answered": answered,
        }

    def _cells(
        self, position: int, names: Sequence[str], quoted: RowEvidence | None = None
    ) -> list[dict[str, Any]]:
        if not names:
            return []
        ((cells,),) = self.frame.iter_rows(list(names), positions=[position])
        found: list[dict[str, Any]] = []
        for name, cell in zip(names, cells, strict=True):
            if name in (self.results.pictures or ()):
                found.append({"name": name, "text": cell_name(cell), "media": True})
                continue
            text, marks = _cut(cell), list[dict[str, Any]]()
            if quoted is not None and isinstance(cell, str):
                text, marks = quoted.text(name, cell, LONGEST)
            found.append({"name": name, "text": text, "marks": marks})
        return found

    def _label(self, position: int) -> str:
        (values,) = self.frame.labels([position])
        return " · ".join(clean(value, 60) for value in values) or f"{position:,}"

    def _scores(self) -> list[dict[str, Any]]:
        """How right each field is as far as it was reviewed, with its 95 % interval."""
        if not len(self.labels.labels):
            return []
        try:
            scores = self.judged.score(None, None)
        except OndineError:
            return []  # no labelled row has an answer yet
        known = scores if isinstance(scores, dict) else {scores.field: scores}
        judged = {field.name for field in self.fields if field.judged}
        return [
            {
                "field": name,
                "n": it.n,
                "value": it.accuracy,
                "interval": list(it.interval or ()),
                "kappa": it.kappa,
            }
            for name, it in known.items()
            if name in judged and it.n and it.accuracy is not None
        ]

    def _last(self) -> list[dict[str, Any]]:
        """The rows that this reviewer has judged last, the latest first."""
        found = []
        for label in reversed(self._mine()):
            places = self.labels.positions(label)
            if places:
                found.append(self._judged(places[0], label))
            if len(found) == LAST:
                break
        return found

    def _judged(self, position: int, label: Label) -> dict[str, Any]:
        outputs = self.judged.answer(position)
        changed = [
            {"field": name, "from": _brief(json_value(outputs[name])), "to": _brief(value)}
            for name, value in label.fields.items()
            if name in outputs and json_value(outputs[name]) != value
        ]
        return {
            "position": position,
            "label": self._label(position),
            "answered": bool(outputs),
            "changed": changed,
            "note": clean(label.note, 200),
        }

    # -- without a browser

    def static(self) -> str:
        state = self._now or self.state()
        lines = [
            f"<div><b>{escape(self.run.name)}</b> review · {escape(self._about())}: "
            f"{escape(self._progress(state))}</div>"
        ]
        if state["scores"]:
            rows = "".join(
                f"<tr><td>{escape(it['field'])}</td><td>{it['value']:.2f}</td>"
                f"<td>{escape(_range(it['interval']))}</td><td>{it['n']:,}</td></tr>"
                for it in state["scores"]
            )
            lines.append(
                "<table><thead><tr><th>field</th><th>right</th><th>95 % interval</th>"
                f"<th>rows</th></tr></thead><tbody>{rows}</tbody></table>"
            )
        if state["last"]:
            lines.append(f"<div>Last reviewed: {escape(_strip(state['last']))}</div>")
        inside = "".join(lines)
        return f'<div class="ondine-review-static {self.static_class}">{inside}</div>'

    def plain(self) -> str:
        state = self._now or self.state()
        scores = (
            f"  {it['field']}: {it['value']:.2f} right ({_range(it['interval'])}), {it['n']:,} rows"
            for it in state["scores"]
        )
        return "\n".join([f"{self.run.name}: review, {self._progress(state)}", *scores])

    def _progress(self, state: Mapping[str, Any]) -> str:
        words = self.queues.names[self._queue]
        return f"{state['done']:,} of {state['total']:,} reviewed ({words})"


def _cut(value: Any) -> str:
    text = as_text(value)
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}\n… {len(text) - LONGEST:,} more characters"


def _brief(value: Any) -> str:
    return clean("no value" if value is None else as_text(value), 40)


def _range(interval: Sequence[float]) -> str:
    return "–".join(f"{end:.2f}" for end in interval)


def _strip(last: Sequence[Mapping[str, Any]]) -> str:
    def one(it: Mapping[str, Any]) -> str:
        changes = [f"{each['field']} {each['from']} → {each['to']}" for each in it["changed"]]
        return f"{it['label']} {', '.join(changes) or ('right' if it['answered'] else 'answered')}"

    return "; ".join(map(one, last))
