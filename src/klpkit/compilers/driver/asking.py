"""One more compilation of a source, for the dumps that tell what its functions are declared as."""

from __future__ import annotations

from klpkit.compilers.driver import run
from klpkit.compilers.driver.dumpfile import DESCRIPTOR, DumpFile
from klpkit.compilers.driver.response import fitting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from klpkit.compilers.driver.compiling import Job

_CFG, _CGRAPH = DESCRIPTOR + 1, DESCRIPTOR + 2


def asker(job: Job) -> Callable[[], tuple[str, str]]:
    """A function that compiles the source of `job` and gives the `cfg` and `cgraph` dumps; empty for stdin."""

    def ask() -> tuple[str, str]:
        if job.source == "-":
            return "", ""
        from klpkit.compilers.driver.variants import quiet

        return dumps([job.command.compiler, *quiet(job.words)])

    return ask


def dumps(argv: list[str]) -> tuple[str, str]:
    """The text of the `cfg` and `cgraph` dumps of the compilation `argv`, as far as it gets."""
    files = DumpFile(_CFG), DumpFile(_CGRAPH)
    options = [f"-fdump-tree-cfg=/dev/fd/{_CFG}", f"-fdump-ipa-cgraph=/dev/fd/{_CGRAPH}"]
    run.run([argv[0], *fitting([*argv[1:], *options])])
    cfg, cgraph = ((file.content() or b"").decode(errors="surrogateescape") for file in files)
    return cfg, cgraph
