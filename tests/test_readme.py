"""What README.md says is run."""

import os
import re
from pathlib import Path

import nbclient
import nbformat
import pytest

from ondine_nb.notebook.arguments import parser
from tests.server import MessagesServer

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)


def test_the_first_two_bash_blocks_are_the_set_up_commands() -> None:
    bash = [code for language, code in BLOCKS if language == "bash"]
    assert bash[:2] == ["bash scripts/bootstrap demo\n", "bash scripts/bootstrap test\n"]


def test_the_python_blocks_run_in_a_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As cells of one kernel, in their order, against a server of our own."""
    cells = [code for language, code in BLOCKS if language == "python"]
    with MessagesServer(key="test-key") as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
        monkeypatch.setenv("ONDINE_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("PYTHONPATH", str(ROOT) + os.pathsep + os.environ.get("PYTHONPATH", ""))
        notebook = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, cells)])
        resources = {"metadata": {"path": str(tmp_path)}}
        client = nbclient.NotebookClient(
            notebook, kernel_name="python3", timeout=120, resources=resources
        )
        client.execute()
    said = [output.get("text", "") for output in notebook.cells[-1].outputs]
    assert said[0].startswith("done 3 ")
    assert server.ledger.requests == 9


def test_the_options_table_names_every_flag() -> None:
    readme = (ROOT / "README.md").read_text()
    flags = {action.option_strings[-1] for action in parser()._actions if action.option_strings}
    assert not {flag for flag in flags if f"`{flag}" not in readme} - {"--input", "--param"}
