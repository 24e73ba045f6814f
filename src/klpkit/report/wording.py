"""The words that every renderer uses: names that tell functions apart, sentences for effects and patchability."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from klpkit.impact.result import How, ImpactAnswer, ImpactedFunction, Patchability
from klpkit.records.causes import cause
from klpkit.records.model import Effect, Function

HOW_SENTENCES = {
    How.SYMBOL: "patch it by its symbol",
    How.CALLERS: "patch its callers: it can't be replaced by its symbol",
    How.GONE: "no code of its own: patch the functions that hold its copies",
    How.UNKNOWN: "how to patch it is unknown: no object was at hand",
}
HOW_WORDS = {How.SYMBOL: "by symbol", How.CALLERS: "via callers", How.GONE: "no own code", How.UNKNOWN: "unknown"}

# Control characters, line separators and marks that reorder text could forge a report's lines: shown escaped.
_CODES = (*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_ESCAPES = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CODES}


def shown(text: str) -> str:
    """`text` with every character visible, so that a name can't move the cursor or start a new line."""
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_ESCAPES).encode("utf-8", "backslashreplace").decode()


class Names:
    """How the functions of one report are called: by symbol, and by unit (and order) too where symbols repeat."""

    def __init__(self, functions: Iterable[Function]) -> None:
        everything = dict.fromkeys(functions)
        self._symbols = Counter(function.symbol for function in everything)
        self._units = Counter((function.unit, function.symbol) for function in everything)

    def __getitem__(self, function: Function) -> str:
        name = shown(function.symbol)
        if self._symbols[function.symbol] > 1:
            name += f" ({shown(function.unit)})"
        if self._units[function.unit, function.symbol] > 1:
            place = f"@{shown(str(function.location))}" if function.location else ""
            name += f" #{function.order}{place}" if function.order >= 0 else place
        return name

    def sentence(self, effect: Effect) -> str:
        """Why the user depends on the body, and where that is written."""
        # Not str.format on a name: names are data, and braces in one are no fields.
        user, body = self[effect.user], self[effect.body]
        text = cause(effect.cause).sentence.format(user=user, body=body)
        return f"{text}, at {shown(str(effect.where))}" if effect.where else text

    def reason(self, effect: Effect) -> str:
        """The same in few words, for where the user's name is beside it."""
        text = f"{effect.cause}: {self[effect.body]}"
        return f"{text}, {shown(str(effect.where))}" if effect.where else text


def names_of(answer: ImpactAnswer) -> Names:
    """Names for every function that `answer` mentions."""
    return Names(functions_of(answer))


def functions_of(answer: ImpactAnswer) -> list[Function]:
    """Every function that `answer` mentions, each once, the impacted ones first and in their order."""
    found = dict.fromkeys(item.function for item in answer.impacted)
    found.update(dict.fromkeys(answer.seeds))
    for effect in effects_of(answer):
        found[effect.body] = found[effect.user] = None
    return list(found)


def effects_of(answer: ImpactAnswer) -> list[Effect]:
    """Every effect that `answer` mentions, each once."""
    found = dict.fromkeys(answer.effects)
    for item in answer.impacted:
        found.update(dict.fromkeys(item.chain))
        for chain in item.chains:
            found.update(dict.fromkeys(chain))
    return list(found)


def place(function: Function) -> str:
    """Where the function is defined, or the unit that holds it."""
    return shown(str(function.location)) if function.location else shown(function.unit)


def obstacles(patchability: Patchability) -> list[str]:
    """What stands in the way, as short marks."""
    marks = []
    if patchability.forbidden:
        marks.append(f"must not be patched: {shown(patchability.forbidden)}")
    if patchability.how is How.SYMBOL and patchability.callable is False:
        marks.append("new code must not call the running one")
    if patchability.ftrace is False:
        marks.append("can't be traced")
    return marks


def summary(answer: ImpactAnswer) -> str:
    """The closing line: how many functions must be patched, and how many of them make trouble."""
    items = [item.patchability for item in answer.impacted]
    how = Counter(item.how for item in items)
    counts = [
        (how[How.GONE], "{} no symbol of {} own", "has", "have", "its", "their"),
        (how[How.CALLERS], "{} patched only through {} callers", "is", "are", "its", "their"),
        (sum(item.ftrace is False for item in items), "{} be traced", "can't", "can't", "", ""),
        (sum(bool(item.forbidden) for item in items), "{} in code that must not be patched", "is", "are", "", ""),
        (how[How.UNKNOWN], "{} not looked up in an object", "was", "were", "", ""),
    ]
    total = len(items)
    parts = [f"{total:,} function{'s' * (total != 1)} must be patched"]
    for count, text, verb, verbs, own, owns in counts:
        if count:
            one = count == 1
            parts.append(f"{count:,} " + text.format(verb if one else verbs, own if one else owns))
    return "; ".join(parts) + "."


def owner(item: ImpactedFunction) -> str:
    """The image that the function ends up in, else its unit."""
    return shown(item.patchability.owner or item.function.unit)
