"""The pages are built without a warning, and what is built needs no other host."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, GALLERY, PAGES, ROOT
from tests.patience import PATIENCE

LOADED = {"img": "src", "script": "src", "iframe": "src", "link": "href", "source": "src"}


class _Elements(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning of the builder is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_the_site_is_built_without_a_warning_and_has_every_page(site: Path) -> None:
    built = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    assert {page.relative_to(DOCS).with_suffix("") for page in [*PAGES, *GALLERY]} <= built


def test_a_page_loads_nothing_from_another_host_and_links_to_none(site: Path) -> None:
    for page in site.rglob("*.html"):
        for tag, attributes in _Elements(page.read_text(encoding="utf-8")).tags:
            address = attributes.get(LOADED.get(tag, "href")) or ""
            drawn = tag == "img" and address.startswith("data:image/")  # it is in the page itself
            assert drawn or "//" not in address, f"{page.name}: <{tag}> {address[:200]}"


def test_style_sheets_load_nothing_from_another_host(site: Path) -> None:
    sheets = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert sheets
    assert not any("url(http" in text or "url(//" in text for text in sheets)


def test_what_is_public_stands_in_the_reference(site: Path) -> None:
    """A name that mkdocstrings can't find would be an empty page; here is what has to be there."""
    for page, names in {
        "python": ("Pipeline", "retry_failed", "panel", "costs"),
        "orchestration": ("AsyncExecutor", "on_stage_error", "save_checkpoint", "get_progress"),
        "models": ("ExecutionResult", "is_complete", "CostEstimate", "Savings"),
        "errors": ("CutAnswerError", "FatalProviderError"),
        "stages": ("process_row", "validate_input", "AskAgain"),
        "providers": ("request_bytes", "Reply", "find_price"),
    }.items():
        html = (site / "reference" / f"{page}.html").read_text(encoding="utf-8")
        assert not [name for name in names if name not in html]


def test_the_search_finds_words_of_the_pages(site: Path) -> None:
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    assert "possibly billed" in index
    assert "does somebody have to be woken" in index  # of a notebook of the gallery
    assert "--o-surface" not in index  # no style sheet of its outputs
