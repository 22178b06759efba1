"""Dask DataFrames in and out: row by row the input's, partition by partition."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd
import pytest

from ondine_nb import Pipeline
from ondine_nb.data.open import open_source
from ondine_nb.errors import ConfigurationError, RunError
from tests.asking import Asker, echoes, texts
from tests.echo import Echo
from tests.server import MessagesServer

NOTHING = texts(1).iloc[:0]


@pytest.fixture
def asker(server: MessagesServer, home: Path) -> Asker:
    return Asker(server, home)


def mixed(n: int) -> pd.DataFrame:
    """Columns of several dtypes, under an index of dates."""
    data = texts(n)
    data["n"] = pd.array([None if at % 7 == 3 else at for at in range(n)], dtype="Int64")
    data["share"] = [at / 3 for at in range(n)]
    data["kind"] = pd.Categorical(["a" if at % 2 else "b" for at in range(n)])
    data["when"] = pd.date_range("2026-01-01", periods=n, freq="h")
    return data.set_index("when", drop=False).rename_axis("at")


def test_a_dask_frame_comes_back_as_one_with_the_same_partitions(asker: Asker) -> None:
    data = mixed(100)
    given = dd.from_pandas(data, npartitions=7)
    run = asker.run(given, chunk_size=30, schema="mood: good|bad, n2: int")
    made = run.frame
    assert isinstance(made, dd.DataFrame)
    assert made.npartitions == given.npartitions == 7
    assert made.divisions == given.divisions
    for at in range(7):
        part, was = made.partitions[at].compute(), given.partitions[at].compute()
        pd.testing.assert_frame_equal(part[was.columns], was)
    whole = made.compute()
    assert str(whole["n2"].dtype) == "Int64"
    assert list(whole["mood"].cat.categories) == ["good", "bad"]
    assert dict(made.dtypes.astype(str)) == dict(whole.dtypes.astype(str))
    assert asker.server.arrived == 100


def test_rows_stay_with_their_answers_where_computing_again_gives_another_order(
    asker: Asker,
) -> None:
    """As a shuffle or a sample without a seed does: the input is read once and kept."""

    def shuffled(at: int) -> pd.DataFrame:
        part = texts(20, start=20 * at)
        return part.sample(frac=1, random_state=random.SystemRandom().randrange(2**31))

    given = dd.from_map(shuffled, range(5), meta=texts(1))
    made = asker.run(given, chunk_size=33).frame
    assert made.divisions == given.divisions
    lengths = made.map_partitions(len).compute()
    whole = made.compute()
    assert list(lengths) == [20] * 5
    assert sorted(whole["text"]) == sorted(texts(100)["text"])
    assert list(whole["response"]) == echoes(whole)
    assert list(whole["response"]) == list(made.compute()["response"])


def test_empty_partitions_stay_and_an_empty_frame_has_the_new_columns(asker: Asker) -> None:
    parts = [texts(3), NOTHING, texts(2, start=3), NOTHING]
    given = dd.from_delayed([dask.delayed(part) for part in parts], meta=NOTHING)
    made = asker.run(given).frame
    assert list(made.map_partitions(len).compute()) == [3, 0, 2, 0]
    assert list(made.compute()["response"]) == echoes(texts(5))
    none = asker.run(dd.from_pandas(NOTHING, npartitions=1)).frame
    assert list(none.compute().columns) == ["text", "response"]


def test_partitions_are_computed_one_after_another_as_rows_are_needed(
    home: Path,
) -> None:
    computed: list[int] = []

    def part(at: int) -> pd.DataFrame:
        computed.append(at)
        return texts(50, start=50 * at)

    given = dd.from_map(part, range(40), meta=NOTHING)
    pipeline = Pipeline(given, "{text}", provider=Echo(), journal=home, chunk_size=50)
    chunks = pipeline.stream()
    first = next(chunks)
    assert list(first["response"]) == list(texts(50)["text"])
    assert len(computed) < 40
    assert computed == sorted(computed)
    chunks.close()


def test_a_sample_is_of_the_first_rows_and_a_pandas_frame(asker: Asker) -> None:
    run = asker.run(dd.from_pandas(texts(30), npartitions=3), sample=12)
    assert isinstance(run.frame, pd.DataFrame)
    assert list(run.frame["response"]) == echoes(texts(12))


def test_an_estimate_reads_all_of_it(asker: Asker) -> None:
    estimate = asker.pipeline(dd.from_pandas(texts(30), npartitions=3)).estimate()
    assert estimate.rows == 30
    assert asker.server.arrived == 0


def test_a_partition_that_cant_be_computed_ends_the_run(
    asker: Asker,
) -> None:
    def part(at: int) -> pd.DataFrame:
        if at == 2:
            raise ValueError("the disk is gone")
        return texts(10, start=10 * at)

    given = dd.from_map(part, range(4), meta=NOTHING)
    run = asker.run(given, chunk_size=10)
    assert isinstance(run.error, RunError)
    assert "partition 2 of data can't be computed: the disk is gone" in str(run.error)


def test_dtypes_that_differ_from_what_dask_knows_are_named(asker: Asker) -> None:
    wrong = dd.from_map(lambda at: texts(2).assign(n=["x", "y"]), [0], meta=NOTHING.assign(n=1))
    run = asker.run(wrong)
    assert "partition 0 of data: column 'n' is" in str(run.error)


def test_categories_that_dask_doesnt_know_are_refused_with_the_remedy() -> None:
    data = dd.from_pandas(texts(4), npartitions=2).astype({"text": "category"})
    with pytest.raises(ConfigurationError, match=r"give reviews\.categorize\(\)"):
        open_source(data, "reviews")


def test_it_computes_where_the_client_is_asynchronous(asker: Asker, two_dask_workers: Any) -> None:
    import asyncio

    from distributed import Client

    async def work() -> Any:
        async with Client(two_dask_workers.scheduler_address, asynchronous=True):
            given = dd.from_pandas(texts(10), npartitions=2)
            return (await asker.pipeline(given).execute_async()).data

    assert list(asyncio.run(work()).compute()["response"]) == echoes(texts(10))
