"""Traces runs of whichever checkout of the package PYTHONPATH names: the child of `trace`.

It is run by its path and imports nothing of `tests`, which would be the other checkout's, and of
the package only its public face. It prints JSON: the functions that ran, and for each run the
steps it took (see `Walk`).
"""

from __future__ import annotations

import argparse
import asyncio
import dis
import inspect
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pandas as pd

import ondine_nb

PACKAGE = Path(ondine_nb.__file__).parent
START, RESUME, BACK = range(3)
MODEL = "claude-haiku-5-5"
_SLOWER = 20.0


class SlowLoop(asyncio.SelectorEventLoop):
    """A loop whose clock goes slower, so that a run's ticker sleeps while its rows are traced."""

    def time(self) -> float:
        return super().time() / _SLOWER


class Walk:
    """Which functions of ours one thread enters (starts or resumes) and comes back to, in order."""

    def __init__(self) -> None:
        self.functions: dict[tuple[str, str], int] = {}
        self.steps: list[tuple[int, int]] = []
        self._known: dict[CodeType, tuple[int, int] | None] = {}

    @contextmanager
    def traced(self) -> Iterator[list[tuple[int, int]]]:
        """The steps of this thread within the block."""
        steps: list[tuple[int, int]] = []
        self.steps = steps
        sys.setprofile(self._event)
        try:
            yield steps
        finally:
            sys.setprofile(None)

    def _event(self, frame: FrameType, event: str, _: Any) -> None:
        if event not in ("call", "return") or (known := self._of(frame)) is None:
            return
        function, begins = known
        if event == "call":
            self.steps.append((START if frame.f_lasti <= begins else RESUME, function))
        elif (caller := self._caller(frame)) is not None:
            self.steps.append((BACK, caller))

    def _caller(self, frame: FrameType) -> int | None:
        above = frame.f_back
        while above is not None:
            if (known := self._of(above)) is not None:
                return known[0]
            above = above.f_back
        return None

    def _of(self, frame: FrameType) -> tuple[int, int] | None:
        """A function of ours as its number and the offset at which it starts; None for others."""
        code = frame.f_code
        if code not in self._known:
            self._known[code] = self._numbered(frame) if _is_ours(code) else None
        return self._known[code]

    def _numbered(self, frame: FrameType) -> tuple[int, int]:
        code = frame.f_code
        path = Path(code.co_filename).relative_to(PACKAGE).with_suffix("")
        parts = path.parts[:-1] if path.name == "__init__" else path.parts
        name = code.co_qualname.replace(".<locals>", "")
        number = self.functions.setdefault(
            (".".join(parts) or "ondine_nb", name), len(self.functions)
        )
        begins = next((i.offset for i in dis.get_instructions(code) if i.opname == "RESUME"), 0)
        return number, begins


def _is_ours(code: CodeType) -> bool:
    """Whether somebody wrote it as a function: no comprehension, no body of a module or class.

    What dataclasses make has no file.
    """
    is_body = not code.co_flags & inspect.CO_OPTIMIZED
    if is_body or (code.co_name.startswith("<") and code.co_name != "<lambda>"):
        return False
    return Path(code.co_filename).is_relative_to(PACKAGE)


class Own:
    """A provider of the user's own that answers at once: leaves the wire out of the way."""

    identity, model, price, note = "own", "own", None, ""

    async def open(self, settings: Any, concurrency: int) -> None:
        pass

    async def send(self, prompt: str) -> Any:
        from ondine_nb.providers import Reply

        usage = {"input_tokens": 5, "output_tokens": 4}
        said = [{"type": "text", "text": prompt}]
        message = {"type": "message", "content": said, "stop_reason": "end_turn", "usage": usage}
        return Reply(json.dumps(message).encode())

    async def count_tokens(self, prompt: str) -> int | None:
        return None

    def request_bytes(self, prompt: str) -> int:
        return len(prompt)

    async def close(self) -> None:
        pass


async def _run(walk: Walk, rows: int, mark: str, options: dict[str, Any]) -> list[tuple[int, int]]:
    """The steps from `Pipeline(...)` to the end of its run, over texts that nobody asked before."""
    frame = pd.DataFrame({"text": [f"{mark}: row {n} of a traced run" for n in range(rows)]})
    # A journal of its own: the estimate looks at a model's latest answers, however many there are.
    options = options | {"journal": Path(options["journal"], mark.replace(" ", "-"))}
    with walk.traced() as steps:
        run = ondine_nb.Pipeline(frame, "Say: {text}", **options).start()
        await run
    told = run.rows["status"].value_counts().to_dict()
    if told != {"answered": rows}:
        sys.exit(f"{rows} rows were to be asked and answered, but are {told}")
    return steps


async def _runs(given: argparse.Namespace) -> dict[str, Any]:
    options: dict[str, Any] = {"concurrency": str(given.concurrency), "journal": given.folder}
    if given.url:
        options |= {"base_url": given.url, "model": MODEL}
    else:
        options |= {"provider": Own()}
    walk = Walk()
    await _run(walk, 2, "warm", options)  # imports and certificates aren't of a row's way
    runs = [
        (rows, await _run(walk, rows, f"{repeat} of {rows}", options))
        for repeat in range(given.repeat)
        for rows in given.rows
    ]
    return {"package": str(PACKAGE), "functions": list(walk.functions), "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--url", default="", help="of a Messages server; else a provider of our own"
    )
    parser.add_argument("--rows", type=int, nargs="+", required=True)
    parser.add_argument("--repeat", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--folder", required=True, help="of the journals")
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=SlowLoop) as runner:
        print(json.dumps(runner.run(_runs(given))))


if __name__ == "__main__":
    main()
