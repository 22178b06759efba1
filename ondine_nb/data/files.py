"""CSV, Parquet and JSONL files as streams of frames whose dtypes are those of the whole file.

A CSV or JSONL file is read through once when it is opened: a column that is empty, or an integer,
in its first rows and text in later ones has one dtype in every chunk; the number of rows is known;
and a garbled row is found before anything is sent. Of Parquet only the metadata are read.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ..errors import ConfigurationError, OndineError, RunError
from ..text import encodable
from .columns import Kind, kind_of_value, merged, native_rows
from .frames import NativeFrame, text_names
from .source import BLOCK_ROWS, FrameBlocks

__all__ = ["ENDINGS", "first_line", "needs", "open_file", "plan_stream"]

_WITH_GAPS = {
    f"{sign}int{n}": f"{sign.upper()}Int{n}" for sign in ("", "u") for n in (8, 16, 32, 64)
}
_WITH_GAPS["bool"] = "boolean"
_FORMS = {  # what polars takes for a number or a truth value in CSV
    "int": r"^-?[0-9]+$",
    "float": r"^[-+]?([0-9]+\.|[0-9]*\.[0-9]+([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|inf|NaN)$",
    "bool": r"^(?i:true|false)$",
}
_OTHERWISE = "correct it, or read it yourself and give the frame"


def open_file(path: Path, kind: str) -> FrameBlocks:
    """The file at `path`, which exists, as frames of `kind`, "pandas" or "polars".

    Raises ConfigurationError, which names the path and, where it is known, the line, for a file
    that can't be read as what its ending says; ColumnError for no columns or doubled ones.
    """
    ending = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    try:
        return ENDINGS[f".{ending}"](path, kind)
    except OndineError:
        raise
    except (OSError, MemoryError) as error:
        raise ConfigurationError(f"{path} can't be read: {first_line(error)}") from error
    except Exception as error:  # pandas, pyarrow and polars have no base in common
        found = _csv_fault(path) if ending in ("csv", "tsv") else None
        what = found or f"it can't be read as {ending.upper()} ({first_line(error)})"
        raise ConfigurationError(f"{path}: {what}: {_OTHERWISE}") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message: those of libraries go on for many."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")


def needs(library: str, what: str) -> ConfigurationError:
    """The error for a `library` that isn't installed and that `what` needs."""
    package = library if library == "pyarrow" else f'"ondine-nb[{library}]"'
    return ConfigurationError(f"{what} needs {library}: pip install {package}")


def plan_stream(plan: Any, name: str, rows: int | None = None) -> FrameBlocks:
    """A polars LazyFrame as a stream. The plan is run by polars' streaming engine, in order.

    Raises ConfigurationError for a plan that doesn't resolve or a polars that can't stream.
    """
    if not hasattr(plan, "collect_batches"):
        raise ConfigurationError(
            f'{name}: this polars can\'t give a plan in batches: pip install -U "polars>=1.42.1"'
        )
    try:
        empty = plan.collect_schema().to_frame(eager=True)
    except Exception as error:  # whatever a step of the plan raises
        raise ConfigurationError(f"{name} can't be run: {first_line(error)}") from error
    text_names(empty.columns, name)

    def blocks() -> Iterator[NativeFrame]:
        yield from plan.collect_batches(chunk_size=BLOCK_ROWS, maintain_order=True)

    return FrameBlocks(name, empty, _guarded(name, blocks), rows=rows)


def _guarded(
    name: str, blocks: Callable[[], Iterable[NativeFrame]]
) -> Callable[[], Iterator[NativeFrame]]:
    """`blocks`, where an error on the way ends the run with one line."""

    def guarded() -> Iterator[NativeFrame]:
        try:
            yield from blocks()
        except OndineError:
            raise
        except Exception as error:  # of pandas, pyarrow, polars, or a function in a plan
            raise RunError(f"{name} can't be read further: {first_line(error)}") from error

    return guarded


# --- CSV


def _open_csv(path: Path, kind: str) -> FrameBlocks:
    with _text(path) as file:
        header = next(csv.reader(file, delimiter=_separator(path)), [])
    text_names([column for column in header if column] or header, str(path))
    return (_pandas_csv if kind == "pandas" else _polars_csv)(path, len(header))


def _polars_csv(path: Path, width: int) -> FrameBlocks:
    import polars as pl

    def plan(**options: Any) -> Any:
        sep = _separator(path)
        return pl.scan_csv(path, separator=sep, infer_schema=False, glob=False, **options)

    # Not infer_schema_length=None: it holds the whole file in memory.
    texts = pl.all()
    counts: dict[str, Any] = {form: texts.str.contains(_FORMS[form]).sum() for form in _FORMS}
    whole = texts.str.contains(_FORMS["int"])  # a cast would take 2.5 for an integer, too
    counts["long"] = (whole & texts.cast(pl.Int64, strict=False).is_not_null()).sum()
    counts["longer"] = (whole & texts.cast(pl.Int128, strict=False).is_not_null()).sum()
    counts["present"] = texts.count()
    asked = [pl.struct(count).alias(name) for name, count in counts.items()]
    found = (
        plan().select(pl.len().alias("rows"), *asked).collect(engine="streaming").row(0, named=True)
    )
    rows = found.pop("rows")
    dtypes = {
        column: getattr(pl, _polars_dtype({name: of[column] for name, of in found.items()}))
        for column in found["present"]
    }
    return plan_stream(plan(schema_overrides=dtypes), str(path), rows=rows)


