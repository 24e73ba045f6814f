"""The shape of an architecture's facts.

Plain classes without `dataclasses`, whose import alone would double the start of a program that reads one
object: the compiler driver uses these tables.
"""

from __future__ import annotations


class Relocation:
    """One relocation kind.

    `size` is the width of the changed field in bytes (0: none), `relative` tells whether the place is
    subtracted.  `bias` turns an addend in *code* into the offset from the symbol that the instruction means:
    x86 counts from the end of a 4-byte field, so its addend of -4 means the symbol itself.  Data has no bias.
    """

    __slots__ = ("bias", "name", "relative", "size")

    def __init__(self, name: str, size: int, relative: bool = False, bias: int = 0) -> None:
        self.name = name
        self.size = size
        self.relative = relative
        self.bias = bias


class Displacement:
    """A branch (or address) instruction whose signed displacement follows its opcode bytes.

    The opcode is `match` where `mask` has bits; the displacement has `size` bytes in the architecture's order,
    counts in units of `scale` bytes from the end of the field, or from the opcode if not `from_end`.  `last` are
    the values that the instruction's last byte, number `last_at`, may have, where that belongs to the opcode.
    """

    __slots__ = ("from_end", "last", "last_at", "mask", "match", "scale", "size")

    def __init__(
        self,
        match: bytes,
        mask: bytes,
        size: int,
        scale: int = 1,
        from_end: bool = True,
        last: bytes = b"",
        last_at: int = 0,
    ) -> None:
        self.match = match
        self.mask = mask
        self.size = size
        self.scale = scale
        self.from_end = from_end
        self.last = last
        self.last_at = last_at


class Word:
    """A branch (or address) instruction in one 32-bit word: `match` where `mask` has bits.

    `pieces` are (lowest bit, width) of the displacement, its low piece first; it is signed, and counts in
    units of `scale` bytes from the word.
    """

    __slots__ = ("mask", "match", "pieces", "scale")

    def __init__(self, match: int, mask: int, pieces: tuple[tuple[int, int], ...], scale: int = 4) -> None:
        self.match = match
        self.mask = mask
        self.pieces = pieces
        self.scale = scale


class Architecture:
    """What klpkit knows of one architecture.

    - `relocations`: relocation number → `Relocation`.
    - `displacements`, `words`: the direct branches, and the instructions that make the address of code near
      by; an assembler resolves those inside one section and leaves no relocation.  `step` is how far apart
      instructions can start.
    - `near_displacements`, `near_words`: further instructions with a distance in them that lead to no function
      in compiled code: loads of data beside the code, loops, compare-and-branch.
    - `idle`: relocation numbers without a place that changes.  `calls`: those of calls.  `trailing`: those whose
      field counts from the end of an instruction that may have an immediate behind the field (x86).
    - `relative32`: the relocation of 32 bits relative to its own place, as jump tables have it.
    - `padding`: a regular expression for what assemblers and linkers put between functions (GNU as, `md_*` nop
      tables).
    - `entry_nop`: what recordmcount leaves at an entry where it has taken the profiling call away.
    - `anchors`: whether compilers reach data by its distance from other data (`-fsection-anchors`).
    - `site_sections`: the sections that list a function's ftrace location in the kernel's linker script;
      `site_before`, `site_after`: how far before and after a function's first byte it can be.
    - `entry_calls`: the names of the profiling function called at a function's start.
    - `landing_pads`: instructions that may stand before everything else in a function (as bytes).
    - `local_entry`: whether `st_other` gives a second entry behind the first (ppc64 ELFv2).
    """

    __slots__ = (
        "anchors", "calls", "displacements", "entry_calls", "entry_nop", "idle", "landing_pads", "local_entry",
        "machine", "name", "near_displacements", "near_words", "order", "padding", "relative32", "relocations",
        "site_after", "site_before", "site_sections", "step", "trailing", "words",
    )  # fmt: skip

    def __init__(
        self,
        *,
        name: str,
        machine: int,
        order: str,
        relocations: dict[int, Relocation],
        step: int,
        displacements: tuple[Displacement, ...] = (),
        words: tuple[Word, ...] = (),
        site_sections: tuple[str, ...],
        site_before: int = 0,
        site_after: int,
        entry_calls: tuple[str, ...] = (),
        landing_pads: tuple[bytes, ...] = (),
        local_entry: bool = False,
        near_displacements: tuple[Displacement, ...] = (),
        near_words: tuple[Word, ...] = (),
        idle: tuple[int, ...] = (0,),
        calls: tuple[int, ...],
        trailing: tuple[int, ...] = (),
        relative32: int,
        padding: bytes,
        entry_nop: bytes = b"",
        anchors: bool = False,
    ) -> None:
        self.name = name
        self.machine = machine
        self.order = order
        self.relocations = relocations
        self.step = step
        self.displacements = displacements
        self.words = words
        self.site_sections = site_sections
        self.site_before = site_before
        self.site_after = site_after
        self.entry_calls = entry_calls
        self.landing_pads = landing_pads
        self.local_entry = local_entry
        self.near_displacements = near_displacements
        self.near_words = near_words
        self.idle = idle
        self.calls = calls
        self.trailing = trailing
        self.relative32 = relative32
        self.padding = padding
        self.entry_nop = entry_nop
        self.anchors = anchors

    def entries(self, value: int, other: int) -> tuple[int, ...]:
        """The addresses at which a function with symbol value `value` and `st_other` byte `other` is entered."""
        # ELFv2, 3.4.1: bits 5 to 7 are the binary logarithm of the distance; 0 and 1 mean one entry.
        code = other >> 5
        if not self.local_entry or code < 2:
            return (value,)
        return (value, value + (1 << code))
