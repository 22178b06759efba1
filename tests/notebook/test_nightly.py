"""Jobs without a person: a run that isn't what was asked for ends papermill and nbconvert."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import MessagesServer

from .kernels import environment
from .test_front_ends import FRAME, html_of, notebook, outputs, run

LATER = "print('not reached')"


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(faults={"refusal": 0.5}) as running:
        yield running


@pytest.fixture
def surroundings(tmp_path: Path, server: MessagesServer) -> dict[str, str]:
    return environment(tmp_path, ANTHROPIC_BASE_URL=server.url)


def test_papermill_ends_non_zero_with_one_line_the_final_card_and_the_report(
    tmp_path: Path, surroundings: dict[str, str]
) -> None:
    cell = "%%ondine out -i df --fail-above 5% --report report.json\nTell {text}"
    path, done = notebook(tmp_path, FRAME, cell, LATER), tmp_path / "done.ipynb"
    ended = run(surroundings, "papermill", str(path), str(done))
    assert ended.returncode != 0
    assert "rows failed (" in ended.stderr
    shown = json.dumps(outputs(done, 3))  # papermill puts texts at the top and above the cell
    assert "IncompleteRunError: " in shown
    assert "and --fail-above is 5%" in shown
    assert 'class="ondine-run' in html_of(done, 3)
    assert not any(LATER in str(it) for it in outputs(done, 4))
    report = json.loads((Path(surroundings["HOME"]) / "report.json").read_text())
    assert report["rows"]["failed"] > 0
    assert not report["success"]


def test_out_is_bound_before_it_is_raised(tmp_path: Path, surroundings: dict[str, str]) -> None:
    cell = "%%ondine out -i df --require complete\nTell {text}"
    magic = "get_ipython().run_cell_magic('ondine', {!r}, 'Tell {{text}}')"
    caught = (
        "try:\n    "
        + magic.format("out -i df --require complete")
        + "\nexcept Exception as error:\n    print(type(error).__name__)\n"
        "print(len(out), out_run.result.success, out_run.success)"
    )
    for number, source in enumerate((cell, caught)):
        path = notebook(tmp_path, FRAME, source)
        ended = run(
            surroundings, "nbconvert", "--to", "notebook", "--execute", f"--output=done{number}",
            str(path), *(["--allow-errors"] if source is cell else []),
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
    shown = json.dumps(outputs(tmp_path / "done0.ipynb", 1))
    assert "and --require is complete" in shown
    printed = "".join(outputs(tmp_path / "done1.ipynb", 1)[-1]["text"])
    assert printed.splitlines()[-2:] == ["IncompleteRunError", "30 False False"]


def test_nbconvert_ends_non_zero(tmp_path: Path, surroundings: dict[str, str]) -> None:
    cell = "%%ondine out -i df --require complete\nTell {text}"
    ended = run(
        surroundings, "nbconvert", "--to", "notebook", "--execute", "--output=done",
        str(notebook(tmp_path, FRAME, cell, LATER)),
    )  # fmt: skip
    assert ended.returncode != 0
    assert "and --require is complete" in ended.stderr
