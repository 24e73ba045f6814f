"""Debian's own kernel, fetched, unpacked and prepared in the user cache; nothing is installed.

    debian_kernel.py stock            source, headers and a prepared build tree of the stock cloud kernel
    debian_kernel.py image [--dbg]    the shipped image and modules; with --dbg its vmlinux with DWARF too
    debian_kernel.py small [--build]  a tiny kernel with live patching from the same source
    debian_kernel.py small --prepare --flavour clang --llvm=-16     the same with Clang, only prepared

Each prints one JSON line with the paths of what there is; `--series 6.1` takes another Linux.  Repeating a command
costs nothing, and an interrupted one goes on where it stopped: packages are unpacked under a temporary name and
renamed when complete.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import hashlib
import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from klpkit import programs
from klpkit.cachedir import atomic_write, cache_dir
from klpkit.errors import EnvironmentLackError, KlpkitError

SERIES = "6.12"
"""The series of Linux that is meant where neither `--series` nor `--version` says another."""
FLAVOUR = "cloud-amd64"
COMPILER = "x86_64-linux-gnu-gcc-12"
FRAGMENT = Path(__file__).with_name("small-kernel.config")
STARTED = time.monotonic()


def say(message: str) -> None:
    """One line of progress with the seconds since the start."""
    print(f"[{time.monotonic() - STARTED:6.1f} s] {message}", file=sys.stderr, flush=True)


def output_of(*argv: str) -> str:
    return programs.run(argv).stdout.decode()


@dataclass(frozen=True, slots=True)
class Release:
    """One version of Debian's kernel, and where its parts live in the cache."""

    version: str
    abi: str

    @property
    def name(self) -> str:
        """What `uname -r` says of it."""
        return f"{self.abi}-{FLAVOUR}"

    @property
    def suffix(self) -> str:
        """What the release has after the source's version; "" where Debian's names another version (6.1.0)."""
        upstream = self.version.partition("-")[0]
        return self.name.removeprefix(upstream) if self.name.startswith(upstream) else ""

    @property
    def series(self) -> str:
        """The first two numbers of the version, which names the source package."""
        return ".".join(self.version.split(".")[:2])

    @property
    def root(self) -> Path:
        return cache_dir("kernels", self.version)

    @property
    def source(self) -> Path:
        return self.root / "source" / f"linux-source-{self.series}"

    @property
    def headers(self) -> Path:
        return self.root / "headers" / "usr" / "src" / f"linux-headers-{self.name}"


def madison(packages: Sequence[str]) -> list[tuple[str, str]]:
    """The (package, version) pairs that apt can download of `packages`."""
    rows = (line.split("|") for line in output_of("apt-cache", "madison", *packages).splitlines())
    return [(row[0].strip(), row[1].strip()) for row in rows if len(row) == 3 and "Sources" not in row[2]]


def version_order(a: str, b: str) -> int:
    older = programs.run(("dpkg", "--compare-versions", a, "lt", b), check=False).status == 0
    return -1 if older else int(a != b)


def releases(series: str) -> list[Release]:
    """Every release of which apt offers both the cloud image and the source, newest first."""
    image = re.compile(rf"linux-image-({re.escape(series)}\..+)-{FLAVOUR}$")
    names = output_of("apt-cache", "pkgnames", f"linux-image-{series}.").split()
    images = [name for name in names if image.match(name)]
    sources = {version for _, version in madison([f"linux-source-{series}"])}
    if not images or not sources:
        raise EnvironmentLackError(
            f"apt offers no linux-source-{series} with a {FLAVOUR} image", hint="run apt-get update, as root"
        )
    found: dict[str, Release] = {}
    for name, version in madison(images):
        match = image.match(name)
        if match and version in sources:
            found[version] = Release(version, match[1])
    order = sorted(found, key=functools.cmp_to_key(version_order), reverse=True)
    return [found[version] for version in order]


