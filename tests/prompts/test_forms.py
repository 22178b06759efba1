"""Pictures and documents stand in a prompt where their forms stand, in both kinds of templates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.data import Media
from ondine_nb.errors import MissingFileError, PromptError
from ondine_nb.models import Part, Prompt
from ondine_nb.prompts import JinjaTemplate, Template
from ondine_nb.prompts.forms import FORMS

COLUMNS = ["photo", "photos", "note", "the scan", "a:image", "odd}name"]


def read(form: str, value: Any) -> Sequence[Part]:
    """A part for each value, known by form and value."""
    if value is None:
        return ()
    if value == "gone":
        raise MissingFileError("'gone' isn't there")
    values = value if isinstance(value, list) else [value]
    return [Media("image", "image/png", sha256=f"{form}-{each}") for each in values]


def part(form: str, value: str) -> Media:
    return Media("image", "image/png", sha256=f"{form}-{value}")


def rendered(text: str, **row: Any) -> Prompt | None:
    template = Template.compile(text, COLUMNS).reading(read)
    return template.render([row.get(name) for name in template.columns])


def refused(text: str, params: dict[str, Any] | None = None) -> str:
    with pytest.raises(PromptError) as caught:
        Template.compile(text, COLUMNS, params or {}, "cards")
    return str(caught.value)


def jinja(text: str, **row: Any) -> Prompt | None:
    template = JinjaTemplate.compile(text, COLUMNS).reading(read)
    return template.render([row.get(name) for name in template.columns])


def test_parts_stand_in_the_order_of_the_prompt() -> None:
    made = rendered("Is {photo:image} like {photos:images}? {note}", photo="p", photos=["a", "b"])
    assert made == Prompt(
        "Is ", part("image", "p"), " like ", part("images", "a"), part("images", "b"), "? "
    )


def test_a_column_is_read_in_each_form_that_names_it() -> None:
    made = rendered("{photo}: {photo:file}{photo:image}", photo="p")
    assert made == Prompt("p: ", part("file", "p"), part("image", "p"))


def test_names_with_spaces_colons_and_braces_take_forms_and_whole_names_go_first() -> None:
    assert rendered("{the scan:pdf}", **{"the scan": "s"}) == Prompt(part("pdf", "s"))
    assert rendered("{a:image}", **{"a:image": "text"}) == Prompt("text")
    assert rendered("{a:image:image}", **{"a:image": "p"}) == Prompt(part("image", "p"))
    assert rendered("{odd}name:image}", **{"odd}name": "p"}) == Prompt(part("image", "p"))


def test_what_is_scanned_is_the_name_and_the_place_with_its_form() -> None:
    text = "See {photo:image} {note} {x:pdf} {photo:img}"
    found = Template.scan(text, COLUMNS)
    assert [(text[start:end], name) for start, end, name in found] == [
        ("{photo:image}", "photo"),
        ("{note}", "note"),
        ("{x:pdf}", "x"),
    ]


def test_a_missing_value_is_no_part_and_a_row_of_nothing_is_skipped() -> None:
    assert rendered("{photo:image} {note}", note="n") == Prompt(" n")
    assert rendered("{photo:image} {note}") is None
    assert rendered("Look: {photos:images}", photos=[]) is None
    assert jinja("Look: {{ photo | image }}") is None


def test_the_other_braces_of_a_prompt_stay_as_they_are() -> None:
    made = rendered('{"a": {photo:image}} {{photo:image}} {1:image}', photo="p")
    assert made == Prompt('{"a": ', part("image", "p"), "} {photo:image} {1:image}")


def test_what_is_no_form_or_no_column_is_refused_with_the_remedy() -> None:
    assert "with :image :images :pdf :file behind the name" in refused("{photo:img}")
    assert "Did you mean {photo:image}?" in refused("{foto:image}")
    assert "For literal braces write {{foto:image}}." in refused("{foto:image}")
    assert "'logo' is a parameter, which is a text" in refused("{note}{logo:image}", {"logo": "x"})


def test_an_error_names_the_column() -> None:
    with pytest.raises(MissingFileError, match=r"^photo: 'gone' isn't there$"):
        rendered("{photo:image}", photo="gone")
    with pytest.raises(MissingFileError, match=r"'gone' isn't there$"):
        jinja("{{ photo | image }}", photo="gone")


def test_a_template_that_no_run_has_names_what_it_does_not_read() -> None:
    for template in (
        Template.compile("See {photo:image}", COLUMNS),
        JinjaTemplate.compile("See {{ photo | image }}", COLUMNS),
    ):
        assert template.render(["p"]) == Prompt("See [image]")


def test_both_kinds_say_which_forms_they_have() -> None:
    assert Template.compile("{photo:image}{note}", COLUMNS).forms == (("image", "photo"),)
    text = "{{ photo | pdf }}{% for p in photos %}{{ p | image }}{% endfor %}"
    assert JinjaTemplate.compile(text, COLUMNS).forms == (("pdf", "photo"), ("image", "p"))
    assert Template.compile("{note}", COLUMNS).forms == ()


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("A {{ photo | image }} B", Prompt("A ", part("image", "p"), " B")),
        (
            "{% for it in photos %}{{ loop.index }}{{ it | image }}{% endfor %}",
            Prompt("1", part("image", "a"), "2", part("image", "b")),
        ),
        (
            "{{ photos | map('image') | join(' and ') }}",
            Prompt(part("image", "a"), " and ", part("image", "b")),
        ),
        (
            "{% macro show(it) %}<{{ it | image }}>{% endmacro %}{{ show(photo) }}",
            Prompt("<", part("image", "p"), ">"),
        ),
        (
            "{% set it = photo | image %}{{ it }}{{ it }}",
            Prompt(part("image", "p"), part("image", "p")),
        ),
        ("{{ row['photo'] | image ~ '!' }}", Prompt(part("image", "p"), "!")),
    ],
)
def test_jinjas_filters_place_parts(text: str, made: Prompt) -> None:
    assert jinja(text, photo="p", photos=["a", "b"]) == made


@pytest.mark.parametrize("form", FORMS)
def test_a_filter_behind_a_picture_is_refused(form: str) -> None:
    with pytest.raises(PromptError, match=f"'upper' stands behind '{form}' in line 1"):
        jinja(f"{{{{ photo | {form} | upper }}}}", photo="p")
    with pytest.raises(PromptError, match="something was made of a picture"):
        jinja(f"{{% filter upper %}}{{{{ photo | {form} }}}}{{% endfilter %}}", photo="p")


@given(st.text(max_size=40), st.sampled_from(FORMS), st.text(max_size=10))
def test_no_value_can_pass_for_a_part(value: str, form: str, more: str) -> None:
    """A value is text whatever it says, and no text beside a part makes another prompt's key."""
    told = f"{value}{{photo:{form}}}{more}"
    made = rendered(f"{{note}}{{photo:{form}}}", note=told, photo="p")
    assert made == Prompt(told, part(form, "p"))
    shown = jinja(f"{{{{ note }}}}{{{{ photo | {form} }}}}", note=told, photo="p")
    assert shown == made
    alone = Prompt(made.key_bytes.decode("utf-8", "replace"))
    assert made.key_bytes not in (alone.key_bytes, Prompt(told + "image-p").key_bytes)
