"""`%ondine resume` in real kernels: after a SIGKILL the line goes on with the run, as told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.server import MessagesServer, Servers, echo_of

from .kernels import Kernel, cards_in, environment
from .test_front_ends import Terminal

ROWS = 200
AT_ONCE = 20
FRAME = f"""
import pandas as pd
reviews = pd.DataFrame(
    {{'text': [f'review {{at}}' for at in range({ROWS})]}}, index=range({ROWS}, 0, -1)
)
"""


def cell(server: MessagesServer, more: str = "") -> str:
    return (
        f"%%ondine labeled -i reviews --concurrency {AT_ONCE} --base-url {server.url} {more}\n"
        "Tell {text}"
    )


def killed_in_mid_run(kernel: Kernel, server: MessagesServer, more: str = "") -> None:
    """A run, and the kernel's SIGKILL in the middle of it; the new kernel has the frame again."""
    kernel.run(FRAME)
    server.pause(at=110)  # so it can't end first
    kernel.start(cell(server, more))
    server.wait_for(100)
    kernel.kill_and_restart()
    server.resume()
    kernel.run(FRAME)


def is_whole(kernel: Kernel, name: str = "labeled") -> bool:
    assert kernel.value(f"list({name}.index)") == list(range(ROWS, 0, -1))
    answers = kernel.value(f"list({name}.response)")
    return bool(answers == [echo_of(f"Tell review {at}") for at in range(ROWS)])


def paid_again(server: MessagesServer) -> int:
    server.wait_idle()
    by_prompt = server.ledger.by_prompt()
    assert len(by_prompt) == ROWS
    return sum(by_prompt.values()) - ROWS


def test_after_a_kill_the_line_goes_on_and_binds_frame_and_run(
    tmp_path: Path, serve: Servers
) -> None:
    server = serve(latency=0.05)
    with Kernel(tmp_path) as kernel:
        killed_in_mid_run(kernel, server, "--budget 1")
        resumed = kernel.run("%ondine resume labeled")
        assert resumed.status == "ok", resumed.traceback
        assert (resumed.card["state"], resumed.card["done"]) == ("done", str(ROWS))
        assert is_whole(kernel)
        assert paid_again(server) <= AT_ONCE
        run = "labeled_run"
        assert kernel.value(f"({run}.name, {run}.state, str({run}.pipeline.options.budget))") == (
            "labeled",
            "done",
            "1",
        )
        assert kernel.value(f"{run}.context.journal_rows") >= 100 - AT_ONCE
        assert "labeled" in kernel.run("%ondine runs").text


def test_its_card_is_live_until_the_static_one(tmp_path: Path, serve: Servers) -> None:
    server = serve(latency=0.2)
    with Kernel(tmp_path) as kernel:
        killed_in_mid_run(kernel, server)
        resumed = kernel.run("%ondine resume labeled")
        states = [
            card["state"]
            for message in kernel.messages
            for html in _html_in(message["content"])
            for card in cards_in(html)
        ]
        assert "running" in states
        assert (states[-1], resumed.card["state"]) == ("done", "done")


def test_under_time_it_goes_on_and_the_time_is_told(tmp_path: Path, serve: Servers) -> None:
    server = serve(latency=0.05)
    with Kernel(tmp_path) as kernel:
        killed_in_mid_run(kernel, server)
        for line in ("%time %ondine resume labeled", "%%time\n%ondine resume labeled"):
            resumed = kernel.run(line)
            assert resumed.status == "ok", resumed.traceback
            assert "Wall time" in resumed.text
            assert is_whole(kernel)
        assert paid_again(server) <= AT_ONCE


def test_an_interrupt_binds_what_is_there_and_the_next_line_goes_on(
    tmp_path: Path, serve: Servers
) -> None:
    server = serve(latency=0.2)
    with Kernel(tmp_path) as kernel:
        killed_in_mid_run(kernel, server)
        came = server.arrived
        line = kernel.start("%ondine resume labeled")
        server.wait_for(came + 1)
        kernel.interrupt()
        assert kernel.finish(line).reply["ename"] == "KeyboardInterrupt"
        assert kernel.value("len(labeled)") == ROWS
        kernel.wait("labeled_run.state == 'stopped'")
        assert kernel.run("%ondine resume labeled").card["state"] == "done"
        assert is_whole(kernel)
        assert paid_again(server) <= AT_ONCE


def test_the_frame_may_have_another_name_and_other_frames_are_refused(
    tmp_path: Path, serve: Servers
) -> None:
    server = serve(latency=0.02)
    with Kernel(tmp_path) as kernel:
        killed_in_mid_run(kernel, server)
        kernel.run("other = reviews; fewer = reviews.head(9); del reviews")
        came = server.arrived
        wrong = {
            "%ondine resume labeled": "reviews",
            "%ondine resume labeled -i fewer": "fewer is not the frame of this run: it has 9 rows",
            "%ondine resume labelled -i other": "Did you mean labeled?",
            "%ondine resume": "resume",
            "%ondine resume labeled --budgte 1": "--budget",
        }
        for line, told in wrong.items():
            refused = kernel.run(line)
            assert refused.reply["ename"] == "UsageError", (line, refused.reply)
            assert told in refused.error
            assert "\n" not in refused.error
        assert server.arrived == came
        assert kernel.run("%ondine resume labeled -i other").card["state"] == "done"
        assert is_whole(kernel)


def test_in_terminal_ipython_it_goes_on_too(tmp_path: Path, serve: Servers) -> None:
    server = serve(latency=0.05)
    surroundings = environment(tmp_path, ANTHROPIC_BASE_URL=server.url)
    with Kernel(tmp_path) as kernel:
        killed_in_mid_run(kernel, server)
    terminal = Terminal(surroundings)
    for line in (
        "import pandas as pd",
        f"reviews = pd.DataFrame({{'text': [f'review {{at}}' for at in range({ROWS})]}})",
        "%load_ext ondine_nb",
    ):
        terminal.run(line)
    assert f"{ROWS} of {ROWS} rows" in terminal.run("%ondine resume labeled")
    told = terminal.run("'bound', len(labeled), labeled.response.notna().sum(), labeled_run.state")
    terminal.close()
    assert re.search(rf"'bound', {ROWS}, .*\b{ROWS}\b.*, 'done'", told), told
    assert paid_again(server) <= AT_ONCE


def test_what_stands_in_a_text_is_no_line(tmp_path: Path) -> None:
    with Kernel(tmp_path) as kernel:
        assert kernel.run("text = '''\n%ondine resume labeled\n'''").status == "ok"
        assert kernel.value("text") == "\n%ondine resume labeled\n"
        told = kernel.run("print(1)\n%ondine resume labeled\nprint(2)")
        assert told.text.startswith("1\nUsageError: no run 'labeled' is recorded")
        assert "2" not in told.text


def _html_in(content: dict[str, Any]) -> Iterator[str]:
    """The HTML of a message: shown, or set in a widget."""
    data = content.get("data", {})
    if "text/html" in data:
        yield str(data["text/html"])
    state = data.get("state", {}) if isinstance(data, dict) else {}
    if "value" in state:
        yield str(state["value"])
