"""`ondine-nb demo`: the quickstart on the embedded model; `ondine-nb fetch-model`: that model."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..errors import OndineError

__all__ = ["main"]

_FILES = ("quickstart.ipynb", "reviews.csv")
_KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_PROFILE")
_MISSING = 'the demo needs the extra `demo`: pip install "ondine-nb[demo]"'


def main(arguments: list[str] | None = None) -> int:
    """The command line. Gives the exit status: 0, or 1 after a one-line message."""
    parser = argparse.ArgumentParser(prog="ondine-nb", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="run the quickstart on the embedded model")
    demo.add_argument("--lab", action="store_true", help="open it in JupyterLab instead")
    demo.add_argument(
        "--folder", type=Path, default=Path("ondine-demo"), help="where it goes (ondine-demo)"
    )
    commands.add_parser("fetch-model", help="fetch the embedded model, for use without a network")
    given = parser.parse_args(arguments)
    try:
        if given.command == "fetch-model":
            return _fetch_model()
        return _demo(given.folder, lab=given.lab)
    except OndineError as error:
        print(f"ondine-nb: {error}", file=sys.stderr)
        return 1


def _fetch_model() -> int:
    from ..providers import local

    print(local.model_path() or local.fetch_model())
    return 0


def _demo(folder: Path, *, lab: bool) -> int:
    from ..providers import local

    folder.mkdir(parents=True, exist_ok=True)
    notebook = _unpack(folder)
    if local.model_path() is None:
        local.fetch_model()
    for name in _KEYS:  # the demo costs nothing, whoever runs it
        os.environ.pop(name, None)
    if lab:
        return _open_lab(notebook)
    executed = _execute(notebook)
    print(_shown(executed))
    print(f"\nThe executed notebook: {notebook.resolve()}")
    return 0


def _unpack(folder: Path) -> Path:
    """The bundled notebook and its data, copied into `folder`."""
    for name in _FILES:
        shutil.copyfile(_bundle() / name, folder / name)
    return folder / _FILES[0]


def _bundle() -> Path:
    """Where the notebooks are: in the installed package, or beside it in a clone."""
    package = Path(__file__).parents[1]
    inside = package / "notebooks"
    return inside if inside.is_dir() else package.parent / "notebooks"


def _execute(path: Path) -> Any:
    """Run every cell in a kernel and save the notebook. Raises what a cell raised."""
    try:
        import nbclient
        import nbformat
    except ImportError as error:
        raise OndineError(_MISSING) from error
    notebook: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    client = nbclient.NotebookClient(
        notebook, kernel_name="python3", timeout=900, resources={"metadata": {"path": path.parent}}
    )
    try:
        client.execute()
    except nbclient.exceptions.CellExecutionError as error:
        raise OndineError(f"a cell of {path} failed: {error.ename}: {error.evalue}") from error
    finally:
        nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
    return notebook


def _shown(notebook: Any) -> str:
    """The text of the outputs of the cells tagged `show`."""
    texts = []
    for cell in notebook.cells:
        if "show" in cell.metadata.get("tags", ()):
            texts += [_text(output) for output in cell.get("outputs", ())]
    return "\n".join(text.rstrip() for text in texts if text)


def _text(output: Any) -> str:
    if output.output_type == "stream":
        return str(output.text)
    return str(output.get("data", {}).get("text/plain", ""))


def _open_lab(notebook: Path) -> int:
    command = [sys.executable, "-m", "jupyterlab", notebook.name]
    try:
        return subprocess.run(command, cwd=notebook.parent, check=False).returncode
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
