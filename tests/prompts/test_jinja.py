"""`--jinja`: prompts in Jinja2, in its sandbox, over the same values as the usual templates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb import Pipeline
from ondine_nb.errors import PromptError
from ondine_nb.prompts.jinja import JinjaTemplate
from ondine_nb.prompts.template import Template, as_text
from tests.asking import Asker, statuses, texts
from tests.server import MessagesServer, echo_of


@pytest.fixture
def asker(server: MessagesServer, home: Path) -> Asker:
    return Asker(server, home)


COLUMNS = ["text", "stars", "product name", "note"]


def rendered(prompt: str, *values: object, **params: object) -> str | None:
    return text_of(JinjaTemplate.compile(prompt, COLUMNS, params, "reviews"), values)


def text_of(template: Template | JinjaTemplate, values: Sequence[object]) -> str | None:
    made = template.render(values)
    assert made is None or made.is_text
    return None if made is None else made.text


def test_conditions_loops_and_filters_see_the_rows_values() -> None:
    assert rendered("{{ text }}{% if stars > 3 %}!{% endif %}", "fine", 4) == "fine!"
    assert rendered("{% for word in text.split() %}[{{ word }}]{% endfor %}", "a b") == "[a][b]"
    assert rendered("{{ '%.1f'|format(stars) }} {{ text|upper }}", "a", 2) == "2.0 A"
    assert rendered("{{ text[:3] }}{# not said #}", "abcdef") == "abc"


def test_what_loops_over_a_struct_meets_its_keys_in_one_order() -> None:
    rows = [{"b": [{"d": 1, "c": 2}], "a": 2}, {"a": 3, "b": [{"c": 4, "d": 5}]}]
    prompt = "{% for key in text %}{{ key }}={{ text[key] }} {% endfor %}{{ text.b[0]|list|join }}"
    expected = ['a=2 b=[{"c": 2, "d": 1}] cd', 'a=3 b=[{"c": 4, "d": 5}] cd']
    template = JinjaTemplate.compile(prompt, ["text"])
    for values in (rows, pl.Series(rows).to_list()):
        assert [text_of(template, [value]) for value in values] == expected


def test_columns_are_those_that_the_prompt_names_in_the_frames_order() -> None:
    template = JinjaTemplate.compile("{{ stars }} {{ text }} {{ row['product name'] }}", COLUMNS)
    assert template.columns == ("text", "stars", "product name")
    assert text_of(template, ["a", 1, "pen"]) == "1 a pen"
    whole = JinjaTemplate.compile("{% for name in row %}{{ row[name] }};{% endfor %}", COLUMNS)
    assert whole.columns == tuple(COLUMNS)
    assert text_of(whole, ["a", 1, "pen", None]) == "a;1;pen;;"


def test_a_column_may_be_called_row_or_like_one_of_jinjas_own_names() -> None:
    template = JinjaTemplate.compile("{{ row }} {{ range }}", ["row", "range"])
    assert text_of(template, ["a", "b"]) == "a b"


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, np.datetime64("NaT")])
def test_a_missing_value_is_none_to_a_condition_and_empty_text_to_the_eye(missing: object) -> None:
    assert rendered("{{ text }}{% if note %} ({{ note }}){% endif %}", "a", missing) == "a"
    assert rendered("{{ text }}:{{ note }}", "a", missing) == "a:"
    assert rendered("{{ text }} {{ note }}", missing, missing) is None


values = st.one_of(
    st.text(), st.integers(), st.booleans(), st.floats(), st.dates(), st.lists(st.integers())
)


@given(value=values)
def test_a_value_has_the_text_that_it_has_in_the_usual_templates(value: object) -> None:
    usual = text_of(Template.compile("<{text}>", COLUMNS), [value])
    assert rendered("<{{ text }}>", value) == usual


@given(data=st.text())
def test_what_stands_in_the_data_is_never_read_as_a_template(data: str) -> None:
    hostile = f"{{{{ 7 * 7 }}}}{data}{{% if %}}"
    assert rendered("<{{ text }}>", hostile) == f"<{as_text(hostile)}>"


@given(head=st.text("ab \n{}"), tail=st.text("ab \n{}"), value=st.text())
def test_every_prompt_begins_with_its_head_and_ends_with_its_tail(
    head: str, tail: str, value: str
) -> None:
    around = [f"{{% raw %}}{part}{{% endraw %}}" for part in (head, tail)]
    template = JinjaTemplate.compile(f"{around[0]}{{{{ text }}}}{around[1]}", COLUMNS)
    prompt = text_of(template, [value])
    assert prompt is not None
    assert prompt.startswith(template.head)
    assert prompt.endswith(template.tail)
    assert len(template.head) + len(template.tail) <= len(prompt)


def test_the_head_ends_at_the_first_thing_that_a_row_bears_on() -> None:
    template = JinjaTemplate.compile("Judge. {% if stars %}x{% endif %}{{ text }} End.", COLUMNS)
    assert (template.head, template.tail) == ("Judge. ", " End.")
    assert JinjaTemplate.compile("{% set n = 1 %}a{{ text }}", COLUMNS).head == ""


@pytest.mark.parametrize(
    ("prompt", "params", "said"),
    [
        ("{{ txet }}", {}, "Column 'txet' is not in `reviews` (text, stars, product name, note)"),
        ("{{ txet }}", {}, "Did you mean {{ text }}?"),
        ("{{ row['txet'] }}", {}, "Did you mean {{ text }}?"),
        ("{% if text %}", {}, "no Jinja2 template (line 1: "),
        ("{{ text|shout }}", {}, "No filter named 'shout'"),
        ("{{ text|random }}", {}, "No filter named 'random'"),
        ("{{ text }}{{ lipsum() }}", {}, "Column 'lipsum' is not in"),
        ("{{ text }}\n{% include 'x' %}", {}, "Line 2 of the prompt wants another template"),
        ("{% extends 'x' %}{{ text }}", {}, "wants another template"),
        ("Tell me", {}, "names no column of `reviews`"),
        ("", {}, "names no column"),
        ("{{ tone }}", {"tone": "dry"}, "names no column"),
        ("{{ text }}", {"tone": "dry"}, "Parameter 'tone' is not used: write {{ tone }}"),
        ("{{ text }}", {"text": "dry"}, "has the name of a column"),
    ],
)
def test_what_cant_be_meant_is_said_before_anything_is_sent(
    prompt: str, params: dict[str, object], said: str
) -> None:
    with pytest.raises(PromptError) as raised:
        JinjaTemplate.compile(prompt, COLUMNS, params, "reviews")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_column_that_stands_twice_is_an_error() -> None:
    with pytest.raises(PromptError, match="stands twice"):
        JinjaTemplate.compile("{{ a }}", ["a", "a"])


@pytest.mark.parametrize(
    "prompt",
    ["{{ text.__class__.__mro__ }}", "{{ text.nothing }}", "{{ text + 1 }}", "{{ stars / 0 }}"],
)
def test_what_fails_for_a_row_is_that_rows_error(prompt: str) -> None:
    template = JinjaTemplate.compile(prompt, COLUMNS)
    with pytest.raises(PromptError, match="can't be rendered for this row"):
        template.render(["a"] * len(template.columns))


def test_params_are_variables() -> None:
    assert rendered("{{ tone }} {{ text }}", "a", tone="dry") == "dry a"
    shots = [{"q": "1", "a": "x"}]
    assert rendered(
        "{% for s in shots %}{{ s.q }}{{ s.a }}{% endfor %}{{ text }}", "b", shots=shots
    )


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_pandas_and_polars_give_the_same_prompts(asker: Asker, kind: type) -> None:
    data = kind({"day": [dt.date(2026, 1, 2), None], "tags": [["a"], ["b", "c"]]})
    prompt = "{% if day %}On {{ day }}: {% endif %}{{ tags|join('+') }}"
    run = asker.run(data, prompt, jinja=True)
    said = [echo_of("On 2026-01-02: a"), echo_of("b+c")]
    assert list(run.frame["response"]) == said


def test_one_bad_row_fails_alone_and_a_missing_one_is_skipped(asker: Asker) -> None:
    data = pd.DataFrame({"text": ["a", None, "b"], "n": [1, None, 0]})
    run = asker.run(data, "{{ text }} {{ 1 / n }}", jinja=True)
    assert statuses(run) == ["answered", "skipped", "failed"]
    assert "division" in run.errors["message"].iloc[0]


def test_a_run_in_jinja_goes_on_after_a_kernels_death(asker: Asker, home: Path) -> None:
    run = asker.run(texts(3), "Tell {{ text }}", jinja=True)
    again = Pipeline.resume(
        run.id, texts(3), journal=asker.pipeline(texts(1)).journal, base_url=asker.server.url
    )
    assert again.pipeline.options.jinja
    assert list(again.execute().data["response"]) == list(run.frame["response"])


def test_an_unchanged_prompt_is_not_paid_again_whichever_way_it_was_written(asker: Asker) -> None:
    asker.run(texts(3), "Tell: {text}")
    again = asker.run(texts(3), "Tell: {{ text }}", jinja=True)
    assert statuses(again) == ["journal"] * 3
