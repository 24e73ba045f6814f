"""`klpkit convert`: references annotated in C become klp relocations."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from klpkit.cli.symbolsources import symbol_data, symbol_options

if TYPE_CHECKING:
    from klpkit.cli.symbolsources import Sources


@click.command("convert", short_help="Turn annotated references of a live patch into klp relocations.")
@click.argument("module", type=click.Path(path_type=Path), required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="OUT", help="Write here, not in place.")
@symbol_options
@click.option("--cflags", is_flag=True, help="Print the compiler option that finds klpkit.h, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print what was converted as JSON.")
def command(module: Path | None, output: Path | None, cflags: bool, as_json: bool, sources: Sources) -> None:
    """Turn the annotated references of the live patch MODULE into klp relocations.

    MODULE is a finished .ko. It is replaced whole or left as it was; one that needs no conversion stays the same.
    Symbols annotated by KLPKIT_RELOC() or KLP_RELOC_SYMBOL() say where they are; those listed by KLP_SYMPOS() too.
    Other undefined symbols are looked up in the kernel's symbols, and so is whether an annotation is right.

    \b
      klpkit convert livepatch-hello.ko --image /boot/vmlinuz-6.12 --modules /lib/modules/6.12
      klpkit convert livepatch-hello.ko --symbols symbols.klp -o converted.ko
      ccflags-y += $(shell klpkit convert --cflags)
    """
    if cflags:
        from klpkit.livepatch import INCLUDE

        click.echo(f"-I{INCLUDE}")
        return
    if module is None:
        raise click.UsageError("Missing argument 'MODULE'.")
    from klpkit.livepatch.convert import convert_file
    from klpkit.report.convert import write_converted, write_converted_json

    out = output or module
    done = convert_file(module, out, symbol_data(sources))
    if as_json:
        write_converted_json(module, out, done, sys.stdout)
    else:
        write_converted(out, done, sys.stdout)
