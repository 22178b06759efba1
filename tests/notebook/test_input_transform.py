"""How a cell is rewritten, and how far the magic's line goes."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from ondine_nb.notebook.input_transform import install, magic_line

WORDS = st.lists(st.from_regex(r"[-\w$.=]{1,8}", fullmatch=True), min_size=1, max_size=8)


@given(WORDS, st.data())
def test_a_line_means_the_same_wherever_it_is_broken(words: list[str], data: Any) -> None:
    breaks = [data.draw(st.sampled_from((" ", " \\\n", "\\\n    ", " \\ \n"))) for _ in words[1:]]
    text = words[0] + "".join(gap + word for gap, word in zip(breaks, words[1:], strict=True))
    body = data.draw(st.text(st.characters(exclude_characters="\r")))
    assert magic_line(f"{text}\n{body}") == (" ".join(words), body)


def test_a_line_that_nothing_continues_ends_there() -> None:
    assert magic_line("out -i df \\") == ("out -i df", "")


@pytest.fixture
def awaiting(shell: InteractiveShell) -> InteractiveShell:
    """A shell that can await, as in a notebook."""
    shell.kernel = "a kernel"  # type: ignore[attr-defined]
    install(shell)
    return shell


def test_a_continued_cell_magic_is_awaited_whole(awaiting: InteractiveShell) -> None:
    cell = awaiting.transform_cell("%%ondine out \\\n  -i df \\\n  --sample 3\nTell {text}\n")
    assert "run_cell('out -i df --sample 3', 'Tell {text}\\n')" in cell


def test_a_continued_resume_is_awaited_whole_and_what_follows_stays(
    awaiting: InteractiveShell,
) -> None:
    cell = awaiting.transform_cell("%ondine resume labeled \\\n  -i df\nprint(1)\n")
    assert "resume_line('labeled -i df')" in cell
    assert cell.rstrip().endswith("print(1)")


def test_inside_another_magic_the_line_goes_on_too(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.user_ns["df"] = pd.DataFrame({"text": ["a"]})
    shell.run_cell_magic(
        "ondine", "out -i df \\", "  --dry-run --price-in 1 --price-out 1 \\\n -m x\nTell {text}"
    )
    assert "Tell a" in capsys.readouterr().out


@pytest.mark.slow
def test_tab_completes_on_a_continued_line_and_not_in_the_body(shell: InteractiveShell) -> None:
    shell.user_ns["reviews"] = pd.DataFrame({"text": ["a"]})
    for text, offered in {
        "%%ondine out \\\n  --bu": True,
        "%%ondine out -i re \\\n --fresh \\\n--bu": True,
        "%%ondine out\n--bu": False,
        "%%ondine out \\\n -i re\n--bu": False,
    }.items():
        with provisionalcompleter():
            found = [it.text for it in shell.Completer.completions(text, len(text))]
        assert ("--budget" in found) == offered, text


def test_a_frame_without_i_is_answered_with_what_to_write(shell: InteractiveShell) -> None:
    with pytest.raises(UsageError, match="write %%ondine OUT -i reviews"):
        shell.run_cell_magic("ondine", "out reviews", "Tell {text}")


@pytest.mark.parametrize("word", ["help", "--help", "-h"])
def test_help_says_what_to_write(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    shell.run_line_magic("ondine", word)
    said = capsys.readouterr().out
    assert "%%ondine OUT -i FRAME" in said
    for command in ("runs", "stop", "resume", "panel", "cost", "models", "doctor"):
        assert f"%ondine {command}" in said
