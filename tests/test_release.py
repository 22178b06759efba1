"""What a release is made of: one version everywhere, a changelog in form, whole archives."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import ondine_nb
from tests.docs.pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
_SECTION = re.compile(r"^## (.*)\n((?:(?!## ).*\n?)*)", re.MULTILINE)
_RELEASED = re.compile(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)")


def wrong_with(changelog: str, version: str) -> list[str]:
    """What isn't in the form of Keep a Changelog, or doesn't go with the project's version."""
    sections = _SECTION.findall(changelog)
    titles = [title for title, _ in sections]
    wrong = [] if changelog.startswith("# Changelog\n") else ["no title"]
    wrong += ["Unreleased isn't first"] * ("[Unreleased]" in titles[1:])
    released = [_RELEASED.fullmatch(title) for title in titles if title != "[Unreleased]"]
    wrong += ["a heading that is neither a version nor Unreleased"] * (None in released)
    found = [each for each in released if each]
    numbers = [tuple(map(int, each.groups()[:3])) for each in found]
    days = [_day(each[4]) for each in found]
    wrong += ["versions don't descend"] * (numbers != sorted(set(numbers), reverse=True))
    wrong += ["a date that isn't one"] * (None in days)
    dates = [day for day in days if day]
    wrong += ["dates don't descend"] * (dates != sorted(dates, reverse=True))
    newest = ".".join(map(str, numbers[0])) if numbers else None
    wrong += [f"the newest is {newest}, not {version}"] * (newest not in (None, version))
    return wrong + [problem for title, body in sections for problem in _inside(title, body)]


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _inside(title: str, body: str) -> list[str]:
    kinds = re.findall(r"^### (.*)$", body, re.MULTILINE)
    wrong = [f"{title}: no such kind: {kind}" for kind in kinds if kind not in KINDS]
    wrong += [f"{title}: {kind} twice" for kind in set(kinds) if kinds.count(kind) > 1]
    parts = re.split(r"^### .*$", body, flags=re.MULTILINE)
    wrong += [f"{title}: an empty part" for part in parts[1:] if "\n- " not in part]
    if parts[0].strip():
        wrong.append(f"{title}: lines under no kind")
    return wrong + [f"{title}: nothing changed"] * (not kinds and title != "[Unreleased]")


def test_the_changelog_is_in_form_and_its_newest_version_is_the_projects() -> None:
    assert wrong_with(CHANGELOG, PROJECT["version"]) == []


LIKE_THIS = """# Changelog

## [Unreleased]

## [0.10.0] - 2026-12-24

### Added

- A thing.

### Fixed

- A fault.

## [0.9.1] - 2026-11-30

### Fixed

- Another.
"""


def test_a_changelog_like_that_is_right() -> None:
    assert wrong_with(LIKE_THIS, "0.10.0") == []
    assert wrong_with(LIKE_THIS.replace("## [Unreleased]\n\n", ""), "0.10.0") == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("# Changelog\n", "# News\n", "no title"),
        ("[0.9.1]", "[0.11.0]", "versions don't descend"),
        ("[0.9.1]", "[0.10.0]", "versions don't descend"),
        ("2026-11-30", "2026-11-31", "a date that isn't one"),
        ("2026-11-30", "2026-12-25", "dates don't descend"),
        ("[0.9.1] - ", "0.9.1 - ", "a heading that is neither"),
        ("2026-12-24", "24 Dec 2026", "a heading that is neither"),
        ("### Added", "### New", "no such kind: New"),
        ("### Added", "### Fixed", "Fixed twice"),
        ("- A thing.\n", "", "an empty part"),
        ("### Added\n\n", "", "lines under no kind"),
        ("0.10.0", "0.12.0", "the newest is 0.12.0, not 0.10.0"),
        ("## [0.9.1]", "## [Unreleased]\n\n## [0.9.1]", "Unreleased isn't first"),
    ],
)
def test_what_is_wrong_with_a_changelog_is_said(old: str, new: str, problem: str) -> None:
    assert any(problem in each for each in wrong_with(LIKE_THIS.replace(old, new, 1), "0.10.0"))


def test_the_package_says_the_version_that_the_project_has() -> None:
    assert ondine_nb.__version__ == PROJECT["version"]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built as RELEASING.md says."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def tracked(*folders: str) -> set[str]:
    """The files of the checkout that git knows, those not yet added included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in listed.splitlines() if (ROOT / name).is_file()}


def unpacked(archives: Path, to: Path) -> Path:
    with zipfile.ZipFile(next(archives.glob("*.whl"))) as wheel:
        wheel.extractall(to)
    return to


def test_the_wheel_holds_the_package_and_what_the_demo_needs_and_nothing_else(
    archives: Path, tmp_path: Path
) -> None:
    root = unpacked(archives, tmp_path)
    held = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    about = {name for name in held if ".dist-info/" in name}
    demo = {f"ondine_nb/notebooks/{name}" for name in ("quickstart.ipynb", "reviews.csv")}
    assert held - about == tracked("ondine_nb") | demo
    assert {"ondine_nb/py.typed", "ondine_nb/notebook/card/assets/card.html"} <= held
    assert any(name.endswith("licenses/LICENSE") for name in about)


def test_the_wheels_metadata_are_the_projects(archives: Path, tmp_path: Path) -> None:
    (about,) = unpacked(archives, tmp_path).glob("*.dist-info")
    metadata = (about / "METADATA").read_text(encoding="utf-8")
    assert f"\nVersion: {PROJECT['version']}\n" in metadata
    assert f"\nRequires-Python: {PROJECT['requires-python']}\n" in metadata
    assert "ondine-nb = ondine_nb.notebook.demo:main" in (about / "entry_points.txt").read_text()


def test_the_demo_finds_its_notebook_in_the_wheel(archives: Path, tmp_path: Path) -> None:
    """With the wheel's files in place of the checkout's, and the templates of the views too."""
    code = (
        "from ondine_nb.notebook import demo; from ondine_nb.notebook.ui import template;"
        "from pathlib import Path; print(demo._unpack(Path('.')).resolve());"
        "print(demo.__file__); template('card/card.html')"
    )
    root = unpacked(archives, tmp_path / "wheel")
    done = run_with(root, code, tmp_path)
    assert done.returncode == 0, done.stderr
    notebook, module = done.stdout.split()
    assert Path(module).is_relative_to(root)
    assert Path(notebook).read_text() == (ROOT / "notebooks" / "quickstart.ipynb").read_text()


def run_with(root: Path, code: str, folder: Path) -> Any:
    """Python code in a process of its own that finds the package in `root`."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {code}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_source_archive_is_the_checkout(archives: Path) -> None:
    """Nobody's journal, environment or cache goes along."""
    with tarfile.open(next(archives.glob("*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert held - {"PKG-INFO"} == tracked()
