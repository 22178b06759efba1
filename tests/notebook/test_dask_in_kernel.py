"""`%%ondine … --executor dask` in a real kernel: workers of its own, and nothing spills."""

from __future__ import annotations

from pathlib import Path

from tests.server import MessagesServer, echo_of

from .kernels import Kernel

SETUP = """
import dask.dataframe as dd
import pandas as pd
import psutil

reviews = pd.DataFrame({"text": [f"dask {n}" for n in range(60)]})
parted = dd.from_pandas(reviews, npartitions=4)
"""
AFTER = """
import gc, time
gc.collect()
def workers():
    for each in psutil.Process().children():
        try:
            if "spawn_main" in " ".join(each.cmdline()):
                yield each
        except psutil.NoSuchProcess:  # it is just gone, or is a zombie
            pass
while list(workers()):
    time.sleep(0.01)
"""


def test_cells_over_a_pandas_and_a_dask_frame(tmp_path: Path, server: MessagesServer) -> None:
    echoes = [echo_of(f"Tell dask {n}") for n in range(60)]
    with Kernel(tmp_path) as kernel:
        assert kernel.run("%reset -f").status == "ok"  # with what processes are started by
        assert kernel.run(SETUP).status == "ok"
        line = f"--executor dask --base-url {server.url}\nTell {{text}}"
        cell = kernel.run(f"%%ondine labeled -i reviews {line}")
        assert cell.status == "ok", cell.traceback
        assert cell.of_type("stream") == []
        assert server.ledger.requests == 60
        assert kernel.value("list(labeled['response'])") == echoes
        assert kernel.value("labeled_run.state") == "done"
        assert kernel.value("labeled_run.plan.executor.name") == "dask"
        cell = kernel.run(f"%%ondine again -i parted {line}")
        assert cell.status == "ok", cell.traceback
        assert kernel.value("(again.npartitions, list(again.compute()['response']))") == (
            4,
            echoes,
        )
        assert server.ledger.requests == 60
        assert kernel.value("again_run.context.journal_rows") == 60
        kernel.run(
            "from ondine_nb.orchestration import DaskExecutor; mine = DaskExecutor('tcp://a:1')"
        )
        line = line.replace("dask", "$mine", 1)
        assert kernel.run(f"%%ondine third -i reviews {line}").status == "ok"
        assert kernel.value("third_run.plan.executor.client_or_address") == "tcp://a:1"
        last = kernel.run(AFTER)
        assert last.status == "ok"
        assert last.of_type("stream") == []
