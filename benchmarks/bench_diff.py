"""How fast `klpkit diff` is: the shared pairs, objects that grow, two linked images.

Ratios are against `readelf -a` of the original in the same run, which reads everything and compares nothing.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from klpkit.diff import diff_files
from klpkit.elf import constants as c
from klpkit.elf.model import ElfObject, ObjRelocation, ObjSection, ObjSymbol

PAIRS = Path(__file__).resolve().parents[2] / "shared" / "objs"


def cpu(work: Callable[[], object]) -> float:
    """The seconds of CPU that `work` takes in this process and the programs that it runs."""
    start = _used()
    work()
    return _used() - start


def _used() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def readelf(path: Path) -> float:
    """The baseline: everything that readelf prints of one object."""
    command = ["readelf", "-aW", str(path)]
    return cpu(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False))


def synthetic(functions: int, references: int, *, changed: int = -1, sections: bool = True) -> bytes:
    """An x86-64 object of `functions` functions with `references` references each, to functions, data, strings."""
    model = ElfObject(c.EM_X86_64)
    text = ObjSection(".text", flags=c.SHF_ALLOC | c.SHF_EXECINSTR, align=16)
    strings = ObjSection(".rodata.str1.1", flags=c.SHF_ALLOC | c.SHF_MERGE | c.SHF_STRINGS, entry_size=1)
    strings.data = b"".join(b"message number %d\0" % i for i in range(functions))
    data = ObjSection(".data", flags=c.SHF_ALLOC | c.SHF_WRITE, data=bytes(8 * functions), align=8)
    sites = ObjSection("__mcount_loc", flags=c.SHF_ALLOC, data=bytes(8 * functions), align=8, entry_size=8)
    literals = ObjSymbol("", strings, type=c.STT_SECTION)
    model.symbols += [ObjSymbol("bench.c", special=c.SHN_ABS, type=c.STT_FILE), literals]
    body = bytearray(b"\x0f\x1f\x44\x00\x00" + b"\x48\xc7\xc7\x00\x00\x00\x00" * references + b"\xc3")
    homes: list[tuple[ObjSection, int]] = []
    chunks = bytearray()
    for number in range(functions):
        code = bytearray(body)
        if number == changed:
            code[-1:] = b"\x90\xc3"
        if sections:
            homes.append((ObjSection(f".text.f{number}", flags=text.flags, data=bytes(code), align=16), 0))
        else:
            chunks += bytes(-len(chunks) % 16)
            homes.append((text, len(chunks)))
            chunks += code
    text.data = bytes(chunks)
    model.sections += [section for section, _ in homes] if sections else [text]
    model.sections += [strings, data, sites]
    kinds = c.STB_GLOBAL
    calls = [
        ObjSymbol(f"f{i}", *homes[i], len(body) + (i == changed), c.STT_FUNC, kinds) for i in range(functions)
    ]
    values = [ObjSymbol(f"v{i}", data, 8 * i, 8, c.STT_OBJECT) for i in range(functions)]
    model.symbols += values + calls
    for number, (section, base) in enumerate(homes):
        entries = section.relocate().entries
        for step in range(references):
            target, addend = _target(number, step, functions, calls, values, literals)
            entries.append(ObjRelocation(base + 8 + 7 * step, 11, target, addend))
        sites.relocate().entries.append(ObjRelocation(8 * number, 1, calls[number], 0))
    return model.to_bytes()


def _target(
    number: int, step: int, functions: int, calls: list[ObjSymbol], values: list[ObjSymbol], literals: ObjSymbol
) -> tuple[ObjSymbol, int]:
    other = (number * 7 + step * 13) % functions
    if step % 3 == 0:
        return calls[other], 0
    if step % 3 == 1:
        return values[other], 0
    return literals, _offsets(functions)[other]


_OFFSETS: dict[int, list[int]] = {}


def _offsets(functions: int) -> list[int]:
    if functions not in _OFFSETS:
        places, place = [], 0
        for number in range(functions):
            places.append(place)
            place += len(b"message number %d\0" % number)
        _OFFSETS[functions] = places
    return _OFFSETS[functions]


def pairs() -> None:
    """All shared pairs in one process."""
    if not PAIRS.exists():
        print("pairs: ../shared/objs is absent, skipped")
        return
    rows = json.loads((PAIRS / "expected.json").read_text())
    paths = [PAIRS / row["arch"] / row["name"] for row in rows]

    def all_of_them() -> None:
        for path in paths:
            diff_files(f"{path}.original.o", f"{path}.patched.o")

    took = cpu(all_of_them)
    baseline = sum(readelf(Path(f"{path}.original.o")) for path in paths)
    print(f"{len(paths)} pairs: {took:.2f} s of CPU, {took / baseline:.2f} times readelf -a of one side")


def growth(folder: Path) -> None:
    """Objects without and with one change, of 500 to 8,000 functions."""
    for functions in (500, 1000, 2000, 4000, 8000):
        for sections in (True, False):
            a, b = folder / "a.o", folder / "b.o"
            a.write_bytes(synthetic(functions, 6, sections=sections))
            b.write_bytes(synthetic(functions, 6, sections=sections, changed=functions // 2))
            same = folder / "same.o"
            same.write_bytes(synthetic(functions, 6, sections=sections) + b"\0")
            equal, changed = cpu(lambda: diff_files(a, same)), cpu(lambda: diff_files(a, b))  # noqa: B023
            baseline = readelf(a)
            how = "a section each" if sections else "one section"
            print(
                f"{functions:5} functions, {how}: equal {equal:.3f} s, one changed {changed:.3f} s, "
                f"{changed / baseline:.2f} times readelf -a of one side"
            )


def linked(folder: Path) -> None:
    """Two linked images with 270,000 relocations."""
    a, b = folder / "vmlinux.a.o", folder / "vmlinux.b.o"
    a.write_bytes(synthetic(27_000, 9, sections=False))
    b.write_bytes(synthetic(27_000, 9, sections=False, changed=100))
    code = "import sys, resource; from klpkit.diff import diff_files; d = diff_files(*sys.argv[1:]); "
    code += "print(d.changed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, 'MiB')"
    took = cpu(lambda: subprocess.run([sys.executable, "-c", code, str(a), str(b)], check=True))
    baseline = readelf(a)
    print(f"two images of 270,000 relocations: {took:.2f} s of CPU, {took / baseline:.2f} times readelf -a of one")


if __name__ == "__main__":
    pairs()
    with tempfile.TemporaryDirectory() as name:
        growth(Path(name))
        linked(Path(name))
