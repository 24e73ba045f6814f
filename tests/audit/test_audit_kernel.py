"""The audit of units of Debian's stock kernel."""

from __future__ import annotations

import pytest

from kernels import StockKernel
from klpkit.audit import audit_units
from klpkit.audit.model import AbiStatus
from klpkit.build.tree import open_tree
from klpkit.compilers.levels import Level


@pytest.mark.kernel
def test_a_plainly_named_function_of_the_stock_kernel_is_narrowed(stock_kernel: StockKernel) -> None:
    tree = open_tree(stock_kernel.build)
    unit = tree.ensure_unit("kernel/signal.c")
    audit = audit_units([unit], root=tree.root, source=tree.source, level=Level.INLINE_CLONE, inspect=True)
    (signal,) = audit.units
    functions = {row.symbol: row for row in signal.functions}
    alloc = functions["__sigqueue_alloc"]
    assert alloc.status is AbiStatus.NARROWED
    assert "parameter 4 (override_rlimit) is assumed to be in [0, 1]" in alloc.notes
    assert functions["recalc_sigpending"].status is AbiStatus.PRESERVED
    assert "ipa-ra" not in signal.on  # -pg turns it off, whatever -Q says
    assert {"modref", "pure-const", "range"} <= {row.slug for row in signal.unlisted}
    assert {row.slug for row in signal.flagless} == {"address-taken-function", "address-taken-variable"}
    assert "modref" in {row.subject for row in signal.breaches}
