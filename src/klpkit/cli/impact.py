"""`klpkit impact`: which functions must be patched with a function."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from klpkit.errors import UserError
from klpkit.report.terminal import counter

if TYPE_CHECKING:
    from klpkit.build.tree import BuildTree
    from klpkit.impact.evidence import Evidence
    from klpkit.impact.result import ImpactAnswer

FORMATS = ("tree", "table", "json", "dot")


@dataclass(frozen=True, slots=True)
class Query:
    """The command's arguments, under the names of its options."""

    functions: tuple[str, ...]
    build: Path | None
    source: Path | None
    dumps: tuple[str, ...]
    elf: Path | None
    debug: Path | None
    patches: tuple[Path, ...]
    everything: bool
    all_chains: bool
    lenient: bool
    jobs: int | None
    form: str
    html: Path | None
    prove: bool = False
    causes: bool | None = None
    link: str = ""

    def check(self) -> None:
        """Raise `UsageError` for a combination that makes no sense, with the way out."""
        if self.prove:
            self._check_prove()
            return
        if self.causes is not None or self.link:
            raise click.UsageError("--causes and --link go with --prove")
        if sum(map(bool, (self.build, self.dumps, self.elf))) > 1:
            raise click.UsageError("--build, --dumps and --elf exclude each other: name one kind of evidence")
        if self.debug and not self.elf:
            raise click.UsageError("--debug goes with --elf")
        if self.everything and (self.functions or self.patches or self.html or self.form in ("dot", "table")):
            raise click.UsageError("--all prints text or JSON for every function: leave out what narrows it down")
        if not (self.everything or self.functions or self.patches):
            raise click.UsageError("name a function, or a patch with --patch, or ask for --all")
        if self.patches and (self.dumps or self.elf):
            raise click.UsageError("--patch needs the sources: use it with --build")

    def _check_prove(self) -> None:
        if self.dumps or self.elf:
            raise click.UsageError("--prove compiles: use it with --build")
        if self.form in ("dot", "table"):
            raise click.UsageError("--prove prints text or JSON: leave out --dot and --table")
        if self.everything and self.html:
            raise click.UsageError("--prove --all prints a table or JSON: the page is for functions and patches")
        if self.everything and (self.patches or not self.functions):
            raise click.UsageError("--prove --all wants source files: klpkit impact --prove --all fs/namei.c")
        if not (self.functions or self.patches):
            raise click.UsageError("name a function, or a patch with --patch")
        if self.link and (self.everything or self.patches):
            raise click.UsageError("--link answers for functions: name them, without --all and --patch")


@click.command("impact", short_help="List the functions that must be patched with a function.")
@click.argument("functions", nargs=-1, metavar="[FUNCTION]...")
@click.option("--build", "build", type=click.Path(path_type=Path), metavar="DIR", help="Build tree to ask.")
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Source tree, where the build tree can't tell.",
)
@click.option("--dumps", multiple=True, metavar="PATH", help="Clone dumps, or a folder with them. Repeatable.")
@click.option(
    "--elf",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Image, module or object with debug information.",
)
@click.option(
    "--debug", type=click.Path(path_type=Path), metavar="FILE", help="With --elf: separate file with its DWARF."
)
@click.option(
    "--patch",
    "patches",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Ask for the functions that a source patch touches. Repeatable.",
)
@click.option("--all", "everything", is_flag=True, help="Answer for every function there is.")
@click.option("--prove", is_flag=True, help="Prove the list: hide each body, compile again, compare the code.")
@click.option(
    "--causes/--no-causes",
    default=None,
    help="With --prove: find the pass behind what no record shows (default: not with --all).",
)
@click.option(
    "--link",
    default="",
    metavar="COMMAND",
    help="With --prove, for units compiled with -flto: the command that links them, or a file with it.",
)
@click.option("--all-chains", is_flag=True, help="Give every chain of reasons, not only a shortest one.")
@click.option("--lenient", is_flag=True, help="Count malformed lines of dumps as warnings instead of stopping.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Compilers at once (default: one a processor).")
@click.option("-f", "--format", "form", type=click.Choice(FORMATS), default="tree", help="What to print.")
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.option("--dot", "form", flag_value="dot", help="The same as --format dot.")
@click.option("--table", "form", flag_value="table", help="The same as --format table.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with a graph as well.")
def command(**options: Any) -> None:
    """List the functions that must be patched when FUNCTION changes, with reasons.

    FUNCTION is a name, or FILE:NAME where several functions have it. Without --build, --dumps or --elf the
    current folder is taken for a build tree. A build tree that holds no clone dumps is not written to: the units
    that matter are compiled again elsewhere, each with its exact command.

    \b
      klpkit impact recalc_sigpending_tsk --build ~/linux
      klpkit impact --patch fix.patch --build ~/linux --html impact.html
      klpkit impact kernel/signal.c:dequeue_signal --dumps ~/linux --json
      klpkit impact do_exit --elf /usr/lib/debug/boot/vmlinux-6.12
      klpkit impact --prove may_linkat --build ~/linux
      klpkit impact --prove --all kernel/signal.c --build ~/linux
      klpkit impact --prove parse --link 'gcc -O2 -flto a.o b.o -o tool' --build ~/tool
    """
    query = Query(**options)
    query.check()
    if query.prove:
        _prove(query)
        return
    if query.everything:
        with _everything(query) as evidence:
            _print_all(evidence, query.form)
        return
    with _asked(query) as (evidence, specs, lost):
        answer = evidence.ask(specs, all_chains=query.all_chains, lost=lost)
    if query.html is not None:
        _write_page(answer, query.html)
    _print(answer, query.form)


