"""`ondine-nb demo` on the real embedded model."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from ondine_nb.notebook import demo as cli
from tests.test_readme import ROOT


@pytest.mark.timeout(900)
def test_the_demo_labels_the_reviews_and_says_how_well(tmp_path: Path) -> None:
    """In a process of its own: table, accuracy, cost and the executed notebook's path."""
    done = subprocess.run(
        [sys.executable, "-m", "ondine_nb.notebook.demo", "demo", "--folder", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    accuracy = re.search(r"accuracy (\d+)%: (\d+) of (\d+)", done.stdout)
    assert accuracy, done.stdout
    assert int(accuracy[3]) >= 60
    assert int(accuracy[1]) >= 70  # far above chance: it is a real model
    assert "sentiment" in done.stdout
    assert "$0" in done.stdout
    assert f"{accuracy[3]} rows from the journal, $0" in done.stdout
    path = Path(done.stdout.rsplit("The executed notebook: ", 1)[1].strip())
    executed = nbformat.read(path, as_version=4)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    assert 'class="ondine-run"' in path.read_text().replace("\\", "")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "nbclient", None)
    with pytest.raises(cli.OndineError, match=r"ondine-nb\[demo\]"):
        cli._execute(tmp_path / "x.ipynb")


def test_fetch_model_says_where_a_model_is_that_is_there_already(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ondine_nb.providers.local.model_path", lambda: tmp_path / "model.gguf")
    assert cli.main(["fetch-model"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'model.gguf'}\n"


def test_fetch_model_ends_in_one_line_where_it_cannot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ONDINE_MODELS", str(tmp_path / "file" / "models"))
    monkeypatch.setattr("ondine_nb.providers.local.model_path", lambda: None)
    assert cli.main(["fetch-model"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("ondine-nb: The embedded model can't run here")
    assert said.err.count("\n") == 1


def test_an_unknown_command_is_refused() -> None:
    with pytest.raises(SystemExit):
        cli.main(["dmo"])
