"""What the workbench tells: rows with answers and labels, as JSON, HTML and plain text.

Whatever comes from data, model or provider passes `clean` or `lines` before it is shown; the
browser makes text nodes of it, and jinja2's autoescape stands before the static HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...data import cell_name
from ...evaluation import Scores, class_of
from ...text import as_text
from ..ui import MISSING, Shown, clean, css, lines, money, row_count, span, template
from .board import Leaderboard, Line
from .forecast import Forecast
from .trials import Outcome, Trial
from .truths import Truths

__all__ = ["SHOWN_TRIES", "Facts", "TriedRows", "figures", "plain", "static"]

CELL, ANSWER, WHOLE = 240, 400, 20_000  # characters of a text, of an answer, of either in full
TEXTS = 2  # columns of the frame beside the answers
SHOWN_ROWS, SHOWN_CLASSES, SHOWN_TRIES = 50, 12, 20


class TriedRows:
    """The rows of a trial, with their labels of one field."""

    def __init__(self, trial: Trial, truths: Truths, field: str = "") -> None:
        self.trial: Trial = trial
        self.truths: Truths = truths
        names = [it.name for it in trial.fields]
        self.field: str = field if field in names else truths.judged
        known = trial.pictures or ()
        self.media: list[str] = [name for name in trial.columns if name in known]
        self.texts: list[int] = trial.texts(TEXTS, self.media)

    @property
    def choices(self) -> list[str]:
        """The values that keys give to a row, in their order; [] where keys can't."""
        known = self.truths.fields.get(self.field)
        if known is None:
            return []
        if known.kind == "bool":
            return ["True", "False"]
        return [str(it) for it in known.choices or ()]

    def head(self) -> dict[str, Any]:
        """What the rows have in common, as JSON has it."""
        trial = self.trial
        return {
            "texts": [clean(trial.columns[at], 40) for at in self.texts],
            "media": self.media,
            "fields": [clean(it.name, 40) for it in trial.fields],
            "field": self.field,
            "choices": [clean(it, 40) for it in self.choices],
            "labelable": [it.name for it in trial.fields if it.choices or it.kind == "bool"],
            "figures": figures(trial),
            "score": self.score(),
            "remarks": remarks(trial),
            "running": not trial.ended,
            "labelled": len(self.truths.labelled(trial.positions)),
        }

    def lines(self) -> list[dict[str, Any]]:
        """Each row, as JSON has it."""
        return [self.line(at) for at in range(len(self.trial.positions))]

    def called(self, at: int, name: str) -> str:
        """What a media cell of the sample's row `at` is called."""
        return clean(cell_name(self.trial.inputs[at][self.trial.columns.index(name)]), 80)

    def line(self, at: int) -> dict[str, Any]:
        """The sample's row `at`, as JSON has it: texts are cut, `right` is None where unknown."""
        trial = self.trial
        position, outcome = trial.positions[at], trial.outcomes[at]
        truth = self.truths.of(position, self.field)
        return {
            "position": position,
            "name": trial.row_name(at),
            "texts": [_cut(trial.inputs[at][column]) for column in self.texts],
            "label": "" if truth is None else clean(class_of(truth), 40),
            "answer": self._answer(outcome),
            "status": outcome.status,
            "reason": clean(outcome.failure, 300),
            "right": self.truths.right(position, self.field, outcome.answer)
            if self.field in self.truths.fields
            else None,
        }

    def _answer(self, outcome: Outcome) -> list[dict[str, str]] | None:
        if outcome.answer is None:
            return None
        return [
            {"name": it.name, "kind": it.kind, "text": lines(outcome.answer.get(it.name), ANSWER)}
            for it in self.trial.fields
        ]

    def whole(self, at: int) -> dict[str, Any]:
        """Texts, prompt and answer of the sample's row `at` in full."""
        trial, outcome = self.trial, self.trial.outcomes[at]
        answer = outcome.answer or {}
        facts = []
        if outcome.latency is not None:
            facts.append(span(outcome.latency))
        if outcome.usage.output_tokens:
            facts.append(f"{outcome.usage.output_tokens:,} tokens")
        if outcome.cost:
            facts.append(money(outcome.cost))
        prompt = trial.prompts[at]
        return {
            "position": trial.positions[at],
            "texts": [
                {"name": clean(name, 60), "text": lines(value, WHOLE)}
                for name, value in zip(trial.columns, trial.inputs[at], strict=True)
                if name not in self.media
            ],
            "prompt": "" if prompt is None else lines(prompt, WHOLE),
            "answer": [
                {"name": it.name, "text": lines(answer.get(it.name), WHOLE) or MISSING}
                for it in trial.fields
            ]
            if answer
            else [],
            "reason": lines(outcome.failure, 2_000),
            "facts": " · ".join(facts),
        }

    def scores(self) -> Scores | None:
        """How right the judged field is, as far as labelled rows are answered."""
        trial = self.trial
        return self.truths.scores(self.field, trial.scorable)

    def score(self) -> str:
        """`accuracy 0.85 (0.71 to 0.93) of 34 labelled rows`; while it runs `of 7 so far`."""
        scores = self.scores()
        if scores is None:
            return ""
        value, name = (scores.accuracy, "accuracy") if scores.mae is None else (scores.mae, "mae")
        if value is None:
            return ""
        parts = [f"{name} {value:.2f}"]
        if scores.interval is not None:
            low, high = scores.interval
            parts.append(f"({low:.2f} to {high:.2f})")
        running = not self.trial.ended
        parts.append(f"of {scores.n:,} so far" if running else f"of {scores.n:,} labelled")
        if scores.unanswered and not running:
            parts.append(f"({scores.unanswered:,} labelled without an answer)")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the static view tells."""

    source: str
    size: str
    prompt: str
    settings: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    forecast: Forecast | None
    board: Leaderboard
    rows: TriedRows | None
    stale: str
    compared: tuple[str, ...]
    above: str
    cell: str


def figures(trial: Trial) -> str:
    """`20 rows · $0.0009 · 1.9 s`, and what of it was free."""
    done, total = trial.done, len(trial.positions)
    parts = [row_count(total) if trial.ended and done == total else f"{done} of {row_count(total)}"]
    parts.append("price unknown" if trial.worth is None else money(trial.worth))
    if trial.cost == 0 and trial.worth:
        parts[-1] += " before, $0 now"
    if trial.from_journal:
        parts.append(f"{trial.from_journal:,} from journal")
    if trial.failed:
        parts.append(f"{trial.failed:,} failed")
    if trial.latency is not None:
        parts.append(f"p50 {span(trial.latency)}")
    if trial.ended and not trial.from_journal:
        parts.append(f"in {span(trial.seconds)}")
    return " · ".join(parts)


def remarks(trial: Trial) -> list[str]:
    """What ended it, and what else is to be known."""
    served = ""
    if trial.served:
        served = (
            f"{row_count(len(trial.served))} served as examples or nearly equal one: not scored, "
            f"{len(trial.positions) - len(trial.served):,} others are"
        )
    return [text for text in (trial.message, trial.note, served) if text]


def _cut(value: Any) -> str:
    text = as_text(value)
    return lines(text[: 4 * CELL], CELL)


# --- HTML ----------------------------------------------------------------------------------------


def static(facts: Facts, mark: str = "") -> str:
    """The same facts where no widget lives: saved, exported, on GitHub."""
    rows = facts.rows
    scores = None if rows is None else rows.scores()
    matrix = scores.matrix if scores is not None else {}
    html: str = template("workbench/panel.html").render(
        facts=facts,
        mark=mark,
        css=css("workbench/static.css"),
        tries=[_tried(it) for it in facts.board.lines[:SHOWN_TRIES]],
        more=max(0, facts.board.total - SHOWN_TRIES),
        tie=facts.board.tie(),
        head=None if rows is None else rows.head(),
        lines=[] if rows is None else _shown(rows),
        hidden=0 if rows is None else max(0, len(rows.trial.positions) - SHOWN_ROWS),
        matrix=matrix if len(matrix) <= SHOWN_CLASSES else {},
    )
    return html.strip()


def _shown(rows: TriedRows) -> list[dict[str, Any]]:
    count = min(len(rows.trial.positions), SHOWN_ROWS)
    return [
        {**rows.line(at), "said": _said(rows, at), "seen": _seen(rows, at)} for at in range(count)
    ]


def _seen(rows: TriedRows, at: int) -> list[tuple[str, list[Shown]]]:
    """Of each media column what its cell is called, and its small pictures if they may be saved."""
    known = rows.trial.pictures
    if known is None:
        return []
    shown = known.small if known.saved else lambda at, name: []
    return [(rows.called(at, name), shown(at, name)) for name in rows.media]


def _said(rows: TriedRows, at: int) -> str:
    """The answer of a row as one text, or what there is instead."""
    outcome, line = rows.trial.outcomes[at], rows.line(at)
    if line["answer"] is not None:
        return " · ".join(it["text"] or MISSING for it in line["answer"])
    if outcome.status == "failed":
        return f"✕ {line['reason']}"
    if outcome.status == "skipped":
        return "skipped: every column is empty"
    return "not run" if rows.trial.ended else "…"


def _tried(line: Line) -> dict[str, str]:
    told = line.told()
    changed = "first prompt" if line.first else "; ".join(map(str, line.changed or ())) or "nothing"
    score = ""
    if told["value"] is not None:
        score = f"{told['value']:.2f}"
        if told["low"] is not None:
            score += f" ({told['low']:.2f} to {told['high']:.2f})"
    flags = [word for word in ("best", "current") if told[word]]
    return {
        "name": told["name"],
        "changed": clean(changed, 160) + (f" [{', '.join(flags)}]" if flags else ""),
        "model": told["model"],
        "rows": f"{told['rows']:,}",
        "score": score or MISSING,
        "f1": MISSING if told["f1"] is None else f"{told['f1']:.2f}",
        "price": told["price"],
        "latency": told["latency"] or MISSING,
        "note": told["note"],
    }


# --- plain text ----------------------------------------------------------------------------------


def plain(facts: Facts) -> str:
    """The same facts for a terminal."""
    parts = [f"Prompt workbench: {facts.source} ({facts.size})", facts.prompt or "(no prompt yet)"]
    parts += [f"{name}: {value}" for name, value in facts.settings]
    parts += facts.problems
    if facts.forecast is not None:
        parts.append(f"{facts.forecast.headline} ({facts.forecast.details})")
    for line in facts.board.lines[:SHOWN_TRIES]:
        tried = _tried(line)
        words = [tried["name"], f"{tried['rows']} rows", tried["score"], tried["price"]]
        parts.append(" | ".join([*words, tried["changed"], tried["note"]]).rstrip(" |"))
    if tie := facts.board.tie():
        parts.append(tie)
    parts += facts.compared
    if facts.rows is not None:
        parts += _plain_rows(facts.rows, facts.stale)
    if facts.above:
        parts += ["In a cell of its own:", facts.above]
    return "\n".join([*parts, "As a cell:", facts.cell])


def _plain_rows(rows: TriedRows, stale: str) -> Sequence[str]:
    trial = rows.trial
    parts = [text for text in (figures(trial), rows.score(), stale, *remarks(trial)) if text]
    heads = [*rows.media, *(trial.columns[at] for at in rows.texts)]
    parts.append(" | ".join(["row", *heads, "label", "answer"]))
    for at in range(min(len(trial.positions), SHOWN_ROWS)):
        line = rows.line(at)
        sign = {True: "✓ ", False: "✕ ", None: ""}[line["right"]]
        named = (rows.called(at, name) for name in rows.media)
        cells = [line["name"], *named, *line["texts"], line["label"] or MISSING]
        parts.append(" | ".join([*(clean(it, 60) for it in cells), sign + _said(rows, at)]))
    return parts
