"""The process that forks: `python -m tests.forks.parent SOCKET`. It ends when its stdin does.

It has one thread of its own and no loop, and never imports what starts threads or a shell when it
is imported: a fork would have the locks of a thread that it hasn't got.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import types
from typing import Any

__all__ = ["main"]

# ipywidgets isn't among them: it registers itself with the kernel when it is imported.
_IMPORTED = (
    *("pandas", "pyarrow.parquet", "anthropic", "aiohttp", "genai_prices", "jinja2"),
    *("ipykernel.kernelapp", "jedi", "IPython.core.completer"),
    *("nbconvert.nbconvertapp", "nbconvert.exporters", "papermill", "tests.server"),
)
_FDS = 3  # stdin, stdout and stderr come with each request


def _import_all() -> None:
    for name in _IMPORTED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    package = importlib.import_module("ondine_nb")
    for module in pkgutil.walk_packages(package.__path__, "ondine_nb."):
        if "dask" not in module.name:
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # else the first collection of each child would copy every page


class _Parent:
    """Forks for everyone who connects, and tells them when their child has ended."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._waiting: dict[int, socket.socket] = {}  # child to who asked for it
        self._ended, self._wake = socket.socketpair()
        self._ended.setblocking(False)
        self._wake.setblocking(False)

    def serve(self) -> dict[str, Any] | None:
        """Until stdin ends. In a child it gives what the child is to do."""
        signal.set_wakeup_fd(self._wake.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            for it in (self._listener, self._ended, sys.stdin):
                selector.register(it, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if sys.stdin in ready:
                    break
                if self._ended in ready:
                    self._ended.recv(1024)
                    self._tell()
                if self._listener in ready and (order := self._fork()) is not None:
                    return order
        for pid in self._waiting:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        return None

    def _tell(self) -> None:
        while self._waiting:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            with self._waiting.pop(pid) as asked, contextlib.suppress(OSError):
                asked.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())

    def _fork(self) -> dict[str, Any] | None:
        asked, _ = self._listener.accept()
        message, fds, _, _ = socket.recv_fds(asked, 1 << 20, _FDS)
        while not message.endswith(b"\n"):
            message += asked.recv(1 << 20)
        order: dict[str, Any] = json.loads(message)
        pid = os.fork()
        if pid:
            for fd in fds:
                os.close(fd)
            self._waiting[pid] = asked
            asked.sendall(f"{pid}\n".encode())
            return None
        for it in (self._listener, self._ended, self._wake, asked, *self._waiting.values()):
            it.close()
        for to, fd in enumerate(fds):
            os.dup2(fd, to)
            os.close(fd)
        return order


def _become(order: dict[str, Any]) -> None:
    """What the interpreter does with its command line and environment."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    kind, what, *arguments = order["arguments"]
    if what == "ipykernel_launcher":
        os.environ["JPY_PARENT_PID"] = str(os.getppid())  # with it the kernel ends
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [it for it in places if it and it not in sys.path]
    sys.argv = [kind, *arguments]
    if kind == "-m":
        sys.path.insert(0, order["cwd"])
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, "")
        sys.modules["__main__"] = module = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), vars(module))


def main(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        _import_all()
        listener.listen(64)
        print("ready", flush=True)
        order = _Parent(listener).serve()
    if order is not None:
        _become(order)


if __name__ == "__main__":
    main(sys.argv[1])
