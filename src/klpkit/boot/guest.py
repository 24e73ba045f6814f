"""One guest from start to end: what it is to do, running it, and judging what it said.

Nothing counts as done that the guest did not report: a guest that ends early, for whatever reason, has failed.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from klpkit import programs
from klpkit.boot import console, qemu, report
from klpkit.boot.initramfs import initramfs
from klpkit.boot.modules import Module, read_module, with_needs
from klpkit.boot.outcome import Outcome, Slug, Trouble
from klpkit.cachedir import atomic_write, cache_dir
from klpkit.errors import UserError

PROBE_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Guest:
    """What a guest is made of and what it is to do.

    `before` and `after` are loaded before and after the patch, with the modules that they need from `modules`.
    `check` is a shell script that is run with the word `original`, `patched` or `reverted`.
    `patience` is how many seconds a transition may take.  `cycles` load and revert cycles follow under activity.
    """

    kernel: Path
    patch: Path | None = None
    check: Path | None = None
    before: Sequence[Path] = ()
    after: Sequence[Path] = ()
    modules: Path | None = None
    extra: Mapping[str, bytes] = field(default_factory=dict)
    cycles: int = 0
    patience: int = 60
    resources: qemu.Resources = field(default_factory=qemu.Resources)
    append: str = ""
    accelerator: str | None = None


Progress = Callable[[report.Event], None]


def run_guest(guest: Guest, *, progress: Progress | None = None) -> Outcome:
    """Boot the guest, let it do its work, and judge.

    Raises `UserError` for unusable files and `EnvironmentLackError` where QEMU or busybox is missing.
    """
    machine = qemu.machine_of(guest.kernel)
    accelerator = guest.accelerator or _accelerator(machine, guest.kernel)
    archive = _archive(guest, machine)
    started = time.monotonic()
    log, events, ended = _boot(guest, machine, accelerator, archive, progress)
    return _judged(guest, accelerator, time.monotonic() - started, log, events, ended)


def _archive(guest: Guest, machine: qemu.Machine) -> bytes:
    before = with_needs(guest.before, guest.modules)
    after = [module for module in with_needs(guest.after, guest.modules) if module not in before]
    patch = read_module(guest.patch) if guest.patch else None
    settings: dict[str, str | int] = {
        "before": _names(before),
        "after": _names(after),
        "patch": patch.name if patch else "",
        "check": int(guest.check is not None),
        "cycles": guest.cycles,
        "patience": guest.patience,
    }
    everything = [*before, *after, *([patch] if patch else [])]
    return initramfs(settings, machine.report, everything, _script(guest.check), guest.extra)


def _names(modules: Sequence[Module]) -> str:
    return " ".join(module.name for module in modules)


def _script(path: Path | None) -> bytes | None:
    try:
        return path.read_bytes() if path else None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="name a shell script") from error


def _boot(
    guest: Guest, machine: qemu.Machine, accelerator: str, archive: bytes, progress: Progress | None
) -> tuple[str, list[report.Event], bool]:
    """The kernel's log, the guest's report, and whether QEMU ended by itself."""
    with tempfile.TemporaryDirectory(prefix="klpkit-boot-") as folder:
        initrd, said = Path(folder, "initrd"), Path(folder, "report")
        initrd.write_bytes(archive)
        said.touch()
        argv = qemu.command(machine, accelerator, guest.resources, guest.kernel, initrd, said, guest.append)
        with _followed(said, progress):
            try:
                done, ended = programs.run(argv, timeout=guest.resources.seconds), True
            except programs.ProgramFailedError as error:
                done, ended = error.completed, False
        text = said.read_text(errors="replace")
    log = (done.stdout + done.stderr).decode(errors="replace").replace("\r", "")
    return log, report.read_report(text), ended


@contextlib.contextmanager
def _followed(path: Path, progress: Progress | None) -> Iterator[None]:
    """While the block runs, each event that is written to `path` is told to `progress`."""
    if progress is None:
        yield
        return
    ended = threading.Event()
    follower = threading.Thread(target=_follow, args=(path, progress, ended), daemon=True)
    follower.start()
    try:
        yield
    finally:
        ended.set()
        follower.join()


def _follow(path: Path, progress: Progress, ended: threading.Event) -> None:
    with open(path, errors="replace") as file:
        partial = ""
        while True:
            last = ended.wait(0.1)
            *lines, partial = (partial + file.read()).split("\n")
            for event in report.read_report("\n".join(lines)):
                progress(event)
            if last:
                return


def _judged(
    guest: Guest, accelerator: str, seconds: float, log: str, events: list[report.Event], ended: bool
) -> Outcome:
    kinds = {event.kind: event for event in events}
    return Outcome(
        release=kinds["start"].text if "start" in kinds else "",
        accelerator=accelerator,
        seconds=seconds,
        checks=tuple(report.checks(events)),
        troubles=tuple(_troubles(guest, log, events, ended)),
        loaded=tuple(event.words[0] for event in events if event.kind == "load" and event.status == 0),
        transitions=report.transitions(events),
        cycles=kinds["cycles"].status if "cycles" in kinds else 0,
        console=log,
    )


def _troubles(guest: Guest, log: str, events: list[report.Event], ended: bool) -> Iterator[Trouble]:
    found = [*_shown(guest, log, events, ended)]
    yield from found
    missing = [step for step in _steps(guest) if not any(_is(event, step) for event in events)]
    if missing and not found:
        yield Trouble(Slug.NOT_DONE, f"the guest did not report: {', '.join(missing)}")


def _steps(guest: Guest) -> list[str]:
    """What the report of a guest that did all begins its lines with."""
    states = ["original", "patched", "reverted"] if guest.patch else ["original"]
    steps = [f"check {state}" for state in states] if guest.check else []
    return [*steps, *(["load", "transition in", "transition out", "unload"] if guest.patch else []), "tainted"]


def _is(event: report.Event, step: str) -> bool:
    return f"{event.kind} {event.text}".startswith(f"{step} ")


def _shown(guest: Guest, log: str, events: list[report.Event], ended: bool) -> Iterator[Trouble]:
    kinds = {event.kind: event for event in events}
    tail = tuple(log.splitlines()[-12:])
    how = "ended early" if ended else f"failed or was ended by its time limit of {guest.resources.seconds:g} s"
    if "start" not in kinds:
        yield Trouble(Slug.NO_START, f"the guest {how} and never came to user space", tail)
    elif "end" not in kinds or not ended:
        yield Trouble(Slug.NO_END, f"the guest {how}", tail)
    said = console.troubles(log)
    if said:
        yield Trouble(Slug.KERNEL_TROUBLE, "the kernel reported trouble", tuple(said))
    yield from report.troubles(events)
    tainted = kinds["tainted"].status if "tainted" in kinds else 0
    for what in console.taints(tainted):
        yield Trouble(Slug.TAINTED, f"the kernel is tainted: {what}")
    finished = kinds["cycles"].status if "cycles" in kinds else 0
    if guest.patch and finished < guest.cycles:
        yield Trouble(Slug.CYCLES, f"{finished} of {guest.cycles} load and revert cycles were finished")


def _accelerator(machine: qemu.Machine, kernel: Path) -> str:
    """`kvm` where a guest with this kernel has run in it, else `tcg`; the answer is kept until the next boot."""
    if not qemu.kvm_may_work():
        return "tcg"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    key = hashlib.sha256(f"{boot}{qemu.version(machine)}".encode()).hexdigest()[:16]
    kept = cache_dir("boot") / f"accelerator-{key}"
    if not kept.exists():
        probe = Guest(kernel, resources=qemu.Resources(seconds=PROBE_SECONDS), accelerator="kvm")
        _, events, ended = _boot(probe, machine, "kvm", _archive(probe, machine), None)
        works = ended and any(event.kind == "end" for event in events)
        with atomic_write(kept) as file:
            file.write("kvm" if works else "tcg")
    return kept.read_text()
