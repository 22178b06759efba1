"""Rows that are pictures and documents run as rows of text do: each gets its own answer, once."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image

from ondine_nb import Pipeline, Run
from ondine_nb.errors import ConfigurationError
from ondine_nb.providers import keep
from tests.data.media.drawings import jpeg, pdf, png, saved
from tests.server import MessagesServer, seen_in

HAIKU = "claude-haiku-5-5"
ROWS = 12
SCHEMA = "number: int, pictures: int"


@pytest.fixture(scope="module")
def sees() -> Iterator[MessagesServer]:
    with MessagesServer(sees=True) as running:
        yield running


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    (tmp_path / "photos").mkdir()
    return [str(saved(tmp_path / "photos", f"p {at}.png", png(at + 1))) for at in range(ROWS)]


def asked(
    data: Any, server: MessagesServer, prompt: str = "Which? {photo:image}", **more: Any
) -> Pipeline:
    return Pipeline(data, prompt, base_url=server.url, model=HAIKU, schema=SCHEMA, **more)


def numbers(frame: Any) -> list[Any]:
    return [None if pd.isna(each) else int(each) for each in frame["number"].to_list()]


def kinds(run: Run) -> list[str]:
    return list(run.errors["error_type"])


class Figure:
    """Draws itself as matplotlib's does, and is known by the same name."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def savefig(self, target: Any, *, format: str, metadata: dict[str, Any]) -> None:
        assert (format, metadata) == ("png", {"Software": None})
        target.write(self._content)


Figure.__module__ = "matplotlib.figure"


# -- values, frames, ways to run


@pytest.mark.parametrize("frame", [pl.DataFrame, pd.DataFrame])
@pytest.mark.parametrize("form", ["path", "Path", "bytes", "image", "array", "figure"])
def test_each_answer_is_that_of_its_own_picture(
    sees: MessagesServer, photos: list[str], frame: Callable[..., Any], form: str
) -> None:
    make: dict[str, Callable[[str], Any]] = {
        "path": str,
        "Path": Path,
        "bytes": lambda path: Path(path).read_bytes(),
        "image": lambda path: Image.open(path).copy(),
        "array": lambda path: np.asarray(Image.open(path)),
        "figure": lambda path: Figure(Path(path).read_bytes()),
    }
    if frame is pl.DataFrame and form not in ("path", "bytes"):
        data = pl.DataFrame({"photo": pl.Series(map(make[form], photos), dtype=pl.Object)})
    else:
        data = frame({"photo": [make[form](path) for path in photos]})
    result = asked(data, sees).execute()
    assert numbers(result.data) == list(range(1, ROWS + 1))
    assert result.metrics.failed_rows == 0


def test_lists_of_pictures_go_in_their_order(sees: MessagesServer, photos: list[str]) -> None:
    data = pl.DataFrame({"photos": [photos[:3], photos[3:4], [], None], "note": ["a"] * 4})
    result = asked(data[:2], sees, "Count {photos:images}").execute()
    assert numbers(result.data) == [1, 4]
    assert list(result.data["pictures"]) == [3, 1]
    skipped = asked(data[1:], sees, "Count {photos:images}").execute()
    assert (skipped.metrics.processed_rows, skipped.metrics.skipped_rows) == (1, 2)


def test_jinjas_filters_show_them(sees: MessagesServer, photos: list[str]) -> None:
    data = pd.DataFrame({"photos": [photos[:2], photos[2:5]]})
    prompt = "{% for it in photos %}{{ loop.index }}: {{ it | image }}{% endfor %}"
    result = asked(data, sees, prompt, jinja=True).execute()
    assert numbers(result.data) == [1, 3]
    assert list(result.data["pictures"]) == [2, 3]


@pytest.mark.parametrize("executor", ["sync", "streaming", "async"])
def test_every_executor_on_this_machine_runs_them(
    sees: MessagesServer, photos: list[str], executor: str
) -> None:
    data = pl.DataFrame({"photo": photos})
    result = asked(data, sees, executor=executor, chunk_size=5, fresh=True).execute()
    assert numbers(result.data) == list(range(1, ROWS + 1))


def test_streams_have_paths_or_bytes(
    sees: MessagesServer, photos: list[str], tmp_path: Path
) -> None:
    pl.DataFrame({"photo": photos}).write_csv(tmp_path / "photos.csv")
    contents = [Path(path).read_bytes() for path in photos]
    pl.DataFrame({"photo": contents}).write_parquet(tmp_path / "photos.parquet")
    lazy = pl.scan_parquet(tmp_path / "photos.parquet")
    for source in (tmp_path / "photos.csv", tmp_path / "photos.parquet", lazy):
        to = tmp_path / "out.parquet"
        given = source if isinstance(source, pl.LazyFrame) else str(source)
        asked(given, sees, chunk_size=5, to=str(to)).execute()
        assert numbers(pl.read_parquet(to)) == list(range(1, ROWS + 1))


