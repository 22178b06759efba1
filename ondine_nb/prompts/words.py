"""A schema in words, for servers that enforce none, and the JSON in the prose of answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["objects_in", "system_in_words"]

# Part of what is asked, so of the journal's keys: another wording asks all rows again.
_ASK = (
    "Answer with one JSON object and nothing else: no words around it, no code fence. It has to "
    "meet this JSON Schema:"
)
# How much may be read in vain, in lengths of the answer, and how many objects are looked at: the
# loop waits meanwhile.
_MORE_WORK, _TRIES = 4, 100
_BEGINS = re.compile(r'\{\s*["}]')  # an object, not just a brace
_THOUGHT = "</think>"  # what stands before it is no answer, whatever JSON the model tries there


def system_in_words(schema: Mapping[str, Any], system: str | None) -> str:
    """The system text that asks for answers that meet `schema`, behind the `system` given."""
    asked = f"{_ASK}\n{json.dumps(schema, ensure_ascii=False)}"
    return f"{system}\n\n{asked}" if system else asked


def objects_in(text: str) -> Iterator[str]:
    """The JSON objects that stand in `text`, in prose or code fences, each as it stands there.

    One that stands in another isn't given by itself.
    """
    _, _, behind = text.rpartition(_THOUGHT)
    text = behind if behind.strip() else text
    work, tries, found = _MORE_WORK * len(text) + 1_000, _TRIES, _BEGINS.search(text)
    while found is not None and work > 0 and tries > 0:
        end, read = _end_of_object(text, found.start())
        if end is not None:
            yield text[found.start() : end]
        else:
            work -= read - found.start()
        tries -= 1
        found = _BEGINS.search(text, end or found.start() + 1)


# Only ends are asked for; Python's int refuses a number of thousands of digits.
_DECODER = json.JSONDecoder(parse_int=float)


def _end_of_object(text: str, at: int) -> tuple[int | None, int]:
    """Where the object that begins at `at` ends (None: it is none), and how far that was read."""
    try:
        _, end = _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        return None, error.pos
    except RecursionError:
        return None, len(text)
    return end, end
