"""The parts of the pages that come from the code itself: `python -m tests.docs.generate`.

A part stands in its page between `<!-- generated: NAME -->` and `<!-- end -->`. A test compares
what stands there with what comes out here.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from html import escape
from pathlib import Path

from ondine_nb.notebook.magics import OndineMagics
from ondine_nb.pipeline import COMBINED, CONFLICTS, OPTIONS, Option, Surface, conflict
from ondine_nb.providers import KNOWN, KnownProvider
from tests.docs.pages import DOCS, PAGES
from tests.docs.picture import svg
from tests.gallery import STORIES, stored, title
from tests.test_layers import ALLOWED, FLOORS, ROOT

__all__ = ["PARTS", "PICTURE", "main", "renewed"]

PICTURE = DOCS / "pictures" / "architecture.svg"

_PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def options() -> str:
    """The table of options, from their declaration."""
    lines = [
        "| option | what it does | default | keyword of `Pipeline` |",
        "| --- | --- | --- | --- |",
    ]
    for option in OPTIONS.values():
        if option.on(Surface.CELL):
            unit = option.unit if option.usual.isdigit() and option.usual != "1" else ""
            default = f"`{option.usual}` {unit}".strip() if option.usual else ""
            keyword = f"`{option.name}`" if option.on(Surface.KEYWORD) else ""
            lines.append(f"| {_flags(option)} | {_escaped(option.help)} | {default} | {keyword} |")
    return "\n".join(lines) + "\n"


def _flags(option: Option) -> str:
    return ", ".join(map(_code, [*option.flags[:-1], option.usage or option.value_name]))


def _code(text: str) -> str:
    """As code in a table: GitHub and mkdocs each take a bar in backticks for another thing."""
    return f"<code>{escape(text).replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def _escaped(text: str) -> str:
    return text.replace("|", "&#124;")


def traits() -> str:
    """The table of settings, from the traits of the magic."""
    lines = ["| setting | stands for | default |", "| --- | --- | --- |"]
    for name, trait in OndineMagics.class_own_traits(config=True).items():
        option, default = OPTIONS[name], trait.default()
        shown = "" if default is None else f"`{default}`"
        stands = [_code(option.usage)] if option.usage else []
        text = ": ".join([*stands, _escaped(option.help)])
        lines.append(f"| `OndineMagics.{name}` | {text} | {shown} |")
    return "\n".join(lines) + "\n"


def combinations() -> str:
    """The table of all pairs of options that change how rows become requests and results."""
    heads = [each for each in COMBINED if each.split()[0] != COMBINED[-1].split()[0]]
    lines = ["| | " + " | ".join(f"`{head}`" for head in heads) + " |"]
    lines.append("| --- |" + " --- |" * len(heads))
    for at, one in enumerate(COMBINED[1:], 1):
        cells = [_together(one, head) if COMBINED.index(head) < at else "" for head in heads]
        lines.append(f"| `{one}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _together(one: str, other: str) -> str:
    return "refused" if conflict(one, other) else "works"


def refusals() -> str:
    """Why what can't go together can't."""
    lines = ["| together | why not |", "| --- | --- |"]
    lines += [f"| `{each.one}` and `{each.other}` | {each.why}. |" for each in CONFLICTS]
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


def providers() -> str:
    """What is known of each provider that a model's prefix can name."""
    lines = [
        "| `-m` | who answers | key, and what else it needs | schema | images | cache "
        "| `--batch` | price |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in KNOWN.values():
        name = "MODEL" if row.name == "anthropic" else f"{row.name}:MODEL"
        name = row.name if row.name == "local" else name
        schema = {True: "yes", False: "no", None: "by model"}[row.structured]
        batches = "yes" if row.batches else ""
        cells = [_needed(row), schema, _images(row), row.cache, batches, _price(row)]
        lines.append(f"| `{name}` | {row.title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _images(row: KnownProvider) -> str:
    if row.name == "local":
        return "no"
    sees = "yes" if row.wire == "messages" else "by model"
    return f"{sees}, PDFs too" if row.documents else sees


def _needed(row: KnownProvider) -> str:
    needs = [" or ".join(f"`{key}`" for key in row.keys), *(f"`{name}`" for name in row.needs)]
    if row.name == "azure":
        needs.append(f"`{row.url_variable}`")
    if row.local:
        needs[0] = f"no key, or {needs[0]}" if needs[0] else "no key"
    elif row.client and row.extra:
        needs[0] = f"{needs[0]} or the cloud's credentials" if needs[0] else "its credentials"
    extra = [f"extra `{row.extra}`"] if row.extra else []
    return "; ".join(filter(None, [*needs, *extra]))


def _price(row: KnownProvider) -> str:
    return "$0 here" if row.local else "by the table" if row.prices else "unknown"


def gallery() -> str:
    """The notebooks with a picture, a link to their page, and their sentence."""
    cards = []
    for name, story in STORIES.items():
        heading = title(stored(name))
        picture = f"![{heading}: what its cells show](pictures/gallery/{name}.png)"
        cards.append(
            f"- [{picture}](gallery/{name}.md)\n\n    [{heading}](gallery/{name}.md). {story}\n"
        )
    return "\n".join(['<div class="grid cards gallery" markdown>\n', *cards, "</div>\n"])


PARTS: dict[str, Callable[[], str]] = {
    "options": options,
    "combinations": combinations,
    "refusals": refusals,
    "traits": traits,
    "rooms": room_list,
    "libraries": libraries,
    "providers": providers,
    "gallery": gallery,
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
