"""The panel: what it takes, what its widgets do, in a kernel and where there is none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

import ondine_nb
from ondine_nb.errors import ConfigurationError
from ondine_nb.notebook.workbench.controls import control
from tests.notebook.kernels import KEY, LOAD, Kernel
from tests.notebook.test_front_ends import execute, html_of, notebook, outputs, run
from tests.notebook.test_front_ends import surroundings as surroundings  # a fixture
from tests.patience import PATIENCE
from tests.server import MessagesServer

FRAME = "import pandas as pd\nreviews = pd.DataFrame({'text': [f'r {at}' for at in range(40)]})"
OPEN = (
    "import ondine_nb\n"
    "given = {'tone': ['dry', 'warm']}\n"
    "bench = ondine_nb.panel(reviews, 'Judge {tone}: {text}', given, sample=6)\n"
    "view, numbers = bench.view, iter(range(10**6))\n"
    "def ask(what, **given):\n"
    "    view._hear({'id': str(next(numbers)), 'ask': what, 'given': given})\n"
    "def state():\n"
    "    return view.widget.state\n"
    "bench"
)
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with Kernel(tmp_path_factory.mktemp("kernel"), load=False) as running:
        yield running


@pytest.fixture
def kernel(shared: Kernel, tmp_path: Path, server: MessagesServer) -> Kernel:
    """The kernel of all tests here, each with names, a journal and a server of its own."""
    shared.anew(tmp_path, ANTHROPIC_BASE_URL=server.url)
    for code in (LOAD, FRAME):
        assert shared.run(code).status == "ok"
    return shared


ACTIONS = {"Preview": "preview", "Compare": "compare", "Run all": "run_all"}


def click(kernel: Kernel, name: str) -> None:
    """What the browser says when the button is clicked; one that can't be is waited for."""
    kernel.wait(f"not view.state()['check']['reasons'][{name!r}]")
    assert kernel.run(f"ask({ACTIONS[name]!r})").status == "ok"


def edit(kernel: Kernel, changes: str) -> None:
    """What the browser says when something is typed or chosen."""
    assert kernel.run(f"ask('edit', changes={changes})\nview.wait(300)").status == "ok"


def test_the_models_menu_offers_what_there_are_keys_for(kernel: Kernel) -> None:
    told = (
        "import os\n"
        "from ondine_nb.journal import home\n"
        "from ondine_nb.providers import keep\n"
        "keys = {'ANTHROPIC_FOUNDRY_API_KEY': 'k', 'ANTHROPIC_FOUNDRY_RESOURCE': 'r'}\n"
        "os.environ.update(keys, ANTHROPIC_BASE_URL='')\n"
        "for name in ('foundry', 'aws'):\n"
        "    keep(home(), name, [{'id': 'claude-new-9'}])\n"
    )
    assert kernel.run(told).status == "ok"
    assert kernel.run(OPEN).status == "ok"
    assert kernel.run("for name in keys: del os.environ[name]").status == "ok"
    offered = kernel.value("view.state()['menus']['model']")
    assert offered[0] == "claude-haiku-5-5"
    assert "foundry:claude-new-9" in offered
    assert "aws:claude-new-9" not in offered


# --- controls ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kind", "value"),
    [
        ((1, 5), "IntSlider", 3),
        ((1, 5, 2), "IntSlider", 3),
        ((0.0, 1.0), "FloatSlider", 0.5),
        (["formal", "dry"], "Dropdown", "formal"),
        ({"Formal": "formal"}, "Dropdown", "formal"),
        (True, "Checkbox", True),
        ("plain", "Text", "plain"),
        (7, "IntSlider", 7),
    ],
)
def test_a_control_is_what_interact_would_make_of_it(given: Any, kind: str, value: Any) -> None:
    made = control("tone", given)
    assert (type(made).__name__, made.value, made.description) == (kind, value, "tone")


def test_a_widget_stays_itself_and_what_is_none_is_refused() -> None:
    own = ipywidgets.IntText(4, description="how")
    assert control("tone", own) is own
    assert own.description == "how"
    for given in (object(), None, (5, 1), ipywidgets.HBox()):
        with pytest.raises(ConfigurationError, match="control 'tone'"):
            control("tone", given)


@pytest.mark.parametrize("given", [5, "tone", ["tone"]])
def test_controls_that_are_no_dict_are_refused_in_one_line(given: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=f"a dict of names, .* not {type(given).__name__}$"
    ):
        ondine_nb.panel(pd.DataFrame({"text": ["a"]}), "Say {text}", controls=given)


