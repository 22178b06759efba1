"""The static comparison: reads well without style, escapes, and says right and wrong in words."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import ondine_nb
from tests.notebook.ended_runs import EVIL

from .two_runs import two_runs


class _Words(HTMLParser):
    """The text of a page, without its style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self._styled = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._styled = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._styled = False

    def handle_data(self, data: str) -> None:
        if not self._styled:
            self.words.append(data)


def words_of(html: str) -> str:
    return " ".join(" ".join(_Words(html).words).split())


def test_it_says_all_of_it_in_words(tmp_path: Path) -> None:
    view = ondine_nb.compare(*two_runs(tmp_path), field="urgency", labels="gold")
    said = words_of(view.static())
    assert view.test.sentence in said
    counts = view.comparison.tabs
    assert f"{counts['fixed']} fixed · {counts['broke']} broke" in said
    assert "✓ right" in said
    assert "✗ wrong" in said
    assert "label ↓ answer → low medium high" in said
    assert "20 more rows" in said
    assert "<del>Give a reason</del>" in view.static()
    assert view._repr_html_() == view.static()


def test_without_labels_it_says_on_how_many_rows_they_agree(tmp_path: Path) -> None:
    view = ondine_nb.compare(*two_runs(tmp_path))
    assert f"No row has a label. The answers: {view.comparison.agreement}" in words_of(
        view.static()
    )


def test_markup_of_data_prompts_and_answers_is_text(tmp_path: Path) -> None:
    evil = EVIL[0] + EVIL[1]
    runs = two_runs(tmp_path, body=[f"{evil} {at}" for at in range(40)])
    for run in runs:
        run.pipeline.prompt = f"{evil} {run.name} {{body}}"
        run.name = f"<b>{run.name}"
        for row in run.plan.rowset.rows:
            if row is not None and row.outputs:
                row.outputs["topic"] = evil
    html = ondine_nb.compare(*runs, field="topic").static()
    assert not re.search(r"<(script|img|b>v)", html)
    assert "&lt;script&gt;" in html
