"""Number bases, numerals and bits."""

import re
import struct

from envs.worlds.authoring import WorldTool, within
from envs.worlds.draws import choice, encoded, letters, whole
from envs.worlds.kinds import Bits, Code, Text, Whole, Word

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_ROMAN = (
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"),
    (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
)  # fmt: skip
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_MOST = 2**40


def _positive(n: int) -> None:
    within(n, 0, _MOST, "n")


def to_binary(n: Whole) -> Bits:
    """Write a number in binary, base two."""
    _positive(n)
    return f"{n:b}"


def to_octal(n: Whole) -> Code:
    """Write a number in octal, base eight."""
    _positive(n)
    return f"{n:o}"


def to_hexadecimal(n: Whole) -> Code:
    """Write a number in hexadecimal, base sixteen."""
    _positive(n)
    return f"{n:x}"


def to_base(n: Whole, base: int) -> Code:
    """Write a number in any base up to thirty-six."""
    _positive(n)
    within(base, 2, 36, "base")
    digits = ""
    while n:
        n, digit = divmod(n, base)
        digits = _ALPHABET[digit] + digits
    return digits or "0"


def from_binary(bits: Bits) -> Whole:
    """Read a string of binary digits as a number."""
    if not re.fullmatch("[01]+", bits):
        raise ValueError("give a string of zeros and ones")
    return sum(1 << place for place, bit in enumerate(reversed(bits)) if bit == "1")


def from_octal(code: str) -> Whole:
    """Read a string of octal digits as a number."""
    return int(code, 8)


def from_hexadecimal(code: str) -> Whole:
    """Read a string of hexadecimal digits as a number."""
    return int.from_bytes(bytes.fromhex(code.zfill(len(code) + len(code) % 2)), "big")


def from_base(code: str, base: int) -> Whole:
    """Read digits of any base as a number."""
    within(base, 2, 36, "base")
    return int(code, base)


def to_roman(n: Whole) -> Word:
    """Write a number as a Roman numeral."""
    within(n, 1, 3999, "n")
    numeral = ""
    for value, sign in _ROMAN:
        numeral += sign * (n // value)
        n %= value
    return numeral


def from_roman(numeral: str) -> Whole:
    """Read a Roman numeral as a number."""
    values = [{sign: value for value, sign in _ROMAN}.get(c, 0) for c in numeral.upper()]
    if not values or 0 in values:
        raise ValueError("a Roman numeral is made of I, V, X, L, C, D and M")
    return sum(-v if v < max(values[i:]) else v for i, v in enumerate(values))


def number_to_words(n: Whole) -> Text:
    """Spell a number in English words."""
    within(n, 0, 9999, "n")
    if n < 20:
        return _ONES[n]
    if n < 100:
        return _TENS[n // 10 - 2] + (f"-{_ONES[n % 10]}" if n % 10 else "")
    unit, name = (100, "hundred") if n < 1000 else (1000, "thousand")
    return f"{_ONES[n // unit]} {name}" + (f" {number_to_words(n % unit)}" if n % unit else "")


def ordinal(n: Whole) -> Code:
    """Write a number as an ordinal with st, nd, rd or th."""
    suffix = "th" if n // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"


def count_ones(n: Whole) -> Whole:
    """Count the one-bits in the binary form of a number."""
    return abs(n).bit_count()


def bit_length(n: Whole) -> Whole:
    """The number of binary digits that a number needs."""
    return n.bit_length()


def bitwise_and(a: Whole, b: Whole) -> Whole:
    """Combine the bits of two numbers with AND."""
    return a & b


def bitwise_or(a: Whole, b: Whole) -> Whole:
    """Combine the bits of two numbers with OR."""
    return a | b


def bitwise_xor(a: Whole, b: Whole) -> Whole:
    """Combine the bits of two numbers with exclusive or, XOR."""
    return a ^ b


def shift_left(n: Whole, places: int) -> Whole:
    """Shift the bits of a number to the left."""
    within(places, 0, 40, "places")
    return n << places


def shift_right(n: Whole, places: int) -> Whole:
    """Shift the bits of a number to the right."""
    within(places, 0, 40, "places")
    return n >> places


def gray_code(n: Whole) -> Bits:
    """The Gray code of a number, neighbours differing in one bit."""
    _positive(n)
    return bin(n ^ n >> 1)[2:]


def twos_complement(n: Whole) -> Bits:
    """The sixteen-bit two's complement form of a negative number."""
    within(n, -(2**15), 2**15 - 1, "n")
    return f"{n & 0xFFFF:016b}"


def invert_bits(bits: Bits) -> Bits:
    """Exchange zeros and ones in a string of bits."""
    if not re.fullmatch("[01]+", bits):
        raise ValueError("give a string of zeros and ones")
    return bits.translate(str.maketrans("01", "10"))


def reverse_bits(n: Whole) -> Whole:
    """Read the binary digits of a number in reverse order as a number."""
    _positive(n)
    return int(f"{n:b}"[::-1], 2)


def trailing_zero_bits(n: Whole) -> Whole:
    """Count the zero bits at the end of a number in binary."""
    within(n, 1, _MOST, "n")
    return (n & -n).bit_length() - 1


def next_power_of_two(n: Whole) -> Whole:
    """The smallest power of two not below a number."""
    within(n, 1, _MOST, "n")
    return 1 << (n - 1).bit_length()


def swap_byte_order(n: Whole) -> Whole:
    """Swap the two bytes of a sixteen-bit number, changing endianness."""
    within(n, 0, 2**16 - 1, "n")
    return int.from_bytes(n.to_bytes(2, "big"), "little")


def float_bits(x: float) -> Code:
    """The hex digits of a decimal stored as a 32-bit float."""
    return struct.pack(">f", x).hex()


def factorial_base(n: Whole) -> Code:
    """Write a number in the factorial number system."""
    _positive(n)
    digits, radix = "", 1
    while n:
        n, digit = divmod(n, radix)
        digits = f"{digit}{':' if digits else ''}{digits}"
        radix += 1
    return digits or "0"


def thousands_separators(n: Whole) -> Code:
    """Write a large number with commas between the thousands."""
    return f"{n:,}"


def scientific_notation(n: Whole) -> Code:
    """Write a number in scientific notation with a power of ten."""
    return f"{n:.3e}"


TOOLS = (
    WorldTool(
        function=to_binary,
        draw={"n": whole(10, 9999)},
        needs=(
            "the [binary form] of {n}",
            "write {n} [in base two]",
            "the [binary digits] of {n}",
        ),
        unseen=(
            "the [number in binary notation] for {n}",
            "turn {n} [from decimal to binary]",
        ),
    ),
    WorldTool(
        function=to_octal,
        draw={"n": whole(10, 9999)},
        needs=(
            "the [octal form] of {n}",
            "write {n} [in base eight]",
            "the [octal digits] of {n}",
        ),
        unseen=(
            "the [number in octal notation] for {n}",
            "turn {n} [from decimal to octal]",
        ),
    ),
    WorldTool(
        function=to_hexadecimal,
        draw={"n": whole(10, 99999)},
        needs=(
            "the [hexadecimal form] of {n}",
            "write {n} [in base sixteen]",
            "the [number in hexadecimal] for {n}",
        ),
        unseen=(
            "the [number in hex notation] for {n}",
            "turn {n} [from decimal to hexadecimal]",
        ),
    ),
    WorldTool(
        function=to_base,
        draw={"n": whole(50, 9999), "base": choice(3, 4, 5, 6, 7, 9, 11, 12, 20, 36)},
        needs=(
            "the [number in another base], {n} in base {base}",
            "write {n} [in an arbitrary base], {base}",
            "the [base conversion] of {n} to base {base}",
        ),
        unseen=(
            "the [number written in a chosen base], {n} with base {base}",
            "express {n} [in any number base], here {base}",
        ),
    ),
    WorldTool(
        function=from_binary,
        draw={"bits": letters("01", least=5, most=9)},
        needs=(
            "the [number behind the binary digits] {bits}",
            "read {bits} [as a binary number]",
            "the [number that binary digits stand for], {bits}",
        ),
        unseen=(
            "turn {bits} [from binary to decimal]",
            "the [number meant by a string of binary digits], {bits}",
        ),
    ),
    WorldTool(
        function=from_octal,
        draw={"code": letters("01234567", least=3, most=5)},
        needs=(
            "the [number behind the octal digits] {code}",
            "read {code} [as an octal number]",
            "the [decimal value of octal digits] {code}",
        ),
        unseen=(
            "turn {code} [from octal to decimal]",
            "the [base-eight numeral as an ordinary number], {code}",
        ),
    ),
    WorldTool(
        function=from_hexadecimal,
        draw={"code": encoded(lambda n: f"{n:x}", whole(100, 99999))},
        needs=(
            "the [number behind the hexadecimal digits] {code}",
            "read {code} [as a hexadecimal number]",
            "the [decimal value of hex digits] {code}",
        ),
        unseen=(
            "turn {code} [from hexadecimal to decimal]",
            "the [number that a hex string encodes], {code}",
        ),
    ),
    WorldTool(
        function=from_base,
        draw={"code": letters("012", least=4, most=6), "base": choice(3, 4, 5, 6, 7, 9)},
        needs=(
            "the [number behind digits of another base], {code} in base {base}",
            "read {code} [as digits of an arbitrary base], {base}",
            "the [value of a numeral in a base], {code} in {base}",
        ),
        unseen=(
            "what [digits mean under a different radix], {code} with radix {base}",
            "turn {code} [from any number base to decimal], base {base}",
        ),
    ),
    WorldTool(
        function=to_roman,
        draw={"n": whole(10, 3999)},
        needs=(
            "the [Roman numeral] for {n}",
            "write {n} [in Roman numerals]",
            "the [Roman form of a number], {n}",
        ),
        unseen=(
            "how the [ancient Romans would write a number], {n}",
            "turn {n} [into Roman figures]",
        ),
    ),
    WorldTool(
        function=from_roman,
        draw={"numeral": encoded(to_roman, whole(10, 3999))},
        needs=(
            "the [number behind the Roman numeral] {numeral}",
            "read {numeral} [as a Roman numeral]",
            "the [value of the Roman numeral] {numeral}",
        ),
        unseen=(
            "turn {numeral} [from Roman figures to an ordinary number]",
            "which [number the Roman letters stand for], {numeral}",
        ),
    ),
    WorldTool(
        function=number_to_words,
        draw={"n": whole(10, 9999)},
        needs=(
            "the [number in words] for {n}",
            "spell {n} [in English words]",
            "the [spelled-out number] {n}",
        ),
        unseen=(
            "write {n} out [in words as on a cheque]",
            "how to [say a number in English], {n}",
        ),
    ),
    WorldTool(
        function=ordinal,
        draw={"n": whole(1, 9999)},
        needs=(
            "the [ordinal form] of {n}",
            "write {n} [with st, nd, rd or th]",
            "the [ordinal number] for {n}",
        ),
        unseen=(
            "the [ordinal, like 1st or 2nd,] of {n}",
            "put the [right ordinal suffix] on {n}",
        ),
    ),
    WorldTool(
        function=count_ones,
        draw={"n": whole(10, 9999)},
        needs=(
            "the [number of one-bits] in {n}",
            "how [many ones the binary form has], for {n}",
            "count the [bits that are set] in {n}",
        ),
        unseen=(
            "the [population count of bits] in {n}",
            "the [tally of one-bits in binary] of {n}",
        ),
    ),
    WorldTool(
        function=bit_length,
        draw={"n": whole(10, 99999)},
        needs=(
            "the [bit length] of {n}",
            "how [many binary digits a number needs], for {n}",
            "the [number of bits needed] for {n}",
        ),
        unseen=(
            "how [wide in bits a number is], for {n}",
            "the [size in binary places] of {n}",
        ),
    ),
    WorldTool(
        function=bitwise_and,
        draw={"a": whole(5, 999), "b": whole(5, 999)},
        needs=(
            "the [bitwise AND] of {a} and {b}",
            "combine {a} and {b} [bit by bit with AND]",
            "the [AND of the bits] of {a} and {b}",
        ),
        unseen=(
            "the [bits set in both numbers] {a} and {b}",
            "the [logical conjunction of bits] for {a} and {b}",
        ),
    ),
    WorldTool(
        function=bitwise_or,
        draw={"a": whole(5, 999), "b": whole(5, 999)},
        needs=(
            "the [bitwise OR] of {a} and {b}",
            "combine {a} and {b} [bit by bit with OR]",
            "the [OR of the bits] of {a} and {b}",
        ),
        unseen=(
            "the [bits set in either number] of {a} and {b}",
            "the [logical disjunction of bits] for {a} and {b}",
        ),
    ),
    WorldTool(
        function=bitwise_xor,
        draw={"a": whole(5, 999), "b": whole(5, 999)},
        needs=(
            "the [bitwise XOR] of {a} and {b}",
            "combine {a} and {b} [bit by bit with exclusive or]",
            "the [XOR of two numbers], {a} and {b}",
        ),
        unseen=(
            "the [exclusive or of the bits] for {a} and {b}",
            "the [XOR combination of bits] for {a} and {b}",
        ),
    ),
    WorldTool(
        function=shift_left,
        draw={"n": whole(3, 999), "places": whole(1, 6)},
        needs=(
            "the [left shift] of {n} by {places}",
            "[shift the bits to the left] in {n} by {places}",
            "the [bit shift left] of {n}, {places} places",
        ),
        unseen=(
            "push [the bits of a number leftwards] in {n}, {places} places",
            "move [bits towards the high end] in {n} by {places}",
        ),
    ),
    WorldTool(
        function=shift_right,
        draw={"n": whole(100, 9999), "places": whole(1, 6)},
        needs=(
            "the [right shift] of {n} by {places}",
            "[shift the bits to the right] in {n} by {places}",
            "the [bit shift right] of {n}, {places} places",
        ),
        unseen=(
            "push [the bits of a number rightwards] in {n}, {places} places",
            "move [bits towards the low end] in {n} by {places}",
        ),
    ),
    WorldTool(
        function=gray_code,
        draw={"n": whole(5, 9999)},
        needs=(
            "the [Gray code] of {n}",
            "write {n} [in Gray code]",
            "the [reflected binary code] of {n}",
        ),
        unseen=(
            "the [code where neighbours differ in one bit] for {n}",
            "the [Gray binary encoding] of {n}",
        ),
    ),
    WorldTool(
        function=twos_complement,
        draw={"n": whole(-9999, -1)},
        needs=(
            "the [two's complement] of {n}",
            "write {n} [as a signed sixteen-bit number]",
            "the [two's complement bits] for {n}",
        ),
        unseen=(
            "how [a negative number looks in two's complement bits], {n}",
            "the [signed 16-bit binary form] of {n}",
        ),
    ),
    WorldTool(
        function=invert_bits,
        draw={"bits": letters("01", least=7, most=12)},
        needs=(
            "[exchange zeros and ones] in {bits}",
            "the [inverted bits] of {bits}",
            "the [bits with zeros and ones exchanged] of {bits}",
        ),
        unseen=(
            "[flip every bit] of {bits}",
            "swap [each 0 for 1 and each 1 for 0] in {bits}",
        ),
    ),
    WorldTool(
        function=reverse_bits,
        draw={"n": whole(10, 9999)},
        needs=(
            "the [number with reversed bits] for {n}",
            "[reverse the binary digits] of {n}",
            "read [the bits backwards] in {n}",
        ),
        unseen=(
            "the [mirror image of the binary form] of {n}",
            "turn [the order of the bits around] in {n}",
        ),
    ),
    WorldTool(
        function=trailing_zero_bits,
        draw={"n": encoded(lambda n: 4 * n, whole(2, 2400))},
        needs=(
            "the [number of trailing zero bits] in {n}",
            "how [many zero bits the binary form ends in], for {n}",
            "count the [zeros at the end in binary] of {n}",
        ),
        unseen=(
            "how [many zeros end the binary number], for {n}",
            "the [zero bits at the low end] of {n}",
        ),
    ),
    WorldTool(
        function=next_power_of_two,
        draw={"n": whole(5, 9999)},
        needs=(
            "the [next power of two] for {n}",
            "the [smallest power of two not below] {n}",
            "round {n} [up to a power of two]",
        ),
        unseen=(
            "the [lowest power of two reaching] {n}",
            "which [power of two is big enough] for {n}",
        ),
    ),
    WorldTool(
        function=swap_byte_order,
        draw={"n": whole(256, 65000)},
        needs=(
            "[swap the two bytes] of {n}",
            "the [opposite byte order] of {n}",
            "[change the endianness] of {n}",
        ),
        unseen=(
            "turn {n} [from big-endian to little-endian]",
            "the [byte-swapped number] for {n}",
        ),
    ),
    WorldTool(
        function=float_bits,
        draw={"x": lambda r: round(r.uniform(-50, 50), 2)},
        needs=(
            "the [32-bit float in hex] for {x}",
            "how [a decimal is stored as a float], {x}",
            "the [floating-point bytes] of {x}",
        ),
        unseen=(
            "the [IEEE 754 single-precision pattern] of {x}",
            "the [memory bytes of a float] worth {x}",
        ),
    ),
    WorldTool(
        function=factorial_base,
        draw={"n": whole(10, 9999)},
        needs=(
            "the [factorial number system] form of {n}",
            "write {n} [in factorial base]",
            "the [factoradic] of {n}",
        ),
        unseen=(
            "the [digits in base of factorials] for {n}",
            "turn {n} [into the factorial numeral system]",
        ),
    ),
    WorldTool(
        function=thousands_separators,
        draw={"n": whole(10000, 9999999)},
        needs=(
            "write {n} [with commas between the thousands]",
            "the [thousands separators] in {n}",
            "the [number with commas] for {n}",
        ),
        unseen=(
            "the [comma-grouped digits] of {n}",
            "make {n} [easier to read with comma groups of three digits]",
        ),
    ),
    WorldTool(
        function=scientific_notation,
        draw={"n": whole(10000, 9999999)},
        needs=(
            "the [scientific notation] of {n}",
            "write {n} [with a power of ten]",
            "the [scientific form of a number], {n}",
        ),
        unseen=(
            "the [exponential e-notation] for {n}",
            "write {n} [as mantissa and exponent of ten]",
        ),
    ),
)
