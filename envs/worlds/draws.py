"""How arguments are drawn: small samplers, one per parameter, that take the stream of random numbers."""

import datetime
from collections.abc import Callable
from random import Random
from typing import Any

from envs.worlds.vocabulary import WORDS

Draw = Callable[[Random], Any]


def whole(low: int, high: int) -> Draw:
    """A whole number from `low` to `high`, both included."""
    return lambda random: random.randint(low, high)


def real(low: float, high: float, *, digits: int = 1) -> Draw:
    """A decimal with at most `digits` places, so that its text is short enough to copy."""
    return lambda random: round(random.uniform(low, high), digits)


def choice(*options: Any) -> Draw:
    """One of `options`."""
    return lambda random: random.choice(options)


def ints(low: int, high: int, *, least: int = 3, most: int = 5) -> Draw:
    """A list of `least` to `most` whole numbers."""
    return lambda random: [random.randint(low, high) for _ in range(random.randint(least, most))]


def repeating_ints(low: int, high: int, *, least: int = 4, most: int = 6) -> Draw:
    """A list of whole numbers in which at least one value comes twice."""

    def draw(random: Random) -> list[int]:
        values = [random.randint(low, high) for _ in range(random.randint(least, most) - 1)]
        values.insert(random.randrange(len(values)), random.choice(values))
        return values

    return draw


def reals(low: float, high: float, *, digits: int = 1, least: int = 3, most: int = 5) -> Draw:
    """A list of `least` to `most` decimals."""
    return lambda random: [round(random.uniform(low, high), digits) for _ in range(random.randint(least, most))]


def word(*, least: int = 3, most: int = 10) -> Draw:
    """A common word of `least` to `most` letters."""
    pool = tuple(entry for entry in WORDS if least <= len(entry) <= most)
    return lambda random: random.choice(pool)


def some_of(*options: str, least: int, most: int) -> Draw:
    """A list of `least` to `most` different options."""
    return lambda random: random.sample(options, random.randint(least, most))


def words(*, least: int = 3, most: int = 4) -> Draw:
    """A list of different common words."""
    return lambda random: random.sample(WORDS, random.randint(least, most))


def repeating_words(*, least: int = 4, most: int = 5) -> Draw:
    """A list of common words in which one comes twice."""

    def draw(random: Random) -> list[str]:
        values = random.sample(WORDS, random.randint(least, most) - 1)
        values.insert(random.randrange(len(values)), random.choice(values))
        return values

    return draw


def phrase(*, least: int = 2, most: int = 3) -> Draw:
    """A line of `least` to `most` common words."""
    return lambda random: " ".join(random.sample(WORDS, random.randint(least, most)))


def line() -> Draw:
    """One common word, or two."""
    return phrase(least=1, most=2)


def letters(alphabet: str, *, least: int, most: int) -> Draw:
    """A string over `alphabet`."""
    return lambda random: "".join(random.choice(alphabet) for _ in range(random.randint(least, most)))


def day(first_year: int = 1990, last_year: int = 2039) -> Draw:
    """A date such as 2024-03-17."""
    first = datetime.date(first_year, 1, 1).toordinal()
    last = datetime.date(last_year, 12, 31).toordinal()
    return lambda random: datetime.date.fromordinal(random.randint(first, last)).isoformat()


def clock(*, step_minutes: int = 1) -> Draw:
    """A time of day such as 14:05."""

    def draw(random: Random) -> str:
        minutes = random.randrange(0, 24 * 60, step_minutes)
        return f"{minutes // 60:02d}:{minutes % 60:02d}"

    return draw


def colour() -> Draw:
    """A colour such as #a1b2c3."""
    return lambda random: f"#{random.randrange(1 << 24):06x}"


def address() -> Draw:
    """An IPv4 address."""
    return lambda random: ".".join(str(random.randint(1, 254)) for _ in range(4))


def block(shortest: int = 8, longest: int = 30) -> Draw:
    """An IPv4 network with its host bits cleared, such as 10.4.0.0/16."""

    def draw(random: Random) -> str:
        length = random.randint(shortest, longest)
        base = (random.randint(1 << 24, 223 << 24) >> (32 - length)) << (32 - length)
        return ".".join(str(base >> shift & 255) for shift in (24, 16, 8, 0)) + f"/{length}"

    return draw


def fraction(*, most: int = 20) -> Draw:
    """A fraction such as 3/4, not always in lowest terms."""
    return lambda random: f"{random.randint(1, most)}/{random.randint(2, most)}"


def encoded(encode: Callable[[Any], Any], inner: Draw) -> Draw:
    """What `encode` makes of an inner draw: arguments for a tool that decodes."""
    return lambda random: encode(inner(random))
