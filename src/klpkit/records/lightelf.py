"""The effects of ONE small relocatable object, without numpy: what the compiler driver has time for.

It says of a good ELF64 object what `klpkit.records.objects.read_object` says (the tests compare the two), in
about a millisecond.  Nothing but `struct` and klpkit's own tables is imported.  A broken object raises
`klpkit.errors.FormatError`.
"""

from __future__ import annotations

from bisect import bisect_right
from struct import error as StructError  # noqa: N812
from struct import iter_unpack, unpack_from

from klpkit.elf.arch import Architecture, Displacement, Word, architecture
from klpkit.elf.constants import (
    ELF_MAGIC,
    ELFCLASS64,
    ELFDATA2MSB,
    ET_REL,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHN_LORESERVE,
    SHN_XINDEX,
    SHT_NOBITS,
    SHT_RELA,
    SHT_SYMTAB,
    SHT_SYMTAB_SHNDX,
    STT_FUNC,
    STT_GNU_IFUNC,
)
from klpkit.records.pieces import BOOKKEEPING, Pieces, clone_elsewhere, is_prefix

Header = tuple[int, int, int, int, int, int, int, int, int, int]
_NAME, _TYPE, _FLAGS, _OFFSET, _SIZE, _LINK, _INFO = 0, 1, 2, 4, 5, 6, 7


class LightObject:
    """What one object shows.

    `functions` are (symbol, section name) of every function with code in it; `effects` are (symbol of the
    body, symbol of the user, cause); `warnings` are sentences; `lto` says that the object holds GCC's
    intermediate code and will have functions only once it is linked.
    """

    __slots__ = ("effects", "functions", "lto", "warnings")

    def __init__(self) -> None:
        self.functions: list[tuple[str, str]] = []
        self.effects: list[tuple[str, str, str]] = []
        self.warnings: list[str] = []
        self.lto = False


def read_light(data: bytes, path: object = "<bytes>") -> LightObject:
    """What the relocatable object `data` shows; `path` names it in errors."""
    try:
        return _Reader(data).read()
    except (StructError, IndexError, ValueError, OverflowError) as error:
        # Imported late: a driver that sees only good objects never pays for it.
        from klpkit.errors import FormatError

        raise FormatError(path, "", f"broken or cut object file ({error})", hint="compile it again") from error


