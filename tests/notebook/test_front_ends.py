"""Front ends without a person or without a notebook: nbconvert, papermill, a terminal."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pexpect
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook

from tests import forks
from tests.patience import PATIENCE
from tests.server import MessagesServer

from .kernels import environment

FRAME = (
    "import pandas as pd\n"
    "df = pd.DataFrame({'text': [f'row {at}' for at in range(30)]})\n"
    "%load_ext ondine_nb"
)


@pytest.fixture
def surroundings(tmp_path: Path, server: MessagesServer) -> dict[str, str]:
    return environment(tmp_path, ANTHROPIC_BASE_URL=server.url)


def notebook(folder: Path, *sources: str) -> Path:
    cells = [new_code_cell(source) for source in sources]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    path = folder / "made.ipynb"
    nbformat.write(made, path)
    return path


def outputs(path: Path, cell: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["cells"][cell]["outputs"]
    return found


def html_of(path: Path, cell: int) -> str:
    return "".join("".join(it.get("data", {}).get("text/html", "")) for it in outputs(path, cell))


WAITS = dict.fromkeys(("timeout", "iopub_timeout", "startup_timeout"), int(PATIENCE))


def execute(path: Path, surroundings: dict[str, str]) -> None:
    """Run the notebook and save it, as nbclient does for whoever builds on it."""
    read = nbformat.read(path, as_version=4)
    NotebookClient(read, **WAITS).execute(env=surroundings, cwd=str(path.parent))
    nbformat.write(read, path)


def run(surroundings: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return forks.run(["-m", *words], env=surroundings, cwd=surroundings["HOME"])


# --- nbconvert and papermill ---------------------------------------------------------------------


def test_nbconvert_runs_the_notebook_and_keeps_only_the_final_card(
    tmp_path: Path, server: MessagesServer, surroundings: dict[str, str]
) -> None:
    path = notebook(
        tmp_path, FRAME, "%%ondine out -i df\nTell {text}", "print(len(out), list(out.columns))"
    )
    ended = run(
        surroundings, "nbconvert", "--to", "notebook", "--execute", "--output=done", str(path)
    )
    assert ended.returncode == 0, ended.stderr
    done = tmp_path / "done.ipynb"
    assert len(outputs(done, 1)) == 1, outputs(done, 1)
    (shown,) = outputs(done, 1)
    assert set(shown["data"]) == {"text/html", "text/plain"}
    assert html_of(done, 1).count('class="ondine-run') == 1
    assert 'data-state="done"' in html_of(done, 1)
    assert outputs(done, 2)[0]["text"] == ["30 ['text', 'response']\n"]
    assert server.arrived == 30
    page = run(surroundings, "nbconvert", "--to", "html", str(done))
    assert page.returncode == 0, page.stderr
    html = (tmp_path / "done.html").read_text()
    assert html.count('class="ondine-run"') == 1
    assert "30 answered" in html


BACKGROUND = "%%ondine out -i df --background --concurrency 1\nTell {text}"


def test_what_ran_in_the_background_is_saved_as_it_ended(
    tmp_path: Path, server: MessagesServer, surroundings: dict[str, str]
) -> None:
    """By nbconvert and papermill, whether a later cell awaits the run or not."""
    waits = "while out_run.state != 'done':\n    await __import__('asyncio').sleep(0.05)"
    words = {
        "nbconvert": ("--to", "notebook", "--execute", "--output=done"),
        "papermill": ("--log-level", "ERROR"),
    }
    for cell in ("_ = await out_run", waits):
        for program, options in words.items():
            path = notebook(tmp_path, FRAME, BACKGROUND, cell, "out_run")
            target = () if program == "nbconvert" else (str(tmp_path / "done.ipynb"),)
            ended = run(surroundings, program, *options, str(path), *target)
            assert ended.returncode == 0, ended.stderr
            done = tmp_path / "done.ipynb"
            (shown,) = outputs(done, 1)
            assert set(shown["data"]) == {"text/html", "text/plain"}, program
            assert 'data-state="done" data-done="30"' in html_of(done, 1), (program, cell)
            assert "running" not in "".join(shown["data"]["text/plain"])
            done.unlink()


def test_a_run_that_goes_on_at_the_end_is_saved_as_it_stood_when_the_last_cell_ended(
    tmp_path: Path, surroundings: dict[str, str]
) -> None:
    with MessagesServer() as server:
        server.pause(at=20)  # the run goes on, also where the next cell takes long to begin
        waits = "while out_run.context.done_rows < 3: await __import__('asyncio').sleep(0.01)"
        asked = f"{BACKGROUND.partition(chr(10))[0]} --base-url {server.url}\nTell {{text}}"
        path = notebook(tmp_path, FRAME, asked, f"{waits}\nout_run.pause()", "1 + 1")
        execute(path, surroundings)
    (shown,) = outputs(path, 1)
    assert set(shown["data"]) == {"text/html", "text/plain"}
    assert 'data-state="paused"' in html_of(path, 1)
    assert 'data-done="0"' not in html_of(path, 1)
    assert "a snapshot as of" in html_of(path, 1)


def test_stop_while_requests_are_in_flight_is_saved_as_stopping_and_then_as_stopped(
    tmp_path: Path, surroundings: dict[str, str]
) -> None:
    said = tmp_path / "said"
    with MessagesServer() as server:
        server.pause()
        stops = (
            "import threading, time\n"
            "def stop():\n"
            "    while not globals().get('out_run') or not out_run.context.metrics.in_flight:\n"
            "        time.sleep(0.01)\n"
            "    out_run.stop()\n"
            "threading.Thread(target=stop).start()"
        )
        asked = f"%%ondine out -i df --base-url {server.url}\nTell {{text}}"
        waits = "while out_run.state != 'stopped': await __import__('asyncio').sleep(0.01)"
        tells = f"print(out_run.state)\nopen({str(said)!r}, 'w').close()"
        path = notebook(tmp_path, FRAME, stops, asked, tells, waits)
        with ThreadPoolExecutor() as beside:
            beside.submit(_when_there, said, server.resume)
            execute(path, surroundings)
    assert "".join(outputs(path, 3)[0]["text"]) == "stopping\n"
    assert 'data-state="stopped"' in html_of(path, 2)
    assert 'data-state="running"' not in html_of(path, 2)


def _when_there(path: Path, act: Callable[[], None]) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.02)
    act()


def test_a_notebook_run_twice_sends_nothing_the_second_time(
    tmp_path: Path, server: MessagesServer, surroundings: dict[str, str]
) -> None:
    path = notebook(tmp_path, FRAME, "%%ondine out -i df --sample 5\nTell {text}")
    for _ in range(2):
        execute(path, surroundings)
    assert server.arrived == 5
    assert "5 rows from the journal, $0" in html_of(path, 1)


def test_what_can_t_be_run_halts_the_notebook_with_its_one_line(
    tmp_path: Path, server: MessagesServer, surroundings: dict[str, str]
) -> None:
    path = notebook(tmp_path, FRAME, "%%ondine out -i df\nTell {txet}", "print('not reached')")
    with pytest.raises(CellExecutionError) as halted:
        execute(path, surroundings)
    assert "UsageError: Column 'txet' is not in `df`" in str(halted.value)
    assert server.calls.total() == 0


def test_out_of_budget_leaves_a_final_card_in_the_file(
    tmp_path: Path, server: MessagesServer, surroundings: dict[str, str]
) -> None:
    path = notebook(tmp_path, FRAME, "%%ondine out -i df --budget 0.00065\nTell {text}", "len(out)")
    execute(path, surroundings)
    assert 'data-state="stopped"' in html_of(path, 1)
    assert "out of budget" in html_of(path, 1)


def test_where_nobody_can_click_the_card_of_failed_rows_is_the_only_output(
    tmp_path: Path, surroundings: dict[str, str]
) -> None:
    with MessagesServer(faults={"refusal": 0.5}) as server:
        path = notebook(
            tmp_path, FRAME, f"%%ondine out -i df --base-url {server.url}\nTell {{text}}"
        )
        execute(path, surroundings)
    (shown,) = outputs(path, 1)
    assert set(shown["data"]) == {"text/html", "text/plain"}
    assert "failures: refusal" in html_of(path, 1)
    assert "out_run.errors" in "".join(shown["data"]["text/plain"])
    page = run(surroundings, "nbconvert", "--to", "html", str(path))
    assert page.returncode == 0, page.stderr
    assert "the model refused to answer" in (tmp_path / "made.html").read_text()


def test_papermill_runs_it_with_parameters(
    tmp_path: Path, server: MessagesServer, surroundings: dict[str, str]
) -> None:
    path = notebook(
        tmp_path,
        "tone = 'rude'",
        FRAME,
        "%%ondine out -i df --sample 3 -p tone=$tone\nIn a {tone} way: {text}",
    )
    raw = nbformat.read(path, as_version=4)
    raw.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(raw, path)
    done = tmp_path / "done.ipynb"
    ended = run(surroundings, "papermill", str(path), str(done), "-p", "tone", "kind")
    assert ended.returncode == 0, ended.stderr
    assert {it.prompt.split(":")[0] for it in server.requests} == {"In a kind way"}
    assert 'data-state="done"' in html_of(done, 3)


# --- a terminal ----------------------------------------------------------------------------------

PROMPT = r"In \[\d+\]: "


class Terminal:
    """IPython as it runs in a terminal."""

    def __init__(self, surroundings: dict[str, str]) -> None:
        words = ["-m", "IPython", "--simple-prompt", "--colors=nocolor", "--no-banner"]
        settings: Any = {**surroundings, "TERM": "dumb"}
        self._child = pexpect.spawn(
            sys.executable,
            words,
            env=settings,
            cwd=surroundings["HOME"],
            encoding="utf-8",
            codec_errors="replace",
            timeout=PATIENCE,
            dimensions=(40, 160),
        )
        self._child.expect(PROMPT)

    def run(self, line: str) -> str:
        self.send(line)
        return self.read()

    def cell(self, *lines: str) -> None:
        """Send a cell off; two empty lines end it."""
        for line in (*lines, "", ""):
            self.send(line)

    def send(self, line: str) -> None:
        self._child.sendline(line)

    def read(self) -> str:
        """What has come up to the next prompt."""
        self._child.expect(PROMPT)
        shown: str = self._child.before
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)

    def interrupt(self) -> None:
        self._child.sendintr()

    def close(self) -> None:
        self._child.kill(signal.SIGKILL)  # `close(force=True)` gives up after tenths of a second
        self._child.wait()
        self._child.close()


@pytest.fixture
def terminal(surroundings: dict[str, str]) -> Iterator[Terminal]:
    started = Terminal(surroundings)
    for line in FRAME.splitlines():
        started.run(line)
    yield started
    started.close()


def test_in_a_terminal_the_cell_runs_in_a_thread_and_prints_its_card(terminal: Terminal) -> None:
    terminal.cell("%%ondine out -i df", "Tell {text}")
    shown = terminal.read()
    assert "30 of 30 rows" in shown
    assert "<div" not in shown
    assert "HBox" not in shown
    assert "(30, 2)" in terminal.run("out.shape")
    assert "usage: %%ondine" in terminal.run("get_ipython().run_cell_magic('ondine', '-h', '')")


def test_in_a_terminal_a_usage_error_is_one_line(terminal: Terminal) -> None:
    terminal.cell("%%ondine out -i df", "Tell {txet}")
    shown = terminal.read()
    assert "UsageError: Column 'txet' is not in `df`" in shown
    assert "Traceback" not in shown


def test_in_a_terminal_ctrl_c_keeps_what_is_there(
    terminal: Terminal, server: MessagesServer
) -> None:
    server._latency = lambda _: 0.2
    terminal.run("df = pd.DataFrame({'text': [f'more {at}' for at in range(300)]})")
    terminal.cell("%%ondine out -i df", "Tell {text}")
    server.wait_for(60)
    terminal.interrupt()
    shown = terminal.read()
    assert "KeyboardInterrupt: out has" in shown
    assert "Traceback" not in shown
    assert "True" in terminal.run("0 < out.response.notna().sum() < 300")
    server.wait_idle()
    server._latency = lambda _: 0.0
    terminal.cell("%%ondine out -i df", "Tell {text}")
    assert "300 of 300 rows" in terminal.read()
    assert (server.arrived, max(server.ledger.by_prompt().values())) == (300, 1)
