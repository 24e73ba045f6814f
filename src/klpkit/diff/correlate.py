"""Which entity of the original is which of the patched: by name where a name is an identity, else by content
and by who refers to what, to a fixed point.

The order of the steps is the order of their strength; after each step that found something the users are asked
again.  A match is never made across declared names, and state is never matched by content alone: two counters
that start at 0 are not the same counter.
"""

from __future__ import annotations

from collections import defaultdict
from difflib import SequenceMatcher

import numpy as np

from klpkit.diff.names import renamed
from klpkit.diff.parts import parts
from klpkit.diff.pool import Hashes, Ints, Mask, Pool, distinct, mixed, run_starts, summed
from klpkit.diff.union import CODE, OTHER, STATE, Union, repeated
from klpkit.elf.special import Role

ROUNDS = 64


class Correlation:
    """The matches: `partner[e]` is the row on the other side, -1 where there is none.

    `parent` and `part` say which code is a part of a function (see `klpkit.diff.parts`).
    """

    def __init__(self, both: Union, parent: Ints, part: Ints) -> None:
        self.both = both
        self.parent = parent
        self.part = part
        self.partner: Ints = np.full(len(both), -1, np.int64)
        self._asked: Mask = np.zeros(both.split, dtype=bool)
        self._hints: set[tuple[int, int]] = set()

    def match(self, left: Ints, right: Ints) -> None:
        self.partner[left] = right
        self.partner[right] = left

    def free(self, rows: Ints) -> Mask:
        """Which of `rows` can still be matched."""
        both = self.both
        free: Mask = (self.partner[rows] < 0) & (both.declared[rows] >= 0)
        return free

    @property
    def pairs(self) -> tuple[Ints, Ints]:
        """The matched rows: of the original, and their partners."""
        left = np.flatnonzero(self.partner[: self.both.split] >= 0)
        return left, self.partner[left]


def correlate(both: Union, names: Pool) -> Correlation:
    """Match as much as can be told apart; `names` is the pool of both sides."""
    found = Correlation(both, *parts(both, names))
    _by_author_name(found)
    if not _anything_free(found):
        return found
    steps = (
        _by_unique_content,
        _by_users,
        _by_parent,
        _by_content,
        _by_changed_users,
        _by_promoted_name,
        _by_exact_name,
        _by_neighbours,
    )
    while any(step(found) for step in steps):
        if not _anything_free(found):
            break
    return found


def _anything_free(found: Correlation) -> bool:
    free = np.flatnonzero((found.partner < 0) & (found.both.declared >= 0))
    return bool(len(free)) and bool((free < found.both.split).any()) and bool((free >= found.both.split).any())


def _by_author_name(found: Correlation) -> None:
    """Names of the author's that are unique, in the whole object or in their source file."""
    both = found.both
    rows = np.flatnonzero(both.declared == -1)
    for columns in ((both.name,), (both.name, both.file)):
        if not len(rows):
            return
        keys = mixed(both.sort[rows], *(column[rows] for column in columns)).view(np.int64)
        inverse, left, right = repeated(keys, rows >= both.split)
        once = (left == 1) & (right == 1)
        chosen = once[inverse]
        order = np.argsort(inverse[chosen], kind="stable")
        pair = rows[chosen][order]
        side = pair >= both.split
        found.match(pair[~side], pair[side])
        alone = (left <= 1) & (right <= 1)
        rows = rows[~alone[inverse]]
    # Names that repeat even in one file say as little as a compiler's.
    both.declared[rows] = both.name[rows]


def _by_users(found: Correlation) -> bool:
    """What matched users with the same layout refer to at the same place."""
    both = found.both
    changed = False
    for _ in range(ROUNDS):
        left, right = found.pairs
        fresh = ~found._asked[left]
        left, right = left[fresh], right[fresh]
        if not len(left):
            break
        found._asked[left] = True
        a, b = aligned(both, left, right)
        use = found.free(both.target[a]) & found.free(both.target[b]) & (both.offset[a] == both.offset[b])
        pairs = np.stack([both.target[a][use], both.target[b][use]], axis=1)
        found._hints.update((int(x), int(y)) for x, y in np.unique(pairs, axis=0).tolist())
        changed |= _settle(found)
    return changed


