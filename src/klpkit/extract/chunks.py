"""The source as it was written, cut where the expanded text has its top-level items.

A chunk is a range of whole lines that can be copied verbatim: the items on it, whatever the raw text says belongs
to them, conditionals that reach into it, and the comment right above.  Of conditionals that the configuration
settles only what is compiled is left.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass

from klpkit.build.csource import definitions
from klpkit.extract.conditionals import conditionals, settled
from klpkit.extract.items import Item, Name, items
from klpkit.extract.numbering import marked
from klpkit.extract.preprocessed import Macro, Preprocessed

_WORDS = re.compile(r"#\s*define \w+ (\w+(?: \w+)*)$")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_COMMENT = re.compile(r"\s*(/\*|\*|//)")


@dataclass(slots=True)
class Chunk:
    """Source lines `first` to `last` (from 1, both included), with the comment above, and the items on them.

    `text` has marks with the numbers of its lines (`klpkit.extract.numbering`).
    """

    first: int
    last: int
    text: str
    items: list[Item]
    header: str = ""
    """The header that the chunk was taken from; it comes right after the includes."""

    @property
    def declares(self) -> list[Name]:
        return [name for item in self.items for name in item.declares]


class Source:
    """The local files of a unit as one text: its chunks by what they declare, and its macros.

    Line numbers here count through all local files, in the order of `Preprocessed.local`.
    """

    def __init__(self, found: Preprocessed, read: Callable[[str], str]) -> None:
        """`read` returns the text of a file, spelled as the preprocessor does."""
        self.found, self.read = found, read
        self.lines: list[str] = []
        self.offsets: dict[str, int] = {}
        self.by_name: dict[str, list[tuple[Chunk, Name]]] = defaultdict(list)
        for file in found.local:
            self.offsets[file] = len(self.lines)
            self.lines += read(file).split("\n")
        expanded = [
            (line + self.offsets[file], text) for file in found.local for line, text in found.expanded(file)
        ]
        self._declared: dict[str, frozenset[str]] = {}
        self.chunks = _chunks(items(expanded), self.lines, found)
        for chunk in self.chunks:
            self._index(chunk)
        self.macros = {
            name: own
            for name, all_of_it in found.macros.items()
            if (own := [macro for macro in all_of_it if macro.file in self.offsets])
        }

    def copy(self) -> Source:
        """This source, to which a draft may add what headers define."""
        other = copy(self)
        other.lines, other.chunks = list(self.lines), list(self.chunks)
        other.offsets = dict(self.offsets)
        other.by_name = defaultdict(list, {name: list(places) for name, places in self.by_name.items()})
        return other

    def declared(self, name: str, kinds: Iterable[str]) -> list[Chunk]:
        """The chunks that declare `name` as one of `kinds`."""
        return [chunk for chunk, declared in self.by_name.get(name, ()) if declared.kind in kinds]

    def header_declares(self, name: str) -> bool:
        """Whether a header of the unit declares the function or variable `name`."""
        return any(
            name in self._header_names(file)
            for file in self.found.pieces
            if file not in self.found.local and name in self.found.words(file)
        )

    def _header_names(self, file: str) -> frozenset[str]:
        """The functions and variables that a header declares without defining them."""
        if file not in self._declared:
            found = (name for item in items(self.found.expanded(file)) for name in item.declares)
            self._declared[file] = frozenset(each.text for each in found if each.kind in ("prototype", "extern"))
        return self._declared[file]

    def adopt(self, name: str) -> bool:
        """Take in the function `name` from the header that defines it; False where none does."""
        for file in self.found.pieces:
            if file in self.offsets or name not in self.found.words(file):
                continue
            for item in items(self.found.expanded(file)):
                if Name(name, "function") in item.declares:
                    self._adopt(file, item.first, item.last)
                    return True
        return False

    def _adopt(self, file: str, first: int, last: int) -> None:
        """Append the lines of `file` and keep only the chunk that lies on `first` to `last`."""
        offset = len(self.lines)
        self.offsets[file] = offset
        self.lines += self.read(file).split("\n")
        numbered = [(line + offset, text) for line, text in self.found.expanded(file)]
        for chunk in _chunks(items(numbered), self.lines, self.found, offset):
            if chunk.first <= first + offset and last + offset <= chunk.last:
                chunk.header = file
                self.chunks.append(chunk)
                self._index(chunk)

    def _index(self, chunk: Chunk) -> None:
        for name in chunk.declares:
            self.by_name[name.text].append((chunk, name))

    def storage(self, word: str) -> str:
        """What a macro such as `STATIC` stands for, where that makes what it precedes static; else ""."""
        definitions = self.found.macros.get(word)
        match = _WORDS.match(definitions[-1].text) if definitions else None
        return match[1] if match and "static" in match[1].split() else ""

    def place(self, file: str, line: int) -> int:
        """The line of this text that is `line` of the local `file`."""
        return self.offsets[file] + line

    def where(self, place: int) -> tuple[str, int]:
        """The file and line that are line `place` of this text."""
        file = max((file for file, offset in self.offsets.items() if offset < place), key=self.offsets.__getitem__)
        return file, place - self.offsets[file]

    def rank(self, place: int) -> tuple[float, ...]:
        """What sorts lines of this text as the compiler sees them: an included file where it is included."""
        return self._rank(*self.where(place))

    def _rank(self, file: str, line: int) -> tuple[float, ...]:
        before = self._rank(*self.found.included[file]) if file in self.found.included else ()
        return (*before, line)

    def macro_text(self, macro: Macro) -> str:
        """The definition as it was written, its continued lines and the comment above included."""
        line = self.place(macro.file, macro.line)
        return "\n".join(self.lines[_comment_above(self.lines, line) - 1 : self._macro_end(line)])

    def _macro_end(self, line: int) -> int:
        while line < len(self.lines) and self.lines[line - 1].endswith("\\"):
            line += 1
        return _comment_end(self.lines, line)


def _chunks(known: list[Item], lines: Sequence[str], found: Preprocessed, offset: int = 0) -> list[Chunk]:
    """The chunks of the lines after `offset`, which is added to what is read from the text alone."""
    text = "\n".join(lines[offset:])
    gone, groups = _conditional_lines(text, found, offset)
    ranges = [*_written(text, known, offset), *((item.first, item.last) for item in known)]
    merged = _merged([(first, _comment_end(lines, last)) for first, last in ranges])
    for _ in range(2):  # a group may reach into another chunk's group
        merged = _merged([_with_groups(first, last, groups) for first, last in merged])
    chunks = [Chunk(first, last, "", []) for first, last in merged]
    place = 0
    for item in sorted(known, key=lambda item: item.first):
        while chunks[place].last < item.first:
            place += 1
        chunks[place].items.append(item)
    for chunk in chunks:
        chunk.text = _text(lines, _comment_above(lines, chunk.first), chunk.last, gone)
    return chunks


def _written(text: str, known: Sequence[Item], offset: int) -> Iterator[tuple[int, int]]:
    """The lines of what the raw `text` defines, where one of the items begins there."""
    starts = sorted((item.first, item.last) for item in known)
    for raw in definitions(text):
        first, last = raw.first + offset, raw.last + offset
        if raw.kind != "macro" and _touches(starts, first, last):
            yield first, last


def _conditional_lines(text: str, found: Preprocessed, offset: int) -> tuple[set[int], list[list[int]]]:
    """The lines that the configuration leaves out, and for each other conditional those of its directives."""
    gone: set[int] = set()
    groups = []
    for conditional in conditionals(text):
        ranges = settled(conditional, found.option)
        if ranges is None:
            groups.append([branch.first + offset for branch in conditional])
        else:
            gone.update(line + offset for first, last in ranges for line in range(first, last + 1))
    return gone, groups


def _text(lines: Sequence[str], first: int, last: int, gone: Container[int]) -> str:
    """Lines `first` to `last` without those `gone`, nor the blank lines that would then follow blank lines.

    The first line and those after a gap are marked with their numbers.
    """
    kept: list[str] = []
    before, blank, skipped = 0, False, False
    for number in range(first, last + 1):
        line = lines[number - 1]
        if number in gone:
            skipped = True
        elif line.strip() or not (skipped and (blank or not kept)):
            shown = line if before == number - 1 else marked(line, number)
            before = number if before == number - 1 or shown != line else before
            kept.append(shown)
            blank, skipped = not line.strip(), False
    return "\n".join(kept)


def _touches(starts: Sequence[tuple[int, int]], first: int, last: int) -> bool:
    """Whether an item begins on the lines `first` to `last`."""
    from bisect import bisect_left

    place = bisect_left(starts, (first, 0))
    return place < len(starts) and starts[place][0] <= last


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges that share a line joined into one."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _with_groups(first: int, last: int, groups: Sequence[Sequence[int]]) -> tuple[int, int]:
    """The range, grown over every conditional of which it holds some directives and not all."""
    for group in groups:
        inside = sum(first <= line <= last for line in group)
        if 0 < inside < len(group):
            first, last = min(first, group[0]), max(last, group[-1])
    return first, last


def _comment_end(lines: Sequence[str], last: int) -> int:
    """The line where a comment ends that begins behind the last word of line `last`; `last` where none does."""
    code = _STRING.sub("", lines[last - 1])
    opening = code.rfind("/*")
    if opening < 0 or code.find("*/", opening + 2) >= 0 or 0 <= code.find("//") < opening:
        return last
    while last < len(lines):
        last += 1
        if "*/" in lines[last - 1]:
            break
    return last


def _comment_above(lines: Sequence[str], first: int) -> int:
    """The line where the comment that ends right above `first` begins; `first` where there is none."""
    line = first - 1
    if line < 1 or not _COMMENT.match(lines[line - 1]):
        return first
    if lines[line - 1].rstrip().endswith("*/"):
        while line > 1 and "/*" not in lines[line - 1]:
            line -= 1
        return line if _COMMENT.match(lines[line - 1]) else first
    while line > 1 and lines[line - 2].lstrip().startswith("//"):
        line -= 1
    return line if lines[line - 1].lstrip().startswith("//") else first
