"""Every link of the docs and of README and its kin resolves; every test that is named exists."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, GALLERY, PAGES, ROOT

BESIDE = sorted([*ROOT.glob("*.md"), *ROOT.glob(".github/**/*.md")])
LINKING = [*BESIDE, *PAGES, *GALLERY]
ELSEWHERE = {"https://keepachangelog.com/en/1.1.0/"}  # nobody looks there in a test
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")  # a picture that is a link has two
_HEADING = re.compile(r"^#+ +(.*?)(?: +\{#([\w-]+)\})?$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_PATH = re.compile(r"`((?:tests|ondine_nb|scripts|docs|notebooks)/[\w./-]*\w)`")


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs both make them of plain words."""
    return {own or _slug(text) for text, own in _HEADING.findall(prose(page))}


def _slug(heading: str) -> str:
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


@pytest.mark.parametrize("page", LINKING, ids=_name)
def test_every_link_of_a_page_resolves(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        if link in ELSEWHERE:
            continue
        assert "://" not in link, f"{link} can't be checked: leave it out"
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{link}: there is no such file"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


@pytest.mark.parametrize("page", [*PAGES, *GALLERY], ids=_name)
def test_a_link_of_the_docs_stays_inside_the_docs(page: Path) -> None:
    """The site has nothing else."""
    for link in _LINK.findall(prose(page)):
        path = link.partition("#")[0]
        assert not path or (page.parent / path).resolve().is_relative_to(DOCS), link


@pytest.mark.parametrize("page", LINKING, ids=_name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    for path in _PATH.findall(prose(page)):
        assert (ROOT / path).exists(), path


@functools.cache
def defined(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if hasattr(node, "name")}


def test_every_test_that_a_page_names_exists() -> None:
    named = [found for page in PAGES for found in _TEST.findall(prose(page))]
    assert len(named) > 30
    for file, test in named:
        assert test in defined(file), f"{file} has no {test}"


def test_each_promise_of_the_docs_names_a_test() -> None:
    promises = re.split(r"^## ", prose(DOCS / "promises.md"), flags=re.MULTILINE)[1:]
    assert [text[0] for text in promises] == list("1234567")
    assert all(_TEST.search(text) for text in promises)


def test_every_picture_is_shown_somewhere_and_has_words_for_those_who_cant_see_it() -> None:
    shown = [
        (words, (page.parent / path).resolve())
        for page in LINKING
        for words, path in re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", prose(page))
    ]
    assert all(len(words.split()) > 2 for words, _ in shown)
    assert {path for _, path in shown} == set((DOCS / "pictures").rglob("*.*"))


def test_the_pages_for_contributors_are_among_those_looked_at() -> None:
    names = {page.name for page in BESIDE}
    assert {"CHANGELOG.md", "CONTRIBUTING.md", "README.md", "RELEASING.md", "SECURITY.md"} <= names
    assert "pull_request_template.md" in names


def test_this_test_sees_links_and_anchors() -> None:
    assert _LINK.findall("[a\nb](c.md#d) and ![x](y.png)") == ["c.md#d", "y.png"]
    assert _LINK.findall("[![x](y.png)](c.md)") == ["y.png", "c.md"]
    assert _slug("Stop, pause & `resume`") == "stop-pause-resume"
