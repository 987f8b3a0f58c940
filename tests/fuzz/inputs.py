"""A hypothesis strategy for files that are nearly valid: a valid document, changed in a few places, then its bytes."""

import copy
import json
import re
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.targets import EXAMPLES

# Text that a JSON writer would not write, put in where a value stands.
RAW = [
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-999", "-0", "-0.0", "1E0", "1.0", "01", "1.", "+1"),
    *("0x1", "tru", "'a'", "", "1 2", "1" * 400, "1" * 4300, "1" * 4301, "-" + "9" * 9000, "0." + "3" * 2000),
    *("[" * 900 + "]" * 900, "[" * 5000, '{"a":' * 500 + "1" + "}" * 500, '{"a":' * 5000, r'"\ud800"', r'"\u0000"'),
    *('"\t"', "/**/1", "{}", "[]", "[[]]", '{"a": 1, "a": 2}'),
]
KEYS = ["a", "b", "train", "test", "input", "output", "attempt_1", "attempt_2", "grid", "votes", "halting"]
KEYS += [
    "format",
    "tasks",
    "id",
    "",
    "\n",
    "\x1b[2J",
    "a|||b",
    "\ud800",
    "x" * 255,
    "x" * 256,
    "x" * 5000,
    "é",
    "\u2028",
]
NEAR = [True, False, None, -1, 10, 1.0, 0.5, "1", [1], "@raw0@", "@raw3@", 2**64]  # to a cell or a count; RAW's places
LEAVES: list[Any] = [
    None,
    True,
    False,
    -1,
    0,
    1,
    9,
    10,
    31,
    255,
    256,
    2**31,
    2**63,
    2**64,
    -(2**64),
    10**30,
    1.0,
    0.5,
    -1.5,
]
LEAVES += ["", "1", "[[1]]", "x" * 5000, "\ud800", "\x00", "\n", {}, [], [[]], [[0]], [[[0]]], {"input": [[0]]}]
LEAVES += [[1] * 30, [1] * 31, [[1]] * 31, [[1] * 30] * 30, [[1] * 31] * 31, [[1, 2], [3]], [[1], 2], [[1.0]], [["1"]]]

_RAW = re.compile(r'"@raw(\d+)@"')


class Again(str):
    """A key that an object can hold beside an equal one, so that the text has it twice."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def _levels(document: Any) -> list[list[tuple[Any, Any]]]:
    """Every (list or object, index or key) inside the document, by depth."""
    levels = [[(document, key) for key in _keys(document)]]
    while levels[-1]:
        inner = [container[key] for container, key in levels[-1]]
        levels.append([(value, key) for value in inner for key in _keys(value)])
    return levels[:-1]


def _keys(value: Any) -> list[Any]:
    return list(value if isinstance(value, dict) else range(len(value))) if isinstance(value, dict | list) else []


VALUES = st.one_of(
    st.sampled_from(LEAVES).map(copy.deepcopy),
    st.sampled_from(range(len(RAW))).map(lambda index: f"@raw{index}@"),
    st.integers(-3, 12),
    st.floats(),
    st.text(max_size=4),
)


@st.composite
def _texts(draw: st.DrawFn, example: str) -> str:
    """The text of an example with up to four places changed."""
    document = copy.deepcopy(EXAMPLES[example])
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 1, 2, 2, 3, 4]))):
        levels = _levels(document)
        if not levels:
            break
        # Level by level: at the top are few places, at the bottom cells without end.
        places = levels[draw(st.integers(0, len(levels) - 1))]
        container, key = places[draw(st.integers(0, len(places) - 1))]
        change = draw(st.sampled_from([*["replace"] * 4, "drop", "repeat", "rename", "add", "wrap", "unwrap"]))
        value = container[key]
        if change == "replace" and isinstance(value, int | float) and draw(st.integers(0, 4)):
            container[key] = copy.deepcopy(draw(st.sampled_from(NEAR)))
        elif change == "replace":
            container[key] = draw(VALUES)
        elif change == "drop":
            del container[key]
        elif change == "repeat" and isinstance(container, dict):
            container[Again(key)] = copy.deepcopy(value)
        elif change == "repeat":
            container[key:key] = [copy.deepcopy(value) for _ in range(draw(st.sampled_from([1, 2, 31])))]
        elif change == "rename" and isinstance(container, dict):
            container[draw(st.sampled_from(KEYS))] = container.pop(key)
        elif change == "add" and isinstance(container, dict):
            container[draw(st.sampled_from(KEYS))] = draw(st.just(copy.deepcopy(value)) | VALUES)
        elif change == "wrap":
            container[key] = [value]
        elif change == "unwrap" and value and isinstance(value, dict | list):
            container[key] = next(iter(value.values())) if isinstance(value, dict) else value[0]
    return _RAW.sub(lambda match: RAW[int(match[1])], json.dumps(document))


@st.composite
def files(draw: st.DrawFn, example: str) -> bytes:
    """The bytes of a file that began as `example`, or, now and then, as another of EXAMPLES."""
    if not draw(st.integers(0, 5)):
        example = draw(st.sampled_from(sorted(EXAMPLES)))
    data = draw(_texts(example)).encode("utf-8", "surrogatepass")
    change = draw(st.sampled_from([*["none"] * 14, "cut", "flip", "insert", "remove", "mark", "utf-16", "other"]))
    place = draw(st.integers(0, len(data)))
    if change == "cut":
        return data[:place]
    if change == "flip" and place < len(data):
        return data[:place] + bytes([data[place] ^ 1 << draw(st.integers(0, 7))]) + data[place + 1 :]
    if change == "insert":
        return data[:place] + draw(st.binary(min_size=1, max_size=4)) + data[place:]
    if change == "remove":
        return data[:place] + data[place + draw(st.integers(1, 20)) :]
    if change == "mark":
        return b"\xef\xbb\xbf" * draw(st.integers(1, 2)) + data
    if change == "utf-16":
        return data.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass")
    return draw(st.binary(max_size=40)) if change == "other" else data
