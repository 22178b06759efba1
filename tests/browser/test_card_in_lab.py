"""The run's card in JupyterLab: several at once, in other cells, after a reload, asked again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Locator, expect

from tests import forks
from tests.notebook.ended_runs import EVIL
from tests.server import MessagesServer
from tests.server.batches import BatchRules

from .conftest import Jupyter, Notebook, Opener, Reopener

pytestmark = pytest.mark.browser

STATE = "print(int(out.response.notna().sum()), out_run.state, out_run.is_retry)"


def run_cell(rows: int, word: str, line: str = "out -i") -> str:
    return f"%%ondine {line} frame({rows},'{word}')\nTell {{text}}"


def done(card: Locator) -> int:
    return int(card.get_attribute("data-done") or 0)


def wait_until_done(notebook: Notebook, at: int, rows: int) -> None:
    notebook.until(
        "([at, rows]) => Number(document.querySelectorAll('.jp-CodeCell')[at]"
        ".querySelector('.ondine-run')?.dataset.done) >= rows",
        [at, rows],
    )


def button(notebook: Notebook, at: int, name: str) -> Locator:
    return notebook.cell(at).get_by_role("button", name=name, exact=True)


def restart(notebook: Notebook) -> None:
    notebook.page.keyboard.press("Escape")
    notebook.page.keyboard.press("0")
    notebook.page.keyboard.press("0")
    notebook.page.get_by_role("button", name="Confirm Kernel Restart").click()


def test_failed_rows_are_asked_again_by_a_button_in_the_same_place_and_out_is_bound_anew(
    open_notebook: Opener, jupyter: Jupyter
) -> None:
    failing = [True]

    def answer(body: dict[str, object]) -> str:
        number = int(str(body["messages"]).split("retry ")[1].split("'")[0])
        return json.dumps({"n": "nine" if failing[0] and number % 5 == 0 else number})

    with MessagesServer(answer=answer, latency=0.05) as server:
        line = "out --schema 'n: int' -i"
        count = "print(int(out.n.notna().sum()), out_run.state, out_run.is_retry)"
        notebook = open_notebook(run_cell(40, "retry", line), count, server=server)
        notebook.run(1)
        card = notebook.wait_for(1, "[data-state=done][data-failed='8']")
        summary = card.locator("summary")
        expect(summary).to_contain_text("schema not met 8")
        summary.click()
        expect(card).to_contain_text("row 5")
        assert len(notebook.save()[1]) == 2  # the card, and the button's place
        assert notebook.run(2).startswith("32 done False")
        failing[0] = False
        server.pause()
        notebook.click(1, "Retry failed")
        notebook.wait_for(1, "[data-state=running][data-total='40']")
        expect(button(notebook, 1, "Stop")).to_be_visible()
        assert notebook.card(1).count() == 1
        server.resume()
        notebook.wait_for(1, "[data-state=done][data-done='40'][data-failed='0']")
        expect(button(notebook, 1, "Retry failed")).to_have_count(0)
        assert notebook.run(2).startswith("40 done True")


def test_a_saved_card_with_its_button_reopens_without_an_error_and_says_how_to_retry(
    open_notebook: Opener, reopen: Reopener
) -> None:
    with MessagesServer(faults={"refusal": 0.5}) as server:
        notebook = open_notebook(run_cell(30, "dead"), server=server)
        notebook.run(1)
        expect(button(notebook, 1, "Retry failed")).to_be_visible()
        notebook.save()
    reopened = reopen(notebook)
    reopened.wait_for(1, "[data-state=done]")
    reopened.page.wait_for_timeout(1500)
    shown = reopened.cell(1).locator(".jp-OutputArea").inner_text()
    assert "model not found" not in shown.lower()
    assert "Loading widget" not in shown
    assert "out_run.errors" in shown


def test_a_retry_in_a_cell_shows_one_live_card_there(open_notebook: Opener) -> None:
    with MessagesServer(faults={"refusal": 0.5}, latency=0.2) as server:
        notebook = open_notebook(run_cell(30, "again"), "out_run.retry_failed()", server=server)
        notebook.run(1)
        notebook.run(2)
        notebook.wait_for(2, "[data-state=done]")
        assert notebook.card(2).count() == 1


def test_two_runs_at_once_and_one_shown_again_are_live_each_in_its_own_cell(
    open_notebook: Opener, slow: MessagesServer
) -> None:
    notebook = open_notebook(
        run_cell(900, "first", "one --background --concurrency 4 -i"),
        run_cell(900, "second", "two --background --concurrency 4 -i"),
        "one_run",
        server=slow,
    )
    for at in (1, 2, 3):
        notebook.run(at)
    for at in (1, 2, 3):
        notebook.wait_for(at, "[data-state=running]")
        wait_until_done(notebook, at, 12)
    assert notebook.page.locator(".ondine-run").count() == 3
    notebook.click(3, "Pause")
    for at in (1, 3):
        notebook.wait_for(at, "[data-state=paused]")
    notebook.click(1, "Resume")
    notebook.wait_for(3, "[data-state=running]")
    notebook.click(3, "Stop")
    for at in (1, 3):
        notebook.wait_for(at, "[data-state=stopped]")
    assert notebook.card(2).get_attribute("data-state") == "running"
    notebook.click(2, "Stop")
    notebook.wait_for(2, "[data-state=stopped]")
    for at in (1, 2, 3):
        notebook.assert_over(at)


@pytest.mark.parametrize("line", ["out --background -i", "out -i"])
def test_after_a_reload_of_the_page_the_card_goes_on_to_its_end(
    open_notebook: Opener, jupyter: Jupyter, slow: MessagesServer, line: str
) -> None:
    """A page can't speak with a kernel whose cell runs: then its card comes with the cell's end."""
    line = line.replace("-i", "--concurrency 8 -i")
    notebook = open_notebook(run_cell(160, f"reload {line}", line), "out_run", server=slow)
    notebook.start(1)
    wait_until_done(notebook, 1, 10)
    slow.pause()  # the run can't end while the page is away
    notebook.save()
    if "background" in line:
        notebook.reload(1, ".ondine-run")
        jupyter.wait_for_page(notebook.path.name)
        card = notebook.wait_for(1, "[data-state]")
        before = done(card)
        assert before < 160
        slow.resume()
        wait_until_done(notebook, 1, before + 5)
    else:
        notebook.page.reload()
        jupyter.wait_for_page(notebook.path.name)
    slow.resume()
    notebook.wait_for(1, "[data-state=done][data-done='160']")
    assert button(notebook, 1, "Stop").count() == 0
    jupyter.wait_for_kernel(notebook.path.name)
    notebook.run(2)
    notebook.wait_for(2, "[data-state=done][data-done='160']")


def test_after_a_restart_of_the_kernel_the_frozen_card_says_so_and_how_to_go_on(
    open_notebook: Opener, jupyter: Jupyter, slow: MessagesServer
) -> None:
    notebook = open_notebook(
        run_cell(200, "restart"), "%ondine resume out -i frame(200,'restart')", server=slow
    )
    notebook.start(1)
    wait_until_done(notebook, 1, 10)
    slow.pause()  # the run can't end before its kernel does
    gone = notebook.cell(1).get_by_text("its kernel has ended")
    expect(gone).to_be_hidden()
    restart(notebook)
    expect(gone).to_be_visible()
    expect(gone).to_contain_text("%ondine resume out")
    expect(button(notebook, 1, "Stop")).to_be_hidden()
    slow.resume()
    jupyter.wait_for_kernel(notebook.path.name)
    notebook.run(0)
    notebook.run(2)
    notebook.wait_for(2, "[data-state=done][data-done='200']")


def test_dollars_are_no_formulas(open_notebook: Opener, server: MessagesServer) -> None:
    notebook = open_notebook(
        run_cell(30, "costs $1 and $2", "out --budget 1 -i"),
        run_cell(30, "costs $1 and $2 more", "out --dry-run -i"),
        "out_run",
        "out_run.show()",
        "from IPython.display import HTML; HTML('<p>from $1$ to $2$</p>')",
        server=server,
    )
    for at in range(1, 6):
        notebook.run(at)
    notebook.cell(5).locator("mjx-container").first.wait_for()  # so formulas are set here
    for at in range(1, 5):
        assert notebook.cell(at).locator("mjx-container").count() == 0, at
    notebook.save()
    notebook.page.reload()
    notebook.cell(5).locator("mjx-container").first.wait_for()
    for at in range(1, 5):
        assert notebook.cell(at).locator("mjx-container").count() == 0, at


def test_nothing_in_data_or_answers_runs_or_breaks_the_card(open_notebook: Opener) -> None:
    said = "\n".join(text[:200] for text in EVIL).encode("utf-8", "replace").decode()
    with MessagesServer(answer=lambda body: said, latency=0.15) as server:
        notebook = open_notebook(
            f"evil = {EVIL!r}\n"
            "df = pd.DataFrame({'text': pd.Series([f'{at} {it}' for at in range(12)"
            " for it in evil], dtype=object), evil[0]: 1})",
            "%%ondine out -i df --concurrency 2\nTell {text}",
            "out_run",
            server=server,
        )
        notebook.run(1)
        notebook.start(2)
        notebook.wait_for(2, "[data-state=running]")
        expect(notebook.card(2).locator("table")).to_contain_text("window.hurt")
        assert notebook.cell(2).locator(".ondine-run :is(script, img)").count() == 0
        notebook.ended(2)
        notebook.run(3)
        assert notebook.page.evaluate("window.hurt ?? 0") == 0


def test_of_a_batch_the_card_shows_what_waits_and_for_how_long_and_then_the_rows(
    open_notebook: Opener,
) -> None:
    with MessagesServer(batches=BatchRules(held=True)) as server:
        notebook = open_notebook(run_cell(30, "batch", "out --batch -i"), server=server)
        notebook.start(1)
        card = notebook.card(1)
        expect(card).to_contain_text("30 requests wait in batches")
        expect(card).to_contain_text("s for 30 requests in 1 batch")
        expect(card).to_contain_text("since the start")
        assert card.get_by_role("progressbar").count() == 0
        server.batches.release()
        notebook.wait_for(1, "[data-state=done][data-done='30']")
        expect(notebook.card(1)).to_contain_text("batches")  # what they saved
        notebook.ended(1)


def test_keys_reach_every_button_and_the_card_has_its_roles(
    open_notebook: Opener, slow: MessagesServer
) -> None:
    notebook = open_notebook(run_cell(300, "keys", "out --concurrency 8 -i"), server=slow)
    notebook.start(1)
    wait_until_done(notebook, 1, 10)
    slow.pause()  # the run can't end before it is stopped
    card = notebook.card(1)
    bar = card.get_by_role("progressbar", name="rows of out")
    assert int(bar.get_attribute("aria-valuenow") or 0) >= 10
    button(notebook, 1, "Pause").focus()
    notebook.page.keyboard.press("Enter")
    notebook.wait_for(1, "[data-state=paused]")
    expect(button(notebook, 1, "Resume")).to_be_focused()  # a redraw takes no focus away
    expect(notebook.cell(1).get_by_role("status").first).to_have_text("out: paused")
    notebook.page.keyboard.press("Tab")
    expect(button(notebook, 1, "Stop")).to_be_focused()
    notebook.page.keyboard.press("Space")
    notebook.ended(1)
    slow.resume()
    notebook.wait_for(1, "[data-state=stopped]")


# --- speed ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    url: str


@pytest.fixture
def own_process() -> Iterator[Server]:
    """A server in a process of its own, as fast as it can."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with forks.start(["-m", "tests.server", "--latency", "0.02"], **pipes) as process:
        assert process.stdout is not None
        yield Server(process.stdout.readline().strip())
        assert process.stdin is not None
        process.stdin.close()


FAST = """
def many(run):
    return pd.DataFrame({'text': [f'fast {run} {at // 20}' for at in range(400_000)]})
"""
# Clicks Stop and gives how many rows were done then, by what the card says.
STOP = """at => {
  const cell = document.querySelectorAll('.jp-CodeCell')[at];
  const done = Number(cell.querySelector('.ondine-run').dataset.done);
  [...cell.querySelectorAll('button')].find(it => it.textContent.trim() === 'Stop').click();
  return done;
}"""


def test_stop_at_full_speed_is_heard_before_2000_more_rows_are_done(
    open_notebook: Opener, own_process: Server
) -> None:
    """Every prompt is there twenty times, so that rows are fast although one process answers."""
    cell = "%%ondine out --concurrency 64 -i many(0)\nTell {text}"
    notebook = open_notebook(FAST, cell, server=own_process)  # type: ignore[arg-type]
    notebook.run(1)
    notebook.start(2)
    wait_until_done(notebook, 2, 2000)
    at_the_click = int(notebook.page.evaluate(STOP, 2))
    notebook.ended(2)
    notebook.wait_for(2, "[data-state=stopped]")
    assert at_the_click <= done(notebook.card(2)) <= at_the_click + 2000
