"""Effects that an object's function symbols show, once somebody has read them: aliases, pieces, callers of clones.

`klpkit.records.objects` reads any file with numpy, `klpkit.records.lightelf` one small object without; both hand
their findings to this file, so that they can't disagree on what the findings mean.  Built-ins only.
"""

from __future__ import annotations

from klpkit.records.suffixes import PREFIXES, RENAMES, ancestry, parent

Place = tuple[int, int]
"""A section number and an offset in it; section 0 is undefined."""

# Sections of a relocatable object that name every function's place and use none of them.
BOOKKEEPING = (
    ".eh_frame",
    ".orc_",
    "__mcount_loc",
    "__patchable_function_entries",
    ".ibt_endbr_seal",
    ".cfi_sites",
    ".kcfi_traps",
    ".altinstructions",
    ".return_sites",
    ".retpoline_sites",
    ".call_sites",
    ".static_call_sites",
    ".stack_sizes",
    "__bug_table",
    "__ex_table",
    "__jump_table",
    ".llvm_addrsig",
    ".llvm.call-graph-profile",
)


class Pieces:
    """The functions of one object, by row, and what their names and places tell.

    `names` and `places` have one entry a function symbol.  `clones` are the rows of functions whose callers
    matter: copies and parts whose calling convention or meaning the compiler changed.
    """

    __slots__ = ("_defined", "_derived", "clones", "names", "places")

    def __init__(self, names: list[str], places: list[Place]) -> None:
        self.names = names
        self.places = places
        self._defined = set(names)
        self._derived = [_derivation(name, self._defined) for name in names]
        self.clones = [row for row, found in enumerate(self._derived) if found and found[1] not in RENAMES]

    def derivation(self, row: int) -> tuple[str, str] | None:
        """The nearest function of this object that `row` was made from, or its source name, and the cause."""
        return self._derived[row]

    def effects(self, references: list[tuple[int, int]]) -> list[tuple[str, str, str]]:
        """All effects as (body, user, cause); `references` are (row of a clone, row of a function using it)."""
        found: dict[tuple[str, str, str], None] = {}
        for body, user in self.aliases():
            found[body, user, "icf"] = None
            found[user, body, "icf"] = None
        for name, derived in zip(self.names, self._derived, strict=True):
            if derived:
                found[derived[0], name, derived[1]] = None
        for clone, row in references:
            for owner in self._owners(row):
                if owner != self.names[clone] and not self._is_cold_part_of(row, clone):
                    found[self.names[clone], owner, "calls-clone"] = None
        return list(found)

    def aliases(self) -> list[tuple[str, str]]:
        """Pairs of functions at one place: the first symbol there and each other one."""
        first: dict[Place, str] = {}
        pairs = []
        for name, place in zip(self.names, self.places, strict=True):
            known = first.setdefault(place, name) if place[0] else name
            if known != name:
                pairs.append((known, name))
        return pairs

    def _owners(self, row: int) -> list[str]:
        """The function in `row`, and where it is a cold part the function whose part it is."""
        derived = self._derived[row]
        if derived and derived[1] == "cold":
            return [self.names[row], derived[0]]
        return [self.names[row]]

    def _is_cold_part_of(self, row: int, other: int) -> bool:
        """Whether one of two functions is the cold part of the other: they go together anyway."""
        mine, others = self._derived[row], self._derived[other]
        return mine == (self.names[other], "cold") or others == (self.names[row], "cold")


def _derivation(name: str, defined: set[str]) -> tuple[str, str] | None:
    steps = ancestry(name)
    for name_before, _ in steps:
        if name_before in defined:
            return name_before, steps[0][1]
    if steps:
        return steps[-1][0], steps[0][1]
    # A suffix that no table knows, on a function that is there: a copy of some kind.
    stem = name.rpartition(".")[0]
    while stem:
        if stem in defined:
            return stem, "clone"
        stem = stem.rpartition(".")[0]
    return None


def is_prefix(name: str, defined: set[str]) -> bool:
    """Whether `name` marks the bytes in front of a function of `defined` and is no function itself."""
    return any(name.startswith(prefix) and name[len(prefix) :] in defined for prefix in PREFIXES)


def clone_elsewhere(name: str) -> bool:
    """Whether an undefined symbol can only be a clone that another object of an LTO link holds."""
    step = parent(name)
    # A number alone says nothing of a symbol that may as well be data.
    return step is not None and step[1] not in RENAMES and step[1] != "clone"
