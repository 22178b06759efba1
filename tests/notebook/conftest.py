"""A shell of this process, with the extension loaded, and servers that end with their test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from playwright.sync_api import Browser, Page
from traitlets.config import Config

from tests.chromium import launched
from tests.server import MessagesServer, Servers


@pytest.fixture
def shell(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[InteractiveShell]:
    """A shell without a kernel and without history, with a key and a journal of its own."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-of-the-tests")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    InteractiveShell.clear_instance()
    config = Config()
    config.HistoryManager.enabled = False
    made = InteractiveShell.instance(config=config, colors="nocolor")
    made.run_line_magic("load_ext", "ondine_nb")
    yield made
    InteractiveShell.clear_instance()


@pytest.fixture
def serve() -> Iterator[Servers]:
    """Starts servers, and ends them with the test."""
    started: list[MessagesServer] = []

    def serve(**options: Any) -> MessagesServer:
        started.append(MessagesServer(**options).start())
        return started[-1]

    yield serve
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium, for the tests of one file."""
    with launched() as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page for a live view; no script on it may fail."""
    opened = browser.new_page(viewport={"width": 1300, "height": 1100})
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    yield opened
    opened.close()
    assert wrong == []
