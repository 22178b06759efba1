"""JupyterLab 4 and Notebook 7 on one server of our own, in headless Chromium."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.chromium import kept
from tests.notebook.kernels import environment
from tests.patience import PATIENCE
from tests.server import MessagesServer

from .pages import Pages

SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
    # What blinks is drawn anew at each frame, by a page that nobody looks at.
    "codemirror-extension/plugin": {"defaultConfig": {"cursorBlinkRate": 0}},
}
SETUP = """
import pandas as pd
%load_ext ondine_nb
def frame(rows, word):
    return pd.DataFrame({{'text': [f'{{word}} {{at}}' for at in range(rows)]}})
%config OndineMagics.base_url = '{url}'
"""

# Makes the notebook such that an element is as wide as it should be, and waits until it stays so.
# Gives the pixels that the window lacks for that; -1 for one that is drawn anew meanwhile.
FIT = """async (it, wanted) => {
  const book = it.closest('.jp-Notebook');
  const width = (node) => node.getBoundingClientRect().width;
  for (let same = 0, frame = 0; same < 3; frame++) {
    if (!book || !it.isConnected) return -1;
    const off = wanted - Math.round(width(it));
    const lacks = Math.ceil(width(book) + off - book.parentElement.clientWidth);
    if (off && lacks > 0) return lacks;
    if (off) book.style.width = `${width(book) + off}px`;
    same = off ? 0 : same + 1;
    if (frame > 60) throw new Error(`it stays ${width(it)} px wide, not ${wanted}`);
    await new Promise(requestAnimationFrame);
  }
  return 0;
}"""
# Up to the first one JupyterLab puts outputs under their prompts, above it beside them.
NARROW, WIDE, HEIGHT = 760, 1500, 1900


LOST = "model not found"
SHOWN = """([at, view, lost]) => {
  const cell = document.querySelectorAll('.jp-CodeCell')[at];
  if (cell?.querySelector(view)?.checkVisibility()) return 'shown';
  return cell?.textContent.includes(lost) && lost;
}"""
DRESS = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"


@dataclass(frozen=True)
class Jupyter:
    """A running server: its URL, its token, its folder of notebooks."""

    url: str
    token: str
    root: Path

    def ask(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(f"{self.url}{path}", method=method)
        request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def wait_for_kernel(self, name: str) -> None:
        """Until the notebook's page is connected to a kernel that is idle."""
        self.wait_for_page(name, states=("idle",))

    def wait_for_page(self, name: str, states: tuple[str, ...] = ("idle", "busy")) -> None:
        """Until the notebook's page is connected to its kernel."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            kernels = [it["kernel"] for it in self.ask("/api/sessions") if it["path"] == name]
            if any(it["connections"] and it["execution_state"] in states for it in kernels):
                return
            time.sleep(0.1)
        pytest.fail(f"{name} has no kernel: {self.ask('/api/sessions')}")

    def end_kernels(self) -> None:
        """All of them; the server refuses while it starts one again, and is asked again."""
        while sessions := self.ask("/api/sessions"):
            for session in sessions:
                with contextlib.suppress(urllib.error.HTTPError):
                    self.ask(f"/api/sessions/{session['id']}", "DELETE")


@dataclass(frozen=True)
class Notebook:
    """An open notebook as a person works with it: cells are counted from 0."""

    page: Page
    path: Path

    def cell(self, at: int) -> Locator:
        return self.page.locator(".jp-CodeCell").nth(at)

    def card(self, at: int) -> Locator:
        return self.cell(at).locator(".ondine-run")

    def start(self, at: int) -> None:
        """Run a cell as by hand, without waiting for its end."""
        prompt = self.cell(at).locator(".jp-InputPrompt")
        before = prompt.inner_text()
        for _ in range(10):  # a key that comes while the page is still busy is lost
            self.cell(at).locator(".cm-content").click()
            self.page.keyboard.press("Control+Enter")
            for _ in range(20):
                if prompt.inner_text() != before:
                    return
                self.page.wait_for_timeout(50)
        pytest.fail(f"cell {at} does not start: {before}")

    def run(self, at: int, seconds: float = PATIENCE) -> str:
        """Run a cell to its end; gives the text of its output."""
        self.start(at)
        return self.ended(at, seconds)

    def until(self, holds: str, given: Any = None, seconds: float = PATIENCE) -> None:
        """Wait until a JavaScript expression, or a function of what is given, holds.

        Not at each frame, as is the default: to have all frames drawn takes a sixth of a processor.
        """
        self.page.wait_for_function(holds, arg=given, polling=50, timeout=seconds * 1000)

    def reload(self, at: int, view: str) -> None:
        """Load the page anew, until a cell's live view is there.

        JupyterLab asks a kernel once what widgets it has. What it hears too late is "model not
        found" for good, and a person loads the page again.
        """
        said = LOST
        while said == LOST:
            self.page.reload()
            shown = self.page.wait_for_function(SHOWN, arg=[at, view, LOST], polling=50)
            said = shown.json_value()

    def ended(self, at: int, seconds: float = PATIENCE) -> str:
        self.until(
            "at => /\\[\\d+\\]/.test(document.querySelectorAll('.jp-CodeCell')[at]"
            ".querySelector('.jp-InputPrompt').textContent)",
            at,
            seconds,
        )
        return "\n".join(self.cell(at).locator(".jp-OutputArea-output").all_inner_texts())

    def wait_for(self, at: int, selector: str, seconds: float = PATIENCE) -> Locator:
        """Wait for the card to match a selector such as `[data-state=running]`."""
        card = self.cell(at).locator(f".ondine-run{selector}")
        card.wait_for(state="visible", timeout=seconds * 1000)
        return card

    def seen(self, view: Locator, part: str) -> Locator:
        """What a view draws once it is looked at (pictures do): looked at until it is there.

        What stands above may still grow, and push it out of sight once more.
        """
        found = view.locator(part).first
        end = time.monotonic() + PATIENCE
        while not found.count() and time.monotonic() < end:
            view.scroll_into_view_if_needed()
            self.page.wait_for_timeout(50)
        return found

    def assert_over(self, at: int) -> None:
        """The card of a run that is over has nothing to stop or pause any more."""
        for name in ("Stop", "Pause", "Resume"):
            expect(self.cell(at).get_by_role("button", name=name, exact=True)).to_have_count(0)

    def click(self, at: int, button: str) -> None:
        self.cell(at).get_by_role("button", name=button, exact=True).click()

    def type(self, at: int, source: str) -> None:
        """Put other text into a cell."""
        self.cell(at).locator(".cm-content").click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(source)

    def fit(self, view: Locator, width: int) -> None:
        """Make `view` as many pixels wide, in a narrow or a wide window, as beside other panels.

        Views go by their own width; and a window of another size costs five times the CPU.
        """
        window, narrow = self._window, width < NARROW - 100
        if (window <= NARROW) is not narrow:
            window = NARROW if narrow else WIDE
        lacks = -1
        while lacks:
            if self.page.viewport_size != {"width": window, "height": HEIGHT}:
                self.page.set_viewport_size({"width": window, "height": HEIGHT})
            lacks = int(view.evaluate(FIT, width))
            window += max(lacks, 0)

    def widths(self, *widths: int) -> list[int]:
        """From the side where the window stands, so that it changes its size once."""
        return sorted(widths, reverse=self._window > NARROW)

    @property
    def _window(self) -> int:
        assert self.page.viewport_size is not None
        return self.page.viewport_size["width"]

    def themes(self) -> Iterator[str]:
        """Puts on `light` and `dark`, as from the menu; first the one that is worn."""
        body = self.page.locator("body")
        worn = body.get_attribute("data-jp-theme-light") == "true"
        for light in (worn, not worn):
            if light is not worn:
                self.page.evaluate(DRESS, f"JupyterLab {'Light' if light else 'Dark'}")
                expect(body).to_have_attribute("data-jp-theme-light", str(light).lower())
            yield "light" if light else "dark"

    def save(self) -> list[list[dict[str, Any]]]:
        """Save what has changed, and give the outputs of each cell as they are in the file."""
        before = self.path.stat().st_mtime_ns
        self.page.keyboard.press("Control+S")
        end = time.monotonic() + PATIENCE
        while self.path.stat().st_mtime_ns == before and time.monotonic() < end:
            time.sleep(0.05)
        assert self.path.stat().st_mtime_ns != before, f"{self.path}: nothing was to be saved"
        while True:
            try:
                return [cell.outputs for cell in nbformat.read(self.path, as_version=4).cells]
            except nbformat.reader.NotJSONError:  # it is being written
                assert time.monotonic() < end, f"{self.path} is never whole"
                time.sleep(0.05)


Opener = Callable[..., Notebook]
Reopener = Callable[..., Notebook]
Shots = Callable[[Locator | Page, str], None]


@pytest.fixture(scope="package")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """One server for all tests, whose home, settings and journal are its own."""
    folder = tmp_path_factory.mktemp("jupyter")
    root, settings = folder / "notebooks", folder / "settings"
    root.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    words = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *(f"--port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={root}"),
        *(f"--IdentityProvider.token={token}", "--ServerApp.log_level=WARN"),
        *("--LabApp.news_url=None", "--LabApp.expose_app_in_browser=True"),
        "--KernelManager.transport=ipc",  # no port that another process takes first
    ]
    made = Jupyter(f"http://127.0.0.1:{port}", token, root)
    for name, values in SETTINGS.items():
        path = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    surroundings = environment(folder, JUPYTERLAB_SETTINGS_DIR=str(settings))
    surroundings["JUPYTERLAB_WORKSPACES_DIR"] = str(folder / "workspaces")
    surroundings["PATH"] = os.pathsep.join([_no_node(folder), surroundings["PATH"]])
    with (folder / "log").open("wb") as log, tempfile.TemporaryDirectory() as runtime:
        surroundings["JUPYTER_RUNTIME_DIR"] = runtime  # short: sockets are files there
        process = subprocess.Popen(words, env=surroundings, cwd=root, stdout=log, stderr=log)
        try:
            _wait_until_up(made, process, folder / "log")
            yield made
            made.end_kernels()
        finally:
            process.kill()  # nothing of it is kept, and to end by itself it may take minutes
            process.wait()


def _no_node(folder: Path) -> str:
    """A folder with a `node` that does nothing: JupyterLab asks yarn, a second of CPU a page."""
    node = folder / "bin" / "node"
    node.parent.mkdir()
    node.write_text("#!/bin/sh\n")
    node.chmod(0o755)
    return str(node.parent)


def _wait_until_up(jupyter: Jupyter, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            jupyter.ask("/api/status")
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"JupyterLab does not come up:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """One context: from the second page on JupyterLab's scripts come compiled from its cache.

    Ended with the package: Playwright's loop runs in the main thread, where async tests need none.
    """
    with contextlib.ExitStack() as stack:
        try:
            started = stack.enter_context(kept(tmp_path_factory.mktemp("chromium")))
        except FileNotFoundError as error:
            pytest.fail(f"{error}: these tests are not skipped")
        started.set_default_timeout(PATIENCE * 1000)
        yield started


@pytest.fixture(scope="package")
def pages(jupyter: Jupyter, browser: BrowserContext) -> Pages:
    return Pages(browser, jupyter)


@pytest.fixture
def open_notebook(
    jupyter: Jupyter, pages: Pages, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Opener]:
    """Opens notebooks of given cells, each in a file and a kernel of its own."""

    def open_notebook(
        *sources: str,
        server: MessagesServer | None = None,
        where: str = "lab/tree",
        path: Path | None = None,
    ) -> Notebook:
        if path is None:
            path = jupyter.root / f"{uuid.uuid4().hex}.ipynb"
            setup = [SETUP.format(url=server.url).strip()] if server else []
            _write(path, [*setup, *sources])
        opened = Notebook(pages.open(path.name, where), path)
        jupyter.wait_for_kernel(path.name)
        if server:
            opened.run(0)
        return opened

    before = request.session.testsfailed
    yield open_notebook
    failed = request.session.testsfailed > before
    folder = Path(os.environ.get("ONDINE_SHOTS") or tmp_path)
    for at, page in enumerate(pages.opened):
        if failed and not page.is_closed():
            page.screenshot(path=folder / f"failed-{request.node.name}-{at}.png")
            print(pages.told(page))
    pages.leave(failed=failed)
    jupyter.end_kernels()


@pytest.fixture
def reopen(jupyter: Jupyter, pages: Pages, open_notebook: Opener) -> Reopener:
    """Opens what was saved as on another day: nothing of it is shown any more, no kernel runs."""

    def reopen(
        notebook: Notebook, where: str = "lab/tree", meanwhile: Callable[[], None] | None = None
    ) -> Notebook:
        pages.leave(failed=False)
        jupyter.end_kernels()
        if meanwhile is not None:
            meanwhile()
        return open_notebook(path=notebook.path, where=where)

    return reopen


def _write(path: Path, sources: list[str]) -> None:
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    cells = [new_code_cell(source) for source in sources]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


@pytest.fixture
def slow() -> Iterator[MessagesServer]:
    """A server that takes its time, so that a person can follow."""
    with MessagesServer(latency=0.25) as server:
        yield server


@pytest.fixture
def held() -> Iterator[MessagesServer]:
    """The same, and no answer comes from its 60th request on, until `resume`: however late a
    click is, the run goes on."""
    with MessagesServer(latency=0.25) as server:
        server.pause(at=60)
        yield server


@pytest.fixture
def shots() -> Shots:
    """Takes a picture into the folder that `ONDINE_SHOTS` names; else none, as it takes a while."""

    def shots(shown: Locator | Page, name: str) -> None:
        if folder := os.environ.get("ONDINE_SHOTS"):
            shown.screenshot(path=Path(folder) / name)

    return shots


@pytest.fixture
def in_marimo(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Runs a marimo notebook, given as its source; gives the address of its page."""
    processes: list[subprocess.Popen[bytes]] = []

    def serve(source: str) -> str:
        (tmp_path / "book.py").write_text(source)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = [
            *(sys.executable, "-m", "marimo", "run", "book.py", "--headless", "--no-token"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ]
        surroundings = environment(tmp_path, PYTHONPATH=os.environ.get("PYTHONPATH", ""))
        with (tmp_path / "log").open("wb") as log:
            known = {"cwd": tmp_path, "env": surroundings, "stdout": log, "stderr": log}
            processes.append(subprocess.Popen(words, **known))
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=PATIENCE).close()
            except OSError:
                told = (tmp_path / "log").read_text()
                assert processes[-1].poll() is None, told
                assert time.monotonic() < end, told
                time.sleep(0.1)
            else:
                return url

    yield serve
    for process in processes:
        process.kill()
        process.wait()
