"""What README.md says is run."""

from pathlib import Path

from tests.docs.pages import ROOT, blocks, kernel, run, serving

BLOCKS = blocks((ROOT / "README.md").read_text(encoding="utf-8"))


def test_the_first_two_bash_blocks_are_the_set_up_commands() -> None:
    bash = [block.body for block in BLOCKS if block.language == "bash"]
    assert bash[:2] == ["bash scripts/bootstrap demo\n", "bash scripts/bootstrap test\n"]


def test_the_python_blocks_run_in_a_notebook(tmp_path: Path) -> None:
    """As cells of one kernel, in their order, against a server of our own."""
    with serving() as server, kernel(tmp_path / "home", server) as used:
        assert list(run(BLOCKS, used, tmp_path))
    assert server.ledger.requests == 6  # three rows in the cell, three in the script


def test_the_page_fits_a_screen_and_a_half() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 90
