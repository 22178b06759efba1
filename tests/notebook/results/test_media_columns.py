"""Columns that a prompt takes as pictures, where rows are looked through, reviewed, summed up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ondine_nb import Run
from ondine_nb.notebook.card.answers import answers_of
from ondine_nb.notebook.card.card import Card, plain, render
from ondine_nb.notebook.results import Review
from ondine_nb.notebook.results.look import columns_of
from ondine_nb.notebook.results.page import plain as plain_page
from ondine_nb.notebook.results.page import static, summary_of
from ondine_nb.notebook.results.table import Results
from tests.data.media.drawings import pdf, png, saved
from tests.notebook.ended_runs import ended_run

PROMPT = "What is on it? {note} {doc:file}"
ROWS = 30
EVIL = "<b onmouseover=alert(1)>.png"


@pytest.fixture
def cells(tmp_path: Path) -> list[Any]:
    """Paths, bytes, and one file that has markup in its name."""
    paths = [str(saved(tmp_path, f"a {at} 🧾.png", png(at, (200, 100)))) for at in range(10)]
    paths[3] = str(saved(tmp_path, EVIL, png(3)))
    return [*paths, *(png(at, (200, 100)) for at in range(10, 20)), *[pdf(2)] * 10]


def run_over(cells: list[Any], folder: Path, **options: Any) -> Run:
    frame = pd.DataFrame({"doc": pd.Series(cells, dtype=object), "note": [*map(str, range(ROWS))]})
    return ended_run(frame, folder, PROMPT, failing=0, **options)


@pytest.fixture
def run(cells: list[Any], tmp_path: Path) -> Run:
    return run_over(cells, tmp_path)


def urls(html: str) -> list[str]:
    return re.findall(r'src="(data:[^"]+)"', html)


def test_their_cells_are_called_by_name_and_no_byte_of_them_is_text(run: Run) -> None:
    results = Results(run)
    head = results.head("doc")
    assert results.has_pictures(head)
    assert not results.has_pictures(results.head("note"))
    (first,), (held,) = results.cells([0], ["doc"]), results.cells([12], ["doc"])
    assert first[0].endswith("a 0 🧾.png")
    assert re.fullmatch(r"[\d,]+ bytes", held[0])
    assert results.search("🧾", ["doc"]) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    (told,) = [it for it in columns_of(results, ["sentiment"]) if it["name"] == "doc"]
    assert (told["kind"], told["wide"]) == ("media", 2)
    assert "PNG" not in plain_page(results, summary_of(results))


def test_a_saved_view_has_thumbnails_of_the_rows_that_it_shows(run: Run) -> None:
    results = Results(run)
    html = static(results, summary_of(results), "mark")
    assert len(urls(html)) == 20
    assert all(url.startswith("data:image/jpeg;base64,") and len(url) < 5_000 for url in urls(html))
    assert "<b onmouseover" not in html
    assert "&lt;b onmouseover" in html


def test_with_no_thumbs_it_has_names(cells: list[Any], tmp_path: Path) -> None:
    results = Results(run_over(cells, tmp_path, no_thumbs=True))
    html = static(results, summary_of(results), "mark")
    assert urls(html) == []
    assert "a 0 🧾.png" in html


def test_a_card_shows_them_beside_its_answers_and_names_them_without(
    cells: list[Any], tmp_path: Path
) -> None:
    for known, wanted in ((False, 5), (True, 0)):
        run = run_over(cells, tmp_path, no_thumbs=known)
        card = Card.of(run, answers=answers_of(run))
        html = render(card, live=False)
        assert len(urls(html)) == wanted
        assert "\\x89PNG" not in html + plain(card)
        named = re.search(r"🧾\.png|\d bytes", re.sub("<img[^>]+>", "", html))
        assert bool(named) is known


def test_a_review_knows_which_of_a_rows_texts_is_looked_at(run: Run) -> None:
    review = Review(run)
    row = review._row()
    assert row is not None
    assert {it["name"]: it.get("media", False) for it in row["texts"]} == {
        "note": False,
        "doc": True,
    }
    assert {"pictures", "picture"} <= set(review.actions)
    (told,) = review.actions["pictures"]([{"at": 0, "name": "doc", "size": "large"}])
    assert told[0]["about"] == "a 0 🧾.png"
    review.close()


def test_a_prompt_without_pictures_has_none_of_it(tmp_path: Path) -> None:
    frame = pd.DataFrame({"note": ["a", "b"]})
    run = ended_run(frame, tmp_path, "What? {note}", failing=0)
    assert Results(run).pictures is None
    assert urls(static(Results(run), summary_of(Results(run)), "mark")) == []
