"""Mutations of run logs and other JSON files, seeded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

JUNK: tuple[Any, ...] = (
    *(None, True, [], {}, "", "x", 0, -1, 1.5, 7, 2**53, 2**70, 1e300, -1e300, 1e-320, 5e8, "5e8"),
    *([1], [None], ["a"], [[1]], {"a": 1}, {"": None}, [1e308, 1e308], 10**400, 500_000_000),
    *(float("nan"), float("inf"), -float("inf"), "\ud800", "\x1b[2J\x07", "</script>", "\x00"),
    "a" * 20_000,
    *([0] * 300, {str(i): i for i in range(300)}, "constructor", "__proto__"),
)
# Texts that `json.dumps` would not write.
RAW = (
    *(b"1e999", b"NaN", b"-0", b"9" * 5000, b"[" * 100_000, b'{"a":' * 20_000, b'"\\ud800"', b"'a'"),
    *(b"\xff", b"\\", b"\x00", b"01", b"--1", b'"\xed\xa0\x80"', b"1" + b"0" * 400, b""),
    b'"a": 1, "a": 2',
)
NAMES = ("ticket", "n", "key", "pass@8", "slices", "curves", "__proto__", "\x1b[31m")


def places(data: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values inside JSON data."""
    parts = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    found = [above] if above else []
    for key, value in parts:
        found += places(value, (*above, key))
    return found


def changed(record: Any, random: Any) -> Any:
    """A record with one value replaced, left out, added, or moved."""
    record = json.loads(json.dumps(record))
    found = places(record)
    if not found or random.random() < 0.03:
        return random.choice(JUNK)
    *above, last = random.choice(found)
    inside = record
    for key in above:
        inside = inside[key]
    how = random.randrange(8)
    if how == 0:
        del inside[last]
    elif how == 1 and isinstance(inside, dict):
        inside[random.choice(NAMES)] = random.choice(JUNK)
    elif how == 2 and isinstance(inside, list):
        inside.insert(last, random.choice(JUNK))
    elif how == 3 and isinstance(inside[last], int | float) and not isinstance(inside[last], bool):
        inside[last] = inside[last] * random.choice((-1, 0, 2, 1e3, 1e17, 1e30))
    elif how == 4:
        other = random.choice(found)
        value = record
        for key in other:
            value = value[key] if isinstance(value, dict) and key in value else value
        inside[last] = json.loads(json.dumps(value))
    else:
        inside[last] = random.choice(JUNK)
    return record


def mutated(text: bytes, random: Any) -> bytes:
    """A file of JSON, or of JSON lines, with one thing wrong."""
    lines = text.splitlines(keepends=True)
    how = random.randrange(12)
    if how < 7 and lines:
        whole = len(lines) > 1 and lines[0].rstrip().endswith((b"{", b"["))
        number = random.randrange(len(lines))
        try:
            record = json.loads(text if whole else lines[number])
        except (ValueError, RecursionError):
            return text
        made = (json.dumps(changed(record, random)) + "\n").encode()
        return made if whole else b"".join([*lines[:number], made, *lines[number + 1 :]])
    start = random.randrange(len(text) + 1)
    if how == 7:
        return text[:start]
    if how == 8:
        return text[:start] + random.choice(RAW) + text[start + random.randrange(20) :]
    if how == 9:
        return text[:start] + random.randbytes(random.randrange(1, 5)) + text[start + 1 :]
    if how == 10 and lines:  # in the place of a value
        colons = [i for i, c in enumerate(text) if c == ord(":")] or [0]
        after = random.choice(colons) + 1
        ends = [i for i in (text.find(c, after) for c in (b",", b"}", b"\n")) if i >= 0] or [len(text)]
        return text[:after] + random.choice(RAW) + text[min(ends) :]
    random.shuffle(lines)
    return b"".join(lines[: random.randrange(len(lines) + 1)] * random.choice((1, 1, 2)))


def damage(folder: Path, files: list[Path], random: Any) -> list[str]:
    """Mutate one to three of some files; their names."""
    names = []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        path = random.choice(files)
        path.write_bytes(mutated(path.read_bytes(), random))
        names.append(path.name)
    return names
