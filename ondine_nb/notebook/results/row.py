"""Detail of one row of a run: its prompt, its answers, what was made of them, why it failed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from typing import Any

from ...data import Frame
from ...errors import MalformedAnswerError
from ...journal import Entry
from ...models import Prompt
from ...orchestration import Row, run_in_thread
from ...prompts import RowNumbers
from ...providers import Answer
from ...sending import Lookup, answer_in
from ..ui import MESSAGE, RowEvidence, clean, evidence_of, lines, money, safe, short, span
from .column import value_text
from .table import Results, status_word

__all__ = ["Detail", "Said", "detail_of"]

MOST_CITED = 200  # rows that an answer names, with their texts
LONGEST = 20_000  # characters shown of a prompt, an answer or a value
MOST_ANSWERS = 10

_NO_ANSWER = "the journal has no answer to this prompt"
_IN_CHUNKS = " as a whole: where it was too long, its chunks were asked, and have theirs"


@dataclass(frozen=True, slots=True)
class Said:
    """One paid answer: what is known of it in a line, its text, and its body as it came."""

    about: str
    text: str
    body: str


@dataclass(frozen=True, slots=True)
class Cited:
    """A row of the data that an answer about a group names: position, index ("" for none), text."""

    position: int
    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Detail:
    """A row in full, as texts: `label` is its index, `note` what can't be told; "" for none.

    `texts` are the columns that are read, `parsed` the answers (a text, or a list of texts; None
    for a missing one), `inputs` what else the row has. `evidence` has the quotes of each field with
    some, `marks` where they stand in the texts, by column. `cited` are the rows of the data that
    the fields `citing` name.
    """

    position: int
    label: str
    status: str
    word: str
    facts: tuple[str, ...]
    error: str
    texts: tuple[tuple[str, str], ...]
    prompt: str
    answers: tuple[Said, ...]
    parsed: tuple[tuple[str, str | list[str] | None], ...]
    inputs: tuple[tuple[str, str | list[str] | None], ...]
    note: str
    evidence: tuple[dict[str, Any], ...] = ()
    marks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    citing: tuple[str, ...] = ()
    cited: tuple[Cited, ...] = ()


def detail_of(results: Results, position: int) -> Detail:
    """The row at `position`. Reads the journal by a loop of its own, in a thread."""
    run = results.run
    row = None if run is None else results.rows[position]
    prompt, note = None, ""
    answers: list[Said] = []
    if run is not None:
        prompt, note = _prompt(run, position)
        if prompt is not None:
            answers, problem = _answers(run, prompt)
            note = note or problem
    status = results.status(position)
    quoted = evidence_of(run, None if row is None else row.outputs)
    marks = dict[str, list[dict[str, Any]]]()
    texts = list(_texts(results, position, quoted, marks))
    citing, cited = _cited(results, row)
    return Detail(
        citing=citing,
        cited=cited,
        position=position,
        label=_label(results.frame, position),
        status=status,
        word=status_word(status) if run is not None else "",
        facts=_facts(row, run.priced) if run is not None else (),
        error=_error(row),
        texts=tuple(texts),
        prompt="" if prompt is None else lines(prompt.text, LONGEST, whole=True),
        answers=tuple(answers),
        parsed=_parsed(results, row, position),
        inputs=tuple(_values(results, position, "input")),
        note=note,
        evidence=quoted.fields,
        marks=marks,
    )


def _texts(
    results: Results, position: int, quoted: RowEvidence, marks: dict[str, list[dict[str, Any]]]
) -> Iterator[tuple[str, str]]:
    """The columns that are read, and into `marks` where quotes stand in them."""
    names = [head.name for head in results.named("text")]
    (cells,) = results.cells([position], names)
    for name, cell in zip(names, cells, strict=True):
        if not isinstance(cell, str) or not cell:
            yield name, _plain(_value(cell))
            continue
        text, marks[name] = quoted.text(name, cell, LONGEST)
        yield name, text


def _parsed(
    results: Results, row: Row | None, position: int
) -> tuple[tuple[str, str | list[str] | None], ...]:
    """The answers of a row that has any: the model's, or those that labels have filled in."""
    said = results.corrections.found if results.corrections is not None else {}
    answered = bool(row and row.outputs) or position in said
    return tuple(_values(results, position, "answer")) if answered else ()


def _values(
    results: Results, position: int, role: str
) -> Iterator[tuple[str, str | list[str] | None]]:
    names = [head.name for head in results.named(role)]
    (cells,) = results.cells([position], names)
    return ((name, _value(value)) for name, value in zip(names, cells, strict=True))


def _plain(value: str | list[str] | None) -> str:
    return "\n".join(value) if isinstance(value, list) else value or ""


def _label(frame: Frame, position: int) -> str:
    """`customer C-17 · visit 2`; "" where the position is all there is."""
    (values,) = frame.labels([position])
    named = zip(frame.index_names, values, strict=True)
    return " · ".join(f"{clean(name, 40)} {clean(value, 60)}" for name, value in named)


