"""What README.md says is run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, kernel, run, serving

BLOCKS = blocks((ROOT / "README.md").read_text(encoding="utf-8"))
BASH = [block.body for block in BLOCKS if block.language == "bash"]


def test_the_first_two_bash_blocks_are_the_set_up_commands_and_every_block_runs_in_a_test() -> None:
    assert {block.language for block in BLOCKS} == {"bash", "python"}
    assert BASH[:2] == ["bash scripts/bootstrap demo\n", "bash scripts/bootstrap test\n"]


# Stands for a program: notes how it was called, and succeeds.
NOTES = '#!/bin/sh\necho "$(basename "$0") $*" >> "$NOTED"\n'
ENDS = {"demo": "ondine-nb demo", "test": "python -m pytest -n 4"}


@pytest.mark.parametrize("command", BASH)
def test_a_bash_block_is_one_line_that_sets_up_and_then_does_what_the_page_says(
    command: str, tmp_path: Path
) -> None:
    """In a clone whose `.venv` only notes what it is asked: what is asked, other tests run."""
    assert command.count("\n") == 1
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    for folder, names in (
        (".venv/bin", ("python", "uv", "ondine-nb")),
        ("system", ("apt-get", "sudo", "chromium")),
    ):
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / folder / name).write_text(NOTES)
            (tmp_path / folder / name).chmod(0o755)
    noted = tmp_path / "noted"
    path = f"{tmp_path / 'system'}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "NOTED": str(noted)},
        check=True,
    )
    calls = noted.read_text(encoding="utf-8").splitlines()
    extra = "demo" if command.split()[-1] == "demo" else "dev"
    assert any(call.startswith("uv pip install") and f".[{extra}]" in call for call in calls)
    assert calls[-1].startswith(ENDS[command.split()[-1]])


def test_the_python_blocks_run_in_a_notebook(tmp_path: Path) -> None:
    """As cells of one kernel, in their order, against a server of our own."""
    with serving() as server, kernel(tmp_path / "home", server) as used:
        assert list(run(BLOCKS, used, tmp_path))
    assert server.ledger.requests == 6  # three rows in the cell, three in the script


def test_the_page_fits_a_screen_and_a_half() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 90
