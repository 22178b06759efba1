"""The results view in JupyterLab as a person uses it: every control, by mouse and by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.notebook.shots import CONTRAST
from tests.server import MessagesServer

from .conftest import Jupyter, Notebook, Opener

pytestmark = pytest.mark.browser

SHOW = "out_run.show()"


@pytest.fixture
def quick() -> Iterator[MessagesServer]:
    with MessagesServer() as server:
        yield server


def run_cell(rows: int, word: str, options: str = "") -> str:
    return f"%%ondine out {options} -i frame({rows},'{word}')\nTell {{text}}"


def shown(notebook: Notebook, at: int = 2) -> Locator:
    """The live view of a cell, once its first page is there."""
    view = notebook.cell(at).locator(".ondine-results")
    view.locator("table.r-rows tbody tr").first.wait_for()
    return view


def button(view: Locator, name: str) -> Locator:
    return view.get_by_role("button", name=name, exact=True)


def labelled(view: Locator, name: str) -> Locator:
    return view.get_by_label(name, exact=True)


def column(view: Locator, name: str) -> list[str]:
    """The texts of one column of the page that is shown."""
    heads = view.locator("table.r-rows thead th").all_inner_texts()
    at = next(place for place, text in enumerate(heads) if text.rstrip(" ▲▼") == name)
    return view.locator(f"table.r-rows tbody tr > :nth-child({at + 1})").all_inner_texts()


def test_rows_are_filtered_sorted_paged_and_opened(
    open_notebook: Opener, quick: MessagesServer
) -> None:
    notebook = open_notebook(
        run_cell(65, "look", "--schema 'mood: good|bad, score: float'"), SHOW, server=quick
    )
    notebook.run(1)
    notebook.run(2)
    view = shown(notebook)
    assert notebook.page.locator(".ondine-results").count() == 1
    expect(notebook.cell(2).locator(".ondine-results-static")).to_be_hidden()
    rows = view.locator("table.r-rows tbody tr")
    expect(rows).to_have_count(20)

    button(view, "Next page").click()
    expect(view).to_contain_text("21 to 40 of 65 rows")
    button(view, "Previous page").click()
    expect(view).to_contain_text("1 to 20 of 65 rows")
    expect(button(view, "Previous page")).to_be_disabled()
    labelled(view, "Page").fill("4")
    labelled(view, "Page").press("Enter")
    expect(view).to_contain_text("61 to 65 of 65 rows")
    expect(rows).to_have_count(5)
    labelled(view, "Rows").select_option("100")
    expect(rows).to_have_count(65)

    labelled(view, "Sort by").select_option("score")
    sorted_head = view.locator("th[aria-sort=ascending]")
    expect(sorted_head).to_contain_text("score")
    scores = [float(text) for text in column(view, "score")]
    assert scores == sorted(scores)
    labelled(view, "Order").select_option("descending")
    expect(view.locator("th[aria-sort=descending]")).to_contain_text("score")
    assert [float(text) for text in column(view, "score")] == sorted(scores, reverse=True)

    labelled(view, "Find").fill("LOOK 6")
    expect(view).to_contain_text("1 to 6 of 6 rows that match, of 65")
    expect(rows).to_have_count(6)
    assert {text[:6] for text in column(view, "text")} == {"look 6"}
    labelled(view, "Find").fill("nothing like it")
    expect(view).to_contain_text("no row of 65 matches")
    labelled(view, "Find").fill("")
    expect(rows).to_have_count(65)

    button(view, "64").click()
    detail = view.get_by_role("region", name="row 64")
    expect(detail).to_contain_text("Tell look 64")
    expect(detail).to_contain_text('"mood":')
    expect(detail).to_contain_text("asked once")
    detail.locator("summary").click()
    expect(detail.locator("pre.r-raw")).to_contain_text('"stop_reason": "end_turn"')


def test_a_row_is_opened_and_closed_by_keyboard(
    open_notebook: Opener, quick: MessagesServer
) -> None:
    notebook = open_notebook(run_cell(25, "keys"), SHOW, server=quick)
    notebook.run(1)
    notebook.run(2)
    view, keyboard = shown(notebook), notebook.page.keyboard
    button(view, "3").focus()
    keyboard.press("Tab")
    expect(button(view, "4")).to_be_focused()
    keyboard.press("Enter")
    expect(view.get_by_role("region", name="row 4")).to_contain_text("Tell keys 4")
    expect(button(view, "Close row")).to_be_focused()
    keyboard.press("Shift+Tab")
    expect(button(view, "Next row")).to_be_focused()
    keyboard.press("Enter")
    expect(view.get_by_role("region", name="row 5")).to_contain_text("Tell keys 5")
    keyboard.press("Tab")
    keyboard.press("Space")
    expect(view.locator(".r-detail")).to_be_hidden()
    expect(button(view, "5")).to_be_focused()


def test_every_row_s_button_stands_in_line_with_its_row(
    open_notebook: Opener, quick: MessagesServer
) -> None:
    words = "a 👩‍👩‍👧 مرحبا 日本語 t"
    notebook = open_notebook(run_cell(22, words), SHOW, server=quick)
    notebook.run(1)
    notebook.run(2)
    view = shown(notebook)
    for at in (0, 7, 19):
        beside = button(view, str(at)).bounding_box()
        row = view.locator("table.r-rows tbody tr").nth(at).bounding_box()
        assert beside is not None
        assert row is not None
        assert abs(beside["y"] - row["y"]) <= 1
        assert abs(beside["height"] - row["height"]) <= 1


def test_picked_failed_rows_are_asked_again_and_show_their_new_outcome(
    open_notebook: Opener,
) -> None:
    broken = True

    def plan(body: Any, _attempt: int) -> str | None:
        at = int(body["messages"][0]["content"].split()[-1])
        return {1: "refusal", 2: "refusal", 5: "cut"}.get(at) if broken else None

    with MessagesServer(plan=plan) as server:
        notebook = open_notebook(
            run_cell(12, "again"), SHOW, "print(out.response.isna().sum())", server=server
        )
        notebook.run(1)
        notebook.run(2)
        view = shown(notebook)
        assert notebook.run(3).strip() == "3"
        sent, broken = server.arrived, False
        expect(view).to_contain_text("3 of 3 failed rows picked")
        labelled(view, "Status").select_option("failed (3)")
        expect(view.locator("table.r-rows tbody tr")).to_have_count(3)
        expect(view.locator("table.r-rows tbody")).to_contain_text("refusal: the model refused")

        labelled(view, "cut at max_tokens (1)").click()
        expect(view).to_contain_text("2 of 3 failed rows picked")
        button(view, "2").click()
        labelled(view, "Retry this row").click()
        expect(view).to_contain_text("1 of 3 failed rows picked")
        expect(view).to_contain_text("refusal (1 of 2)")
        button(view, "Retry failed").click()
        expect(view).to_contain_text("0 of 2 failed rows picked")
        expect(button(view, "Retry failed")).to_be_disabled()
        assert server.arrived == sent + 1
        assert notebook.run(3).strip() == "2"

        labelled(view, "refusal (1)").click()
        labelled(view, "cut at max_tokens (1)").click()
        expect(view).to_contain_text("2 of 2 failed rows picked")
        button(view, "Retry failed").click()
        expect(button(view, "Retry failed")).to_be_hidden()
        assert server.arrived == sent + 3
        expect(view).to_contain_text("no row of 12 matches")
        labelled(view, "Status").select_option("answered (12)")
        expect(view.locator("table.r-rows tbody tr")).to_have_count(12)
        assert notebook.run(3).strip() == "0"
        (_, static) = notebook.save()[2]
        assert "12 answered" in static["data"]["text/html"]
        assert "failed" not in static["data"]["text/plain"]


def test_stop_ends_a_retry(open_notebook: Opener) -> None:
    with MessagesServer(faults={"refusal": 1}) as server:
        notebook = open_notebook(run_cell(6, "halt"), SHOW, server=server)
        notebook.run(1)
        notebook.run(2)
        view = shown(notebook)
        server.pause()
        button(view, "Retry failed").click()
        expect(view).to_contain_text("asked again: 0 of 6 rows")
        server.wait_for(12, 30)  # so that there is something in flight to stop
        button(view, "Stop").click()
        expect(view.locator(".r-pill")).to_have_text("stopping")
        server.resume()
        expect(view.locator(".r-pill")).to_have_text("stopped")
        expect(button(view, "Stop")).to_be_hidden()


def test_a_run_that_goes_on_is_shown_as_it_goes(
    open_notebook: Opener, slow: MessagesServer
) -> None:
    notebook = open_notebook(run_cell(40, "go", "--background"), SHOW, server=slow)
    slow.pause()
    notebook.run(1)
    notebook.run(2)
    view = shown(notebook)
    expect(view).to_contain_text("40 not run")
    button(view, "Refresh").click()
    expect(view.locator(".r-pill")).to_have_text("running")
    slow.resume()
    expect(view).to_contain_text("40 answered")
    expect(view.locator(".r-pill")).to_have_text("done")
    expect(button(view, "Refresh")).to_be_hidden()


def test_exports_lie_beside_the_notebook_and_replace_nothing(
    open_notebook: Opener, jupyter: Jupyter, quick: MessagesServer
) -> None:
    notebook = open_notebook(run_cell(9, "file"), SHOW, server=quick)
    taken = jupyter.root / "out.csv"
    taken.write_text("mine")
    notebook.run(1)
    notebook.run(2)
    view = shown(notebook)
    button(view, "Export CSV").click()
    link = view.get_by_role("link", name=re.compile(r"^out-\d+\.csv$"))
    expect(view).to_contain_text("9 rows written to")
    name = link.inner_text()
    assert (jupyter.root / name).read_text().splitlines()[0] == "text,response"
    assert taken.read_text() == "mine"
    with notebook.page.expect_popup() as opened:
        link.click()
    assert opened.value.url.split("?")[0].endswith(f"/lab/tree/{name}")
    opened.value.close()
    button(view, "Export Parquet").click()
    expect(view.get_by_role("link", name=re.compile(r"^out.*\.parquet$"))).to_be_visible()
    assert list(jupyter.root.glob("out*.parquet"))


def test_saved_and_reopened_without_its_kernel_the_facts_stand_there(
    open_notebook: Opener, jupyter: Jupyter, quick: MessagesServer
) -> None:
    notebook = open_notebook(run_cell(30, "keep"), SHOW, server=quick)
    notebook.run(1)
    notebook.run(2)
    shown(notebook)
    notebook.save()
    notebook.page.reload()
    notebook.page.locator(".jp-CodeCell .cm-content").first.wait_for()
    expect(notebook.cell(2).locator(".ondine-results")).to_be_visible()
    expect(notebook.cell(2).locator(".ondine-results-static")).to_be_hidden()
    notebook.page.close()
    jupyter.end_kernels()
    reopened = open_notebook(path=notebook.path)
    static = reopened.cell(2).locator(".ondine-results-static")
    expect(static).to_be_visible()
    expect(static).to_contain_text("1 to 20 of 30 rows")
    reopened.page.wait_for_timeout(1500)
    dead = reopened.cell(2).get_by_text("model not found")
    assert dead.count() == 0 or dead.is_hidden()
    assert "model not found" not in reopened.cell(2).inner_text().lower()
    assert "Loading widget" not in reopened.cell(2).inner_text()


def test_markup_from_data_and_model_runs_nothing(open_notebook: Opener) -> None:
    evil = (
        "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'></pre></table>"
        "</div><svg onload='window.hurt = 3'>{{ 7 * 7 }}\x1b[31m\u202e مرحبا 🎉"
    )
    with MessagesServer(answer=lambda body: evil) as server:
        notebook = open_notebook(
            f"evil = {evil!r}\n"
            "texts = [evil, 'x' * 100_000, evil + '\\ud800', '\\x00', evil * 50]\n"
            "df = pd.DataFrame({'text': pd.Series(texts, dtype=object), evil: 1})",
            "%%ondine out -i df\nTell {text}",
            SHOW,
            server=server,
        )
        hurt: list[str] = []
        notebook.page.on("dialog", lambda dialog: hurt.append(dialog.message))
        notebook.run(1)
        notebook.run(2)
        notebook.run(3)
        view = shown(notebook, 3)
        for at in range(5):
            button(view, str(at)).click()
            expect(view.get_by_role("region", name=f"row {at}")).to_contain_text("prompt")
        expect(view).to_contain_text("<script>window.hurt = 1</script>")
        assert view.locator("script, img, .r-rows svg, .r-detail svg").count() == 0
        button(view, "Export CSV").click()
        expect(view).to_contain_text("5 rows written to")
        assert notebook.page.evaluate("window.hurt ?? 0") == 0
        assert hurt == []


# --- how it looks --------------------------------------------------------------------------------

THEMES: dict[str, Any] = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
LOW = CONTRAST.replace(".ondine-run *, .ondine-view button", ".ondine-results *")
FIT = "it => it.scrollWidth <= it.clientWidth + 1"


@pytest.mark.parametrize("theme", THEMES)
def test_it_fits_narrow_and_wide_in_both_themes(
    open_notebook: Opener, jupyter: Jupyter, shots: Path, theme: str
) -> None:
    jupyter.set("apputils-extension/themes", {"theme": THEMES[theme]})
    schema = "--schema 'mood: good|bad|so so, score: float, why: str, n: int' --budget 1"
    faults = {"refusal": 0.04, "cut": 0.02}
    with MessagesServer(latency=(0.01, 0.05), faults=faults, retry_after=0.05) as server:
        words = f"A review of some length that says a thing or two, {theme}"
        notebook = open_notebook(run_cell(150, words, schema), SHOW, server=server)
        notebook.run(1)
        notebook.run(2)
    page, view = notebook.page, shown(notebook)
    page.keyboard.press("Control+B")  # the side bar would take half of a narrow window
    labelled(view, "Rows").select_option("100")
    expect(view.locator("table.r-rows tbody tr")).to_have_count(100)
    failed = next(at for at, text in enumerate(column(view, "status")) if text == "failed")
    labelled(view, "Rows").select_option("20")
    expect(view.locator("table.r-rows tbody tr")).to_have_count(20)
    labelled(view, "Page").fill(str(failed // 20 + 1))
    labelled(view, "Page").press("Enter")
    expect(button(view, str(failed))).to_be_visible()
    for state in ("rows", "open"):
        if state == "open":
            button(view, str(failed)).click()
            expect(view.get_by_role("region", name=f"row {failed}")).to_be_visible()
        for width in (1200, 800, 480):
            notebook.fit(view, width)
            assert view.evaluate(FIT), f"{width} px"
            notebook.cell(2).locator(".jp-OutputArea").screenshot(
                path=shots / f"results-{theme}-{state}-{width}.png"
            )
        assert page.evaluate(LOW) == []
