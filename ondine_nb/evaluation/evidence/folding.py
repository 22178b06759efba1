"""Normalised forms of a text (Unicode, case, white space; letters only) with maps of offsets.

A form is made the first time that it is asked for, once for a text, whatever is looked for in it.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Folded", "SourceText", "folded"]

# ASCII with single blanks in it, which only the case changes; other white space; a character. A
# piece has an end: the interpreter is held for as long as one is made.
_RUN = r"[\x21-\x5f\x61-\x7e]{1,200}"
_PIECES = re.compile(rf"({_RUN}(?: {_RUN}){{0,50}})|(\s+)|(.)", re.DOTALL)
_ASCII, _SPACE = 1, 2
# Letters and digits; of scripts that write vowels as marks, the marks too.
_LETTERS = re.compile(r"(?:[^\W_]|[\u0900-\u0eff\u1000-\u109f\u1780-\u17ff])+")
_ALIKE = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2035\u02bc\u02b9\u00b4`\u2039\u203a", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u2036\u00ab\u00bb\u300c\u300d\uff02", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u00ad\ufe58\ufe63\uff0d", "-"),
    "\u00ad": "",  # a soft hyphen
    "\u0640": "",  # the stroke that stretches an Arabic word
}
# As they are: a power, an index or a fraction isn't the number that its digits would make.
_UNLIKE = ("<super>", "<sub>", "<fraction>")


@dataclass(frozen=True, slots=True)
class Folded:
    """A form of a text: its characters, and for each where it comes from in that text."""

    text: str
    at: array[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where characters `start` to `end` (at least one) of this form stand in the text."""
        return self.at[start], self.at[end - 1] + 1

    def only_letters(self) -> Folded:
        """This form without anything but letters and digits."""
        kept, at = [], array("L")
        for run in _LETTERS.finditer(self.text):
            kept.append(run.group())
            at.extend(self.at[run.start() : run.end()])
        return Folded("".join(kept), at)


class _Characters(dict[str, str]):
    """What a character is folded to: found once for each."""

    def __missing__(self, char: str) -> str:
        found = self[char] = _fold(char)
        return found


def _fold(char: str) -> str:
    if char in _ALIKE:
        return _ALIKE[char]
    if unicodedata.category(char) in ("Cf", "Cc"):
        return ""
    if unicodedata.decomposition(char).startswith(_UNLIKE):
        return char
    plain = unicodedata.normalize("NFKD", char).casefold()
    return "".join(_ALIKE.get(each, each) for each in plain)


_FOLDED = _Characters()


def folded(text: str) -> Folded:
    """`text` with Unicode's compatibility forms and case folded, each white space one blank.

    Quotation marks and dashes of all kinds are one kind each, format characters are left out.
    """
    parts, at = [], array("L")
    for piece in _PIECES.finditer(text):
        start, kind = piece.start(), piece.lastindex
        if kind == _ASCII:
            parts.append(piece.group().lower())
            at.extend(range(start, piece.end()))
            continue
        plain = " " if kind == _SPACE else _FOLDED[piece.group()]
        parts.append(plain)
        at.extend([start] * len(plain))
    return Folded("".join(parts), at)


class SourceText:
    """A text in which quotes are looked for: a cell of `column`, and its forms."""

    def __init__(self, column: str, text: str) -> None:
        self.column = column
        self.text = text

    @cached_property
    def normalised(self) -> Folded:
        """The text as `folded` has it."""
        return folded(self.text)

    @cached_property
    def letters(self) -> Folded:
        """Its letters and digits alone."""
        return self.normalised.only_letters()
