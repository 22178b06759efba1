"""Labels that people gave to rows, kept on disk: append-only JSON lines, a file for each writer.

    .ondine/labels/SET/2026-11-30-3f2a9c1b04d7.jsonl

One line is one judgement: which content it is about (`key`, the texts of the key columns), the
value of each field (`fields`), who said so (`reviewer`), and how the row came before them
(`queue`, `stratum`, `rows`). A line with `undoes` takes an earlier one back. How lines are kept,
and which of two is the later one, says `journal.JsonLines`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from ..journal import JsonLines, json_line_sets, line_id
from ..text import as_text, is_missing, not_text

__all__ = ["MODEL", "Draw", "Label", "LabelSet", "json_value", "key_text", "label_sets", "merged"]

MODEL = "model"  # who gave an answer that nobody has reviewed: no reviewer may be called so


@dataclass(frozen=True, slots=True)
class Draw:
    """How a row came before a reviewer: by which queue, and from among which rows.

    Where chance alone drew it, `rows` is how many there were to draw from: all of the frame's, or
    those of one `stratum`. 0: by no known chance (least sure first, say).
    """

    queue: str = ""
    stratum: str = ""
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Label:
    """What a reviewer said of some content: a value for each of `fields`, and a note.

    `key` has the text of each key column as the prompt shows it. A field's value is JSON's own
    (dates are ISO text); None says that there is no value, a field that isn't there that nobody
    said. `sequence` orders the labels of a set, `at` is ISO 8601 in UTC, for people to read.
    """

    key: Mapping[str, str]
    fields: Mapping[str, Any]
    reviewer: str = "reviewer"
    note: str = ""
    draw: Draw = field(default_factory=Draw)
    at: str = ""
    sequence: int = 0
    writer: str = ""

    @property
    def id(self) -> str:
        """What an undo names; one line's alone."""
        return f"{self.writer}:{self.sequence}"

    @property
    def order(self) -> tuple[int, str]:
        """Sorts labels from the first to the last; of two at once, the same one is always last."""
        return self.sequence, self.writer


class LabelSet:
    """The labels of one task, by default a run's name, in a journal's folder.

    Safe to use from any thread and from any number of processes at once. `add` and `undo` return
    when the label is on disk (fsync). What other kernels have written since is read with
    `refresh`. Raises `ConfigurationError` for a set without a name.
    """

    def __init__(self, name: str, folder: Path | str | None = None) -> None:
        if not name.strip():
            raise ConfigurationError("a set of labels needs a name, such as the run's: 'labeled'")
        self._lines = JsonLines("labels", name, folder, check=_check_line, one="label")

    @property
    def name(self) -> str:
        """The set's name."""
        return self._lines.name

    @property
    def journal(self) -> Path:
        """The journal's folder that it lies in."""
        return self._lines.journal

    @property
    def path(self) -> Path:
        """The folder of the set's files."""
        return self._lines.path

    def add(
        self,
        key: Mapping[str, str],
        fields: Mapping[str, Any],
        *,
        reviewer: str = "reviewer",
        note: str = "",
        draw: Draw | None = None,
    ) -> Label:
        """Keep a label, durably; gives it with its sequence.

        Raises `ConfigurationError` for a label without key, or a reviewer called "model";
        `JournalError` where it can't be written.
        """
        return self.add_all([Label(key, fields, reviewer, note, draw or Draw())])[0]

    def add_all(self, labels: Sequence[Label]) -> list[Label]:
        """Keep all of `labels` in one write: as `add`, in their order."""
        for label in labels:
            _check(label)
        return [_label(line) for line in self._lines.append([_said(label) for label in labels])]

    def undo(self, label: Label, *, reviewer: str = "reviewer") -> None:
        """Take `label` back: what was said before it holds again. A later line, nothing is erased.

        Raises `JournalError` where that can't be written.
        """
        self._lines.append([{"undoes": label.id, "reviewer": reviewer}])

    def refresh(self) -> LabelSet:
        """Read what was written since, here and by other kernels."""
        self._lines.refresh()
        return self

    @property
    def version(self) -> int:
        """Grows with each line that is read: what was made of the labels before is out of date."""
        return self._lines.version

    @property
    def labels(self) -> list[Label]:
        """The labels that stand (undone ones don't), from the first to the last."""
        lines = self._lines.lines
        undone = {line.get("undoes") for line in lines}
        return [
            _label(line) for line in lines if "undoes" not in line and line_id(line) not in undone
        ]

    @property
    def damaged(self) -> list[str]:
        """What couldn't be read, a line each: file, line and why. The rest is as it was."""
        return self._lines.damaged

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that labels of this set say something of."""
        return tuple(dict.fromkeys(name for label in self.labels for name in label.fields))

    def __len__(self) -> int:
        return len(merged(self.labels))

    def __repr__(self) -> str:
        return f"<LabelSet {self.name}: {len(self):,} labels in {self.path}>"


def merged(labels: Iterable[Label]) -> list[Label]:
    """One label for each content and reviewer: the last that was said of each field.

    In the order in which they came to be; the note is the last one that isn't empty.
    """
    found: dict[tuple[Any, str], Label] = {}
    for label in sorted(labels, key=lambda label: label.order):
        who = (tuple(sorted(label.key.items())), label.reviewer)
        before = found.get(who)
        if before is not None:
            fields = {**before.fields, **label.fields}
            label = replace(label, fields=fields, note=label.note or before.note)
        found[who] = label
    return list(found.values())


def key_text(value: Any) -> str:
    """The text of a key column's value: as in the prompt; of bytes that are no text, a digest."""
    if isinstance(value, (bytes, bytearray, memoryview)) and not_text(value):
        return f"sha256:{hashlib.sha256(value).hexdigest()}"
    return as_text(value)