def test_labels_are_a_column_and_a_name_that_is_none_is_told() -> None:
    frame = pd.DataFrame({"text": ["a"], "mood": ["good"]})
    bench = ondine_nb.panel(frame, "Judge: {text}", labels="mood")
    assert bench.bench.labels == "mood"
    assert "labels: mood" in repr(bench)
    with pytest.raises(ConfigurationError, match=r"no column 'moods': did you mean 'mood'\?"):
        ondine_nb.panel(frame, "Judge: {text}", labels="moods")


# --- in a kernel ---------------------------------------------------------------------------------


def test_it_is_displayed_once_as_widgets_with_a_static_twin(kernel: Kernel) -> None:
    cell = kernel.run(OPEN)
    assert cell.status == "ok", cell.traceback
    shown = [content["data"] for content in cell.of_type("display_data")]
    assert [WIDGET in data for data in shown] == [True, False]
    assert not cell.of_type("execute_result")
    assert shown[1]["text/html"].count('class="ondine-panel-static ') == 1
    assert "%%ondine labeled -i reviews" in shown[1]["text/plain"]
    again = kernel.run("bench")
    assert len(again.of_type("display_data")) == 2
    assert kernel.value("[*view.state()['check']['reasons']]") == [
        "Preview", "Compare", "Run all", "As code",
    ]  # fmt: skip
    assert KEY not in str(kernel.messages)


def test_preview_compare_and_run_all_by_their_buttons(
    kernel: Kernel, server: MessagesServer
) -> None:
    kernel.run(OPEN)
    click(kernel, "Preview")
    kernel.wait("bench.a and bench.a.ended and not bench._work.busy")
    assert server.arrived == 6
    assert "nothing has changed" in kernel.value("view.state()['check']['reasons']['Compare']")
    edit(kernel, "{'controls': {'tone': 1}}")
    click(kernel, "Compare")
    kernel.wait("bench.b and bench.b.ended and not bench._work.busy")
    assert server.arrived == 12
    assert kernel.value("[it['name'] for it in state()['board']['lines']]") == ["v2", "v1"]
    assert kernel.value("state()['board']['lines'][0]['changed']") == [
        {"name": "tone", "removed": "dry", "added": "warm"}
    ]
    click(kernel, "Run all")
    kernel.wait("bench.run and bench.run.state == 'done'")
    kernel.wait("'labeled' in globals()")
    assert kernel.value("(len(labeled), labeled_run is bench.run)") == (40, True)
    assert server.arrived == 12 + 34
    kernel.wait("view.state()['message'][1] == 'labeled: done'")
    code = kernel.value("bench.code")
    assert kernel.run(code).status == "ok"
    assert server.arrived == 46


def test_what_a_method_found_is_saved_before_its_cell_ends(kernel: Kernel) -> None:
    """What comes later is dropped where no person runs the notebook; the forecast comes with it."""
    kernel.run(OPEN)
    edit(kernel, "{'controls': {'tone': 1}}")
    cell = kernel.run("len(await bench.preview_async())")
    assert cell.status == "ok", cell.traceback
    saved = [content["data"]["text/plain"] for content in cell.of_type("update_display_data")]
    assert "v1 | 6 rows" in saved[-1]
    assert "by the answers of 6 rows tried" in saved[-1]


def test_its_methods_do_what_its_buttons_do(kernel: Kernel, server: MessagesServer) -> None:
    kernel.run(OPEN)
    assert kernel.run("len(await bench.preview_async())").status == "ok"
    edit(kernel, "{'controls': {'tone': 1}}")
    assert kernel.run("bench.compare()").status == "ok"
    assert server.arrived == 12
    kernel.wait("len(state()['board']['lines']) == 2")
    assert kernel.value("view.state()['check']['reasons']['Preview']") == ""
    assert kernel.value("state()['busy']") is False
    again = kernel.run("bench.compare()")  # the same once more: B, for nothing
    assert again.status == "ok"
    assert server.arrived == 12
    edit(kernel, "{'controls': {'tone': 0}}")
    assert "nothing has changed since A" in kernel.run("bench.compare()").traceback


def test_the_run_is_displayed_where_the_panel_is(kernel: Kernel) -> None:
    opened = kernel.start(OPEN)
    kernel.finish(opened)
    click(kernel, "Run all")
    kernel.wait("bench.run and bench.run.state == 'done'")
    below = kernel.finish(opened)
    assert below.of_type("display_data")[-1]["data"]["text/plain"].startswith("labeled:")


def test_the_twin_follows_what_is_done(kernel: Kernel) -> None:
    kernel.run(OPEN)
    click(kernel, "Preview")
    kernel.wait("bench.a and bench.a.ended and not state()['busy']")
    kernel.run("view.show_static()")
    twin = kernel.value("view._places[1].id")
    updates = [
        message["content"]
        for message in kernel.messages
        if message["msg_type"] == "update_display_data"
    ]
    mine = [it for it in updates if it["transient"]["display_id"] == twin]
    assert "6 rows" in mine[-1]["data"]["text/html"]