def pick_release(version: str, series: str = SERIES) -> Release:
    """The release that was asked for, else the newest; remembered, so that apt is not needed again for it."""
    if version:
        remembered = cache_dir("kernels") / version / "release.json"
        if remembered.exists():
            return Release(**json.loads(remembered.read_text()))
    offered = releases(".".join(version.split(".")[:2]) if version else series)
    chosen = next((release for release in offered if version in ("", release.version)), None)
    if chosen is None:
        known = ", ".join(release.version for release in offered)
        raise EnvironmentLackError(f"apt does not offer version {version}", hint=f"choose one of: {known}")
    with atomic_write(chosen.root / "release.json") as stream:
        json.dump({"version": chosen.version, "abi": chosen.abi}, stream)
    return chosen


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Two runs never prepare the same folder at the same time."""
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def once(folder: Path, what: str, make: Callable[[Path], None]) -> Path:
    """`folder`, made by `make` under a temporary name unless it is there already."""
    if not folder.exists():
        say(what)
        temporary = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        make(temporary)
        temporary.rename(folder)
    return folder


def download(release: Release, packages: Sequence[str]) -> list[Path]:
    """The .deb files of `packages` at the release's version, fetched where missing."""
    folder = cache_dir("kernels", release.version, "debs")
    found = {name: sorted(folder.glob(f"{name}_*.deb")) for name in packages}
    missing = [f"{name}={release.version}" for name in packages if not found[name]]
    if missing:
        say(f"downloading {' '.join(missing)}")
        part = cache_dir("kernels", release.version, "debs.part")
        programs.run(("apt-get", "download", "-q", *missing), cwd=part)
        for deb in part.glob("*.deb"):
            deb.rename(folder / deb.name)
    return [next(folder.glob(f"{name}_*.deb")) for name in packages]


def unpack(release: Release, packages: Sequence[str]) -> Callable[[Path], None]:
    """A maker for `once`: downloads and unpacks `packages` into the folder it is given."""

    def make(folder: Path) -> None:
        for deb in download(release, packages):
            programs.run(("dpkg", "-x", str(deb), str(folder)))

    return make


def kbuild_package(release: Release) -> str:
    """The package of Kbuild's programs that the headers depend on: it is named after the ABI or the series."""
    (headers,) = download(release, [f"linux-headers-{release.name}"])
    needed = output_of("dpkg-deb", "--field", str(headers), "Depends")
    match = re.search(r"linux-kbuild-\S+", needed)
    if match is None:
        raise KlpkitError(f"{headers.name} depends on no linux-kbuild", hint="choose another --version")
    return match[0]


def fetch_headers(release: Release) -> Path:
    """The header package's tree, with its absolute paths mended so that it works where it lies."""
    packages = [f"linux-headers-{release.name}", f"linux-headers-{release.abi}-common"]

    def make(folder: Path) -> None:
        unpack(release, [*packages, kbuild_package(release)])(folder)
        sources = folder / "usr" / "src"
        for makefile in sources.glob("linux-headers-*/Makefile"):
            text = makefile.read_text()
            final = release.headers.parent
            makefile.write_text(re.sub(r"^include /usr/src/", f"include {final}/", text, flags=re.M))

    once(release.root / "headers", "unpacking headers", make)
    return release.headers


def fetch_source(release: Release) -> Path:
    """The kernel source, unpacked."""

    def make(folder: Path) -> None:
        (deb,) = download(release, [f"linux-source-{release.series}"])
        packed = folder / "packed"
        programs.run(("dpkg", "-x", str(deb), str(packed)))
        (tarball,) = packed.rglob("linux-source-*.tar.xz")
        programs.run(("tar", "-xf", str(tarball), "-C", str(folder)))
        shutil.rmtree(packed)

    once(release.root / "source", "unpacking the source (about 15 s, 1.7 GB)", make)
    return release.source