class _Reader:
    """The tables of one object, in plain lists."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        if data[:4] != ELF_MAGIC or data[4] != ELFCLASS64:
            raise ValueError("no ELF64 file")
        self.order = order = ">" if data[5] == ELFDATA2MSB else "<"
        kind, self.machine = unpack_from(order + "HH", data, 16)
        if kind != ET_REL:
            raise ValueError("not relocatable")
        (offset,) = unpack_from(order + "Q", data, 40)
        size, count, names = unpack_from(order + "HHH", data, 58)
        if offset and size != 64:
            raise ValueError(f"section headers of {size} bytes")
        self.sections: list[Header] = []
        if offset:
            first = unpack_from(order + "IIQQQQIIQQ", data, offset)
            count, names = count or first[_SIZE], first[_LINK] if names == SHN_XINDEX else names
            rows = self.part(offset, count * 64)
            self.sections = list(iter_unpack(order + "IIQQQQIIQQ", rows))
        self._names = self.content(names) if names else b"\0"

    def part(self, offset: int, size: int) -> bytes:
        if offset + size > len(self.data):
            raise ValueError("a table reaches past the end")
        return self.data[offset : offset + size]

    def content(self, index: int) -> bytes:
        header = self.sections[index]
        return b"" if header[_TYPE] == SHT_NOBITS else self.part(header[_OFFSET], header[_SIZE])

    def section_name(self, index: int) -> str:
        return _string(self._names, self.sections[index][_NAME])

    def read(self) -> LightObject:
        found = LightObject()
        tables = [index for index, header in enumerate(self.sections) if header[_TYPE] == SHT_SYMTAB]
        if not tables:
            return found
        symbols = _Symbols(self, tables[0])
        found.lto = symbols.lto
        shown: dict[int, str] = {}
        for name, (section, _) in zip(symbols.pieces.names, symbols.pieces.places, strict=True):
            if section:
                if section not in shown:
                    shown[section] = self.section_name(section)
                found.functions.append((name, shown[section]))
        references = _References(self, symbols, found.warnings).found if symbols.pieces.clones else []
        found.effects = symbols.pieces.effects(references)
        return found


class _Symbols:
    """The function symbols of an object and their extents."""

    def __init__(self, reader: _Reader, table: int) -> None:
        header = reader.sections[table]
        self.all = list(iter_unpack(reader.order + "IBBHQQ", reader.content(table)))
        strings = reader.content(header[_LINK])
        self.lto = b"\0__gnu_lto_slim\0" in strings
        self.section = _sections(reader, table, self.all)
        functions = {
            row: _string(strings, symbol[0])
            for row, symbol in enumerate(self.all)
            if symbol[1] & 15 in (STT_FUNC, STT_GNU_IFUNC) and self.section[row] > 0 and symbol[0]
        }
        defined = set(functions.values())
        functions = {row: name for row, name in functions.items() if name and not is_prefix(name, defined)}
        for row, symbol in enumerate(self.all):
            if self.section[row] == 0 and symbol[0]:
                name = _string(strings, symbol[0])
                if clone_elsewhere(name):
                    functions[row] = name
        self.rows = sorted(functions)
        places = [(self.section[row], self.all[row][4]) if self.section[row] else (0, 0) for row in self.rows]
        self.pieces = Pieces([functions[row] for row in self.rows], places)
        self._reader = reader
        self._extents: dict[int, tuple[list[int], list[tuple[int, int]]]] = {}

    def extents(self, section: int) -> tuple[list[int], list[tuple[int, int]]]:
        """The starts of the functions of `section` in order, and for each its end and position."""
        if section not in self._extents:
            order = sorted((at, i) for i, (home, at) in enumerate(self.pieces.places) if home == section)
            starts = [at for at, _ in order]
            limit = self._reader.sections[section][_SIZE]
            self._extents[section] = starts, [(self._end(at, i, starts, limit), i) for at, i in order]
        return self._extents[section]

    def _end(self, start: int, position: int, starts: list[int], limit: int) -> int:
        size = self.all[self.rows[position]][5]
        if size:
            return int(start + size)
        after = bisect_right(starts, start)
        return starts[after] if after < len(starts) else limit

    def function_at(self, section: int, offset: int) -> int | None:
        starts, ends = self.extents(section)
        at = bisect_right(starts, offset) - 1
        while at >= 0 and ends[at][0] <= offset:
            at -= 1
        return ends[at][1] if at >= 0 else None


def _sections(reader: _Reader, table: int, symbols: list[tuple[int, ...]]) -> list[int]:
    """The section of each symbol; reserved numbers become negative."""
    raw = [symbol[3] for symbol in symbols]
    extended: list[int] = []
    if SHN_XINDEX in raw:
        for index, header in enumerate(reader.sections):
            if header[_TYPE] == SHT_SYMTAB_SHNDX and header[_LINK] == table:
                extended = [word for (word,) in iter_unpack(reader.order + "I", reader.content(index))]
    found = [
        extended[row] if number == SHN_XINDEX else number - 0x10000 if number >= SHN_LORESERVE else number
        for row, number in enumerate(raw)
    ]
    if found and max(found) >= len(reader.sections):
        raise ValueError("a symbol is in a section that is not there")
    return found


class _References:
    """The uses of clones: from relocations, and from branches that the assembler resolved."""

    def __init__(self, reader: _Reader, symbols: _Symbols, warnings: list[str]) -> None:
        self.found: list[tuple[int, int]] = []
        self._reader, self._symbols, self._warnings = reader, symbols, warnings
        facts = architecture(reader.machine, reader.order)
        if facts is None:
            warnings.append(f"callers of clones are unknown: machine {reader.machine} has no table here")
            return
        self._facts = facts
        self._at: dict[tuple[int, int], list[int]] = {}
        self._entries: dict[tuple[int, int], list[int]] = {}
        self._named: dict[int, list[int]] = {}
        self._index_clones()
        self._homes = {section for section, _ in self._at}
        self._rows = {row for row, section in enumerate(symbols.section) if section in self._homes}
        self._rows.update(self._named)
        resolved: dict[int, set[int]] = {}
        for header in reader.sections:
            if header[_TYPE] == SHT_RELA:
                self._relocated(header, resolved)
        for section in sorted(self._homes):
            self._branched(section, resolved.get(section, set()))

    def _index_clones(self) -> None:
        symbols = self._symbols
        places = symbols.pieces.places
        for clone in symbols.pieces.clones:
            row, (section, start) = symbols.rows[clone], places[clone]
            if not section:
                self._named[row] = [clone]
                continue
            self._at.setdefault((section, start), []).append(clone)
            for entry in self._facts.entries(start, symbols.all[row][2]):
                self._entries.setdefault((section, entry), []).append(clone)
        for row, place in zip(symbols.rows, places, strict=True):
            if place in self._at:
                self._named[row] = self._at[place]

    def _use(self, section: int, offset: int, clones: list[int]) -> None:
        user = self._symbols.function_at(section, offset)
        for clone in clones:
            if user is not None:
                self.found.append((clone, user))
                continue
            where = f"{self._reader.section_name(section)}+{offset:#x}"
            name = self._symbols.pieces.names[clone]
            self._warnings.append(f"{name} is used by code that belongs to no function, at {where}")

    def _relocated(self, header: Header, resolved: dict[int, set[int]]) -> None:
        target = header[_INFO]
        flags = self._reader.sections[target][_FLAGS]
        code = bool(flags & SHF_EXECINSTR)
        if not code and (not flags & SHF_ALLOC or self._reader.section_name(target).startswith(BOOKKEEPING)):
            return
        fields = resolved.setdefault(target, set())
        known, sections, all_symbols = self._facts.relocations, self._symbols.section, self._symbols.all
        rows = self._reader.part(header[_OFFSET], header[_SIZE])
        for offset, info, addend in iter_unpack(self._reader.order + "QQq", rows):
            fields.add(offset)
            row = info >> 32
            if row not in self._rows:
                continue
            home = sections[row]
            kind = known.get(info & 0xFFFFFFFF)
            meant = all_symbols[row][4] + addend + (kind.bias if code and kind else 0)
            if code:
                clones = {*self._named.get(row, ()), *self._inside(home, meant)}
                self._use(target, offset, sorted(clones))
            else:
                self._kept_in_data(target, offset, self._entries.get((home, meant), []))

    def _inside(self, section: int, offset: int) -> list[int]:
        """The clones that hold `offset` of `section`."""
        if section not in self._homes:
            return []
        starts, ends = self._symbols.extents(section)
        at = bisect_right(starts, offset) - 1
        while at >= 0:
            clones = self._at.get((section, starts[at]))
            if clones and offset < max(end for end, position in ends if position in clones):
                return clones
            if clones:
                return []
            at -= 1
        return []

    def _kept_in_data(self, section: int, offset: int, clones: list[int]) -> None:
        for clone in clones:
            where = f"{self._reader.section_name(section)}+{offset:#x}"
            name = self._symbols.pieces.names[clone]
            self._warnings.append(f"the address of {name} is kept in data, at {where}")

    def _branched(self, section: int, resolved: set[int]) -> None:
        if not self._reader.sections[section][_FLAGS] & SHF_EXECINSTR:
            return
        goals = {at: clones for (home, at), clones in self._entries.items() if home == section}
        code = self._reader.content(section)
        for site, goal in branches(code, self._facts, goals, resolved):
            self._use(section, site, goals[goal])


def branches(
    code: bytes, facts: Architecture, goals: dict[int, list[int]], resolved: set[int]
) -> list[tuple[int, int]]:
    """Every place in `code` that looks like a branch to a key of `goals` and has no relocation of `resolved`."""
    found: list[tuple[int, int]] = []
    for row in facts.displacements:
        _displaced(code, row, facts, goals, resolved, found)
    if facts.words:
        words = [word for (word,) in iter_unpack(facts.order + "I", code[: len(code) & ~3])]
        for entry in facts.words:
            _worded(words, entry, goals, resolved, found)
    return sorted(found)


def _displaced(
    code: bytes,
    row: Displacement,
    facts: Architecture,
    goals: dict[int, list[int]],
    resolved: set[int],
    found: list[tuple[int, int]],
) -> None:
    """Search by goal where the field is short, by opcode where it is long."""
    length = len(row.match)
    base = length + row.size if row.from_end else 0
    unpack = {1: "b", 2: "h", 4: "i"}[row.size]
    for site in _opcodes(code, row, goals, base):
        field = site + length
        if site % facts.step or field + row.size > len(code):
            continue
        goal = site + base + row.scale * unpack_from(facts.order + unpack, code, field)[0]
        if goal in goals and field not in resolved:
            found.append((site, goal))


def _opcodes(code: bytes, row: Displacement, goals: dict[int, list[int]], base: int) -> list[int]:
    """The places where the opcode of `row` stands: all, or for a short field those near enough to a goal."""
    if row.size < 4:
        reach = (1 << (8 * row.size - 1)) * row.scale + base
        near = {site for goal in goals for site in range(max(0, goal - reach), min(len(code), goal + reach))}
        return [site for site in near if _matches(code, site, row)]
    sites = []
    single = len(row.match) == 1
    for first in _first_bytes(row):
        at = code.find(first)
        while at >= 0:
            if single or _matches(code, at, row):
                sites.append(at)
            at = code.find(first, at + 1)
    return sites


def _first_bytes(row: Displacement) -> list[bytes]:
    return [bytes((value,)) for value in range(256) if value & row.mask[0] == row.match[0]]


def _matches(code: bytes, site: int, row: Displacement) -> bool:
    if site + len(row.match) > len(code) or code[site] & row.mask[0] != row.match[0]:
        return False
    return len(row.match) == 1 or code[site + 1] & row.mask[1] == row.match[1]


def _worded(
    words: list[int],
    row: Word,
    goals: dict[int, list[int]],
    resolved: set[int],
    found: list[tuple[int, int]],
) -> None:
    mask, match = row.mask, row.match
    for index, word in enumerate(words):
        if word & mask != match:
            continue
        value = width = 0
        for low, bits in row.pieces:
            value |= ((word >> low) & ((1 << bits) - 1)) << width
            width += bits
        value -= (value >> (width - 1)) << width
        site = 4 * index
        if site + value * row.scale in goals and site not in resolved:
            found.append((site, site + value * row.scale))


def _string(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode("utf-8", "surrogateescape")
