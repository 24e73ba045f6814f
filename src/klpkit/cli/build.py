"""`klpkit build`: a source patch becomes a live patch for a kernel that somebody else built."""

from __future__ import annotations

import sys
from pathlib import Path

import click

_FILE = click.Path(path_type=Path)


@click.command("build", short_help="Make a live patch from a source patch.")
@click.argument("patches", nargs=-1, type=_FILE, metavar="PATCH...")
@click.option("--patch", "more", type=_FILE, multiple=True, metavar="FILE", help="One more patch, applied after.")
@click.option(
    "--build", "build_dir", type=_FILE, default=".", show_default=True, metavar="DIR", help="The build tree."
)
@click.option("--source", type=_FILE, metavar="DIR", help="The source tree, where it lies elsewhere.")
@click.option("--kernel", type=_FILE, metavar="DIR", help="The kernel's tree, for an external module's --build.")
@click.option("--image", type=_FILE, metavar="FILE", help="The running kernel's image (vmlinuz, bzImage).")
@click.option("--vmlinux", type=_FILE, metavar="FILE", help="Its debug vmlinux, instead or as well.")
@click.option("--modules", type=_FILE, metavar="DIR", help="Its lib/modules/RELEASE, for fixes in modules.")
@click.option("--headers", type=_FILE, metavar="DIR", help="Its header package; by default the build tree.")
@click.option("-o", "--output", "out", type=_FILE, required=True, metavar="OUT.ko", help="The module to make.")
@click.option("--unit", "units", multiple=True, metavar="TU", help="Patch only this source; may be repeated.")
@click.option("--name", default="", help="The module's name, if not that of the file.")
@click.option("--replace/--no-replace", default=True, show_default=True, help="Replace all earlier live patches.")
@click.option(
    "--fuzz", type=click.IntRange(0, 3), default=0, metavar="N", help="Lines of context that may differ."
)
@click.option("--allow-mismatch", is_flag=True, help="Go on though the kernel was not made from this source.")
@click.option(
    "--allow-layout-change", is_flag=True, help="Go on though new code depends on a structure that changes."
)
@click.option("--keep", type=_FILE, metavar="DIR", help="Keep objects and overlays in this new folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Compilations at once (default: one a processor).")
def command(
    patches: tuple[Path, ...],
    more: tuple[Path, ...],
    build_dir: Path,
    source: Path | None,
    kernel: Path | None,
    image: Path | None,
    vmlinux: Path | None,
    modules: Path | None,
    headers: Path | None,
    out: Path,
    units: tuple[str, ...],
    name: str,
    replace: bool,
    fuzz: int,
    allow_mismatch: bool,
    allow_layout_change: bool,
    keep: Path | None,
    as_json: bool,
    jobs: int | None,
) -> None:
    """Make a live patch from a source patch, for a kernel that somebody else built.

    Every unit that sees a changed file is compiled twice, with and without the PATCHes, outside the source and the
    build tree, which stay as they are. The originals must equal the code that is running. Functions that differ go
    into OUT.ko, which Kbuild links and klpkit reads back before it appears. Ends with 1 where a live patch can't
    carry the change, and says why.

    \b
      klpkit build fix.patch --build linux/build --image /boot/vmlinuz-6.12.8 -o livepatch-fix.ko
      klpkit build fix.patch --build prepared --source linux-source-6.12 --headers /usr/src/linux-headers-6.12 \\
          --image /boot/vmlinuz-6.12 --modules /lib/modules/6.12 -o livepatch-fix.ko
    """  # fmt: skip
    from klpkit.pipeline import Request, build_livepatch
    from klpkit.report.terminal import counter, sheet

    request = Request(
        patches=(*patches, *more),
        build=build_dir,
        out=out,
        source=source,
        kernel=kernel,
        image=image,
        vmlinux=vmlinux,
        modules=modules,
        headers=headers,
        units=units,
        fuzz=fuzz,
        allow_mismatch=allow_mismatch,
        allow_layout_change=allow_layout_change,
        replace=replace,
        name=name,
        keep=keep,
        jobs=jobs,
    )
    with counter("compiling") as count:
        built = build_livepatch(request, progress=count)
    from klpkit.report.built import write_built, write_built_json

    if as_json:
        write_built_json(built, sys.stdout)
    else:
        write_built(built, sheet())
