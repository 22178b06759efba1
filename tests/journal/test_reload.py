"""A reload of the package, by whatever means, pays nothing again in the same process."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import forks
from tests.faults.processes import ROOT, ends_well, start
from tests.patience import PATIENCE
from tests.server import MessagesServer

ROWS = 12
HEAD = f"""
import importlib, os, sys, threading
import pandas as pd

def purge():
    for name in [name for name in sys.modules if name.split(".")[0] == "ondine_nb"]:
        del sys.modules[name]

def reload_each():
    import ondine_nb.journal
    modules = [name for name in sys.modules if name.startswith("ondine_nb.journal")]
    for name in sorted(modules, reverse=True):  # the face last
        importlib.reload(sys.modules[name])

def reload_face():
    import ondine_nb.journal
    importlib.reload(ondine_nb.journal)

def run(prompt="Tell: {{text}}", **options):
    from ondine_nb import Pipeline
    data = pd.DataFrame({{"text": [f"text {{at}}" for at in range({ROWS})]}})
    result = Pipeline(data, prompt, base_url=sys.argv[1], concurrency=4, **options).execute()
    assert result.success, result.errors
    return list(result.data["response"])
"""
HOW = ["purge", "reload_each", "reload_face"]


@pytest.mark.parametrize("how", HOW)
def test_what_was_paid_before_a_reload_is_found_after_it(
    server: MessagesServer, tmp_path: Path, how: str
) -> None:
    """In the same folder, although the process has gone elsewhere meanwhile."""
    code = f"""
first = run()
{how}()
os.chdir(sys.argv[2])
assert run() == first
{how}()
assert run() == first
"""
    environment = {name: value for name, value in os.environ.items() if name != "ONDINE_HOME"}
    started, elsewhere = tmp_path / "started", tmp_path / "elsewhere"
    started.mkdir()
    elsewhere.mkdir()
    arguments = ["-c", HEAD + code, server.url, elsewhere]
    done = forks.run(arguments, cwd=started, env={**environment, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert server.arrived == ROWS
    assert (started / ".ondine").exists()
    assert not (elsewhere / ".ondine").exists()


@pytest.mark.parametrize("how", ["purge", "reload_each"])
def test_what_is_in_flight_at_a_reload_is_waited_for_and_not_sent_again(
    server: MessagesServer, how: str
) -> None:
    code = f"""
threads = [threading.Thread(target=run) for _ in range(2)]
threads[0].start()
sys.stdin.readline()
{how}()
threads[1].start()
print("second", flush=True)
for thread in threads:
    thread.join()
"""
    server.pause()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = forks.start(["-c", HEAD + code, server.url], cwd=ROOT, **pipes)
    assert process.stdin is not None
    assert process.stdout is not None
    server.wait_for(4)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "second\n"
    server.resume()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert server.arrived == ROWS


def test_after_two_fresh_runs_with_the_clock_set_back_between_them_the_newer_answers_hold() -> None:
    """In processes that follow one another, and within one."""
    code = """
import json, time
told = time.time
time.time = lambda: told() - behind
behind = float(sys.argv[2])
said = [run(fresh=True)]
behind += 3600
said.append(run(fresh=True))
said.append(run())
print(json.dumps(said))
"""
    count = itertools.count()
    with MessagesServer(answer=lambda body: f"answer {next(count)}") as server:
        for behind in ("0", "7200"):
            older, newer, found = json.loads(ends_well(start(HEAD + code, server.url, behind)))
            assert found == newer != older
        assert server.arrived == 4 * ROWS
