"""Two runs compared in JupyterLab by clicks: tabs, the matrix, a row in full; saved and again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.notebook.shots import CONTRAST
from tests.server import MessagesServer
from tests.server.answers import prompt_of

from .conftest import Jupyter, Notebook, Opener, Shots

pytestmark = pytest.mark.browser

ROWS = 40
SCHEMA = "mood: good|bad|mixed, refund: bool, confidence: float"
FRAME = f"""import ondine_nb
data = frame({ROWS}, '{{}}')
data['gold'] = [('good', 'bad', 'mixed')[at % 3] for at in range({ROWS})]"""
RUN = f"%%ondine {{}} --schema '{SCHEMA}' -i data\n{{}} {{{{text}}}}"
COMPARE = "c = ondine_nb.compare(before_run, after_run, 'mood', labels='gold'); c"
FIGURES = "print(c.test.sentence, '|', c.comparison.tabs, '|', len(c.frame))"
MOODS = ("good", "bad", "mixed")
LOW = CONTRAST.replace(".ondine-run *, .ondine-view button", ".ondine-comparison *")


def said(at: int, prompt: str) -> str:
    """What the model says of a row: by the first prompt each fourth is wrong, else each seventh."""
    wrong = at % 4 == 1 if "Rate" in prompt else at % 7 == 2
    return MOODS[(at + wrong) % 3]


def answer(body: Any) -> str:
    prompt = prompt_of(body)
    at = int(prompt.split()[-1])
    values = {"mood": said(at, prompt), "refund": at % 2 == 0, "confidence": at / ROWS}
    return json.dumps(values)


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(answer=answer) as running:
        yield running


def states() -> Counter[str]:
    rights = [
        tuple(said(at, prompt) == MOODS[at % 3] for prompt in ("Rate", "Judge"))
        for at in range(ROWS)
    ]
    names = {(True, True): "right", (False, True): "fixed", (True, False): "broke"}
    return Counter(names.get(each, "wrong") for each in rights)


def compared(open_notebook: Opener, server: MessagesServer, word: str) -> tuple[Notebook, Locator]:
    """A notebook with two runs over the same rows, and their comparison."""
    notebook = open_notebook(
        FRAME.format(word),
        RUN.format("before", "Rate it. Give a reason."),
        RUN.format("after", "Judge it. Quote the words that decide."),
        COMPARE,
        FIGURES,
        server=server,
    )
    for at in range(1, 5):
        notebook.run(at)
    return notebook, view_of(notebook)


def view_of(notebook: Notebook) -> Locator:
    rows = notebook.seen(notebook.cell(4), ".ondine-comparison tr[data-row]")
    expect(rows).to_be_visible()
    return notebook.cell(4).locator(".ondine-comparison")


def test_broke_a_cell_of_the_matrix_and_a_row_in_full_by_clicks(
    open_notebook: Opener, server: MessagesServer
) -> None:
    notebook, view = compared(open_notebook, server, "clicked")
    sent, wanted = server.arrived, states()
    rows = view.locator("tr[data-row]")

    view.get_by_role("tab", name=f"broke {wanted['broke']}", exact=True).click()
    expect(rows).to_have_count(wanted["broke"])
    broken = rows.first
    expect(broken.locator("[data-side=a] .sign")).to_have_text("right")
    expect(broken.locator("[data-side=b] .sign")).to_have_text("wrong")

    at = int(str(broken.get_attribute("data-row")))
    broken.click()
    full = view.locator("[data-full]")
    expect(full.locator("[data-column=text]")).to_contain_text(f"clicked {at}")
    expect(full.locator("[data-field=mood]")).to_contain_text(MOODS[at % 3])

    view.locator("[data-cell='good/bad']").click()
    first = [at for at in range(ROWS) if at % 3 == 0 and said(at, "Judge") == "bad"]
    expect(view.locator(".chip")).to_contain_text("label good, after answered bad: first")
    expect(rows).to_have_count(ROWS)
    top = [int(str(it.get_attribute("data-row"))) for it in rows.all()[: len(first)]]
    assert sorted(top) == first

    fixed, broke = wanted["fixed"], wanted["broke"]
    sentence = (
        f"after is right on {fixed} rows where before is wrong, before on {broke} where after is "
        "wrong"
    )
    expect(view.locator(".sentence")).to_contain_text(sentence)
    assert sentence in notebook.run(5)
    server.wait_idle()
    assert server.arrived == sent  # comparing sends nothing


def test_it_is_there_after_a_reload_and_reads_as_saved_after_a_restart(
    open_notebook: Opener, jupyter: Jupyter, server: MessagesServer
) -> None:
    notebook, _ = compared(open_notebook, server, "saved")
    notebook.save()
    notebook.reload(4, ".ondine-comparison")
    view = view_of(notebook)
    view.get_by_role("tab", name="fixed", exact=False).click()
    expect(view.locator("tr[data-row]")).to_have_count(states()["fixed"])

    saved = json.loads(notebook.path.read_text(encoding="utf-8"))
    outputs = [it for cell in saved["cells"] for it in cell.get("outputs", ())]
    html = "".join(text for it in outputs for text in it.get("data", {}).get("text/html", ()))
    assert "<del>" in html
    assert f"{states()['fixed']} fixed · {states()['broke']} broke" in html


def test_it_fits_narrow_and_wide_in_both_themes(
    open_notebook: Opener, server: MessagesServer, shots: Shots
) -> None:
    word = "A customer of ours writes at some length, that the siren went off at 03:10 and "
    notebook, view = compared(open_notebook, server, word)
    notebook.page.keyboard.press("Control+B")
    view.locator("[data-cell='good/bad']").click()
    expect(view.locator(".chip")).to_be_visible()
    view.locator("tr[data-row]").first.click()
    expect(view.locator("[data-full] .fields")).to_be_visible()
    for theme in notebook.themes():
        for width in notebook.widths(1280, 800, 600):
            notebook.fit(view, width)
            assert view.evaluate("it => it.scrollWidth <= it.clientWidth + 1"), (theme, width)
            shots(view, f"comparison-{theme}-{width}.png")
        assert notebook.page.evaluate(LOW) == [], theme
