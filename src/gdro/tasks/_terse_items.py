"""Questions and answers of the terse tasks, one small generator per kind."""

from __future__ import annotations

import random
from collections.abc import Callable

Item = tuple[str, str]

SHORT_WORDS = (
    "sun cat dog map red pig hen cow fox bee ant owl jam tea egg pie nut bus car van jet cup pan "
    "pot hat bag box key pen net bed leg arm ear sky ice mud lip toy"
)
LONG_WORDS = (
    "blue tree fish bird milk rain snow wind fire gold iron lake hill road "
    "ship boat door desk lamp book page song drum bell ring king salt corn rice meat soup cake "
    "leaf seed root rose bear wolf lion frog duck goat lamb moon star sand rock wave coat shoe "
    "sock hand foot nose head hair neck back wall roof city town farm park bank shop game ball"
)
OPPOSITES = (
    "hot cold,big small,up down,left right,day night,open closed,fast slow,old young,rich poor,"
    "early late,full empty,good bad,light dark,happy sad,hard soft,high low,near far,true false,"
    "wet dry,win lose,black white,long short,thick thin,strong weak,clean dirty,push pull"
)


def _word(rng: random.Random) -> str:
    return rng.choice((SHORT_WORDS + " " + LONG_WORDS).split())


def _copy(rng: random.Random) -> Item:
    word = _word(rng)
    return f"copy {word}", word


def _capitals(rng: random.Random) -> Item:
    word = _word(rng)
    return f"uppercase {word}", word.upper()


def _larger(rng: random.Random) -> Item:
    first, second = rng.sample(range(1, 100), 2)
    return f"larger of {first} and {second}", str(max(first, second))


def _opposite(rng: random.Random) -> Item:
    pair = rng.choice(OPPOSITES.split(",")).split()
    rng.shuffle(pair)
    return f"opposite of {pair[0]}", pair[1]


def _plus_one(rng: random.Random) -> Item:
    number = rng.randrange(1, 60)
    return f"{number} + 1", str(number + 1)


def _small_sum(rng: random.Random) -> Item:
    first = rng.randrange(1, 9)
    second = rng.randrange(1, 10 - first)
    return f"{first} + {second}", str(first + second)


def _next_number(rng: random.Random) -> Item:
    start, step = rng.randrange(1, 20), rng.randrange(1, 6)
    return " ".join(str(start + i * step) for i in range(4)), str(start + 4 * step)


def _first_letter(rng: random.Random) -> Item:
    word = _word(rng)
    return f"first letter of {word}", word[0]


def _reverse(rng: random.Random) -> Item:
    word = rng.choice(SHORT_WORDS.split())
    return f"reverse {word}", word[::-1]


GENERATORS: dict[str, Callable[[random.Random], Item]] = {
    "copy": _copy,
    "capitals": _capitals,
    "larger": _larger,
    "opposite": _opposite,
    "plus_one": _plus_one,
    "small_sum": _small_sum,
    "next_number": _next_number,
    "first_letter": _first_letter,
    "reverse": _reverse,
}
