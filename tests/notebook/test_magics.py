"""The magics in a shell of this process: usage errors, session options, `%ondine`, the rewrite."""

from __future__ import annotations

import asyncio
import threading
import weakref
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from traitlets import TraitError

from ondine_nb.notebook.arguments import parser
from ondine_nb.notebook.card import answers
from ondine_nb.notebook.magics import OndineMagics
from ondine_nb.notebook.session import CellRequest, _Record
from ondine_nb.stages.batch import BatchPolicy
from ondine_nb.stages.batch import plan as batching
from tests.server import MessagesServer, echo_of
from tests.server import rules as server_rules

HELD = ("out", "help", "param")


@pytest.fixture
def magics(shell: InteractiveShell) -> OndineMagics:
    shell.user_ns["df"] = pd.DataFrame({"text": ["a", "b"], "price": [1.5, 2.0]})
    found: OndineMagics = shell.magics_manager.registry["OndineMagics"]
    return found


def request_of(magics: OndineMagics, line: str, cell: str = "Say {text}") -> CellRequest:
    request = magics._request(line, cell)
    assert request is not None
    return request


# --- loading -------------------------------------------------------------------------------------


def test_loading_twice_registers_once(shell: InteractiveShell) -> None:
    before = len(shell.configurables), len(shell.input_transformer_manager.cleanup_transforms)
    shell.run_line_magic("reload_ext", "ondine_nb")
    shell.run_line_magic("load_ext", "ondine_nb")
    after = len(shell.configurables), len(shell.input_transformer_manager.cleanup_transforms)
    assert after == before


# --- usage errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "prompt", "told"),
    [
        ("x -i nope", "Say {text}", "no variable 'nope'"),
        ("x", "Say {text}", "which frame?"),
        ("x -i df", "Say {txet}", "Did you mean {text}?"),
        ("x -i df", "Say it", "names no column"),
        ("x -i df", "", "prompt is empty"),
        ("x -i df", "{price:.2f}", "{{price:.2f}}"),
        ("x -i df", "{text!r}", "{{text!r}}"),
        ("x -i df", "{text.upper}", "{{text.upper}}"),
        ("x -i df[[]]", "Say {text}", "has no columns"),
        (
            "x -i pd.concat([df,df],axis=1)",
            "Say {text}",
            "more than one column named 'price', 'text'",
        ),
        ("x -i df.text", "Say {text}", "Series"),
        ("x -i [1]", "Say {text}", "not a dict: give dicts"),
        ("x -i df --column text", "Say {text}", "--overwrite"),
        ("x -i df --schema 'a: foo'", "Say {text}", "unknown type 'foo'"),
        ("x -i df --schema '{}'", "Say {text}", ""),
        ("x -i df --schema 'price: float'", "Say {text}", "already has a column 'price'"),
        ("x -i df --budget much", "Say {text}", "--budget"),
        ("x -i df --budget -1", "Say {text}", "--budget"),
        ("x -i df --concurrency 0", "Say {text}", "--concurrency is 0"),
        ("x -i df --max-tokens 1.5", "Say {text}", "--max-tokens is 1.5"),
        ("x -i df --sample none", "Say {text}", "--sample is none"),
        ("x -i df --effort hgih", "Say {text}", "Did you mean 'high'?"),
        ("x -i df --timeout 0", "Say {text}", "--timeout is 0"),
        ("x -i df --on-error ignore", "Say {text}", "--on-error"),
        ("x -i df --base-url localhost:80", "Say {text}", "not a URL"),
        ("x -i df -m no-such --budget 1", "Say {text}", "--price-in"),
        ("x -i df --nope", "Say {text}", "no option --nope"),
    ],
)
def test_what_can_t_be_run_is_a_usage_error_of_one_line(
    shell: InteractiveShell, magics: OndineMagics, line: str, prompt: str, told: str
) -> None:
    shell.user_ns["pd"], shell.user_ns["x"] = pd, "as it was"
    with pytest.raises(UsageError) as raised:
        shell.run_cell_magic("ondine", line, prompt)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
    assert (shell.user_ns["x"], "x_run" in shell.user_ns) == ("as it was", False)