def _polars_dtype(counts: dict[str, int]) -> str:
    """The dtype that polars.read_csv gives a column, from how many of its cells have which form.

    But fractions beside integers of more than 64 bits are text, which changes no digit.
    """
    present = counts["present"]
    if not present:
        return "String"
    if counts["int"] == present:
        fits = [("long", "Int64"), ("longer", "Int128")]
        return next((dtype for size, dtype in fits if counts[size] == present), "String")
    if counts["bool"] == present:
        return "Boolean"
    floats = counts["int"] + counts["float"] == present and counts["long"] == counts["int"]
    return "Float64" if floats else "String"


def _pandas_csv(path: Path, width: int) -> FrameBlocks:
    import pandas as pd

    def read(**options: Any) -> Any:
        # A blank line is a missing value where it is all that a row can be.
        blank = width > 1
        return pd.read_csv(path, sep=_separator(path), skip_blank_lines=blank, **options)

    def blocks(**options: Any) -> Iterator[NativeFrame]:
        with read(chunksize=BLOCK_ROWS, low_memory=False, **options) as reader:
            yield from reader

    rows = 0
    seen: dict[str, set[str]] = {}
    for block in blocks(dtype_backend="numpy_nullable"):
        if not isinstance(block.index, pd.RangeIndex):
            raise ValueError("the rows have more cells than the header")
        rows += len(block)
        for column in block.columns:
            seen.setdefault(column, set()).update(_pandas_kinds(block[column]))
    dtypes = {column: _pandas_dtype(kinds) for column, kinds in seen.items()} if rows else {}
    name = str(path)
    empty = read(nrows=0, dtype=dtypes)
    return FrameBlocks(name, empty, _guarded(name, lambda: blocks(dtype=dtypes)), rows=rows)


def _pandas_kinds(series: Any) -> set[str]:
    """What pandas took one block of a CSV column for, and "gap" if something is missing."""
    gaps = series.isna()
    if gaps.all():
        return {"gap"}
    return {str(series.dtype)} | ({"gap"} if gaps.any() else set())


def _pandas_dtype(kinds: set[str]) -> str:
    """The dtype that pandas.read_csv gives a column of the whole file.

    But integers and booleans with gaps stay what they are: as floats, 5 would be 5.0 in a prompt
    and a long number another one; in an object column, true would be the text "True".
    """
    present = kinds - {"gap"}
    if present == {"Int64"} or present == {"boolean"}:
        whole = "int64" if present == {"Int64"} else "bool"
        return present.pop() if "gap" in kinds else whole
    return "float64" if present <= {"Int64", "Float64"} else "str"


