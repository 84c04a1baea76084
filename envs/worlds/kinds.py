"""What a value means, written in a tool's signature: its JSON schema and its chains are both read from there.

An annotated type may be handed from one call to the next. A plain `int` or `str` parameter is a setting: no result is
ever fed into it, since "round to that many digits" reads as nonsense for most numbers.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated


class Kind(StrEnum):
    """The meaning of a value; its JSON type comes from the Python type beside it."""

    WHOLE = "whole"
    REAL = "real"
    YEAR = "year"
    TEXT = "text"
    WORD = "word"
    DAY = "day"
    CLOCK = "clock"
    COLOUR = "colour"
    ADDRESS = "address"
    BLOCK = "block"
    FRACTION = "fraction"
    BITS = "bits"
    CODE = "code"
    INTS = "ints"
    REALS = "reals"
    WORDS = "words"
    VERDICT = "verdict"


Whole = Annotated[int, Kind.WHOLE]  # 27
Real = Annotated[float, Kind.REAL]  # 2.5
Year = Annotated[int, Kind.YEAR]  # 2024
Text = Annotated[str, Kind.TEXT]  # any line of text
Word = Annotated[str, Kind.WORD]  # letters only
Day = Annotated[str, Kind.DAY]  # 2024-03-17
Clock = Annotated[str, Kind.CLOCK]  # 14:05
Colour = Annotated[str, Kind.COLOUR]  # #a1b2c3
Address = Annotated[str, Kind.ADDRESS]  # 10.0.0.7
Block = Annotated[str, Kind.BLOCK]  # 10.0.0.0/24
Fraction = Annotated[str, Kind.FRACTION]  # 3/4
Bits = Annotated[str, Kind.BITS]  # 101101
Code = Annotated[str, Kind.CODE]  # an encoded text, a digest, a label: text, but no word
Ints = Annotated[list[int], Kind.INTS]
Reals = Annotated[list[float], Kind.REALS]
Words = Annotated[list[str], Kind.WORDS]
Verdict = Annotated[str, Kind.VERDICT]  # "yes" or "no": an answer, never an argument

FEEDS: Mapping[Kind, frozenset[Kind]] = {
    Kind.WHOLE: frozenset({Kind.WHOLE, Kind.REAL}),
    Kind.REAL: frozenset({Kind.REAL}),
    Kind.YEAR: frozenset({Kind.YEAR, Kind.WHOLE}),
    Kind.TEXT: frozenset({Kind.TEXT}),
    Kind.WORD: frozenset({Kind.WORD, Kind.TEXT}),
    Kind.DAY: frozenset({Kind.DAY}),
    Kind.CLOCK: frozenset({Kind.CLOCK}),
    Kind.COLOUR: frozenset({Kind.COLOUR, Kind.TEXT}),
    Kind.ADDRESS: frozenset({Kind.ADDRESS}),
    Kind.BLOCK: frozenset({Kind.BLOCK}),
    Kind.FRACTION: frozenset({Kind.FRACTION}),
    Kind.BITS: frozenset({Kind.BITS, Kind.TEXT}),
    Kind.CODE: frozenset({Kind.TEXT}),
    Kind.INTS: frozenset({Kind.INTS, Kind.REALS}),
    Kind.REALS: frozenset({Kind.REALS}),
    Kind.WORDS: frozenset({Kind.WORDS}),
    Kind.VERDICT: frozenset(),
}

SPOKEN: Mapping[Kind, str] = {
    Kind.WHOLE: "number",
    Kind.REAL: "number",
    Kind.YEAR: "year",
    Kind.TEXT: "text",
    Kind.WORD: "word",
    Kind.DAY: "date",
    Kind.CLOCK: "time",
    Kind.COLOUR: "colour",
    Kind.ADDRESS: "address",
    Kind.BLOCK: "network",
    Kind.FRACTION: "fraction",
    Kind.BITS: "string",
    Kind.CODE: "string",
    Kind.INTS: "list",
    Kind.REALS: "list",
    Kind.WORDS: "list",
    Kind.VERDICT: "verdict",
}
