"""The two instruction decoders, imported when something has to be decoded."""

from __future__ import annotations

import importlib
from typing import Any

from klpkit.errors import EnvironmentLackError


def iced() -> Any:
    """The module `iced_x86`."""
    return _imported("iced_x86", "iced-x86")


def capstone() -> Any:
    """The module `capstone`."""
    return _imported("capstone", "capstone")


def _imported(name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        hint = f"install it: pip install {package}"
        raise EnvironmentLackError(f"the Python package {package} is missing", hint=hint) from error
