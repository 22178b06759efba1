"""A run in JupyterLab as a person meets it: progress, Stop, Pause, the card that stays."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.notebook.shots import CONTRAST
from tests.server import MessagesServer

from .conftest import Jupyter, Notebook, Opener, Reopener, Shots

COMMAND = "name => { window.jupyterapp.commands.execute(name); }"

pytestmark = pytest.mark.browser

ANSWERED = "print(int(out.response.notna().sum()), out_run.state, list(out.columns))"


def run_cell(rows: int, word: str, line: str = "out -i") -> str:
    return f"%%ondine {line} frame({rows},'{word}')\nTell {{text}}"


def most_paid(server: MessagesServer) -> int:
    server.wait_idle()
    return max(server.ledger.by_prompt().values())


def done_rows(notebook: Notebook, at: int) -> int:
    return int(notebook.card(at).get_attribute("data-done") or 0)


def test_progress_advances_and_stop_ends_the_cell_before_its_answers_and_nothing_is_paid_twice(
    open_notebook: Opener, held: MessagesServer
) -> None:
    notebook = open_notebook(run_cell(400, "stop"), ANSWERED, server=held)
    notebook.start(1)
    notebook.wait_for(1, "[data-state=running]")
    notebook.until("Number(document.querySelector('.ondine-run').dataset.done) > 20")
    assert notebook.page.locator(".ondine-run").count() == 1
    held.wait_for(60)  # no answer comes any more: what ends the cell is the click
    notebook.click(1, "Stop")
    notebook.ended(1)
    answered, state, *_ = notebook.run(2).split()
    assert 20 < int(answered) < 400
    assert state == "stopping"
    held.resume()
    notebook.wait_for(1, "[data-state=stopped]")
    notebook.run(1)
    assert notebook.card(1).get_attribute("data-done") == "400"
    assert (held.arrived, most_paid(held)) == (400, 1)
    assert notebook.run(2).startswith("400 done ['text', 'response']")


def test_cells_that_were_queued_behind_a_stopped_cell_run(
    open_notebook: Opener, slow: MessagesServer
) -> None:
    notebook = open_notebook(
        run_cell(400, "queue", "out --concurrency 8 -i"), ANSWERED, server=slow
    )
    notebook.start(1)
    notebook.start(2)
    notebook.wait_for(1, "[data-state=running]")
    notebook.click(1, "Stop")
    answered, *_ = notebook.ended(2).split()
    assert int(answered) < 400


def test_stop_lets_go_of_the_cell_while_answers_are_out_and_a_second_stop_cancels_them(
    open_notebook: Opener, slow: MessagesServer
) -> None:
    notebook = open_notebook(run_cell(30, "twice"), ANSWERED, server=slow)
    slow.pause()
    notebook.start(1)
    notebook.wait_for(1, "[data-state=running]")
    slow.wait_for(8)
    notebook.click(1, "Stop")
    notebook.ended(1)
    notebook.wait_for(1, "[data-state=stopping]")
    assert notebook.run(2).startswith("0 stopping")
    notebook.click(1, "Stop")
    notebook.wait_for(1, "[data-state=stopped]")
    slow.resume()
    assert notebook.run(2).startswith("0 stopped")


def test_pause_sends_nothing_more_until_resume(open_notebook: Opener, held: MessagesServer) -> None:
    notebook = open_notebook(run_cell(300, "pause"), server=held)
    notebook.start(1)
    notebook.until("Number(document.querySelector('.ondine-run')?.dataset.done) > 10")
    held.wait_for(60)
    notebook.click(1, "Pause")
    notebook.wait_for(1, "[data-state=paused]")
    held.resume()
    expect(notebook.card(1)).not_to_contain_text("in flight")
    held.wait_idle()
    paused_at = held.arrived
    notebook.page.wait_for_timeout(600)
    assert held.arrived == paused_at < 300
    notebook.click(1, "Resume")
    notebook.ended(1)
    assert notebook.card(1).get_attribute("data-state") == "done"
    assert (held.arrived, most_paid(held)) == (300, 1)


def test_interrupt_keeps_what_is_there_and_is_one_line(
    open_notebook: Opener, slow: MessagesServer
) -> None:
    notebook = open_notebook(
        run_cell(300, "interrupt", "out --concurrency 8 -i"), ANSWERED, server=slow
    )
    notebook.start(1)
    notebook.until("Number(document.querySelector('.ondine-run')?.dataset.done) > 10")
    # Two keys, which a busy page may take for one and one.
    notebook.page.evaluate(COMMAND, "notebook:interrupt-kernel")
    shown = notebook.ended(1)
    assert "KeyboardInterrupt: out has" in shown
    assert "Traceback" not in shown
    answered, *_ = notebook.run(2).split()
    assert 0 < int(answered) < 300


def test_the_final_card_is_static_saved_and_there_after_a_reopen_without_its_kernel(
    open_notebook: Opener, reopen: Reopener, server: MessagesServer
) -> None:
    notebook = open_notebook(run_cell(25, "final"), server=server)
    notebook.run(1)
    notebook.wait_for(1, "[data-state=done][data-done='25'][data-failed='0']")
    notebook.assert_over(1)
    # A run that took over five seconds leaves an empty output behind, where its stand-in was.
    (output,) = [it for it in notebook.save()[1] if "ondine-run" in it["data"].get("text/html", "")]
    assert set(output["data"]) == {"text/html", "text/plain"}
    assert output["data"]["text/html"].count('class="ondine-run') == 1
    reopened = reopen(notebook)
    reopened.wait_for(1, "[data-state=done][data-done='25']")
    assert "model not found" not in reopened.cell(1).inner_text().lower()
    assert "25" in reopened.card(1).inner_text()


def test_after_a_reload_in_mid_run_the_run_s_name_shows_how_it_ended(
    open_notebook: Opener, jupyter: Jupyter, slow: MessagesServer
) -> None:
    notebook = open_notebook(run_cell(60, "reload"), "out_run", server=slow)
    slow.pause()
    notebook.start(1)
    notebook.wait_for(1, "[data-state=running]")
    notebook.page.reload()
    slow.resume()
    notebook.page.locator(".jp-CodeCell .cm-content").first.wait_for()
    jupyter.wait_for_kernel(notebook.path.name)
    notebook.run(2)
    notebook.wait_for(2, "[data-state=done][data-done='60']")


def test_markup_from_data_and_model_runs_nothing(open_notebook: Opener) -> None:
    evil = (
        "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'>"
        "</div><svg onload='window.hurt = 3'>{{ 7 * 7 }}"
    )
    with MessagesServer(answer=lambda body: evil, latency=0.2) as server:
        notebook = open_notebook(
            f"evil = {evil!r}\n"
            "df = pd.DataFrame({'text': [f'{evil} {at}' for at in range(80)], evil: 1})",
            "%%ondine out --concurrency 4 -i df\nTell {text}",
            "out_run",
            server=server,
        )
        hurt: list[str] = []
        notebook.page.on("dialog", lambda dialog: hurt.append(dialog.message))
        notebook.run(1)
        notebook.start(2)
        notebook.wait_for(2, "[data-state=running]")
        table = notebook.card(2).locator("table")
        expect(table).to_contain_text("<script>window.hurt = 1</script>")
        assert notebook.cell(2).locator(".ondine-run :is(script, img)").count() == 0
        notebook.ended(2)
        notebook.run(3)
        assert notebook.page.evaluate("window.hurt ?? 0") == 0
        assert hurt == []


def test_a_fatal_failure_shows_one_card_and_one_line(open_notebook: Opener) -> None:
    with MessagesServer(key="another") as server:
        notebook = open_notebook(run_cell(20, "fatal"), ANSWERED, server=server)
        shown = notebook.run(1)
        notebook.wait_for(1, "[data-state=failed]")
        assert notebook.cell(1).locator(".jp-RenderedText[data-mime-type*=stderr]").count() == 1
        assert "FatalProviderError" in shown
        assert "Traceback" not in shown
        assert notebook.run(2).startswith("0 failed")


# --- how it looks --------------------------------------------------------------------------------


def test_the_card_fits_narrow_and_wide_in_both_themes(open_notebook: Opener, shots: Shots) -> None:
    schema = "--schema 'mood: good|bad|so so, score: float, why: str' --budget 1"
    plan = {"refusal": 0.04, "529": 0.03}
    with MessagesServer(latency=(0.05, 0.25), faults=plan, retry_after=0.05) as server:
        server.pause(at=150)
        notebook = open_notebook(
            run_cell(200, "A review of some length that says a thing or two",
                     f"moods {schema} -i"),
            server=server,
        )  # fmt: skip
        page = notebook.page
        notebook.start(1)
        notebook.until("Number(document.querySelector('.ondine-run')?.dataset.done) > 60")
        page.keyboard.press("Control+B")  # the side bar would take half of a narrow window
        for state in ("running", "open", "final"):
            if state == "open":
                notebook.click(1, "Show failed rows")
                notebook.cell(1).get_by_role("group", name="failed rows of moods").wait_for()
            if state == "final":
                server.resume()
                notebook.ended(1)
                notebook.wait_for(1, "[data-state=done]")
                notebook.cell(1).get_by_role("button", name="Retry failed").wait_for()
            for theme in notebook.themes():
                for width in notebook.widths(1200, 800, 480, 300):
                    notebook.fit(notebook.card(1), width)
                    area = notebook.cell(1).locator(".jp-OutputArea")
                    for it in (notebook.card(1), area):
                        assert it.evaluate("it => it.scrollWidth <= it.clientWidth + 1"), width
                    shots(area, f"card-{theme}-{state}-{width}.png")
                assert page.evaluate(CONTRAST) == [], theme
