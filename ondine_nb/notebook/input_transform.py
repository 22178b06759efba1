"""IPython input transformer: `%%ondine …` is rewritten to `await …`, so that the loop goes on.

So is a line `%ondine resume …`. A `\\` at the end of the magic's line continues it on the next one.

Not `nest_asyncio`, which loses queued cells, and not a blocked thread, in which a Stop button can't
be handled. Inside another magic (`%%time`, `%%capture`, `%time`, `%run`) and in terminals, whose
loop stands still between cells, the magic itself runs the cell in a worker thread instead.
"""

from __future__ import annotations

import re
from typing import Any

from IPython.core.inputtransformer2 import make_tokens_by_line

__all__ = ["install", "magic_line"]

_MARK = "%%ondine"
_MAGICS = "get_ipython().magics_manager.registry['OndineMagics']"
_RESUME = re.compile(r"^%ondine\s+resume\b(.*)$")


def magic_line(text: str) -> tuple[str, str]:
    """The line of a magic, with those that a `\\` at its end continues it on, and what is left.

    A continued line is joined by one space: `%%ondine out \\` and `-i df` are `%%ondine out -i df`.
    """
    line, _, rest = text.partition("\n")
    while line.rstrip().endswith("\\"):
        more, _, rest = rest.partition("\n")
        line = f"{line.rstrip()[:-1].rstrip()} {more.strip()}"
    return line.rstrip(), rest


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
            text = "".join(lines[at:])
            line, rest = magic_line(text)
            if _RESUME.match(line):
                below = rest.splitlines(keepends=True)
                joined = len(lines) - at - 1 - len(below)  # empty lines, so that numbers stay
                lines[at:] = [_RESUME.sub(_awaited, line) + "\n", *["\n"] * joined, *below]
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
            line, cell = magic_line(f"{line}\n{cell}")
            cell = cell or "\n"  # for `--help`: IPython refuses a cell magic without a body
        self.depth += 1
        try:
            return self._run_cell_magic(magic_name, line, cell)
        finally:
            self.depth -= 1

    def __call__(self, lines: list[str]) -> list[str]:
        if not lines or self.depth or not self._can_await():
            return lines
        name = lines[0].rstrip("\n").partition(" ")[0]
        if name == _MARK:
            line, cell = magic_line("".join(lines).removeprefix(_MARK))
            return [f"await {_MAGICS}.run_cell({line.strip()!r}, {cell!r})\n"]
        if name.startswith("%%"):
            return lines
        return _resumes(lines)

    def _can_await(self) -> bool:
        return bool(getattr(self.shell, "autoawait", False)) and hasattr(self.shell, "kernel")


def install(shell: Any) -> None:
    """Add the rewrite to the shell's input transformers."""
    shell.input_transformer_manager.cleanup_transforms.append(_Rewrite(shell))