def aligned(both: Union, left: Ints, right: Ints) -> tuple[Ints, Ints]:
    """The reference rows, side by side, of those pairs whose references have the same places and types."""
    first = both.first
    count = first[left + 1] - first[left]
    same = (count == first[right + 1] - first[right]) & (count > 0)
    left, right, count = left[same], right[same], count[same]
    if not len(left):
        none = np.empty(0, np.int64)
        return none, none
    step = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    a, b = np.repeat(first[left], count) + step, np.repeat(first[right], count) + step
    equal = (both.at[a] == both.at[b]) & (both.type[a] == both.type[b])
    whole = np.logical_and.reduceat(equal, np.cumsum(count) - count)
    keep = np.repeat(whole, count)
    return a[keep], b[keep]


def _compatible(found: Correlation, x: int, y: int) -> bool:
    both = found.both
    if found.partner[x] >= 0 or found.partner[y] >= 0 or both.sort[x] != both.sort[y]:
        return False
    return bool(both.declared[x] == both.declared[y] and both.declared[x] >= 0)


def _settle(found: Correlation) -> bool:
    """Accept the hints that nothing contradicts; where several compete, equal contents go first."""
    changed = False
    hints = {pair for pair in found._hints if _compatible(found, *pair)}
    found._hints = hints
    for strict in (False, True):
        pool = [pair for pair in hints if not strict or found.both.content[pair[0]] == found.both.content[pair[1]]]
        lefts: dict[int, set[int]] = defaultdict(set)
        rights: dict[int, set[int]] = defaultdict(set)
        for x, y in pool:
            lefts[x].add(y)
            rights[y].add(x)
        chosen = [(x, y) for x, y in pool if len(lefts[x]) == 1 and len(rights[y]) == 1]
        chosen = [pair for pair in chosen if _compatible(found, *pair)]
        for x, y in chosen:
            found.match(np.array([x]), np.array([y]))
        changed |= bool(chosen)
        hints = {pair for pair in hints if _compatible(found, *pair)}
    return changed


def _by_parent(found: Correlation) -> bool:
    """Cold parts, prefix symbols and leading bytes of matched functions."""
    both = found.both
    children: list[dict[tuple[int, int], int]] = [{}, {}]
    free = (both.sort == CODE) & (both.declared >= 0) & (found.partner < 0) & (found.parent >= 0)
    for row in np.flatnonzero(free).tolist():
        key = (int(found.parent[row]), int(found.part[row]))
        side = children[int(row >= both.split)]
        side[key] = -1 if key in side else row
    changed = False
    for (parent, part), row in children[0].items():
        other = children[1].get((int(found.partner[parent]), part), -1)
        if row >= 0 and other >= 0:
            found.match(np.array([row]), np.array([other]))
            changed = True
    return changed


def structure(found: Correlation, *, unmatched_code: bool) -> Hashes:
    """One number for each entity: equal on both sides for what is matched, or known by content and equal.

    Contents and references are followed to a stable partition.  With `unmatched_code`, code and constants that
    are not matched yet count as known by content; state never does.
    """
    both = found.both
    count = len(both)
    number = np.arange(count, dtype=np.int64)
    identity = np.where(found.partner >= 0, np.minimum(number, found.partner), number)
    by_content = _content_known(found, unmatched_code)
    base = np.where(by_content, mixed(both.sort, both.content, 1), mixed(identity, 0, 2))
    rows = np.flatnonzero(by_content[both.owner])
    # Entries of special sections have no users: their numbers change nothing here.
    rows = rows[(both.role[both.owner[rows]] != Role.SITES)]
    if not len(rows):
        return base
    owner, target = both.owner[rows], both.target[rows]
    fixed = mixed(both.at[rows], both.type[rows], both.offset[rows])
    heads = owner[run_starts(owner)]
    color, classes = base, -1
    for _ in range(ROUNDS):
        sums = summed(mixed(fixed, color[target]), owner, count)
        color = np.where(sums != 0, mixed(base, sums), base)
        now = len(distinct(color[heads].view(np.int64)))
        if now == classes:
            break
        classes = now
    return color


