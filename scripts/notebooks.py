"""Whether notebooks are saved without outputs:  python scripts/notebooks.py FILE...

Outputs say what happened on somebody's machine, with somebody's data. Exits with 1 where there are
any, naming the notebooks.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

__all__ = ["main", "outputs"]


def outputs(path: Path) -> int:
    """How many cells of a notebook were saved with an output or an execution count."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return sum(bool(cell.get("outputs") or cell.get("execution_count")) for cell in cells)


def main(names: list[str]) -> int:
    """Prints a line for each notebook that has outputs. Gives the exit status."""
    found = {name: outputs(Path(name)) for name in names}
    for name, cells in found.items():
        if cells:
            print(f"{name}: {cells} cells were run. Clear all outputs and save it again")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
