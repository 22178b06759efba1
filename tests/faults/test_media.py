"""2,000 pictures on a bad day, killed again and again: each answer is that of its own pixels."""

from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.data.media.drawings import png, saved
from tests.faults.processes import ends_well, killed_and_let_through, server_process, start

ROWS, WIDTH, KILLS = 2_000, 40, 3
MB = 1_000_000
SCRIPT = f"""
import sys
from pathlib import Path
import polars as pl
from ondine_nb import Pipeline

url, out, folder = sys.argv[1:]
data = pl.DataFrame({{"photo": [f"{{folder}}/photo {{at}}.png" for at in range({ROWS})]}})
pipeline = Pipeline(
    data, "Which number is it? {{photo:image}}", base_url=url, model="claude-haiku-5-5",
    schema="number: int, pictures: int", concurrency={WIDTH}, budget=5,
)
result = pipeline.execute()
result.data.write_ndjson(out)
print(result.metrics.failed_rows, flush=True)
"""


@pytest.mark.slow
def test_two_thousand_pictures_with_faults_and_kills_have_their_own_answers_paid_once(
    tmp_path: Path,
) -> None:
    """A row whose answers were all spoiled has failed; every other has the number that is drawn."""
    for at in range(ROWS):
        saved(tmp_path, f"photo {at}.png", png(at + 1, (16, 12)))
    out, rng = tmp_path / "out.ndjson", random.Random(os.getpid())
    faults = "429=.03,500=.02,529=.01,reset_before=.01,reset_after=.01,half=.01,malformed=.005"
    with server_process("--sees", "--faults", faults) as url:
        moments = [rng.randrange(1, ROWS // (KILLS + 1)) for _ in range(KILLS)]
        said, found = killed_and_let_through(
            lambda: start(SCRIPT, url, out, tmp_path), url, moments
        )
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    told = {row["photo"]: row["number"] for row in rows}
    assert len(told) == ROWS
    for at in range(ROWS):
        assert told[f"{tmp_path}/photo {at}.png"] == at + 1
    assert int(said) == 0
    delivered = Counter(entry["prompt"] for entry in found["entries"] if entry["delivered"])
    assert len(delivered) == ROWS
    # What was in flight at a kill may have been answered to nobody: nothing else is paid twice.
    assert delivered.total() - ROWS <= WIDTH * KILLS


MEMORY = """
import json, resource, sys
import polars as pl
from ondine_nb import Pipeline

url, folder, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def run(first, last):
    data = pl.DataFrame({
        "photo": [f"{folder}/photo {at % 20}.png" for at in range(first, last)],
        "at": list(range(first, last)),
    })
    pipeline = Pipeline(
        data, "{at}: which number is it? {photo:image}", base_url=url, model="claude-haiku-5-5",
        concurrency=8,
    )
    result = pipeline.execute()
    assert result.metrics.failed_rows == 0, result.errors[:1]

run(0, 20)
early = peak()
run(20, rows)
print(json.dumps([early, peak()]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts memory in kB")
def test_memory_is_that_of_the_pictures_on_their_way_not_of_all(tmp_path: Path) -> None:
    """120 rows with a photo of 1 MB each are 160 MB in base64; eight are on their way."""
    for at in range(20):
        saved(tmp_path, f"photo {at}.png", png(at + 1) + os.urandom(MB))
    with server_process("--sees") as url:
        said = ends_well(start(MEMORY, url, tmp_path, "120"))
    early, last = json.loads(said.splitlines()[-1])
    assert last - early < 40
    assert last < 450
