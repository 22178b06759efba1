"""How a cell waits: `%%ondine …` is rewritten to `await …`, so that the loop goes on meanwhile.

So is a line `%ondine resume …`.

Not `nest_asyncio`, which loses queued cells, and not a blocked thread, in which a Stop button can't
be handled. Inside another magic (`%%time`, `%%capture`, `%time`, `%run`) and in terminals, whose
loop stands still between cells, the magic itself runs the cell in a worker thread instead.
"""

from __future__ import annotations

import re
from typing import Any

from IPython.core.inputtransformer2 import make_tokens_by_line

__all__ = ["install"]

_MARK = "%%ondine"
_MAGICS = "get_ipython().magics_manager.registry['OndineMagics']"
_RESUME = re.compile(r"^%ondine\s+resume\b(.*)$")


def _awaited(line: re.Match[str]) -> str:
    return f"await {_MAGICS}.resume_line({line.group(1).strip()!r})"


def _resumes(lines: list[str]) -> list[str]:
    """With each line that resumes awaited; what stands in a text of several lines stays."""
    if not any(map(_RESUME.match, lines)):
        return lines
    lines = list(lines)
    for tokens in make_tokens_by_line(lines):
        at = tokens[0].start[0] - 1
        if tokens[0].string == "%" and at < len(lines):
            lines[at] = _RESUME.sub(_awaited, lines[at])
    return lines


class _Rewrite:
    """An input transformer that knows how deep inside magics the shell is."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.depth = 0
        self._run_cell_magic = shell.run_cell_magic
        shell.run_cell_magic = self.run_cell_magic
        self._run_line_magic = shell.run_line_magic
        shell.run_line_magic = self.run_line_magic

    def run_line_magic(self, magic_name: str, line: str, _stack_depth: int = 1) -> Any:
        self.depth += 1
        try:  # the magic finds the notebook's names so many frames further up
            return self._run_line_magic(magic_name, line, _stack_depth + 1)
        finally:
            self.depth -= 1

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
        return _resumes(lines)

    def _can_await(self) -> bool:
        return bool(getattr(self.shell, "autoawait", False)) and hasattr(self.shell, "kernel")


def install(shell: Any) -> None:
    """Add the rewrite to the shell's input transformers."""
    shell.input_transformer_manager.cleanup_transforms.append(_Rewrite(shell))
