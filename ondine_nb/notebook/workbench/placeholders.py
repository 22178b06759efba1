"""Placeholders of a prompt, in single braces: columns, controls, and names that are neither."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...errors import nearest
from ...prompts import Template

__all__ = ["Placeholder", "free_names", "inserted", "marks", "unknown_line"]

_SHOWN = 8  # column names in a message


@dataclass(frozen=True, slots=True)
class Placeholder:
    """`{name}` at `start` to `end` of a prompt; `kind` is one of `column control unknown`."""

    start: int
    end: int
    name: str
    kind: str


def marks(text: str, columns: Sequence[str], controls: Iterable[str]) -> list[Placeholder]:
    """The names in `text`, as `prompts.Template` reads them, unknown ones among them."""
    kinds = dict.fromkeys(controls, "control") | dict.fromkeys(columns, "column")
    found = Template.scan(text, kinds)
    return [Placeholder(*each, kinds.get(each[2], "unknown")) for each in found]


def free_names(
    found: Iterable[Placeholder], columns: Sequence[str], controls: Iterable[str]
) -> list[str]:
    """The unknown names that get a control of their own.

    A name that looks like a slip of a column's or a control's name gets none: it is marked.
    """
    known = [*columns, *controls]
    unknown = dict.fromkeys(mark.name for mark in found if mark.kind == "unknown")
    return [name for name in unknown if nearest(name, known) is None]


def unknown_line(name: str, columns: Sequence[str], controls: Iterable[str]) -> str:
    """`{txt} is neither a column (text, stars) nor a control. Did you mean {text}?`"""
    more = ", …" if len(columns) > _SHOWN else ""
    listed = ", ".join(columns[:_SHOWN]) + more
    near = nearest(name, [*columns, *controls])
    hint = f" Did you mean {{{near}}}?" if near else ""
    return f"{{{name}}} is neither a column ({listed}) nor a control.{hint}"


def inserted(text: str, column: str) -> str:
    """`text` with `{column}` at its end, a space before it where one is missing."""
    gap = "" if not text or text[-1].isspace() else " "
    return f"{text}{gap}{{{column}}}"