def _content_known(found: Correlation, unmatched_code: bool) -> Mask:
    both = found.both
    unnamed_constant = (both.role == Role.RODATA) & (both.declared != -1)
    known: Mask = (both.sort == OTHER) | unnamed_constant
    if unmatched_code:
        known |= (found.partner < 0) & (both.declared >= 0) & (both.sort == CODE)
    return known


def _by_unique_content(found: Correlation) -> bool:
    """Code whose content and references occur once on either side."""
    return _same_code(found, copies=False)


def _by_content(found: Correlation) -> bool:
    """Copies of one content that no user tells apart are interchangeable; their names' order decides."""
    return _same_code(found, copies=True)


def _same_code(found: Correlation, *, copies: bool) -> bool:
    both = found.both
    rows = np.flatnonzero((found.partner < 0) & (both.declared >= 0) & (both.sort == CODE))
    if not (len(rows) and rows[0] < both.split <= rows[-1]):
        return False
    color = structure(found, unmatched_code=True)[rows]
    keys = mixed(color, both.declared[rows]).view(np.int64)
    inverse, left, right = repeated(keys, rows >= both.split)
    changed = False
    order = np.argsort(inverse, kind="stable")
    first = np.append(0, np.cumsum(left + right))
    for number in np.flatnonzero((left > 0) & (left == right)).tolist():
        group = rows[order[first[number] : first[number + 1]]]
        a = sorted((row for row in group.tolist() if row < both.split), key=both.name_of)
        b = sorted((row for row in group.tolist() if row >= both.split), key=both.name_of)
        if len(a) == 1 or (copies and _interchangeable(found, group)):
            found.match(np.array(a), np.array(b))
            changed = True
    return changed


def _interchangeable(found: Correlation, group: Ints) -> bool:
    """Whether copies of one content may be paired in any way: none has a user on its side that is matched."""
    hinted = {row for pair in found._hints for row in pair}
    return not any(row in hinted for row in group.tolist())


def _by_changed_users(found: Correlation) -> bool:
    """What matched users refer to whose references moved: alone with its declared name, or in the same order."""
    both = found.both
    free = np.flatnonzero((found.partner < 0) & (both.declared >= 0) & (both.sort != OTHER))
    if not len(free):
        return False
    is_free = np.zeros(len(both), dtype=bool)
    is_free[free] = True
    owners = distinct(both.owner[is_free[both.target]])
    changed = False
    for x in owners[owners < both.split].tolist():
        y = int(found.partner[x])
        if y >= 0:
            found._hints.update(_hints_in_order(found, x, y))
    changed |= _settle(found)
    return changed


def _hints_in_order(found: Correlation, x: int, y: int) -> set[tuple[int, int]]:
    both = found.both
    sides = []
    for row in (x, y):
        span = both.references_of(row)
        free = found.free(both.target[span])
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for target in both.target[span][free].tolist():
            key = (int(both.sort[target]), int(both.declared[target]))
            if target not in groups[key]:
                groups[key].append(target)
        sides.append(groups)
    hints: set[tuple[int, int]] = set()
    for key, lefts in sides[0].items():
        rights = sides[1].get(key, [])
        if len(lefts) == 1 and len(rights) == 1:
            hints.add((lefts[0], rights[0]))
        elif rights:
            hints |= _in_sequence(found, x, y, set(lefts), set(rights))
    return hints


def _in_sequence(found: Correlation, x: int, y: int, lefts: set[int], rights: set[int]) -> set[tuple[int, int]]:
    """Targets at equal positions of the longest common run of references."""
    both = found.both
    a, b = both.references_of(x), both.references_of(y)
    matcher = SequenceMatcher(None, _reference_keys(found, a), _reference_keys(found, b), autojunk=False)
    hints: set[tuple[int, int]] = set()
    for block in matcher.get_matching_blocks():
        for step in range(block.size):
            p, q = int(both.target[a.start + block.a + step]), int(both.target[b.start + block.b + step])
            if p in lefts and q in rights:
                hints.add((p, q))
    return hints


