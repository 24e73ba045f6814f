"""Loads numpy without the threads of its linear algebra library, which klpkit never calls.

OpenBLAS starts one for each processor when it is loaded, and they spin for work: on two processors that is 40 ms
of CPU, half as much as loading all of numpy.  Programs that klpkit runs later see their environment as it was.
"""

from __future__ import annotations

import os

_THREADS = "OPENBLAS_NUM_THREADS"

_unset = _THREADS not in os.environ
os.environ.setdefault(_THREADS, "1")

import numpy  # noqa: E402, F401 - what is above must happen first

if _unset:
    del os.environ[_THREADS]
