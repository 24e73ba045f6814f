# ruff: noqa: PTH100, PTH120
"""The driver as a program: `python -m klpkit.compilers.driver`; fastest is `python -I -S` with this file.

(With the folder in its place Python imports `runpy` first, which takes 3 ms.)
"""

from __future__ import annotations

import os
import sys

if __package__ in (None, ""):
    here = os.path.dirname(os.path.abspath(__file__))
    # With this file or its folder as the program the folder may be on the path: its modules must not hide others.
    sys.path[:] = [place for place in sys.path if os.path.abspath(place) != here]
    for _ in range(3):
        here = os.path.dirname(here)
    sys.path.insert(0, here)

from klpkit.compilers.driver.main import main

if __name__ == "__main__":
    sys.exit(main())
