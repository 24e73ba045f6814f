"""Which conditionals a configuration settles: the compiler's preprocessor is the judge."""

from __future__ import annotations

import random
import subprocess

import pytest

from klpkit.extract.conditionals import conditionals, settled

DEFINED = {"CONFIG_A": True, "CONFIG_B": False, "CONFIG_M": False, "CONFIG_M_MODULE": True}
KCONFIG = """\
#define YES_1 0,
#define SECOND(a, b, ...) b
#define PICK(x) SECOND(x 1, 0)
#define IS_SET(x) IS_SET_(x)
#define IS_SET_(x) PICK(YES_##x)
#define IS_BUILTIN(x) IS_SET(x)
#define IS_MODULE(x) IS_SET(x##_MODULE)
#define IS_ENABLED(x) (IS_BUILTIN(x) || IS_MODULE(x))
#define CONFIG_A 1
#define CONFIG_M_MODULE 1
"""


def options(name: str) -> bool | None:
    return None if name.startswith("CONFIG_X") else DEFINED.get(name, False)


def left(text: str) -> str:
    """`text` without the lines that are settled to be nothing."""
    gone = set()
    for conditional in conditionals(text):
        for first, last in settled(conditional, options) or ():
            gone |= set(range(first, last + 1))
    return "\n".join(line for number, line in enumerate(text.split("\n"), 1) if number not in gone)


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("#ifdef CONFIG_A", True),
        ("#ifndef CONFIG_A", False),
        ("#if defined(CONFIG_B) || defined CONFIG_A", True),
        ("#if (defined CONFIG_A)", True),
        ("#if IS_ENABLED(CONFIG_M) && !IS_BUILTIN(CONFIG_M)", True),
        ("# if IS_MODULE(CONFIG_M) /* as module */", True),
        ("#if defined(CONFIG_B) && FOO", False),
        ("#if defined(CONFIG_A) || \\\n    FOO", True),
        ("#if 0", False),
    ],
)
def test_a_condition_of_options_is_settled(condition: str, kept: bool) -> None:
    text = left(f"before\n{condition}\ninside\n#endif\nafter")
    assert text == ("before\ninside\nafter" if kept else "before\nafter")


@pytest.mark.parametrize(
    "condition",
    [
        "#ifdef FOO",
        "#if FOO(3)",
        "#if CONFIG_A > 4",
        "#if defined(CONFIG_A) + 1 > 2",
        "#if defined(CONFIG_A) && FOO",
        "#if defined(CONFIG_A) ? FOO : 0",
        "#ifdef CONFIG_X",
        "#if IS_REACHABLE(CONFIG_M)",
        "#if (defined(CONFIG_A)",
        "#if",
    ],
)
def test_any_other_stays_as_it_is(condition: str) -> None:
    text = f"{condition}\ninside\n#else\nelse\n#endif"
    assert left(text) == text


def test_the_branch_that_is_taken_is_left() -> None:
    text = "#ifdef CONFIG_B\n1\n#elif defined(CONFIG_A)\n2\n#elif FOO\n3\n#else\n4\n#endif"
    assert left(text) == "2"
    assert left("#ifdef CONFIG_B\n1\n#elif FOO\n2\n#else\n3\n#endif").count("\n") == 6


def test_a_settled_one_inside_another_goes_alone() -> None:
    text = "#ifdef FOO\n#ifdef CONFIG_A\n1\n#else\n2\n#endif\n#endif"
    assert left(text) == "#ifdef FOO\n1\n#endif"


def test_directives_in_comments_and_strings_are_none() -> None:
    text = '/*\n#ifdef CONFIG_B\n*/\nkept("\\\n#ifdef CONFIG_B \\\n")\n// \\\n#if 0\nkept'
    assert left(text) == text
    assert list(conditionals(text)) == []


def test_what_never_ends_is_no_conditional() -> None:
    assert list(conditionals("#ifdef CONFIG_B\n1\n#else\n")) == []


ATOMS = (
    *(f"{asking}({name})" for name in DEFINED for asking in ("defined", "IS_ENABLED", "IS_BUILTIN", "IS_MODULE")),
    *("defined CONFIG_A", "0", "1", "FOO", "FOO + 1 > 1", "defined(FOO)"),
)


def condition(dice: random.Random, depth: int = 2) -> str:
    if not depth or dice.random() < 0.3:
        return dice.choice(ATOMS)
    one, other = condition(dice, depth - 1), condition(dice, depth - 1)
    return dice.choice(
        (f"!({one})", f"({one})", f"{one} && {other}", f"{one} || {other}", f"({one}) && !({other})")
    )


def group(dice: random.Random, depth: int = 3) -> list[str]:
    opening = dice.choice((f"#ifdef {dice.choice([*DEFINED])}", f"#ifndef {dice.choice([*DEFINED])}", "#if {}"))
    lines = [opening.replace("{}", condition(dice)), *body(dice, depth)]
    while dice.random() < 0.3:
        lines += [f"#elif {condition(dice)}", *body(dice, depth)]
    return [*lines, *(["#else", *body(dice, depth)] if dice.random() < 0.5 else []), "#endif"]


def body(dice: random.Random, depth: int) -> list[str]:
    lines = [f"line{dice.randrange(10**9)}"]
    return [*lines, *group(dice, depth - 1)] if depth and dice.random() < 0.4 else lines


def preprocessed(text: str) -> str:
    argv = ["gcc", "-E", "-P", "-w", "-x", "c", "-"]
    return subprocess.run(argv, input=KCONFIG + text, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("seed", range(3))
def test_the_compiler_sees_the_same_as_before(seed: int) -> None:
    dice = random.Random(seed)
    text = "\n".join(line for _ in range(300) for line in group(dice))
    less = left(text)
    assert preprocessed(less) == preprocessed(text)
    assert less.count("#if") < text.count("#if") / 2