def _prove(query: Query) -> None:
    from klpkit.cli import proving

    tree = _tree(query)
    causes = not query.everything if query.causes is None else query.causes
    if query.everything:
        proving.prove_files(tree, query.functions, causes=causes, jobs=query.jobs, form=query.form)
        return
    from klpkit.impact.patched import patched_functions

    touched = patched_functions(query.patches, tree)
    for warning in touched.warnings:
        click.echo(f"warning: {warning}", err=True)
    specs = [*query.functions, *touched.specs]
    proving.prove(
        tree,
        specs,
        causes=causes,
        jobs=query.jobs,
        form=query.form,
        patches=query.patches,
        html=query.html,
        link=query.link,
    )


@contextmanager
def _asked(query: Query) -> Iterator[tuple[Evidence, list[str], list[str]]]:
    """The evidence, the functions to ask it for, and those of them that may be missing."""
    from klpkit.impact import sources

    if query.dumps:
        evidence = sources.from_dumps(query.dumps, query.functions, lenient=query.lenient)
        yield evidence, list(query.functions), []
    elif query.elf:
        yield sources.from_image(query.elf, debug=query.debug), list(query.functions), []
    else:
        from klpkit.impact import treesource
        from klpkit.impact.patched import patched_functions

        tree = _tree(query)
        touched = patched_functions(query.patches, tree)
        specs = [*query.functions, *touched.specs]
        with (
            counter("compiling") as progress,
            treesource.from_build(tree, specs, touched.warnings, jobs=query.jobs, progress=progress) as evidence,
        ):
            yield evidence, specs, list(touched.specs)


@contextmanager
def _everything(query: Query) -> Iterator[Evidence]:
    from klpkit.impact import sources

    if query.dumps:
        yield sources.all_of_dumps(query.dumps, lenient=query.lenient)
    elif query.elf:
        yield sources.from_image(query.elf, debug=query.debug)
    else:
        from klpkit.impact import treesource

        tree = _tree(query)
        units = list(tree.units())
        if not units:
            raise UserError(f"{tree.root} has no compiled units", hint="build it first, or ask for one function")
        with (
            counter("compiling") as progress,
            treesource.units_evidence(tree, units, jobs=query.jobs, progress=progress) as evidence,
        ):
            yield evidence


def _tree(query: Query) -> BuildTree:
    from klpkit.build import open_tree

    return open_tree(query.build or Path(), source=query.source)


def _print(answer: ImpactAnswer, form: str) -> None:
    from klpkit import report

    if form == "json":
        report.write_json(answer, sys.stdout)
    elif form == "dot":
        report.write_dot(answer, sys.stdout)
    elif form == "table":
        report.write_table(answer, report.sheet())
    else:
        report.write_tree(answer, report.sheet())


def _print_all(evidence: Evidence, form: str) -> None:
    from klpkit import report
    from klpkit.impact.evidence import EveryAnswer

    answers = EveryAnswer(evidence)
    if form == "json":
        report.write_all_json(answers, sys.stdout, warnings=answers.warnings, evidence=answers.kinds)
    else:
        report.write_trees(answers, report.sheet(), warnings=answers.warnings, evidence=answers.kinds)


def _write_page(answer: ImpactAnswer, path: Path) -> None:
    from klpkit.cachedir import atomic_write
    from klpkit.report import render_html

    with atomic_write(path) as stream:
        stream.write(render_html(answer))
    click.echo(f"wrote {path}", err=True)
