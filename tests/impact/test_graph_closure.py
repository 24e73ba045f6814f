"""Closures: against a plain search on random graphs, and on the shapes that break naive ones."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klpkit.errors import UserError
from klpkit.impact.closure import closure_all, reach, simple_chains
from klpkit.impact.graph import Graph
from klpkit.records.model import Effect, EffectBuilder, EffectTable, Function, Strings


def function(number: int, order: int = -1) -> Function:
    return Function("u", f"f{number}", None, order)


def graph_of(edges: list[tuple[int, int]], same: list[tuple[int, int]] | None = None, count: int = 0) -> Graph:
    """A graph whose function row n is `f<n>`; `same` are joined."""
    builder = EffectBuilder()
    for number in range(max([count - 1, *(n for edge in edges + (same or []) for n in edge)], default=-1) + 1):
        builder.add_function(function(number))
    for body, user in edges:
        builder.add(Effect(function(body), function(user), "inline"))
    for left, right in same or []:
        builder.add(Effect(function(left), function(right), "same-function"))
    return Graph(builder.table())


def large_graph(users: list[int]) -> Graph:
    """A graph with one effect a function: function n is used by function `users[n]`."""
    count = max(len(users), *users) + 1
    zeros = np.zeros(count, dtype=np.int32)
    nothing = np.zeros(len(users), dtype=np.int32)
    body, user = np.arange(len(users), dtype=np.int32), np.array(users, dtype=np.int32)
    cause = np.zeros(len(users), dtype=np.uint8)
    table = EffectTable(
        Strings(["", "f"]), zeros, zeros + 1, zeros, zeros, zeros, zeros, body, user, cause, nothing - 1, nothing
    )
    return Graph(table)


def plain_closure(edges: list[tuple[int, int]], seed: int) -> set[int]:
    seen, todo = {seed}, [seed]
    while todo:
        node = todo.pop()
        for body, user in edges:
            if body == node and user not in seen:
                seen.add(user)
                todo.append(user)
    return seen


small = st.integers(0, 11)
edge_lists = st.lists(st.tuples(small, small), max_size=30)


@settings(max_examples=200, deadline=None)
@given(edges=edge_lists)
def test_all_closures_are_those_of_a_plain_search(edges: list[tuple[int, int]]) -> None:
    graph = graph_of(edges, count=12)
    closures = closure_all(graph)
    sizes = closures.sizes()
    for node in range(12):
        expected = plain_closure(edges, node)
        assert set(closures.of(node).tolist()) == expected
        assert sizes[node] == len(expected)
        assert set(reach(graph, [node]).distance) == expected


@settings(max_examples=100, deadline=None)
@given(edges=edge_lists, same=st.lists(st.tuples(small, small), max_size=6))
def test_joined_functions_are_reached_and_left_together(
    edges: list[tuple[int, int]], same: list[tuple[int, int]]
) -> None:
    graph = graph_of(edges, same, count=12)
    both_ways = edges + same + [(right, left) for left, right in same]
    for row in range(12):
        nodes = set(closure_all(graph).of(int(graph.node_of[row])).tolist())
        assert {other for other in range(12) if graph.node_of[other] in nodes} == plain_closure(both_ways, row)


@settings(max_examples=100, deadline=None)
@given(edges=edge_lists)
def test_chains_are_shortest_and_lead_from_the_seed(edges: list[tuple[int, int]]) -> None:
    graph = graph_of(edges, count=12)
    reached = reach(graph, [0])
    for node, distance in reached.distance.items():
        chain = reached.chain(graph, node)
        assert len(chain) == distance
        assert [graph.bodies[edge] for edge in chain[1:]] == [graph.targets[edge] for edge in chain[:-1]]
        assert not chain or (graph.bodies[chain[0]] == 0 and graph.targets[chain[-1]] == node)
        every = list(simple_chains(graph, [0], node))
        assert len({tuple(chain) for chain in every}) == len(every)
        assert min(map(len, every), default=0) == distance


def plain_paths(edges: set[tuple[int, int]], node: int, target: int, seen: frozenset[int]) -> int:
    if node == target:
        return 1
    users = [user for body, user in edges if body == node and user not in seen]
    return sum(plain_paths(edges, user, target, seen | {user}) for user in users)


@settings(max_examples=60, deadline=None)
@given(edges=st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=14))
def test_every_simple_chain_is_found(edges: set[tuple[int, int]]) -> None:
    graph = graph_of(sorted(edges), count=7)
    for target in range(1, 7):
        found = sum(1 for _ in simple_chains(graph, [0], target))
        assert found == plain_paths(edges, 0, target, frozenset({0}))


def test_a_chain_of_100000_functions_is_followed() -> None:
    graph = large_graph([n + 1 for n in range(100_000)])
    reached = reach(graph, [0])
    assert len(reached.chain(graph, 100_000)) == 100_000
    assert len(next(simple_chains(graph, [0], 100_000))) == 100_000


def test_the_lists_of_a_long_chain_are_refused_and_not_begun() -> None:
    with pytest.raises(UserError, match="lists of all functions"):
        closure_all(large_graph([n + 1 for n in range(100_000)]), limit=1_000_000)


def test_a_cycle_of_100000_functions_is_one_group() -> None:
    closures = closure_all(large_graph([(n + 1) % 100_000 for n in range(100_000)]))
    assert set(closures.sizes().tolist()) == {100_000, 1}


def test_18_diamonds_have_a_quarter_million_chains_one_at_a_time() -> None:
    edges = [
        e
        for n in range(18)
        for e in ((3 * n, 3 * n + 1), (3 * n, 3 * n + 2), (3 * n + 1, 3 * n + 3), (3 * n + 2, 3 * n + 3))
    ]
    graph = graph_of(edges)
    assert closure_all(graph).sizes()[0] == 55
    assert len(list(islice(simple_chains(graph, [0], 54), 1000))) == 1000
    assert sum(1 for _ in simple_chains(graph, [0], 36)) == 2**12


def test_an_empty_table_has_no_closures() -> None:
    assert closure_all(graph_of([])).sizes().tolist() == []
