"""Damages JSON: changed and missing bytes, values of other types, extreme numbers."""

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

ODD_TEXTS = (
    "", "\x1b[2J\x1b]52;c;aGk=\x07", "[bold]x[/bold]", "<script>alert(1)</script>", "=1+1", "a|b",
    "\u202eabc", "a\nb\r\nc", "$(reboot)", "x" * 5000, "\\", "nan", "\0", "\u2028", "'\"`",
    "../../../etc/passwd", "\U0001f600", "]]>", "{", "%s%n", "$x$", "\x9b2J",
)  # fmt: skip
ODD_NUMBERS = (
    0, 1, -1, 2, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30, 0.0, -0.0, 0.5, 1e-300,
    -1e-9, 1.0000001, 1e15, 1e16, 1e300, -1e300, 5e-324, 1.7976931348623157e308,
)  # fmt: skip
ODD_VALUES = (None, True, False, [], {}, [[]], [None], {"": None}, [1, [2, [3]]], *ODD_NUMBERS)
# Tokens that no JSON has, or that many readers choke on.
TOKENS = (
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"0x10", b"01", b"'a'", b'"\\ud800"',
    b'"\\udc00\\ud800"', b'"\xff"', b'"\xed\xa0\x80"', b"9" * 400, b"[" * 2000, b'{"a":' * 2000,
    b"[" * 900 + b"]" * 900, b"1" + b"0" * 5000, b'"\\u0000"', b'"' + b"x" * 99_999 + b'"', b"",
)  # fmt: skip


def changed_bytes(random: Random, text: bytes) -> bytes:
    """The text with some bytes changed, removed, repeated or inserted."""
    data = bytearray(text)
    for _ in range(random.choice((1, 1, 1, 2, 5, 50))):
        place = random.randrange(len(data) + 1)
        other = random.randrange(len(data) + 1)
        start, end = min(place, other), min(max(place, other), min(place, other) + 200)
        match random.randrange(7):
            case 0 if place < len(data):
                data[place] ^= 1 << random.randrange(8)
            case 1:
                del data[place:]
            case 2:
                del data[start:end]
            case 3:
                data[place:place] = random.randbytes(random.randrange(1, 9))
            case 4:
                data[place:place] = data[start:end]
            case 5:
                data[place:place] = random.choice(TOKENS)
            case 6:
                data[start:end] = bytes(end - start)
    return bytes(data)


def with_token(random: Random, plain: Any) -> bytes:
    """The JSON with one value replaced by a token, unquoted."""
    changed = copy.deepcopy(plain)
    parent, key = random.choice(list(places(changed)))
    parent[key] = "@token@"
    return json.dumps(changed).encode().replace(b'"@token@"', random.choice(TOKENS))


def with_double(random: Random, text: bytes) -> bytes:
    """The JSON with a duplicate key."""
    key = random.choice((b"seed", b"status", b"content_hash", b"cell", b"schema_version", b"x"))
    return b'{"' + key + b'": ' + random.choice(TOKENS[:12]) + b"," + text.lstrip()[1:]


def with_values(random: Random, plain: Any) -> Any:
    """The data with some values of other types or out of range, and keys removed or added."""
    changed = copy.deepcopy(plain)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        parent, key = random.choice(list(places(changed)))
        match random.randrange(8):
            case 0 | 1 | 2:
                parent[key] = like(random, parent[key])
            case 3 | 4:
                parent[key] = copy.deepcopy(random.choice(ODD_VALUES))
            case 5:
                parent[key] = random.choice(ODD_TEXTS)
            case 6:
                del parent[key]
            case 7 if isinstance(parent, dict):
                parent[random.choice(ODD_TEXTS)] = parent[key]
            case 7:
                parent.insert(key, copy.deepcopy(parent[key]))
    return changed


def like(random: Random, value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return random.choice([number for number in ODD_NUMBERS if isinstance(number, int)])
    if isinstance(value, float):
        return random.choice(ODD_NUMBERS)
    if isinstance(value, str):
        return random.choice(ODD_TEXTS)
    if isinstance(value, list):
        return [copy.deepcopy(one) for one in value for _ in range(random.randrange(3))]
    return {key: one for key, one in value.items() if random.random() < 0.8} if value else None


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in it."""
    if isinstance(value, dict):
        items: Any = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return
    for key, item in items:
        yield value, key
        yield from places(item)
