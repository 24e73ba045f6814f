# Plain os.path: importing pathlib costs 4 ms a call.
# ruff: noqa: PTH100, PTH120
"""Run by ccache in front of the compiler: adds the clone dump and says the records on stderr.

A program of its own (`python -I -S inner.py COMPILER ARGS…`): it finds the package from its own place.
"""

from __future__ import annotations

import os
import sys

MARK = b"klpkit-records 1 "


def packed(dump: bytes) -> bytes:
    """`dump` as one line that starts with `MARK`."""
    from binascii import b2a_base64
    from zlib import compress

    return MARK + b2a_base64(compress(dump), newline=False) + b"\n"


def unpacked(line: bytes) -> bytes:
    """The dump in a line that `packed` made."""
    from binascii import a2b_base64
    from zlib import decompress

    return decompress(a2b_base64(line[len(MARK) :]))


def main(argv: list[str]) -> int:
    """Run the compiler call `argv`; its exit status."""
    from klpkit.compilers.driver import run
    from klpkit.compilers.driver.dumpfile import OPTION, DumpFile
    from klpkit.compilers.driver.talk import DriverError, report, write_all

    try:
        if "-c" not in argv or "-E" in argv:
            return run.replace(argv)
        dump = DumpFile()
        status = run.run([*argv, OPTION])
    except DriverError as error:
        report(error)
        return error.status
    data = dump.content()
    if status == 0 and data is not None:
        write_all(2, packed(data))
    return run.end(status)


if __name__ == "__main__":
    here = os.path.abspath(__file__)
    for _ in range(4):
        here = os.path.dirname(here)
    sys.path.insert(0, here)
    sys.exit(main(sys.argv[1:]))
