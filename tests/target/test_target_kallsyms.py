"""The kallsyms tables of every known order are found and decoded, and nothing else is taken for them."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from target_samples import BASE, ORDERS, Symbol, kallsyms, many_symbols

from klpkit.errors import FormatError
from klpkit.target.kallsyms import Kallsyms, read_kallsyms


@cache
def sample(order: str) -> bytes:
    return kallsyms(many_symbols(), order)


def decoded(table: Kallsyms) -> list[Symbol]:
    return list(zip(table.addresses.tolist(), table.kinds, table.names, strict=True))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("percpu", [True, False])
def test_every_order_of_the_tables_is_read(order: str, percpu: bool) -> None:
    symbols = many_symbols(percpu=percpu)
    data = kallsyms(symbols, order, percpu=percpu, before=b"Linux version " * 9)
    assert decoded(read_kallsyms(data, path="toy")) == symbols


@pytest.mark.parametrize("number", [257, 511, 512, 513, 1025])
def test_the_last_chunk_of_names_may_be_full_or_short(number: int) -> None:
    symbols = many_symbols(number)
    assert decoded(read_kallsyms(kallsyms(symbols), path="toy")) == symbols


def test_names_of_more_than_127_tokens_have_two_bytes_of_length() -> None:
    symbols = many_symbols()
    long = "".join(chr(65 + (row * row) % 26) + str(row % 10) for row in range(200))
    symbols[300] = (symbols[300][0], "T", long)
    symbols[301] = (symbols[301][0], "t", "x" * 511)
    assert decoded(read_kallsyms(kallsyms(symbols), path="toy")) == symbols


def test_symbols_at_one_address_keep_their_order() -> None:
    symbols = many_symbols()
    for row in (100, 101, 102):
        symbols[row] = (symbols[100][0], symbols[row][1], f"alias_{9 - row % 3}")
    assert decoded(read_kallsyms(kallsyms(symbols), path="toy")) == symbols


NAMES = st.text("abcdefghijklmnopqrstuvwxyz_.0123456789ABC$", min_size=1, max_size=60)


@settings(max_examples=25)
@given(
    names=st.lists(NAMES, min_size=1, max_size=60),
    steps=st.lists(st.integers(0, 4096), min_size=1, max_size=20),
    kinds=st.text("tTdDbBrRwWA", min_size=1, max_size=9),
    order=st.sampled_from(ORDERS),
    percpu=st.booleans(),
)
def test_any_symbols_come_back(names: list[str], steps: list[int], kinds: str, order: str, percpu: bool) -> None:
    symbols: list[Symbol] = []
    address = BASE
    for row in range(300 + len(names)):
        symbols.append((address, kinds[row % len(kinds)], names[row % len(names)] + "_" * (row % 3)))
        # The first step is not 0: where all addresses are equal, both readings of the offsets are right.
        address += steps[row % len(steps)] or int(row == 0)
    assert decoded(read_kallsyms(kallsyms(symbols, order, percpu=percpu), path="toy")) == symbols


@settings(max_examples=30)
@given(cut=st.floats(0, 0.99), order=st.sampled_from(ORDERS))
def test_cut_tables_are_refused(cut: float, order: str) -> None:
    data = sample(order)
    # Up to the end of the tables; what follows the last address is not needed.
    whole = len(data) - 64 - (3 * 700 + 12 if order == "6.12" else 0)
    with pytest.raises(FormatError):
        read_kallsyms(data[: int(whole * cut)], path="toy")


@settings(max_examples=30)
@given(data=st.data())
def test_a_changed_byte_is_noticed_or_changes_only_what_it_spells(data: st.DataObject) -> None:
    symbols = many_symbols()
    whole = bytearray(sample("6.12"))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        table = read_kallsyms(bytes(whole), path="toy")
    except FormatError:
        return
    assert len(table) == len(symbols)
    assert (table.addresses[1:] >= table.addresses[:-1]).all()


@pytest.mark.parametrize("data", [b"", b"\0", bytes(4096), bytes(range(256)) * 64])
def test_data_without_tables_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="no kallsyms tables") as caught:
        read_kallsyms(data, path="toy")
    assert "--vmlinux" in caught.value.hint


def test_ascending_numbers_elsewhere_are_not_taken_for_the_token_index() -> None:
    symbols = many_symbols()
    lookalike = b"".join((2 * row).to_bytes(2, "little") for row in range(300))
    data = kallsyms(symbols, before=lookalike + bytes(512))
    assert decoded(read_kallsyms(data, path="toy")) == symbols