def _csv_fault(path: Path) -> str | None:
    """What is wrong with which line of a CSV file, if it is one of the usual things."""
    with _bytes(path) as raw:
        for number, line in enumerate(raw, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return f"line {number} isn't UTF-8"
    with _text(path) as file:
        reader = csv.reader(file, delimiter=_separator(path), strict=True)
        try:
            width = len(next(reader, []))
            for row in reader:
                if len(row) > width:
                    return f"line {reader.line_num} has {len(row)} cells, the header has {width}"
        except csv.Error as error:
            return f"line {reader.line_num}: {error}"
    return None


def _separator(path: Path) -> str:
    return "\t" if ".tsv" in path.name.lower() else ","


def _bytes(path: Path) -> IO[bytes]:
    opened: Any = gzip.open if path.suffix.lower() == ".gz" else open
    file: IO[bytes] = opened(path, "rb")
    return file


def _text(path: Path) -> IO[str]:
    opened: Any = gzip.open if path.suffix.lower() == ".gz" else open
    file: IO[str] = opened(path, "rt", encoding="utf-8-sig", newline="")
    return file


# --- JSONL


def _open_jsonl(path: Path, kind: str) -> FrameBlocks:
    kinds: dict[str, Kind] = {}
    rows = 0
    for number, row in _objects(path):
        rows += 1
        for key, value in row.items():
            if encodable(key) != key:
                raise ConfigurationError(
                    f"{path}: line {number}: the key {key!r} has half a character, which UTF-8 "
                    "lacks: rename it"
                )
            kinds[key] = merged(kinds.get(key), kind_of_value(value))
    name = str(path)
    text_names(list(kinds), name)

    def blocks() -> Iterator[NativeFrame]:
        objects = (row for _, row in _objects(path))
        for start in range(0, rows, BLOCK_ROWS):
            yield native_rows(kind, list(islice(objects, BLOCK_ROWS)), kinds, start)

    return FrameBlocks(name, native_rows(kind, [], kinds), _guarded(name, blocks), rows=rows)


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines' numbers, from 1 on, and their objects. Blank lines are passed over."""
    with _bytes(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig"))
            except ValueError as error:
                what = "isn't UTF-8" if isinstance(error, UnicodeError) else f"isn't JSON ({error})"
                raise ConfigurationError(f"{path}: line {number} {what}: {_OTHERWISE}") from None
            if not isinstance(row, dict):
                raise ConfigurationError(
                    f"{path}: line {number} is {str(line[:30], 'utf-8', 'replace').strip()!r}, not "
                    f'an object such as {{"text": "…"}}: {_OTHERWISE}'
                )
            yield number, row


# --- Parquet


def _open_parquet(path: Path, kind: str) -> FrameBlocks:
    if kind == "pandas":
        return _pandas_parquet(path)
    import polars as pl

    plan = pl.scan_parquet(path, glob=False)
    return plan_stream(plan, str(path), rows=plan.select(pl.len()).collect().item())


def _pandas_parquet(path: Path) -> FrameBlocks:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise needs("pyarrow", f"{path}: Parquet for pandas") from None
    import pandas as pd

    with pq.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
        dtypes = _parquet_dtypes(file)
    text_names(schema.names, str(path))

    def fixed(table: Any, at: int = 0) -> NativeFrame:
        # What numpy has no dtype for stays in Arrow, with its type: as objects, integers in lists
        # with gaps would be floats, and decimals of as many digits as the chunk's longest.
        arrow = {field.name: field.type for field in table.schema if _stays_in_arrow(field.type)}
        kept = table.drop_columns(list(arrow))
        native = kept.to_pandas(types_mapper=_with_gaps)
        for slot, name in enumerate(table.schema.names):
            if name in arrow:
                held: Any = pd.array(table.column(name), dtype=pd.ArrowDtype(arrow[name]))
                native.insert(min(slot, len(native.columns)), name, held)
        if native.index.name is None and type(native.index).__name__ == "RangeIndex":
            native.index = range(at, at + len(native))  # goes on through the blocks
        return native.astype({column: dtypes[column] for column in native if column in dtypes})

    def blocks() -> Iterator[NativeFrame]:
        at = 0
        with pq.ParquetFile(path) as file:
            # Without threads: these would read ahead, and hold more row groups than one.
            for batch in file.iter_batches(BLOCK_ROWS, use_threads=False):
                yield fixed(pa.Table.from_batches([batch]), at)
                at += len(batch)

    name = str(path)
    empty = fixed(schema.empty_table())
    return FrameBlocks(name, empty, _guarded(name, blocks), rows=rows)


def _stays_in_arrow(arrow: Any) -> bool:
    """Whether a type is nested, or of decimals or bytes."""
    import pyarrow.types as kinds

    bare = kinds.is_decimal(arrow) or kinds.is_binary(arrow) or kinds.is_large_binary(arrow)
    return bool(bare or (arrow.num_fields and not kinds.is_dictionary(arrow)))


def _parquet_dtypes(file: Any) -> dict[str, Any]:
    """The dtypes that a part of the rows doesn't tell: those of pandas.read_parquet.

    But integers and booleans with gaps stay what they are, as in CSV.
    """
    import pandas as pd

    dtypes: dict[str, Any] = {}
    for column, dtype in file.schema_arrow.empty_table().to_pandas().dtypes.items():
        if isinstance(dtype, pd.CategoricalDtype):
            dtypes[column] = pd.CategoricalDtype(_categories(file, column), dtype.ordered)
        elif type(dtype).__module__.startswith("numpy") and dtype.kind in "iub":
            dtypes[column] = _with_gaps(dtype) if _gaps(file, column) else dtype
    return dtypes


def _with_gaps(dtype: Any) -> Any:
    """The pandas dtype with room for missing, for one of integers or booleans; None for others."""
    import pandas as pd

    name = _WITH_GAPS.get(str(dtype))
    return name and pd.api.types.pandas_dtype(name)


def _gaps(file: Any, column: str) -> bool:
    """Whether a value of a top-level column is missing; from the metadata, if these say so."""
    for at in range(file.num_row_groups):
        group = file.metadata.row_group(at)
        parts = map(group.column, range(group.num_columns))
        found = next(part.statistics for part in parts if part.path_in_schema == column)
        if found is None or not found.has_null_count:
            if file.read_row_group(at, columns=[column]).column(0).null_count:
                return True
        elif found.null_count:
            return True
    return False


def _categories(file: Any, column: str) -> list[Any]:
    """What stands in the dictionaries of all row groups, which may differ."""
    found: dict[Any, None] = {}
    for at in range(file.num_row_groups):
        for part in file.read_row_group(at, columns=[column]).column(0).chunks:
            found.update(dict.fromkeys(part.dictionary.to_pylist()))
    return list(found)


ENDINGS: dict[str, Callable[[Path, str], FrameBlocks]] = {
    ".csv": _open_csv,
    ".tsv": _open_csv,
    ".parquet": _open_parquet,
    ".jsonl": _open_jsonl,
    ".ndjson": _open_jsonl,
}
