"""Builds real projects through `klpkit-cc` at every level, with and without LTO, and runs their own test suites.

    make projects                                        # all projects, all levels: about 20 minutes on 2 cores
    python tools/real_projects.py json-c --level none --no-lto

Sources come from Debian's source packages, by way of an apt configuration of this tool's own (the machine's is
not touched), into the user cache.  Each build gets a folder of its own below `build-logs/projects`, with the
log of every step and the impact list (`impact.txt`).  It configures with the level alone and asks for the list
when it builds, so the small programs that a configuration compiles to probe the system are held to the level but
not listed.  Prints a table, and ends with status 1 when a step failed, no test ran, or a level was not honoured.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from klpkit import programs
from klpkit.cachedir import cache_dir
from klpkit.compilers.levels import Level
from klpkit.errors import EnvironmentLackError, KlpkitError

CHECKOUT = Path(__file__).resolve().parent.parent
DRIVER = Path(sys.executable).parent / "klpkit-cc"
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")

PLAIN, LTO = False, True
EVERY_BUILD = tuple((level, lto) for lto in (PLAIN, LTO) for level in Level)
# The level that has no meaning for C++ with LTO is an error of the driver's own.
CXX_BUILDS = tuple(build for build in EVERY_BUILD if build != (Level.ONLY_INLINE_STATIC, LTO))

Steps = tuple[tuple[str, tuple[str, ...]], ...]
"""(name, command) of each step; `{source}`, `{jobs}`, `{driver}`, `{flags}` and `{list}` are filled in."""

AUTOTOOLS: Steps = (
    ("bootstrap", ("autoreconf", "-fi", "{source}")),
    ("configure", ("{source}/configure", "--disable-shared", "CC={driver} gcc", "CFLAGS={flags}")),
    ("build", ("make", "-j{jobs}", "CFLAGS={flags} {list}")),
    ("check", ("make", "-j{jobs}", "check", "CFLAGS={flags} {list}")),
)


def cmake(language: str, compiler: str, *options: str) -> Steps:
    """The steps for CMake; asking for the list in a second call keeps it away from CMake's probes."""
    setting = f"-DCMAKE_{language}_FLAGS={{flags}}"
    compiled_by = f"{'CC' if language == 'C' else language}={{driver}} {compiler}"
    return (
        (
            "configure",
            ("env", compiled_by, "cmake", "{source}", setting, "-DCMAKE_BUILD_TYPE=None", *options),
        ),
        ("list", ("cmake", ".", f"{setting} {{list}}")),
        ("build", ("make", "-j{jobs}", "VERBOSE=1")),
        ("check", ("ctest", "--output-on-failure")),
    )


@dataclass(frozen=True, slots=True)
class Project:
    """A Debian source package, what its build needs, how it is built and at which (level, LTO).

    `told` are the levels that its compiler can't keep, which the driver must say (see klpkit-cc's reference).
    """

    package: str
    needs: tuple[str, ...]
    steps: Steps
    builds: tuple[tuple[Level, bool], ...] = EVERY_BUILD
    told: tuple[Level, ...] = ()


PROJECTS = (
    Project("jansson", ("autoconf", "automake", "libtool"), AUTOTOOLS),
    Project("json-c", ("cmake",), cmake("C", "gcc", "-DBUILD_SHARED_LIBS=OFF")),
    Project(
        "libjsoncpp",
        ("cmake", "g++"),
        cmake(
            *("CXX", "g++", "-DBUILD_SHARED_LIBS=OFF", "-DBUILD_OBJECT_LIBS=OFF"),
            "-DJSONCPP_WITH_POST_BUILD_UNITTEST=OFF",
        ),
        CXX_BUILDS,
        told=(Level.ONLY_INLINE_STATIC,),
    ),
)

