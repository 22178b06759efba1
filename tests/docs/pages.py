"""The pages of `docs/` and README.md: their blocks of code, and running them in a kernel.

A page's `python` blocks are the cells of one notebook, run in their order beside a copy of
`notebooks/reviews.csv`, against the loopback server. A `text` block right behind one is what the
cell prints or gives; `…` in it stands for whatever differs from run to run. At
`<!-- the kernel is killed here -->` it is, by SIGKILL.

    python -m tests.docs.pages docs/tutorial.md    # runs pages and prints what their cells say
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.docs.answers import said
from tests.notebook import kernels
from tests.server import MessagesServer

__all__ = [
    "DOCS",
    "GALLERY",
    "PAGES",
    "ROOT",
    "Block",
    "agrees",
    "blocks",
    "kernel",
    "providers",
    "run",
    "serving",
]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GALLERY = sorted((DOCS / "gallery").glob("*.md"))  # written by tests/gallery_docs.py
PAGES = sorted(set(DOCS.rglob("*.md")) - set(GALLERY))
KILL = "<!-- the kernel is killed here -->"
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: the line it begins at, its language and body, and, of Python, what it prints.

    `output` is None where the page doesn't say; `dies` that the kernel is killed before it.
    """

    line: int
    language: str
    body: str
    output: str | None = None
    dies: bool = False


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, each `text` behind Python as that one's output."""
    made: list[Block] = []
    end = 0
    for found in _FENCE.finditer(text):
        between = text[end : found.start()]
        if found[1] == "text" and made and made[-1].language == "python" and not between.strip():
            made[-1] = made[-1]._replace(output=found[2])
        else:
            line = text.count("\n", 0, found.start()) + 1
            made.append(Block(line, found[1], found[2], None, KILL in between))
        end = found.end()
    return made


def agrees(expected: str, printed: str) -> bool:
    """Whether `printed` is `expected`, blanks aside; `…` stands for anything, of any length."""
    pattern = "…".join(map(re.escape, _plain(expected).split("…"))).replace("…", ".*")
    return re.fullmatch(pattern, _plain(printed), re.DOTALL) is not None


def _plain(text: str) -> str:
    return " ".join(text.split())


def serving() -> MessagesServer:
    """The server that answers the pages, slowly enough for a run to be stopped."""
    return MessagesServer(key=kernels.KEY, answer=said, latency=0.02)


def kernel(home: Path, server: MessagesServer) -> kernels.Kernel:
    """A kernel that asks `server`."""
    return kernels.Kernel(home, load=False, ANTHROPIC_BASE_URL=server.url)


def providers(url: str) -> dict[str, str]:
    """The environment of somebody with keys of several providers, all of which are at `url`."""
    keys = ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "AWS_BEARER_TOKEN_BEDROCK")
    return {
        "ANTHROPIC_BASE_URL": "",
        "OPENAI_BASE_URL": f"{url}/v1",
        "AZURE_OPENAI_ENDPOINT": f"{url}/v1",
        "ANTHROPIC_BEDROCK_BASE_URL": url,
        "AWS_REGION": "us-east-1",
        "GPU_SERVER_URL": f"{url}/v1",
        "LITELLM_URL": url,
        "DATABRICKS_URL": f"{url}/v1",
        **dict.fromkeys([*keys, "VLLM_API_KEY", "DATABRICKS_TOKEN"], kernels.KEY),
    }


def run(
    page: list[Block], used: kernels.Kernel, folder: Path, **environment: str
) -> Iterator[tuple[Block, str]]:
    """Each Python block with what it printed. Raises `AssertionError` where one raised."""
    shutil.copy(ROOT / "notebooks" / "reviews.csv", folder)
    used.anew(folder, **environment)
    for block in page:
        if block.language != "python":
            continue
        if block.dies:
            used.kill_and_restart()
            used.anew(folder, **environment)
        cell = used.run(block.body)
        assert cell.status == "ok", f"line {block.line}: {cell.traceback}"
        yield block, _printed(cell)


def _printed(cell: kernels.Cell) -> str:
    """What is printed, then what the last line gives; displays aside."""
    streams = [each["text"] for each in cell.of_type("stream") if each["name"] == "stdout"]
    given = [each["data"].get("text/plain", "") for each in cell.of_type("execute_result")]
    return "".join(streams) + "\n".join(given)


def _show(path: Path, used: kernels.Kernel) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for block, text in run(blocks(path.read_text(encoding="utf-8")), used, Path(folder)):
            wrong = block.output is not None and not agrees(block.output, text)
            note = " DIFFERS" if wrong else ""
            print(f"--- {path.name}:{block.line}{note}\n{block.body}>>>\n{text}\n")


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as home,
        serving() as server,
        kernel(Path(home), server) as used,
    ):
        for name in sys.argv[1:]:
            try:
                _show(Path(name), used)
            except AssertionError as error:
                print(f"{name} FAILS at {error}")