def _prompt(run: Any, position: int) -> tuple[Prompt | None, str]:
    """The prompt, rendered again from the frame, and why there is none."""
    try:
        prompt = run.pipeline.prompt_at(position)
    except Exception as error:  # a cell's own __str__ may raise anything
        return None, f"the prompt can't be rendered: {type(error).__name__}: {safe(error)}"
    if prompt is None and run.pipeline.groups is not None and not _is_skipped(run, position):
        return None, "not all parts of this group are answered: the last question isn't known yet"
    if prompt is None:
        return None, "every column that the prompt names is missing here: nothing was asked"
    return prompt, ""


def _is_skipped(run: Any, position: int) -> bool:
    row = run.plan.rowset.rows[position]
    return row is not None and row.status == "skipped"


def _cited(results: Results, row: Row | None) -> tuple[tuple[str, ...], tuple[Cited, ...]]:
    """The fields of an answer about a group that name rows of it, and these rows."""
    groups = None if results.run is None else results.run.pipeline.groups
    if groups is None or row is None or not row.outputs:
        return (), ()
    named = RowNumbers(results.run.pipeline.schema).named_in(row.outputs)
    rows = [
        it for it in dict.fromkeys(chain.from_iterable(named.values())) if it < len(groups.frame)
    ]
    columns = [it for it in results.run.pipeline.template.columns if it not in groups.by]
    shown = list(rows)[:MOST_CITED]
    cells = chain.from_iterable(groups.frame.iter_rows(columns, positions=shown))
    texts = ["\n".join(filter(None, map(_shown, each))) for each in cells]
    labels = (_label(groups.frame, at) for at in shown)
    told = zip(shown, labels, texts, strict=True)
    return tuple(named), tuple(Cited(at, label, text) for at, label, text in told)


def _shown(value: Any) -> str:
    return _plain(_value(value))


def _answers(run: Any, prompt: Prompt) -> tuple[list[Said], str]:
    """What each model said to this prompt, each time that it was asked; why there is nothing."""
    votes = run.pipeline.options.votes
    said: list[Said] = []
    for asker in run.plan.askers:
        asked = [prompt.again(vote) for vote in range(1, votes + 1)]
        try:
            found = _entries(asker.lookup, asked)
        except Exception as error:  # the rest of the row can still be shown
            return said, f"the journal can't be read: {safe(error)}"
        for vote, entries in enumerate(found, 1):
            who = f"vote {vote} of {votes}" if votes > 1 else ""
            each = [
                _said(entry, asker.lookup.read, who, at, len(entries))
                for at, entry in enumerate(entries, 1)
            ]
            said += each[-MOST_ANSWERS:]
    return said, "" if said else _NO_ANSWER + (_IN_CHUNKS if run.pipeline.options.split else "")


def _entries(lookup: Lookup, prompts: Sequence[Prompt]) -> list[list[Entry]]:
    """What the journal has for each of these prompts, oldest first."""
    keys = [lookup.keys(prompt) for prompt in prompts]
    found = run_in_thread(lambda: lookup.journal.lookup(list(chain.from_iterable(keys))))
    return [next((found[key] for key in each if key in found), []) for each in keys]


def _said(entry: Entry, read: Callable[[bytes], Answer], who: str, at: int, of: int) -> Said:
    about = [who, f"answer {at} of {of}" if of > 1 else "" if who else "answer"]
    about += [clean(entry.model)]
    try:
        answer = answer_in(entry, read)
    except MalformedAnswerError:
        text = "(not a message that can be read)"
    else:
        text = lines(answer.text, LONGEST, whole=True)
        about += [clean(answer.stop_reason), f"{short(answer.usage.total_tokens)} tokens"]
    about += [money(Decimal(entry.cost))] if entry.cost else []
    about += [span(entry.latency)] if entry.latency else []
    return Said(" · ".join(filter(None, about)), text, _pretty(entry.body))


def _pretty(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    try:
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return lines(text, LONGEST, whole=True)
    return lines(text, LONGEST, whole=True)


def _facts(row: Row | None, priced: bool) -> tuple[str, ...]:
    if row is None or not row.attempts:
        return ()
    times = "asked once" if row.attempts == 1 else f"{row.attempts:,} attempts"
    cost = money(row.cost) if priced else "price unknown"
    facts = [times, cost, f"{short(row.usage.total_tokens)} tokens"]
    return (*facts, span(row.latency)) if row.latency is not None else tuple(facts)


def _error(row: Row | None) -> str:
    if row is None or row.failure is None:
        return ""
    failure = row.failure
    return f"{clean(failure.label, 40)}: {clean(safe(failure.message), MESSAGE)}"


def _value(value: Any) -> str | list[str] | None:
    """A value in full: a list by its items, all else as text."""
    if value is None or value != value:
        return None
    if isinstance(value, list):
        return [lines(value_text(item), LONGEST, whole=True) for item in value]
    if isinstance(value, dict):
        return lines(
            json.dumps(value, indent=2, ensure_ascii=False, default=str), LONGEST, whole=True
        )
    return lines(value_text(value), LONGEST, whole=True)
