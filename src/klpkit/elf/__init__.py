"""Object files as arrays: sections, symbols and relocations (System V gABI, chapters 4 and 5)."""