def test_a_prompt_set_by_code_is_checked_like_one_typed(kernel: Kernel) -> None:
    kernel.run(OPEN)
    kernel.run("bench.prompt = 'Tell {txt}'")
    kernel.wait("'Did you mean {text}' in str(state()['check']['says'])")
    assert kernel.value("state()['form']['prompt']") == "Tell {txt}"
    assert kernel.value("state()['check']['reasons']['Preview']")
    kernel.run("bench.prompt = 'Tell {text} to {whom}'")
    kernel.wait("'whom' in state()['check']['free']")
    edit(kernel, "{'texts': {'whom': 'all'}}")
    assert kernel.value("view.state()['check']['reasons']['Preview']") == ""
    assert kernel.value("bench.options") == {"params": {"whom": "all"}}


def test_the_line_opens_a_workbench_with_the_session_s_options(kernel: Kernel) -> None:
    kernel.run("%config OndineMagics.budget = 3\n%config OndineMagics.effort = 'low'")
    cell = kernel.run("%ondine panel reviews --schema 'mood: good|bad'")
    assert cell.status == "ok", cell.traceback
    assert kernel.value("ondine_panel.options") == {
        "budget": 3, "effort": "low", "schema": "mood: good|bad",
    }  # fmt: skip
    assert kernel.value("ondine_panel.view.state()['form']['budget']") == "3"
    wrong = kernel.run("%ondine panel reveiws")
    assert "UsageError" in wrong.error + wrong.text + str(wrong.of_type("stream"))
    assert "Did you mean" in wrong.error + str(wrong.messages)


def test_a_frame_without_a_name_gets_one_that_the_code_can_use(kernel: Kernel) -> None:
    kernel.run("import ondine_nb\nbench = ondine_nb.panel(reviews.head(3), 'Tell {text}')")
    code = kernel.value("bench.code")
    assert "-i panel_data" in code
    cell = kernel.run(code)
    assert cell.card["done"] == "3"


def test_what_can_t_be_meant_is_one_line(kernel: Kernel) -> None:
    for words in ("[1]", "reviews, budgte=2", "reviews, '', {'text': 1}", "reviews, effort='hi'"):
        cell = kernel.run(f"import ondine_nb\nondine_nb.panel({words})")
        assert cell.status == "error", words
        assert len(cell.traceback.splitlines()) == 1, cell.traceback


def test_the_loop_is_free_while_a_large_frame_is_estimated(kernel: Kernel) -> None:
    kernel.run("reviews = pd.concat([reviews] * 2500, ignore_index=True)")
    kernel.run(OPEN)
    kernel.wait("bench.forecast is not None")
    assert "100,000 rows" in kernel.value("bench.forecast.headline")
    assert "by 5,000 of 100,000 rows" in kernel.value("bench.forecast.basis")


# --- without widgets -----------------------------------------------------------------------------


def test_nbconvert_shows_the_facts_and_no_dead_widget(
    tmp_path: Path, surroundings: dict[str, str]
) -> None:
    path = notebook(tmp_path, "%load_ext ondine_nb\n" + FRAME, OPEN)
    execute(path, surroundings)
    assert len(outputs(path, 1)) == 2
    assert "%%ondine labeled -i reviews" in html_of(path, 1)
    page = run(surroundings, "nbconvert", "--to", "html", str(path))
    assert page.returncode == 0, page.stderr
    html = (tmp_path / "made.html").read_text()
    assert html.count('class="ondine-panel-static ') == 1


def test_in_a_terminal_it_is_text_and_its_methods_work(
    shell: InteractiveShell,
    server: MessagesServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    shell.user_ns["reviews"] = pd.DataFrame({"text": [f"r {at}" for at in range(9)]})
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    made = ondine_nb.panel(
        shell.user_ns["reviews"], "Tell {text} {tone}", {"tone": "dry"}, sample=4
    )
    shown = capsys.readouterr().out
    assert "Prompt workbench: reviews (9 rows, 1 columns)" in shown
    assert "%%ondine labeled -i reviews -p tone=dry" in shown
    assert len(made.preview()) == 4
    made.prompt = "Say {text}"
    assert len(made.compare()) == 4
    assert server.arrived == 8
    assert "v2 | 4 rows" in repr(made)


def test_in_a_plain_interpreter_it_is_text_too(tmp_path: Path) -> None:
    code = f"{FRAME}\nimport ondine_nb\nondine_nb.panel(reviews, 'Tell {{text}}', name='reviews')"
    words = [sys.executable, "-c", code]
    ended = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert "%%ondine labeled -i reviews" in ended.stdout
