"""The notebooks of `notebooks/` run without a key, and what they tell is what comes out.

`tests/notebook/test_demo.py` executes the quickstart,
`tests/test_gallery_engine.py` the other half.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.docs.pages import DOCS, GALLERY, blocks
from tests.gallery import (
    NAMES,
    NOTEBOOKS,
    ROOT,
    environment,
    execute,
    facts,
    stored,
    title,
)
from tests.gallery_docs import PICTURES
from tests.gallery_pages import binder, page

_LINK = re.compile(r"\]\(([^)]+)\)")


def test_every_notebook_is_in_the_gallery() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_stored_without_outputs_and_without_traces_of_its_writer(name: str) -> None:
    notebook = stored(name)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("name", NAMES)
def test_what_a_notebook_links_to_and_reads_is_there(name: str) -> None:
    cells = stored(name).cells
    linked = [link for cell in cells for link in _LINK.findall(cell.source) if "(" not in link]
    read = re.findall(r'"(data/[\w.]+)"', "".join(cell.source for cell in cells))
    for path in [*(link for link in linked if link.endswith(".ipynb")), *read]:
        assert (NOTEBOOKS / path).is_file(), path


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"quickstart"}))
def test_a_notebook_says_that_a_practice_server_answers_and_how_claude_would(name: str) -> None:
    told = "".join(cell.source for cell in stored(name).cells if cell.cell_type == "markdown")
    assert "a practice server on this machine answers" in told
    assert "set `ANTHROPIC_API_KEY`" in told


def test_the_data_are_listed_with_their_origin_and_their_rows() -> None:
    readme = (NOTEBOOKS / "data" / "README.md").read_text(encoding="utf-8")
    files = {path for path in (NOTEBOOKS / "data").iterdir() if path.suffix != ".md"}
    listed = dict(re.findall(r"^\| `([\w.]+)` \| (\d+) \|", readme, re.MULTILINE))
    for path in files:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) - (path.suffix == ".csv") == int(listed.pop(path.name))
    assert listed == {}
    assert "written for this project" in readme


def test_the_site_has_a_page_and_a_picture_of_every_notebook_and_leads_to_it() -> None:
    """The list in `docs/gallery.md` is generated: `tests/docs` holds it, and its links."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [path.stem for path in GALLERY] == sorted(NAMES)
    assert {path.stem for path in PICTURES.iterdir()} == set(NAMES)
    for name in NAMES:
        assert f"- {title(stored(name))}: gallery/{name}.md\n" in nav


@pytest.mark.parametrize("name", NAMES)
def test_a_page_of_the_site_says_what_its_notebook_says(name: str) -> None:
    """What its cells show is of the day on which it was executed."""
    text = (DOCS / "gallery" / f"{name}.md").read_text(encoding="utf-8")
    cells = stored(name).cells
    shown = [block.body.rstrip("\n") for block in blocks(text) if block.language == "python"]
    assert shown == [cell.source for cell in cells if cell.cell_type == "code"]
    for paragraph in "\n\n".join(it.source for it in cells if it.cell_type != "code").split("\n\n"):
        assert re.sub(r"\]\(([\w-]+)\.ipynb\)", r"](\1.md)", paragraph) in text
    assert text.count('<div class="output">') + text.count("```text") > 1


