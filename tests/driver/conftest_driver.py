"""A driver to call, in a folder and with a cache of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import klpkit.compilers.driver

PROGRAM = [sys.executable, "-I", "-S", str(Path(klpkit.compilers.driver.__file__).with_name("__main__.py"))]
GCCS = [name for name in ("gcc-11", "gcc-12") if shutil.which(name)]

Done = subprocess.CompletedProcess[str]


class Driver:
    """Runs `klpkit-cc` in `folder`."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "XDG_CACHE_HOME": str(cache), "LC_ALL": "C"}
        self.env.pop("CCACHE_PREFIX", None)

    def __call__(self, *words: str, stdin: str = "", **env: str) -> Done:
        return subprocess.run(
            [*PROGRAM, *words],
            cwd=self.folder,
            env={**self.env, **env},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def good(self, *words: str, **env: str) -> Done:
        """As a call, for one that must succeed."""
        done = self(*words, **env)
        assert done.returncode == 0, done.stderr
        return done

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def program(self, name: str, text: str) -> Path:
        """A shell script that stands in for a compiler."""
        path = self.write(name, f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path


@pytest.fixture(scope="session")
def driver_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def driver(tmp_path: Path, driver_cache: Path) -> Driver:
    return Driver(tmp_path, driver_cache)


@pytest.fixture(params=["gcc-11", "gcc-12"])
def gcc(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture
def gcc12() -> str:
    if not shutil.which("gcc-12"):
        pytest.skip("gcc-12 is not installed")
    return "gcc-12"


def pairs(text: str) -> set[tuple[str, str, str]]:
    """(function, impacted, cause) of every line of a list."""
    rows = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return {(row[1], row[3], row[5]) for row in rows}


Make = Callable[[str], Path]
