"""The commands of `klpkit`; each is a module of this room, imported when it is run."""

from __future__ import annotations

# Command → its one line in `--help`.
COMMANDS = {
    "audit": "Say what each translation unit's flags allow, and what stays unlisted.",
    "boot": "Boot a kernel in a virtual machine and check that a live patch works.",
    "build": "Make a live patch from a source patch.",
    "convert": "Turn annotated references of a live patch into klp relocations.",
    "diff": "Say what changed between two objects, and whether a live patch can carry it.",
    "extract": "Copy functions into a small C file, the draft of a hand-made live patch.",
    "fidelity": "Say whether recompiled units equal the code of a shipped kernel.",
    "impact": "List the functions that must be patched with a function.",
    "study": "Say what each level of optimisation between functions costs and saves.",
    "symbols": "List a kernel's symbols for klpkit convert, or look some up.",
}
