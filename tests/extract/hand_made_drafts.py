"""Live patches as a person makes them: extracted from Debian's source, edited, built, converted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernels import StockKernel
from klpkit.boot import Guest, Outcome, run_guest
from klpkit.boot.qemu import Resources
from klpkit.build import open_tree
from klpkit.extract.ahead import begun
from klpkit.extract.checking import Sameness
from klpkit.extract.package import write_package
from klpkit.extract.request import Extraction, extract
from klpkit.livepatch.convert import convert_file
from klpkit.programs import run
from klpkit.target import Target, open_target


@dataclass(slots=True)
class HandMade:
    """The stock kernel, and the folder of one patch for it."""

    kernel: StockKernel
    folder: Path

    @property
    def package(self) -> Path:
        return self.folder / "patch"

    def target(self) -> Target:
        kernel = self.kernel
        symvers = kernel.headers / "Module.symvers"
        return open_target(image=kernel.image, modules=kernel.modules, symvers=symvers)

    def extract(self, *functions: str) -> Extraction:
        """The package for `functions`, whose drafts must be the kernel's own code as long as nobody edits them."""
        kernel = self.kernel
        tree = open_tree(kernel.build, source=kernel.source)
        with begun(tree, functions, self.folder / "work", progress=lambda *_: None) as early:
            found = extract(early, self.target())
        write_package(found.drafts, self.package, "by_hand", release=kernel.release, source=kernel.source)
        differ = [each for row in found.checked for each in row if each.sameness is Sameness.DIFFERS]
        assert [each.sentence for each in differ if not each.reasons] == []
        return found

    def edit(self, file: str, old: str, new: str) -> None:
        """What the person does: `old` must occur once in `file` of the package."""
        path = self.package / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file}: {old!r} occurs {text.count(old)} times in\n{text}"
        path.write_text(text.replace(old, new))

    def build(self) -> Path:
        """The module, as the package's Makefile makes it, with its references converted."""
        arguments = (f"M={self.package}", f"SOURCE={self.kernel.source}", "KBUILD_MODPOST_WARN=1", "modules")
        done = run(["nice", "make", "-C", str(self.kernel.headers), *arguments])
        warnings = [line for line in done.stderr.decode().splitlines() if re.search(r"warning", line, re.I)]
        assert [line for line in warnings if "undefined!" not in line and "modpost" not in line.lower()] == []
        module = self.package / "by_hand.ko"
        convert_file(module, module, self.target())
        return module

    def boot(
        self,
        check: str,
        *,
        before: Sequence[str] = (),
        after: Sequence[str] = (),
        files: Mapping[str, bytes] | None = None,
    ) -> Outcome:
        """Load the module in a guest that has `files`, run the script `check` in each state, revert."""
        module = self.build()
        script = self.folder / "check.sh"
        script.write_text(check)
        kernel = self.kernel
        assert kernel.image is not None
        assert kernel.modules is not None
        modules = kernel.modules
        return run_guest(
            Guest(
                kernel.image,
                patch=module,
                check=script,
                before=[modules / "kernel" / path for path in before],
                after=[modules / "kernel" / path for path in after],
                modules=modules,
                extra=files or {},
                resources=Resources(processors=1, seconds=600),
                append="nowatchdog workqueue.watchdog_thresh=0 rcupdate.rcu_cpu_stall_suppress=1",
                patience=240,
            )
        )
