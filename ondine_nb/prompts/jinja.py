"""Prompt templates in Jinja2, in its sandbox: conditions, loops and filters over a row's values.

A column is a variable; one whose name is no identifier is ``row["the name"]``. A missing value is
None, so that ``{% if note %}`` holds alike for pandas and polars; what `{{ }}` shows has the text
that it has in the usual templates. Nothing by chance: the filter `random` would ask anew at every
run. No template is read from a file: there is nothing to include.

The filters `image`, `images`, `pdf` and `file` put what a path, bytes or a URL lead to in their
place: `{{ photo | image }}`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import MediaError, PromptError, nearest
from ..models import Part, Prompt
from ..text import as_text, is_missing, prompt_text
from .forms import FORMS, MediaOf, as_words

if TYPE_CHECKING:
    from jinja2 import Environment, nodes

__all__ = ["JinjaTemplate"]

_ROW = "row"
_PARTS = " parts"  # in a rendering's variables: no name in a template has a space


@dataclass(frozen=True, slots=True)
class JinjaTemplate:
    """A Jinja2 prompt, compiled against a frame's columns; `render` as `Template.render`.

    `columns` are those that the prompt names, `head` and `tail` what every rendered prompt begins
    and ends with, `forms` the filters for pictures and documents in it, each with a name or "".
    """

    columns: tuple[str, ...]
    head: str
    tail: str
    _render: Any
    _fixed: Mapping[str, Any]
    _by_row: bool
    forms: tuple[tuple[str, str], ...] = ()
    _media: MediaOf = as_words

    @classmethod
    def compile(
        cls,
        text: str,
        columns: Sequence[str],
        params: Mapping[str, Any] | None = None,
        frame_name: str = "data",
    ) -> JinjaTemplate:
        """The template of `text` over `columns`, with `params` as variables beside them.

        Raises PromptError for what Jinja2 can't read, an unknown name, a prompt that names no
        column, a parameter that is unused or named like a column, and includes.
        """
        from jinja2 import TemplateSyntaxError, meta

        params = params or {}
        environment, bare = _environment(), _environment()
        bare.globals.clear()  # or a column that is named like one of them isn't found
        try:
            tree = bare.parse(text)
            render = environment.from_string(text).render
        except TemplateSyntaxError as error:
            said = f"line {error.lineno}: {error.message}"
            raise PromptError(f"The prompt is no Jinja2 template ({said}).") from None
        _refuse_includes(tree)
        named = meta.find_undeclared_variables(tree)
        named -= set(environment.globals) - {*columns, *params}
        by_row = _ROW in named and _ROW not in columns and _ROW not in params
        used = [name for name in columns if name in named]
        if by_row:
            named -= {_ROW}
            used = list(dict.fromkeys([*used, *_of_row(tree, columns, frame_name)]))
        _check(named, used, columns, params, frame_name)
        fixed = {name: value for name, value in params.items() if name in named}
        edges = _edge(tree, 0), _edge(tree, -1)
        return cls(tuple(used), *edges, render, fixed, by_row, _forms(tree))

    def reading(self, media: MediaOf) -> JinjaTemplate:
        """The same template, whose pictures and documents are read by `media`, not only named."""
        return replace(self, _media=media)

    def render(self, values: Sequence[Any]) -> Prompt | None:
        """One row's prompt, or None if every column that the prompt names is missing.

        Raises PromptError where the template can't be rendered for these values, and MediaError for
        what can't be sent as a picture or document.
        """
        if len(values) != len(self.columns):
            raise ValueError(f"{len(values)} values for {len(self.columns)} columns")
        known = [None if is_missing(value) else _in_order(value) for value in values]
        if all(value is None for value in known):
            return None
        row = dict(zip(self.columns, known, strict=True))
        names = {_ROW: row, **row} if self._by_row else row
        found = _PlacedParts(self._media) if self.forms else None
        try:
            text = as_text(self._render({**self._fixed, **names, _PARTS: found}))
            return Prompt(text) if found is None else found.prompt(text)
        except MediaError:
            raise
        except Exception as error:  # whatever an expression of the user's raises
            said = " ".join(str(error).split())
            raise PromptError(f"The prompt can't be rendered for this row: {said}") from error


class _PlacedParts:
    """The pictures and documents of one rendering: each leaves a mark in its text.

    What the mark is nobody knows beforehand, so that no value can pass for one.
    """

    def __init__(self, media: MediaOf) -> None:
        self._media = media
        self._mark = secrets.token_hex(16)
        self._parts: list[Sequence[Part]] = []

    def add(self, form: str, value: Any) -> str:
        """The mark for what `value` stands for."""
        self._parts.append(self._media(form, None if is_missing(value) else value))
        return f"{self._mark}:{len(self._parts) - 1};"

    def prompt(self, text: str) -> Prompt:
        """The text with the parts in the places of their marks."""
        first, *others = text.split(f"{self._mark}:")
        parts: list[Part] = [first]
        for other in others:
            at, _, behind = other.partition(";")
            parts += [*self._parts[int(at)], behind]
        if any(isinstance(part, str) and self._mark in part.lower() for part in parts):
            raise ValueError("something was made of a picture or document: let it be as it is")
        return Prompt(*parts)


def _filter(form: str) -> Callable[[Any, Any], str]:
    from jinja2 import pass_context

    @pass_context
    def placed(context: Any, value: Any) -> str:
        found = context.get(_PARTS)
        if found is None:  # while a constant is folded
            raise ValueError(f"the filter '{form}' is for a column's value")
        return str(found.add(form, value))

    return placed


class _Struct(dict[Any, Any]):
    """A struct of a row; what it lacks is missing, as what is null in it."""

    def __missing__(self, key: Any) -> None:
        return None


def _in_order(value: Any) -> Any:
    """Structs, however deep, with their keys in the order that they have as text.

    Those whose value is missing are left out there, too. So what looks into a struct, or loops over
    it, gives the same prompt from each library: not every one keeps a row's own order, or null and
    nothing apart.
    """
    if isinstance(value, Mapping):
        there = {key: item for key, item in value.items() if not is_missing(item)}
        return _Struct((key, _in_order(item)) for key, item in sorted(there.items(), key=_name))
    if isinstance(value, (list, tuple)):
        return [None if is_missing(item) else _in_order(item) for item in value]
    return value


def _name(item: tuple[Any, Any]) -> str:
    return as_text(item[0])


def _environment() -> Environment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        finalize=prompt_text,
        keep_trailing_newline=True,
        autoescape=False,
    )
    del made.filters["random"], made.globals["lipsum"]
    made.filters |= {form: _filter(form) for form in FORMS}
    return made


def _refuse_includes(tree: nodes.Template) -> None:
    from jinja2 import nodes

    kinds = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
    for found in tree.find_all(kinds):
        raise PromptError(
            f"Line {found.lineno} of the prompt wants another template, and there is no other: "
            "write its text into the prompt."
        )


def _forms(tree: nodes.Template) -> tuple[tuple[str, str], ...]:
    """The filters for pictures and documents, each with the variable that it stands behind."""
    from jinja2 import nodes

    found: list[tuple[str, str]] = []
    for each in tree.find_all(nodes.Filter):
        inner, first = each.node, each.args[0] if each.args else None
        name = str(getattr(inner, "name", ""))
        if each.name in FORMS:
            found.append((each.name, name))
        elif each.name == "map" and isinstance(first, nodes.Const) and first.value in FORMS:
            found.append((first.value, name))
        elif isinstance(inner, nodes.Filter) and inner.name in FORMS:
            raise PromptError(
                f"The filter {each.name!r} stands behind {inner.name!r} in line {each.lineno} of "
                f"the prompt: {inner.name!r} has to be the last, for there is no text behind it."
            )
    return tuple(found)


def _of_row(tree: nodes.Template, columns: Sequence[str], frame_name: str) -> list[str]:
    """The columns that ``row["…"]`` names; all of them where it is used in another way."""
    from jinja2 import nodes

    whole = sum(name.name == _ROW for name in tree.find_all(nodes.Name))
    asked = [each for each in tree.find_all(nodes.Getitem) if _is_row(each.node)]
    names = [each.arg.value for each in asked if isinstance(each.arg, nodes.Const)]
    for name in names:
        if name not in columns:
            raise PromptError(_unknown(str(name), columns, frame_name))
    return list(dict.fromkeys(names)) if len(names) == whole else list(columns)


def _is_row(node: nodes.Node) -> bool:
    return getattr(node, "name", None) == _ROW


def _check(
    named: set[str],
    used: Sequence[str],
    columns: Sequence[str],
    params: Mapping[str, Any],
    frame_name: str,
) -> None:
    for name in sorted(named - set(columns) - set(params)):
        raise PromptError(_unknown(name, [*columns, *params], frame_name))
    for name in params:
        if name in columns:
            raise PromptError(
                f"Parameter {name!r} has the name of a column of `{frame_name}`: name the "
                "parameter differently."
            )
        if name not in named:
            raise PromptError(
                f"Parameter {name!r} is not used: write {{{{ {name} }}}} in the prompt, or drop "
                "the parameter."
            )
    doubled = [name for name in used if list(columns).count(name) > 1]
    if doubled:
        raise PromptError(f"Column {doubled[0]!r} stands twice in `{frame_name}`: rename one.")
    if not used:
        raise PromptError(
            f"The prompt names no column of `{frame_name}` ({', '.join(columns)}), so every row "
            f"would ask the same. Write {{{{ {next(iter(columns), 'column')} }}}}."
        )


def _unknown(name: str, known: Sequence[str], frame_name: str) -> str:
    near = nearest(name, known)
    hint = f" Did you mean {{{{ {near} }}}}?" if near is not None else ""
    return f"Column {name!r} is not in `{frame_name}` ({', '.join(known)}).{hint}"


def _edge(tree: nodes.Template, at: int) -> str:
    """The text at the beginning (0) or the end (-1) that no row's values bear on."""
    from jinja2 import nodes

    outer = tree.body[at] if tree.body else None
    inner = outer.nodes[at] if isinstance(outer, nodes.Output) and outer.nodes else None
    return as_text(inner.data) if isinstance(inner, nodes.TemplateData) else ""
