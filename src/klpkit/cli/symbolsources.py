"""The options that say where a kernel's symbols are, for the commands that look symbols up."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from klpkit.livepatch.lookup import SymbolData


@dataclass(frozen=True, slots=True)
class Sources:
    """What the user named; None for what was not."""

    image: Path | None = None
    vmlinux: Path | None = None
    modules: Path | None = None
    system_map: Path | None = None
    symbols: Path | None = None


_HELP = {
    "image": "The kernel image (bzImage or vmlinuz), whose own symbol table is read.",
    "vmlinux": "The linked vmlinux, best with its symbols: knows source files too.",
    "modules": "The folder lib/modules/RELEASE of the kernel.",
    "system_map": "System.map, where there is no image.",
    "symbols": "A list that `klpkit symbols` or klp-convert's Kbuild wrote.",
}


def symbol_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options, which arrive as one argument `sources`."""
    names = [field.name for field in fields(Sources)]

    @functools.wraps(function)
    def gathered(**arguments: Any) -> Any:
        sources = Sources(**{name: arguments.pop(name) for name in names})
        return function(sources=sources, **arguments)

    for name in reversed(names):
        metavar = "DIR" if name == "modules" else "FILE"
        path = click.Path(path_type=Path)
        option = click.option(f"--{name.replace('_', '-')}", name, type=path, metavar=metavar, help=_HELP[name])
        gathered = option(gathered)
    return gathered


def symbol_data(sources: Sources) -> SymbolData | None:
    """The symbols that `sources` tell; None where nothing was named."""
    if sources == Sources():
        return None
    if sources.symbols:
        if sources != Sources(symbols=sources.symbols):
            raise click.UsageError("--symbols tells all that the other options tell: name it alone")
        from klpkit.target.symbolslist import read_symbols_list

        return read_symbols_list(sources.symbols)
    from klpkit.target import open_target

    return open_target(
        image=sources.image, vmlinux=sources.vmlinux, modules=sources.modules, system_map=sources.system_map
    )
