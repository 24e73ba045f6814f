"""`klpkit symbols`: a kernel's symbols as `klpkit convert` counts them, listed or looked up."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from klpkit.cli.symbolsources import symbol_data, symbol_options
from klpkit.errors import RefusedError, UserError

if TYPE_CHECKING:
    from klpkit.cli.symbolsources import Sources
    from klpkit.livepatch.lookup import SymbolData
    from klpkit.report.symbols import Position


@click.command("symbols", short_help="List a kernel's symbols for klpkit convert, or look some up.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@symbol_options
@click.option("-m", "--module", "only", multiple=True, metavar="MODULE", help="Only this module and vmlinux.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the list here.")
@click.option("--json", "as_json", is_flag=True, help="Print what was looked up as JSON.")
def command(
    names: tuple[str, ...], only: tuple[str, ...], output: Path | None, as_json: bool, sources: Sources
) -> None:
    """List a kernel's symbols in the form of klp-convert's `symbols.klp`, or say where each NAME is.

    The list stands in for the image and the modules where those are not at hand. For names, prints the object,
    the position that live patching counts and the source file of every symbol called so, and ends with 1 if there
    is none.

    \b
      klpkit symbols --image /boot/vmlinuz-6.12 --modules /lib/modules/6.12 -o symbols.klp
      klpkit symbols --vmlinux vmlinux type_show
      klpkit symbols --symbols symbols.klp -m tun tun_net_xmit
    """
    data = symbol_data(sources)
    if data is None:
        raise UserError("no symbols were named", hint="give --image, --vmlinux, --system-map or --symbols")
    if not names:
        if as_json:
            raise click.UsageError("--json goes with names; a list has its own form")
        _write_list(data, only, output)
        return
    if output:
        raise click.UsageError("--output goes with the whole list, not with names")
    _look_up(data, names, only, as_json)


def _write_list(data: SymbolData, only: Sequence[str], output: Path | None) -> None:
    from klpkit.target import Target
    from klpkit.target.symbolslist import symbols_list

    if not isinstance(data, Target):
        raise UserError("a list is not made from a list", hint="give --image, --vmlinux or --system-map")
    lines = (f"{line}\n" for line in symbols_list(data, only or None))
    if output is None:
        sys.stdout.writelines(lines)
        return
    from klpkit.cachedir import atomic_write

    with atomic_write(output) as stream:
        stream.writelines(lines)
    click.echo(f"wrote {output}", err=True)


def _look_up(data: SymbolData, names: Sequence[str], only: Sequence[str], as_json: bool) -> None:
    from klpkit.report.symbols import write_positions, write_positions_json

    found = [position for name in names for position in _positions(data, name, only or data.modules())]
    if as_json:
        write_positions_json(found, sys.stdout)
    else:
        write_positions(found, sys.stdout)
    missing = sorted(set(names) - {position.symbol.name for position in found})
    if missing:
        raise RefusedError(
            "klp-unknown-symbol",
            f"no symbol is called {', '.join(missing)}",
            hint="it may be inlined everywhere, or its module is not among those that were named",
        )


def _positions(data: SymbolData, name: str, modules: Sequence[str]) -> list[Position]:
    from klpkit.report.symbols import Position
    from klpkit.target.sourcepaths import source_paths

    found = []
    for owner in (data.object(each) for each in ("vmlinux", *modules)):
        same = owner.positions(name)
        sources = source_paths(owner, same)
        for number, (symbol, source) in enumerate(zip(same, sources, strict=True), 1):
            found.append(Position(owner.name, number if len(same) > 1 else 0, symbol, source))
    return found
