"""`klpkit build` with the stock kernel's files, for the tests of the kernel tier."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pipeline_kernel import Build

from kernels import StockKernel
from klpkit.cli.build import command


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def stock_words(
    stock_kernel: StockKernel,
    isolated_home: Path,
    shared_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """The options of `klpkit build` that name the stock kernel; what is unpacked of it is shared by all tests."""
    kernel = stock_kernel
    if kernel.image is None or kernel.modules is None:
        pytest.skip("no shipped image in the cache; `make kernel` fetches it")
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    words = ["--build", kernel.build, "--image", kernel.image, "--modules", kernel.modules]
    return [str(word) for word in (*words, "--headers", kernel.headers)]


@pytest.fixture
def build(stock_words: list[str], tmp_path: Path) -> Build:
    """`klpkit build` for the stock kernel, called in this process; later options win over earlier ones."""

    def call(*more: object) -> Result:
        out = ["-o", str(tmp_path / "livepatch-fix.ko")]
        return CliRunner().invoke(command, [*stock_words, *out, *map(str, more)])

    return call
