"""A forked process, with the face of `subprocess.Popen`; and the environment of forked kernels."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from tests.patience import PATIENCE

__all__ = ["FORKS", "Forked", "Process", "kernel_environment", "run", "share", "start"]

ROOT = Path(__file__).parents[2]
FORKS = sys.platform == "linux"
SOCKET = "ONDINE_TESTS_FORK_AT"  # for processes that start kernels: where their parent listens
SHARED = "ONDINE_TESTS_FORKS"  # for workers of one suite: the folder of the parent that they share
_NAME = "forked-provisioner"
_BEGUN: list[subprocess.Popen[bytes]] = []  # held, as they outlive who starts them
_ENTRY_POINTS = f"""[jupyter_client.kernel_provisioners]
{_NAME} = tests.forks.provisioner:ForkedProvisioner
"""


class Forked:
    """`python ARGUMENTS` (`-c CODE …` or `-m MODULE …`), forked by the process at `at`.

    Each of the streams is a descriptor, an open file, `PIPE` (of text), `DEVNULL` or None, as for
    `subprocess.Popen`. It has a session of its own.
    """

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: Any = subprocess.DEVNULL,
        stdout: Any = None,
        stderr: Any = None,
        at: str | None = None,
    ) -> None:
        self.args = list(map(str, arguments))
        self.returncode: int | None = None
        self._lock = threading.Lock()
        self._told = b""
        ends = [_ends(it, number) for number, it in enumerate((stdin, stdout, stderr))]
        order = {
            "arguments": self.args,
            "cwd": str(cwd or os.getcwd()),
            "env": dict(os.environ if env is None else env),
        }
        self._asked = socket.socket(socket.AF_UNIX)
        self._asked.connect(at or _parent())
        told = json.dumps(order).encode() + b"\n"
        sent = socket.send_fds(self._asked, [told], [theirs for theirs, _ in ends])
        self._asked.sendall(told[sent:])
        self.pid = int(self._line())
        self.stdin: IO[str] | None = None
        self.stdout: IO[str] | None = None
        self.stderr: IO[str] | None = None
        for name, given, (theirs, ours) in zip(
            ("stdin", "stdout", "stderr"), (stdin, stdout, stderr), ends, strict=True
        ):
            if given in (subprocess.PIPE, subprocess.DEVNULL):
                os.close(theirs)
            if ours is not None:
                way = "w" if name == "stdin" else "r"
                setattr(self, name, os.fdopen(ours, way, encoding="utf-8"))

    def _line(self) -> bytes:
        """The next line from the parent: first the child's id, in the end its exit code."""
        while b"\n" not in self._told:
            more = self._asked.recv(64)
            if not more:
                raise ProcessLookupError("the process that forks is gone")
            self._told += more
        line, _, self._told = self._told.partition(b"\n")
        return line

    def poll(self) -> int | None:
        """The exit code, minus the signal that ended it; None while it runs."""
        with self._lock:
            if self.returncode is None and select.select([self._asked], [], [], 0)[0]:
                self.returncode = int(self._line())
                self._asked.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            select.select([self._asked], [], [], left)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it writes until it ends."""
        said = {"stdout": "", "stderr": ""}

        def read(name: str, stream: IO[str]) -> None:
            said[name] = stream.read()

        pipes = {name: it for name in said if (it := getattr(self, name)) is not None}
        readers = [threading.Thread(target=read, args=it, daemon=True) for it in pipes.items()]
        for reader in readers:
            reader.start()
        if self.stdin is not None:
            self.stdin.close()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
        for stream in pipes.values():
            stream.close()
        return said["stdout"], said["stderr"]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self.wait()


Process = Forked | subprocess.Popen[str]


def start(arguments: Sequence[str | Path], **how: Any) -> Process:
    """`python ARGUMENTS`, whose imports are done where the system can fork."""
    if FORKS:
        return Forked(arguments, **how)
    return subprocess.Popen([sys.executable, *map(str, arguments)], text=True, **how)


def run(
    arguments: Sequence[str | Path], timeout: float = PATIENCE, **how: Any
) -> subprocess.CompletedProcess[str]:
    """The same to its end, with all that it says."""
    with start(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how) as process:
        try:
            said = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.wait(), *said)


def _ends(given: Any, number: int) -> tuple[int, int | None]:
    """A stream's descriptor for the child, and ours where it is a pipe."""
    if given is None:
        return number, None
    if given == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDWR), None
    if given == subprocess.PIPE:
        read, write = os.pipe()
        return (read, write) if number == 0 else (write, read)
    return (given if isinstance(given, int) else given.fileno()), None


@functools.cache
def _folder() -> str:
    """What belongs to this process's parent of forks: its socket, and Jupyter's way to it."""
    folder = tempfile.TemporaryDirectory(prefix="ondine-")
    atexit.register(folder.cleanup)
    packaged = Path(folder.name, "ondine_tests_forks-0.dist-info")
    packaged.mkdir()
    # jsonschema would check IRIs by it, as nothing here does, and its grammar takes 1.7 s of CPU.
    Path(folder.name, "rfc3987_syntax.py").write_text("raise ImportError('not in tests')\n")
    (packaged / "METADATA").write_text("Metadata-Version: 2.1\nName: ondine-tests-forks\n")
    (packaged / "entry_points.txt").write_text(_ENTRY_POINTS)
    return folder.name


@functools.cache
def _parent() -> str:
    """The socket of the process that forks for this one, which is started when it is first asked.

    It ends with this process, however that ends: its stdin does.
    """
    if at := os.environ.get(SOCKET):
        return at
    if folder := os.environ.get(SHARED):
        return _shared(Path(folder))
    at = f"{_folder()}/socket"
    process = _begun(at, subprocess.PIPE)
    assert process.stdin is not None

    def end() -> None:
        process.stdin.close()
        process.wait(PATIENCE)

    atexit.register(end)
    return at


def _begun(at: str, stdin: Any) -> subprocess.Popen[bytes]:
    """A process that forks, with its imports done."""
    words = [sys.executable, "-m", "tests.forks.parent", at]
    process = subprocess.Popen(
        words, cwd=ROOT, stdin=stdin, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n", "the process that forks does not come up"
    _BEGUN.append(process)
    return process


def share() -> None:
    """Have all processes that this one starts fork from one parent, which ends with this one.

    Its imports take six seconds of CPU. Whoever asks first starts it.
    """
    if FORKS:
        alive = f"{_folder()}/alive"
        os.mkfifo(alive)
        os.open(alive, os.O_RDWR)  # by nobody else; it is closed by this process's end
        os.environ[SHARED] = _folder()


def _shared(folder: Path) -> str:
    import fcntl

    at = folder / "socket"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not at.exists():
            with (folder / "alive").open() as alive:
                _begun(str(at), alive)
    return str(at)


@functools.cache
def _told_jupyter() -> None:
    """This process's own kernels are forked too where their environment says so."""
    from jupyter_client.provisioning import KernelProvisionerFactory

    sys.path.append(_folder())
    KernelProvisionerFactory.instance().default_provisioner_name = _NAME


def kernel_environment() -> dict[str, str]:
    """By what Jupyter's kernels are forked, started by this process or by one that it starts."""
    if not FORKS:
        return {}
    _told_jupyter()
    return {
        SOCKET: _parent(),
        "JUPYTER_DEFAULT_PROVISIONER_NAME": _NAME,
        "PYTHONPATH": os.pathsep.join([str(ROOT), _folder()]),
    }
