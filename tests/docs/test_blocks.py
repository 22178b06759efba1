"""What the pages of `docs/` say is run, and prints what they say it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import (
    DOCS,
    PAGES,
    ROOT,
    agrees,
    blocks,
    kernel,
    providers,
    run,
    serving,
)
from tests.notebook.kernels import Kernel
from tests.server import MessagesServer

WITH_CODE = [page for page in PAGES if "\n```python" in page.read_text(encoding="utf-8")]
LANGUAGES = {"python", "text", "bash", "toml", "json"}


@pytest.fixture(scope="module")
def answering() -> Iterator[MessagesServer]:
    """The server that all pages ask."""
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def reader(answering: MessagesServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel for all pages: each finds it as new."""
    with kernel(tmp_path_factory.mktemp("reader"), answering) as used:
        yield used


def _name(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


@pytest.mark.parametrize("page", WITH_CODE, ids=_name)
def test_every_python_block_of_a_page_runs_and_prints_what_it_says(
    page: Path, reader: Kernel, answering: MessagesServer, tmp_path: Path
) -> None:
    keys = providers(answering.url)
    if _name(page) != "how-to/models.md":
        keys = dict.fromkeys([*keys, "ANTHROPIC_CUSTOM_HEADERS"], "")
        keys["ANTHROPIC_BASE_URL"] = answering.url
    for block, printed in run(blocks(page.read_text(encoding="utf-8")), reader, tmp_path, **keys):
        if block.output is not None:
            where = f"{_name(page)}:{block.line}"
            assert agrees(block.output, printed), f"{where} prints\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_no_block_escapes_the_test_by_its_form(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = blocks(text)
    marks = [line for line in text.splitlines() if line.lstrip().startswith(("```", "~~~"))]
    outputs = sum(block.output is not None for block in found)
    assert len(marks) == 2 * (len(found) + outputs), "a fence is indented, or has no end"
    assert {block.language for block in found} <= LANGUAGES


def test_every_command_of_a_page_stands_in_the_readme_too() -> None:
    """Where the tests of the README hold it."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in PAGES:
        for block in blocks(page.read_text(encoding="utf-8")):
            assert block.language != "bash" or f"```bash\n{block.body}```" in readme, _name(page)


def test_an_output_agrees_by_its_words_and_its_gaps() -> None:
    assert agrees("a  …\nb\n", "a 1\n2\nb")
    assert not agrees("a …\nb\n", "a 1\n2\nc")
    assert not agrees("a", "a b")
