"""A real kernel as a test sees it: run a cell, read what a person would see, look at values."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any, Self

from jupyter_client.manager import KernelManager

from tests.forks import kernel_environment
from tests.patience import PATIENCE

__all__ = ["KEY", "LOAD", "ROOT", "Cell", "Kernel", "cards_in", "environment"]

ROOT = Path(__file__).parents[2]
KEY = "sk-ant-api03-a-key-that-must-never-be-seen-0123456789"
LOAD = "%load_ext ondine_nb"
# Names, settings, runs, journal and environment as in a new kernel, without the time one takes.
_ANEW = """
%reset -f
import os
os.environ.update({environment!r})
os.chdir({folder!r})
from ondine_nb.journal import use
use(os.path.join({folder!r}, ".ondine"))
magics = get_ipython().magics_manager.registry.get("OndineMagics")
for name in magics.traits(config=True) if magics else ():
    setattr(magics, name, magics.trait_defaults(name))
if magics:
    magics._session._records.clear()
get_ipython().extension_manager.loaded.discard("ondine_nb")
%reset -f
"""
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_CARD = re.compile(r'<div class="ondine-run[^>]*>')


def environment(home: Path, *, forked: bool = True, **more: str) -> dict[str, str]:
    """The environment of a kernel that sees nothing of this machine's settings, but a key.

    Kernels that are started in it are `forked` (`tests/forks`) where the system can.
    """
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    places = {
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "jupyter"),
        "JUPYTER_DATA_DIR": str(home / "jupyter-data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "ONDINE_HOME": str(home / "ondine"),
        "PYTHONPATH": str(ROOT),
        "ANTHROPIC_API_KEY": KEY,
    }
    return {**kept, **places, **(kernel_environment() if forked else {}), **more}


def cards_in(html: str) -> list[dict[str, str]]:
    """The data of every run card in a piece of HTML."""
    return [
        dict(re.findall(r'data-(\w+)="([^"]*)"', card))  # name to value
        for card in _CARD.findall(html)
    ]


@dataclass
class Cell:
    """What came of one cell: its reply, and the iopub messages that it caused."""

    reply: dict[str, Any]
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> str:
        return str(self.reply["status"])

    @property
    def error(self) -> str:
        """`KeyboardInterrupt: …` as it is shown; "" where there is none."""
        if self.status != "error":
            return ""
        return f"{self.reply['ename']}: {self.reply['evalue']}".rstrip(": ")

    @property
    def traceback(self) -> str:
        """What the front end shows of an error."""
        return _ANSI.sub("", "\n".join(self.reply.get("traceback", ())))

    @property
    def text(self) -> str:
        """All that is printed or shown as plain text, in its order."""
        return "".join(self._texts())

    @property
    def html(self) -> str:
        """The last HTML shown."""
        shown = [data["text/html"] for data in self._data() if "text/html" in data]
        return str(shown[-1]) if shown else ""

    @property
    def card(self) -> dict[str, str]:
        """The data of the last card shown."""
        cards = cards_in(self.html)
        assert len(cards) == 1, f"{len(cards)} cards in {self.html[:600] or self.messages}"
        return cards[0]

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [message["content"] for message in self.messages if message["msg_type"] == kind]

    def _own(self) -> Iterator[dict[str, Any]]:
        """Its messages, but for what earlier cells show anew meanwhile: a view that was opened
        there renews what is saved of it whenever its time has come."""
        mine = {it.get("transient", {}).get("display_id") for it in self.of_type("display_data")}
        for message in self.messages:
            shown = message["content"].get("transient", {}).get("display_id")
            if message["msg_type"] != "update_display_data" or shown in mine:
                yield message

    def _data(self) -> Iterator[dict[str, Any]]:
        kinds = ("display_data", "execute_result", "update_display_data")
        own = list(self._own())
        for kind in kinds:
            yield from (it["content"]["data"] for it in own if it["msg_type"] == kind)

    def _texts(self) -> Iterator[str]:
        for message in self._own():
            content = message["content"]
            if message["msg_type"] == "stream":
                yield str(content["text"])
            elif "data" in content and "text/plain" in content["data"]:
                yield str(content["data"]["text/plain"]) + "\n"


class Kernel:
    """One kernel process, as `with Kernel(home) as kernel`; `LOAD` is its first cell."""

    def __init__(self, home: Path, *, load: bool = True, forked: bool = True, **more: str) -> None:
        # Through files of a short name: a TCP port that was found free may be another's by the time
        # the kernel is there to take it, which ends the kernel.
        self._sockets = tempfile.TemporaryDirectory(prefix="ondine-")
        place = f"{self._sockets.name}/kernel"
        self._manager = KernelManager(kernel_name="python3", transport="ipc", ip=place)
        self._environment = environment(home, forked=forked, **more)
        self._home, self._load = home, load
        self._seen: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._replies: dict[str, dict[str, Any]] = {}
        self.messages: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._home.mkdir(parents=True, exist_ok=True)
        self._manager.start_kernel(env=self._environment, cwd=str(self._home))
        self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._sockets.cleanup()

    def _connect(self) -> None:
        # A new client counts its messages anew: what came of an earlier one has the same ids.
        self._seen.clear()
        self._replies.clear()
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=PATIENCE)
        if self._load:
            assert self.run(LOAD).status == "ok"

    def anew(self, folder: Path, **environment: str) -> None:
        """As a new kernel in `folder` would be, with its journal there and this environment.

        For tests that restart nothing. The extension isn't loaded; modules stay imported, and what
        an earlier test has left on the way to the screen may still come.
        """
        ended = self.run(_ANEW.format(folder=str(folder), environment=environment))
        assert ended.status == "ok", ended.traceback
        self.messages.clear()

    def run(self, code: str, timeout: float = PATIENCE) -> Cell:
        """Run a cell to its end."""
        return self.finish(self.start(code), timeout)

    def start(self, code: str) -> str:
        """Send a cell off, without waiting."""
        return str(self._client.execute(code))

    def start_in_lab(self, code: str) -> str:
        """The same as JupyterLab does it: it says which cell it is, and somebody may click."""
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
        return self._send("execute_request", content, {"cellId": "of-the-tests"})

    def click(self, model: str) -> None:
        """What a browser sends for a click on the button of this model."""
        data = {"method": "custom", "content": {"event": "click"}}
        self._send("comm_msg", {"comm_id": model, "data": data})

    def _send(self, kind: str, content: dict[str, Any], metadata: Any = None) -> str:
        message = self._client.session.msg(kind, content, metadata=metadata)
        self._client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def finish(self, cell: str, timeout: float = PATIENCE) -> Cell:
        """Wait until a cell has ended and all that it shows has come."""
        end = time.monotonic() + timeout
        while cell not in self._replies or not self._is_idle(cell):
            if time.monotonic() > end:
                raise TimeoutError(f"the cell has not ended within {timeout} s")
            self._pump(0.05)
        self._pump(0)
        return Cell(self._replies[cell], self._seen[cell])

    def value(self, expression: str) -> Any:
        """A Python literal's worth of the kernel's state."""
        cell = self._client.execute(
            "", silent=True, store_history=False, user_expressions={"it": f"repr({expression})"}
        )
        result = self.finish(cell).reply["user_expressions"]["it"]
        assert result["status"] == "ok", result
        # What is shown is the repr of the repr.
        return ast.literal_eval(ast.literal_eval(result["data"]["text/plain"]))

    def shown(self, part: str) -> dict[str, Any]:
        """Wait for what shows HTML with this part first; gives the message."""
        end = time.monotonic() + PATIENCE
        while True:
            for message in self.messages:
                if part in message["content"].get("data", {}).get("text/html", ""):
                    return message
            assert time.monotonic() < end, f"nothing shows {part}"
            self._pump(0.05)

    def wait(self, expression: str, timeout: float = PATIENCE) -> None:
        """Wait until `expression` is true in the kernel (between cells)."""
        end = time.monotonic() + timeout
        while not self.value(f"bool({expression})"):
            assert time.monotonic() < end, f"{expression} did not become true in {timeout} s"
            time.sleep(0.05)

    def interrupt(self) -> None:
        """What the ■ button does: SIGINT."""
        self._manager.interrupt_kernel()

    def kill_and_restart(self) -> None:
        """SIGKILL, as the out-of-memory killer does it, and a new kernel in the same place."""
        pid = int(self._manager.provisioner.process.pid)  # type: ignore[union-attr]
        os.kill(pid, signal.SIGKILL)
        self._client.stop_channels()
        self._manager.restart_kernel(now=True)
        self._connect()

    def _is_idle(self, cell: str) -> bool:
        return any(
            message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
            for message in self._seen[cell]
        )

    def _pump(self, timeout: float) -> None:
        """Take in whatever has come on both channels."""
        with contextlib.suppress(Empty):
            while True:
                message = self._client.get_iopub_msg(timeout=timeout)
                self.messages.append(message)
                self._seen[message["parent_header"].get("msg_id", "")].append(message)
                timeout = 0
        with contextlib.suppress(Empty):
            while True:
                reply = self._client.get_shell_msg(timeout=0)
                self.messages.append(reply)
                self._replies[reply["parent_header"]["msg_id"]] = reply["content"]