def test_a_sample_a_preview_and_an_estimate_show_the_pictures_in_a_few_words(
    sees: MessagesServer, photos: list[str]
) -> None:
    pipeline = asked(pd.DataFrame({"photo": photos}), sees, sample=4)
    assert pipeline.estimate().requests == 4
    assert len(pipeline.execute().data) == 4


# -- the journal


def test_a_moved_picture_costs_nothing_and_a_changed_one_is_asked_again(
    photos: list[str], tmp_path: Path
) -> None:
    with MessagesServer(sees=True) as server:
        asked(pl.DataFrame({"photo": photos}), server).execute()
        moved = tmp_path / "moved"
        shutil.move(tmp_path / "photos", moved)
        paths = [str(moved / Path(path).name) for path in photos]
        again = asked(pl.DataFrame({"photo": paths}), server).execute()
        assert numbers(again.data) == list(range(1, ROWS + 1))
        assert server.ledger.requests == ROWS

        Path(paths[3]).write_bytes(png(99))
        changed = asked(pl.DataFrame({"photo": paths}), server).execute()
        assert numbers(changed.data)[3] == 99
        assert server.ledger.requests == ROWS + 1


def test_equal_pictures_are_asked_once_and_bytes_are_in_no_record(
    photos: list[str], tmp_path: Path, home: Path
) -> None:
    copies = [str(saved(tmp_path, f"copy {at}.png", png(1))) for at in range(5)]
    with MessagesServer(sees=True) as server:
        data = pd.DataFrame({"photo": [*copies, png(1)]})
        result = asked(data, server).execute()
        assert numbers(result.data) == [1] * 6
        assert server.ledger.requests == 1
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert png(1)[8:] not in kept
    assert str(tmp_path).encode() not in kept.replace(str(home).encode(), b"")


# -- named errors


