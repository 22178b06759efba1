"""The line of `%%ondine`: words, quotes, `$name`, and errors that say what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.errors import ConfigurationError
from ondine_nb.notebook.arguments import (
    HelpRequested,
    candidates,
    parse_line,
    parser,
    resolve_frame,
    split,
    variables,
)
from ondine_nb.notebook.magics import OndineMagics
from ondine_nb.notebook.workbench.as_code import as_code
from ondine_nb.pipeline import OPTIONS, Kind, Option, Surface
from tests.docs.generate import PARTS

DF = pd.DataFrame({"text": ["a", "b"]})
# A backslash in front of a quote is the one thing that a quoted word can't say of itself.
TEXTS = st.text().filter(lambda text: "\\" not in text)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("   ", []),
        ("out -i df", ["out", "-i", "df"]),
        ("out\t-i   df ", ["out", "-i", "df"]),
        ("--schema 'a: x|y, b: int'", ["--schema", "a: x|y, b: int"]),
        ('--system "it\'s"', ["--system", "it's"]),
        (r'--system "say \"hi\""', ["--system", 'say "hi"']),
        ("--system ''", ["--system", ""]),
        ("--column='a b' -x", ["--column=a b", "-x"]),
        ("-i df[df.x == 'a b'] -m m", ["-i", "df[df.x == 'a b']", "-m", "m"]),
        ("-i f({'a b': [1, 2]}) x", ["-i", "f({'a b': [1, 2]})", "x"]),
        ("-i df[(df.a", ["-i", "df[(df.a"]),
        ("a ) b", ["a", ")", "b"]),
        ("-p tone='very nice'", ["-p", "tone='very nice'"]),
        ("'a b'c", ["'a b'c"]),
        (r"--to C:\data\x.csv", ["--to", r"C:\data\x.csv"]),
    ],
)
def test_spaces_separate_words_but_not_in_quotes_or_brackets(line: str, words: list[str]) -> None:
    assert split(line) == words


@pytest.mark.parametrize("line", ["--system 'open", '"', "don't", "-i df['x"])
def test_a_quote_without_an_end_is_told(line: str) -> None:
    with pytest.raises(ConfigurationError, match="a quote has no end"):
        split(line)


@given(st.text(st.characters() | st.sampled_from("\"'\\()[]{} -=$"), max_size=60))
def test_whatever_is_typed_splits_or_is_a_configuration_error(line: str) -> None:
    try:
        words = split(line)
    except ConfigurationError:
        return
    assert all(isinstance(word, str) for word in words)


@given(st.text(st.characters() | st.sampled_from("\"'\\()[]{} -=$%"), max_size=60))
def test_whatever_is_typed_parses_or_is_told_in_one_way(line: str) -> None:
    try:
        parse_line(line, {"df": DF})
    except (ConfigurationError, HelpRequested):
        return


@given(st.lists(TEXTS), st.sampled_from("\"'"))
def test_quoted_words_come_out_as_they_went_in(words: list[str], quote: str) -> None:
    line = " ".join(quote + word.replace(quote, "\\" + quote) + quote for word in words)
    assert split(line) == words


@given(TEXTS.filter(lambda text: not text.startswith(("-", "$"))))
def test_a_quoted_value_reaches_its_option_unchanged(text: str) -> None:
    quoted = '"' + text.replace('"', '\\"') + '"'
    assert parse_line(f"out --system {quoted}", {}) == {"out": "out", "system": text}
    assert parse_line(f"out --system={quoted}", {}) == {"out": "out", "system": text}


def test_only_given_options_are_there_so_that_the_session_s_count_for_the_rest() -> None:
    assert parse_line("-i df --batch", {}) == {"input": "df", "batch": True}
    assert parse_line("out -i df --budget 2 --fresh", {}) == {
        "out": "out",
        "input": "df",
        "budget": "2",
        "fresh": True,
    }


def test_a_dollar_name_is_that_object_wherever_a_value_can_stand() -> None:
    rules, cap, schema = "be short", 2.5, {"type": "object"}
    here = {"rules": rules, "cap": cap, "schema": schema, "df": DF, "tone": ["x"]}
    line = "out -i $df --system $rules --schema $schema --budget $cap -p tone=$tone -p to=me"
    options = parse_line(line, here)
    assert options["input"] is DF
    assert options["schema"] is schema
    assert options["params"]["tone"] is here["tone"]
    assert options["params"]["to"] == "me"
    assert (options["system"], options["budget"]) == (rules, cap)


def test_a_bare_name_stands_for_the_schema_of_that_name() -> None:
    class Answer: ...

    assert parse_line("--schema Answer", {"Answer": Answer})["schema"] is Answer
    assert parse_line("--schema Answer", {})["schema"] == "Answer"


@pytest.mark.parametrize("text", ["$5 at most", "$", "cost in $", "100$"])
def test_a_dollar_that_names_nothing_is_text(text: str) -> None:
    assert parse_line(f"--system '{text}'", {})["system"] == text


def test_nothing_else_is_expanded() -> None:
    line = "--system 'home {HOME} $(ls) `ls` ~ *' -m {model}"
    assert parse_line(line, {"model": "x"}) == {
        "system": "home {HOME} $(ls) `ls` ~ *",
        "model": "{model}",
    }


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--budgt 2", r"there is no option --budgt\. Did you mean --budget\?"),
        ("--budgt=2", r"there is no option --budgt\. Did you mean --budget\?"),
        ("out two --nope", r"there is no option --nope"),
        ("out --system be nice now", r"what is 'nice now'\? A value with spaces stands in quotes"),
        ("--effort", "--effort needs a value"),
        ("-i --fresh", "-i/--input needs a value"),
        ("--bud 2", "there is no option --bud"),
        ("--system $rulez", r"--system: there is no variable 'rulez'.*Did you mean \$rules\?"),
        ("--system $rules.x", r"no variable 'rules\.x'"),
        ("--system $opem", "no variable 'opem' in this notebook.$"),
        ("1x -i df", "'1x' can't be a variable"),
        ("class -i df", "'class' can't be a variable"),
        ("a.b -i df", "'a.b' can't be a variable"),
        ("-p tone", "-p tone: write it like -p tone=friendly"),
        ("-p 1=2", "write it like"),
        ("-p =2", "write it like"),
        ("-p tone=$nope", "no variable 'nope'"),
    ],
)
def test_what_can_t_be_meant_names_what_to_write(line: str, told: str) -> None:
    names: dict[str, Any] = {"rules": 1, "open": open, "In": [], "get_ipython": None}
    with pytest.raises(ConfigurationError, match=told) as raised:
        parse_line(line, names)
    assert "\n" not in str(raised.value)


def test_help_names_every_option_and_wins_over_what_is_missing() -> None:
    with pytest.raises(HelpRequested) as help_text:
        parse_line("-h", {})
    for flag in ("-i FRAME", "--schema", "--budget USD", "--dry-run", "--background", "--quiet"):
        assert flag in str(help_text.value)
    assert str(help_text.value).startswith("usage: %%ondine [OUT] -i FRAME")


def test_line_and_config_offer_what_is_declared_for_them() -> None:
    actions = {action.dest: action for action in parser()._actions}
    assert set(actions) == {each.name for each in OPTIONS.values() if each.on(Surface.CELL)}
    for name, action in actions.items():
        assert tuple(action.option_strings) == OPTIONS[name].flags
        assert (action.metavar or "") == OPTIONS[name].value_name
    traits = OndineMagics.class_own_traits(config=True)
    assert set(traits) == {each.name for each in OPTIONS.values() if each.on(Surface.CONFIG)}
    for name, trait in traits.items():
        assert OPTIONS[name].help in trait.help


def test_an_option_that_is_declared_is_parsed_explained_completed_documented_and_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warmth = Option(
        name="warm_up",
        help="how 100% warm",
        kind=Kind.CHOICE,
        choices=("mild", "hot"),
        default="mild",
        short="-w",
        group="the weather",
    )
    monkeypatch.setitem(OPTIONS, "warm_up", warmth)
    assert parse_line("--warm-up hot", {}) == parse_line("-w hot", {}) == {"warm_up": "hot"}
    with pytest.raises(HelpRequested, match=r"the weather:\n.*mild.hot\s+how 100% warm \(mild\)"):
        parse_line("-h", {})
    with pytest.raises(ConfigurationError, match="Did you mean --warm-up"):
        parse_line("--warm-upp hot", {})
    assert candidates("%%ondine --warm", {}) == ["--warm-up"]
    assert candidates("%%ondine -w h", {}) == ["hot"]
    row = "| `-w`, <code>--warm-up mild&#124;hot</code> | how 100% warm | `mild` | `warm_up` |"
    assert row in PARTS["options"]()
    cell = as_code("out", "df", "{text}", {"warm_up": "hot", "model": "m"}, {}).cell
    assert cell.splitlines()[0] == "%%ondine out -i df -m m -w hot"


def test_the_notebook_s_own_names_are_the_user_s() -> None:
    assert variables({"df": 1, "_x": 1, "In": 1, "Out": 1, "exit": 1, "open": 1}) == ["df"]


# --- -i ------------------------------------------------------------------------------------------


def test_a_frame_is_a_variable_or_an_expression() -> None:
    here = {"df": DF}
    assert resolve_frame("df", here) is DF
    assert resolve_frame(DF, here) is DF
    assert list(resolve_frame("df[df.text == 'a']", here).text) == ["a"]
    assert len(resolve_frame("[row for row in df.text]", here)) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, r"which frame\? Give it with -i FRAME\. DataFrames here: reviews\."),
        ("review", r"no variable 'review'\. DataFrames here: reviews\. Did you mean -i reviews\?"),
        ("1/0", r"'1/0' can't be evaluated \(ZeroDivisionError: division by zero\)"),
        ("reviews[", "can't be evaluated"),
        ("import os", "can't be evaluated"),
        ("", "can't be evaluated"),
    ],
)
def test_a_frame_that_is_not_there_names_those_that_are(text: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        resolve_frame(text, {"reviews": DF, "other": 3, "_hidden": DF})


def test_a_frame_in_the_place_of_the_result_is_told_where_it_goes() -> None:
    with pytest.raises(
        ConfigurationError, match=r"which frame\? 'reviews'.*%%ondine OUT -i reviews"
    ):
        resolve_frame(None, {"reviews": DF}, out="reviews")
    with pytest.raises(ConfigurationError, match=r"Give it as in %ondine panel FRAME"):
        resolve_frame(None, {"reviews": DF}, how="as in %ondine panel FRAME")


def test_help_alone_is_a_wish_for_help() -> None:
    with pytest.raises(HelpRequested, match="usage: %%ondine"):
        parse_line("help", {})
    assert parse_line("help -i reviews", {}) == {"out": "help", "input": "reviews"}


def test_where_there_is_no_frame_yet_that_is_said() -> None:
    with pytest.raises(ConfigurationError, match="There is no DataFrame yet"):
        resolve_frame("df", {})


def test_a_pattern_of_files_is_left_to_whoever_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a b.PDF").write_bytes(b"%PDF-")
    for text in ("scans/*", "**/*.PDF", "scans/a b.PDF", "nowhere/*.png"):
        assert resolve_frame(text, {}) == text
    assert resolve_frame("two * 3", {"two": 2}) == 6