def test_the_awaited_cell_tells_the_same(shell: InteractiveShell, magics: OndineMagics) -> None:
    with pytest.raises(UsageError, match=r"Did you mean \{text\}"):
        asyncio.run(magics.run_cell("x -i df", "Say {txet}"))


# --- the session's budget ------------------------------------------------------------------------


def test_runs_of_a_session_share_its_budget_and_raising_it_lets_them_go_on(
    shell: InteractiveShell, magics: OndineMagics
) -> None:
    shell.user_ns["many"] = pd.DataFrame({"text": [f"text {at}" for at in range(60)]})
    with MessagesServer() as server:
        line = f"-i many --quiet --base-url {server.url}"
        shell.run_line_magic("config", "OndineMagics.session_budget = 0.001")
        for name, start in (("one", 0), ("two", 30)):
            shell.user_ns["many"] = pd.DataFrame({"text": [f"text {at}" for at in range(60)]})
            shell.run_cell_magic("ondine", f"{name} {line}", f"Say {{text}} {start}")
        assert server.ledger.cost("0.1", "0.5") <= Decimal("0.001")
        assert shell.user_ns["two_run"].state == "stopped"
        said = shell.user_ns["two_run"].context.metrics.message
        assert "%config OndineMagics.session_budget" in said
        shell.run_line_magic("config", "OndineMagics.session_budget = 1")
        shell.run_cell_magic("ondine", f"two {line}", "Say {text} 30")
        assert shell.user_ns["two_run"].state == "done"
        with pytest.raises(UsageError, match="or no session_budget"):
            shell.run_cell_magic("ondine", f"x {line} -m unheard-of", "Say {text}")


def test_a_cell_goes_by_a_batch_by_its_flag_or_for_the_whole_session(
    magics: OndineMagics, shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "PACE", BatchPolicy(first=0.02, longest=0.1))
    with MessagesServer() as server:
        line = f"-i df --base-url {server.url} --quiet"
        shell.run_cell_magic("ondine", f"one {line} --batch", "Say {text}")
        shell.run_line_magic("config", "OndineMagics.batch = True")
        shell.run_cell_magic("ondine", f"two {line}", "Tell {text}")
        assert server.batches.calls["POST batches"] == 2
        assert server.arrived == 0
    assert list(shell.user_ns["one"]["response"]) == [echo_of("Say a"), echo_of("Say b")]


def test_a_session_budget_that_is_no_amount_changes_nothing(magics: OndineMagics) -> None:
    magics.session_budget = 2
    with pytest.raises(TraitError, match="'much' is not an amount in USD"):
        magics.session_budget = "much"
    assert magics._session.budget.ceiling == 2
    magics.session_budget = None
    assert magics._session.budget.ceiling is None


# --- session options -----------------------------------------------------------------------------


def test_every_option_has_a_traitlet_of_its_name() -> None:
    options = {action.dest for action in parser()._actions} - set(HELD)
    assert options | {"params", "session_budget"} == set(OndineMagics.class_own_traits(config=True))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input", "df"),
        ("model", "claude-sonnet-5-5"),
        ("schema", "good: bool"),
        ("column", "answer"),
        ("overwrite", True),
        ("budget", 5),
        ("concurrency", 3),
        ("max_tokens", 50),
        ("effort", "low"),
        ("thinking", "auto"),
        ("system", "be short"),
        ("params", {"tone": "kind"}),
        ("sample", 1),
        ("dry_run", True),
        ("background", True),
        ("fresh", True),
        ("timeout", 7),
        ("on_error", "stop"),
        ("cache", "off"),
        ("base_url", "http://127.0.0.1:9"),
        ("price_in", 1),
        ("price_out", 2.5),
        ("quiet", True),
    ],
)
def test_config_sets_the_default_of_an_option_and_the_cell_wins(
    shell: InteractiveShell, magics: OndineMagics, name: str, value: Any
) -> None:
    shell.run_line_magic("config", f"OndineMagics.{name} = {value!r}")
    line = "out" if name == "input" else "out -i df"
    assert request_of(magics, line).options[name] == value
    if name in ("dry_run", "background", "fresh", "quiet", "overwrite", "input", "params"):
        return
    flag = "--" + name.replace("_", "-")
    assert request_of(magics, f"out -i df {flag} other").options[name] == "other"


