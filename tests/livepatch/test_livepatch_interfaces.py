"""Signatures of exported functions, as the source tells them."""

from __future__ import annotations

import pytest

from klpkit.errors import RefusedError
from klpkit.livepatch.interfaces import Source, check_interfaces

BEFORE = """
struct thing { int a; /* first */ long b; };
enum kind { ONE, TWO };
extern int known(struct thing *thing);
int known(struct thing *thing)
{
    return thing->a;
}
static int inner(int x) { return x; }
"""


def check(after: str, path: str = "fs/a.c") -> None:
    check_interfaces([Source(path, BEFORE, after)], {"known"})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return thing->a;", "return thing->b;"),
        ("int known(struct thing *thing)\n{", "int known(struct thing *thing) /* new */\n{"),
        ("inner(int x)", "inner(int x, int y)"),
        ("ONE, TWO", "ONE, TWO, THREE"),
    ],
)
def test_bodies_comments_and_static_functions_may_change(old: str, new: str) -> None:
    assert old in BEFORE
    check(BEFORE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("int known(struct thing *thing)\n{", "int known(struct thing *thing, int flags)\n{"),
        ("int known(struct thing *thing)\n{", "long known(struct thing *thing)\n{"),
        ("extern int known(struct thing *thing);", "extern int known(struct thing *, int);"),
    ],
)
def test_a_changed_signature_of_an_exported_function_is_refused(old: str, new: str) -> None:
    assert old in BEFORE
    with pytest.raises(RefusedError) as caught:
        check(BEFORE.replace(old, new))
    assert caught.value.slug == "exported-signature"
