"""Number theory: divisors, primes, digits and remainders of whole numbers."""

import math

from envs.worlds.authoring import WorldTool, within
from envs.worlds.draws import whole
from envs.worlds.kinds import Ints, Verdict, Whole

_MOST = 10**7  # trial division stays instant below it


def _prime_factors(n: int) -> list[int]:
    within(n, 2, _MOST, "n")
    factors, divisor = [], 2
    while divisor * divisor <= n:
        while n % divisor == 0:
            factors.append(divisor)
            n //= divisor
        divisor += 1
    return factors + [n] * (n > 1)


def greatest_common_divisor(a: Whole, b: Whole) -> Whole:
    """The largest whole number that divides two numbers."""
    return math.gcd(a, b)


def least_common_multiple(a: Whole, b: Whole) -> Whole:
    """The smallest positive number that two numbers both divide."""
    return math.lcm(a, b)


def is_prime(n: Whole) -> Verdict:
    """Check whether a whole number is prime, yes or no."""
    return "yes" if n >= 2 and _prime_factors(n) == [n] else "no"


def next_prime(n: Whole) -> Whole:
    """The first prime number above a given number."""
    within(n, 0, 10**6, "n")
    n += 1
    while is_prime(n) == "no":
        n += 1
    return n


def previous_prime(n: Whole) -> Whole:
    """The last prime number below a given number."""
    within(n, 3, 10**6, "n")
    return next(m for m in range(n - 1, 1, -1) if _prime_factors(m) == [m])


def prime_factors(n: Whole) -> Ints:
    """List the prime factors of a number, repeated ones included."""
    return _prime_factors(n)


def largest_prime_factor(n: Whole) -> Whole:
    """The biggest prime that divides a number."""
    return _prime_factors(n)[-1]


def list_divisors(n: Whole) -> Ints:
    """List all divisors of a number in rising order."""
    within(n, 1, 10**5, "n")
    return [d for d in range(1, n + 1) if n % d == 0]


def count_divisors(n: Whole) -> Whole:
    """Count how many divisors a number has."""
    factors = _prime_factors(n)
    return math.prod(factors.count(p) + 1 for p in set(factors))


def sum_of_divisors(n: Whole) -> Whole:
    """Add up all divisors of a number, itself included."""
    within(n, 1, 10**5, "n")
    return sum(d for d in range(1, n + 1) if n % d == 0)


def euler_totient(n: Whole) -> Whole:
    """Count the numbers up to n that are coprime to n."""
    for p in set(_prime_factors(n)):
        n -= n // p
    return n


def are_coprime(a: Whole, b: Whole) -> Verdict:
    """Check whether two numbers share no divisor but one."""
    return "yes" if math.gcd(a, b) == 1 else "no"


def modular_inverse(a: Whole, m: Whole) -> Whole:
    """The inverse of a number under multiplication modulo m."""
    within(m, 2, 10**9, "m")
    return pow(a, -1, m)


def modular_power(a: Whole, n: Whole, m: int) -> Whole:
    """A power of a number, reduced modulo m."""
    within(n, 0, 10**9, "n")
    return pow(a, n, m)


def digit_sum(n: Whole) -> Whole:
    """Add up the decimal digits of a number."""
    return sum(int(digit) for digit in str(abs(n)))


def digit_product(n: Whole) -> Whole:
    """Multiply the decimal digits of a number together."""
    return math.prod(int(digit) for digit in str(abs(n)))


def digital_root(n: Whole) -> Whole:
    """Sum the digits of a number again and again until one digit remains."""
    return 1 + (abs(n) - 1) % 9 if n else 0


def reverse_digits(n: Whole) -> Whole:
    """Write the decimal digits of a number in reverse order."""
    return int(str(abs(n))[::-1])


def collatz_steps(n: Whole) -> Whole:
    """Count the Collatz steps from a number down to one."""
    within(n, 1, 10**6, "n")
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


def integer_square_root(n: Whole) -> Whole:
    """The whole part of the square root of a number."""
    return math.isqrt(n)


