"""`klpkit study`: what each level costs and saves."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from klpkit.compilers.levels import LEVELS

LEVEL_WORDS = tuple(str(level) for level in LEVELS)


def _levels(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    words = tuple(word.strip() for word in (value or ",".join(LEVEL_WORDS)).split(","))
    for word in words:
        if word not in LEVEL_WORDS:
            raise click.BadParameter(f"{word!r} is not a level: use some of {', '.join(LEVEL_WORDS)}")
    return words


@click.command("study", short_help="Say what each level of optimisation between functions costs and saves.")
@click.argument("units", nargs=-1, required=True, metavar="TU...")
@click.option("--build", type=click.Path(path_type=Path), metavar="DIR", help="Build tree to ask.")
@click.option(
    "--source", type=click.Path(path_type=Path), metavar="DIR", help="Source tree, where it is elsewhere."
)
@click.option("--levels", callback=_levels, metavar="LEVEL,...", help="Levels to study (default: all four).")
@click.option("--sample", type=click.IntRange(0), default=20, show_default=True, help="Functions a unit; 0: all.")
@click.option("--seed", type=int, default=1, show_default=True, help="Chooses the sample.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Compilers at once (default: one a processor).")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page as well.")
@click.option("--svg", type=click.Path(path_type=Path), metavar="FILE", help="Write the plot as well.")
def command(
    units: tuple[str, ...],
    build: Path | None,
    source: Path | None,
    levels: tuple[str, ...],
    sample: int,
    seed: int,
    jobs: int | None,
    as_json: bool,
    html: Path | None,
    svg: Path | None,
) -> None:
    """Say what each level of optimisation between functions costs and saves, by the proof.

    A sample of each TU's functions is proven at the build's own flags and at every level: how many functions must
    be patched with one, what records miss and what they claim wrongly; and how large the code is and how long it
    takes to compile.  A study that was interrupted goes on where it stopped.

    \b
      klpkit study kernel/signal.c --build ~/linux
      klpkit study fs/namei.c mm/mmap.c --build ~/linux --sample 0 --html study.html
      klpkit study kernel/signal.c --build ~/linux --levels inline,none --json
    """
    from klpkit.build.tree import open_tree
    from klpkit.cachedir import atomic_write
    from klpkit.proof.study import study
    from klpkit.report.study import render_study_html, render_svg, write_study, write_study_json
    from klpkit.report.terminal import counter, sheet

    tree = open_tree(build or Path(), source=source)
    with counter("studying") as progress:
        found = study(tree, units, sides=levels, sample=sample, seed=seed, jobs=jobs, progress=progress)
    for path, render in ((html, render_study_html), (svg, render_svg)):
        if path is not None:
            with atomic_write(path) as stream:
                stream.write(render(found))
            click.echo(f"wrote {path}", err=True)
    if as_json:
        write_study_json(found, sys.stdout)
    else:
        write_study(found, sheet())
