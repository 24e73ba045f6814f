"""Who may include a file, told from text alone: never too few."""

from __future__ import annotations

from pathlib import Path

import pytest
from kbuild_samples import write_source

from klpkit.build.includers import includers


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        "include/linux/a.h": "#ifndef A\n#define A\n#endif\n",
        "include/linux/b.h": "#include <linux/a.h>\n",
        "other/linux/a.h": "\n",
        "fs/direct.c": "# include <linux/a.h>\n",
        "fs/through.c": "#ifdef NEVER\n#include\t<linux/b.h>\n#endif\n",
        "fs/up.c": '#include "../include/linux/a.h"\n',
        "fs/own.c": '#include "a.h"\n',
        "fs/a.h": "int x;\n",
        "fs/none.c": "#include <linux/aa.h>\n",
    }
    for name, text in files.items():
        write_source(tmp_path, name, text)
    return tmp_path


def found(tree: Path, *names: str) -> set[str]:
    files = [path for path in tree.rglob("*") if path.is_file()]
    seen = includers(files, [tree / name for name in names])
    return {str(path.relative_to(tree)) for path in seen}


def test_includes_count_through_others_and_inside_conditionals(tree: Path) -> None:
    assert found(tree, "include/linux/a.h") == {"include/linux/b.h", "fs/direct.c", "fs/through.c", "fs/up.c"}


def test_a_file_beside_the_including_one_comes_first(tree: Path) -> None:
    assert found(tree, "fs/a.h") == {"fs/own.c"}


def test_a_name_that_fits_two_files_counts_for_both(tree: Path) -> None:
    assert {"fs/direct.c", "include/linux/b.h"} <= found(tree, "other/linux/a.h")


def test_files_that_include_each_other_come_to_an_end(tmp_path: Path) -> None:
    write_source(tmp_path, "x.h", '#include "y.h"\n')
    write_source(tmp_path, "y.h", '#include "x.h"\n')
    assert found(tmp_path, "x.h") == {"x.h", "y.h"}
