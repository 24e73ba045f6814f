"""The command line: arguments in, a library call, a renderer out; no logic."""
