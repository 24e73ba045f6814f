"""How the compiler's driver would name a call's auxiliary files: it is asked, with `-###`."""

from __future__ import annotations

_TOLD = ("-dumpdir", "-dumpbase", "-dumpbase-ext", "-MD", "-MMD", "-MQ")


def auxiliary_names(argv: list[str]) -> list[dict[str, str]]:
    """For each source that `argv` would compile, in order: the values of `-dumpdir`, `-dumpbase` and such."""
    import os
    import shlex
    import subprocess

    done = subprocess.run(
        [*argv, "-###"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    found = []
    for line in done.stderr.decode(errors="surrogateescape").splitlines():
        if not line.startswith(" ") or " -dumpbase " not in line:
            continue
        words = shlex.split(line)
        if "-E" not in words:
            found.append({word: words[at + 1] for at, word in enumerate(words[:-1]) if word in _TOLD})
    return found
