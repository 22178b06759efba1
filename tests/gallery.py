"""The gallery: executes the notebooks of `notebooks/` headless, and exports them as pages.

    python -m tests.gallery [NAME ...] [--docs] [--to FOLDER] [--repository OWNER/NAME]

Each runs in a copy of the folder, with a journal of its own and no key in its environment, and its
seconds are printed. `--docs` renews pages and pictures of the documentation (`gallery_docs.py`).
`--to` writes pages that stand alone (`gallery_pages.py`), each with a link that opens it on
mybinder.org if `--repository` says where the repository is on GitHub. `--no-load-ext` takes each
`%load_ext` away, for an environment that loads the extension by itself.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbclient
import nbformat

from tests.forks import kernel_environment
from tests.patience import PATIENCE

__all__ = ["NAMES", "NOTEBOOKS", "ROOT", "STORIES", "execute", "facts", "main", "stored", "title"]

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
STORIES = {  # in the order in which they are listed
    "quickstart": "A hundred reviews and a prompt, on the embedded model.",
    "tune-a-prompt": "A slider for what counts as urgent, two variants side by side.",
    "extract": "Job adverts become a table with types, by a pydantic model.",
    "receipts": "Photos of receipts become a table; what the coffee hides is reviewed.",
    "cheap-first": "A small model sorts all tickets, a better one the rows it was unsure of.",
    "findings": "From 800 reviews to five findings, each with the rows it rests on.",
    "failed-rows": "Refused, cut, against the schema: what failed, why, and how to mend it.",
    "budget-stop-resume": "Leases within a ceiling, stopped in the middle, and gone on with.",
    "batches": "Reviews sorted overnight, for half the price.",
    "stream-a-million": "From file to file while the memory stays flat.",
    "polars": "Inspectors' notes as a polars frame, lazily too.",
    "own-stage": "House rules behind the model, and an observer that watches.",
}
NAMES = tuple(STORIES)
_TEXTS = ("text/plain", "text/html")
FACTS = "the facts that a test asks for"


def environment(home: Path) -> dict[str, str]:
    """The environment of a reader without a key, whose settings and journal are in `home`."""
    kept = {name: it for name, it in os.environ.items() if not name.startswith("ANTHROPIC_")}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **kept,
        "ANTHROPIC_CONFIG_DIR": str(home / "no-profiles"),
        "IPYTHONDIR": str(home / "ipython"),
        "ONDINE_HOME": str(home / "ondine"),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


def _copied(home: Path) -> Path:
    """A copy of the notebooks' folder in `home`."""
    ignored = shutil.ignore_patterns(".ondine", ".ipynb_checkpoints", "__pycache__")
    return Path(shutil.copytree(NOTEBOOKS, home / "notebooks", ignore=ignored))


def execute(
    name: str, home: Path, *, ask: Sequence[str] = (), loads: bool = True, forked: bool = True
) -> Any:
    """The notebook called `name`, every cell executed; its files are in `home` afterwards.

    `ask` are expressions that are evaluated in its kernel behind the last cell, see `facts`.
    Without `loads` its `%load_ext` is taken away; a kernel that isn't `forked` has imported nothing
    (`tests/forks`). Raises nbclient's `CellExecutionError` where a
    cell fails.
    """
    folder = _copied(home)
    notebook: Any = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    if not loads:
        for cell in notebook.cells:
            cell.source = cell.source.replace("%load_ext ondine_nb", "")
    if ask:
        source = f"print(repr(({', '.join(ask)},)))"
        notebook.cells.append(nbformat.v4.new_code_cell(source, metadata={"purpose": FACTS}))
    client = nbclient.NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=600,
        iopub_timeout=int(PATIENCE),
        startup_timeout=int(PATIENCE),
        resources={"metadata": {"path": folder}},
    )
    client.execute(env={**environment(home), **(kernel_environment() if forked else {})})
    _forget(notebook, str(home))
    return notebook


def _forget(notebook: Any, home: str) -> None:
    """Take the folder that it ran in out of what its cells show: `.ondine` is found by anyone."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            for holder, kinds in ((output, ["text"]), (output.get("data", {}), _TEXTS)):
                for kind in kinds:
                    if kind in holder:
                        holder[kind] = holder[kind].replace(f"{home}/ondine", ".ondine")


def facts(notebook: Any) -> tuple[Any, ...]:
    """The values of the expressions that `execute` was asked."""
    cell = notebook.cells[-1]
    assert cell.metadata.get("purpose") == FACTS
    found: tuple[Any, ...] = ast.literal_eval(cell.outputs[0].text)
    return found


def stored(name: str) -> Any:
    """The notebook called `name` as it lies in the repository."""
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def title(notebook: Any) -> str:
    """The heading of the first cell."""
    return str(notebook.cells[0].source.splitlines()[0].removeprefix("# "))


def main(arguments: Sequence[str]) -> None:
    given = _parsed(arguments)
    executed = {}
    for name in given.names or NAMES:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as home:
            executed[name] = execute(name, Path(home), loads=not given.no_load_ext)
        print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)
    if given.docs:
        from tests.gallery_docs import write

        write(executed)
    if given.to is not None:
        from tests.gallery_pages import export

        print(export(executed, given.to, given.repository))


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.gallery", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all, if none is given")
    parser.add_argument("--to", type=Path, help="write pages into this folder")
    parser.add_argument("--docs", action="store_true", help="renew pages and pictures of the site")
    parser.add_argument("--repository", help="OWNER/NAME on GitHub, for links to mybinder.org")
    parser.add_argument("--no-load-ext", action="store_true")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"there is no notebook {', '.join(unknown)}: {', '.join(NAMES)}")
    return given


if __name__ == "__main__":
    main(sys.argv[1:])
