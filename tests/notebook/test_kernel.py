"""`%%ondine` in real kernels: what is bound, what is paid, what is shown, and how a cell ends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.server import MessagesServer, Servers, echo_of

from .kernels import KEY, Kernel

SETUP = """
import threading, time
import pandas as pd
import polars as pl

def frame(rows, word):
    return pd.DataFrame({'text': [f'{word} {at}' for at in range(rows)]})

def stop_when(name, condition):
    def work():
        while name not in globals() or not condition(globals()[name]):
            time.sleep(0.005)
        globals()[name].stop()
    threading.Thread(target=work, daemon=True).start()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernel")


@pytest.fixture(scope="module")
def shared(place: Path) -> Iterator[Kernel]:
    """The kernel of most tests; each test has names and a server of its own.

    It starts as a person's does, with nothing imported.
    """
    with Kernel(place, forked=False) as kernel:
        assert kernel.run(SETUP).status == "ok"
        yield kernel


@pytest.fixture
def kernel(shared: Kernel) -> Kernel:
    """The same kernel with the session's options as at the start."""
    shared.run(
        "_magics = get_ipython().magics_manager.registry['OndineMagics']\n"
        "for _name, _trait in _magics.class_own_traits(config=True).items():\n"
        "    setattr(_magics, _name, _trait.default())"
    )
    return shared


def cell(line: str, server: MessagesServer, prompt: str = "Tell {text}") -> str:
    return f"%%ondine {line} --base-url {server.url}\n{prompt}"


def most_paid(server: MessagesServer) -> int:
    """How often the prompt that was paid for most often was paid for."""
    server.wait_idle()
    return max(server.ledger.by_prompt().values(), default=0)


# --- what a cell binds ---------------------------------------------------------------------------


def test_a_pandas_cell_binds_a_pandas_frame_with_the_answers_at_the_end(
    kernel: Kernel, serve: Servers
) -> None:
    kernel.run("df = frame(12, 'panda'); df['n'] = range(12); df.index = list('aabbccddeeff')")
    done = kernel.run(cell("labeled -i df", serve()))
    assert (done.status, done.card["state"], done.card["done"]) == ("ok", "done", "12")
    assert kernel.value("type(labeled).__module__.split('.')[0]") == "pandas"
    assert kernel.value("list(labeled.columns)") == ["text", "n", "response"]
    assert kernel.value("labeled.index.equals(df.index)")
    expected = [echo_of(f"Tell panda {at}") for at in range(12)]
    assert kernel.value("list(labeled.response)") == expected
    assert kernel.value("'response' in df") is False
    assert kernel.value("labeled_run.state") == "done"


def test_a_polars_cell_binds_a_polars_frame_with_typed_columns(
    kernel: Kernel, serve: Servers
) -> None:
    kernel.run("lf = pl.DataFrame({'text': [f'bear {at}' for at in range(5)], 'n': range(5)})")
    schema = "'mood: good|bad, score: float, tags: list[str]?'"
    assert kernel.run(cell(f"out_pl -i lf --schema {schema}", serve())).status == "ok"
    assert kernel.value("type(out_pl).__module__.split('.')[0]") == "polars"
    assert kernel.value("[str(kind) for kind in out_pl.dtypes][:2]") == ["String", "Int64"]
    assert kernel.value("out_pl.columns") == ["text", "n", "mood", "score", "tags"]
    assert kernel.value("str(out_pl.schema['mood']).startswith('Enum')")
    assert kernel.value("out_pl['score'].null_count()") == 0


def test_running_a_cell_again_sends_nothing_and_says_that_it_is_from_the_journal(
    kernel: Kernel, serve: Servers
) -> None:
    server = serve()
    kernel.run(cell("again -i frame(7,'again')", server))
    repeated = kernel.run(cell("again -i frame(7,'again')", server))
    assert server.arrived == 7
    assert repeated.card["cost"] in ("0", "0.0")
    assert "7 rows from the journal, $0" in repeated.text
    assert kernel.value("list(again_run.rows.status.unique())") == ["journal"]


def test_only_changed_rows_are_paid_for_again(kernel: Kernel, serve: Servers) -> None:
    server = serve()
    kernel.run("changed = frame(6, 'changed')")
    kernel.run(cell("out_c -i changed", server))
    kernel.run("changed.loc[2, 'text'] = 'new'")
    kernel.run(cell("out_c -i changed", server))
    assert server.arrived == 7
    assert kernel.value("out_c.response[2]") == echo_of("Tell new")


