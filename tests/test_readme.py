"""What README.md says is run."""

from pathlib import Path

from ondine_nb.notebook.arguments import parser
from tests.docs.pages import ROOT, blocks, kernel, run, serving

BLOCKS = blocks((ROOT / "README.md").read_text(encoding="utf-8"))


def test_the_first_two_bash_blocks_are_the_set_up_commands() -> None:
    bash = [block.body for block in BLOCKS if block.language == "bash"]
    assert bash[:2] == ["bash scripts/bootstrap demo\n", "bash scripts/bootstrap test\n"]


def test_the_python_blocks_run_in_a_notebook(tmp_path: Path) -> None:
    """As cells of one kernel, in their order, against a server of our own."""
    with serving() as server, kernel(tmp_path / "home", server) as used:
        printed = [text for _, text in run(BLOCKS, used, tmp_path)]
    assert printed[-1].startswith("done 3 ")
    assert server.ledger.requests == 9


def test_the_options_table_names_every_flag() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    flags = {action.option_strings[-1] for action in parser()._actions if action.option_strings}
    assert not {flag for flag in flags if f"`{flag}" not in readme} - {"--input", "--param"}
