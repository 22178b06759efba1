"""Prompt templates: `{column}` becomes the row's value, every other brace stays as it is.

How braces are read, from left to right:

- `{name}`, where `name` is exactly a column's name (spaces, any script, punctuation) or a
  parameter's: its value. An identifier that is neither is an error.
- `{{` is a literal `{`. `}}` is a literal `}` where it closes a `{{`, or where no brace is
  open. Where it closes braces that were opened singly it stays `}}`, so that JSON in a prompt,
  `{"a": {"b": {text}}}`, keeps every brace.
- `{photo:image}`, `{photos:images}`, `{contract:pdf}`, `{scan:file}`: what the cell's path, bytes
  or URL leads to, as a part of the prompt beside its texts. These are the only forms.
- `{price:.2f}`, `{x!r}`, `{a.b}`, `{a[0]}` on a column or parameter (or on what is nearly one)
  are errors, never literals that somebody pays for.
- Anything else, `{"a": 1}`, `{}`, `{ text }`, `\\d{3}`, stays as it is.

No attribute is looked up, nothing is evaluated, and values are never scanned for braces.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeAlias

from ..errors import PromptError, nearest
from ..models import Part, Prompt
from ..text import as_text, encodable, is_missing, prompt_text
from .forms import FORMS, MediaOf, as_words, media_for

__all__ = ["Template", "as_text", "escape", "is_missing"]

_NO_PARAMS: Mapping[str, Any] = MappingProxyType({})
_BRACE = re.compile(r"[{}]")
# What str.format would take behind a name: a conversion, attributes or indexes, a format spec.
# A bare number is no spec here: `{a:1}` is far more often somebody's JSON.
_FORMATTING = re.compile(
    r"(?:\.\w+|\[[^\]]*\])+(?:![rsa])?(?::.*)?"
    r"|![rsa](?::.*)?"
    r"|:(?!\d*$)(?:.?[<>=^])?[-+ ]?z?#?0?\d*[,_]?(?:\.\d+)?[bcdeEfFgGnosxX%]?"
)
_FORM = re.compile(rf":({'|'.join(FORMS)})\}}")
_Slot: TypeAlias = Any  # a text, a column's place, or its form and place
_LONGEST_LIST = 120  # characters of column names that an error shows


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt, compiled against a frame's columns.

    `columns` are those that the prompt names, in order of first use; `render` takes one row's
    values in that order. `forms` are those of pictures and documents in it, as `{photo:image}`,
    with their columns.
    """

    columns: tuple[str, ...]
    _parts: tuple[_Slot, ...]
    forms: tuple[tuple[str, str], ...] = ()
    _media: MediaOf = as_words
    _between: list[str] = field(init=False, repr=False, compare=False)  # "" where a column stands
    _holes: list[tuple[int, int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        texts = [part if isinstance(part, str) else "" for part in self._parts]
        holes = [(place, at) for place, at in enumerate(self._parts) if isinstance(at, int)]
        object.__setattr__(self, "_between", texts)
        object.__setattr__(self, "_holes", holes)

    @classmethod
    def compile(
        cls,
        text: str,
        columns: Sequence[str],
        params: Mapping[str, Any] = _NO_PARAMS,
        frame_name: str = "data",
    ) -> Template:
        """The template of `text` over `columns`; parameters are filled in here, once.

        Raises PromptError for an empty prompt, one that names no column, an unknown or doubled
        name, formatting on a name, and a parameter that is unused or named like a column.
        """
        if not isinstance(text, str):
            raise PromptError(f"The prompt must be text, not {type(text).__name__}.")
        if not text.strip():
            raise PromptError(
                "The prompt is empty: write what to ask about a row, with {column}s in it."
            )
        compiler = _Compiler(text, columns, params, frame_name)
        compiler.run()
        return cls(tuple(compiler.used), tuple(compiler.parts), tuple(compiler.forms))

    def reading(self, media: MediaOf) -> Template:
        """The same template, whose pictures and documents are read by `media`, not only named."""
        return replace(self, _media=media)

    @staticmethod
    def scan(text: str, names: Collection[str]) -> list[tuple[int, int, str]]:
        """What stands in single braces in a prompt: start, end and name of each, in order.

        `names` are the columns and parameters; an identifier that is none of them is given too.
        """
        named = (piece for piece in _pieces(text, names) if piece.kind == "name")
        return [(it.start, it.start + len(it.inner) + 2, it.text) for it in named]

    @property
    def head(self) -> str:
        """What every rendered prompt begins with: the text before the first column."""
        return first if isinstance(first := self._parts[0], str) else ""

    @property
    def tail(self) -> str:
        """What every rendered prompt ends with: the text behind the last column."""
        return last if isinstance(last := self._parts[-1], str) else ""

    def render(self, values: Sequence[Any]) -> Prompt | None:
        """One row's prompt, or None if every column that the prompt names is missing.

        `values` are the row's values in the order of `columns`. The text can be encoded as
        UTF-8. Raises ValueError if the number of values is wrong, PromptError for bytes that are no
        text, and MediaError for what can't be sent as a picture or document.
        """
        if len(values) != len(self.columns):
            raise ValueError(f"{len(values)} values for {len(self.columns)} columns")
        if self.forms:
            return self._with_media(values)
        texts = [prompt_text(value) for value in values]
        if not any(texts) and all(is_missing(value) for value in values):
            return None
        pieces = self._between.copy()
        for place, at in self._holes:
            pieces[place] = texts[at]
        return Prompt("".join(pieces))

    def _with_media(self, values: Sequence[Any]) -> Prompt | None:
        """As `render`, where some of the columns aren't texts."""
        parts: list[Part] = []
        asks = False
        for slot in self._parts:
            if isinstance(slot, str):
                parts.append(slot)
                continue
            form, at = slot if isinstance(slot, tuple) else ("", slot)
            value = values[at]
            found = media_for(self._media, form, value, self.columns[at]) if form else ()
            parts += found if form else [prompt_text(value)]
            asks = asks or bool(found) or not (form or is_missing(value))
        return Prompt(*parts) if asks else None


def escape(text: str) -> str:
    """`text` with its braces doubled: as it is, wherever no single `{` is open before it."""
    return text.replace("{", "{{").replace("}", "}}")


class _Compiler:
    """Reads a prompt once; leaves the pieces in `parts` and the columns they need in `used`."""

    def __init__(
        self, text: str, columns: Sequence[str], params: Mapping[str, Any], frame_name: str
    ) -> None:
        self.text = text
        self.names = dict.fromkeys(columns)
        self.params = params
        self.frame_name = frame_name
        self.parts: list[_Slot] = []
        self.used: dict[str, int] = {}
        self.forms: list[tuple[str, str]] = []
        self._columns = columns
        self._filled: set[str] = set()

    def run(self) -> None:
        self._check_params()
        for piece in _pieces(self.text, [*self.names, *self.params]):
            if piece.kind == "name":
                self._fill(piece.text, piece.form)
                continue
            if piece.kind == "brace":
                self._refuse_formatting(piece.start)
            self._literal(piece.text)
        self._check_use()

    def _fill(self, name: str, form: str) -> None:
        if name not in self.names and name not in self.params:
            raise PromptError(self._unknown(name, form))
        if name in self.params and form:
            raise PromptError(
                f"{{{name}:{form}}}: {name!r} is a parameter, which is a text. A file for all rows "
                f"is given by --attach; a column of files by its name, as {{column:{form}}}."
            )
        if name in self.params:
            self._filled.add(name)
            try:
                self._literal(prompt_text(self.params[name]))
            except PromptError as error:
                raise PromptError(f"Parameter {name!r} is {error}") from None
            return
        if name not in self.used and Counter(self._columns)[name] > 1:
            raise PromptError(f"Column {name!r} stands twice in `{self.frame_name}`: rename one.")
        at = self.used.setdefault(name, len(self.used))
        self.parts.append((form, at) if form else at)
        if form:
            self.forms.append((form, name))

    def _literal(self, text: str) -> None:
        text = encodable(text)
        if self.parts and isinstance(before := self.parts[-1], str):
            self.parts[-1] = before + text
        elif text:
            self.parts.append(text)

    def _refuse_formatting(self, at: int) -> None:
        """Raises PromptError if a name with a format, conversion, attribute or index follows."""
        end = _BRACE.search(self.text, at + 1)
        if end is None:
            return
        inner = self.text[at + 1 : end.start()].strip()
        for sign in re.finditer(r"[.\[!:]", inner):
            head = inner[: sign.start()]
            if head in self.names or head in self.params:
                raise PromptError(_formatted(head, inner))
            if head.isidentifier() and _FORMATTING.fullmatch(inner, sign.start()):
                near = nearest(head, [*self.names, *self.params])
                if near is not None:
                    raise PromptError(f"{self._unknown(head)} {_formatted(near, inner)}")

    def _check_params(self) -> None:
        for name in self.params:
            if name in self.names:
                raise PromptError(
                    f"Parameter {name!r} has the name of a column of `{self.frame_name}`, so "
                    f"{{{name}}} could be either: name the parameter differently."
                )

    def _check_use(self) -> None:
        unused = [name for name in self.params if name not in self._filled]
        if unused:
            raise PromptError(
                f"Parameter {unused[0]!r} is not used: write {{{unused[0]}}} in the prompt, "
                "or drop the parameter."
            )
        if not self.used:
            raise PromptError(
                f"The prompt names no column, so every row would ask the same. Write a column of "
                f"{self._frame()} in single braces, like {{{next(iter(self.names), 'column')}}}; "
                "{{…}} stands for literal braces."
            )

    def _unknown(self, name: str, form: str = "") -> str:
        near, behind = nearest(name, [*self.names, *self.params]), f":{form}" if form else ""
        hint = f" Did you mean {{{near}{behind}}}?" if near is not None else ""
        what = f"Column {name!r} is not in {self._frame()}.{hint}"
        return f"{what} For literal braces write {{{{{name}{behind}}}}}."

    def _frame(self) -> str:
        return f"`{self.frame_name}` ({_listed(self.names)})"


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of a prompt from `start` on. `kind`: text, brace (a `{` that stays) or name.

    A name may have a `form` behind it, as in `{photo:image}`.
    """

    kind: str
    text: str
    start: int
    form: str = ""

    @property
    def inner(self) -> str:
        """What stands between the braces."""
        return f"{self.text}:{self.form}" if self.form else self.text


def _pieces(text: str, names: Collection[str]) -> Iterator[_Piece]:
    """A prompt cut at its braces, from left to right; a name may be one that isn't in `names`."""
    # Only these can reach past the next brace, so they are the only ones looked for there.
    braced = [name for name in names if _BRACE.search(name)]
    known, opened, at = frozenset(names), list[str](), 0
    while found := _BRACE.search(text, at):
        start = found.start()
        yield _Piece("text", text[at:start], at)
        at, innermost = start + 1, opened[-1] if opened else None
        doubled = text.startswith(found.group() * 2, start)
        if found.group() == "}":
            doubled = doubled and innermost != "{"
            if innermost == "{" or (doubled and innermost):
                opened.pop()
            at += doubled
            yield _Piece("text", "}", start)
        elif doubled:
            opened.append("{{")
            at += 1
            yield _Piece("text", "{", start)
        elif name := _name_at(text, at, known, braced):
            piece = _Piece("name", name, start, _form_at(text, at + len(name)))
            at += len(piece.inner) + 1
            yield piece
        else:
            opened.append("{")
            yield _Piece("brace", "{", start)
    yield _Piece("text", text[at:], at)


def _name_at(text: str, at: int, known: Collection[str], braced: Iterable[str]) -> str:
    """What stands between the brace before `at` and its `}` or a form, if it is or may be a name.

    A column's whole name goes before a name with a form.
    """
    end = _BRACE.search(text, at)
    inner = text[at : end.start()] if end and end.group() == "}" else ""
    if inner and inner in known:
        return inner
    for name in braced:
        if text.startswith(name + "}", at) or (
            text.startswith(name, at) and _form_at(text, at + len(name))
        ):
            return name
    head, colon, form = inner.rpartition(":")
    if colon and form in FORMS and (head in known or head.isidentifier()):
        return head
    return inner if inner.isidentifier() else ""


def _form_at(text: str, at: int) -> str:
    """The form of a picture or document that stands at `at`, before the closing brace; or ""."""
    found = _FORM.match(text, at)
    return found.group(1) if found else ""


def _formatted(name: str, inner: str) -> str:
    forms = " ".join(f":{form}" for form in FORMS)
    return (
        f"{{{inner}}} asks for a format, conversion, attribute or index, and a template has none: "
        f"write {{{name}}} for the value, with {forms} behind the name for a picture or document, "
        f"or {{{{{inner}}}}} for literal braces."
    )


def _listed(names: Iterable[str]) -> str:
    """The names with commas, cut with … once they are longer than an error should be."""
    shown: list[str] = []
    room = _LONGEST_LIST
    for name in names:
        room -= len(name) + 2
        if shown and room < 0:
            return ", ".join([*shown, "…"])
        shown.append(name if len(name) <= _LONGEST_LIST else name[:_LONGEST_LIST] + "…")
    return ", ".join(shown)
