"""Tab in a cell of ours: flags, frames, models, values, variables, commands; elsewhere nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from ondine_nb.notebook.arguments import candidates, in_prompt
from ondine_nb.providers import keep

NAMES: dict[str, Any] = {
    "reviews": pd.DataFrame({"a": [1]}),
    "rows": pl.DataFrame({"a": [1]}),
    "rules": "be short",
    "_reviews": pd.DataFrame({"a": [1]}),
    "open": open,
}


def test_a_dash_offers_the_flags_that_start_so() -> None:
    assert candidates("%%ondine out --bu", NAMES) == ["--budget"]
    assert set(candidates("%%ondine --f", NAMES)) == {"--fresh", "--fail-above", "--fetch"}
    assert {"-i", "-m", "-p", "-h", "--schema"} <= set(candidates("%%ondine -", NAMES))


def test_a_flag_that_is_there_already_is_not_offered_again() -> None:
    assert candidates("%%ondine --budget 2 --bu", NAMES) == []


@pytest.mark.parametrize("flag", ["-i", "--input"])
def test_behind_i_stand_the_frames_pandas_and_polars(flag: str) -> None:
    assert candidates(f"%%ondine out {flag} ", NAMES) == ["reviews", "rows"]
    assert candidates(f"%%ondine out {flag} re", NAMES) == ["reviews"]


@pytest.mark.parametrize(
    ("before", "offered"),
    [
        ("-m claude-h", ["claude-haiku-5-5"]),
        ("--model claude-o", ["claude-opus-5-5"]),
        ("--effort ", ["low", "medium", "high", "xhigh", "max"]),
        ("--thinking a", ["auto"]),
        ("--on-error s", ["stop"]),
        ("--concurrency ", ["auto"]),
        ("--budget ", []),
    ],
)
def test_behind_a_flag_stand_its_values(before: str, offered: list[str]) -> None:
    assert candidates(f"%%ondine out {before}", NAMES) == offered


def test_a_dollar_offers_the_user_s_own_variables() -> None:
    assert candidates("%%ondine --system $ru", NAMES) == ["$rules"]
    assert candidates("%%ondine --system $", NAMES) == ["$reviews", "$rows", "$rules"]


def _offered(shell: InteractiveShell, code: str) -> tuple[list[str], list[str]]:
    """What Tab at the end of `code` offers: texts, and how the line looks with each of them."""
    shell.Completer.use_jedi = False  # costs seconds, and says nothing about us
    with provisionalcompleter():
        found = list(shell.Completer.completions(code, len(code)))
    return [it.text for it in found], [code[: it.start] + it.text for it in found]


def test_tab_in_a_shell_completes_the_whole_flag(shell: InteractiveShell) -> None:
    assert "%%ondine out --budget" in _offered(shell, "%%ondine out --bu")[1]
    assert _offered(shell, "%%ondine out --bu")[0] == ["--budget"]


def test_tab_in_a_shell_completes_frames_and_models(shell: InteractiveShell) -> None:
    shell.user_ns.update(NAMES)
    assert _offered(shell, "%%ondine out -i re")[1] == ["%%ondine out -i reviews"]
    lines = _offered(shell, "%%ondine out -m claude-son")[1]
    assert lines == ["%%ondine out -m claude-sonnet-5-5"]
    assert _offered(shell, "%ondine do")[1] == ["%ondine doctor"]


def test_tab_completes_prefixes_and_the_names_of_the_last_lists(
    shell: InteractiveShell, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.user_ns["own"] = object()
    assert _offered(shell, "%%ondine out -m mis")[1] == ["%%ondine out -m mistral:"]
    assert _offered(shell, "%%ondine out -m $ow")[1] == ["%%ondine out -m $own"]
    monkeypatch.setenv("ANTHROPIC_FOUNDRY_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_FOUNDRY_RESOURCE", "r")
    listed = [{"id": "claude-new-9"}, {"id": "claude-old-1", "lifecycle": "retired"}]
    keep(home, "foundry", [*listed, {"id": "claude-embed-1"}])
    keep(home, "anthropic", listed)
    told = _offered(shell, "%%ondine out -m foundry:claude")[1]
    assert told == ["%%ondine out -m foundry:claude-new-9"]
    assert "claude-new-9" in _offered(shell, "%%ondine out -m claude-n")[0]
    monkeypatch.delenv("ANTHROPIC_FOUNDRY_API_KEY")  # then it can't be asked
    assert candidates("%%ondine out -m foundry:c", shell.user_ns) == []


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("-i shots\nWhat is {ph", ["{photo", "{photos taken"]),
        ("--quiet -i shots \\\n --fresh\nWhat is\n{n} {photos t", ["{photos taken"]),
        (
            "-i shots\nWhat is {photo:",
            ["{photo:image", "{photo:images", "{photo:pdf", "{photo:file"],
        ),
        ("-i shots\nWhat is {photo:p", ["{photo:pdf"]),
        ("-i 'a.csv'\nWhat is {photo:im", ["{photo:image", "{photo:images"]),
        ("-i shots --jinja\nIs {{ photo | im", ["{{ photo | image", "{{ photo | images"]),
    ],
)
def test_tab_in_a_prompt_completes_columns_and_the_forms_of_files(
    shell: InteractiveShell, typed: str, offered: list[str]
) -> None:
    shell.user_ns["shots"] = pd.DataFrame({"photo": ["a"], "photos taken": [1], "n": [2]})
    before = "%%ondine out " + typed[: typed.rfind("{{" if "{{" in typed else "{")]
    _, lines = _offered(shell, f"%%ondine out {typed}")
    assert lines == sorted(before + each for each in offered)  # IPython sorts them


@pytest.mark.parametrize("typed", ["Tell {{ph", "Tell {n} ph", '{"a": {"n', "{n:x}", "a | im"])
def test_other_braces_of_a_prompt_offer_nothing(typed: str) -> None:
    names = {"shots": pd.DataFrame({"photo": ["a"], "n": [2]})}
    assert in_prompt("%%ondine out -i shots", typed, names)[0] == []


def test_a_prompt_s_text_and_other_cells_are_left_to_ipython(shell: InteractiveShell) -> None:
    shell.user_ns.update(NAMES)
    assert "--budget" not in _offered(shell, "%%ondine out -i reviews\nTell --bu")[0]
    assert "--budget" not in _offered(shell, "%%time --bu")[0]
    assert "reviews" in _offered(shell, "len(rev")[0]
