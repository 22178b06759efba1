"""A practice server for the notebooks of this folder: the Messages API on this machine, no key.

    server = practice.start()
    %config OndineMagics.base_url = server.url

It is the loopback server of the project's own tests, in a process of its own: real HTTP, tokens
counted, the prices of the real models. Only the answers are no model's. They come from rules on
words (`practice_answers.py`), so they are quick, free, and now and then wrong. With a key for the
real API leave both lines out; all other cells stay the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import practice_answers

from ondine_nb.providers import FREE, Reply

__all__ = ["InProcess", "Server", "start"]

ROOT = Path(__file__).resolve().parent.parent


class Server:
    """A practice server that runs; it ends with `stop`, and with the notebook's kernel."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process, self.url = process, url

    def books(self) -> dict[str, Any]:
        """What the server itself has counted: requests that came in, and those that it billed."""
        with urllib.request.urlopen(f"{self.url}/_ledger") as page:  # noqa: S310
            books: dict[str, Any] = json.load(page)
        return {"arrived": books["arrived"], "billed": books["requests"]}

    def stop(self) -> None:
        """End it; safe to call twice."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(10)

    def __repr__(self) -> str:
        return f"<practice server at {self.url}: rules answer, not a model>"


def start(*, latency: str = "0.1:0.4", trouble: bool = False) -> Server:
    """A new practice server on a free port.

    `latency` is how long an answer takes, in seconds, or from one to another as in "0.1:0.4". With
    `trouble` some requests meet what real ones meet: an overloaded server, a refusal.
    """
    command = [sys.executable, __file__, "--latency", latency]
    process = subprocess.Popen(
        [*command, "--trouble"] if trouble else command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # an interrupt of the kernel isn't meant for it
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    if not url.startswith("http"):
        raise RuntimeError(f"the practice server didn't start: {url or 'see the message above'}")
    return Server(process, url)


class InProcess:
    """The same answers without a server between, as a provider: what is left is the engine."""

    identity, model, price, note = "practice-in-process", "practice", FREE, ""

    async def open(self, settings: Any, concurrency: int) -> None:
        self._settings = settings

    async def send(self, prompt: str) -> Reply:
        said = practice_answers.answer(prompt, self._settings.schema, self.model)
        usage = {"input_tokens": len(prompt) // 4, "output_tokens": len(said) // 4}
        content = [{"type": "text", "text": said}]
        message = {"content": content, "stop_reason": "end_turn", "usage": usage}
        return Reply(json.dumps(message).encode())

    async def count_tokens(self, prompt: str) -> int:
        return len(prompt) // 4

    def request_bytes(self, prompt: str) -> int:
        return len(prompt.encode())

    async def close(self) -> None:
        pass


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="practice.py", description=__doc__)
    parser.add_argument("--latency", default="0.1:0.4")
    parser.add_argument("--trouble", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Print the URL and serve until stdin closes."""
    given = _parsed(arguments)
    sys.path.append(str(ROOT))
    try:
        from tests.server import MessagesServer
        from tests.server.batches import BatchRules
    except ImportError as error:
        print(f"it is part of the repository ({error}): open this notebook in a clone of it")
        return
    plan = practice_answers.trouble if given.trouble else None
    with MessagesServer(
        answer=practice_answers.said,
        latency=given.latency,
        plan=plan,
        batches=BatchRules(delay=3.0),
    ) as server:
        print(server.url, flush=True)
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main(sys.argv[1:])
