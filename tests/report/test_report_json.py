"""The impact answer as JSON, against its published schema."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from klpkit.impact.result import ImpactAnswer
from klpkit.records.model import Function
from klpkit.report.jsonout import ALL_SCHEMA, SCHEMA, write_all_json, write_json

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "reference" / "impact.schema.json"
DEFINITIONS = json.loads(SCHEMA_FILE.read_text())["$defs"]
TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "null": type(None),
}
KEYWORDS = {"description", "type", "required", "properties", "items", "const", "enum", "minimum", "$ref", "allOf"}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` with what it refers to put in."""
    whole: dict[str, Any] = {}
    references = [schema, *schema.get("allOf", ())]
    for reference in [part["$ref"] for part in references if "$ref" in part]:
        whole = resolved(DEFINITIONS[reference.rpartition("/")[2]])
    merged = {**whole, **schema}
    merged["properties"] = {**whole.get("properties", {}), **schema.get("properties", {})}
    merged["required"] = [*whole.get("required", ()), *schema.get("required", ())]
    return merged


def errors(value: Any, schema: dict[str, Any], at: str = "$") -> Iterator[str]:
    """What of `value` breaks `schema`: the few keywords that ours uses; each property must be described."""
    schema = resolved(schema)
    assert set(schema) <= KEYWORDS, f"teach this test {set(schema) - KEYWORDS}"
    allowed = schema.get("type", list(TYPES))
    names = [allowed] if isinstance(allowed, str) else allowed
    if type(value) not in [TYPES[name] for name in names]:
        yield f"{at}: {value!r} is no {names}"
        return
    if value not in schema.get("enum", [schema.get("const", value)]):
        yield f"{at}: {value!r}"
    if isinstance(value, int) and value < schema.get("minimum", value):
        yield f"{at}: {value} is too small"
    if isinstance(value, dict):
        yield from (f"{at}: {key} is missing" for key in schema["required"] if key not in value)
        yield from (f"{at}: {key} is not described" for key in value if key not in schema["properties"])
        for key in value.keys() & schema["properties"].keys():
            yield from errors(value[key], schema["properties"][key], f"{at}.{key}")
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from errors(item, schema["items"], f"{at}[{number}]")


def document(answer: ImpactAnswer) -> Any:
    stream = io.StringIO()
    write_json(answer, stream)
    return json.loads(stream.getvalue())


@pytest.mark.parametrize("which", ["small", "hostile", "long_names"])
def test_a_document_follows_the_published_schema(which: str, request: pytest.FixtureRequest) -> None:
    assert list(errors(document(request.getfixturevalue(which)), DEFINITIONS["answer"])) == []


def test_the_schema_check_of_this_file_sees_a_difference(small: ImpactAnswer) -> None:
    broken = document(small)
    broken["impacted"][0]["how"] = "magic"
    del broken["warnings"]
    broken["seeds"] = ["0"]
    assert len(list(errors(broken, DEFINITIONS["answer"]))) == 3


def test_a_document_holds_the_whole_answer(small: ImpactAnswer) -> None:
    found = document(small)
    assert found["schema"] == SCHEMA == "klpkit.impact/1"
    assert found["seeds"] == [0]
    assert [item["symbol"] for item in found["impacted"]] == ["may_linkat", "do_linkat", "do_linkat.part.0"]
    assert found["impacted"][2] == {
        "id": 2,
        "symbol": "do_linkat.part.0",
        "unit": "fs/namei.o",
        "order": None,
        "location": {"file": "fs/namei.c", "line": 4600, "column": 1},
        "distance": 2,
        "causes": ["part"],
        "chain": found["effects"],
        "chains": [],
        "how": "callers",
        "callable": None,
        "owner": "vmlinux",
        "section": ".init.text",
        "ftrace": False,
        "forbidden": "init-code",
        "notes": ["a part of a function"],
    }
    assert found["effects"] == [
        {"body": 0, "user": 1, "cause": "inline", "where": {"file": "fs/namei.c", "line": 4631, "column": None}},
        {"body": 1, "user": 2, "cause": "part", "where": None},
    ]
    assert (found["evidence"], found["warnings"]) == (["clone dumps"], ["fs/open.c: no dump"])


def test_a_function_outside_the_answer_is_listed_apart(small: ImpactAnswer) -> None:
    cut = ImpactAnswer(small.seeds, small.impacted[:1], small.effects)
    found = document(cut)
    assert [item["symbol"] for item in found["other_functions"]] == ["do_linkat", "do_linkat.part.0"]
    assert list(errors(found, DEFINITIONS["answer"])) == []


def test_names_come_back_unchanged(hostile: ImpactAnswer) -> None:
    symbols = [item["symbol"] for item in document(hostile)["impacted"]]
    assert symbols == [item.function.symbol for item in hostile.impacted]


def test_two_runs_write_the_same_bytes(small: ImpactAnswer) -> None:
    first, second = io.StringIO(), io.StringIO()
    write_json(small, first)
    write_json(small, second)
    assert first.getvalue() == second.getvalue()


class Lazy(Mapping[Function, ImpactAnswer]):
    """Answers made only when they are asked for, as for a whole kernel."""

    def __init__(self, answer: ImpactAnswer, functions: list[Function]) -> None:
        self.answer, self.functions = answer, functions
        self.asked: list[Function] = []

    def __getitem__(self, function: Function) -> ImpactAnswer:
        self.asked.append(function)
        return self.answer

    def __iter__(self) -> Iterator[Function]:
        return iter(self.functions)

    def __len__(self) -> int:
        return len(self.functions)


def test_all_answers_are_one_sorted_document_with_an_answer_a_line(small: ImpactAnswer) -> None:
    functions = [Function("b.o", "x"), Function("a.o", "z"), Function("a.o", "b")]
    answers = Lazy(small, functions)
    stream = io.StringIO()
    write_all_json(answers, stream)
    found = json.loads(stream.getvalue())
    assert (found["schema"], len(found["answers"])) == (ALL_SCHEMA, 3)
    assert list(errors(found, DEFINITIONS["all"])) == []
    assert answers.asked == [Function("a.o", "b"), Function("a.o", "z"), Function("b.o", "x")]
    assert [json.loads(line.rstrip(",")) for line in stream.getvalue().splitlines()[1:-1]] == found["answers"]


def test_no_answers_are_still_a_document() -> None:
    stream = io.StringIO()
    write_all_json({}, stream)
    assert json.loads(stream.getvalue()) == {"schema": ALL_SCHEMA, "evidence": [], "warnings": [], "answers": []}
