"""CSV, Parquet and JSONL files as streams of frames whose dtypes are those of the whole file.

A CSV or JSONL file is read through once when it is opened: a column that is empty, or an integer,
in its first rows and text in later ones has one dtype in every chunk; the number of rows is known;
and a garbled row is found before anything is sent. Of Parquet only the metadata are read.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ..errors import ColumnError, ConfigurationError, OndineError, RunError, nearest
from ..text import as_text, encodable
from .columns import Kind, kind_of_value, listed, merged, native_rows
from .frames import NativeFrame, text_names
from .source import BLOCK_ROWS, FrameBlocks

__all__ = ["ENDINGS", "first_line", "needs", "open_file", "plan_stream"]

_WITH_GAPS = {
    f"{sign}int{n}": f"{sign.upper()}Int{n}" for sign in ("", "u") for n in (8, 16, 32, 64)
}
_WITH_GAPS["bool"] = "boolean"
_FORMS = {  # what polars takes for a number or a truth value in CSV
    "int": r"^-?[0-9]+$",
    # A post code, an article number: not the number that it looks like. Who writes numbers with an
    # exponent writes a sign, a point or a small letter in them.
    "code": r"^(?:[-+]?0[0-9]|[0-9]+E[0-9]+$)",
    "date": r"^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])$",
    "float": r"^[-+]?(?:[0-9]+\.|[0-9]*\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+"
    r"|inf|NaN)$",
    "bool": r"^(?i:true|false)$",
}
_EXACT = 2**53  # up to here a float holds every integer
# The dtypes of a CSV column: in polars, in pandas, and there with gaps.
_CSV_DTYPES = {
    "str": ("String", "str", "str"),
    "int": ("Int64", "int64", "Int64"),
    "longer": ("Int128", "str", "str"),
    "float": ("Float64", "float64", "float64"),
    "bool": ("Boolean", "bool", "boolean"),
    "date": ("String", "object", "object"),
}
_CSV_VALUES: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "bool": lambda text: text.lower() == "true",
    "date": date.fromisoformat,
}
_OTHERWISE = "correct it, or read it yourself and give the frame"


def open_file(path: Path, kind: str, dtypes: Mapping[str, str] | None = None) -> FrameBlocks:
    """The file at `path`, which exists, as frames of `kind`, "pandas" or "polars".

    `dtypes` says what columns of CSV and JSONL are read as: str, int, float, bool or date.

    Raises ConfigurationError, which names the path and, where it is known, the line, for a file
    that can't be read as what its ending says; ColumnError for no columns or doubled ones.
    """
    ending = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    try:
        return ENDINGS[f".{ending}"](path, kind, dtypes or {})
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


def _open_csv(path: Path, kind: str, dtypes: Mapping[str, str]) -> FrameBlocks:
    with _text(path) as file:
        header = next(csv.reader(file, delimiter=_separator(path)), [])
    text_names([column for column in header if column] or header, str(path))
    return (_pandas_csv if kind == "pandas" else _polars_csv)(path, dtypes)


def _polars_csv(path: Path, dtypes: Mapping[str, str]) -> FrameBlocks:
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
    exact = texts.cast(pl.Int64, strict=False).is_between(-_EXACT, _EXACT)
    counts["exact"] = (whole & exact).sum()
    counts["present"] = texts.count()
    asked = [pl.struct(count).alias(name) for name, count in counts.items()]
    found = (
        plan().select(pl.len().alias("rows"), *asked).collect(engine="streaming").row(0, named=True)
    )
    rows = found.pop("rows")
    _check_named(dtypes, list(found["present"]), path)
    kinds = {
        column: _csv_kind(path, column, {name: of[column] for name, of in found.items()}, dtypes)
        for column in found["present"]
    }
    overrides = {column: getattr(pl, _CSV_DTYPES[of][0]) for column, of in kinds.items()}
    days = [pl.col(column).str.to_date("%Y-%m-%d") for column, of in kinds.items() if of == "date"]
    return plan_stream(plan(schema_overrides=overrides).with_columns(days), str(path), rows=rows)


def _csv_kind(path: Path, column: str, counts: dict[str, int], dtypes: Mapping[str, str]) -> str:
    """The kind of a CSV column, from how many of its cells have which form, or as it was given.

    A column in which a number with a leading zero stands is text, and one with fractions beside
    integers that no float holds: no digit is changed. Raises ConfigurationError where cells don't
    fit the given dtype.
    """
    present = counts["present"]
    if column in dtypes:
        fits = {
            "str": present,
            "int": counts["long"],
            "float": counts["int"] + counts["float"],
            "bool": counts["bool"],
            "date": counts["date"],
        }[dtypes[column]]
        if fits < present:
            raise ConfigurationError(
                f"{path}: {present - fits:,} of {present:,} cells of column {column!r} are no "
                f"{dtypes[column]}: give it another dtype, such as str"
            )
        return dtypes[column]
    if not present or counts["code"]:
        return "str"
    if counts["int"] == present:
        sizes = [("long", "int"), ("longer", "longer")]
        return next((kind for size, kind in sizes if counts[size] == present), "str")
    if counts["bool"] == present:
        return "bool"
    floats = counts["int"] + counts["float"] == present and counts["exact"] == counts["int"]
    return "float" if floats else "str"


def _pandas_csv(path: Path, dtypes: Mapping[str, str]) -> FrameBlocks:
    import pandas as pd

    def read(**options: Any) -> Any:
        # As in polars a blank line is a row without values, and only an empty cell is missing: NA
        # and None are words.
        return pd.read_csv(
            path,
            sep=_separator(path),
            skip_blank_lines=False,
            keep_default_na=False,
            na_values=[""],
            **options,
        )

    def blocks(**options: Any) -> Iterator[NativeFrame]:
        with read(chunksize=BLOCK_ROWS, low_memory=False, **options) as reader:
            yield from reader

    rows = 0
    seen: dict[str, Counter[str]] = {}
    for block in blocks(dtype="str"):
        if not isinstance(block.index, pd.RangeIndex):
            raise ValueError("the rows have more cells than the header")
        rows += len(block)
        for column in block.columns:
            seen.setdefault(column, Counter()).update(_forms_in(block[column]))
    if not rows:
        seen = {column: Counter() for column in read(nrows=0).columns}
    _check_named(dtypes, list(seen), path)
    kinds = {column: _csv_kind(path, column, found, dtypes) for column, found in seen.items()}
    with_gaps = {column for column, found in seen.items() if found["present"] < rows}

    def typed(native: NativeFrame) -> NativeFrame:
        made = {
            column: _csv_array(native[column], kind, gaps=column in with_gaps)
            for column, kind in kinds.items()
            if kind in _CSV_VALUES
        }
        return native.assign(**made)

    empty = typed(read(nrows=0, dtype="str"))
    read_on = _guarded(str(path), lambda: map(typed, blocks(dtype="str")))
    return FrameBlocks(str(path), empty, read_on, rows=rows)


def _csv_array(texts: Any, kind: str, *, gaps: bool) -> Any:
    """A pandas column of text as an array of its kind."""
    import pandas as pd

    value = _CSV_VALUES[kind]
    cells = [None if gone else value(text) for text, gone in zip(texts, texts.isna(), strict=True)]
    return pd.Series(cells, dtype=_CSV_DTYPES[kind][2 if gaps else 1]).array


def _forms_in(series: Any) -> dict[str, int]:
    """How many of the cells of a block of text have which form."""
    cells = series.dropna()
    found = {form: int(cells.str.contains(shape).sum()) for form, shape in _FORMS.items()}
    whole = [*map(int, cells[cells.str.contains(_FORMS["int"])])] if found["int"] else []
    sizes = [number.bit_length() if number >= 0 else (~number).bit_length() for number in whole]
    found["long"] = sum(size < 64 for size in sizes)
    found["longer"] = sum(size < 128 for size in sizes)
    found["exact"] = sum(-_EXACT <= number <= _EXACT for number in whole)
    return found | {"present": len(cells)}


def _check_named(dtypes: Mapping[str, str], columns: Sequence[str], path: Path) -> None:
    """Raises ColumnError for a dtype of a column that a file hasn't got."""
    for column in dtypes:
        if column not in columns:
            near = nearest(column, columns)
            hint = f"did you mean {near!r}?" if near else f"it has {listed(columns)}"
            raise ColumnError(f"dtypes names {column!r}, and {path} has no such column: {hint}")


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


