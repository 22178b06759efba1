"""Executed notebooks as pages of the documentation, `docs/gallery/NAME.md`, each with a picture.

`python -m tests.gallery --docs` writes them. Outputs stand there as they came, so that times and
ports are those of that day; what a cell says is the notebook's, and a test holds it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from tests.chromium import launched
from tests.gallery import FACTS, ROOT, STORIES
from tests.gallery_pages import is_dead, page

__all__ = ["PAGES", "PICTURES", "markdown", "picture", "write"]

PAGES = ROOT / "docs" / "gallery"
PICTURES = ROOT / "docs" / "pictures" / "gallery"
# What a notebook is known by: the first such element of its page, or the one of that number, from
# where in it there is something of that kind.
SHOWN = {
    "findings": (".ondine-run", 1, ""),
    "tune-a-prompt": (".ondine-panel-static", 0, ""),
    "budget-stop-resume": (".ondine-run", 1, ""),
    "receipts": (".ondine-results-static", 0, ".r-scroll"),
}
WIDTH, HEIGHT = 640, 360  # of a picture, in pixels of the page
_ALONE = """([selector, number, from]) => {
  const element = document.querySelectorAll(selector)[number];
  document.body.replaceChildren(...document.querySelectorAll("style"), element);
  document.body.style = "margin: 0; padding: 8px; max-width: none";
  if (from) element.querySelector(from).scrollIntoView();
}"""
_STYLE = re.compile(r"<style(?: type=\"text/css\")?>.*?</style>", re.DOTALL)


def write(notebooks: Mapping[str, Any]) -> None:
    """Write the page and the picture of each executed notebook."""
    for folder in (PAGES, PICTURES):
        folder.mkdir(parents=True, exist_ok=True)
    for name, notebook in notebooks.items():
        (PAGES / f"{name}.md").write_text(markdown(name, notebook), encoding="utf-8")
        picture(name, notebook, PICTURES / f"{name}.png")


def markdown(name: str, notebook: Any) -> str:
    """One executed notebook in Markdown, with its outputs; dead widgets are left out."""
    heading, _, rest = notebook.cells[0].source.partition("\n")
    source = f"{STORIES[name]} This is `notebooks/{name}.ipynb`, as it ran."
    parts = [heading, source, rest.strip()]
    for cell in notebook.cells[1:]:
        if cell.metadata.get("purpose") == FACTS:
            continue
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        else:
            parts.append(f"```python\n{cell.source}\n```")
            parts += filter(None, map(_shown, cell.outputs))
    text = "\n\n".join(filter(None, _styled_once(parts))) + "\n"
    return re.sub(r"\]\(([\w-]+)\.ipynb\)", r"](\1.md)", text)


def _styled_once(parts: Iterable[str]) -> Iterable[str]:
    """Each style sheet stands in the page once, with the first output that needs it."""
    known: set[str] = set()

    def first(sheet: re.Match[str]) -> str:
        again = sheet[0] in known
        known.add(sheet[0])
        return "" if again else sheet[0]

    return [_STYLE.sub(first, part) if part.startswith("<div") else part for part in parts]


def _shown(output: Any) -> str:
    """What an output shows, as a block of Markdown; "" where that is nothing."""
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```"
    data = output.get("data", {})
    if found := data.get("text/html"):
        return f'<div class="output">{_one_line(found)}</div>'
    if "text/plain" in data and not is_dead(output):
        return f"```text\n{data['text/plain'].rstrip()}\n```"
    return ""


def _one_line(html: str) -> str:
    """A blank line would end the block of HTML for Markdown."""
    html = re.sub(r"<script.*?</script>|<style scoped>.*?</style>", "", html, flags=re.DOTALL)
    kept = re.compile(r"<pre.*?</pre>", re.DOTALL)
    html = kept.sub(lambda pre: pre[0].replace("\n", "&#10;"), html)
    return " ".join(line.strip() for line in html.splitlines() if line.strip())


def picture(name: str, notebook: Any, file: Path) -> None:
    """Draw what the notebook is known by, in light colours, as a PNG. Needs Chromium."""
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        html = Path(folder, "page.html")
        html.write_text(page(name, notebook), encoding="utf-8")
        size: Any = {"width": WIDTH, "height": HEIGHT}
        shown = browser.new_page(viewport=size, device_scale_factor=2)
        shown.goto(html.as_uri())
        shown.evaluate(_ALONE, list(SHOWN.get(name, (".ondine-run", 0, ""))))
        shown.screenshot(path=file)
    with Image.open(file) as drawn:
        drawn.convert("RGB").quantize(256).save(file, optimize=True)
