"""The errors that klpkit raises on purpose, and the exit code that each kind stands for.

Every message says what to do next.  A command line catches `KlpkitError` and nothing else; what escapes is a
bug in klpkit and ends with exit code 70 (EX_SOFTWARE in sysexits.h).
"""

from __future__ import annotations

from typing import ClassVar


class KlpkitError(Exception):
    """Base of all errors that klpkit raises on purpose.

    `message` is one sentence that names the culprit; `hint` says what to do next and may be empty where the
    message already does.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UserError(KlpkitError):
    """Wrong usage or unusable input that the user chose: an unknown function, a patch that does not apply."""


class FormatError(KlpkitError):
    """Input whose format is broken; carries the place so that a message can name file and line or offset."""

    def __init__(self, path: object, place: str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{path}: {place}: {problem}" if place else f"{path}: {problem}", hint=hint)
        self.path = str(path)
        self.place = place
        self.problem = problem


class EnvironmentLackError(KlpkitError):
    """The machine lacks something: a compiler, a package, disk space.  `hint` holds the install command."""

    exit_code = 3


class RefusedError(KlpkitError):
    """The answer is no.  `slug` is the stable reason that `docs/reasons.md` explains."""

    exit_code = 1

    def __init__(self, slug: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message} [{slug}]", hint=hint)
        self.slug = slug
