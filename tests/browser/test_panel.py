"""The prompt workbench in JupyterLab as a person meets it: every button and every control."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.notebook.shots import CONTRAST
from tests.server import MessagesServer
from tests.server.answers import prompt_of

from .conftest import Jupyter, Notebook, Opener, Reopener, Shots

pytestmark = pytest.mark.browser

REVIEWS = """reviews = pd.DataFrame({{
    "text": [f"{word} {{at}}, and the box was a bit dented." for at in range({rows})],
    "stars": [at % 5 + 1 for at in range({rows})],
    "mood": [("good", "bad")[at % 2] for at in range({rows})],
}})
import ondine_nb
given = {{"strictness": (1, 5), "tone": ["formal", "friendly"]}}
bench = ondine_nb.panel(reviews, {prompt!r}, given{more})
bench"""
PROMPT = "How does the writer feel, judged {strictness} of 5 strict?\nBe {tone}. Review: {text}"


def source(word: str, *, rows: int = 60, prompt: str = PROMPT, more: str = "") -> str:
    return REVIEWS.format(word=word, rows=rows, prompt=prompt, more=more and ", " + more)


def answer(body: Any) -> str:
    """Good or bad by the row, as the labels have it but for each fifth; a strict judge more so."""
    text = prompt_of(body)
    at = int(re.findall(r"(\d+),", text)[-1])
    turned = at % 5 == 0 or ("judged 5" in text and at % 3 == 0)
    mood = ("good", "bad")[(at + turned) % 2]
    return json.dumps({"mood_now": mood, "score": round(0.5 + at % 50 / 100, 2)})


@pytest.fixture
def judge() -> Iterator[MessagesServer]:
    """A server that says good or bad, with a little latency."""
    with MessagesServer(answer=answer, latency=(0.02, 0.08)) as server:
        yield server


FOCUSED = """() => {
  const it = document.activeElement;
  const label = it.closest('label')?.querySelector('.lab')?.textContent;
  return label ?? it.getAttribute('aria-label') ?? it.textContent;
}"""
SCHEMA = "schema='mood_now: good|bad, score: float'"


def bench(notebook: Notebook, at: int = 1) -> Locator:
    panel = notebook.cell(at).locator(".ondine-panel")
    panel.wait_for(state="visible")
    return panel


def press(panel: Locator, name: str) -> None:
    button = panel.get_by_role("button", name=name, exact=True)
    expect(button).to_be_enabled()
    button.click()


def settled(panel: Locator, rows: int) -> None:
    """Until what was clicked is done, and `rows` rows were tried."""
    expect(panel.locator(".results[aria-busy]")).to_have_count(0)
    expect(panel.locator(".figures")).to_contain_text(re.compile(rf"(?<!of ){rows} rows"))
    expect(panel.get_by_role("button", name="Stop", exact=True)).to_be_hidden()


def tries_of(panel: Locator) -> list[str]:
    """The names of the tries on the board, as they stand there."""
    return [it.strip() for it in panel.locator(".tries tbody td.v").all_inner_texts()]


def test_it_fits_narrow_and_wide_in_both_themes_in_every_state(
    open_notebook: Opener, judge: MessagesServer, shots: Shots
) -> None:
    notebook = open_notebook(source("Look", more=f"{SCHEMA}, budget=2"), server=judge)
    notebook.run(1)
    panel, page = bench(notebook), notebook.page
    page.keyboard.press("Control+B")  # the side bar would take half of a narrow window

    def look(state: str) -> None:
        for theme in notebook.themes():
            for width in notebook.widths(480, 800, 1200):
                notebook.fit(panel, width)
                panel.scroll_into_view_if_needed()
                shots(panel, f"panel-{state}-{theme}-{width}.png")
                fits = panel.evaluate("it => it.scrollWidth <= it.clientWidth + 1")
                assert fits, (state, theme, width)
            low = page.evaluate(
                CONTRAST.replace(
                    ".ondine-run *, .ondine-view button", ".ondine-panel :not([aria-hidden] *)"
                )
            )
            low = [text for text in low if "mirror" not in text]  # it lies under the letters
            assert low == [], (state, theme)

    expect(panel.locator(".forecast")).to_contain_text("Whole run")
    look("fresh")
    prompt = panel.get_by_label("Prompt", exact=True)
    prompt.fill(PROMPT + " {txt}")
    expect(panel.locator(".says").first).to_contain_text("{txt} is neither a column")
    look("unknown")
    prompt.fill(PROMPT)
    press(panel, "Preview")
    settled(panel, 20)
    look("preview")
    panel.get_by_label("labels").select_option("mood")
    slider(panel, "strictness").press("End")
    press(panel, "Compare")
    settled(panel, 20)
    expect(panel.locator(".ondine-comparison")).to_be_visible()
    look("compare")
    press(panel, "As code")
    expect(panel.get_by_label("As code", exact=False)).to_be_visible()
    look("code")


def slider(panel: Locator, name: str) -> Locator:
    return panel.get_by_role("slider", name=name)


def code_of(panel: Locator) -> str:
    """The text that As code shows; leaves it closed."""
    press(panel, "As code")
    area = panel.get_by_label("As code: a cell that does exactly this")
    text = area.input_value()
    press(panel, "As code")
    expect(area).to_have_count(0)
    return text


def test_names_are_offered_and_unknown_ones_are_marked_as_they_are_typed(
    open_notebook: Opener, judge: MessagesServer
) -> None:
    notebook = open_notebook(source("Typed", prompt=""), server=judge)
    notebook.run(1)
    panel = bench(notebook)
    says, prompt = panel.locator(".says").first, panel.get_by_label("Prompt", exact=True)
    expect(says).to_contain_text("There is no prompt yet")
    preview = panel.get_by_role("button", name="Preview", exact=True)
    expect(preview).to_be_disabled()
    assert "There is no prompt yet" in str(preview.get_attribute("title"))
    prompt.press_sequentially("Tell {text} as {txt}")
    expect(says).to_contain_text(
        "{txt} is neither a column (text, stars, mood) nor a control. Did you mean {text}?"
    )
    expect(panel.locator(".mirror .is-unknown")).to_have_text("{txt}")
    expect(panel.locator(".mirror .is-column")).to_have_text("{text}")
    expect(preview).to_be_disabled()
    panel.get_by_role("button", name="make {txt} a control").click()
    expect(panel.locator(".mirror .is-unknown")).to_have_count(0)
    panel.get_by_label("txt", exact=True).fill("a poem")
    prompt.press("End")
    prompt.press_sequentially(" for {audience}")
    panel.get_by_label("audience", exact=True).fill("children")
    press(panel, "As code")
    cell = panel.get_by_label("As code: a cell that does exactly this")
    expect(cell).to_have_value(re.compile('-p txt="a poem" -p audience=children'))
    panel.get_by_role("button", name="{stars}", exact=True).click()
    expect(prompt).to_have_value("Tell {text} as {txt} for {audience} {stars}")
    expect(cell).to_have_value(
        re.compile(r"\nTell \{text\} as \{txt\} for \{audience\} \{stars\}$")
    )
    expect(preview).to_be_enabled()
    assert judge.arrived == 0


def test_preview_shows_answers_that_open_in_full_and_compare_holds_b_against_it(
    open_notebook: Opener, judge: MessagesServer
) -> None:
    notebook = open_notebook(source("Compared", more=SCHEMA), server=judge)
    notebook.run(1)
    panel = bench(notebook)
    compare = panel.get_by_role("button", name="Compare", exact=True)
    press(panel, "Preview")
    settled(panel, 20)
    assert judge.arrived == 20
    rows = panel.locator("table.said tbody tr[data-row]")
    expect(rows).to_have_count(20)
    expect(rows.first.locator("[data-field=mood_now]")).to_have_text(re.compile("good|bad"))
    expect(rows.first).to_contain_text("Compared")  # the text that is judged
    rows.first.click()
    expect(panel.locator("tr.whole")).to_contain_text("judged 3 of 5 strict?")
    assert "nothing has changed" in str(compare.get_attribute("title"))
    press(panel, "Preview")
    settled(panel, 20)
    expect(panel.locator(".figures")).to_contain_text("20 from journal")
    assert judge.arrived == 20
    slider(panel, "strictness").press("End")
    expect(panel.locator(".same")).to_contain_text(
        re.compile(r"changed since v\d+: \{strictness\}")
    )
    expect(panel.locator(".stale")).to_contain_text(re.compile(r"as of v\d+"))
    panel.get_by_label("tone").select_option("friendly")
    press(panel, "Compare")
    judge.wait_for(40)
    settled(panel, 20)
    assert judge.arrived == 40
    expect(panel.locator(".same")).to_contain_text("nothing changed since")
    compared = panel.locator(".ondine-comparison")
    differ = compared.get_by_role("tab", name=re.compile("differ"))
    expect(differ).to_be_visible()
    expect(panel.locator(".tries tr.now")).to_contain_text("strictness 3 5")
    panel.get_by_label("labels").select_option("mood")
    expect(compared.get_by_role("tab", name=re.compile("broke"))).to_be_visible()
    expect(panel.locator(".tries tr.now td.score b")).to_have_text(re.compile(r"0\.\d\d"))
    assert judge.arrived == 40


def test_a_row_that_is_read_in_full_stays_open_and_gets_its_answer(
    open_notebook: Opener, judge: MessagesServer, shots: Shots
) -> None:
    notebook = open_notebook(source("Open", more=SCHEMA), server=judge)
    notebook.run(1)
    panel = bench(notebook)
    judge.pause()
    press(panel, "Preview")
    judge.wait_for(1)
    expect(panel.locator(".results[aria-busy]")).to_have_count(1)
    panel.locator("tr[data-row]").nth(4).click()
    whole = panel.locator("tr.whole")
    expect(whole).to_contain_text("judged 3 of 5 strict")
    expect(whole).not_to_contain_text("mood_now")
    shots(panel, "panel-open-waiting.png")
    judge.resume()
    settled(panel, 20)
    expect(whole).to_contain_text("mood_now")
    shots(panel, "panel-open.png")
    slider(panel, "strictness").press("End")
    press(panel, "Preview")
    settled(panel, 20)
    expect(whole).to_contain_text("judged 5 of 5 strict")
    expect(whole).to_contain_text("mood_now")


def test_every_setting_is_in_the_code_and_the_forecast_follows(
    open_notebook: Opener, judge: MessagesServer
) -> None:
    notebook = open_notebook(source("Settings"), server=judge)
    notebook.run(1)
    panel = bench(notebook)
    forecast = panel.locator(".forecast")
    expect(forecast).to_contain_text("Whole run: 60 rows, $")
    before = forecast.inner_text()
    panel.get_by_label("model").select_option("claude-opus-5-5")
    expect(forecast).not_to_have_text(before)
    panel.get_by_label("effort").select_option("low")
    panel.get_by_label("budget").fill("$100")
    slider(panel, "sample rows").press("Home")
    panel.get_by_label("max tokens").select_option("16,384")
    panel.get_by_label("concurrency").select_option("256")
    panel.get_by_label("Schema").fill("mood: goood|bad, score flaot")
    expect(panel.locator(".left")).to_contain_text("score flaot")
    expect(panel.get_by_role("button", name="Preview", exact=True)).to_be_disabled()
    panel.get_by_label("Schema").fill("verdict: good|bad")
    panel.get_by_label("System").fill("Be fair.\nBe brief.")
    panel.get_by_label("result name").fill("class")
    expect(panel.locator(".says").first).to_contain_text("can't be a variable")
    panel.get_by_label("result name").fill("judged")
    expect(panel.get_by_role("button", name="Preview", exact=True)).to_be_enabled()
    press(panel, "As code")
    above = panel.get_by_label("In a cell of its own, first").input_value()
    assert above == "judged_system = 'Be fair.\\nBe brief.'"
    cell = panel.get_by_label("As code: a cell that does exactly this").input_value()
    for words in (
        "%%ondine judged -i reviews -m claude-opus-5-5",
        '--schema "verdict: good|bad"',
        "--system $judged_system",
        "--max-tokens 16384",
        "--effort low",
        "--budget 100",
        "--concurrency 256",
    ):
        assert words in cell


def test_run_all_runs_below_and_the_cell_of_as_code_then_pays_nothing(
    open_notebook: Opener, slow: MessagesServer
) -> None:
    notebook = open_notebook(
        source("Everything"), "print(len(labeled), labeled_run.state)", "", server=slow
    )
    notebook.run(1)
    panel = bench(notebook)
    slow.pause()
    press(panel, "Run all")
    notebook.wait_for(1, "[data-state=running]")
    notebook.click(1, "Pause")
    notebook.wait_for(1, "[data-state=paused]")
    slow.resume()
    notebook.click(1, "Resume")
    notebook.wait_for(1, "[data-state=done][data-done='60']")
    expect(panel).to_contain_text("labeled: done")
    assert notebook.card(1).bounding_box()["y"] > panel.bounding_box()["y"]  # type: ignore[index]
    assert notebook.run(2) == "60 done\n"
    notebook.type(3, code_of(panel))
    notebook.run(3)
    notebook.wait_for(3, "[data-state=done][data-done='60']")
    assert slow.arrived == 60
    press(panel, "Preview")
    settled(panel, 20)
    assert slow.arrived == 60


def test_a_preview_can_be_stopped(open_notebook: Opener, slow: MessagesServer) -> None:
    notebook = open_notebook(source("Stopped", rows=200, more="sample=200"), server=slow)
    notebook.run(1)
    panel = bench(notebook)
    slow.pause()  # the preview can't end before it is stopped
    press(panel, "Preview")
    press(panel, "Stop")
    slow.resume()
    expect(panel.get_by_role("button", name="Stop", exact=True)).to_be_hidden()
    expect(panel.locator("table.said")).to_contain_text("not run")
    slow.wait_idle()
    assert slow.arrived < 200


def test_a_bad_key_is_one_line(open_notebook: Opener) -> None:
    with MessagesServer(key="another") as server:
        notebook = open_notebook(source("Key"), server=server)
        notebook.run(1)
        panel = bench(notebook)
        press(panel, "Preview")
        expect(panel.locator(".remark")).to_contain_text("ANTHROPIC_API_KEY")
        assert "Traceback" not in notebook.cell(1).inner_text()
        compare = panel.get_by_role("button", name="Compare", exact=True)
        expect(compare).to_be_disabled()


def test_saved_and_reopened_without_a_kernel_the_same_facts_stand_there(
    open_notebook: Opener, reopen: Reopener, judge: MessagesServer, shots: Shots
) -> None:
    notebook = open_notebook(source("Saved", more=SCHEMA), server=judge)
    notebook.run(1)
    panel, saved = bench(notebook), notebook.cell(1).locator(".ondine-panel-static")
    press(panel, "Preview")
    settled(panel, 20)
    expect(saved).to_be_hidden()
    expect(saved.locator("table.o-rows")).to_have_count(1)  # it has come after
    assert notebook.page.locator(".ondine-panel").count() == 1
    notebook.save()
    reopened = reopen(notebook)
    saved = reopened.cell(1).locator(".ondine-panel-static")
    saved.wait_for(state="visible")
    reopened.page.wait_for_timeout(1500)
    shown = reopened.cell(1).locator(".jp-OutputArea").inner_text()
    assert "model not found" not in shown.lower()
    assert "Loading widget" not in shown
    for text in ("%%ondine labeled -i reviews", "the box was a bit dented", "20 rows"):
        assert text in shown
    assert reopened.cell(1).locator("mjx-container").count() == 0  # two dollars are no formula
    shots(reopened.cell(1).locator(".jp-OutputArea"), "panel-reopened.png")


def test_a_cell_of_its_own_can_be_inserted_and_a_line_opens_a_workbench(
    open_notebook: Opener, server: MessagesServer
) -> None:
    frame = "reviews = frame(20, 'Line')"
    notebook = open_notebook(frame, "%ondine panel reviews", "ondine_panel.insert()", server=server)
    notebook.run(1)
    notebook.run(2)
    bench(notebook, 2).get_by_label("Prompt", exact=True).fill("Tell {text}")
    preview = bench(notebook, 2).get_by_role("button", name="Preview", exact=True)
    expect(preview).to_be_enabled()  # the kernel has heard of the prompt
    notebook.run(3)
    inserted = notebook.cell(4).locator(".cm-content")
    expect(inserted).to_contain_text("%%ondine labeled -i reviews")
    notebook.run(4)
    notebook.wait_for(4, "[data-state=done][data-done='20']")


def test_after_a_reload_of_the_page_the_workbench_goes_on(
    open_notebook: Opener, jupyter: Jupyter, judge: MessagesServer
) -> None:
    notebook = open_notebook(source("Reloaded", more=SCHEMA), server=judge)
    notebook.run(1)
    bench(notebook)
    notebook.save()
    notebook.reload(1, ".ondine-panel")
    jupyter.wait_for_kernel(notebook.path.name)
    panel = bench(notebook)
    press(panel, "Preview")
    settled(panel, 20)
    assert judge.arrived == 20
    assert notebook.cell(1).locator(".ondine-panel-static").is_hidden()


def test_markup_from_data_controls_and_answers_runs_nothing(open_notebook: Opener) -> None:
    evil = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'>\x1b[31m \u202e"
    with MessagesServer(answer=lambda body: evil) as server:
        notebook = open_notebook(
            f"import ondine_nb\nevil = {evil!r}\n"
            "df = pd.DataFrame({'text': [evil + '\\ud800', 'مرحبا', '🎈' * 99, 'x' * 100_000],"
            " evil: [evil] * 4}, dtype=object)\n"
            "given = {'tone': [evil, 'b']}\n"
            "bench = ondine_nb.panel(df, evil + '{text} {tone}', given, system=evil)",
            server=server,
        )
        notebook.run(1)
        panel = bench(notebook)
        press(panel, "Preview")
        settled(panel, 4)
        expect(panel.locator("table.said")).to_contain_text("<script>window.hurt = 1</script>")
        panel.get_by_label("labels").select_option(index=2)
        panel.get_by_label("tone").select_option("b")
        press(panel, "Compare")
        settled(panel, 4)
        press(panel, "As code")
        notebook.page.wait_for_timeout(1000)  # until the saved form has it all too
        assert notebook.cell(1).locator(".jp-OutputArea :is(script, img)").count() == 0
        assert notebook.page.evaluate("window.hurt ?? 0") == 0


def test_the_keyboard_goes_through_it_in_the_order_of_the_work(
    open_notebook: Opener, judge: MessagesServer
) -> None:
    notebook = open_notebook(source("Keys", more=SCHEMA), server=judge)
    notebook.run(1)
    panel, page = bench(notebook), notebook.page
    expect(panel.get_by_role("button", name="Preview", exact=True)).to_be_enabled()
    panel.get_by_label("Prompt", exact=True).focus()
    seen: list[str] = []
    for _ in range(24):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUSED))
    order = [
        *("{text}", "{stars}", "{mood}", "Schema", "System", "strictness", "tone", "sample rows"),
        *("budget", "model", "effort", "max tokens", "concurrency", "try several", "labels"),
        "result name",
        *("Preview", "Run all", "As code"),
    ]
    assert [name for name in dict.fromkeys(seen) if name in order] == order
    panel.get_by_role("button", name="Preview", exact=True).focus()
    page.keyboard.press("Enter")
    settled(panel, 20)


# --- ten rounds, as they are done ----------------------------------------------------------------

TICKETS = """tickets_{name} = pd.DataFrame({{
    "text": [f"Ticket {{at}}, the shop closes at six." for at in range(60)],
    "gold": [("low", "high")[at % 2] if at < 40 else None for at in range(60)],
}})
import ondine_nb
bench = ondine_nb.panel(tickets_{name}, "Triage, round 1: {{text}}", schema="urgency: low|high",
                        sample=40, labels="gold")"""


def triage(body: Any) -> str:
    """Wrong on some rows, by the round: the later ones on fewer, and not on the same."""
    text = prompt_of(body)
    turn, at = (int(it) for it in re.findall(r"\d+", text)[:2])
    wrong = at % 10 < {1: 4, 2: 3, 3: 3, 4: 2}.get(turn, 0) or (turn == 5 and at == 7)
    return json.dumps({"urgency": ("low", "high")[(at + bool(wrong)) % 2]})


def test_five_tries_are_kept_restored_compared_corrected_and_taken_along(
    open_notebook: Opener, jupyter: Jupyter, shots: Shots
) -> None:
    with MessagesServer(answer=triage, latency=(0.01, 0.03)) as server:
        notebook = open_notebook(
            TICKETS.format(name="story"), "", "print(bench.tries['accuracy'].tolist())",
            server=server,
        )  # fmt: skip
        notebook.run(1)
        panel, page = bench(notebook), notebook.page
        prompt = panel.get_by_label("Prompt", exact=True)
        for turn in range(1, 6):
            prompt.fill(f"Triage, round {turn}: {{text}}")
            prompt.press("Control+Enter" if turn % 2 else "Shift+Enter")
            expect(panel.locator(".tries tr.now td.v")).to_have_text(f"v{turn}")
            settled(panel, 40)
        assert server.arrived == 200  # 5 times 40: the ledger counts what was sent
        assert tries_of(panel) == ["v5", "v4", "v3", "v2", "v1"]
        best = panel.locator(".tries tr", has=page.locator(".badge", has_text="best"))
        expect(best.locator("td.v")).to_have_text("v5")
        panel.get_by_role("button", name="Restore v2").click()
        expect(prompt).to_have_value("Triage, round 2: {text}")
        expect(panel.locator(".same")).to_have_text("same as v2, nothing changed since")
        panel.get_by_label("compare v5").check()
        compared = panel.locator(".ondine-comparison")
        tab = compared.get_by_role("tab", name=re.compile("^broke"))
        tab.click()
        expect(tab).to_have_attribute("aria-selected", "true")
        broke = int(tab.inner_text().split()[-1])
        assert broke > 3
        expect(compared.locator("tr[data-row]")).to_have_count(broke)
        row = compared.locator("tr[data-row]").nth(1)
        at = int(str(row.get_attribute("data-row")))
        row.click()
        expect(compared.locator(f"[data-full='{at}']")).to_contain_text(f"Ticket {at}, the shop")
        score = panel.locator(".tries tr.now td.score b")
        before = float(score.inner_text())
        page.keyboard.press("1" if at % 2 else "2")  # the model was right, the label wrong
        expect(score).to_have_text(f"{before + 1 / 40:.2f}")
        shots(panel, "panel-story.png")
        sent = server.arrived
        notebook.type(2, code_of(panel))
        notebook.run(2)
        notebook.wait_for(2, "[data-state=done][data-done='60']")
        assert server.arrived == sent + 20  # the 40 that were tried came from the journal
        notebook.save()
        page.evaluate("() => { window.jupyterapp.commands.execute('kernelmenu:restart'); }")
        page.locator(".jp-Dialog .jp-mod-warn").click()
        jupyter.wait_for_kernel(notebook.path.name)
        page.reload()
        page.locator(".jp-CodeCell .cm-content").first.wait_for()
        jupyter.wait_for_kernel(notebook.path.name)
        notebook.run(0)
        notebook.run(1)
        panel = bench(notebook)
        expect(panel.locator(".tries tbody tr")).to_have_count(5)
        expect(panel.get_by_label("Prompt", exact=True)).to_have_value("Triage, round 2: {text}")
        expect(panel.locator(".tries tr.now td.v")).to_have_text("v2")
        expect(panel.locator(".ondine-comparison")).to_be_visible()
        press(panel, "Preview")
        settled(panel, 40)
        assert server.arrived == sent + 20
        told = notebook.run(3)
        assert len(json.loads(told)) == 5


def test_keys_and_chips_are_the_bench_s_and_never_the_notebook_s(
    open_notebook: Opener, judge: MessagesServer
) -> None:
    notebook = open_notebook(source("Hands", rows=20, more=SCHEMA), "x = 1", server=judge)
    notebook.run(1)
    panel, page = bench(notebook), notebook.page
    prompt = panel.get_by_label("Prompt", exact=True)
    prompt.fill("Tell  of it")
    for _ in range(len(" of it")):
        prompt.press("ArrowLeft")
    panel.get_by_role("button", name="{text}", exact=True).click()
    expect(prompt).to_have_value("Tell {text} of it")
    cells = page.locator(".jp-Cell").count()
    prompt.press("Shift+Enter")
    settled(panel, 20)
    panel.locator("table.said tr[data-row]").nth(2).click()
    for key in ("j", "k", "1", "a", "b", "x", "u"):
        page.keyboard.press(key)
    assert page.locator(".jp-Cell").count() == cells
    assert judge.arrived == 20
    code = panel.get_by_role("button", name="As code", exact=True)
    code.click()
    panel.get_by_role("button", name="Put into the notebook").click()
    expect(page.locator(".jp-Cell").nth(2).locator(".cm-content")).to_contain_text(
        "%%ondine labeled"
    )
