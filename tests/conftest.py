"""What every test gets: a HOME and a cache folder of its own; and Debian's kernel for those that ask."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import settings

import kernels

# Time tells about the machine, not about the code: no test fails for being slow.
settings.register_profile("klpkit", deadline=None)
settings.load_profile("klpkit")

# Who starts the tests may ignore signals (nohup, a shell's `&`), and every program that they start inherits that.
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


# Of each family the fast tier takes the newer version; the older ones are asked with `-m compilers`.
OLDER = frozenset({"gcc-11", "g++-11", "clang-16", "clang++-16"})


@pytest.hookimpl(tryfirst=True)  # before the marks decide
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        callspec = getattr(item, "callspec", None)
        values = callspec.params.values() if callspec else ()
        if any(isinstance(value, str) and OLDER.intersection(value.split()) for value in values):
            item.add_marker(pytest.mark.compilers)


@pytest.fixture(autouse=True)
def isolated_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's own files."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    return home


@pytest.fixture(scope="session")
def stock_kernel() -> kernels.StockKernel:
    """Debian's stock kernel in the user's cache."""
    found = kernels.find_stock()
    if found is None:
        pytest.skip(f"no Debian kernel in {kernels.KERNELS}; {kernels.HOW}")
    return found


@pytest.fixture(scope="session")
def small_kernel() -> kernels.SmallKernel:
    """A small kernel with its objects in the user's cache."""
    found = kernels.find_small()
    if found is None:
        pytest.skip("no small kernel was built; `tools/debian_kernel.py small --build` builds one")
    return found


@pytest.fixture(scope="session")
def clang_kernel() -> kernels.SmallKernel:
    """A tree that was prepared with Clang and lld."""
    found = kernels.find_clang()
    if found is None:
        how = "`tools/debian_kernel.py small --prepare --flavour clang --llvm=-16` prepares one"
        pytest.skip(f"no tree was prepared with Clang; {how}")
    return found
