"""The suite's workers share it out by groups, whatever pytest and xdist make of marks and ids."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests import workers
from tests.workers import group, order

ROOT = Path(__file__).parents[1]
# Small files with many tests each: by tests they would be spread over both workers.
FILES = ("tests/evaluation/test_tries.py", "tests/evaluation/test_values.py")


def test_the_tests_of_a_file_run_in_one_worker_in_their_order() -> None:
    command = [sys.executable, "-m", "pytest", "-n", "2", "-vv", "-p", "no:cacheprovider", *FILES]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    ran = re.findall(r"^\[(gw\d)\].* PASSED (\S+?)::", said, re.M)
    by = {file: {worker for worker, its in ran if its == file} for file in FILES}
    assert [len(of_one) for of_one in by.values()] == [1] * len(FILES), said[-3000:]
    assert len(set.union(*by.values())) == 2  # and both have work


def test_what_shares_a_browser_or_a_cluster_is_together_and_begins_first() -> None:
    files = [
        path.relative_to(ROOT / "tests").as_posix() for path in ROOT.glob("tests/**/test_*.py")
    ]
    in_order = sorted(files, key=lambda file: order(file, slow=False))
    names = [group(file) for file in in_order]
    begun = dict.fromkeys(names)
    assert names == sorted(names, key=list(begun).index)  # no group begins a second time
    browsers = [group(file) for file in files if file.startswith("browser/")]
    assert list(begun)[:2] == sorted(set(browsers))


def test_every_file_that_is_named_is_there() -> None:
    named = [*workers._TOGETHER, *(name for name in workers._SECONDS if name.endswith(".py"))]
    assert [file for file in named if not (ROOT / "tests" / file).is_file()] == []
