"""What is forked is a process as any other, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import forks
from tests.forks.child import FORKS, ROOT
from tests.notebook.kernels import Kernel

pytestmark = pytest.mark.skipif(not FORKS, reason="no fork here")
SAYS = """
import json, os, sys
import pandas
print(json.dumps([sys.argv, os.getcwd(), dict(os.environ), os.getpid(), __name__]))
print("trouble", file=sys.stderr)
sys.exit(len(sys.argv))
"""


def test_it_has_the_arguments_the_folder_the_environment_and_the_exit_code_of_its_own(
    tmp_path: Path,
) -> None:
    given = {"PATH": os.environ["PATH"], "ONLY": "this"}
    ended = forks.run(["-c", SAYS, "one", tmp_path], cwd=tmp_path, env=given)
    argv, folder, environment, pid, name = json.loads(ended.stdout)
    assert argv == ["-c", "one", str(tmp_path)]
    assert (folder, name) == (str(tmp_path), "__main__")
    assert environment == given
    assert pid not in (0, os.getpid())
    assert (ended.returncode, ended.stderr) == (3, "trouble\n")


def test_its_imports_are_done_and_its_shell_and_threads_are_not_begun() -> None:
    code = """
import sys, threading
print(sorted({"pandas", "anthropic", "ondine_nb.pipeline.run", "IPython"} & set(sys.modules)))
print({"ipywidgets", "polars", "dask", "distributed"} & set(sys.modules), threading.active_count())
from IPython import get_ipython
print(get_ipython())
"""
    said = forks.run(["-c", code]).stdout
    assert said == "['IPython', 'anthropic', 'ondine_nb.pipeline.run', 'pandas']\nset() 1\nNone\n"


def test_an_error_is_told_and_a_module_runs_as_by_dash_m() -> None:
    ended = forks.run(["-c", "1 / 0"])
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
    code = "import sys; print(sys.argv[1:])"
    assert forks.run(["-m", "timeit", "-n1", "-r1", code]).stdout.startswith("[")


def test_it_is_interrupted_killed_and_spoken_to_like_any_other() -> None:
    code = """
import sys, time
print("ready", flush=True)
try:
    print(sys.stdin.readline().strip() * 2, flush=True)
    while True: time.sleep(1)
except KeyboardInterrupt:
    print("interrupted", flush=True)
while True: time.sleep(1)
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with forks.start(["-c", code], **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("ho\n")
        process.stdin.flush()
        assert process.stdout.readline() == "hoho\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL


def test_an_order_of_any_length_arrives() -> None:
    code = f"text = {'x' * 3_000_000!r}\nprint(len(text))"
    assert forks.run(["-c", code]).stdout == "3000000\n"


def test_two_at_a_time_draw_their_own_chances() -> None:
    code = "import random, uuid; print(random.random(), uuid.uuid4())"
    assert forks.run(["-c", code]).stdout != forks.run(["-c", code]).stdout


def test_a_kernel_is_forked_and_killed_and_started_again(tmp_path: Path) -> None:
    with Kernel(tmp_path) as kernel:
        first = kernel.value("__import__('os').getpid()")
        assert kernel.value("'pandas' in __import__('sys').modules")
        assert kernel.value("__import__('os').environ['HOME']") == str(tmp_path)
        kernel.kill_and_restart()
        assert kernel.value("__import__('os').getpid()") != first
    with Kernel(tmp_path / "other", forked=False) as kernel:
        assert not kernel.value("'pandas' in __import__('sys').modules")


def test_what_is_forked_ends_with_the_process_that_asked_however_that_ends() -> None:
    code = """
import os, sys
from tests import forks
child = forks.start(["-c", "import time; print('up', flush=True); time.sleep(1000)"], stdout=-1)
child.stdout.readline()
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    gone(killed(code))


def test_workers_share_the_parent_which_ends_with_who_has_started_them() -> None:
    code = """
import os, subprocess, sys
from tests import forks
forks.share()
asks = "from tests import forks; print(forks.run(['-c', 'import os; print(os.getppid())']).stdout)"
command = [sys.executable, "-c", asks]
workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
(parent,) = {worker.communicate()[0].strip() for worker in workers}
print(parent, flush=True)
os.kill(os.getpid(), 9)
"""
    gone(killed(code))


def killed(code: str) -> int:
    """The process id that `code` says before it kills itself, as a suite of its own."""
    mine = (forks.child.SOCKET, forks.child.SHARED)
    alone = {name: it for name, it in os.environ.items() if name not in mine}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=alone, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return int(done.stdout)


def gone(process: int) -> None:
    while Path(f"/proc/{process}").exists():  # a wait in vain is ended by the limit of a test
        time.sleep(0.02)
