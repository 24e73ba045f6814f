# ruff: noqa: PTH100, PTH118, PTH120
"""What `klpkit-cc --help` and `--version` say."""

from __future__ import annotations

from klpkit.compilers.driver.talk import write_all

TEXT = """\
Usage: klpkit-cc [WRAPPER…] COMPILER ARGS…

Runs COMPILER (GCC or Clang) as it is, with two more options:

  -fease-live-patching[=LEVEL]   allow only so much interprocedural optimisation; LEVEL is
      none                 nothing: any function can be patched alone
      only-inline-static   inlining of static functions
      inline               inlining
      inline-clone         inlining and what makes clones (the default)
  -flive-patching[=inline-clone|inline-only-static]   GCC's own spelling of two of them
  -flive-patching-list[=FUNC|all][,FILE]
      write which functions must be patched with FUNC (default: with each one) to FILE, or to
      standard output; with -flto at the link

  --launcher                     print a command that starts klpkit-cc 3 ms sooner, for scripts:
                                 make CC="$(klpkit-cc --launcher) gcc"

Example: make CC='klpkit-cc gcc' KCFLAGS='-fease-live-patching -flive-patching-list=all,impact.txt'
"""


def show(option: str) -> int:
    if option == "--version":
        from klpkit import __version__

        write_all(1, f"klpkit-cc {__version__}\n".encode())
    elif option == "--launcher":
        write_all(1, f"{launcher()}\n".encode(errors="surrogateescape"))
    else:
        write_all(1, TEXT.encode())
    return 0


def launcher() -> str:
    """A command, quoted for a shell, that runs the driver without Python's `site` and its start-up files."""
    import os
    import shlex
    import sys

    folder = os.path.dirname(os.path.abspath(__file__))
    return shlex.join([sys.executable, "-I", "-S", os.path.join(folder, "__main__.py")])
