"""Templates and style sheets of the views, read on first use."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["css", "module", "sheet", "template"]


@cache
def css(name: str = "card/card.css") -> str:
    """A style sheet, behind the theme that all views share; all of it is scoped to its view."""
    return _lean(_read("ui/theme.css") + _read(name))


@cache
def module(name: str, *inside: str) -> str:
    """The ES module of a live view ("results/results.js"), behind what all live views share.

    The texts are one module: what `ui/view.js` and `ui/pictures.js` define, the other can use.
    Views that stand `inside` it are constants there, called as their files:
    `comparison.render({model, el})`.
    """
    shared = map(_read, ("ui/view.js", "ui/pictures.js"))
    return "\n".join([*shared, *map(_as_constant, inside), _read(name)])


def _as_constant(name: str) -> str:
    """A view's module as an expression in another one: its names stay its own."""
    body = _read(name).replace("export default view(", "return view(")
    return f"const {Path(name).stem} = (() => {{\n{body}\n}})();"


@cache
def sheet(name: str, *inside: str) -> str:
    """The style sheet of a live view, behind those that all share and those of views inside it."""
    shared = ("ui/theme.css", "ui/view.css", "ui/pictures.css")
    return _lean("".join(map(_read, (*shared, name, *inside))))


@cache
def template(name: str) -> Any:
    """A compiled template. Autoescape is on for every name, and an unknown variable is an error."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined  # costs 30 ms: not at %load_ext

    environment = Environment(
        loader=FunctionLoader(_read), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(name)


def _lean(sheet: str) -> str:
    """A sheet without comments and line breaks: every saved card holds one."""
    return " ".join(re.sub(r"(?s)/\*.*?\*/", "", sheet).split())


def _read(name: str) -> str:
    """An asset by its view and its name: "card/card.css"."""
    view, file = name.split("/")
    return (Path(__file__).parents[1] / view / "assets" / file).read_text(encoding="utf-8")