def test_an_empty_frame_gives_an_empty_frame_with_the_new_columns(
    kernel: Kernel, serve: Servers
) -> None:
    server = serve()
    done = kernel.run(cell("empty -i frame(0,'x') --schema 'good: bool'", server))
    assert (done.status, server.arrived) == ("ok", 0)
    assert kernel.value("(len(empty), list(empty.columns))") == (0, ["text", "good"])


def test_without_a_name_the_result_is_in_ondine(kernel: Kernel, serve: Servers) -> None:
    kernel.run(cell("-i frame(2,'nameless')", serve()))
    assert kernel.value("(len(_ondine), _ondine_run.state)") == (2, "done")


def test_the_run_shows_its_card_when_it_is_evaluated(kernel: Kernel, serve: Servers) -> None:
    kernel.run(cell("shown -i frame(3,'shown')", serve()))
    shown = kernel.run("shown_run")
    assert shown.card["state"] == "done"
    assert "3 of 3 rows" in shown.text


# --- stop, interrupt, budget, fatal --------------------------------------------------------------


def test_stop_from_a_thread_ends_the_cell_with_partial_rows_and_nothing_is_paid_twice(
    kernel: Kernel, serve: Servers
) -> None:
    server = serve(latency=0.1)
    kernel.run("stop_when('part_run', lambda run: run.context.done_rows >= 25)")
    ended = kernel.run(cell("part -i frame(300,'part')", server))
    assert ended.status == "ok"
    assert ended.card["state"] == "stopped"
    answered = kernel.value("int(part.response.notna().sum())")
    assert 25 <= answered < 300
    assert kernel.value("len(part)") == 300
    kernel.wait("part_run.state == 'stopped'")
    paid = server.arrived
    again = kernel.run(cell("part -i frame(300,'part')", server))
    assert again.card["done"] == "300"
    assert (server.arrived, most_paid(server)) == (300, 1)
    assert kernel.value("int((part_run.rows.status == 'journal').sum())") == paid


def test_stop_ends_the_cell_while_requests_are_in_flight_and_they_are_kept(
    kernel: Kernel, serve: Servers
) -> None:
    server = serve()
    server.pause()
    kernel.run("stop_when('held_run', lambda run: run.context.metrics.in_flight >= 8)")
    ended = kernel.run(cell("held -i frame(20,'held')", server))
    assert (ended.card["state"], ended.card["done"]) == ("stopping", "0")
    assert kernel.value("int(held.response.notna().sum())") == 0
    server.resume()
    kernel.wait("held_run.state == 'stopped'")
    kernel.run(cell("held -i frame(20,'held')", server))
    assert (server.arrived, most_paid(server)) == (20, 1)


def test_running_again_at_once_waits_for_what_is_still_in_flight_instead_of_paying_twice(
    kernel: Kernel, serve: Servers
) -> None:
    server = serve()
    server.pause()
    kernel.run("stop_when('hasty_run', lambda run: run.context.metrics.in_flight >= 8)")
    kernel.run(cell("hasty -i frame(20,'hasty')", server))
    again = kernel.start(cell("hasty -i frame(20,'hasty')", server))
    time.sleep(0.5)
    server.resume()
    assert kernel.finish(again).card["done"] == "20"
    assert (server.arrived, most_paid(server)) == (20, 1)


def test_an_interrupt_binds_what_is_there_and_is_told_in_one_line(
    kernel: Kernel, serve: Servers
) -> None:
    server = serve(latency=0.1)
    under_way = kernel.start(cell("cut -i frame(300,'cut')", server))
    server.wait_for(60)
    kernel.interrupt()
    ended = kernel.finish(under_way)
    assert (ended.status, ended.reply["ename"]) == ("error", "KeyboardInterrupt")
    assert "\n" not in ended.traceback
    assert "of 300 rows. Run the cell again for the rest" in ended.traceback
    answered = kernel.value("int(cut.response.notna().sum())")
    assert 0 < answered < 300
    assert f"cut has {answered} of 300 rows" in ended.traceback
    assert kernel.run("len(cut)").text == "300\n"
    kernel.wait("cut_run.state == 'stopped'")
    kernel.run(cell("cut -i frame(300,'cut')", server))
    assert (server.arrived, most_paid(server)) == (300, 1)


