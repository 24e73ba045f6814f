"""Fixtures of the live patch tests: a cache that they share, and the stock kernel to make patches for."""

from __future__ import annotations

from pathlib import Path

import pytest
from livepatch_kernel import Bench

import kernels


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def bench(
    stock_kernel: kernels.StockKernel,
    isolated_home: Path,
    shared_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Bench:
    """The stock kernel with its image and modules; what Kbuild prepares for it is made once for all tests."""
    if stock_kernel.image is None or stock_kernel.modules is None:
        pytest.skip("no kernel image in the cache; `tools/debian_kernel.py image` fetches it")
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    return Bench(stock_kernel, tmp_path)
