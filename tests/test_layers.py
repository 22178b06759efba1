"""Which room may import which, through its face; and where foreign libraries are known."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import ondine_nb

ROOT = Path(ondine_nb.__file__).parent
# From the lowest floor up; rooms on one floor don't know one another.
FLOORS = [
    ["errors"],
    ["models", "text"],
    ["data", "prompts", "providers", "journal"],
    ["orchestration"],
    ["sending"],
    ["stages", "evaluation"],
    ["pipeline"],
    ["notebook"],
]
FLOOR = {name: at for at, names in enumerate(FLOORS) for name in names}
# A run shows itself: the only imports upward, each inside a function.
WAYS_UP = {("pipeline/run.py", "notebook.results")}
# The engine sends over a cluster by one of its executors.
PRIVATE = {"providers/dask": {"orchestration/executors/dask.py", "pipeline/"}}
MOST_AT_THE_TOP, MOST_IN_A_FOLDER = 13, 12

# Foreign libraries, and the places that may import them.
ALLOWED = {
    "anthropic": {"providers/anthropic/"},
    "httpx2": {"providers/anthropic/", "providers/http/", "providers/openai/"},
    "openai": {"providers/openai/"},
    "aiohttp": {"providers/anthropic/", "notebook/__init__.py"},
    "IPython": {"notebook/"},
    "ipywidgets": {"notebook/"},
    "anywidget": {"notebook/ui/view.py"},
    "numpy": {"data/", "evaluation/examples.py", "notebook/results/"},
    "traitlets": {"notebook/"},
    "ipykernel": {"notebook/"},
    "nbclient": {"notebook/demo.py"},
    "nbformat": {"notebook/demo.py"},
    "jinja2": {"prompts/jinja.py", "notebook/ui/templates.py"},
    "pandas": {"data/", "models.py"},
    "polars": {"data/", "models.py"},
    "pyarrow": {"data/"},
    "PIL": {"data/media/"},
    "pypdfium2": {"data/media/pdf.py"},
    "genai_prices": {"providers/pricing.py", "notebook/commands.py"},
    "tqdm": {"orchestration/observers.py", "providers/local/process.py"},
    "rapidfuzz": {"evaluation/"},
    "sqlite3": {"journal/"},
    "dask": {"data/dask.py", "providers/dask/"},
    "distributed": {"data/dask.py", "providers/dask/"},
    "cloudpickle": {"providers/dask/"},
    "xllamacpp": {"providers/local/server.py"},
}
# What no face loads by itself: each costs a tenth of a second or more.
HEAVY = [
    "numpy",
    "pandas",
    "polars",
    "pyarrow",
    "PIL",
    "pypdfium2",
    "anthropic",
    "openai",
    "httpx2",
    "aiohttp",
    "ipywidgets",
    "anywidget",
    "IPython",
    "dask",
    "distributed",
    "xllamacpp",
    "genai_prices",
    "jinja2",
    "nbclient",
    "nbformat",
]
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
INSIDE = [file for file in FILES if file != "__init__.py"]
FACES = [file for file in FILES if file.endswith("/__init__.py") and "notebook" not in file]


@dataclass(frozen=True)
class Import:
    """`file` imports `name`, a module or what a module holds; `how` is top, function or type."""

    file: str
    name: str
    how: str

    @property
    def target(self) -> str | None:
        """The file of this package that the imported name is in."""
        return file_of(self.name)


def room(file: str) -> str:
    """`orchestration/window.py` and `orchestration/__init__.py` are in the room `orchestration`."""
    return file.split("/")[0].removesuffix(".py")


@cache
def text_of(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


@cache
def tree(file: str) -> ast.Module:
    return ast.parse(text_of(file))


@cache
def imports(file: str) -> tuple[Import, ...]:
    """All imports of a file, also by `importlib.import_module` of a constant."""
    return tuple(_imports(file, tree(file), "top", "import_module" in text_of(file)))


def _imports(file: str, node: ast.AST, how: str, called: bool) -> Iterator[Import]:
    """Those of a node's children: statements, and expressions only where something is `called`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr) and not called:
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _imports(file, child, "function", called)
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from _imports(file, child, "type", called)
        else:
            yield from (Import(file, name, how) for name in _names(file, child))
            yield from _imports(file, child, how, called)


