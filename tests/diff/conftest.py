"""Fixtures of the diff tests."""

from conftest_pairs import compile_c

__all__ = ["compile_c"]
