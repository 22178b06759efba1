"""A process killed at any moment loses no answer that it has paid for and counted."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

from tests.faults.processes import (
    SCHEMA,
    assert_undisturbed,
    ends_well,
    kill,
    killed_and_let_through,
    prompts,
    server_process,
    start,
)
from tests.patience import PATIENCE
from tests.server import MessagesServer

ROWS, WIDTH = 600, 50
SCRIPT = f"""
import sys
import pandas as pd
from ondine_nb import Pipeline

url, out = sys.argv[1:]
data = pd.DataFrame({{"text": [f"text {{at}}" for at in range({ROWS})]}})
result = Pipeline(
    data, "Tell: {{text}}", base_url=url, concurrency={WIDTH}, schema="{SCHEMA}"
).execute()
result.data.to_json(out, orient="records")
print(result.costs.total_cost, flush=True)
"""


def test_after_kills_only_what_was_in_flight_is_paid_again(tmp_path: Path) -> None:
    """Killed at three moments, then let through: the frame is that of an undisturbed run."""
    out = tmp_path / "out.json"
    faults = ["--faults", "429=.03,reset_after=.01,malformed=.01", "--retry-after", "0.01"]
    with server_process(*faults) as url:
        kills = (1, 150, 300)
        _, found = killed_and_let_through(lambda: start(SCRIPT, url, out), url, kills)
    delivered = Counter(entry["prompt"] for entry in found["entries"] if entry["delivered"])
    assert set(delivered) == set(prompts(ROWS))
    assert delivered.total() - ROWS <= WIDTH * len(kills)
    assert_undisturbed(out, ROWS)


def test_kills_during_the_next_runs_take_over_of_the_journal_lose_nothing(
    tmp_path: Path, server: MessagesServer
) -> None:
    """A process that dies while it starts leaves the files as good as it found them."""
    out = tmp_path / "out.json"
    ends_well(start(SCRIPT, server.url, out))
    for at in (2, 4):
        process = start(SCRIPT, server.url, out)
        time.sleep(0.25 * at)
        kill(process)
    said = ends_well(start(SCRIPT, server.url, out))
    assert server.arrived == ROWS
    assert float(said) == 0


def test_an_interrupt_of_a_script_waits_for_what_is_in_flight(
    tmp_path: Path, server: MessagesServer
) -> None:
    """Ctrl-C ends it by KeyboardInterrupt, and nothing that came is paid again."""
    out = tmp_path / "out.json"
    server.pause()
    process = start(SCRIPT, server.url, out)
    server.wait_for(WIDTH)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    server.resume()
    _, problem = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert problem.strip().endswith("KeyboardInterrupt")
    assert server.ledger.requests == server.arrived == WIDTH
    ends_well(start(SCRIPT, server.url, out))
    assert server.ledger.requests == ROWS


READ_MEANWHILE = f"""
import contextlib, shutil, sys, threading, zipfile
from pathlib import Path
import pandas as pd
from ondine_nb import Pipeline

url, folder, elsewhere = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
done = threading.Event()

def read():
    while not done.wait(0.05):
        with contextlib.suppress(OSError):  # what others delete in between
            for path in folder.rglob("*.*"):
                path.read_bytes()
            shutil.copytree(folder, elsewhere, dirs_exist_ok=True)
            with zipfile.ZipFile(elsewhere / "kept.zip", "w") as kept:
                for path in folder.glob("live-*"):
                    kept.write(path)

reader = threading.Thread(target=read)
data = pd.DataFrame({{"text": [f"text {{at}}" for at in range({ROWS})]}})
pipeline = Pipeline(data, "Tell: {{text}}", base_url=url, concurrency={WIDTH}, schema="{SCHEMA}")
folder.mkdir(exist_ok=True)
reader.start()
try:
    pipeline.execute()
finally:
    done.set()
    reader.join()
"""
TAKE_OVER = """
import asyncio
from ondine_nb.journal import shared

async def main():
    while True:
        await shared().refresh()
        await asyncio.sleep(0.02)

print("begun", flush=True)
asyncio.run(main())
"""


def test_what_reads_copies_and_zips_the_journal_in_the_kernel_lets_nobody_take_it_away(
    tmp_path: Path, home: Path, server: MessagesServer
) -> None:
    """Beside two processes that take over whatever looks dead; the kernel is killed at the end."""
    others = [start(TAKE_OVER) for _ in range(2)]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    try:
        for other in others:
            assert other.stdout is not None
            assert other.stdout.readline() == "begun\n"
        reading = start(READ_MEANWHILE, server.url, home, elsewhere)
        server.wait_for(ROWS // 2)
        kill(reading)
        ends_well(start(READ_MEANWHILE, server.url, home, elsewhere))
    finally:
        for other in others:
            kill(other)
    arrived = server.arrived
    assert ROWS <= arrived <= ROWS + WIDTH
    ends_well(start(SCRIPT, server.url, tmp_path / "out.json"))
    assert server.arrived == arrived
    assert_undisturbed(tmp_path / "out.json", ROWS)
