"""`klpkit audit` as its users see it: text at 80 columns, JSON, SARIF 2.1.0, exit codes."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from klpkit.audit.model import AbiStatus, Audit, Breach, Exposure, FunctionAbi, UnitAudit
from klpkit.cli.audit import command
from klpkit.compilers.levels import Level
from klpkit.report.audit import write_audit
from klpkit.report.sarif import RULES, sarif_document, write_sarif
from klpkit.report.terminal import Sheet


def unit(number: int = 1, **more: Any) -> UnitAudit:
    fields: dict[str, Any] = {
        "source": f"kernel/part {number}.c", "object": f"kernel/part{number}.o", "language": "c", "kind": "gcc",
        "compiler": "gcc 12", "flag_set": 1, "on": ("inline", "ipa-ra", "address-taken-variable", "profile"),
    }  # fmt: skip
    return UnitAudit(**{**fields, **more})


def inspected() -> UnitAudit:
    return unit(
        inspected=True,
        functions=(
            FunctionAbi("alloc", AbiStatus.NARROWED, ("parameter 1 (x) is assumed to be in [0, 1]",)),
            FunctionAbi("f.isra.0", AbiStatus.CLONE, ("f.isra.0 is f with its parameters changed",)),
            FunctionAbi("g", AbiStatus.PRESERVED, ("other units call it as declared",)),
        ),
        exposures=(Exposure("address-taken-variable", tuple(f"user{i}" for i in range(30)), "each uses one"),),
    )


def text_of(audit: Audit, width: int = 80) -> str:
    stream = io.StringIO()
    write_audit(audit, Sheet(stream, width=width))
    return stream.getvalue()


def test_text_fits_eighty_columns_and_counts_units() -> None:
    shown = text_of(Audit("/b", None, tuple(unit(i) for i in range(3))))
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "3 units, 1 set of flags" in shown
    assert "no record shows" in shown.partition("inline")[0]
    assert "3 units  no flag turns it off" in shown


def test_text_spells_out_what_is_not_preserved_and_says_how_much_it_leaves_out() -> None:
    shown = text_of(Audit("/b", None, (inspected(),)))
    assert "1 preserved, 1 narrowed, 1 clone" in shown
    assert "alloc  narrowed" in shown
    assert "is assumed to be in [0, 1]" in shown
    assert "30 functions" in shown
    assert "and 18 more: --json lists all" in shown


def test_text_groups_units_that_break_a_level_alike() -> None:
    breach = Breach("pass-allowed", "ipa-ra", "it says so")
    audit = Audit("/b", Level.NONE, (unit(1, breaches=(breach,)), unit(2, breaches=(breach,)), unit(3)))
    shown = text_of(audit)
    assert "not honoured by 2 of 3 units" in shown
    assert shown.count("ipa-ra: it says so [pass-allowed]") == 1
    assert "kernel/part 1.c kernel/part 2.c" in shown
    assert "honoured by all" in text_of(Audit("/b", Level.NONE, (unit(),)))


def _check_sarif(log: dict[str, Any]) -> list[dict[str, Any]]:
    """The properties that the SARIF 2.1.0 schema requires of what is used here; the results."""
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    assert all(rule["shortDescription"]["text"] for rule in rules)
    assert all(rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error") for rule in rules)
    assert all(isinstance(row["executionSuccessful"], bool) for row in run["invocations"])
    bases = run.get("originalUriBaseIds", {})
    assert all(base["uri"].endswith("/") for base in bases.values())
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        assert result["level"] in ("note", "warning", "error")
        assert result["locations"]
        for place in result["locations"]:
            artifact = place["physicalLocation"]["artifactLocation"]
            assert " " not in artifact["uri"]
            assert artifact["uri"].startswith("file:///") or artifact["uriBaseId"] in bases
            assert place["physicalLocation"].get("region", {"startLine": 1})["startLine"] >= 1
            assert all(row["kind"] == "function" for row in place.get("logicalLocations", ()))
    return list(run["results"])


def test_sarif_is_well_formed_and_leaves_nothing_out() -> None:
    breaches = (
        Breach("pass-allowed", "ipa-ra", "it says so"),
        Breach("forbidden-record", "f", "inline: so it was", "/usr/include/x y.h", 7),
        Breach("forbidden-record", "g", "inline: so it was", "kernel/h.c", 9),
    )
    audit = Audit("/b", Level.NONE, (unit(2, breaches=breaches), inspected()), warnings=("flags only",))
    results = _check_sarif(sarif_document(audit, source=Path("/src")))
    by_rule: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        by_rule.setdefault(result["ruleId"], []).append(result)
    assert len(by_rule["pass-allowed"]) == 1
    assert len(by_rule["forbidden-record"]) == 2
    assert len(by_rule["abi-narrowed"]) == len(by_rule["abi-clone"]) == 1
    (unlisted,) = by_rule["unlisted-address-taken-variable"]
    assert len(unlisted["locations"]) == 2
    assert len(unlisted["locations"][1]["logicalLocations"]) == 30
    assert "unlisted-profile" not in by_rule
    assert {result["level"] for result in by_rule["forbidden-record"]} == {"error"}


def test_every_kind_of_breach_has_a_rule() -> None:
    for slug in ("pass-allowed", "forbidden-record", "unhonoured-part", "not-audited"):
        breach = Breach(slug, "x", "so it is")
        stream = io.StringIO()
        write_sarif(Audit("/b", Level.NONE, (unit(breaches=(breach,)),)), stream, source=Path("/s"))
        _check_sarif(json.loads(stream.getvalue()))
        assert RULES[slug][0] == "error"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    if not shutil.which("gcc-12"):
        pytest.skip("gcc-12 is not installed")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "unit.c").write_text("static int f(int x) { return x; }\nint g(int x) { return f(x); }\n")
    row = {"directory": str(folder), "file": "unit.c", "arguments": ["gcc-12", "-O2", "-c", "-o", "u.o", "unit.c"]}
    (folder / "compile_commands.json").write_text(json.dumps([row]))
    return folder


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(command, list(words), standalone_mode=False)
    assert done.exception is None, done.exception
    return done.return_value or 0, done.stdout


def test_a_whole_tree_is_audited_by_its_flags(project: Path) -> None:
    status, shown = run("--build", str(project))
    assert status == 0
    assert "1 unit, 1 set of flags" in shown
    assert "flags only" in shown


def test_a_level_that_is_not_honoured_ends_with_one(project: Path) -> None:
    assert run("--build", str(project), "--level", "inline-clone")[0] == 1
    text = (project / "compile_commands.json").read_text().replace('"-O2"', '"-O0"')
    (project / "compile_commands.json").write_text(text)
    assert run("--build", str(project), "--level", "inline-clone")[0] == 0


def test_json_goes_to_standard_output_and_sarif_to_its_file(project: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.sarif"
    status, shown = run("--build", str(project), "--json", "--sarif", str(log), "unit.c")
    assert status == 0
    assert [row["symbol"] for row in json.loads(shown)["units"][0]["functions"]] == ["g"]
    _check_sarif(json.loads(log.read_text()))
    _check_sarif(json.loads(run("--build", str(project), "--sarif", "-")[1]))


def test_an_unknown_unit_is_a_user_error(project: Path) -> None:
    done = CliRunner().invoke(command, ["--build", str(project), "unity.c"], standalone_mode=False)
    assert getattr(done.exception, "exit_code", None) == 2
    both = CliRunner().invoke(command, ["--build", str(project), "--json", "--sarif", "-"])
    assert both.exit_code == 2
