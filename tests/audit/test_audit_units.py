"""Auditing real units, compiled on the spot: passes, statuses, exposures and what a level forbids."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from klpkit.audit import Audit, UnitAudit, as_document, audit_units
from klpkit.audit.model import AbiStatus
from klpkit.audit.overrides import override_breaches
from klpkit.build.tree import open_tree
from klpkit.compilers.levels import LEVELS, Level, flags_for
from klpkit.compilers.probe import identify

SOURCE = """
extern int sink(int);
struct pair { int a, b; };
__attribute__((noinline)) static int narrow(int x) { return x < 6 ? sink(x) : sink(2); }
int one(int y) { return narrow(y != 0) + 1; }
int two(int y) { return narrow(y == 0) + 2; }
__attribute__((noinline)) static int split(struct pair *p) { return sink(p->a) + 1; }
int three(struct pair *p) { return split(p) + p->b; }
__attribute__((noinline)) static int taken(int x) { return sink(x); }
int (*hook)(int) = taken;
__attribute__((noinline)) static int plain(int x) { return sink(x) + 3; }
int four(int y) { return plain(y); }
static int state;
int five(void) { return state; }
void six(int x) { state = x; }
static int small(int x) { return x * 3; }
int seven(int x) { return small(x) + small(x + 1); }
int public_one(int x) { return x * 5; }
int eight(int x) { return public_one(x) + public_one(x + 1); }
static inline __attribute__((always_inline)) int forced(int x) { return x * 7; }
int nine(int x) { return forced(x); }
"""


def build(folder: Path, compiler: str, *flags: str, name: str = "unit.c", text: str = SOURCE) -> Path:
    """A project of one unit in `folder`, as a compilation database."""
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    (folder / name).write_text(text)
    words = [compiler, *flags, "-c", "-o", "unit.o", name]
    row = {"directory": str(folder), "file": name, "output": "unit.o", "arguments": words}
    database = folder / "compile_commands.json"
    database.write_text(json.dumps([row]))
    return database


def audited(database: Path, *, level: Level | None = None, inspect: bool = True) -> tuple[Audit, UnitAudit]:
    tree = open_tree(database)
    audit = audit_units(tree.units(), root=tree.root, level=level, inspect=inspect)
    (unit,) = audit.units
    return audit, unit


def statuses(unit: UnitAudit) -> dict[str, AbiStatus]:
    return {row.symbol: row.status for row in unit.functions}


@pytest.mark.parametrize("compiler", ["gcc-11", "gcc-12"])
def test_each_status_is_told_from_evidence(compiler: str, tmp_path: Path) -> None:
    _, unit = audited(build(tmp_path, compiler, "-O2", "-fno-ipa-ra", "-fno-ipa-stack-alignment"))
    found = statuses(unit)
    assert found["narrow"] is AbiStatus.NARROWED
    assert found["split.isra.0"] is AbiStatus.CLONE
    for symbol in ("taken", "plain", "one", "public_one"):
        assert found[symbol] is AbiStatus.PRESERVED, symbol
    notes = {row.symbol: row.notes for row in unit.functions}
    assert notes["narrow"][-1] == "its callers are one, two"
    assert any("[0, 1]" in note for note in notes["narrow"])


def test_register_allocation_between_functions_exposes_those_that_are_called(tmp_path: Path) -> None:
    _, unit = audited(build(tmp_path, "gcc-12", "-O2"))
    found = statuses(unit)
    assert found["plain"] is AbiStatus.EXPOSED
    assert found["four"] is AbiStatus.PRESERVED
    assert found["narrow"] is AbiStatus.NARROWED


def test_flags_that_turn_narrowing_off_preserve_every_function(tmp_path: Path) -> None:
    flags = ("-fno-ipa-ra", "-fno-ipa-stack-alignment", "-fno-ipa-vrp", "-fno-ipa-bit-cp", "-fno-ipa-sra")
    _, unit = audited(build(tmp_path, "gcc-12", "-O2", *flags))
    assert set(statuses(unit).values()) == {AbiStatus.PRESERVED}


@pytest.mark.parametrize("compiler", ["clang-16", "clang-19"])
def test_clang_s_static_functions_are_narrowed_or_exposed_and_its_public_ones_neither(
    compiler: str, tmp_path: Path
) -> None:
    unused = """__attribute__((noinline)) static int drop(int x, int unused) { return sink(x) + 1; }
        int ten(int x) { return drop(x, x * 77) + drop(x + 1, x * 99); }"""
    _, unit = audited(build(tmp_path, compiler, "-O2", text=SOURCE + unused))
    found = statuses(unit)
    assert found["drop"] is AbiStatus.NARROWED
    assert found["narrow"] is AbiStatus.EXPOSED
    assert found["one"] is AbiStatus.PRESERVED


def test_a_compiler_named_by_a_relative_path_is_found_from_where_it_runs(tmp_path: Path) -> None:
    path = shutil.which("gcc-12")
    if not path:
        pytest.skip("gcc-12 is not installed")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mycc").symlink_to(path)
    database = build(tmp_path, "gcc-12", "-O2")
    database.write_text(database.read_text().replace('"gcc-12"', '"bin/mycc"'))
    assert audited(database)[1].kind == "gcc"


def test_lto_units_are_told_to_be_audited_at_their_link(tmp_path: Path) -> None:
    _, unit = audited(build(tmp_path, "gcc-12", "-O2", "-flto"))
    assert unit.lto
    assert any("link-time optimisation" in note for note in unit.notes)
    assert AbiStatus.PRESERVED not in statuses(unit).values()


def test_static_functions_without_a_landing_pad_are_exposed(tmp_path: Path) -> None:
    _, unit = audited(build(tmp_path, "gcc-12", "-O2", "-fcf-protection=branch"))
    (exposure,) = [row for row in unit.exposures if row.slug == "address-taken-function"]
    assert {"narrow", "plain"} <= set(exposure.functions)
    assert not {"taken", "one"} & set(exposure.functions)


def test_users_of_static_variables_whose_address_is_not_taken_are_exposed(tmp_path: Path) -> None:
    _, unit = audited(build(tmp_path, "gcc-12", "-O2"))
    (exposure,) = [row for row in unit.exposures if row.slug == "address-taken-variable"]
    assert exposure.functions == ("five", "six")


def test_cxx_functions_that_callers_may_take_for_not_throwing_are_exposed(tmp_path: Path) -> None:
    text = "int f(int x) { return x + 1; } int g(int x) { return f(x) + f(x); }"
    _, unit = audited(build(tmp_path, "gcc-12", "-O2", "-fno-inline", name="unit.cc", text=text))
    exposed = {row.slug: row.functions for row in unit.exposures}
    assert exposed["nothrow"] == ("_Z1fi",)
    assert "constexpr" not in exposed  # -fno-inline turns it off
    assert "nothrow" in {row.slug for row in unit.flagless}


def test_what_no_record_shows_is_told_apart_from_what_one_does(tmp_path: Path) -> None:
    _, unit = audited(build(tmp_path, "gcc-12", "-O2"), inspect=False)
    assert {"ipa-ra", "modref", "range", "address-taken-variable"} <= {row.slug for row in unit.unlisted}
    assert not {"inline", "isra", "profile"} & {row.slug for row in unit.unlisted}
    assert not unit.functions


@pytest.mark.parametrize("level", LEVELS)
def test_a_unit_built_at_a_level_honours_it(level: Level, tmp_path: Path) -> None:
    if not shutil.which("gcc-12"):
        pytest.skip("gcc-12 is not installed")
    supported = identify(("gcc-12",)).supported
    flags = flags_for("gcc", level, supported=supported, stage="compile", lto=False)
    audit, unit = audited(build(tmp_path, "gcc-12", "-O2", *flags), level=level)
    assert unit.breaches == ()
    assert audit.honoured


@pytest.mark.parametrize(
    ("level", "subjects"),
    [
        (Level.NONE, {"small", "public_one", "split"}),
        (Level.ONLY_INLINE_STATIC, {"public_one", "split"}),
        (Level.INLINE, {"split"}),
        (Level.INLINE_CLONE, set()),
    ],
)
def test_stock_flags_break_a_level_by_passes_and_by_records(
    level: Level, subjects: set[str], tmp_path: Path
) -> None:
    audit, unit = audited(build(tmp_path, "gcc-12", "-O2"), level=level)
    assert not audit.honoured
    records = {row.subject: row for row in unit.breaches if row.slug == "forbidden-record"}
    assert set(records) == subjects  # never the always_inline function
    assert all(row.file.endswith("unit.c") and row.line > 1 for row in records.values())
    assert {"ipa-ra", "modref"} <= {row.subject for row in unit.breaches if row.slug == "pass-allowed"}


@pytest.mark.parametrize(
    "own",
    [
        '__attribute__((optimize("no-gcse,ipa-ra"))) int seven(',
        '#define O __attribute__((__optimize__ ("-fipa-ra")))\nO int seven(',
        '#pragma GCC optimize ("O3", "ipa-ra")\nint seven(',
    ],
)
def test_a_switch_that_the_source_sets_breaks_a_level_that_the_flags_honour(own: str, tmp_path: Path) -> None:
    if not shutil.which("gcc-12"):
        pytest.skip("gcc-12 is not installed")
    supported = identify(("gcc-12",)).supported
    flags = flags_for("gcc", Level.INLINE_CLONE, supported=supported, stage="compile", lto=False)
    text = SOURCE.replace("int seven(", own)
    _, unit = audited(build(tmp_path, "gcc-12", "-O2", *flags, text=text), level=Level.INLINE_CLONE)
    (breach,) = unit.breaches
    assert (breach.slug, breach.subject, breach.file) == ("pass-allowed", "-fipa-ra", "unit.c")
    assert "ipa-ra" in text.splitlines()[breach.line - 1] or text.splitlines()[breach.line - 1].startswith("O ")


def test_an_attribute_that_only_names_a_level_breaks_nothing() -> None:
    assert override_breaches('__attribute__((optimize("O3"))) int f(void);', Level.NONE) == ()
    assert override_breaches("void optimize(int); int g(void) { optimize(3); }", Level.NONE) == ()


def test_clang_names_the_parts_that_it_can_t_honour(tmp_path: Path) -> None:
    audit, unit = audited(build(tmp_path, "clang-16", "-O2", "-fno-inline"), level=Level.NONE, inspect=False)
    assert not audit.honoured
    assert {row.slug for row in unit.breaches} == {"unhonoured-part"}


def test_a_unit_compiled_without_optimisation_honours_every_level(tmp_path: Path) -> None:
    audit, unit = audited(build(tmp_path, "gcc-12", "-O0"), level=Level.NONE, inspect=False)
    assert audit.honoured
    assert unit.on == ()


def test_the_driver_s_level_counts_and_its_list_is_not_written_again(tmp_path: Path) -> None:
    database = build(tmp_path, "gcc-12", "-O2", "-fease-live-patching=none", "-flive-patching-list=all,list.txt")
    rows = json.loads(database.read_text())
    rows[0]["arguments"].insert(0, "klpkit-cc")
    database.write_text(json.dumps(rows))
    audit, unit = audited(database, level=Level.NONE)
    assert audit.honoured
    assert "narrow" in statuses(unit)
    assert not (tmp_path / "list.txt").exists()


def test_commands_that_could_not_be_read_are_not_taken_for_honouring(tmp_path: Path) -> None:
    tree = open_tree(build(tmp_path, "gcc-12", "-O2"))
    broken = {".x.o.cmd": "no command"}
    assert audit_units(tree.units(), root=tree.root, broken=broken).honoured
    audit = audit_units([], root=tree.root, broken=broken, level=Level.INLINE_CLONE)
    assert not audit.honoured
    assert audit.units[0].breaches[0].slug == "not-audited"


def test_nothing_is_written_beside_the_sources(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    database = build(folder, "gcc-12", "-O2")
    audited(database, level=Level.NONE)
    assert sorted(path.name for path in folder.iterdir()) == ["compile_commands.json", "unit.c"]


def test_the_document_holds_every_function_and_says_what_stays_with_all_switches_off(tmp_path: Path) -> None:
    audit, unit = audited(build(tmp_path, "gcc-12", "-O2"), level=Level.INLINE)
    document = json.loads(json.dumps(as_document(audit)))
    assert document["format"] == "klpkit-audit"
    assert document["honoured"] is False
    (shown,) = document["units"]
    assert [row["symbol"] for row in shown["functions"]] == [row.symbol for row in unit.functions]
    assert {"address-taken-variable", "unreachable-function"} <= set(next(iter(document["established"].values())))
    assert {row["slug"] for row in shown["passes"]} == set(unit.on)
