"""The parts of the pages that come from the code itself: `python -m tests.docs.generate`.

A part stands in its page between `<!-- generated: NAME -->` and `<!-- end -->`. A test compares
what stands there with what comes out here.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import Any

from ondine_nb.notebook.arguments import parser
from ondine_nb.notebook.magics import OndineMagics
from ondine_nb.pipeline.options import Options
from tests.docs.pages import DOCS, PAGES
from tests.docs.picture import svg
from tests.test_layers import ALLOWED, FLOORS, ROOT

__all__ = ["PARTS", "PICTURE", "main", "renewed"]

PICTURE = DOCS / "pictures" / "architecture.svg"

_PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_DEFAULT = re.compile(r"^(.*) \(([^()]+)\)$", re.DOTALL)
_NOT_A_KEYWORD = {"out", "help", "input", "dry_run", "background", "quiet"}


def options() -> str:
    """The table of options, from the parser of the magic."""
    keywords = {option.name for option in fields(Options)}
    lines = [
        "| option | what it does | default | keyword of `Pipeline` |",
        "| --- | --- | --- | --- |",
    ]
    for action in parser()._actions:
        name = "params" if action.dest == "param" else action.dest
        assert (name in keywords) != (name in _NOT_A_KEYWORD), name
        text, default = _split(action.help or "")
        keyword = f"`{name}`" if name in keywords else ""
        lines.append(f"| {_flags(action)} | {_escaped(text)} | {default} | {keyword} |")
    return "\n".join(lines) + "\n"


def _flags(action: Any) -> str:
    metavar = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
    if not action.option_strings:
        return f"`{metavar}`"
    shown = [*action.option_strings[:-1], f"{action.option_strings[-1]} {metavar}".strip()]
    return ", ".join(map(_code, shown))


def _code(text: str) -> str:
    """As code in a table: GitHub and mkdocs each take a bar in backticks for another thing."""
    return f"<code>{escape(text).replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def _split(text: str) -> tuple[str, str]:
    """A help text and the default behind it, in parentheses."""
    found = _DEFAULT.match(text)
    return (found[1], f"`{found[2]}`") if found else (text, "")


def _escaped(text: str) -> str:
    return text.replace("|", "&#124;")


def _coded(text: str) -> str:
    return re.sub(r"(?<!\S)--?[a-z][a-z-]*", lambda flag: f"`{flag[0]}`", _escaped(text))


def traits() -> str:
    """The table of settings, from the traits of the magic."""
    lines = ["| setting | stands for | default |", "| --- | --- | --- |"]
    made = OndineMagics.class_own_traits(config=True)
    for name, trait in made.items():
        default = trait.default()
        shown = "" if default is None else f"`{default}`"
        lines.append(f"| `OndineMagics.{name}` | {_coded(trait.help)} | {shown} |")
    return "\n".join(lines) + "\n"


def room_list() -> str:
    """What each room is for, in the first line of its own words."""
    lines = ["| room | what it is for |", "| --- | --- |"]
    for floor in FLOORS:
        lines += [f"| `{name}` | {_escaped(_purpose(name))} |" for name in floor]
    return "\n".join(lines) + "\n"


def _purpose(name: str) -> str:
    file = ROOT / name / "__init__.py" if (ROOT / name).is_dir() else ROOT / f"{name}.py"
    words = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return words.partition("\n\n")[0].replace("\n", " ")


def libraries() -> str:
    """The foreign libraries, and who may import them."""
    lines = ["| library | known in |", "| --- | --- |"]
    for library, places in ALLOWED.items():
        lines.append(f"| `{library}` | {', '.join(f'`{place}`' for place in sorted(places))} |")
    return "\n".join(lines) + "\n"


PARTS: dict[str, Callable[[], str]] = {
    "options": options,
    "traits": traits,
    "rooms": room_list,
    "libraries": libraries,
}


def renewed(text: str) -> str:
    """A page with its generated parts as they have to be."""
    return _PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n{found[3]}", text)


def main() -> None:
    """Write the parts anew into all pages, and the picture."""
    _write(PICTURE, svg())
    for page in PAGES:
        _write(page, renewed(page.read_text(encoding="utf-8")))


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(DOCS.parent), file=sys.stderr)


if __name__ == "__main__":
    main()
