"""Makes the driver's fixtures known here."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from conftest_driver import driver, driver_cache, gcc, gcc12

__all__ = ["driver", "driver_cache", "gcc", "gcc12"]
