"""What stands between single braces in a prompt: columns, controls, and names that are neither."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...errors import nearest

__all__ = ["Placeholder", "free_names", "inserted", "marks", "unknown_line"]

_NAME = re.compile(r"[^{}]+(?=\})")
_SHOWN = 8  # column names in a message


@dataclass(frozen=True, slots=True)
class Placeholder:
    """`{name}` at `start` to `end` of a prompt; `kind` is one of `column control unknown`."""

    start: int
    end: int
    name: str
    kind: str


def marks(text: str, columns: Sequence[str], controls: Iterable[str]) -> list[Placeholder]:
    """The names in `text`, read as `prompts.Template` reads them, but past unknown ones too."""
    kinds = dict.fromkeys(controls, "control") | dict.fromkeys(columns, "column")
    braced = [name for name in kinds if "{" in name or "}" in name]
    found: list[Placeholder] = []
    at = text.find("{")
    while at >= 0:
        name = "" if text.startswith("{{", at) else _name_at(text, at + 1, kinds, braced)
        end = at + len(name) + 2
        if name:
            found.append(Placeholder(at, end, name, kinds.get(name, "unknown")))
        at = text.find("{", end if name or text.startswith("{{", at) else at + 1)
    return found


def _name_at(text: str, at: int, known: Iterable[str], braced: Sequence[str]) -> str:
    match = _NAME.match(text, at)
    inner = match.group() if match else ""
    if inner and inner in known:
        return inner
    for name in braced:
        if text.startswith(name + "}", at):
            return name
    return inner if inner.isidentifier() else ""


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
