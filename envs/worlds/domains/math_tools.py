"""Everyday arithmetic on one or two numbers: the divisions, the roundings, roots, logarithms and percentages."""

import math

from envs.worlds.authoring import WorldTool, within
from envs.worlds.draws import choice, real, whole
from envs.worlds.kinds import Real, Whole


def floor_division(a: Whole, b: Whole) -> Whole:
    """Divide two whole numbers and round the quotient down."""
    return a // b


def ceiling_division(a: Whole, b: Whole) -> Whole:
    """Divide two whole numbers and round the quotient up."""
    return -(-a // b)


def truncated_division(a: Whole, b: Whole) -> Whole:
    """Divide two whole numbers and cut the quotient toward zero."""
    sign = -1 if (a < 0) != (b < 0) else 1
    return sign * (abs(a) // abs(b))


def remainder(a: Whole, b: Whole) -> Whole:
    """The remainder left over after dividing one whole number by another."""
    return a % b


def absolute_difference(x: Real, y: Real) -> Real:
    """The distance between two numbers, ignoring which one is larger."""
    return abs(x - y)


def ceiling(x: Real) -> Whole:
    """Round a decimal number up to the next whole number."""
    return math.ceil(x)


def floor(x: Real) -> Whole:
    """Round a decimal number down to the previous whole number."""
    return math.floor(x)


def round_to_even(x: Real) -> Whole:
    """Round a decimal to the nearest whole number, ties to even."""
    return round(x)


def fractional_part(x: Real) -> Real:
    """The part of a decimal number after the decimal point."""
    return math.modf(x)[0]


def round_to_multiple(x: Whole, step: int) -> Whole:
    """Round a number to the nearest multiple of a step."""
    within(step, 1, 10_000, "step")
    return step * ((2 * x + step) // (2 * step))


def significant_figures(x: Real, digits: int) -> Real:
    """Round a number to a given count of significant figures."""
    within(digits, 1, 12, "digits")
    return float(f"{x:.{digits}g}")


def square_root(x: Real) -> Real:
    """The square root of a non-negative number."""
    return math.sqrt(x)


def cube_root(x: Real) -> Real:
    """The cube root of a number, negative numbers included."""
    return math.copysign(abs(x) ** (1 / 3), x)


def power(x: Real, n: int) -> Real:
    """Raise a number to a whole exponent."""
    within(n, 0, 12, "exponent")
    return x**n


def natural_logarithm(x: Real) -> Real:
    """The natural logarithm, base e, of a positive number."""
    return math.log(x)


def binary_logarithm(x: Real) -> Real:
    """The logarithm to base two of a positive number."""
    return math.log2(x)


def common_logarithm(x: Real) -> Real:
    """The logarithm to base ten of a positive number."""
    return math.log10(x)


def percent_of(rate: Real, x: Real) -> Real:
    """A given percentage of a number."""
    return rate * x / 100


def percent_change(old: Real, new: Real) -> Real:
    """The increase or decrease from an old to a new value in percent."""
    return (new - old) / abs(old) * 100


def sine_of_degrees(x: Real) -> Real:
    """The sine of an angle given in degrees."""
    return math.sin(math.radians(x))


def cosine_of_degrees(x: Real) -> Real:
    """The cosine of an angle given in degrees."""
    return math.cos(math.radians(x))


TOOLS = (
    WorldTool(
        function=floor_division,
        draw={"a": whole(-900, 2000), "b": whole(2, 40)},
        needs=(
            "the [quotient rounded down] of {a} divided by {b}",
            "divide {a} by {b} [rounding down the quotient]",
            "the [floor of the division] of {a} by {b}",
        ),
        unseen=(
            "the [integer quotient rounded downwards] for {a} over {b}",
            "share out {a} by {b} and [round the quotient down to the lower integer]",
        ),
    ),
    WorldTool(
        function=ceiling_division,
        draw={"a": whole(-900, 2000), "b": whole(2, 40)},
        needs=(
            "the [quotient rounded up] of {a} divided by {b}",
            "divide {a} by {b} [rounding up the quotient]",
            "the [ceiling of the division] of {a} by {b}",
        ),
        unseen=(
            "the [integer quotient rounded upwards] for {a} over {b}",
            "share out {a} by {b} and [round the quotient up to the higher integer]",
        ),
    ),
    WorldTool(
        function=truncated_division,
        draw={"a": whole(-2000, 900), "b": whole(2, 40)},
        needs=(
            "the [quotient truncated toward zero] of {a} divided by {b}",
            "divide {a} by {b} [cutting the quotient toward zero]",
            "the [truncating division] of {a} by {b}",
        ),
        unseen=(
            "the [integer quotient chopped toward zero] for {a} over {b}",
            "share out {a} by {b} and [truncate the quotient]",
        ),
    ),
    WorldTool(
        function=remainder,
        draw={"a": whole(50, 9999), "b": whole(3, 99)},
        needs=(
            "the [remainder of the division] of {a} by {b}",
            "what is [left over after dividing] {a} by {b}",
            "the [remainder when dividing] {a} by {b}",
        ),
        unseen=(
            "the [modulo, rest of a division], of {a} with respect to {b}",
            "how much is [left as a remainder after division] of {a} by {b}",
        ),
    ),
    WorldTool(
        function=absolute_difference,
        draw={"x": real(-90, 90), "y": real(-90, 90)},
        needs=(
            "the [absolute difference] between {x} and {y}",
            "the [distance between two numbers], {x} and {y}",
            "how far apart {x} and {y} are, as [unsigned difference of two numbers]",
        ),
        unseen=(
            "the [gap between the two numbers] {x} and {y}",
            "subtract {x} from {y} [ignoring the sign of the difference]",
        ),
    ),
    WorldTool(
        function=ceiling,
        draw={"x": real(-500, 500, digits=2)},
        needs=(
            "the [ceiling] of {x}",
            "[round up to the next whole number]: {x}",
            "the [next whole number above] {x}",
        ),
        unseen=(
            "the [decimal rounded upwards] for {x}",
            "take {x} and [round upwards to an integer]",
        ),
    ),
    WorldTool(
        function=floor,
        draw={"x": real(-500, 500, digits=2)},
        needs=(
            "the [floor] of {x}",
            "[round down to the previous whole number]: {x}",
            "the [whole number just below] {x}",
        ),
        unseen=(
            "the [decimal rounded downwards] for {x}",
            "take {x} and [round downwards to an integer]",
        ),
    ),
    WorldTool(
        function=round_to_even,
        draw={"x": real(-500, 500)},
        needs=(
            "the [nearest whole number] to {x}",
            "[round to the nearest whole number]: {x}",
            "the [rounding to the closest integer, ties to even] of {x}",
        ),
        unseen=(
            "the [decimal rounded to its nearest integer] for {x}",
            "take {x} and use [banker's rounding to a whole number]",
        ),
    ),
    WorldTool(
        function=fractional_part,
        draw={"x": real(1, 900, digits=2)},
        needs=(
            "the [fractional part] of {x}",
            "the [digits after the decimal point] in {x}",
            "the [decimal part of the number] {x}",
        ),
        unseen=(
            "what [remains behind the decimal point] of {x}",
            "the [non-integer portion] of {x}",
        ),
    ),
    WorldTool(
        function=round_to_multiple,
        draw={"x": whole(1, 9999), "step": choice(5, 7, 12, 15, 20, 25, 50, 60)},
        needs=(
            "the [nearest multiple] to {x} in steps of {step}",
            "[round to a multiple] of {step} starting at {x}",
            "the [rounding to the closest multiple] for {x} with step {step}",
        ),
        unseen=(
            "the [multiple that lies closest] to {x} when counting by {step}",
            "[snap to a multiple of a step]: {x}, with step {step}",
        ),
    ),
    WorldTool(
        function=significant_figures,
        draw={"x": real(1, 9999, digits=3), "digits": choice(1, 2, 3)},
        needs=(
            "keep {digits} [significant figures] of {x}",
            "[round to significant digits]: {x}, keeping {digits}",
            "the [rounding to significant figures] of {x} with {digits} digits",
        ),
        unseen=(
            "keep {digits} [meaningful digits of a rounded number] in {x}",
            "limit {x} [to some significant figures]: {digits}",
        ),
    ),
    WorldTool(
        function=square_root,
        draw={"x": whole(2, 9999)},
        needs=(
            "the [square root] of {x}",
            "the [number whose square is] {x}",
            "take the [square root of the number] {x}",
        ),
        unseen=(
            "the [positive root under a square root sign] of {x}",
            "the [side of a square root, radical] of {x}",
        ),
    ),
    WorldTool(
        function=cube_root,
        draw={"x": whole(-4000, 9999)},
        needs=(
            "the [cube root] of {x}",
            "the [number whose cube is] {x}",
            "take the [cubic root of the number] {x}",
        ),
        unseen=(
            "the [third root] of {x}",
            "which number [cubed gives] {x}",
        ),
    ),
    WorldTool(
        function=power,
        draw={"x": whole(2, 60), "n": whole(2, 6)},
        needs=(
            "[raise to the power] {n} of {x}",
            "the [power with exponent] {n} of {x}",
            "the [number raised to an exponent], base {x} and exponent {n}",
        ),
        unseen=(
            "the [exponentiation] with base {x} and {n} on top",
            "the [repeated multiplication by itself, exponentiation], of {x} taken {n} times",
        ),
    ),
    WorldTool(
        function=natural_logarithm,
        draw={"x": whole(2, 9999)},
        needs=(
            "the [natural logarithm] of {x}",
            "the [logarithm to base e] of {x}",
            "take the [natural log] of {x}",
        ),
        unseen=(
            "the [ln value] of {x}",
            "the [exponent of e] that gives {x}",
        ),
    ),
    WorldTool(
        function=binary_logarithm,
        draw={"x": whole(2, 9999)},
        needs=(
            "the [binary logarithm] of {x}",
            "the [logarithm to base two] of {x}",
            "take the [base-2 log] of {x}",
        ),
        unseen=(
            "the [log2] of {x}",
            "the [exponent of two by logarithm] that gives {x}",
        ),
    ),
    WorldTool(
        function=common_logarithm,
        draw={"x": whole(2, 9999)},
        needs=(
            "the [common logarithm] of {x}",
            "the [logarithm to base ten] of {x}",
            "take the [base-10 log] of {x}",
        ),
        unseen=(
            "the [decimal logarithm, log10] of {x}",
            "the [exponent of ten by logarithm] that gives {x}",
        ),
    ),
    WorldTool(
        function=percent_of,
        draw={"rate": whole(2, 95), "x": whole(10, 9999)},
        needs=(
            "a [percentage of a number], {rate} percent of {x}",
            "how much is {rate} [percent of] {x}",
            "the [share in percent of a number]: {rate} % of {x}",
        ),
        unseen=(
            "the [portion given by a percentage], {rate} per hundred of {x}",
            "take {rate} [per cent out of a quantity] of {x}",
        ),
    ),
    WorldTool(
        function=percent_change,
        draw={"old": whole(10, 999), "new": whole(10, 999)},
        needs=(
            "the [percent change] from {old} to {new}",
            "the [percentage increase or decrease] going from {old} to {new}",
            "how much was the [change in percent] between {old} and {new}",
        ),
        unseen=(
            "the [relative growth in per cent] when {old} becomes {new}",
            "what [rise or fall in percent] leads from {old} to {new}",
        ),
    ),
    WorldTool(
        function=sine_of_degrees,
        draw={"x": whole(1, 719)},
        needs=(
            "the [sine] of {x} in degrees",
            "the [sine of an angle] measuring {x} in degrees",
            "take the [sin of degrees] for {x}",
        ),
        unseen=(
            "the [sin function value] at {x} in degrees",
            "the [sine ratio, opposite side over hypotenuse], at {x} in degrees",
        ),
    ),
    WorldTool(
        function=cosine_of_degrees,
        draw={"x": whole(1, 719)},
        needs=(
            "the [cosine] of {x} in degrees",
            "the [cosine of an angle] measuring {x} in degrees",
            "take the [cos of degrees] for {x}",
        ),
        unseen=(
            "the [cos function value] at {x} in degrees",
            "the [cosine ratio, adjacent side over hypotenuse], at {x} in degrees",
        ),
    ),
)
