"""`klpkit-cc`: runs the compiler at a level of interprocedural optimisation and writes what it did.

This package runs once for every source of a build, so it is written for start-up time: no `re`, `enum`,
`pathlib`, `subprocess` or `dataclasses`, plain `os` calls, and modules that one kind of call needs are imported
by that kind only.  `docs/reference/klpkit-cc.md` says what it promises.
"""

__all__: tuple[str, ...] = ()
