"""Whether a failed compilation is the compiler's word on the text, or says nothing of it.

Only an ordinary error is an answer.  A compiler that was killed, ran out of memory or time, or crashed, has not
answered: what it would have said must not be remembered.
"""

from __future__ import annotations

import re

from klpkit.programs import ProgramFailedError

_ERROR = re.compile(rb"(?:^|: )error: (.*)", re.MULTILINE)
_NO_ANSWER = re.compile(rb"fatal error: |internal compiler error|PLEASE submit a bug report|\bKilled\b")


def complaint(error: ProgramFailedError) -> str:
    """What the compiler finds wrong with the text first; raises `error` where that is not why it failed."""
    done = error.completed
    found = _ERROR.search(done.stderr)
    if done.status <= 0 or found is None or _NO_ANSWER.search(done.stderr):
        raise error
    return found[1].decode(errors="replace").strip()
