"""Executed notebooks as pages: HTML with its own style, that loads nothing and runs nothing."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from tests.gallery import STORIES, title

__all__ = ["binder", "export", "is_dead", "page"]

WIDGET = "application/vnd.jupyter.widget-view+json"
STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --paper: #fff; --soft: #59636e; --line: #d8dee4;
  --code: #f6f8fa; --link: #0a58c2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #0d1117; --soft: #9aa4af;
  --line: #2f353d; --code: #161b22; --link: #6cb0ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 54rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
nav { display: flex; gap: 1.25rem; padding-bottom: .75rem; border-bottom: 1px solid var(--line);
  font-size: .9rem; }
nav .here { margin-inline-start: auto; color: var(--soft); }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
h1 { margin: 1.6rem 0 .6rem; font-size: 1.9rem; line-height: 1.2; }
h2 { margin: 2.2rem 0 .4rem; font-size: 1.25rem; }
.anchor-link { display: none; }
.text_cell p { max-width: 44rem; }
.code_cell { margin: .9rem 0 1.1rem; }
.input_area { padding: .6rem .85rem; border-radius: 6px; background: var(--code);
  overflow-x: auto; }
pre { margin: 0; white-space: pre; font: 13px/1.5 ui-monospace, "SFMono-Regular", Menlo, Consolas,
  monospace; }
.input_area pre { white-space: pre-wrap; overflow-wrap: anywhere; }
code { font: .87em ui-monospace, Menlo, Consolas, monospace; background: var(--code);
  padding: .1em .3em; border-radius: 4px; }
pre code { padding: 0; background: none; }
.output_area { margin-top: .55rem; overflow-x: auto; }
.output_stderr pre { color: var(--soft); }
.output_subarea > pre { padding: .15rem .85rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.output_subarea > div > table, table.dataframe, .rendered_html > table { border-collapse: collapse;
  border: 0; font-size: 13px; font-variant-numeric: tabular-nums; }
table.dataframe { width: max-content; }
table.dataframe :is(th, td), .rendered_html > table :is(th, td) { padding: .28rem .7rem;
  border: 0; border-bottom: 1px solid var(--line); text-align: start !important;
  vertical-align: top; max-width: 27rem; }
.output_html th { padding-inline-end: .8rem; text-align: start; }
table.dataframe thead th { color: var(--soft); font-weight: 600; white-space: nowrap; }
table.dataframe tbody th { color: var(--soft); font-weight: 400; }
.stories { list-style: none; padding: 0; }
.stories li { padding: .8rem 0; border-bottom: 1px solid var(--line); }
.stories a.name { font-weight: 600; } .stories p { margin: .1rem 0 0; color: var(--soft); }
"""


def export(notebooks: Mapping[str, Any], folder: Path, repository: str | None = None) -> Path:
    """Write a page for each executed notebook into `folder`; gives the page that lists them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, notebook in notebooks.items():
        (folder / f"{name}.html").write_text(page(name, notebook, repository), encoding="utf-8")
    index = folder / "index.html"
    index.write_text(_index(notebooks, repository), encoding="utf-8")
    return index


def binder(repository: str, name: str) -> str:
    """The address that opens a notebook of the GitHub repository OWNER/NAME on mybinder.org."""
    path = f"notebooks%2F{name}.ipynb"
    return f"https://mybinder.org/v2/gh/{repository}/HEAD?labpath={path}"


def page(name: str, notebook: Any, repository: str | None = None) -> str:
    """One executed notebook as HTML: its widgets, which are dead by now, left out."""
    for cell in notebook.cells:
        cell.outputs = [each for each in cell.get("outputs", ()) if not is_dead(each)]
    exporter = HTMLExporter(
        template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True
    )
    body, _ = exporter.from_notebook_node(notebook)
    body = re.sub(r"<script.*?</script>", "", body, flags=re.DOTALL)
    body = re.sub(r'(<a href="[\w-]+)\.ipynb"', r'\1.html"', body)
    links = ['<a href="index.html">All notebooks</a>']
    if repository is not None:
        links.append(f'<a href="{html.escape(binder(repository, name))}">Open it on Binder</a>')
    links.append('<span class="here">ondine_nb</span>')
    return _whole(title(notebook), f"<nav>{''.join(links)}</nav>\n{body}")


def is_dead(output: Any) -> bool:
    """Whether an output shows nothing once its widget is gone."""
    data = output.get("data")
    return data is not None and WIDGET in data and not data.get("text/html")


def _index(notebooks: Mapping[str, Any], repository: str | None) -> str:
    items = []
    for name, notebook in notebooks.items():
        link = ""
        if repository is not None:
            address = html.escape(binder(repository, name))
            link = f' · <a href="{address}">open it on Binder</a>'
        items.append(
            f'<li><a class="name" href="{name}.html">{html.escape(title(notebook))}</a>'
            f"<p>{html.escape(STORIES[name])}{link}</p></li>"
        )
    text = (
        "<h1>Gallery</h1>\n<p>Notebooks of <code>ondine_nb</code>, as they were executed. "
        "Nothing here is drawn by hand: each card and each table is the output of its cell.</p>"
    )
    return _whole("Gallery", f'{text}\n<ul class="stories">{"".join(items)}</ul>')


def _whole(heading: str, body: str) -> str:
    light = HtmlFormatter(style="friendly", nobackground=True).get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark", nobackground=True).get_style_defs(".highlight")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(heading)}</title>\n<style>{STYLE}{light}\n"
        f"@media (prefers-color-scheme: dark) {{ {dark} }}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )
