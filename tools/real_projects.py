"""Builds real C projects through `klpkit-cc` at every level and runs their own test suites.

    make projects                                  # all projects, all levels
    python tools/real_projects.py json-c --level none --keep

Sources come from Debian's source packages, by way of an apt configuration of this tool's own (the machine's is
not touched), into the user cache.  Each build gets a folder of its own below `build-logs/projects`, with the
log of every step and the impact list (`impact.txt`).  Ends with a table and status 1 when a step failed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from klpkit import programs
from klpkit.cachedir import cache_dir
from klpkit.compilers.levels import Level
from klpkit.errors import KlpkitError

CHECKOUT = Path(__file__).resolve().parent.parent
DRIVER = Path(sys.executable).parent / "klpkit-cc"


@dataclass(frozen=True, slots=True)
class Project:
    """A Debian source package and how its build system is told about compiler and flags."""

    package: str
    build_system: str
    needs: tuple[str, ...]
    steps: tuple[tuple[str, tuple[str, ...]], ...]


# `{source}`, `{jobs}`, `{cc}` and `{flags}` are filled in; each step runs in the build folder.
PROJECTS = (
    Project(
        "jansson",
        "autotools",
        ("autoconf", "automake", "libtool"),
        (
            ("bootstrap", ("autoreconf", "-fi", "{source}")),
            ("configure", ("{source}/configure", "--disable-shared", "CC={cc}", "CFLAGS=-O2 -g {flags}")),
            ("build", ("make", "-j{jobs}")),
            ("check", ("make", "-j{jobs}", "check")),
        ),
    ),
    Project(
        "json-c",
        "CMake",
        ("cmake",),
        (
            (
                "configure",
                (
                    *("env", "CC={cc}", "cmake", "{source}", "-DCMAKE_C_FLAGS={flags}"),
                    *("-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF"),
                ),
            ),
            ("build", ("make", "-j{jobs}")),
            ("check", ("ctest", "-j{jobs}", "--output-on-failure")),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one build of one project came to."""

    project: str
    level: str
    failed: str
    lines: int
    seconds: float


def apt_options(folder: Path) -> list[str]:
    """Options that make apt read source packages with lists and caches in `folder` alone."""
    for part in ("lists/partial", "cache"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    listed = Path("/etc/apt/sources.list.d/debian.sources").read_text()
    sources = folder / "debian.sources"
    sources.write_text(listed.replace("Types: deb\n", "Types: deb-src\n"))
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
    programs.run(["apt-get", *options, "source", "--download-only", project.package], cwd=folder)
    (description,) = folder.glob(f"{project.package}_*.dsc")
    unpacked = folder / f".{project.package}.unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    programs.run(["dpkg-source", "--no-check", "-x", str(description), str(unpacked)])
    unpacked.rename(source)
    return source


def install_needs() -> None:
    """Install what the build systems need, where it is missing."""
    needs = {"dpkg-dev", *(need for project in PROJECTS for need in project.needs)}
    known = programs.run(["dpkg-query", "-W", "-f", "${Package}\\n"]).stdout.decode().split()
    missing = sorted(needs - set(known))
    if missing:
        say(f"installing {' '.join(missing)}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        programs.run(["apt-get", "install", "-y", "-q", *missing], env=environment)


def build(project: Project, source: Path, level: str, lto: bool) -> Outcome:
    """Configure, build and check `project` at `level`; the log of each step stays beside the build."""
    folder = CHECKOUT / "build-logs" / "projects" / f"{project.package}-{level}{'-lto' if lto else ''}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    private = folder / "source"
    shutil.copytree(source, private, symlinks=True)
    listing = folder / "impact.txt"
    flags = f"-fease-live-patching={level} -flive-patching-list=all,{listing}" + (" -flto" if lto else "")
    values = {
        "source": str(private),
        "jobs": str(programs.default_jobs()),
        "cc": f"{DRIVER} gcc",
        "flags": flags,
    }
    started = time.monotonic()
    failed = ""
    for name, words in project.steps:
        argv = [word.format_map(values) for word in words]
        done = programs.run(argv, cwd=folder, check=False)
        (folder / f"{name}.log").write_bytes(done.stdout + done.stderr)
        if done.status:
            failed = name
            break
    lines = len(listing.read_text().splitlines()) if listing.exists() else 0
    label = f"{level}{' + LTO' if lto else ''}"
    return Outcome(project.package, label, failed, lines, time.monotonic() - started)


def outcomes(chosen: list[Project], levels: list[str], lto: bool) -> Iterator[Outcome]:
    """Every build asked for, one after the other: each uses all processors itself."""
    for project in chosen:
        source = fetch(project)
        for level in levels:
            say(f"{project.package}: {level}")
            yield build(project, source, level, lto)


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main() -> int:
    names = [project.package for project in PROJECTS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("projects", nargs="*", default=names, help=f"some of: {', '.join(names)}")
    parser.add_argument("--level", action="append", choices=list(Level), help="one level (repeatable)")
    parser.add_argument("--lto", action="store_true", help="build with -flto")
    arguments = parser.parse_args()
    unknown = set(arguments.projects) - set(names)
    if unknown:
        parser.error(f"unknown project: {', '.join(sorted(unknown))} (choose from {', '.join(names)})")
    try:
        install_needs()
        chosen = [project for project in PROJECTS if project.package in arguments.projects]
        results = list(outcomes(chosen, arguments.level or list(Level), arguments.lto))
    except KlpkitError as error:
        say(str(error))
        return error.exit_code
    print(f"{'project':<12} {'level':<24} {'result':<18} {'list lines':>10} {'seconds':>8}")
    for row in results:
        result = f"failed at {row.failed}" if row.failed else "tests passed"
        print(f"{row.project:<12} {row.level:<24} {result:<18} {row.lines:>10} {row.seconds:>8.0f}")
    return 1 if any(row.failed for row in results) else 0


if __name__ == "__main__":
    sys.exit(main())
