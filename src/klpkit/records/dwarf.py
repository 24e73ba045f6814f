"""Effects from debug information: which functions' bodies are inlined in which function's code.

Reads DWARF 2 to 5 of linked images, kernel modules, objects and separate debug files.  Each
`DW_TAG_inlined_subroutine` says that the code around it depends on the function that it names.  The user is always
the function whose code it is, also where the call was inlined into another inlined function: that one has no code
there.  A clone depends on the function that it was made from.

DWARF is silent where an inlined body left no instruction behind, and about everything that is neither inlining nor
a clone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from klpkit.errors import FormatError
from klpkit.records import _dwarfforms as d
from klpkit.records._dwarfcode import CodeNames, read_addresses
from klpkit.records._dwarffind import debug_sections
from klpkit.records._dwarffunctions import FILE_SHIFT, Functions, read_functions
from klpkit.records._dwarfsections import DebugSections
from klpkit.records._dwarftable import Names, clone_causes, distinct
from klpkit.records._dwarfunits import Units
from klpkit.records._dwarfvalues import ABSENT, Values
from klpkit.records._dwarfwhole import Tree, read_tree, read_units
from klpkit.records.causes import cause_code
from klpkit.records.model import EffectTable, Function, Strings

__all__ = ["DwarfFacts", "nocall_functions", "read_dwarf", "scan_dwarf"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DwarfFacts:
    """What one file's DWARF says.

    `effects` has a row for every function with code, and for every one that is inlined or could be.  Of each such
    row: `coded` whether the file has code under that symbol; `gone` whether no code is left but in the functions
    that inlined it, clones included; `nocall` whether the compiler changed how it is called (`DW_CC_nocall`).
    """

    effects: EffectTable
    coded: npt.NDArray[np.bool_]
    gone: npt.NDArray[np.bool_]
    nocall: npt.NDArray[np.bool_]


def read_dwarf(path: Path | str, *, debug: Path | str | None = None) -> EffectTable:
    """The effects that the DWARF of the file at `path` records; `debug` names a separate debug file.

    A function's `unit` is its source file as the compiler was given it (with the compilation directory in front,
    or a number behind, where two units have the same); its location is that of its declaration.  Raises
    `UserError` where there is no debug information, `FormatError` where it is broken, `RefusedError` where part
    of it is somewhere else.
    """
    return scan_dwarf(path, debug=debug).effects


def nocall_functions(path: Path | str, *, debug: Path | str | None = None) -> tuple[Function, ...]:
    """The functions that are not called as their source declares them (`DW_CC_nocall`); errors as `read_dwarf`."""
    facts = scan_dwarf(path, debug=debug)
    return tuple(facts.effects.function(row) for row in np.flatnonzero(facts.nocall).tolist())


def scan_dwarf(path: Path | str, *, debug: Path | str | None = None) -> DwarfFacts:
    """All that is read from DWARF, in one pass; see `read_dwarf`."""
    sections = debug_sections(Path(path), Path(debug) if debug else None)
    with _reading(sections):
        return _scan(sections)


@contextmanager
def _reading(sections: DebugSections) -> Iterator[None]:
    """A read past the end of a section, or of a form that no version defines, is a broken file."""
    try:
        yield
    except (IndexError, KeyError, struct.error) as error:
        place, problem = ".debug_*", f"a value reaches past the end of its section ({error})"
        raise FormatError(sections.path, place, problem, hint="the file is cut or broken") from error


def _scan(sections: DebugSections) -> DwarfFacts:
    units, shapes, values = read_units(sections)
    tree = read_tree(sections, units, shapes, values)
    called = values.read(tree.call, tree.call_unit, (d.AT_ABSTRACT_ORIGIN, d.AT_CALL_FILE, d.AT_CALL_LINE))
    origin = called[d.AT_ABSTRACT_ORIGIN]
    if (origin == ABSENT).any():
        raise sections[".debug_info"].error(
            int(tree.call[np.argmax(origin == ABSENT)]), "an inlined call of nothing"
        )
    abstract = shapes.having(frozenset({d.AT_INLINE})).take(tree.shape)
    wanted = np.concatenate([tree.position[tree.code | abstract], origin])
    functions = read_functions(sections[".debug_info"], units, shapes, values, wanted)
    names = Names(sections, units, values)
    code = _read_code(sections, units, values, tree, functions, names)
    return _facts(tree, called, functions, code, names)


@dataclass(frozen=True, slots=True)
class _Code:
    """The subprograms whose code is in the file.

    Their rows in `Tree` (sorted) and in `Functions`, and their symbols; `dropped` counts those that the linker
    left out, `undescribed` the functions of the symbol table without a subprogram; `named` says whether the file
    has symbols at all.
    """

    tree_row: Ints
    row: Ints
    symbols: list[str]
    dropped: int
    undescribed: int
    named: bool


def _read_code(
    sections: DebugSections, units: Units, values: Values, tree: Tree, functions: Functions, names: Names
) -> _Code:
    rows = np.flatnonzero(tree.code)
    address, pieces = read_addresses(sections, units, values, tree.position.take(rows), tree.unit.take(rows))
    code = CodeNames(sections)
    live = code.live(address)
    row = functions.rows(tree.position.take(rows[live]))
    own = [names.strings[index] for index in names.symbols(functions, row).tolist()]
    symbols = code.names(address[live], own)
    undescribed = code.undescribed(np.concatenate([address, pieces]))
    return _Code(rows[live], row, symbols, int((~live).sum()), undescribed, len(sections.elf.symbols) > 1)


def _facts(tree: Tree, called: dict[int, Ints], functions: Functions, code: _Code, names: Names) -> DwarfFacts:
    body = functions.root.take(functions.rows(called[d.AT_ABSTRACT_ORIGIN]))
    origin = functions.root.take(code.row)
    sources = np.unique(np.concatenate([functions.root[functions.inline != ABSENT], origin, body]))
    first, which, columns = _function_rows(functions, names, sources, origin, code.symbols)
    source_row, code_row = which[: len(sources)], which[len(sources) :]
    origin_row = source_row.take(np.searchsorted(sources, origin))

    at = np.minimum(np.searchsorted(code.tree_row, tree.owner), max(len(code.tree_row) - 1, 0))
    placed = np.flatnonzero(code.tree_row.take(at) == tree.owner) if len(code.tree_row) else np.empty(0, np.int64)
    inlined = _inlined(tree, called, names, placed)
    inlined[0] = source_row.take(np.searchsorted(sources, body.take(placed)))
    inlined[1] = code_row.take(at.take(placed))
    effects = np.concatenate([inlined, _cloned(names, columns, origin_row, code_row)], axis=1)
    effects = effects[:, np.sort(distinct(list(effects))[0])]

    coded = np.zeros(len(first), np.bool_)
    coded[code_row] = True
    alive, nocall = coded.copy(), np.zeros(len(first), np.bool_)
    alive[origin_row] = True
    nocall[code_row[functions.convention.take(code.row) == d.CC_NOCALL]] = True
    table = _table(names.strings, columns, effects, _warnings(code, len(tree.owner) - len(placed)))
    return DwarfFacts(table, coded, ~alive, nocall)


def _function_rows(
    functions: Functions, names: Names, sources: Ints, origin: Ints, symbols: list[str]
) -> tuple[Ints, Ints, list[Ints]]:
    """Rows for the `sources`, then for functions with code: made of which, called what; equal ones are one row.

    Returns where each row first is, which row each function has, and the columns unit, symbol, file, line, column.
    """
    row = np.concatenate([sources, origin])
    columns = [
        names.units(functions.unit.take(row)),
        np.concatenate([names.symbols(functions, sources), names.add(symbols)]),
        names.files(functions.file.take(row)),
        np.maximum(functions.line.take(row), 0),
        np.maximum(functions.column.take(row), 0),
    ]
    first, which = distinct(columns)
    return first, which, [column.take(first) for column in columns]


def _inlined(tree: Tree, called: dict[int, Ints], names: Names, rows: Ints) -> Ints:
    """The effects of the inlined calls `rows`, one row a column of the table; body and user are still 0."""
    file, unit = called[d.AT_CALL_FILE].take(rows), tree.call_unit.take(rows)
    where = names.files(np.where(file == ABSENT, ABSENT, unit << FILE_SHIFT | file))
    line = np.maximum(called[d.AT_CALL_LINE].take(rows), 0)
    empty = np.zeros(len(rows), np.int64)
    return np.stack(
        [empty, empty, np.full(len(rows), cause_code("inline")), np.where(where == 0, -1, where), line]
    )


def _cloned(names: Names, columns: list[Ints], origin_row: Ints, code_row: Ints) -> Ints:
    """The effects of functions on clones made of them: code under another symbol than its source's."""
    rows = []
    symbol = [names.strings[index] for index in columns[1].tolist()]
    for body, user in zip(origin_row.tolist(), code_row.tolist(), strict=True):
        if body != user:
            rows += [(body, user, cause, -1, 0) for cause in clone_causes(symbol[user], symbol[body])]
    return np.array(rows, np.int64).reshape(-1, 5).T


def _table(strings: Strings, columns: list[Ints], effects: Ints, warnings: list[str]) -> EffectTable:
    unit, symbol, file, line, column = (values.astype(np.int32) for values in columns)
    body, user, cause, where_file, where_line = effects.astype(np.int32)
    return EffectTable(
        strings=strings,
        unit=unit,
        symbol=symbol,
        order=np.full(len(unit), -1, np.int32),
        file=file,
        line=line,
        column=column,
        body=body,
        user=user,
        cause=cause.astype(np.uint8),
        where_file=where_file,
        where_line=where_line,
        warnings=warnings,
    )


def _warnings(code: _Code, unplaced: int) -> list[str]:
    found = []
    if not code.named:
        found.append("no symbol table: clones are shown under their source names")
    if code.undescribed:
        found.append(
            f"{code.undescribed} functions have no debug information (assembler, folded copies, compiled without "
            "-g): what is inlined in them is not known"
        )
    if code.dropped:
        found.append(f"{code.dropped} functions are described whose code is not in the file")
    if unplaced:
        found.append(f"{unplaced} inlined calls lie in functions whose code is not in the file")
    return found