def _reference_keys(found: Correlation, span: slice) -> list[tuple[int, ...]]:
    both = found.both
    keys: list[tuple[int, ...]] = []
    for row in range(span.start, span.stop):
        target = int(both.target[row])
        partner = int(found.partner[target])
        if partner >= 0:
            keys.append((0, min(target, partner), int(both.offset[row]), int(both.type[row])))
        elif both.declared[target] >= 0:
            known = int(both.content[target]) if both.role[target] == Role.RODATA else 0
            keys.append((1, int(both.declared[target]), known, int(both.type[row])))
        else:
            keys.append((2, int(both.sort[target]), int(both.content[target]), int(both.type[row])))
    return keys


def _by_promoted_name(found: Correlation) -> bool:
    """Locals that were only renamed when they were promoted: the source's name is unique on both sides."""
    both = found.both
    sides: list[dict[tuple[int, str], int]] = [{}, {}]
    for row in np.flatnonzero((found.partner < 0) & (both.declared >= 0)).tolist():
        source = renamed(both.name_of(row))
        if source is not None:
            side = sides[int(row >= both.split)]
            key = (int(both.sort[row]), source)
            side[key] = -1 if key in side else row
    return _match_named(found, sides, check_users=False)


def _by_exact_name(found: Correlation) -> bool:
    """Compiler-made names that are equal on both sides, where a matched user of both stands by it."""
    both = found.both
    sides: list[dict[tuple[int, str], int]] = [{}, {}]
    rows = np.flatnonzero((found.partner < 0) & (both.declared >= 0) & (both.sort != OTHER))
    for row in rows.tolist():
        name = both.name_of(row)
        if name:
            side = sides[int(row >= both.split)]
            key = (int(both.sort[row]), name)
            side[key] = -1 if key in side else row
    return _match_named(found, sides, check_users=True)


def _by_neighbours(found: Correlation) -> bool:
    """State that code reaches by a distance from its neighbour (section anchors), so that it has no users.

    It is the same where the neighbour before or after it is, at the same distance, with the same size and content.
    """
    both = found.both
    rows = np.flatnonzero((found.partner < 0) & (both.declared >= 0) & (both.sort == STATE))
    changed = False
    for step, order in ((-1, rows.tolist()), (1, rows[::-1].tolist())):
        for x in order:
            if x >= both.split or found.partner[x] >= 0 or x + step < 0:
                continue
            y = int(found.partner[x + step]) - step
            if both.split <= y < len(both) and _same_place(found, x, y, step):
                found.match(np.array([x]), np.array([y]))
                changed = True
    return changed


def _same_place(found: Correlation, x: int, y: int, step: int) -> bool:
    both = found.both
    if not _compatible(found, x, y) or both.content[x] != both.content[y]:
        return False
    a, b = both.original.entities, both.patched.entities
    z = y - both.split
    if len(both.original.users_of(x)) or len(both.patched.users_of(z)) or not 0 <= z + step < len(b):
        return False
    inside = a.section[x] == a.section[x + step] and b.section[z] == b.section[z + step]
    distance = a.start[x] - a.start[x + step] == b.start[z] - b.start[z + step]
    return bool(inside and distance)


def _match_named(found: Correlation, sides: list[dict[tuple[int, str], int]], *, check_users: bool) -> bool:
    changed = False
    for key, x in sides[0].items():
        y = sides[1].get(key, -1)
        if x < 0 or y < 0 or (check_users and not _users_agree(found, x, y)):
            continue
        found.match(np.array([x]), np.array([y]))
        changed = True
    return changed


def _users_agree(found: Correlation, x: int, y: int) -> bool:
    both = found.both
    left = both.original.users_of(x)
    right = both.patched.users_of(y - both.split) + both.split
    if not len(left) and not len(right):
        anchored = both.original.facts.anchors
        return bool(both.sort[x] != STATE or both.role[x] == Role.RODATA or not anchored)
    matched = set(found.partner[left].tolist())
    if matched & set(right.tolist()):
        return True
    # Users that are known by content alone: dead code without a symbol, constants without a name.
    bare = [set(both.content[users[both.sort[users] == OTHER]].tolist()) for users in (left, right)]
    return bool(bare[0] & bare[1]) and bool((both.sort[left] == OTHER).all() and (both.sort[right] == OTHER).all())
