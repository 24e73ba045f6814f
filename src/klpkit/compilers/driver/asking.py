"""The dumps that tell what functions are declared as: made by the compilation itself, or by one more."""

from __future__ import annotations

from klpkit.compilers.driver import run
from klpkit.compilers.driver.dumpfile import DESCRIPTOR, DumpFile
from klpkit.compilers.driver.response import fitting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from klpkit.compilers.driver.compiling import Job

_CFG, _CGRAPH = DESCRIPTOR + 1, DESCRIPTOR + 2
_OLD_STANDARDS = frozenset(("c89", "c90", "gnu89", "gnu90", "iso9899:1990", "iso9899:199409"))
_CFG_OPTION = f"-fdump-tree-cfg=/dev/fd/{_CFG}"
_CGRAPH_OPTION = f"-fdump-ipa-cgraph=/dev/fd/{_CGRAPH}"


class Along:
    """The dump that a compilation at `level` makes on the way: 1 to 3 % more CPU, one more compilation is 100 %.

    At `none` it must be known what is always_inline or gnu_inline, at `only-inline-static` what is static.  An
    object of LTO would keep the option, and a user's own dump would move: there `options` is empty.
    """

    __slots__ = ("_file", "options")

    def __init__(self, job: Job, level: str) -> None:
        self.options: list[str] = []
        self._file: DumpFile | None = None
        if job.lto or any(word.startswith("-fdump-") for word in job.words):
            return
        if level == "none":
            self.options, self._file = [_CFG_OPTION], DumpFile(_CFG)
        elif level == "only-inline-static":
            self.options, self._file = [_CGRAPH_OPTION], DumpFile(_CGRAPH)

    def texts(self) -> tuple[bytes, bytes]:
        """What the compilation has left of the dumps `cfg` and `cgraph`."""
        data = (self._file and self._file.content()) or b""
        return (data, b"") if _CFG_OPTION in self.options else (b"", data)


def asker(job: Job) -> Callable[[], tuple[str, str]]:
    """A function that compiles the source of `job` and gives the `cfg` and `cgraph` dumps."""

    def ask() -> tuple[str, str]:
        from klpkit.compilers.driver.variants import quiet

        run.rewind_input()
        return dumps([job.command.compiler, *quiet(job.words)])

    return ask


def is_old_c(job: Job) -> bool:
    """Whether `extern inline` alone means gnu_inline in the source of `job`: C before C99, or asked for."""
    old = False
    if job.language != "c":
        return old
    for word in job.words:
        if word.startswith("-std=") or word == "-ansi":
            old = word == "-ansi" or word[5:] in _OLD_STANDARDS
    # The last of these decides, whatever the standard.
    for word in job.words:
        if word in ("-fgnu89-inline", "-fno-gnu89-inline"):
            old = word == "-fgnu89-inline"
    return old


def dumps(argv: list[str]) -> tuple[str, str]:
    """The text of the `cfg` and `cgraph` dumps of the compilation `argv`, as far as it gets."""
    files = DumpFile(_CFG), DumpFile(_CGRAPH)
    run.run([argv[0], *fitting([*argv[1:], _CFG_OPTION, _CGRAPH_OPTION])])
    cfg, cgraph = ((file.content() or b"").decode(errors="surrogateescape") for file in files)
    return cfg, cgraph
