"""Spans of bytes, compared, read as numbers and hashed as whole arrays.

A kernel's dumps hold millions of function records.  Making a Python object of each costs more than the whole
budget, so a string is a (start, end) pair of offsets into the bytes of a file.  Fetching 64 bytes from an offset
takes no longer than fetching 8, so bytes are fetched in blocks, and those behind a span's end are blanked out.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from klpkit.records.clonelines import NUMBER_MAX

Offsets = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Ids = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

# So many bytes before the first and behind the last span must be there, so that a block may be read at any offset.
MARGIN = 64

_WORD = 8
_CHUNK = 1 << 15
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
_HALF_SHIFT = np.uint64(16)
_LAST_SHIFT = np.uint64(29)
_ONE = np.uint64(1)


def word_of(text: bytes) -> np.uint64:
    """Eight or fewer bytes as the number that `words_at` has for them."""
    return np.uint64(int.from_bytes(text, "little"))


def words_at(data: Bytes, offsets: Offsets, count: int) -> Hashes:
    """The `count` little-endian 64-bit words from each of `offsets` on, one row an offset."""
    size = count * _WORD
    blocks: npt.NDArray[np.void] = np.ndarray(
        shape=(len(data) - size + 1,), dtype=f"V{size}", buffer=data.data, strides=(1,)
    )
    words: Hashes = blocks[offsets].view("<u8").reshape(-1, count)
    return words


def same_spans(data: Bytes, ones: Offsets, others: Offsets, lengths: Offsets, *, block: int = 64) -> Flags:
    """Whether the `lengths` bytes from `ones` on are those from `others` on.

    `block` is as for `hash_spans`, and a power of two.
    """
    same = np.empty(len(ones), dtype=np.bool_)
    for begin in range(0, len(ones), _CHUNK):
        chunk = slice(begin, begin + _CHUNK)
        same[chunk] = _same_chunk(data, ones[chunk], others[chunk], lengths[chunk], block)
    return same


def _same_chunk(data: Bytes, ones: Offsets, others: Offsets, lengths: Offsets, block: int) -> Flags:
    words = block // _WORD
    different = words_at(data, ones, words)
    different ^= words_at(data, others, words)
    different &= _masks_of(lengths, block)
    while words > 1:
        words //= 2
        different = different[:, :words] | different[:, words:]
    same: Flags = different[:, 0] == 0
    longer = np.flatnonzero(lengths > block)
    if len(longer):
        rest = lengths[longer] - block
        same[longer] &= _same_chunk(data, ones[longer] + block, others[longer] + block, rest, block)
    return same


def hash_spans(data: Bytes, starts: Offsets, lengths: Offsets, *, block: int = 32) -> Hashes:
    """The hash of each span of `data`; equal bytes have equal hashes, never 0.

    With 10^6 different spans the odds of one pair with equal hashes are below 1 in 10^7.  `block` bytes are
    fetched at a time: a multiple of eight up to `MARGIN`, at best a little more than the usual length.
    """
    hashes = np.empty(len(starts), dtype=np.uint64)
    for begin in range(0, len(starts), _CHUNK):
        chunk = slice(begin, begin + _CHUNK)
        hashes[chunk] = _hash_chunk(data, starts[chunk], lengths[chunk], block)
    return hashes


def _hash_chunk(data: Bytes, starts: Offsets, lengths: Offsets, block: int) -> Hashes:
    hashes = lengths.astype(np.uint64) << _SHIFT
    hashes *= _MULTIPLIER
    hashes += _digests(data, starts, lengths, block)
    longer = np.flatnonzero(lengths > block)
    done = block
    while len(longer):
        rest = lengths[longer] - done
        hashes[longer] = hashes[longer] * _MULTIPLIER + _digests(data, starts[longer] + done, rest, block)
        longer = longer[rest > block]
        done += block
    # Let every bit of each hash have a part in its high and low ones.
    hashes ^= hashes >> _LAST_SHIFT
    hashes *= _MULTIPLIER
    hashes ^= hashes >> _SHIFT
    np.maximum(hashes, _ONE, out=hashes)
    return hashes


def _digests(data: Bytes, starts: Offsets, lengths: Offsets, block: int) -> Hashes:
    """A number for the first `lengths` of the `block` bytes at each start: words times odd numbers, added up.

    A product knows nothing of a factor's lower bits, so each word's high bits are first folded onto its low
    ones: words that differ in their last letters only must not be alike.
    """
    words = words_at(data, starts, block // _WORD)
    spare = _masks_of(lengths, block)
    words &= spare
    for shift in (_SHIFT, _HALF_SHIFT):
        np.right_shift(words, shift, out=spare)
        words ^= spare
    digests: Hashes = words @ _factors(block)
    return digests


def _masks_of(lengths: Offsets, block: int) -> Hashes:
    """A row for each length: the words that keep so many bytes of a block."""
    masks: Hashes = _masks(block).take(lengths, mode="clip").view("<u8").reshape(-1, block // _WORD)
    return masks


@cache
def _masks(block: int) -> npt.NDArray[np.void]:
    """Item n keeps the first n bytes of a block."""
    keep = np.arange(block) < np.arange(block + 1)[:, None]
    return np.ascontiguousarray(np.where(keep, 0xFF, 0).astype(np.uint8)).view(f"V{block}")[:, 0]


@cache
def _factors(block: int) -> Hashes:
    """An odd number without a pattern for each word of a block."""
    numbers = np.arange(1, block // _WORD + 1, dtype=np.uint64)
    for _ in range(3):
        numbers *= _MULTIPLIER
        numbers ^= numbers >> _LAST_SHIFT
    return numbers | _ONE


# Eight digits at once: neighbours are joined to two-digit numbers, those to four, the fours to eight digits.
_DIGITS = np.uint64(0x3030303030303030)
_NOT_A_DIGIT = np.uint64(0x7676767676767676)
_HIGH_BITS = np.uint64(0x8080808080808080)
_PAIRS = np.uint64(0x000000FF000000FF)
_LOW_PAIRS, _HIGH_PAIRS = np.uint64(100 + (1000000 << 32)), np.uint64(1 + (10000 << 32))
_TEN, _EIGHT, _LOW_BYTE = np.uint64(10), np.uint64(8), np.uint64(0xFF)


def decimals(data: Bytes, starts: Offsets, ends: Offsets) -> tuple[Ids, Flags]:
    """The numbers in the spans, and which of them are C ints as `%d` writes them and not negative.

    What is said of a span that is not good has no meaning.
    """
    lengths = ends - starts
    excess = ((8 - np.minimum(lengths, 8)) << 3).astype(np.uint64)
    digits = words_at(data, ends - 8, 1)[:, 0]
    digits ^= _DIGITS
    digits >>= excess
    leading_zero = (digits & _LOW_BYTE == 0) & (lengths != 1)
    digits <<= excess
    # A byte above 9 gets its high bit set.
    wrong = ((digits + _NOT_A_DIGIT) | digits) & _HIGH_BITS
    good = wrong == 0
    good &= ~leading_zero
    digits = digits * _TEN + (digits >> _EIGHT)
    values = (digits & _PAIRS) * _LOW_PAIRS + ((digits >> _HALF_SHIFT) & _PAIRS) * _HIGH_PAIRS >> _SHIFT
    for index in np.flatnonzero(lengths > 8).tolist():
        text = data[starts[index] : ends[index]].tobytes()
        number = int(text) if len(text) <= 10 and text.isdigit() else NUMBER_MAX + 1
        good[index] = number <= NUMBER_MAX and text[0] != 48
        values[index] = number & NUMBER_MAX
    return values.astype(np.int32), good
