"""Where one compilation's clone dump goes: a file in memory that the compiler inherits.

`-fdump-ipa-clones=/dev/fd/197` is the same word in every call, so that what an object records of its options
(`.gnu.lto_.opts` keeps this one) is reproducible; nothing is left behind however the call ends; and no other
dump or temporary file of the user's moves.
"""

from __future__ import annotations

import os

from klpkit.compilers.driver.talk import LACKING, DriverError

DESCRIPTOR = 197
OPTION = f"-fdump-ipa-clones=/dev/fd/{DESCRIPTOR}"

# What the file holds until a compiler opens it: an empty dump is an answer, this is none.
_UNTOUCHED = b"klpkit: no compiler has opened this dump\n"


class DumpFile:
    """The file in memory, on `descriptor` of this process and every program that it starts."""

    def __init__(self, descriptor: int = DESCRIPTOR) -> None:
        self.descriptor = descriptor
        memory = os.memfd_create("klpkit-dump")
        try:
            os.dup2(memory, descriptor, inheritable=True)
        except OSError as error:
            raise DriverError(
                f"can't use file descriptor {descriptor}: {error.strerror}",
                status=LACKING,
                hint="allow at least 256 open files (`ulimit -n 256`)",
            ) from error
        os.close(memory)
        self.reset()

    def reset(self) -> None:
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, _UNTOUCHED, 0)

    def content(self) -> bytes | None:
        """What a compiler wrote; None where none has opened the file."""
        data = os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)
        return None if data == _UNTOUCHED else data