@pytest.mark.parametrize("name", NAMES)
def test_a_page_of_the_site_knows_no_machine_and_loads_and_runs_nothing(name: str) -> None:
    text = (DOCS / "gallery" / f"{name}.md").read_text(encoding="utf-8")
    assert not re.search(r"/tmp/|/home/|/root/|/work/|Traceback", text)
    assert not re.search(r"<script|<iframe|<link|\bon\w+=\"|(?:src|href)=\"?(?:https?:)?//", text)


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_small_enough_for_a_list_of_ten(name: str) -> None:
    content = (PICTURES / f"{name}.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert 5_000 < len(content) < 150_000


def test_a_reader_of_the_gallery_has_no_key(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-of-a-developer")
    assert not [name for name in environment(tmp_path) if name.endswith(("_KEY", "_TOKEN"))]


def test_a_link_to_binder_opens_the_notebook() -> None:
    address = binder("someone/fork", "quickstart")
    path = address.partition("?labpath=")[2].replace("%2F", "/")
    assert address.startswith("https://mybinder.org/v2/gh/someone/fork/HEAD?")
    assert (ROOT / path).is_file()


# --- executed ------------------------------------------------------------------------------------


def test_the_sliders_find_the_threshold_that_fits_the_labels(tmp_path: Path) -> None:
    ask = [
        "accuracy.to_dict()",
        "int(threshold.value)",
        "bench.a.answered",
        "int(labeled['wake'].notna().sum())",
        "labeled_run.rows['status'].value_counts().to_dict()",
        "bench.code.splitlines()[1:]",
    ]
    executed = execute("tune-a-prompt", tmp_path, ask=ask)
    accuracy, best, tried, answered, statuses, code = facts(executed)
    assert best == 4 == max(accuracy, key=accuracy.get)
    assert 0.8 < accuracy[4] < 1
    assert answered == 47
    assert statuses == {"journal": tried, "answered": 47 - tried, "skipped": 1}
    assert 25 <= tried <= 30
    cell = next(cell for cell in executed.cells if cell.source.startswith("%%ondine"))
    assert cell.source.splitlines()[1:] == code
    html = page("tune-a-prompt", executed)  # with the comparison, though it came in a later cell
    assert re.search(r"threshold [35] → 4", html)


def test_adverts_become_a_table_with_types(tmp_path: Path) -> None:
    ask = [
        "len(jobs)",
        "len(jobs_run.errors)",
        "[str(jobs[name].dtype) for name in ('work', 'pay_low', 'start', 'languages')]",
        "int(jobs['pay_low'].notna().sum())",
        "jobs_run.estimate.low <= jobs_run.cost <= jobs_run.estimate.high",
        "float(jobs.loc[3, 'a_year'])",
    ]
    executed = execute("extract", tmp_path, ask=ask)
    rows, failed, dtypes, paid, in_range, a_year = facts(executed)
    assert (rows, failed, paid) == (20, 0, 19)
    assert dtypes[:2] == ["category", "Float64"]
    assert dtypes[2].startswith("datetime64")
    assert in_range
    assert a_year == 16.80 * 1_700
    html = page("extract", executed, "someone/fork")
    assert html.count('class="ondine-run') == 1
    assert 'data-state="done"' in html
    loaded = re.findall(r'(?:src|href)="?(https?://[^">]+)', html)
    assert loaded == [binder("someone/fork", "extract")]


def test_the_better_model_is_asked_about_the_unsure_rows_only_and_it_helps(tmp_path: Path) -> None:
    ask = [
        "float(right(first))",
        "float(right(final))",
        "len(first), len(second), int((~first['sure']).sum())",
        "(first_run.model, second_run.model)",
        "float(cheap), float(better), float(everything.low), float(everything.high)",
        "float(everything.total_cost)",
        "server.books()['billed']",
        "final[['ticket', 'message']].equals(tickets[['ticket', 'message']])",
    ]
    found = facts(execute("cheap-first", tmp_path, ask=ask))
    before, after, rows, again, unsure = found[:5]
    assert 0.5 < before < after
    assert rows == 47
    assert again == unsure
    assert found[5] == ("claude-haiku-5-5", "claude-sonnet-5-5")
    cheap, better, low, high, likely, billed, same = found[6:]
    assert cheap + better < low <= likely <= high
    assert billed == rows + again
    assert same


def test_failed_rows_are_told_and_mended(tmp_path: Path) -> None:
    ask = [
        "sorted(errors['error_type'].unique())",
        "int(triaged['kind'].notna().sum()), int(triaged['priority'].notna().sum())",
        "len(mended_run.errors), len(letters_run.errors)",
        "letters_run.rows['status'].value_counts().to_dict()",
        "int(letters['letter'].notna().sum())",
        "int(triaged_run.rows['attempts'].max())",
    ]
    found = facts(execute("failed-rows", tmp_path, ask=ask))
    kinds, triaged, prioritised, mended, letters, statuses, written, _ = found
    assert kinds == ["RefusalError", "SchemaNotMetError"]
    assert triaged == prioritised == 47
    assert (mended, letters, written) == (0, 0, 47)
    assert statuses["skipped"] == 1
    assert 0 < statuses["answered"] < 47
    assert statuses["answered"] + statuses["journal"] == 47


def test_photos_become_a_table_and_what_the_coffee_hides_is_reviewed(tmp_path: Path) -> None:
    ask = [
        "(len(table_run.errors), table_run.rows['status'].value_counts().to_dict())",
        "[scores[name].accuracy for name in ('shop', 'day', 'currency', 'paid')]",
        "(doubtful, table.index[wrong].tolist())",
        "table_run.corrected['total'].tolist() == drawn['total'].tolist()",
        "table_run.corrected['total_source'].value_counts().to_dict()",
        "(again_run.rows['status'].value_counts().to_dict(), server.books())",
        "table_run.estimate.low <= table_run.cost <= table_run.estimate.high",
    ]
    executed = execute("receipts", tmp_path, ask=ask)
    (failed, statuses), right, (doubtful, wrong), mended, sources, (again, books), in_range = facts(
        executed
    )
    assert (failed, statuses) == (0, {"answered": 24})
    assert right == [1.0] * 4
    assert doubtful == wrong == [5, 11, 17, 23]  # each sixth has a spot of coffee
    assert mended
    assert sources == {"model": 20, "what was drawn": 4}
    assert (again, books) == ({"journal": 24}, {"arrived": 24, "billed": 24})
    assert in_range
    html = page("receipts", executed)
    assert len(re.findall('src="data:image/jpeg;base64,', html)) == 5 + 20 + 5
    assert not re.search(r'src="data:[^"]{8000}', html)