def test_an_interrupt_ends_the_cell_although_no_answer_ever_comes(
    kernel: Kernel, serve: Servers
) -> None:
    server = serve()
    server.pause()
    under_way = kernel.start(cell("stuck -i frame(20,'stuck')", server))
    server.wait_for(8)
    kernel.interrupt()
    assert kernel.finish(under_way).reply["ename"] == "KeyboardInterrupt"
    assert kernel.run("6 * 7").text == "42\n"
    server.resume()
    kernel.wait("stuck_run.state == 'stopped'")


def test_out_of_budget_ends_the_cell_normally_and_never_spends_more(
    kernel: Kernel, serve: Servers
) -> None:
    server = serve()
    ended = kernel.run(cell("cheap -i frame(60,'cheap') --budget 0.0012 --max-tokens 2000", server))
    assert (ended.status, ended.card["state"]) == ("ok", "stopped")
    assert "out of budget" in ended.text
    answered = kernel.value("int(cheap.response.notna().sum())")
    assert 0 < answered < 60
    assert server.ledger.cost("0.10", "0.50") <= 0.0012
    assert kernel.value("int((cheap_run.rows.status == 'not_run').sum())") == 60 - answered


def test_a_refused_key_binds_the_frame_and_is_told_in_one_line(
    kernel: Kernel, serve: Servers
) -> None:
    server = serve(key="another")
    ended = kernel.run(cell("fatal -i frame(30,'fatal')", server))
    assert (ended.status, ended.reply["ename"]) == ("error", "FatalProviderError")
    assert "\n" not in ended.traceback
    assert "Set ANTHROPIC_API_KEY" in ended.traceback
    assert ended.card["state"] == "failed"
    assert kernel.value("(len(fatal), list(fatal.columns))") == (30, ["text", "response"])
    assert (server.arrived <= 8, server.ledger.requests) == (True, 0)


def test_a_server_that_is_not_there_is_told_in_one_line(kernel: Kernel, serve: Servers) -> None:
    server = serve()
    server.stop()
    ended = kernel.run(cell("nobody -i frame(30,'nobody')", server))
    assert ended.status == "error"
    assert "no server answers at" in ended.traceback
    assert "\n" not in ended.traceback
    assert kernel.value("len(nobody)") == 30


def test_failed_rows_are_values_and_can_be_asked_again(kernel: Kernel, serve: Servers) -> None:
    server = serve(
        plan=lambda body, attempt: "refusal" if "bad" in str(body) and attempt == 1 else None
    )
    kernel.run("some = frame(5, 'good'); some.loc[3, 'text'] = 'bad'")
    ended = kernel.run(cell("tried -i some", server))
    assert (ended.status, ended.card["state"], ended.card["failed"]) == ("ok", "done", "1")
    assert kernel.value("tried_run.errors['row'].tolist()") == [3]
    assert kernel.value("[at for at, it in enumerate(tried.response.isna()) if it]") == [3]
    assert kernel.run("_ = await tried_run.retry_failed()").status == "ok"
    assert kernel.value("int(tried.response.isna().sum())") == 0
    assert kernel.value("(tried_run.is_retry, tried_run.state, len(tried))") == (True, "done", 5)
    assert server.arrived == 6


def test_a_run_in_which_every_row_failed_is_failed(kernel: Kernel, serve: Servers) -> None:
    server = serve(plan=lambda *_: "refusal")
    ended = kernel.run(cell("none -i frame(4,'none')", server))
    assert (ended.card["state"], ended.card["failed"]) == ("failed", "4")


# --- around the cell -----------------------------------------------------------------------------


def test_under_time_the_cell_runs_and_the_time_is_told(kernel: Kernel, serve: Servers) -> None:
    timed = kernel.run("%%time\n" + cell("timed -i frame(5,'timed')", serve()))
    assert (timed.status, timed.card["state"]) == ("ok", "done")
    assert "Wall time" in timed.text
    assert kernel.value("int(timed.response.notna().sum())") == 5


def test_under_time_an_interrupt_binds_what_is_there(kernel: Kernel, serve: Servers) -> None:
    server = serve(latency=0.1)
    under_way = kernel.start("%%time\n" + cell("slow -i frame(300,'slow')", server))
    server.wait_for(60)
    kernel.interrupt()
    ended = kernel.finish(under_way)
    assert ended.reply["ename"] == "KeyboardInterrupt"
    assert "\n" not in ended.traceback
    assert 0 < kernel.value("int(slow.response.notna().sum())") < 300
    kernel.wait("slow_run.state == 'stopped'")
    kernel.run(cell("slow -i frame(300,'slow')", server))
    assert (server.arrived, most_paid(server)) == (300, 1)


