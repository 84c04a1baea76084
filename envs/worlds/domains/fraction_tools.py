"""Fractions written as 3/4: adding, comparing, simplifying and rewriting them."""

import fractions
import math
import re

from envs.worlds.authoring import WorldTool, within
from envs.worlds.draws import fraction, real, whole
from envs.worlds.kinds import Code, Fraction, Ints, Real, Verdict, Whole

_LARGEST_PART = 10**9


def _read(text: str) -> fractions.Fraction:
    if not re.fullmatch(r"-?\d+(/\d+)?", text):  # Fraction would also take 1e999999 and then work for hours
        raise ValueError("give a fraction such as 3/4")
    value = fractions.Fraction(text)
    within(max(abs(value.numerator), value.denominator), 0, _LARGEST_PART, "numerator and denominator")
    return value


def _write(value: fractions.Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def add_fractions(x: Fraction, y: Fraction) -> Fraction:
    """The sum of two fractions in lowest terms."""
    return _write(_read(x) + _read(y))


def subtract_fractions(x: Fraction, y: Fraction) -> Fraction:
    """The difference of two fractions in lowest terms."""
    return _write(_read(x) - _read(y))


def multiply_fractions(x: Fraction, y: Fraction) -> Fraction:
    """The product of two fractions in lowest terms."""
    return _write(_read(x) * _read(y))


def divide_fractions(x: Fraction, y: Fraction) -> Fraction:
    """The quotient of two fractions in lowest terms."""
    return _write(_read(x) / _read(y))


def simplify_fraction(x: Fraction) -> Fraction:
    """Reduce a fraction to lowest terms."""
    return _write(_read(x))


def invert_fraction(x: Fraction) -> Fraction:
    """The reciprocal of a fraction, numerator and denominator swapped."""
    return _write(1 / _read(x))


def square_fraction(x: Fraction) -> Fraction:
    """The square of a fraction: the fraction times itself."""
    return _write(_read(x) ** 2)


def fraction_to_decimal(x: Fraction) -> Real:
    """Write a fraction as a decimal number."""
    return float(_read(x))


def decimal_to_fraction(x: Real) -> Fraction:
    """Write a decimal number as a fraction in lowest terms."""
    return _write(fractions.Fraction(str(x)))


def approximate_fraction(x: Real, largest: int) -> Fraction:
    """The closest fraction to a decimal with a limited denominator."""
    within(largest, 1, 10**6, "largest")
    return _write(fractions.Fraction(str(x)).limit_denominator(largest))


def fraction_to_percent(x: Fraction) -> Real:
    """Write a fraction as a percentage."""
    return float(100 * _read(x))


def mixed_number(x: Fraction) -> Code:
    """Split an improper fraction into a whole number and a proper fraction."""
    value = _read(x)
    whole_part, rest = divmod(value.numerator, value.denominator)
    return f"{whole_part} {rest}/{value.denominator}"


def improper_fraction(whole_part: Whole, x: Fraction) -> Fraction:
    """Merge a whole number and a fraction into one improper fraction."""
    return _write(whole_part + _read(x))


def larger_fraction(x: Fraction, y: Fraction) -> Fraction:
    """The larger of two fractions."""
    return max(x, y, key=_read)


def smaller_fraction(x: Fraction, y: Fraction) -> Fraction:
    """The smaller of two fractions."""
    return min(x, y, key=_read)


def are_equal_fractions(x: Fraction, y: Fraction) -> Verdict:
    """Check whether two fractions have the same value."""
    return "yes" if _read(x) == _read(y) else "no"


def mediant(x: Fraction, y: Fraction) -> Fraction:
    """The mediant: numerators and denominators of two fractions added apart."""
    a, b = _read(x), _read(y)
    return f"{a.numerator + b.numerator}/{a.denominator + b.denominator}"


def fraction_midpoint(x: Fraction, y: Fraction) -> Fraction:
    """The fraction exactly halfway between two fractions."""
    return _write((_read(x) + _read(y)) / 2)


def continued_fraction(x: Fraction) -> Ints:
    """The terms of the continued fraction expansion."""
    top, bottom = _read(x).as_integer_ratio()
    terms = []
    while bottom:
        terms.append(top // bottom)
        top, bottom = bottom, top % bottom
    return terms


def egyptian_fraction(x: Fraction) -> Ints:
    """Denominators of the unit fractions that add up to a fraction."""
    value = _read(x) % 1
    within(value.denominator, 1, 60, "denominator")
    parts = []
    while value:
        parts.append(math.ceil(1 / value))
        value -= fractions.Fraction(1, parts[-1])
    return parts


def common_denominator(x: Fraction, y: Fraction) -> Whole:
    """The least common denominator of two fractions."""
    return math.lcm(_read(x).denominator, _read(y).denominator)


def fraction_of_number(x: Fraction, n: Whole) -> Fraction:
    """Take a fraction of a whole number, such as 3/4 of 20."""
    return _write(_read(x) * n)


TOOLS = (
    WorldTool(
        function=add_fractions,
        draw={"x": fraction(), "y": fraction()},
        needs=(
            "the [sum of the fractions] {x} and {y}",
            "[add two fractions], {x} and {y}",
            "the [fraction total] of {x} plus {y}",
        ),
        unseen=(
            "what the [addition of two fractions] makes, {x} with {y}",
            "the [two fractions summed up] of {x} and {y}",
        ),
    ),
    WorldTool(
        function=subtract_fractions,
        draw={"x": fraction(), "y": fraction()},
        needs=(
            "the [difference of the fractions] {x} and {y}",
            "[subtract two fractions], {y} from {x}",
            "the [fraction difference] of {x} minus {y}",
        ),
        unseen=(
            "what the [subtraction of a fraction from another] leaves, {x} less {y}",
            "the [subtraction of fractional amounts] {x} and {y}",
        ),
    ),
    WorldTool(
        function=multiply_fractions,
        draw={"x": fraction(), "y": fraction()},
        needs=(
            "the [product of the fractions] {x} and {y}",
            "[multiply two fractions], {x} and {y}",
            "the [fraction product] of {x} times {y}",
        ),
        unseen=(
            "what the [fractions give when multiplied], {x} with {y}",
            "the [multiplication of fractional amounts] {x} and {y}",
        ),
    ),
    WorldTool(
        function=divide_fractions,
        draw={"x": fraction(), "y": fraction()},
        needs=(
            "the [quotient of the fractions] {x} and {y}",
            "[divide two fractions], {x} by {y}",
            "the [fraction quotient] of {x} over {y}",
        ),
        unseen=(
            "how often [one fraction fits into another], {y} into {x}",
            "the [division of fractional amounts] {x} and {y}",
        ),
    ),
    WorldTool(
        function=simplify_fraction,
        draw={"x": lambda r: f"{(k := r.randint(2, 12)) * r.randint(1, 20)}/{k * r.randint(2, 20)}"},
        needs=(
            "the [simplified fraction] for {x}",
            "[reduce to lowest terms] {x}",
            "the [fraction in simplest form] for {x}",
        ),
        unseen=(
            "cancel {x} and [bring a fraction to lowest terms]",
            "the [fully reduced fraction] of {x}",
        ),
    ),
    WorldTool(
        function=invert_fraction,
        draw={"x": fraction()},
        needs=(
            "the [reciprocal of the fraction] {x}",
            "[swap numerator and denominator] of {x}",
            "the [inverted fraction] of {x}",
        ),
        unseen=(
            "the [upside-down fraction] of {x}",
            "the [reciprocal, one divided by a fraction,] for {x}",
        ),
    ),
    WorldTool(
        function=square_fraction,
        draw={"x": fraction()},
        needs=(
            "the [square of the fraction] {x}",
            "work with {x} and [square the fraction by multiplying it with itself]",
            "the [fraction squared] for {x}",
        ),
        unseen=(
            "the [fraction multiplied with itself] for {x}",
            "what [a fraction times itself] makes, for {x}",
        ),
    ),
    WorldTool(
        function=fraction_to_decimal,
        draw={"x": fraction()},
        needs=(
            "the [decimal value of the fraction] {x}",
            "write {x} [as a decimal number]",
            "convert {x} [from a fraction to a decimal]",
        ),
        unseen=(
            "the [decimal expansion of a fraction] {x}",
            "turn {x} [into a number with a decimal point]",
        ),
    ),
    WorldTool(
        function=decimal_to_fraction,
        draw={"x": real(0, 20, digits=2)},
        needs=(
            "the [fraction equal to a decimal], {x}",
            "write {x} [as a fraction in lowest terms]",
            "convert {x} [from a decimal to a fraction]",
        ),
        unseen=(
            "turn {x} [from decimal notation into numerator and denominator]",
            "the [exact fraction behind a decimal] such as {x}",
        ),
    ),
    WorldTool(
        function=approximate_fraction,
        draw={"x": real(0, 9, digits=3), "largest": whole(5, 30)},
        needs=(
            "the [closest fraction with a small denominator] to {x}, at most {largest} below",
            "[approximate a decimal by a fraction]: {x}, denominator up to {largest}",
            "the [best fraction with a limited denominator] for {x} and limit {largest}",
        ),
        unseen=(
            "the [nearest simple fraction] to {x} using denominators up to {largest}",
            "the [rational approximation] of {x} bounded by {largest}",
        ),
    ),
    WorldTool(
        function=fraction_to_percent,
        draw={"x": fraction()},
        needs=(
            "the [percentage for the fraction] {x}",
            "write {x} [as a percentage]",
            "convert {x} [from a fraction to percent]",
        ),
        unseen=(
            "how [many percent a fraction is], for {x}",
            "the [fraction expressed per hundred] for {x}",
        ),
    ),
    WorldTool(
        function=mixed_number,
        draw={"x": lambda r: f"{r.randint(21, 199)}/{r.randint(2, 19)}"},
        needs=(
            "the [mixed number] for {x}",
            "split {x} [into a whole number and a fraction]",
            "write {x} [as a mixed number]",
        ),
        unseen=(
            "how [many wholes and what fraction remain] in {x}",
            "the [whole-plus-fraction form] of {x}",
        ),
    ),
    WorldTool(
        function=improper_fraction,
        draw={"whole_part": whole(1, 40), "x": fraction()},
        needs=(
            "the [improper fraction] for {whole_part} and {x}",
            "merge {whole_part} and {x} [into one improper fraction]",
            "write {whole_part} with {x} [as a single fraction]",
        ),
        unseen=(
            "the [improper fraction from a whole and a part] of {whole_part} and {x}",
            "combine [a whole and a fraction into one fraction], {whole_part} and {x}",
        ),
    ),
    WorldTool(
        function=larger_fraction,
        draw={"x": fraction(), "y": fraction()},
        needs=(
            "the [larger fraction] of {x} and {y}",
            "which [fraction is bigger], {x} or {y}",
            "the [greater of two fractions], {x} and {y}",
        ),
        unseen=(
            "the [maximum of two fractions] {x} and {y}",
            "which [fractional amount is more], {x} or {y}",
        ),
    ),
    WorldTool(
        function=smaller_fraction,
        draw={"x": fraction(), "y": fraction()},
        needs=(
            "the [smaller fraction] of {x} and {y}",
            "which [fraction is less], {x} or {y}",
            "the [lesser of two fractions], {x} and {y}",
        ),
        unseen=(
            "the [minimum of two fractions] {x} and {y}",
            "which [fractional amount is lower], {x} or {y}",
        ),
    ),
    WorldTool(
        function=are_equal_fractions,
        draw={"x": fraction(most=9), "y": fraction(most=9)},
        needs=(
            "whether {x} and {y} [are equal fractions]",
            "whether {x} and {y} [have the same fraction value]",
            "check {x} and {y} [for being equivalent fractions]",
        ),
        unseen=(
            "whether [one fraction is worth the same as another], {x} and {y}",
            "compare {x} and {y} [for equivalence as fractions]",
        ),
    ),
    WorldTool(
        function=mediant,
        draw={"x": fraction(), "y": fraction()},
        needs=(
            "the [mediant] of {x} and {y}",
            "add [numerators and denominators separately] of {x} and {y}",
            "the [mediant fraction] for {x} and {y}",
        ),
        unseen=(
            "the [mediant value] of {x} and {y}, top plus top and bottom plus bottom",
            "join {x} with {y} [by summing numerators and summing denominators]",
        ),
    ),
    WorldTool(
        function=fraction_midpoint,
        draw={"x": fraction(), "y": fraction()},
        needs=(
            "the [fraction halfway between] {x} and {y}",
            "the [midpoint of two fractions], {x} and {y}",
            "the [fraction midway between two fractions] {x} and {y}",
        ),
        unseen=(
            "which [fraction lies exactly in the middle] of {x} and {y}",
            "the [mean of two fractional amounts] {x} and {y}",
        ),
    ),
    WorldTool(
        function=continued_fraction,
        draw={"x": fraction(most=60)},
        needs=(
            "the [continued fraction] of {x}",
            "expand {x} [as a continued fraction]",
            "the [continued fraction terms] for {x}",
        ),
        unseen=(
            "the [nested quotients, continued-fraction style,] of {x}",
            "which [terms a continued-fraction expansion has] for {x}",
        ),
    ),
    WorldTool(
        function=egyptian_fraction,
        draw={"x": fraction(most=30)},
        needs=(
            "the [Egyptian fraction] denominators of {x}",
            "write {x} [as a sum of unit fractions]",
            "the [unit fractions] that add up to {x}",
        ),
        unseen=(
            "break {x} [into unit fractions with different denominators]",
            "how [ancient Egypt would split a fraction], for {x}",
        ),
    ),
    WorldTool(
        function=common_denominator,
        draw={"x": fraction(), "y": fraction()},
        needs=(
            "the [common denominator] of {x} and {y}",
            "the [least common denominator] for {x} and {y}",
            "the [smallest shared denominator] of {x} and {y}",
        ),
        unseen=(
            "which [denominator two fractions can share], {x} and {y}",
            "the [lowest denominator that fits both] {x} and {y}",
        ),
    ),
    WorldTool(
        function=fraction_of_number,
        draw={"x": fraction(), "n": whole(5, 500)},
        needs=(
            "a [fraction of some whole number], {x} of {n}",
            "how much is {x} [as a fraction of a number], {n}",
            "take [a fraction of a number]: {x} of {n}",
        ),
        unseen=(
            "the [fraction part of a whole amount], {x} out of {n}",
            "what you get when you [take a fraction of a quantity], {x} of {n}",
        ),
    ),
)