def _open_jsonl(path: Path, kind: str, dtypes: Mapping[str, str]) -> FrameBlocks:
    kinds: dict[str, Kind] = {}
    rows = 0
    for number, row in _converted(path, dtypes):
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
    _check_named(dtypes, list(kinds), path)
    kinds |= {column: _ROW_KINDS.get(dtype, dtype) for column, dtype in dtypes.items()}

    def blocks() -> Iterator[NativeFrame]:
        objects = (row for _, row in _converted(path, dtypes))
        for start in range(0, rows, BLOCK_ROWS):
            yield native_rows(kind, list(islice(objects, BLOCK_ROWS)), kinds, start)

    empty = native_rows(kind, [], kinds)
    return FrameBlocks(name, empty, _guarded(name, blocks), rows=rows, kinds=kinds)


_ROW_KINDS = {"date": "day", "int": "long"}


def _converted(path: Path, dtypes: Mapping[str, str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines' numbers and objects, with the dtypes that were given for some columns."""
    for number, row in _objects(path):
        for column in dtypes.keys() & row.keys():
            try:
                row[column] = _read_as(row[column], dtypes[column])
            except ValueError:
                raise ConfigurationError(
                    f"{path}: line {number} has {row[column]!r} for {column!r}, which is no "
                    f"{dtypes[column]}: give it another dtype, such as str"
                ) from None
        yield number, row


def _read_as(value: Any, dtype: str) -> Any:
    """A value of JSON as text, or what its text says. Raises ValueError where it says no such."""
    text = as_text(value)
    if value is None or dtype == "str":
        return None if value is None else text
    if dtype == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if dtype == "int" and -(2**63) <= int(text) < 2**63:
        return int(text)
    if dtype in ("float", "date"):
        return float(text) if dtype == "float" else date.fromisoformat(text)
    raise ValueError(text)


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


def _open_parquet(path: Path, kind: str, dtypes: Mapping[str, str]) -> FrameBlocks:
    if dtypes:
        raise ConfigurationError(
            f"{path} has dtypes of its own: leave dtypes out, or give a frame with other ones"
        )
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

    known = (kinds.is_binary, kinds.is_large_binary, kinds.is_fixed_size_binary, kinds.is_decimal)
    bare = any(is_of(arrow) for is_of in known)
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


ENDINGS: dict[str, Callable[[Path, str, Mapping[str, str]], FrameBlocks]] = {
    ".csv": _open_csv,
    ".tsv": _open_csv,
    ".parquet": _open_parquet,
    ".jsonl": _open_jsonl,
    ".ndjson": _open_jsonl,
}