def test_under_time_what_can_t_be_run_is_one_line_too(kernel: Kernel, serve: Servers) -> None:
    told = kernel.run("%%time\n" + cell("x -i nope", serve()))
    assert told.status == "error"
    assert "UsageError: -i: there is no variable 'nope'" in told.text


def test_under_capture_nothing_shows_and_the_final_card_is_captured(
    kernel: Kernel, serve: Servers
) -> None:
    silent = kernel.run("%%capture got\n" + cell("caught -i frame(5,'caught')", serve()))
    assert (silent.status, silent.text) == ("ok", "")
    shown = kernel.run("got()")
    assert (shown.card["state"], shown.card["done"]) == ("done", "5")
    assert "widget-view" not in str(shown.of_type("display_data"))
    assert kernel.value("len(caught)") == 5


def test_queued_cells_run_after_it(kernel: Kernel, serve: Servers) -> None:
    server = serve(latency=0.05)
    cells = [
        kernel.start(code)
        for code in (
            cell("queued -i frame(40,'queued')", server),
            "first = len(queued)",
            cell("second -i queued --column again", server, "Once more {response}"),
            "third = list(second.columns)",
        )
    ]
    assert [kernel.finish(it).status for it in cells] == ["ok"] * 4
    assert kernel.value("(first, third)") == (40, ["text", "response", "again"])


def test_background_returns_at_once_and_binds_when_it_is_done(
    kernel: Kernel, serve: Servers
) -> None:
    server = serve()
    server.pause()
    kernel.run("back = 'before'")
    begun = kernel.run(cell("back -i frame(10,'back') --background", server))
    assert begun.status == "ok"
    assert kernel.value("('back' in globals(), back_run.state)") == (False, "running")
    server.resume()
    kernel.wait("'back' in globals()")
    assert kernel.value("(back_run.state, int(back.response.notna().sum()))") == ("done", 10)


def test_a_later_cell_stops_what_runs_in_the_background(kernel: Kernel, serve: Servers) -> None:
    server = serve()
    server.pause()
    kernel.run(cell("later -i frame(50,'later') --background", server))
    server.wait_for(8)
    assert "later" in kernel.run("%ondine").text
    stopped = kernel.run("%ondine stop later")
    assert "8 in flight are finished and kept" in stopped.text
    server.resume()
    kernel.wait("'later' in globals()")
    assert kernel.value("(later_run.state, int(later.response.notna().sum()))") == ("stopped", 8)
    kernel.run(cell("later -i frame(50,'later')", server))
    assert (server.arrived, most_paid(server)) == (50, 1)


def test_a_background_run_that_fails_says_so_and_binds(kernel: Kernel, serve: Servers) -> None:
    server = serve(key="another")
    assert kernel.run(cell("lost -i frame(3,'lost') --background", server)).status == "ok"
    kernel.wait("'lost' in globals()")
    assert kernel.value("lost_run.state") == "failed"
    assert "FatalProviderError" in kernel.run("lost_run").text


@pytest.mark.parametrize("module", ["nest_asyncio", "nest_asyncio2"])
def test_after_nest_asyncio_is_applied_cells_run_stop_and_queue(
    place: Path, serve: Servers, module: str
) -> None:
    server = serve(latency=0.1)
    with Kernel(place) as kernel:
        kernel.run(f"{SETUP}\nimport {module}; {module}.apply()")
        kernel.run(f"stop_when('part_run', lambda run: run.context.done_rows >= 20)\nw='{module}'")
        part = kernel.start(cell("part -i frame(200,w)", server))
        after = kernel.start("answered = int(part.response.notna().sum())")
        assert kernel.finish(part).status == "ok"
        assert kernel.finish(after).status == "ok"
        assert 20 <= kernel.value("answered") < 200
        kernel.wait("part_run.state == 'stopped'")
        server.pause(at=110)
        under_way = kernel.start(cell("part -i frame(200,w)", server))
        server.wait_for(100)
        kernel.interrupt()
        server.resume()
        assert kernel.finish(under_way).reply["ename"] == "KeyboardInterrupt"
        kernel.wait("part_run.state == 'stopped'")
        done = kernel.run(cell("part -i frame(200,w)", server))
        assert (done.card["state"], server.arrived, most_paid(server)) == ("done", 200, 1)