def json_value(value: Any) -> Any:
    """A field's value as JSON has it: dates and what JSON lacks as their text, missing as None."""
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(json_value, value), key=as_text)
    if is_missing(value):
        return None
    finite = isinstance(value, float) and math.isfinite(value)
    return value if finite or type(value) in (str, int, bool) else as_text(value)


def label_sets(folder: Path | str | None = None) -> list[str]:
    """The names of the sets in a journal's folder (default `journal.home()`), sorted."""
    return json_line_sets("labels", folder)


# --- lines


def _said(label: Label) -> dict[str, Any]:
    draw = label.draw
    how = {"queue": draw.queue, "stratum": draw.stratum, "rows": draw.rows}
    said = {"reviewer": label.reviewer, "note": label.note, **how, "at": label.at}
    known = {name: value for name, value in said.items() if value or name == "reviewer"}
    fields = {str(name): json_value(value) for name, value in label.fields.items()}
    return {"key": dict(label.key), "fields": fields, **known}


def _label(line: Mapping[str, Any]) -> Label:
    draw = Draw(line.get("queue", ""), line.get("stratum", ""), line.get("rows", 0))
    note, at = line.get("note", ""), line.get("at", "")
    told = (line["key"], line["fields"], line["reviewer"], note, draw, at)
    return Label(*told, line["sequence"], line["writer"])


def _check(label: Label) -> None:
    if not label.key:
        raise ConfigurationError("a label needs a key: the texts of the row's columns, by name")
    if label.reviewer == MODEL or not label.reviewer.strip():
        raise ConfigurationError(
            f"reviewer={label.reviewer!r} can't be told from the model: give a person's name"
        )


_KINDS: dict[str, type] = {
    "reviewer": str,
    "note": str,
    "queue": str,
    "stratum": str,
    "rows": int,
}


def _check_line(line: Mapping[str, Any]) -> None:
    """Raises ValueError for what is no line of labels, saying what is wrong with it."""
    needed = {"sequence", "writer", "set", "reviewer"}
    needed |= {"undoes"} if "undoes" in line else {"key", "fields"}
    if lacking := needed - set(line):
        raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
    if wrong := [name for name, kind in _KINDS.items() if type(line.get(name, kind())) is not kind]:
        raise ValueError(f"{wrong[0]!r} is no {_KINDS[wrong[0]].__name__}")
    if "undoes" not in line:
        key, fields = line["key"], line["fields"]
        texts = isinstance(key, dict) and all(isinstance(text, str) for text in key.values())
        if not (texts and key and isinstance(fields, dict)):
            raise ValueError("its key and fields are no texts and values by name")