def test_params_of_the_session_and_of_the_cell_add_up(magics: OndineMagics) -> None:
    magics.params = {"tone": "kind", "to": "you"}
    request = request_of(magics, "out -i df -p to=me")
    assert request.options["params"] == {"tone": "kind", "to": "me"}
    assert magics.params == {"tone": "kind", "to": "you"}


def test_session_options_reach_the_pipeline(magics: OndineMagics) -> None:
    magics.budget, magics.max_tokens, magics.system = 5, 50, "be short"
    options = request_of(magics, "out -i df").pipeline().options
    assert (options.budget, options.max_tokens, options.system) == (5, 50, "be short")


def test_the_prompt_is_the_body_without_the_lines_around_it(magics: OndineMagics) -> None:
    assert request_of(magics, "-i df", "\n\n  Say {text}\n\nTwice\n").prompt == (
        "  Say {text}\n\nTwice"
    )


def test_without_a_name_the_result_is_ondine(magics: OndineMagics) -> None:
    assert request_of(magics, "-i df").out == "_ondine"


# --- a run in this process -----------------------------------------------------------------------


def test_a_shell_that_can_t_await_runs_the_cell_in_a_thread(
    shell: InteractiveShell,
    magics: OndineMagics,
    server: MessagesServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shell.run_cell(f"%%ondine out -i df --base-url {server.url}\nSay {{text}}", store_history=False)
    assert list(shell.user_ns["out"].columns) == ["text", "price", "response"]
    assert shell.user_ns["out_run"].state == "done"
    assert "2 of 2 rows" in capsys.readouterr().out
    shell.run_line_magic("ondine", "")
    listed = capsys.readouterr().out
    assert "out " in listed
    assert "done" in listed
    assert "2 of 2 rows" in listed


def test_what_the_last_card_shows_of_many_rows_or_pictures_is_made_off_the_loop(
    server: MessagesServer,
    shell: InteractiveShell,
    magics: OndineMagics,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = list[bool]()

    def count(run: Any) -> Any:
        made.append(threading.current_thread() is threading.main_thread())
        return counted(run)

    counted = answers._counted
    monkeypatch.setattr(answers, "_counted", count)
    asyncio.run(magics.run_cell(f"x -i df --base-url {server.url}", "Say {text}"))
    assert "rows" in capsys.readouterr().out
    assert made == [False]


def test_quiet_prints_nothing(
    shell: InteractiveShell,
    magics: OndineMagics,
    server: MessagesServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shell.run_cell_magic("ondine", f"out -i df --quiet --base-url {server.url}", "Say {text}")
    assert shell.user_ns["out_run"].state == "done"
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_help_sends_nothing_and_needs_no_frame(
    shell: InteractiveShell, magics: OndineMagics, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_cell_magic("ondine", "--help", "")
    assert "usage: %%ondine" in capsys.readouterr().out


# --- %ondine -------------------------------------------------------------------------------------


def test_without_a_run_the_list_says_so(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_line_magic("ondine", "runs")
    assert "No run in this session yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("stpo", "Did you mean `%ondine stop`?"),
        ("out -i df", "start a cell with %%ondine"),
        ("stop", "no run is under way"),
        ("stop out", "no run is under way"),
    ],
)
def test_a_command_that_can_t_be_meant_is_a_usage_error(
    shell: InteractiveShell, line: str, told: str
) -> None:
    with pytest.raises(UsageError) as raised:
        shell.run_line_magic("ondine", line)
    assert told in str(raised.value)


class StillRunning:
    """A run that is under way, as far as `%ondine stop` looks at it."""

    def __init__(self, name: str, state: str = "running") -> None:
        self.name, self.id, self.state, self.stopped = name, f"id-{name}", state, 0
        self.context = self
        self.metrics, self.in_flight = self, 3

    def stop(self) -> None:
        self.stopped += 1


@pytest.mark.parametrize(
    ("line", "stopped"),
    [
        ("stop", (1, 1)),
        ("stop a", (1, 0)),
        ("stop b_run", (0, 1)),
        ("stop id-b", (0, 1)),
    ],
)
def test_stop_takes_a_name_an_id_or_all(
    shell: InteractiveShell,
    magics: OndineMagics,
    capsys: pytest.CaptureFixture[str],
    line: str,
    stopped: tuple[int, int],
) -> None:
    runs = StillRunning("a"), StillRunning("b", "paused")
    magics._session._records = [_Record(weakref.ref(run)) for run in runs]
    shell.run_line_magic("ondine", line)
    assert (runs[0].stopped, runs[1].stopped) == stopped
    assert "nothing more is sent, 3 in flight are finished and kept" in capsys.readouterr().out


def test_stopping_a_run_that_is_not_there_names_those_that_are(
    shell: InteractiveShell, magics: OndineMagics
) -> None:
    run = StillRunning("a")
    magics._session._records = [_Record(weakref.ref(run))]
    with pytest.raises(UsageError, match="no run 'b' is under way, but a"):
        shell.run_line_magic("ondine", "stop b")
    assert run.stopped == 0


def test_doctor_tells_versions_and_places_but_no_secret(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-api03-not-to-be-seen")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://me:not-@-to-be-seen@gateway.example/v1")
    shell.run_line_magic("ondine", "doctor")
    told = capsys.readouterr().out
    for fact in ("ondine_nb", "Python", "ipykernel", "journal folder", "present (ANTHROPIC_API"):
        assert fact in told
    assert "http://gateway.example/v1" in told
    assert "to-be-seen" not in told
    assert "ondine_nb                   not installed" not in told


def test_doctor_takes_a_model_and_what_says_where_it_is(
    shell: InteractiveShell, server: MessagesServer, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_line_magic("ondine", f"doctor -m claude-haiku-5-5 --base-url {server.url}")
    assert "usage reported" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"doctor takes --model, .* not --budget"):
        shell.run_line_magic("ondine", "doctor -m claude-haiku-5-5 --budget 3")


def test_doctor_names_damaged_journals_that_are_kept_aside(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    shell.run_line_magic("ondine", "doctor")
    assert "damaged journals" not in capsys.readouterr().out
    home.mkdir(parents=True, exist_ok=True)
    for name in ("damaged-answers.db", "damaged-live-1-ab.db", "damaged-live-1-ab.db-wal"):
        (home / name).touch()
    shell.run_line_magic("ondine", "doctor")
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "damaged j" in line]
    assert told.split(None, 2)[2].startswith("damaged-answers.db, damaged-live-1-ab.db (kept")


def test_models_lists_what_the_server_offers_with_prices(
    shell: InteractiveShell,
    magics: OndineMagics,
    server: MessagesServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    magics.base_url = server.url
    shell.run_line_magic("ondine", "models")
    told = capsys.readouterr().out
    assert "claude-haiku-5-5" in told
    assert "$0.1 in, $0.5 out" in told.replace("0.10", "0.1").replace("0.50", "0.5")


def test_models_without_the_network_are_those_of_the_last_list_with_its_date(
    shell: InteractiveShell,
    magics: OndineMagics,
    server: MessagesServer,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ending(model: str) -> dict[str, Any]:
        ends = {"lifecycle": "retired", "retires_at": "2026-09-01T00:00:00Z"}
        return told_before(model) | (ends if "opus" in model else {})

    told_before = server_rules._model_info
    monkeypatch.setattr(server_rules, "_model_info", ending)
    magics.base_url = server.url
    shell.run_line_magic("ondine", "models")
    asked = capsys.readouterr().out
    assert asked.splitlines()[-1].startswith("claude-opus-5-5")
    assert asked.rstrip().endswith("retired 01 Sep 2026, answers no more")
    assert "1,000,000 tokens in, 128,000 out" in asked
    server.stop()
    shell.run_line_magic("ondine", "models")
    told = capsys.readouterr().out
    assert told.startswith("The list can't be had: ")
    assert f"As of {datetime.now():%d %b %Y}:\n{asked}" in told
    magics.base_url = "http://127.0.0.1:9"
    shell.run_line_magic("ondine", "models")
    assert "By the price table:\n" in capsys.readouterr().out


def test_cost_tells_what_was_paid_by_run_model_and_day_and_writes_it_exactly(
    shell: InteractiveShell,
    magics: OndineMagics,
    server: MessagesServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shell.run_line_magic("ondine", "cost")
    assert "Nothing was paid yet" in capsys.readouterr().out
    shell.run_cell_magic("ondine", f"out -i df --quiet --base-url {server.url}", "Say {text}")
    run = shell.user_ns["out_run"]
    shell.run_line_magic("ondine", "cost")
    told = capsys.readouterr().out
    for part in (f"out ({run.id})", "By model\n  claude-haiku-5-5", "By day", "for 2 answers"):
        assert part in told
    assert told.count(f"${run.cost:f}".rstrip("0")) == 4
    shell.run_line_magic("ondine", f"cost {tmp_path / 'paid.csv'}")
    assert f"{run.id},out,claude-haiku-5-5," in (tmp_path / "paid.csv").read_text()
    with pytest.raises(UsageError, match=r"doesn't end in \.csv"):
        shell.run_line_magic("ondine", f"cost {tmp_path / 'paid.xlsx'}")


# --- the rewrite ---------------------------------------------------------------------------------


class Kernel:
    """Enough of a kernel that a cell can be awaited."""


@pytest.mark.parametrize(
    "cell",
    [
        "%%ondine out -i df\nSay {text}\n",
        "\n\n%%ondine out -i df\nSay {text}\n",
        "  %%ondine out -i df\n  Say {text}\n",
        "%%ondine   out -i df   \nSay {text}",
    ],
)
def test_in_a_kernel_the_cell_becomes_an_await(
    shell: Any, monkeypatch: pytest.MonkeyPatch, cell: str
) -> None:
    monkeypatch.setattr(shell, "kernel", Kernel(), raising=False)
    made = shell.transform_cell(cell)
    assert made.startswith("await get_ipython()")
    assert "'out -i df'" in made


@pytest.mark.parametrize(
    "cell",
    [
        "%%time\n%%ondine out -i df\nSay {text}\n",
        "%%ondiner out\nx\n",
        "%ondine runs\n",
        "x = '''\n%%ondine out\n'''\n",
    ],
)
def test_other_cells_stay_as_they_are(
    shell: Any, monkeypatch: pytest.MonkeyPatch, cell: str
) -> None:
    monkeypatch.setattr(shell, "kernel", Kernel(), raising=False)
    assert "await" not in shell.transform_cell(cell)


def test_quotes_and_backslashes_survive_the_rewrite(
    shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "kernel", Kernel(), raising=False)
    body = "Say '''{text}''' \"\"\" \\n \\\\ {{x}} ünï\u2028 \\\n"
    made = shell.transform_cell(f"%%ondine out -i df --system 'a\"b'\n{body}")
    caught: list[Any] = []

    class Registry:
        class magics_manager:  # noqa: N801
            registry = {  # noqa: RUF012
                "OndineMagics": type("M", (), {"run_cell": lambda _, *got: caught.extend(got)})()
            }

    exec(made.removeprefix("await "), {"get_ipython": Registry})
    assert caught == ["out -i df --system 'a\"b'", body]


def test_where_autoawait_is_off_the_cell_is_left_to_the_magic(
    shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "kernel", Kernel(), raising=False)
    shell.autoawait = False
    assert "await" not in shell.transform_cell("%%ondine out -i df\nSay {text}\n")