# How a log tells that tests passed: how many did.
PASSED = (
    re.compile(rb"^(\d+) test suites passed", re.MULTILINE),
    re.compile(rb"^100% tests passed, 0 tests failed out of (\d+)", re.MULTILINE),
)
# What the driver says on stderr when a list or a level is not what was asked for.
NOT_HONOURED = re.compile(rb"\[level-not-honoured\]")
COMPLAINT = re.compile(rb"^klpkit-cc: |missing from the list|nobody knows|this link names none", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one build of one project came to; the figures of its list."""

    project: str
    level: str
    lto: bool
    result: str
    passed: bool
    functions: int
    pairs: int
    longest: int
    seconds: float


def apt_options(folder: Path) -> list[str]:
    """Options that make apt read source packages with lists and caches in `folder` alone."""
    if not SOURCES.is_file():
        raise EnvironmentLackError(f"{SOURCES}: no such file", hint="this tool needs Debian 12 or later")
    for part in ("lists/partial", "cache"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    sources = folder / "debian.sources"
    sources.write_text(re.sub(r"(?m)^Types:.*$", "Types: deb-src", SOURCES.read_text()))
    settings = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def fetch(project: Project) -> Path:
    """The unpacked source of `project`, from the cache or from Debian."""
    folder = cache_dir("projects")
    source = folder / project.package
    if source.is_dir():
        return source
    say(f"{project.package}: fetching the source package")
    options = apt_options(folder / "apt")
    programs.run(["apt-get", *options, "update"])
    programs.run(["apt-get", *options, "source", "--download-only", "--only-source", project.package], cwd=folder)
    descriptions = sorted(folder.glob(f"{project.package}_*.dsc"), key=lambda path: path.stat().st_mtime)
    unpacked = folder / f".{project.package}.unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    programs.run(["dpkg-source", "--no-check", "-x", str(descriptions[-1]), str(unpacked)])
    unpacked.rename(source)
    return source


def install_needs(chosen: list[Project]) -> None:
    """Install what the chosen projects' build systems need, where it is missing."""
    needs = {"dpkg-dev", "make", *(need for project in chosen for need in project.needs)}
    asked = programs.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n"]).stdout.decode()
    installed = {line.split()[0] for line in asked.splitlines() if line.endswith(" installed")}
    missing = sorted(needs - installed)
    if missing:
        say(f"installing {' '.join(missing)}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        programs.run(["apt-get", "install", "-y", "-q", *missing], env=environment)


def build(project: Project, source: Path, level: str, lto: bool, jobs: int) -> Outcome:
    """Configure, build and check `project` at `level`; the log of each step stays beside the build."""
    folder = CHECKOUT / "build-logs" / "projects" / f"{project.package}-{level}{'-lto' if lto else ''}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # A bootstrap writes into the source, which the cache keeps as Debian has it.
    private = folder / "source"
    shutil.copytree(source, private, symlinks=True)
    listing = folder / "impact.txt"
    values = {
        "source": str(private),
        "jobs": str(jobs),
        "driver": str(DRIVER),
        "flags": f"-O2 -g{' -flto' if lto else ''} -fease-live-patching={level}",
        "list": f"-flive-patching-list=all,{listing}",
    }
    started = time.monotonic()
    result, passed = _steps(project.steps, values, folder, level in project.told)
    seconds = time.monotonic() - started
    functions, pairs, longest = figures(listing)
    if passed and not functions:
        result, passed = "no list", False
    return Outcome(project.package, level, lto, result, passed, functions, pairs, longest, seconds)


def _steps(steps: Steps, values: dict[str, str], folder: Path, broken: bool) -> tuple[str, bool]:
    """Do `steps`; (what they came to, whether that is good).  With `broken` the driver must tell of the level."""
    tests = complaints = told = 0
    for name, words in steps:
        done = programs.run([word.format_map(values) for word in words], cwd=folder, check=False)
        log = done.stdout + b"\n" + done.stderr
        (folder / f"{name}.log").write_bytes(log)
        if done.status:
            return f"{name} failed", False
        complaints += len(COMPLAINT.findall(log))
        told += len(NOT_HONOURED.findall(log))
        tests += sum(int(count) for pattern in PASSED for count in pattern.findall(log + _suite_logs(folder)))
    if complaints or (told and not broken):
        return f"{complaints + told} complaints", False
    if broken:
        return f"{tests} passed, {'told' if told else 'not told'}", bool(told and tests)
    return (f"{tests} passed", True) if tests else ("no test ran", False)


def _suite_logs(folder: Path) -> bytes:
    """What automake's test programs printed, which goes to a file a program once `make check` has run."""
    return b"\n".join(
        path.with_suffix(".log").read_bytes() for path in sorted(folder.rglob("*.trs")) if path.is_file()
    )


def figures(listing: Path) -> tuple[int, int, int]:
    """(functions, pairs of two functions, longest list of one function) of the list at `listing`."""
    pairs: Counter[str] = Counter()
    functions = 0
    for line in listing.read_text().splitlines() if listing.exists() else ():
        fields = line.split("\t")
        if line.startswith("#"):
            continue
        if fields[5] == "self":
            functions += 1
        else:
            pairs["\t".join(fields[:3])] += 1
    return functions, sum(pairs.values()), max(pairs.values(), default=0)


def outcomes(chosen: list[Project], levels: list[str], modes: list[bool], jobs: int) -> Iterator[Outcome]:
    """Every build asked for, one after the other: each uses several processors itself."""
    for project in chosen:
        source = fetch(project)
        for level, lto in project.builds:
            if level in levels and lto in modes:
                say(f"{project.package}: {level}{' with LTO' if lto else ''}")
                yield build(project, source, level, lto, jobs)


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def row(*cells: object) -> None:
    """Print one line of the table, 78 columns wide, at once: the next one takes minutes."""
    print("{:<10}  {:<18}  {:<4} {:<15} {:>5} {:>6} {:>5} {:>6}".format(*map(str, cells)), flush=True)


def arguments() -> argparse.Namespace:
    names = [project.package for project in PROJECTS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("projects", nargs="*", metavar="PROJECT", help=f"some of: {', '.join(names)}")
    parser.add_argument("--level", action="append", choices=list(Level), help="one level (repeatable)")
    parser.add_argument("--lto", action=argparse.BooleanOptionalAction, help="only with LTO, or only without")
    parser.add_argument("--jobs", type=int, default=programs.default_jobs(), help="parallel compilers")
    given = parser.parse_args()
    unknown = sorted(set(given.projects) - set(names))
    if unknown:
        parser.error(f"unknown project: {', '.join(unknown)} (choose from {', '.join(names)})")
    return given


def main() -> int:
    given = arguments()
    chosen = [project for project in PROJECTS if project.package in given.projects or not given.projects]
    modes = [PLAIN, LTO] if given.lto is None else [given.lto]
    results: list[Outcome] = []
    try:
        install_needs(chosen)
        row("project", "level", "LTO", "own tests", "funcs", "pairs", "max", "sec")
        for one in outcomes(chosen, given.level or list(Level), modes, given.jobs):
            results.append(one)
            counts = (one.functions, one.pairs, one.longest, f"{one.seconds:.0f}")
            row(one.project, one.level, "yes" if one.lto else "no", one.result, *counts)
    except KlpkitError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    if not results:
        say("nothing was built: no project has such a build")
        return 2
    return 0 if all(one.passed for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
