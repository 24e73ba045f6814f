"""Feed damaged objects to `klpkit diff`: never a traceback, never a verdict that the bytes contradict.

    python benchmarks/diff_fuzz.py [--count 50000] [--seed 1] OBJECT...

Damage goes anywhere in the file: headers, tables, names, contents; bytes are changed, cut off, repeated.  An error
of klpkit's own is a fine answer.  Where there is one, `no-change` is checked against the bytes of all functions,
read again without `klpkit.diff`; `patchable` must name every function whose bytes differ.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import traceback
from pathlib import Path

from klpkit.diff.engine import diff_elf
from klpkit.diff.model import ObjectDiff, Verdict
from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.errors import KlpkitError

# How many damaged objects between two lines of progress.
PROGRESS = 500


def damaged(data: bytes, chance: random.Random) -> bytes:
    """`data` with one to four kinds of damage."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        if not out:
            return bytes(out)
        place = chance.randrange(len(out))
        match chance.randrange(8):
            case 0:
                out[place] = chance.randrange(256)
            case 1:
                out[place] ^= 1 << chance.randrange(8)
            case 2:
                out[chance.randrange(min(64, len(out)))] = chance.randrange(256)
            case 3:
                _in_header_table(out, chance)
            case 4:
                value = chance.choice(
                    [0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1]
                )
                out[place : place + 8] = value.to_bytes(8, "little")
            case 5:
                del out[place:]
            case 6:
                size = chance.randrange(1, 64)
                other = chance.randrange(len(out))
                out[place : place + size] = out[other : other + size]
            case _:
                _in_symbols(out, chance)
    return bytes(out)


def _in_header_table(out: bytearray, chance: random.Random) -> None:
    """Change a field of a section header."""
    if len(out) < 64:
        return
    offset, count = int.from_bytes(out[40:48], "little"), int.from_bytes(out[60:62], "little")
    place = offset + 64 * chance.randrange(max(1, count)) + chance.randrange(64)
    if place < len(out):
        out[place] = chance.choice([0, 1, 2, 4, 0xFF, chance.randrange(256)])


def _in_symbols(out: bytearray, chance: random.Random) -> None:
    """Change eight bytes in the last half, where symbols and relocations lie."""
    place = chance.randrange(len(out) // 2, len(out) + 1)
    out[place : place + 8] = chance.randbytes(len(out[place : place + 8]))


def functions(elf: ElfFile) -> dict[str, bytes]:
    """The bytes of every global function, by name."""
    symbols, code, found = elf.symbols, set(elf.sections.executable), {}
    for row in symbols.defined_functions.tolist():
        section, start, size = int(symbols.section[row]), int(symbols.value[row]), int(symbols.size[row])
        if symbols.bind[row] != c.STB_LOCAL and section in code:
            found[symbols.names[row]] = bytes(elf.content(section)[start : start + size])
    return found


def bodies(elf: ElfFile) -> dict[str, tuple[int, int]]:
    """Where each global function begins: `(section, offset)`, by name."""
    symbols = elf.symbols
    rows = [row for row in symbols.defined_functions.tolist() if symbols.bind[row] != c.STB_LOCAL]
    return {symbols.names[row]: (int(symbols.section[row]), int(symbols.value[row])) for row in rows}


def contradiction(original: ElfFile, patched: ElfFile, diff: ObjectDiff) -> str:
    """What the bytes say against the answer; empty where nothing."""
    if diff.verdict is Verdict.UNPATCHABLE:
        return ""
    told = {function.name for function in diff.functions} | {function.patched_name for function in diff.functions}
    told |= {alias for function in diff.functions for alias in function.aliases}
    told |= {line.where for line in diff.moved}
    # A function under another name is told by either.
    places = [bodies(elf) for elf in (original, patched)]
    mine = [{at[name] for name in told if name in at} for at in places]
    told |= {name for at, known in zip(places, mine, strict=True) for name in at if at[name] in known}
    before, after = functions(original), functions(patched)
    for name in before.keys() & after.keys():
        if before[name] != after[name] and name not in told:
            return f"the bytes of {name} differ"
    return ""


def attempt(data: bytes, other: bytes) -> str:
    """What is wrong with the answer for a damaged object; empty where nothing."""
    try:
        original, patched = ElfFile(data, "original"), ElfFile(other, "damaged")
        diff = diff_elf(original, patched)
        return contradiction(original, patched, diff)
    except KlpkitError:
        return ""
    except Exception:  # noqa: BLE001 - that is what is looked for
        return traceback.format_exc()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("objects", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for objects that went wrong")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    blobs = [path.read_bytes() for path in options.objects]
    wrong = 0
    done = 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for number in range(options.count):
            data = blobs[number % len(blobs)]
            other = damaged(data, chance)
            sides = (data, other) if chance.random() < 0.7 else (other, data)
            problem = attempt(*sides)
            if problem:
                wrong += 1
                print(f"{options.objects[number % len(blobs)]}, damage {number}: {problem}", flush=True)
                if options.keep:
                    (options.keep / f"{number}.o").write_bytes(other)
            done += 1
            if done % PROGRESS == 0:
                print(f"{done} of {options.count} done, {wrong} wrong answers", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print(f"interrupted after {done} of {options.count}")
    print(f"{done} damaged objects, seed {options.seed}, {wrong} wrong answers")
    return 1 if wrong or done < options.count else 0


if __name__ == "__main__":
    sys.exit(main())
