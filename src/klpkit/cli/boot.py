"""`klpkit boot`: a kernel in a virtual machine, a live patch loaded, seen to work, and taken out again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from klpkit.boot.outcome import Outcome
    from klpkit.boot.report import Event

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("boot", short_help="Boot a kernel in a virtual machine and check that a live patch works.")
@click.option("--kernel", type=_FILE, required=True, metavar="IMAGE", help="The kernel: a vmlinuz or vmlinux.")
@click.option("--module", type=_FILE, metavar="FILE.ko", help="The live patch to load, check and revert.")
@click.option("--check", type=_FILE, metavar="SCRIPT", help="A shell script for the guest's busybox.")
@click.option(
    "--load", type=_FILE, multiple=True, metavar="FILE.ko", help="A module to load before the patch (repeatable)."
)
@click.option("--load-after", type=_FILE, multiple=True, metavar="FILE.ko", help="The same, after the patch.")
@click.option(
    "--modules",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="The kernel's module folder, for modules that others need.",
)
@click.option("--file", "extra", type=_FILE, multiple=True, help="A file for the guest, put into / (repeatable).")
@click.option("--stress", type=click.IntRange(1), metavar="N", help="Then load and revert N times under activity.")
@click.option("--timeout", type=float, default=300, show_default=True, help="Seconds until the guest is ended.")
@click.option(
    "--patience", type=click.IntRange(1), default=60, show_default=True, help="Seconds for one transition."
)
@click.option("--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto", show_default=True)
@click.option("--memory", type=click.IntRange(64), default=512, show_default=True, help="MiB for the guest.")
@click.option("--append", default="", metavar="WORDS", help="More words for the kernel's command line.")
@click.option(
    "--console", type=click.Path(path_type=Path), metavar="FILE", help="Keep the kernel's whole log here."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    kernel: Path,
    module: Path | None,
    check: Path | None,
    load: tuple[Path, ...],
    load_after: tuple[Path, ...],
    modules: Path | None,
    extra: tuple[Path, ...],
    stress: int | None,
    timeout: float,
    patience: int,
    accel: str,
    memory: int,
    append: str,
    console: Path | None,
    as_json: bool,
) -> None:
    """Boot a kernel in QEMU and see whether a live patch works on it.

    The guest loads the patch, waits for the transition, reverts and unloads it. SCRIPT runs before, in between and
    after, with the word original, patched or reverted as its argument; each run must end with status 0. Any oops,
    warning or stuck transition fails. KVM is used where a guest was seen to run in it.

    \b
      klpkit boot --kernel vmlinuz --module livepatch-fix.ko --check check.sh
      klpkit boot --kernel vmlinuz --module livepatch-fix.ko --stress 20
    """
    if module is None and (stress or load_after):
        raise click.UsageError("--stress and --load-after need a live patch: name it with --module")
    from klpkit.boot.guest import Guest, run_guest
    from klpkit.boot.qemu import Resources
    from klpkit.report.boot import boot_json, boot_text

    guest = Guest(
        kernel,
        patch=module,
        check=check,
        before=load,
        after=load_after,
        modules=modules,
        extra={path.name: path.read_bytes() for path in extra},
        cycles=stress or 0,
        patience=patience,
        resources=Resources(memory=memory, seconds=timeout),
        append=append,
        accelerator=None if accel == "auto" else accel,
    )
    outcome = run_guest(guest, progress=_teller())
    _keep(console, outcome)
    click.echo(boot_json(outcome) if as_json else boot_text(outcome))
    if not outcome.passed:
        sys.exit(1)


def _teller() -> Callable[[Event], None] | None:
    """Tells each event on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        return None

    def tell(event: Event) -> None:
        if event.kind != "output":
            click.echo(f"[{event.seconds:6.1f} s] {event.kind} {event.text}", err=True)

    return tell


def _keep(console: Path | None, outcome: Outcome) -> None:
    from klpkit.cachedir import atomic_write

    if console is not None:
        with atomic_write(console) as file:
            file.write(outcome.console)