def test_after_a_kill_the_same_cell_pays_only_what_was_in_flight(
    tmp_path: Path, serve: Servers
) -> None:
    server = serve(latency=0.05)
    with Kernel(tmp_path) as kernel:
        kernel.run(SETUP)
        # In flight by the kernel's own count: what left the server may not be durable yet.
        in_flight = 30
        server.pause(at=130)  # so it can't end first
        kernel.start(cell(f"killed -i frame(300,'killed') --concurrency {in_flight}", server))
        server.wait_for(120)
        kernel.kill_and_restart()
        server.resume()
        kernel.run(SETUP)
        done = kernel.run(cell("killed -i frame(300,'killed')", server))
        assert (done.card["state"], done.card["done"]) == ("done", "300")
        assert kernel.value("int(killed.response.notna().sum())") == 300
        by_prompt = server.ledger.by_prompt()
        assert len(by_prompt) == 300
        assert sum(by_prompt.values()) - 300 <= in_flight
        assert "from journal" in done.text


# --- what can't be run ---------------------------------------------------------------------------

WRONG = {
    "an unknown column": ("x -i df", "Tell {txet}", "Did you mean {text}?"),
    "no such frame": ("x -i dff", "Tell {text}", "Did you mean -i df?"),
    "no frame": ("x", "Tell {text}", "which frame?"),
    "no columns": ("x -i df[[]]", "Tell {text}", "has no columns"),
    "doubled columns": ("x -i pd.concat([df,df],axis=1)", "Tell {text}", "more than one column"),
    "a prompt without a column": ("x -i df", "Tell me", "names no column"),
    "an empty prompt": ("x -i df", "", "prompt is empty"),
    "a format": ("x -i df", "{text:.2f}", "{{text:.2f}}"),
    "a bad schema": ("x -i df --schema 'a: foo'", "Tell {text}", "unknown type 'foo'"),
    "an existing column": ("x -i df --column text", "Tell {text}", "--overwrite"),
    "an unknown option": ("x -i df --budgte 1", "Tell {text}", "Did you mean --budget?"),
    "a value without quotes": ("x -i df --system be nice", "Tell {text}", "stands in quotes"),
    "a bad name": ("1x -i df", "Tell {text}", "can't be a variable"),
    "an unknown price": ("x -i df -m new --budget 1", "Tell {text}", "--price-in"),
    "an expression that raises": ("x -i df.nope", "Tell {text}", "can't be evaluated"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_can_t_be_run_is_one_clear_line_and_changes_nothing(
    kernel: Kernel, serve: Servers, wrong: str
) -> None:
    line, prompt, told = WRONG[wrong]
    server = serve()
    kernel.run("df = frame(3, 'df'); x = 'as it was'; globals().pop('x_run', None)")
    ended = kernel.run(cell(line, server, prompt))
    assert (ended.status, ended.reply["ename"]) == ("error", "UsageError")
    lines = ended.text.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("UsageError: ")
    assert told in lines[0]
    assert ended.traceback == ""
    assert kernel.value("(x, 'x_run' in globals())") == ("as it was", False)
    assert server.calls.total() == 0


# --- options -------------------------------------------------------------------------------------


def test_values_behind_a_dollar_are_the_notebook_s_objects(kernel: Kernel, serve: Servers) -> None:
    server = serve()
    kernel.run(
        "import pydantic\n"
        "class Mood(pydantic.BaseModel):\n    good: bool\n    why: str\n"
        "rules, cap, tone, source = 'Be short. {text} \"x\"', 0.5, 'kind', frame(3, 'dollar')"
    )
    line = "moods -i $source --schema $Mood --system $rules --budget $cap -p tone=$tone"
    done = kernel.run(cell(line, server, "In a {tone} way: {text}"))
    assert done.status == "ok", done.text
    assert kernel.value("list(moods.columns)") == ["text", "good", "why"]
    assert kernel.value("str(moods.good.dtype)") == "boolean"
    assert server.requests[0].body["system"] == 'Be short. {text} "x"'
    assert {it.prompt for it in server.requests} == {
        f"In a kind way: dollar {at}" for at in range(3)
    }
    assert kernel.value("str(moods_run.pipeline.options.budget)") == "0.5"


def test_nothing_in_a_prompt_is_expanded(kernel: Kernel, serve: Servers) -> None:
    server = serve()
    prompt = 'JSON like {"a": 1} or {{x}}, $rules, {text}, !ls, %who, \\n, "quotes"'
    kernel.run("rules = 'never'")
    assert kernel.run(cell("raw -i frame(1,'raw')", server, prompt)).status == "ok"
    expected = prompt.replace("{text}", "raw 0").replace("{{x}}", "{x}")
    assert server.requests[0].prompt == expected


def test_config_is_the_session_s_default(kernel: Kernel, serve: Servers) -> None:
    server = serve()
    kernel.run(f"%config OndineMagics.base_url = '{server.url}'")
    kernel.run("%config OndineMagics.system = 'Be brief.'")
    kernel.run("%%ondine conf -i frame(2,'conf')\nTell {text}")
    assert {it.body["system"] for it in server.requests} == {"Be brief."}
    assert kernel.value("conf_run.state") == "done"


def test_a_dry_run_shows_cost_and_prompts_and_sends_nothing(kernel: Kernel, serve: Servers) -> None:
    server = serve()
    kernel.run("dry = 'as it was'; globals().pop('dry_run_run', None)")
    shown = kernel.run(cell("dry -i frame(40,'dry') --dry-run", server))
    assert shown.status == "ok"
    for fact in ("nothing was sent", "rows: 40", "cost: about $", "ceiling", "Tell dry 0"):
        assert fact in shown.text
    assert "ondine-run" not in shown.html
    assert "Tell dry 0" in shown.html
    assert (server.arrived, kernel.value("dry")) == (0, "as it was")
    assert kernel.value("'dry_run' in globals()") is False


def test_a_dry_run_under_time_shows_the_same(kernel: Kernel, serve: Servers) -> None:
    shown = kernel.run("%%time\n" + cell("dry -i frame(4,'dry') --dry-run", serve()))
    assert shown.status == "ok"
    assert "rows: 4" in shown.text


def test_help_is_text_and_needs_neither_frame_nor_prompt(kernel: Kernel) -> None:
    for code in ("%%ondine --help", "%%ondine -h\n", "%%ondine x --help\nTell {text}"):
        shown = kernel.run(code)
        assert shown.status == "ok"
        assert "usage: %%ondine [OUT] -i FRAME" in shown.text


def test_quiet_shows_nothing_but_binds(kernel: Kernel, serve: Servers) -> None:
    shown = kernel.run(cell("quiet -i frame(3,'quiet') --quiet", serve()))
    assert (shown.status, shown.text, shown.of_type("comm_open")) == ("ok", "", [])
    assert kernel.value("len(quiet)") == 3


def test_quiet_still_tells_a_fatal_failure(kernel: Kernel, serve: Servers) -> None:
    told = kernel.run(cell("hush -i frame(3,'hush') --quiet", serve(key="another")))
    assert "Set ANTHROPIC_API_KEY" in told.traceback


def test_a_sample_is_the_same_rows_each_time(kernel: Kernel, serve: Servers) -> None:
    server = serve()
    for _ in range(2):
        kernel.run(cell("few -i frame(100,'few') --sample 6", server))
    assert (server.arrived, kernel.value("len(few)")) == (6, 6)


def test_fresh_asks_anew(kernel: Kernel, serve: Servers) -> None:
    server = serve()
    kernel.run(cell("new -i frame(3,'fresh')", server))
    kernel.run(cell("new -i frame(3,'fresh') --fresh", server))
    assert server.arrived == 6


# --- the card ------------------------------------------------------------------------------------


def test_the_final_card_replaces_the_live_one_and_no_widget_is_left(
    kernel: Kernel, serve: Servers
) -> None:
    server = serve(latency=0.05)
    done = kernel.run(cell("view -i frame(60,'view')", server))
    (live,) = done.of_type("display_data")
    final = done.of_type("update_display_data")[-1]
    assert live["transient"]["display_id"] == final["transient"]["display_id"]
    assert "application/vnd.jupyter.widget-view+json" in live["data"]
    assert set(final["data"]) == {"text/html", "text/plain"}
    opened = {it["comm_id"] for it in done.of_type("comm_open")}
    assert opened == {it["comm_id"] for it in done.of_type("comm_close")}


def test_a_redraw_comes_at_most_ten_times_a_second_however_fast_the_rows_are(
    kernel: Kernel, serve: Servers
) -> None:
    begun = time.monotonic()
    done = kernel.run(cell("fast -i frame(400,'fast')", serve()))
    seconds = time.monotonic() - begun
    values = [
        it["data"]["state"]["value"]
        for it in done.of_type("comm_msg")
        if "ondine-run" in it["data"].get("state", {}).get("value", "")
    ]
    assert values
    assert len(values) <= 10 * seconds + 3


def test_markup_in_data_and_answers_stays_text(kernel: Kernel, serve: Servers) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    server = serve(answer=lambda body: evil, latency=0.1)
    kernel.run(f"evil = pd.DataFrame({{'text': [{evil!r} + str(at) for at in range(60)]}})")
    done = kernel.run(cell("out_e -i evil", server))
    assert done.status == "ok"
    shown = str([it["data"] for it in done.of_type("comm_msg")]) + done.html
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown
    assert "<img" not in shown


# --- secrets and imports -------------------------------------------------------------------------


def _holds_the_key(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and "runtime" not in path.parts and KEY.encode() in path.read_bytes()
    ]


def test_the_key_is_sent_to_the_server_and_to_nobody_else(tmp_path: Path, serve: Servers) -> None:
    server = serve()
    kernel = Kernel(tmp_path)
    with kernel:
        kernel.run(SETUP)
        kernel.run(cell("ok -i frame(4,'key')", server))
        kernel.run(cell("bad -i frame(4,'key')", serve(key="another")))
        kernel.run(cell("echoed -i frame(4,'key')", serve(answer=lambda body: "fine")))
        for code in ("ok_run", "bad_run", "%ondine", "%ondine doctor", "%ondine models", "%tb"):
            kernel.run(code)
        kernel.run(cell("x -i nope", server))
    assert KEY in server.requests[0].headers["authorization"]
    assert KEY not in repr(kernel.messages)
    assert KEY.removeprefix("sk-ant-") not in repr(kernel.messages)
    assert _holds_the_key(tmp_path) == []
    assert any((tmp_path / "ondine").iterdir())


class Quoting(BaseHTTPRequestHandler):
    """A gateway that quotes the key in its error: 401 where the path says so, else 400."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status, kind = (400, "invalid_request_error") if "400" in self.path else (
            401, "authentication_error")  # fmt: skip
        said = f"bad key {self.headers['authorization']} {self.headers['x-api-key']}"
        error = {"type": "error", "error": {"type": kind, "message": said}}
        body = json.dumps(error).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def quoting() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quoting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("path", ["/401", "/400"])
def test_a_server_that_quotes_the_key_does_not_get_it_shown(
    kernel: Kernel, quoting: str, path: str
) -> None:
    before = len(kernel.messages)
    line = f"%%ondine quoted -i frame(3,'quoted') --base-url {quoting}{path}\nTell {{text}}"
    kernel.run(line)
    kernel.run("quoted_run")
    kernel.run("print(quoted_run.errors.to_dict(), quoted_run.error)")
    assert "bad key" in repr(kernel.messages[before:])
    assert KEY not in repr(kernel.messages[before:])


def test_what_takes_time_is_imported_beside_the_cells_that_follow(tmp_path: Path) -> None:
    heavy = ("anthropic", "pandas", "polars", "pyarrow", "genai_prices", "aiohttp", "pydantic")
    with Kernel(tmp_path, load=False, forked=False) as kernel:
        check = f"import sys; print([name for name in {heavy} if name in sys.modules])"
        assert kernel.run(f"import ondine_nb; {check}").text == "[]\n"
        held = "import ondine_nb.notebook as warming; kept = warming._import_all"
        assert kernel.run(f"{held}; warming._import_all = lambda: None").text == ""
        assert kernel.run("%load_ext ondine_nb").text == ""
        assert kernel.run(check).text == "[]\n"
        assert kernel.run("%ondine").status == "ok"
        assert kernel.run(check).text == "[]\n"
        assert "which frame?" in kernel.run("%%ondine x\nTell {text}").text
        assert kernel.run(check).text == "[]\n"
        assert kernel.run("warming._import_all = kept; warming.warm_up().join()").text == ""
        assert "anthropic" in kernel.run(check).text
        assert "pandas" not in kernel.run(check).text
