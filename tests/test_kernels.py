"""Which kernel of the cache the tests take."""

from __future__ import annotations

import json
import os
from pathlib import Path

from kernels import find_stock, version_key


def prepared(root: Path, version: str, abi: str, when: int) -> None:
    folder = root / version
    (folder / "source" / "linux-source-6.12").mkdir(parents=True)
    (folder / "release.json").write_text(json.dumps({"version": version, "abi": abi}))
    stamp = folder / "build.prepared"
    stamp.touch()
    os.utime(stamp, (when, when))


def test_the_highest_version_is_taken_whichever_was_prepared_last(tmp_path: Path) -> None:
    prepared(tmp_path, "6.12.117-1~deb12u1", "6.12.117+deb12", 100)
    prepared(tmp_path, "6.12.115-2~deb12u1", "6.12.115+deb12", 200)
    prepared(tmp_path, "6.12.99-1~deb12u1", "6.12.99+deb12", 300)
    found = find_stock(tmp_path)
    assert found is not None
    assert (found.version, found.release) == ("6.12.117-1~deb12u1", "6.12.117+deb12-cloud-amd64")
    assert found.image is None
    assert find_stock(tmp_path / "nothing") is None


def test_versions_are_ordered_as_debian_orders_them() -> None:
    ordered = ["6.1.170-1", "6.12.9-1", "6.12.117-1~bpo12+1", "6.12.117-1", "6.12.117-2~deb12u1", "6.12.117-10"]
    assert sorted(ordered, key=version_key) == ordered
