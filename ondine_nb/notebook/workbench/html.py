"""Renders the workbench as HTML and as plain text. Everything here is pure: values in, text out.

Whatever comes from data, model or provider passes `clean` or `lines` before it is shown, and
jinja2's autoescape before it is HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..ui import MISSING, clean, css, lines, money, row_count, span, template
from .forecast import Forecast
from .placeholders import Placeholder
from .trials import Agreement, Outcome, Score, Trial, agreement, decisive, score, target

__all__ = ["Facts", "TrialsTable", "mirror", "plain", "results", "says", "static"]

SHOWN_ROWS, SHOWN_LABELS = 50, 12
PROMPT, ANSWER = 1200, 400  # characters shown of one prompt, of one answer
INPUTS = 3  # columns of the frame beside two answers


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, its kind (`pos in prompt new fail wait`), and whether it differs."""

    text: str
    kind: str
    differs: bool = False


@dataclass(frozen=True, slots=True)
class TrialsTable:
    """One trial or two, as they are shown."""

    heads: tuple[tuple[str, str], ...]
    rows: tuple[tuple[Cell, ...], ...]
    figures: tuple[tuple[str, str], ...]
    scores: tuple[tuple[str, Score], ...]
    remarks: tuple[str, ...]
    busy: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What the static view tells."""

    source: str
    size: str
    prompt: str
    settings: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    forecast: Forecast | None
    results: TrialsTable | None
    above: str
    cell: str


_Heads: TypeAlias = tuple[tuple[str, str], ...]
_Rows: TypeAlias = tuple[_Heads, list[tuple[Cell, ...]]]


def results(
    a: Trial | None, b: Trial | None, labels: Sequence[Any] | None = None, label_name: str = ""
) -> TrialsTable | None:
    """`a` alone row by row with its prompts, or `a` and `b` side by side; None without `a`."""
    if a is None:
        return None
    shown = [("A", a)] if b is None else [("A", a), ("B", b)]
    agreed = None if b is None else agreement(a.answers, b.answers, decisive(a.fields))
    scores = _scores(shown, labels) if labels is not None else ()
    figures = [(name, _figure(trial)) for name, trial in shown]
    if agreed is not None and agreed.rows:
        figures.append(("agree", _agreed(agreed)))
    if scores:
        f1 = ", ".join(f"{name} {it.macro_f1:.2f}" for name, it in scores)
        figures.append(("macro F1", f1))
    heads, rows = _single(a) if b is None else _pair(a, b, agreed)
    if labels is not None:
        before = -len(shown)  # the answers stand at the end
        heads = (*heads[:before], (clean(label_name, 40), "label"), *heads[before:])
        cells = [Cell(clean(label) or MISSING, "in") for label in labels]
        pairs = zip(rows, cells, strict=True)
        rows = [(*row[:before], cell, *row[before:]) for row, cell in pairs]
    return TrialsTable(
        heads=heads,
        rows=tuple(rows[:SHOWN_ROWS]),
        figures=tuple(figures),
        scores=scores,
        remarks=tuple(_remarks(shown, len(rows))),
        busy=any(not trial.ended for _, trial in shown),
    )


def _single(a: Trial) -> _Rows:
    heads: _Heads = (("row", "pos"), ("prompt", "prompt"), ("answer", "new"))
    rows: list[tuple[Cell, ...]] = [
        (
            Cell(a.row_name(at), "pos"),
            Cell(lines(prompt, PROMPT) if prompt is not None else "(nothing to ask)", "prompt"),
            _answer(outcome, a),
        )
        for at, (prompt, outcome) in enumerate(zip(a.prompts, a.outcomes, strict=True))
    ]
    return heads, rows


def _pair(a: Trial, b: Trial, agreed: Agreement | None) -> _Rows:
    inputs = [*a.columns[:INPUTS]]
    heads: _Heads = (
        ("row", "pos"),
        *((clean(name, 40), "in") for name in inputs),
        (f"A: {a.draft.told_beside(b.draft) or 'as it was'}", "new"),
        (f"B: {b.draft.told_beside(a.draft) or 'the same'}", "new"),
    )
    differing = agreed.differing if agreed else frozenset()
    rows: list[tuple[Cell, ...]] = [
        (
            Cell(a.row_name(at), "pos"),
            *(Cell(clean(value) or MISSING, "in") for value in a.inputs[at][:INPUTS]),
            _answer(a.outcomes[at], a),
            _answer(
                b.outcomes[at], b, differs=at in differing and b.outcomes[at].answer is not None
            ),
        )
        for at in range(len(a.positions))
    ]
    return heads, rows


def _answer(outcome: Outcome, trial: Trial, differs: bool = False) -> Cell:
    if outcome.answer is not None:
        values = [outcome.answer.get(field.name) for field in trial.fields]
        texts = [lines(value, ANSWER) or MISSING for value in values]
        return Cell(" · ".join(texts), "new", differs)
    if outcome.status == "failed":
        return Cell(f"✕ {outcome.failure}", "fail", differs)
    if outcome.status == "skipped":
        return Cell("skipped: every column is empty", "wait")
    return Cell("not run" if trial.ended else "…", "wait")


def _figure(trial: Trial) -> str:
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


def _agreed(agreed: Agreement) -> str:
    share = f"{agreed.same:,} of {agreed.rows:,} ({agreed.same / agreed.rows:.0%})"
    return f"{share} on {', '.join(clean(name, 30) for name in agreed.columns[:3])}"


def _scores(
    shown: Sequence[tuple[str, Trial]], labels: Sequence[Any]
) -> tuple[tuple[str, Score], ...]:
    made = [(name, score(it.answers, labels, target(it.fields, labels))) for name, it in shown]
    return tuple((name, it) for name, it in made if it is not None)


def _remarks(shown: Sequence[tuple[str, Trial]], rows: int) -> list[str]:
    found = [f"{name}: {trial.message}" for name, trial in shown if trial.message]
    found += list(dict.fromkeys(trial.note for _, trial in shown if trial.note))
    if rows > SHOWN_ROWS:
        found.append(f"the first {SHOWN_ROWS} of {rows:,} rows are shown; the figures are of all")
    return found


# --- HTML ----------------------------------------------------------------------------------------


def mirror(text: str, found: Sequence[Placeholder]) -> str:
    """The prompt as it lies under its editor: the same letters, unseen, with the names marked."""
    parts, at = [], 0
    for mark in found:
        parts += [(text[at : mark.start], ""), (text[mark.start : mark.end], mark.kind)]
        at = mark.end
    parts.append((text[at:], ""))
    return _rendered("mirror", parts=[part for part in parts if part[0]])


def says(texts: Sequence[tuple[str, str]]) -> str:
    """Lines under an editor: (kind, text), kinds `bad note`."""
    return _rendered("says", lines=texts)


def results_html(shown: TrialsTable | None) -> str:
    return _rendered("results", results=shown, most=SHOWN_LABELS)


def figures_html(shown: TrialsTable | None) -> str:
    return _rendered("figures", results=shown)


def forecast_html(known: Forecast | None, waiting: str = "") -> str:
    return _rendered("forecast", forecast=known, waiting=waiting)


def static(facts: Facts) -> str:
    """The same facts where no widget lives: saved, exported, on GitHub."""
    sheet = css("workbench/panel.css")
    return _rendered("static", facts=facts, css=sheet, most=SHOWN_LABELS)


def _rendered(part: str, **values: Any) -> str:
    names: Mapping[str, Any] = {"part": part, **values}
    html: str = template("workbench/panel.html").render(names)
    return html.strip()


# --- plain text ----------------------------------------------------------------------------------


def plain(facts: Facts) -> str:
    """The same facts for a terminal."""
    parts = [f"Prompt workbench: {facts.source} ({facts.size})", facts.prompt or "(no prompt yet)"]
    parts += [f"{name}: {value}" for name, value in facts.settings]
    parts += facts.problems
    if facts.forecast is not None:
        parts.append(f"{facts.forecast.headline} ({facts.forecast.details})")
    if facts.results is not None:
        parts += _plain_results(facts.results)
    if facts.above:
        parts += ["In a cell of its own:", facts.above]
    return "\n".join([*parts, "As a cell:", facts.cell])


def _plain_results(shown: TrialsTable) -> list[str]:
    parts = [f"{name}: {text}" for name, text in shown.figures]
    parts += shown.remarks
    parts.append(" | ".join(text for text, _ in shown.heads))
    for row in shown.rows:
        cells = [("≠ " if cell.differs else "") + clean(cell.text, 60) for cell in row]
        parts.append(" | ".join(cells))
    return parts
