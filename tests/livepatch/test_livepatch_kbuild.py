"""Handing glue and objects to Kbuild: what it is given, what is made of its words, and what can be missing."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from klpkit.elf import ElfObject, ObjSection, ObjSymbol
from klpkit.elf import constants as c
from klpkit.errors import EnvironmentLackError, RefusedError, UserError
from klpkit.livepatch import kbuild
from klpkit.livepatch.glue import Glue, glue_source
from klpkit.livepatch.making import module_name
from klpkit.livepatch.model import PatchedFunction, PatchedObject
from klpkit.programs import ProgramFailedError

MAKEFILE = """
modules:
\t@cat $(M)/Makefile $(M)/klpkit_glue.c >$(M)/toy.ko
\t@test ! -e $(M)/unit0.o_shipped || test -e $(M)/.unit0.o.cmd
\t@echo "toy.o: warning: objtool: {}" >&2
\t@echo "$(KBUILD_MODPOST_WARN) $(KCFLAGS) [$(KBUILD_EXTRA_SYMBOLS)]" >>$(M)/toy.ko
\t@echo "CC=$(CC) LLVM=$(LLVM)" >>$(M)/toy.ko
"""


def toy_object() -> ElfObject:
    text = ObjSection(".text.f", flags=c.SHF_ALLOC | c.SHF_EXECINSTR, data=b"\xc3")
    return ElfObject(c.EM_X86_64, sections=[text], symbols=[ObjSymbol("klpp_f", text, bind=c.STB_GLOBAL)])


def link(tmp_path: Path, complaint: str = "functions_1+0x8: data relocation to !ENDBR: klpp_f+0x0") -> str:
    headers, work = tmp_path / "headers", tmp_path / "work"
    headers.mkdir(exist_ok=True)
    work.mkdir()
    (headers / "Makefile").write_text(MAKEFILE.format(complaint))
    return kbuild.link_module("toy", "/* glue */\n", [toy_object()], headers, work).read_text()


def test_kbuild_gets_the_glue_and_the_finished_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBUILD_EXTRA_SYMBOLS", "strange")
    made = link(tmp_path)
    assert "obj-m := toy.o\ntoy-y := klpkit_glue.o unit0.o\n/* glue */" in made
    assert "1 -g0 []" in made


CLANG = "CONFIG_CC_IS_CLANG=y\nCONFIG_CLANG_VERSION=160006\n"
LLD = "CONFIG_LD_IS_LLD=y\n"


@pytest.mark.parametrize(
    ("config", "compiler", "variables"),
    [
        ("CONFIG_CC_IS_GCC=y\n", "gcc-11", "CC=cc LLVM="),
        (CLANG, "clang-16", "CC=clang-16 LLVM="),
        (CLANG + LLD, "clang-16", "CC=clang-16 LLVM=-16"),
        (CLANG + LLD, "clang", "CC=clang LLVM=1"),
        (CLANG + LLD, "/opt/llvm/bin/clang", "CC=/opt/llvm/bin/clang LLVM=/opt/llvm/bin/"),
        (CLANG + LLD, "ccache clang-19", "CC=ccache clang-19 LLVM=-19"),
    ],
)
def test_kbuild_is_told_of_the_clang_that_the_kernel_was_built_with(
    tmp_path: Path, config: str, compiler: str, variables: str
) -> None:
    headers = tmp_path / "headers"
    (headers / "include" / "config").mkdir(parents=True)
    (headers / "include" / "config" / "auto.conf").write_text(config)
    (headers / ".config").write_text(config)
    (headers / "scripts" / "mod").mkdir(parents=True)
    line = f"savedcmd_scripts/mod/empty.o := {compiler} -O2 -c -o scripts/mod/empty.o /linux/scripts/mod/empty.c"
    (headers / "scripts" / "mod" / ".empty.o.cmd").write_text(
        f"{line}\n\nsource_scripts/mod/empty.o := /linux/scripts/mod/empty.c\n\ndeps_scripts/mod/empty.o := \\\n\n"
    )
    assert link(tmp_path).splitlines()[-1] == variables


@pytest.mark.parametrize(("installed", "found"), [(True, "clang-16"), (False, "clang")])
def test_a_clang_that_nothing_names_is_the_one_of_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool, found: str
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}" if installed else None)
    assert kbuild.clang_of(tmp_path, CLANG) == (found,)


@pytest.mark.parametrize(
    "complaint",
    [
        "klpp_f+0x10: unexpected end of section",
        "klpp_f() falls through to next function g()",
        "klpp_f: stack state mismatch",
    ],
)
def test_code_that_objtool_can_not_follow_is_refused(tmp_path: Path, complaint: str) -> None:
    with pytest.raises(RefusedError) as caught:
        link(tmp_path, complaint)
    assert caught.value.slug == "objtool-complaint"


def test_headers_without_a_makefile_are_unusable(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no Makefile"):
        kbuild.link_module("toy", "", [], tmp_path, tmp_path)


def test_a_failed_build_says_what_make_said(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("modules:\n\t@echo no such rule >&2; exit 1\n")
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(ProgramFailedError, match="no such rule"):
        kbuild.link_module("toy", "", [], tmp_path, work)


def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "Makefile").write_text("modules:\n")
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(EnvironmentLackError, match="No space left"):
        kbuild.link_module("toy", "", [], tmp_path, tmp_path)


def test_the_glue_registers_every_function_of_every_object() -> None:
    objects = [
        PatchedObject(
            "vmlinux", (PatchedFunction("f", 0, "klpp_f"), PatchedFunction("g.isra.0", 2, "klpp_g_isra_0"))
        ),
        PatchedObject("ext4", (PatchedFunction("f", 1, "klpp_f__2"),), (("pre_patch", "before"),)),
    ]
    text = glue_source(Glue(objects, ["SPACE"], replace=False))
    assert '.old_name = "g.isra.0",\n\t\t.new_func = klpp_g_isra_0,\n\t\t.old_sympos = 2,' in text
    assert text.count(".funcs = functions_") == 2
    assert text.count(".name = ") == 1
    assert ".pre_patch = before," in text
    assert "extern int before(struct klp_object *object);" in text
    assert 'MODULE_INFO(import_ns, "SPACE");' in text
    assert ".replace = false," in text
    assert "klp_state" not in text


@pytest.mark.parametrize(("name", "wanted"), [("livepatch-fix.ko", "livepatch_fix"), ("a_1", "a_1")])
def test_module_names_are_the_kernels(name: str, wanted: str) -> None:
    assert module_name(name) == wanted


@pytest.mark.parametrize("name", ["", "a b.ko", "ä.ko", "x" * 60, "a.b.ko"])
def test_names_that_no_module_can_have_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="no name for a module"):
        module_name(name)


def test_code_behind_a_jump_that_was_taken_out_may_be_unreachable() -> None:
    text = "toy.o: warning: objtool: klpp_f+0x15f: unreachable instruction\n"
    assert kbuild.objtool_complaints(text, {"klpp_f"}) == []
    assert kbuild.objtool_complaints(text.replace("klpp_f+", "klpp_f.cold+"), {"klpp_f"}) == []
    assert len(kbuild.objtool_complaints(text, {"klpp_g"})) == 1
