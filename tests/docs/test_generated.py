"""What the pages say of options, settings, lines and imports is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from ondine_nb.errors import ConfigurationError
from ondine_nb.notebook.arguments import parser
from ondine_nb.notebook.magics import OndineMagics
from ondine_nb.pipeline.options import Options
from tests.docs.generate import PARTS, renewed
from tests.docs.pages import DOCS, PAGES
from tests.evaluation.test_examples import drawn, gold

AGAIN = "run python -m tests.docs.generate"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_generated_parts_are_as_they_would_be_made_now(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == renewed(text), AGAIN


def test_every_part_stands_on_one_page() -> None:
    everything = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    marks = re.findall(r"<!-- generated: ([\w-]+) -->", everything)
    assert sorted(marks) == sorted(PARTS)


def test_the_table_has_every_option_and_its_real_default() -> None:
    table = PARTS["options"]()
    for action in parser()._actions:
        assert all(re.search(f"(`|<code>){flag}\\b", table) for flag in action.option_strings)
    said = re.findall(r"\| `([^`]+)`(?: \w+)? \| `(\w+)` \|$", table, re.MULTILINE)
    assert len(said) > 8
    examples = drawn(gold())
    found = {"shots": examples.shots, "examples_by": examples.by}
    found["max_tokens"] = Options().answer_tokens()
    for default, keyword in said:
        value = found.get(keyword, getattr(Options(), keyword))
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        assert shown.lower() == default, keyword


def test_the_lines_are_those_of_the_magic() -> None:
    with pytest.raises(ConfigurationError, match="no `%ondine nonsense`") as told:
        OndineMagics(InteractiveShell())._line("nonsense")
    names = re.search(r"\(([a-z, ]+)\)", str(told.value))
    assert names
    page = (DOCS / "reference" / "line-magics.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## `%ondine (\w+)", page, re.MULTILINE)) == set(names[1].split(", "))