def test_what_cannot_be_sent_is_the_rows_error_and_the_others_go_on(
    sees: MessagesServer, photos: list[str], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    bad = {
        "MissingFileError": "no such 🖼.png",
        "MediaError": str(tmp_path / "folder"),
        "EmptyFileError": str(saved(tmp_path, "empty.png", b"")),
        "BrokenFileError": str(saved(tmp_path, "cut.jpg", jpeg()[:200])),
        "UnsupportedFileError": str(saved(tmp_path, "words.png", b"only words")),
    }
    run = Run(asked(pl.DataFrame({"photo": [photos[0], *bad.values(), photos[1]]}), sees))
    result = run.execute()
    assert numbers(result.data) == [1, *[None] * len(bad), 2]
    assert kinds(run) == list(bad)
    assert all(message.startswith("photo: ") for message in run.errors["message"])
    assert list(run.errors["attempts"]) == [0] * len(bad)


@pytest.mark.parametrize("rows", [1, 3, 600])
def test_where_no_row_can_be_sent_one_line_says_so_and_nothing_is_sent(
    sees: MessagesServer, rows: int
) -> None:
    arrived = sees.arrived
    data = pd.DataFrame({"photo": [f"photos/{at}.png" for at in range(rows)]})
    with pytest.raises(ConfigurationError) as caught:
        asked(data, sees).execute()
    alike = f" (and so for all {rows} rows)" if rows > 1 else ""
    assert "'photos/" in str(caught.value)
    assert str(caught.value).endswith(f"no file has that path{alike}: nothing was sent")
    assert "\n" not in str(caught.value)
    assert sees.arrived == arrived


def test_a_file_removed_in_mid_run_is_its_rows_error(photos: list[str]) -> None:
    def plan(body: Any, attempt: int) -> str | None:
        if attempt == 1 and b"".join(each.content for each in seen_in(body)) == png(1):
            Path(photos[-1]).unlink()
            Path(photos[-2]).write_bytes(png(77))
        return None

    with MessagesServer(sees=True, plan=plan) as server:
        run = Run(asked(pl.DataFrame({"photo": photos}), server, concurrency=1))
        result = run.execute()
        assert numbers(result.data) == [*range(1, ROWS - 1), None, None]
        assert kinds(run) == ["ChangedFileError", "MissingFileError"]
        assert server.ledger.requests == ROWS - 2
        assert run.plan.budget.possibly_billed == 0


def test_each_attempt_reads_the_file_anew(photos: list[str]) -> None:
    def plan(body: Any, attempt: int) -> str | None:
        if attempt == 1 and seen_in(body)[0].content == png(2):
            Path(photos[1]).unlink()
            return "500"
        return "500" if attempt < 3 else None

    with MessagesServer(sees=True, plan=plan) as server:
        run = Run(asked(pl.DataFrame({"photo": photos[:3]}), server))
        result = run.execute()
        assert numbers(result.data) == [1, None, 3]
        assert kinds(run) == ["MissingFileError"]


def test_an_equal_picture_elsewhere_is_sent_where_the_first_is_gone(
    photos: list[str], tmp_path: Path
) -> None:
    copy = str(saved(tmp_path, "copy.png", png(2)))

    def plan(body: Any, attempt: int) -> str | None:
        Path(photos[1]).unlink(missing_ok=True)
        return None

    with MessagesServer(sees=True, plan=plan) as server:
        data = pl.DataFrame({"photo": [photos[0], photos[1], copy]})
        result = asked(data, server, concurrency=1).execute()
        assert numbers(result.data) == [1, None, 2]


# -- bytes in flight


def test_bodies_on_their_way_take_no_more_than_they_may(
    sees: MessagesServer, photos: list[str]
) -> None:
    run = Run(asked(pl.DataFrame({"photo": photos}), sees, concurrency=ROWS))
    held = run.plan.asker.sender.limits.bytes
    assert held.most == 256_000_000
    held.most = 10_000  # two bodies of these with their bounds, not twelve
    most = 0
    load = held.load

    async def loading(request: Any) -> None:
        nonlocal most
        await load(request)
        most = max(most, held.taken)

    held.load = loading  # type: ignore[method-assign]
    result = run.execute()
    assert numbers(result.data) == list(range(1, ROWS + 1))
    assert 0 < most <= 10_000
    assert held.taken == 0


# -- models without eyes, and what doesn't go together


def test_the_embedded_model_has_no_eyes_and_one_line_says_which_model_has(
    photos: list[str],
) -> None:
    data = pd.DataFrame({"photo": photos})
    for options in ({"model": "local"}, {}):
        with pytest.raises(ConfigurationError) as caught:
            Pipeline(data, "Which? {photo:image}", **options)
        assert "{photo:image} asks for a model that is known to take pictures" in str(caught.value)
        assert "the embedded model" in str(caught.value)
        assert "-m, such as claude-haiku-5-5" in str(caught.value)


def test_a_model_that_is_listed_without_eyes_is_refused_and_others_are_named(
    sees: MessagesServer, photos: list[str], home: Path
) -> None:
    pipeline = asked(pd.DataFrame({"photo": photos}), sees)
    no, yes = {"supported": False}, {"supported": True}
    listed = [
        {"id": HAIKU, "capabilities": {"image_input": no, "pdf_input": no}},
        {"id": "claude-sonnet-5-5", "capabilities": {"image_input": yes, "pdf_input": yes}},
    ]
    keep(home, pipeline.provider.identity, listed)
    with pytest.raises(ConfigurationError, match="name one with -m, such as claude-sonnet-5-5"):
        asked(pd.DataFrame({"photo": photos}), sees)
    with pytest.raises(ConfigurationError, match="known to take PDFs"):
        asked(pd.DataFrame({"terms": photos}), sees, "{terms:pdf}")


def test_a_pdf_by_form_file_is_the_rows_error_where_the_model_takes_none(
    sees: MessagesServer, photos: list[str]
) -> None:
    data = pd.DataFrame({"photo": [photos[0], pdf(), b"and words"]})
    pipeline = Pipeline(
        data, "{photo:file}", model="ollama:llava", base_url=sees.url + "/v1", price_in=0,
        price_out=0,
    )  # fmt: skip
    run = Run(pipeline)
    run.execute()
    assert kinds(run) == ["UnsupportedFileError"]
    assert "is PDF, and" in run.errors["message"].iloc[0]


def test_dask_and_examples_are_refused_in_one_line(sees: MessagesServer, photos: list[str]) -> None:
    data = pd.DataFrame({"photo": photos})
    with pytest.raises(ConfigurationError, match="--executor dask sends text, and the prompt has"):
        asked(data, sees, executor="dask")
    labelled = data.assign(number=1, pictures=1)
    with pytest.raises(ConfigurationError, match="--examples shows labelled rows as text"):
        asked(data, sees, examples=labelled)


def test_runs_of_texts_load_nothing_of_it() -> None:
    import subprocess

    code = (
        "import json, sys, pandas; from ondine_nb import Pipeline; "
        "Pipeline(pandas.DataFrame({'a': ['x']}), '{a}', model='local').template.render(['x']); "
        "print(json.dumps([n for n in ('PIL', 'pypdfium2') if n in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