def _names(file: str, node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = ("ondine_nb/" + file).split("/")[:-1]
        base = package[: len(package) - node.level + 1] if node.level else []
        module = ".".join([*base, *filter(None, [node.module])])
        yield from (f"{module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        name = node.args[0]
        if isinstance(name, ast.Constant):
            yield str(name.value)


@cache
def offered(face: str) -> frozenset[str]:
    """What a face's `__all__` names."""
    for node in tree(face).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return frozenset(ast.literal_eval(node.value))
    return frozenset()


@cache
def file_of(name: str) -> str | None:
    """The file that a dotted name of this package is in: a module, or what a module holds."""
    parts = name.split(".")[1:]
    if not name.startswith("ondine_nb."):
        return None
    *folders, last = parts
    face = "/".join([*folders, "__init__.py"])
    if face in FILES and last in offered(face):  # a function may be called as its module is
        return face
    for end in (len(parts), len(parts) - 1):
        path = "/".join(parts[:end])
        for file in (f"{path}.py", f"{path}/__init__.py"):
            if path and file in FILES:
                return file
    return None


def rooms_of(file: str) -> set[str]:
    """The rooms of this package that a file imports from, types and functions included."""
    return {room(each.target) for each in imports(file) if each.target} - {"__init__"}


def test_every_room_has_a_floor() -> None:
    assert {room(file) for file in INSIDE} == set(FLOOR)


def test_a_room_imports_only_from_lower_floors() -> None:
    wrong = [each for file in INSIDE for each in imports(file) if not _is_downward(each)]
    assert wrong == []


def _is_downward(each: Import) -> bool:
    mine = room(each.file)
    if each.target is None or room(each.target) == mine:
        return True
    if each.target == "__init__.py":  # the root knows all rooms; they may know this of it
        return each.name in ("ondine_nb.__version__", "ondine_nb.lazily")
    face = each.name.removeprefix("ondine_nb.").rpartition(".")[0]
    if each.how == "function" and (each.file, face) in WAYS_UP:
        return True
    return FLOOR[room(each.target)] < FLOOR[mine]


def test_every_listed_way_up_is_gone() -> None:
    gone = {
        (file, each.name.removeprefix("ondine_nb.").rpartition(".")[0])
        for file, _ in WAYS_UP
        for each in imports(file)
        if each.how == "function"
    }
    assert gone >= WAYS_UP


def test_a_folder_is_entered_by_its_face() -> None:
    wrong = []
    for each in [each for file in INSIDE for each in imports(file)]:
        if each.target is None or each.target == "__init__.py":
            continue
        inside = each.file.split("/")[:-1]
        folder = each.target.split("/")[:-1]
        if folder and inside[: len(folder)] != folder and not each.target.endswith("__init__.py"):
            wrong.append(each)
    assert wrong == []


@pytest.mark.parametrize("folder", sorted(PRIVATE))
def test_what_is_private_to_a_few_is_known_to_them_only(folder: str) -> None:
    for file in FILES:
        if not file.startswith(folder) and any(
            each.target and each.target.startswith(folder) for each in imports(file)
        ):
            assert file.startswith(tuple(PRIVATE[folder])), f"{file} knows {folder}"


@pytest.mark.parametrize("face", FACES)
def test_a_face_says_what_it_offers_and_all_of_it_is_there(face: str) -> None:
    module = "ondine_nb." + face.removesuffix("/__init__.py").replace("/", ".")
    loaded = __import__(module, fromlist=["*"])
    assert loaded.__all__
    assert [name for name in loaded.__all__ if not hasattr(loaded, name)] == []


def test_no_face_loads_a_heavy_library() -> None:
    modules = ["ondine_nb." + face.removesuffix("/__init__.py").replace("/", ".") for face in FACES]
    code = (
        f"import sys, importlib\nfor name in {modules!r}: importlib.import_module(name)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("library", sorted(ALLOWED))
def test_a_foreign_library_is_known_only_where_it_belongs(library: str) -> None:
    knowing = {
        file
        for file in FILES
        if any(each.name.split(".")[0] == library and each.how != "type" for each in imports(file))
    }
    assert {file for file in knowing if not file.startswith(tuple(ALLOWED[library]))} == set()


def test_nobody_reaches_this_package_by_sys_modules_or_importlib() -> None:
    reaching = [
        f"{file}: {written}"
        for file in FILES
        if any(way in text_of(file) for way in ("sys.modules", "import_module"))
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Subscript | ast.Call)
        if _reaches(file, written := ast.unparse(node))
    ]
    assert reaching == []


def _reaches(file: str, written: str) -> bool:
    if written.startswith(("sys.modules[", "sys.modules.get(")):
        return "__" in written.replace("'__main__'", "") or "ondine_nb" in written
    called = written.split("(")[0].endswith("import_module")
    return called and file != "__init__.py" and "ondine_nb" in written


def test_the_modules_inside_a_room_dont_import_in_circles() -> None:
    graph = {
        file: {each.target for each in imports(file) if each.target and each.how == "top"} - {file}
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


def test_a_folder_holds_no_more_than_a_newcomer_takes_in_at_a_glance() -> None:
    folders = {ROOT, *(ROOT / file for file in FILES)}
    for folder in sorted({path if path.is_dir() else path.parent for path in folders}):
        held = [
            path
            for path in folder.iterdir()
            if not path.name.startswith("__")
            and (path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py"))))
        ]
        most = MOST_AT_THE_TOP if folder == ROOT else MOST_IN_A_FOLDER
        assert len(held) <= most, f"{folder.name} holds {len(held)}"


def test_no_class_name_means_two_things() -> None:
    homes: dict[str, list[str]] = {}
    for file in FILES:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name.lstrip("_"), []).append(file)
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


def test_this_test_sees_imports_of_every_form() -> None:
    names = {each.name for each in imports("providers/anthropic/client.py")}
    assert "anthropic" in names
    assert "data" in rooms_of("orchestration/rows.py")
    assert {"top", "function", "type"} <= {each.how for file in FILES for each in imports(file)}
    assert file_of("ondine_nb.providers.choose.choose") == "providers/choose.py"
    assert file_of("ondine_nb.providers.Provider") == "providers/__init__.py"
