"""`klpkit fidelity`: is the shipped kernel what this tree and compiler make?"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from klpkit.target import Target
    from klpkit.target.fidelity import Fidelity

_FILE = click.Path(path_type=Path)


@click.command(short_help="Say whether recompiled units equal the code of a shipped kernel.")
@click.argument("units", nargs=-1, required=True, metavar="TU...")
@click.option(
    "--build", "build_dir", type=_FILE, default=".", show_default=True, metavar="DIR", help="The build tree."
)
@click.option("--source", type=_FILE, metavar="DIR", help="The source tree, where it lies elsewhere.")
@click.option("--image", type=_FILE, metavar="FILE", help="The shipped kernel image (vmlinuz, bzImage).")
@click.option("--vmlinux", type=_FILE, metavar="FILE", help="Its debug vmlinux, instead or as well.")
@click.option("--modules", type=_FILE, metavar="DIR", help="Its lib/modules/RELEASE, for units of modules.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Units to compile at once.")
def command(
    units: tuple[str, ...],
    build_dir: Path,
    source: Path | None,
    image: Path | None,
    vmlinux: Path | None,
    modules: Path | None,
    as_json: bool,
    jobs: int | None,
) -> int:
    """Say whether recompiled units equal the code of a shipped kernel, function by function.

    Each TU (a source, or an object of the build tree) is compiled once more, outside the tree, with the tree's
    own command. Its functions are held against the shipped ones: every byte outside relocated fields, and what
    each of these refers to. Ends with 1 where a function differs or is missing: wrong compiler, configuration,
    source version or patch level.

    \b
      klpkit fidelity fs/namei.c --build linux/build --image /boot/vmlinuz-6.12.8
      klpkit fidelity drivers/net/tun.c --build linux/build --image /boot/vmlinuz-6.12.8 \\
          --modules /lib/modules/6.12.8
    """  # fmt: skip
    if image is None and vmlinux is None:
        raise click.UsageError("name the shipped kernel with --image or --vmlinux")
    from klpkit.build import open_tree
    from klpkit.report.terminal import progress
    from klpkit.target import open_target
    from klpkit.target.checking import check_units, suspects

    tree = open_tree(build_dir, source=source)
    target = open_target(image=image, vmlinux=vmlinux, modules=modules)
    objects = [tree.unit_for_object(name) for name in units if name.endswith(".o")]
    chosen = [*objects, *tree.ensure_units([name for name in units if not name.endswith(".o")])]
    with (
        tempfile.TemporaryDirectory(prefix="klpkit-fidelity-") as folder,
        progress("fidelity", total=len(chosen)) as advance,
    ):
        checked = check_units(
            chosen, target, workdir=Path(folder), root=tree.root, source=tree.source, jobs=jobs, done=advance
        )
        faithful = all(each.faithful for each in checked)
        known = [] if faithful else suspects(target, chosen[0].compiler)
        _write(checked, target, known, as_json=as_json)
    return 0 if faithful else 1


def _write(checked: list[Fidelity], target: Target, suspects: list[str], *, as_json: bool) -> None:
    from klpkit.report.fidelity import fidelity_document, write_fidelity
    from klpkit.report.terminal import sheet

    if as_json:
        import json

        click.echo(json.dumps(fidelity_document(checked, target, suspects), indent=1, ensure_ascii=False))
    else:
        write_fidelity(checked, target, suspects, sheet())