def fetch_image(release: Release) -> Path:
    """The folder of the shipped kernel: `boot/vmlinuz-RELEASE` and `lib/modules/RELEASE`."""
    name = f"linux-image-{release.name}"
    return once(release.root / "image", "unpacking the image", unpack(release, [name]))


def fetch_debug(release: Release) -> Path:
    """The shipped vmlinux with symbols and DWARF."""
    name = f"linux-image-{release.name}-dbg"
    what = "fetching the debug package (300 MB)"
    folder = once(release.root / "dbg", what, unpack(release, [name]))
    return next(folder.rglob("vmlinux*"))


def make(source: Path, build: Path, *targets: str, jobs: int) -> None:
    """`make O=build targets`, its output into a log beside `build`, its last lines shown on failure."""
    log = build.parent / f"{build.name}.log"
    argv = ("make", "-C", str(source), f"O={build}", f"-j{jobs}", *targets)
    try:
        done = programs.run(argv)
    except programs.ProgramFailedError as error:
        log.write_bytes(error.completed.stdout + error.completed.stderr)
        raise
    log.write_bytes(done.stdout + done.stderr)


def prepare_stock(release: Release, jobs: int) -> dict[str, str]:
    """Source, headers and a prepared `O=` tree with the shipped configuration."""
    source, headers = fetch_source(release), fetch_headers(release)
    build = release.root / "build"
    stamp = release.root / "build.prepared"
    if not stamp.exists() or stamp.read_text() != release.suffix:
        say("preparing the build tree (about 30 s)")
        build.mkdir(exist_ok=True)
        shutil.copy(headers / ".config", build / ".config")
        # Kbuild appends it to the version that the source has: some code says the release (UTS_RELEASE).
        (build / "localversion").write_text(release.suffix)
        make(source, build, f"CC={COMPILER}", "olddefconfig", jobs=jobs)
        make(source, build, f"CC={COMPILER}", "modules_prepare", jobs=jobs)
        shutil.copy(headers / "Module.symvers", build / "Module.symvers")
        stamp.write_text(release.suffix)
    return {
        "version": release.version,
        "release": release.name,
        "source": str(source),
        "build": str(build),
        "headers": str(headers),
    }


def image_paths(release: Release, *, debug: bool) -> dict[str, str]:
    """The paths of the shipped image, as far as they are there or asked for."""
    image = release.root / "image"
    paths = {}
    if image.exists():
        paths["image"] = str(image / "boot" / f"vmlinuz-{release.name}")
        paths["modules"] = str(image / "lib" / "modules" / release.name)
    if debug or (release.root / "dbg").exists():
        paths["vmlinux"] = str(fetch_debug(release))
    return paths


def missing_options(fragment: Path, config: Path) -> list[str]:
    """The lines of `fragment` that `config` does not honour."""
    wanted = [line for line in fragment.read_text().splitlines() if re.match(r"(# )?CONFIG_", line)]
    got = set(config.read_text().splitlines())
    dropped = []
    for line in wanted:
        off = re.match(r"# (CONFIG_\w+) is not set", line)
        absent = off is not None and not any(entry.startswith(f"{off[1]}=") for entry in got)
        if line not in got and not absent:
            dropped.append(line)
    return dropped


def small_key(release: Release, compiler: str) -> str:
    """What a small kernel depends on, as a short hash: fragment, source version and compiler."""
    banner = output_of(*compiler.split(), "--version").splitlines()[0]
    facts = "\0".join([FRAGMENT.read_text(), release.version, banner])
    return hashlib.sha256(facts.encode()).hexdigest()[:12]