TOOLS = (
    WorldTool(
        function=greatest_common_divisor,
        draw={"a": whole(2, 999), "b": whole(2, 999)},
        needs=(
            "the [greatest common divisor] of {a} and {b}",
            "the [highest common factor] of {a} and {b}",
            "the [largest number dividing both] {a} and {b}",
        ),
        unseen=(
            "the [biggest shared divisor] of {a} and {b}",
            "the [greatest factor in common] for {a} and {b}",
        ),
    ),
    WorldTool(
        function=least_common_multiple,
        draw={"a": whole(2, 99), "b": whole(2, 99)},
        needs=(
            "the [least common multiple] of {a} and {b}",
            "the [smallest number divisible by both] {a} and {b}",
            "the [lowest common multiple] of {a} and {b}",
        ),
        unseen=(
            "the [first multiple shared by both numbers] {a} and {b}",
            "the [smallest shared multiple] for {a} and {b}",
        ),
    ),
    WorldTool(
        function=is_prime,
        draw={"n": whole(2, 9999)},
        needs=(
            "whether {n} [is a prime number]",
            "test {n} [for primality]",
            "whether {n} [is prime or composite]",
        ),
        unseen=(
            "whether {n} [counts as a prime]",
            "run a [primality check] on {n}",
        ),
    ),
    WorldTool(
        function=next_prime,
        draw={"n": whole(2, 9999)},
        needs=(
            "the [next prime] after {n}",
            "the [smallest prime larger than] {n}",
            "the [first prime number above] {n}",
        ),
        unseen=(
            "the [prime following] {n}",
            "which [prime comes right after] {n}",
        ),
    ),
    WorldTool(
        function=previous_prime,
        draw={"n": whole(5, 9999)},
        needs=(
            "the [previous prime] before {n}",
            "the [largest prime smaller than] {n}",
            "the [last prime number below] {n}",
        ),
        unseen=(
            "the [prime preceding] {n}",
            "which [prime comes right before] {n}",
        ),
    ),
    WorldTool(
        function=prime_factors,
        draw={"n": whole(4, 9999)},
        needs=(
            "the [prime factors] of {n}",
            "the [prime factorisation] of {n}",
            "break {n} [into prime factors]",
        ),
        unseen=(
            "the [decomposition into primes] of {n}",
            "which [primes multiply together] to make {n}",
        ),
    ),
    WorldTool(
        function=largest_prime_factor,
        draw={"n": whole(4, 9999)},
        needs=(
            "the [largest prime factor] of {n}",
            "the [biggest prime that divides] {n}",
            "the [greatest prime divisor] of {n}",
        ),
        unseen=(
            "the [highest prime among the factors] of {n}",
            "which [prime divisor is the biggest one] in {n}",
        ),
    ),
    WorldTool(
        function=list_divisors,
        draw={"n": whole(4, 800)},
        needs=(
            "the [list of divisors] of {n}",
            "list [all divisors] of {n}",
            "the [divisors dividing without remainder] into {n}",
        ),
        unseen=(
            "write out [every divisor in order] for {n}",
            "which [numbers are divisors] of {n}",
        ),
    ),
    WorldTool(
        function=count_divisors,
        draw={"n": whole(4, 9999)},
        needs=(
            "the [number of divisors] of {n}",
            "how [many divisors] {n} has",
            "count the [divisors of a number], here {n}",
        ),
        unseen=(
            "the [divisor count] of {n}",
            "the [tally of divisors] for {n}",
        ),
    ),
    WorldTool(
        function=sum_of_divisors,
        draw={"n": whole(4, 9999)},
        needs=(
            "the [sum of the divisors] of {n}",
            "add up [all the divisors] of {n} into a total",
            "the [total of all divisors] of {n}",
        ),
        unseen=(
            "the [divisors added together] for {n}",
            "the [divisor sum, sigma function], at {n}",
        ),
    ),
    WorldTool(
        function=euler_totient,
        draw={"n": whole(4, 9999)},
        needs=(
            "the [Euler totient] of {n}",
            "how [many smaller numbers are coprime to] {n}",
            "the [totient function] at {n}",
        ),
        unseen=(
            "the [count of numbers coprime to] {n}",
            "the [phi function of Euler] at {n}",
        ),
    ),
    WorldTool(
        function=are_coprime,
        draw={"a": whole(4, 999), "b": whole(4, 999)},
        needs=(
            "whether {a} and {b} [are coprime]",
            "whether {a} and {b} [share no common divisor]",
            "check {a} and {b} [for being coprime, without a shared divisor]",
        ),
        unseen=(
            "whether {a} and {b} [have no divisor in common but one]",
            "test if {a} and {b} [are mutually prime]",
        ),
    ),
    WorldTool(
        function=modular_inverse,
        draw={"a": whole(2, 300), "m": whole(5, 300)},
        needs=(
            "the [modular inverse] of {a} modulo {m}",
            "the [multiplicative inverse modulo] of {a} with modulus {m}",
            "the [inverse under multiplication with a modulus] for {a} and modulus {m}",
        ),
        unseen=(
            "which [factor gives one modulo], for {a} in arithmetic mod {m}, its inverse",
            "the [inverse in modular arithmetic] of {a} mod {m}",
        ),
    ),
    WorldTool(
        function=modular_power,
        draw={"a": whole(2, 99), "n": whole(2, 60), "m": whole(7, 99)},
        needs=(
            "the [modular power] with base {a}, exponent {n} and modulus {m}",
            "the [power reduced by a modulus] for base {a}, exponent {n}, modulus {m}",
            "the [modular exponentiation] of {a} to the {n} modulo {m}",
        ),
        unseen=(
            "the [remainder of a large power], base {a}, exponent {n}, modulus {m}",
            "the [exponentiation modulo a number] with {a} to the {n} taken mod {m}",
        ),
    ),
    WorldTool(
        function=digit_sum,
        draw={"n": whole(100, 99999)},
        needs=(
            "the [sum of the digits] of {n}",
            "the [digit sum] of {n}",
            "add up [the digits] of {n}",
        ),
        unseen=(
            "the [digits added together] for {n}",
            "the [total of the single digits] in {n}",
        ),
    ),
    WorldTool(
        function=digit_product,
        draw={"n": whole(100, 99999)},
        needs=(
            "the [product of the digits] of {n}",
            "the [digit product] of {n}",
            "multiply [the digits] of {n} with each other",
        ),
        unseen=(
            "the [digits multiplied together] for {n}",
            "multiply [all single digits of the number] {n}",
        ),
    ),
    WorldTool(
        function=digital_root,
        draw={"n": whole(100, 99999)},
        needs=(
            "the [digital root] of {n}",
            "the [repeated digit sum] of {n}",
            "add the digits of {n} [repeatedly until one digit is left]",
        ),
        unseen=(
            "the [single digit left after summing digits over and over] for {n}",
            "the [iterated digit sum down to one digit] of {n}",
        ),
    ),
    WorldTool(
        function=reverse_digits,
        draw={"n": whole(100, 99999)},
        needs=(
            "the [digits in reverse order] of {n}",
            "[reverse the digits] of {n}",
            "the [number read backwards], starting from {n}",
        ),
        unseen=(
            "the [digits written from last to first] of {n}",
            "flip the [order of the decimal digits] in {n}",
        ),
    ),
    WorldTool(
        function=collatz_steps,
        draw={"n": whole(2, 9999)},
        needs=(
            "the [number of Collatz steps] for {n}",
            "the [length of the Collatz sequence] from {n} to one",
            "how many [halve or triple plus one steps] take {n} to one",
        ),
        unseen=(
            "how long the [Collatz path] starting at {n} is",
            "the [3n+1 problem step count] for {n}",
        ),
    ),
    WorldTool(
        function=integer_square_root,
        draw={"n": whole(10, 99999)},
        needs=(
            "the [integer square root] of {n}",
            "the [square root rounded down] of {n}",
            "the [largest number whose square fits into] {n}",
        ),
        unseen=(
            "the [whole-number square root] of {n}",
            "the [square root without decimals] of {n}",
        ),
    ),
)
