"""Every test is run: no folder of tests has a name that pytest passes over."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest


def test_no_folder_of_tests_is_passed_over(pytestconfig: pytest.Config) -> None:
    here = Path(__file__).parent
    folders = {file.parent.relative_to(here) for file in here.rglob("test_*.py")}
    assert Path("build") in folders
    names = {name for folder in folders for name in folder.parts}
    patterns = pytestconfig.getini("norecursedirs")
    assert sorted(name for name in names if any(fnmatch(name, pattern) for pattern in patterns)) == []