def small_kernel(release: Release, options: argparse.Namespace) -> dict[str, str]:
    """The small kernel's `O=` tree, configured, and built where that is asked for."""
    with locked(release.root):
        source = fetch_source(release)
    compiler = options.cc or (f"clang{options.llvm}" if options.llvm else COMPILER)
    key = small_key(release, options.probe_cc or (compiler if options.llvm else COMPILER))
    build = cache_dir("kernels", release.version, f"small-{key}", options.flavour)
    with locked(build):
        make_small(source, build, compiler, options)
    paths = {"version": release.version, "source": str(source), "build": str(build)}
    if (build / ".built").exists():
        paths |= {"vmlinux": str(build / "vmlinux"), "bzImage": str(build / "arch/x86/boot/bzImage")}
    return paths


def make_small(source: Path, build: Path, compiler: str, options: argparse.Namespace) -> None:
    """Configure, and where asked for build, the small kernel in `build`; what is done is not done again."""
    tools = f"LLVM={options.llvm}" if options.llvm else f"CC={compiler}"
    variables = [tools, *([f"KCFLAGS={options.kcflags}"] if options.kcflags else [])]
    if not (build / ".configured").exists():
        say(f"configuring the small kernel in {build}")
        make(source, build, variables[0], "tinyconfig", jobs=1)
        merge = source / "scripts" / "kconfig" / "merge_config.sh"
        argv = (str(merge), "-m", "-O", str(build), str(build / ".config"), str(FRAGMENT))
        programs.run(argv, cwd=build)
        make(source, build, variables[0], "olddefconfig", jobs=1)
        if dropped := missing_options(FRAGMENT, build / ".config"):
            raise KlpkitError(f"the configuration dropped {', '.join(dropped)}", hint=f"mend {FRAGMENT}")
        (build / ".configured").touch()
    if options.prepare and not (build / ".prepared").exists():
        say("preparing the small kernel for modules")
        make(source, build, *variables, *options.set, "modules_prepare", jobs=options.jobs)
        (build / ".prepared").touch()
    if options.build and not (build / ".built").exists():
        say("building the small kernel (about 4 minutes on 2 processors)")
        make(source, build, *variables, *options.set, "vmlinux", "bzImage", "modules", jobs=options.jobs)
        (build / ".built").touch()


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("stock", "image", "small"))
    parser.add_argument("--series", default=SERIES, help=f"series of Linux, such as 6.1 (default: {SERIES})")
    parser.add_argument("--version", default="", help="Debian's version (default: the series' newest on offer)")
    parser.add_argument("--jobs", type=int, default=programs.default_jobs(), help="make -j")
    parser.add_argument("--dbg", action="store_true", help="image: fetch the debug package too")
    parser.add_argument("--build", action="store_true", help="small: build it as well")
    parser.add_argument("--prepare", action="store_true", help="small: prepare it for building modules")
    parser.add_argument("--flavour", default="plain", help="small: name of the output folder")
    parser.add_argument("--cc", default="", help=f"small: CC for make (default: {COMPILER})")
    parser.add_argument("--llvm", default="", metavar="-N", help="small: build with LLVM's tools of this suffix")
    parser.add_argument("--probe-cc", default="", help="small: the compiler behind --cc, for the cache key")
    parser.add_argument("--kcflags", default="", help="small: KCFLAGS for make")
    parser.add_argument("--set", action="append", default=[], metavar="VAR=VALUE", help="small: more for make")
    return parser.parse_args(words)


def run_command(options: argparse.Namespace) -> dict[str, str]:
    release = pick_release(options.version, options.series)
    say(f"Debian's kernel {release.version}")
    if options.what == "small":
        return small_kernel(release, options)
    with locked(release.root):
        if options.what == "stock":
            return prepare_stock(release, options.jobs) | image_paths(release, debug=options.dbg)
        fetch_image(release)
        return {"version": release.version} | image_paths(release, debug=options.dbg)


def main() -> int:
    try:
        paths = run_command(parse_arguments())
    except KlpkitError as error:
        print(f"debian_kernel: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("debian_kernel: interrupted; run it again to go on", file=sys.stderr)
        return 130
    say("done")
    print(json.dumps(paths))
    return 0


if __name__ == "__main__":
    sys.exit(main())
