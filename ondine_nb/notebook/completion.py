"""Tab in a `%%ondine` line: flags, frames and models."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from IPython.core.completer import SimpleCompletion, context_matcher

from ..frames import frames_in
from ..options import DEFAULT_MODEL, EFFORTS
from .arguments import parser, variables

__all__ = ["MODELS", "candidates", "matcher"]

MODELS = (DEFAULT_MODEL, "claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-5-2")
_COMMANDS = ("cost", "doctor", "models", "panel", "runs", "stop")
_VALUES = {
    "--effort": EFFORTS,
    "--thinking": ("off", "auto"),
    "--on-error": ("keep", "stop"),
    "--concurrency": ("auto",),
    "-m": MODELS,
    "--model": MODELS,
}


def matcher(magics: Any) -> Callable[[Any], Any]:
    """An IPython matcher that answers only on a line of ours."""

    @context_matcher(identifier="ondine_nb", priority=100)  # type: ignore[untyped-decorator]
    def match(context: Any) -> dict[str, Any]:
        line = context.line_with_cursor[: context.cursor_position]
        ours = context.cursor_line == 0 and line.startswith("%%ondine ")
        command = re.match(r"\s*%ondine\s+(\S*)$", line)
        if command:
            found = [name for name in _COMMANDS if name.startswith(command.group(1))]
        else:
            found = candidates(line, magics.shell.user_ns) if ours else []
        word = re.search(r"\S*$", line)
        # IPython replaces what it takes for a word; a flag's dashes aren't part of it for it.
        return {
            "completions": [SimpleCompletion(text=text, type="param") for text in found],
            "matched_fragment": word.group() if word else "",
            "suppress": bool(found),
        }

    return match  # type: ignore[no-any-return]


def candidates(line: str, namespace: dict[str, Any]) -> list[str]:
    """What the last word of `line` (up to the cursor) can become."""
    words = line.split(" ")
    word, before = words[-1], words[-2] if len(words) > 1 else ""
    if before in ("-i", "--input"):
        return [name for name in frames_in(namespace) if name.startswith(word)]
    if before in _VALUES:
        return [value for value in _VALUES[before] if value.startswith(word)]
    if word.startswith("$"):
        return [f"${name}" for name in variables(namespace) if name.startswith(word[1:])]
    if not word.startswith("-"):
        return []
    flags = [flag for action in parser()._actions for flag in action.option_strings]
    return [flag for flag in flags if flag.startswith(word) and flag not in words[:-1]]
