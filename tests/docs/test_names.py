"""What the prose names is there under that name: flags, lines, keywords, attributes, errors."""

from __future__ import annotations

import builtins
import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

import ondine_nb
from ondine_nb import Pipeline, Run, errors, models, orchestration
from ondine_nb.notebook.arguments import parser
from ondine_nb.notebook.magics import OndineMagics
from ondine_nb.pipeline.options import Options
from ondine_nb.stages import prompt as stages
from tests.docs.pages import DOCS, PAGES, ROOT

READ = [ROOT / "README.md", *PAGES]
FLAGS = {flag for action in parser()._actions for flag in action.option_strings}
OF_LINES = {"--labels"}  # of `%ondine score`
OF_OTHERS = {"--execute", "--to", "--jp", "--docs"}  # nbconvert's, JupyterLab's, the gallery's
OF_OTHERS |= OF_LINES
OF_BENCH = {
    flag
    for path in (ROOT / "tests" / "bench").glob("*.py")
    for flag in re.findall(r'add(?:_argument)?\(\s*"(--[a-z-]+)"', path.read_text(encoding="utf-8"))
}
LINES = {"help", "runs", "stop", "resume", "models", "cost", "panel", "doctor"}
LINES |= {"show", "review", "score", "labels", "tries"}
KEYWORDS = {option.name for option in fields(Options)} | set(inspect.signature(Pipeline).parameters)
ONDINE = DOCS / "coming-from" / "ondine.md"


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _found(pattern: str, page: Path) -> set[str]:
    text = re.sub(r"^:::.*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return set(re.findall(pattern, text))


@pytest.mark.parametrize("page", READ, ids=_name)
def test_every_flag_that_a_page_names_is_an_option(page: Path) -> None:
    known = FLAGS | OF_OTHERS | (OF_BENCH if page.name == "benchmarks.md" else set())
    assert _found(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", page) - known == set()


@pytest.mark.parametrize("page", READ, ids=_name)
def test_every_line_magic_that_a_page_names_is_one(page: Path) -> None:
    assert _found(r"(?<!%)%ondine ([a-z]+)", page) <= LINES


@pytest.mark.parametrize("page", READ, ids=_name)
def test_every_setting_that_a_page_names_is_one(page: Path) -> None:
    assert _found(r"OndineMagics\.(\w+)", page) <= set(OndineMagics.class_own_traits(config=True))


@pytest.mark.parametrize("page", READ, ids=_name)
def test_every_attribute_of_a_run_or_pipeline_that_a_page_names_is_there(page: Path) -> None:
    run = Run(Pipeline([{"text": "a"}], "{text}", base_url="http://127.0.0.1:1"))
    for name in _found(r"\b(?:run|\w+_run)\.(\w+)", page) - {"py"}:
        assert hasattr(run, name), f"Run.{name}"
    for name in _found(r"\b[Pp]ipeline\.(\w+)", page) - {"py"}:
        assert hasattr(Pipeline, name) or name == "estimate_cost", f"Pipeline.{name}"


@pytest.mark.parametrize("page", READ, ids=_name)
def test_every_error_that_a_page_names_is_one(page: Path) -> None:
    known = {*errors.__all__, *dir(builtins), "UsageError"}
    assert _found(r"\b([A-Z]\w+Error)\b", page) <= known


def test_the_names_that_upstream_documents_are_here_with_all_their_methods() -> None:
    rows = re.findall(r"^\| `(\w+).*?\| (.*?) \|", _table(0), re.MULTILINE)
    assert len(rows) > 10
    for name, same in rows:
        home = next(home for home in (orchestration, stages, models) if hasattr(home, name))
        for method in re.findall(r"`(\w+)`", same):
            assert hasattr(getattr(home, name), method), f"{name}.{method}"


def test_what_stands_for_upstreams_builder_are_keywords_of_the_pipeline() -> None:
    ours = "".join(re.findall(r"^\| `.*` \| (.*) \|$", _table(1), re.MULTILINE))
    named = set(re.findall(r"[`(, ](\w+)=", ours))
    assert len(named) > 8
    assert named <= KEYWORDS


def _table(at: int) -> str:
    tables = re.findall(r"(?:^\|.*\n)+", ONDINE.read_text(encoding="utf-8"), re.MULTILINE)
    return str(tables[at])


def test_the_top_of_the_package_is_in_the_reference() -> None:
    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    for name in set(ondine_nb.__all__) - {"__version__", "load_ipython_extension"}:
        assert re.search(rf"^::: ondine_nb\.[\w.]+\.{name}$", page, re.MULTILINE), name


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("orchestration", orchestration.__all__),
        ("stages", stages.__all__),
        ("providers", ondine_nb.providers.__all__),
    ],
)
def test_a_reference_page_has_all_that_its_module_exports(page: str, names: list[str]) -> None:
    text = (DOCS / "reference" / f"{page}.md").read_text(encoding="utf-8")
    if f"::: ondine_nb.{page}\n" in text:
        return  # the whole module
    assert [name for name in names if not re.search(rf"\.{name}$", text, re.MULTILINE)] == []


def test_every_module_that_a_comment_or_a_docstring_names_is_there() -> None:
    """Beside it, or by its path in the package or the repository."""
    sources = [*(ROOT / "ondine_nb").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    for source in [*sources, ROOT / ".ci" / "run", *(ROOT / "scripts").iterdir()]:
        said = re.findall(r"`((?:\w+/)*\w+\.py)`", source.read_text(encoding="utf-8"))
        said += re.findall(r"(?<![\w/])tests/[\w/]+\.py", source.read_text(encoding="utf-8"))
        places = (source.parent, ROOT / "ondine_nb", ROOT / "tests", ROOT)
        for name in said:
            assert any((place / name).is_file() for place in places), f"{source}: {name}"
