"""How a cell waits: `%%ondine …` is rewritten to `await …`, so that the loop goes on meanwhile.

So is a line `%ondine resume …`.

Not `nest_asyncio`, which loses queued cells, and not a blocked thread, in which a Stop button can't
be handled. Inside another cell magic (`%%time`, `%%capture`) and in terminals, whose loop stands
still between cells, the magic itself runs the cell in a worker thread instead.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["install"]

_MARK = "%%ondine"
_MAGICS = "get_ipython().magics_manager.registry['OndineMagics']"
_RESUME = re.compile(r"^%ondine\s+resume\b(.*)$", re.MULTILINE)


def _awaited(line: re.Match[str]) -> str:
    return f"await {_MAGICS}.resume_line({line.group(1).strip()!r})"


class _Rewrite:
    """An input transformer that knows how deep inside cell magics the shell is."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.depth = 0
        self._run_cell_magic = shell.run_cell_magic
        shell.run_cell_magic = self.run_cell_magic

    def run_cell_magic(self, magic_name: str, line: str, cell: str) -> Any:
        if magic_name == _MARK.strip("%"):
            cell = cell or "\n"  # for `--help`: IPython refuses a cell magic without a body
        self.depth += 1
        try:
            return self._run_cell_magic(magic_name, line, cell)
        finally:
            self.depth -= 1

    def __call__(self, lines: list[str]) -> list[str]:
        if not lines or self.depth or not self._can_await():
            return lines
        name, _, rest = lines[0].rstrip("\n").partition(" ")
        if name == _MARK:
            return [f"await {_MAGICS}.run_cell({rest.strip()!r}, {''.join(lines[1:])!r})\n"]
        if name.startswith("%%"):
            return lines
        return [_RESUME.sub(_awaited, line) for line in lines]

    def _can_await(self) -> bool:
        return bool(getattr(self.shell, "autoawait", False)) and hasattr(self.shell, "kernel")


def install(shell: Any) -> None:
    """Add the rewrite to the shell's input transformers."""
    shell.input_transformer_manager.cleanup_transforms.append(_Rewrite(shell))
