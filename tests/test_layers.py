"""Imports point left only, and foreign libraries are known where they belong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ondine_nb

ROOT = Path(ondine_nb.__file__).parent
# Left to right; what stands in one line may not import each other.
LAYERS = [
    ["errors"],
    ["models"],
    ["rows"],
    ["control", "checkpoints", "dispatcher"],
    ["contracts", "prompts", "json_schemas", "short_form", "columns"],
    ["jinja_prompts"],
    ["schemas", "pricing", "frames", "caching", "packs"],
    ["records", "streams"],
    ["table_files"],
    ["dask_frames", "parquet_folders"],
    ["sources", "parquet_parts"],
    ["sinks"],
    ["sink_folders"],
    ["options", "pacing", "rowsets", "budget", "catalogue", "batch_records", "journal_entries"],
    ["providers", "limits", "journal_store"],
    ["journal_files", "breaker", "inquiries", "clusters", "desk"],
    ["journal", "lines", "fleet"],
    ["remote"],
    ["invocation", "batches"],
    ["batch_words"],
    ["batching", "packing"],
    ["askers"],
    ["stages"],
    ["orchestration"],
    ["run_records", "outcomes", "outputs"],
    ["estimation"],
    ["jobs", "spending"],
    ["pipeline"],
    ["run"],
    ["notebook", "cli"],
]
PLACE = {name: at for at, names in enumerate(LAYERS) for name in names}

# Foreign libraries, and the rooms that may import them.
ALLOWED = {
    "anthropic": {"providers/anthropic.py"},
    "IPython": {"notebook/"},
    "jinja2": {"jinja_prompts.py", "notebook/"},
    "ipywidgets": {"notebook/"},
    "traitlets": {"notebook/"},
    "ipykernel": {"notebook/"},
    "pandas": {
        "frames.py",
        "models.py",
        "parquet_folders.py",
        "records.py",
        "streams.py",
        "table_files.py",
    },
    "polars": {
        "frames.py",
        "models.py",
        "parquet_folders.py",
        "parquet_parts.py",
        "records.py",
        "streams.py",
        "table_files.py",
    },
    "pyarrow": {"parquet_parts.py", "table_files.py"},
    "genai_prices": {"pricing.py", "notebook/listings.py"},
    "tqdm": {"orchestration/observers.py", "providers/local.py"},
    "sqlite3": {"journal.py", "journal_files.py", "journal_store.py"},
    "dask": {"clusters.py", "dask_frames.py"},
    "distributed": {"clusters.py", "dask_frames.py"},
    "cloudpickle": {"desk.py", "remote.py"},
    "xllamacpp": {"providers/local_face.py"},
}
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def room(file: str) -> str:
    """`orchestration/window.py` and `orchestration/__init__.py` are in the room `orchestration`."""
    return file.split("/")[0].removesuffix(".py")


def imports(file: str) -> Iterator[str]:
    """The full names of all modules that a file imports, at its top or inside a function."""
    package = ("ondine_nb/" + file).split("/")[:-1]
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            name = node.args[0]
            if isinstance(name, ast.Constant):
                yield str(name.value)


def rooms_of(file: str) -> set[str]:
    """The rooms of this package that a file imports from."""
    files = [_file_of(name) for name in imports(file)]
    return {room(found) for found in files if found}


@pytest.mark.parametrize("file", [file for file in FILES if file != "__init__.py"])
def test_a_room_imports_only_from_rooms_to_its_left(file: str) -> None:
    mine = room(file)
    assert mine in PLACE, f"{file} has no place among the layers"
    for other in rooms_of(file) - {mine}:
        assert other in PLACE, f"{file} imports {other}, which has no place among the layers"
        assert PLACE[other] < PLACE[mine], f"{file} imports {other}"


@pytest.mark.parametrize("library", sorted(ALLOWED))
def test_a_foreign_library_is_known_only_where_it_belongs(library: str) -> None:
    knowing = {
        file for file in FILES if any(name.split(".")[0] == library for name in imports(file))
    }
    allowed = ALLOWED[library]
    strangers = {
        file
        for file in knowing
        if not any(file == place or file.startswith(place) for place in allowed)
    }
    assert strangers == set()


def test_the_modules_inside_a_room_dont_import_in_circles() -> None:
    graph = {
        file: {
            target
            for name in imports(file)
            for target in [_file_of(name)]
            if target and target != file
        }
        for file in FILES
        if file != "__init__.py"
    }
    for start in graph:
        seen: set[str] = set()
        to_do = set(graph[start])
        while to_do:
            file = to_do.pop()
            assert file != start, f"{start} imports itself through others"
            if file not in seen:
                seen.add(file)
                to_do |= graph.get(file, set())


def _file_of(name: str) -> str | None:
    """The file that an imported name is in: a module, or what a module holds."""
    parts = name.split(".")[1:]
    if not name.startswith("ondine_nb."):
        return None
    for end in (len(parts), len(parts) - 1):
        path = "/".join(parts[:end])
        for file in (f"{path}.py", f"{path}/__init__.py"):
            if path and file in FILES:
                return file
    return None


def test_this_test_sees_imports_of_every_form() -> None:
    assert "anthropic" in set(imports("providers/anthropic.py"))
    assert "rowsets" in rooms_of("orchestration/segments.py")
    assert "frames" in rooms_of("stages.py")
    assert _file_of("ondine_nb.providers.choice.choose") == "providers/choice.py"
    assert _file_of("ondine_nb.providers.Provider") == "providers/__init__.py"
