"""`binder/` keeps the rules of repo2docker; `scripts/binder` follows its steps in full."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.gallery import ROOT

BINDER = ROOT / "binder"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _lines(name: str) -> list[str]:
    """The lines of a file that aren't comments."""
    lines = (BINDER / name).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def test_every_file_of_the_folder_is_one_that_repo2docker_reads() -> None:
    names = {path.name for path in BINDER.iterdir()}
    assert names == {"apt.txt", "postBuild", "requirements.txt", "runtime.txt"}


def test_the_python_is_one_that_the_package_takes() -> None:
    (line,) = _lines("runtime.txt")
    found = re.fullmatch(r"python-(3)\.(\d+)", line)
    assert found
    least = re.fullmatch(r">=3\.(\d+)", PROJECT["requires-python"])
    assert least
    assert int(found[2]) >= int(least[1])
    assert f"Programming Language :: Python :: 3.{found[2]}" in PROJECT["classifiers"]


def test_the_requirement_is_this_repository_with_extras_that_it_has() -> None:
    (line,) = _lines("requirements.txt")
    found = re.fullmatch(r"-e \.\[([\w,]+)\]", line)  # a path: installed when the files are there
    assert found
    assert set(found[1].split(",")) <= set(PROJECT["optional-dependencies"])


def test_repo2docker_itself_plans_an_image_of_these_files_in_this_order() -> None:
    """Its plan needs no Docker; whether the plan works is what `scripts/binder` tries."""
    words = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", str(ROOT)]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    plan = subprocess.run(words, **both, text=True, check=True).stdout
    (python,) = _lines("runtime.txt")
    (system,) = _lines("apt.txt")
    steps = [
        f"Building conda environment for python={python.removeprefix('python-')}",
        f"apt-get install --yes --no-install-recommends {system}",
        "src/ ${REPO_DIR}/",  # before the requirements, which are in it
        'pip install --no-cache-dir -r "binder/requirements.txt"',
        "RUN ./binder/postBuild",
    ]
    places = [plan.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)


def test_system_packages_are_names_that_apt_takes() -> None:
    assert _lines("apt.txt")
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", line) for line in _lines("apt.txt"))


def test_post_build_is_executable_and_makes_every_kernel_load_the_extension(tmp_path: Path) -> None:
    """With its two commands played by stand-ins: what it writes is what counts."""
    script = BINDER / "postBuild"
    assert os.access(script, os.X_OK)
    for name, body in (
        ("ondine-nb", 'echo "$@" > "$HOME/asked"'),
        ("python", f'echo "{tmp_path}/prefix"'),
    ):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run([str(script)], env=environment, check=True, cwd=ROOT)
    assert (tmp_path / "asked").read_text() == "fetch-model\n"
    config = tmp_path / "prefix" / "etc" / "ipython" / "ipython_kernel_config.py"
    code = f"""
from traitlets.config import PyFileConfigLoader
from IPython.core.interactiveshell import InteractiveShell
config = PyFileConfigLoader({config.name!r}, {str(config.parent)!r}).load_config()
shell = InteractiveShell.instance()
lines = list(config.InteractiveShellApp.exec_lines.get_value([]))
before = set(shell.user_ns)
for line in lines:
    shell.run_cell(line, store_history=False).raise_error()
shell.run_line_magic("load_ext", "ondine_nb")
print(len(lines), shell.find_cell_magic("ondine") is not None, set(shell.user_ns) - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "IPYTHONDIR": str(tmp_path / "ipython")},
    )
    assert done.stdout == "1 True set()\n"


def test_it_opens_on_a_notebook_that_is_there() -> None:
    text = (ROOT / "docs" / "binder.md").read_text(encoding="utf-8")
    opened = re.findall(r"\?labpath=([\w./%-]+)", text)
    assert "notebooks/quickstart.ipynb" in {path.replace("%2F", "/") for path in opened}
    assert all((ROOT / path.replace("%2F", "/")).is_file() for path in opened)
