"""klpkit: which machine code must be replaced when a function changes, and how to replace it."""

__version__ = "0.1.0.dev0"
