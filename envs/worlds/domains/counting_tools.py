"""Combinatorics: how many ways there are, and the famous sequences that count them."""

import fractions
import itertools
import math
from collections import Counter

from envs.worlds.authoring import WorldTool, within
from envs.worlds.draws import ints, letters, whole, word
from envs.worlds.kinds import Fraction, Ints, Real, Text, Whole, Word

_MOST = 60  # of a sequence index: results stay short enough to read


def _index(n: int, most: int = _MOST) -> None:
    within(n, 0, most, "n")


def double_factorial(n: Whole) -> Whole:
    """The double factorial: the product of every second number down from n."""
    _index(n, 50)
    return math.prod(range(n, 0, -2))


def fixed_point_permutations(n: Whole, k: Whole) -> Whole:
    """Count the permutations of n things that leave exactly k in place."""
    _index(n, 30)
    _index(k, n)
    deranged = 1
    for i in range(1, n - k + 1):
        deranged = deranged * i + (-1) ** i
    return math.comb(n, k) * deranged


def factorial_digits(n: Whole) -> Whole:
    """Count the decimal digits of the factorial of n."""
    within(n, 0, 2000, "n")
    return len(str(math.factorial(n)))


def factorial_zeros(n: Whole) -> Whole:
    """Count the zeros at the end of the factorial of n."""
    zeros = 0
    while n >= 5:
        n //= 5
        zeros += n
    return zeros


def combinations(n: Whole, k: Whole) -> Whole:
    """Count the ways to choose k of n things, order ignored."""
    _index(n, 100)
    return math.comb(n, k)


def arrangements(n: Whole, k: Whole) -> Whole:
    """Count the ordered selections of k out of n things, the permutations."""
    _index(n, 40)
    return math.perm(n, k)


def multisets(n: Whole, k: Whole) -> Whole:
    """Count the choices of k from n kinds when repetition is allowed."""
    within(n, 1, 60, "n")
    return math.comb(n + k - 1, k)


def multinomial(parts: Ints) -> Whole:
    """Count the ways to split things into labelled groups of given sizes."""
    within(min(parts, default=-1), 0, 60, "each part")
    return math.factorial(sum(parts)) // math.prod(math.factorial(part) for part in parts)


def word_arrangements(text: Word) -> Whole:
    """Count the different ways to arrange the letters of a word."""
    within(len(text), 1, 30, "length")
    ways = math.factorial(len(text))
    for repeats in Counter(text).values():
        ways //= math.factorial(repeats)
    return ways


def next_permutation(text: Text) -> Text:
    """The next arrangement of the characters in dictionary order."""
    chars = list(text)
    i = max((i for i in range(len(chars) - 1) if chars[i] < chars[i + 1]), default=-1)
    if i < 0:
        return "".join(sorted(chars))
    j = max(j for j in range(i + 1, len(chars)) if chars[j] > chars[i])
    chars[i], chars[j] = chars[j], chars[i]
    return "".join(chars[: i + 1] + chars[:i:-1])


def count_inversions(values: Ints) -> Whole:
    """Count the pairs of a list that stand in the wrong order."""
    return sum(a > b for a, b in itertools.combinations(values, 2))


def fibonacci(n: Whole) -> Whole:
    """The n-th Fibonacci number, a sequence beginning zero, one."""
    _index(n, 80)
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


def lucas_number(n: Whole) -> Whole:
    """The n-th Lucas number, a sequence beginning two, one."""
    _index(n, 79)
    return 2 if n == 0 else fibonacci(n - 1) + fibonacci(n + 1)


def tribonacci(n: Whole) -> Whole:
    """The n-th tribonacci number: each the sum of the last three."""
    _index(n)
    a, b, c = 0, 0, 1
    for _ in range(n):
        a, b, c = b, c, a + b + c
    return a


def catalan_number(n: Whole) -> Whole:
    """The n-th Catalan number, counting balanced brackets."""
    _index(n)
    return math.comb(2 * n, n) // (n + 1)


def stirling_number(n: Whole, k: Whole) -> Whole:
    """The Stirling number: ways to split n things into k unlabelled groups."""
    _index(n, 30)
    _index(k, 30)
    return sum((-1) ** i * math.comb(k, i) * (k - i) ** n for i in range(k + 1)) // math.factorial(k)


def integer_partitions(n: Whole) -> Whole:
    """Count the ways to write a number as a sum of positive numbers."""
    _index(n, 400)
    ways = [1] + [0] * n
    for part in range(1, n + 1):
        for total in range(part, n + 1):
            ways[total] += ways[total - part]
    return ways[n]


def triangular_number(n: Whole) -> Whole:
    """The n-th triangular number: the sum of one to n."""
    within(n, 0, 10**6, "n")
    return n * (n + 1) // 2


def tetrahedral_number(n: Whole) -> Whole:
    """The n-th tetrahedral number: balls in a triangular pyramid."""
    within(n, 0, 10**4, "n")
    return n * (n + 1) * (n + 2) // 6


def pentagonal_number(n: Whole) -> Whole:
    """The n-th pentagonal number: dots in nested pentagons."""
    within(n, 0, 10**6, "n")
    return (3 * n * n - n) // 2


def square_pyramid_number(n: Whole) -> Whole:
    """The sum of the first n squares: balls in a square pyramid."""
    within(n, 0, 10**4, "n")
    return sum(i * i for i in range(n + 1))


def harmonic_number(n: Whole) -> Real:
    """The n-th harmonic number: one plus a half plus a third and on."""
    within(n, 1, 10**4, "n")
    return math.fsum(1 / i for i in range(1, n + 1))


def handshakes(n: Whole) -> Whole:
    """Count the handshakes when n people all greet each other."""
    within(n, 0, 10**6, "n")
    return sum(range(n)) if n < 1000 else n * (n - 1) // 2


def grid_paths(rows: Whole, columns: Whole) -> Whole:
    """Count the shortest paths across a grid of streets."""
    within(rows, 0, 40, "rows")
    within(columns, 0, 40, "columns")
    return math.comb(rows + columns, rows)


def josephus_survivor(n: Whole, step: int) -> Whole:
    """The surviving place when every step-th of n people in a circle leaves."""
    within(n, 1, 10**4, "n")
    within(step, 1, 10**4, "step")
    place = 0
    for size in range(2, n + 1):
        place = (place + step) % size
    return place + 1


def dice_ways(dice: Whole, total: Whole) -> Whole:
    """Count the ways in which several dice show a total."""
    within(dice, 1, 12, "dice")
    ways = Counter({0: 1})
    for _ in range(dice):
        ways = Counter({t: sum(ways[t - face] for face in range(1, 7)) for t in range(max(ways) + 7)})
    return int(ways[total])


def birthday_probability(n: Whole) -> Real:
    """The probability in percent that two of n people share a birthday."""
    within(n, 1, 365, "n")
    return 100 * (1 - math.prod((365 - i) / 365 for i in range(n)))


def heads_probability(n: Whole, k: Whole) -> Fraction:
    """The probability, as a fraction, of exactly k heads in n coin tosses."""
    _index(n, 30)
    value = fractions.Fraction(math.comb(n, k), 2**n)
    return f"{value.numerator}/{value.denominator}"


TOOLS = (
    WorldTool(
        function=double_factorial,
        draw={"n": whole(3, 50)},
        needs=(
            "the [double factorial] of {n}",
            "the [product of every second number] down from {n}",
            "the [double factorial function] at {n}",
        ),
        unseen=(
            "multiply [every second number of a factorial] going down from {n}",
            "the [semifactorial] of {n}",
        ),
    ),
    WorldTool(
        function=multisets,
        draw={"n": whole(2, 20), "k": whole(2, 12)},
        needs=(
            "how [many choices with repetition] of {k} from {n} kinds exist",
            "the [combinations with repetition] for {k} out of {n}",
            "the [number of multisets] with {k} members from {n} kinds",
        ),
        unseen=(
            "how [many ways to pick when repeats are allowed], {k} scoops from {n} flavours",
            "the [choices when repetition is fine], {k} out of {n}",
        ),
    ),
    WorldTool(
        function=combinations,
        draw={"n": whole(5, 40), "k": whole(2, 12)},
        needs=(
            "how [many ways to choose] {k} things out of {n} exist",
            "the [number of combinations] of {k} from {n}",
            "the [binomial coefficient] for {n} over {k}",
        ),
        unseen=(
            "how [many ways to select a team, order ignored,] of {k} there are among {n} people",
            "the [ways to pick a group when order is ignored], {k} out of {n}",
        ),
    ),
    WorldTool(
        function=arrangements,
        draw={"n": whole(5, 30), "k": whole(2, 7)},
        needs=(
            "how [many ordered selections] of {k} out of {n} exist",
            "the [number of permutations] of {k} from {n}",
            "the [arrangements in order] of {k} things out of {n}",
        ),
        unseen=(
            "how [many ordered rankings, permutations,] of {k} winners among {n} runners exist",
            "the [ordered choices of things] for {k} out of {n}",
        ),
    ),
    WorldTool(
        function=multinomial,
        draw={"parts": ints(1, 6, least=3, most=4)},
        needs=(
            "the [multinomial coefficient] of {parts}",
            "how [many ways to split into labelled groups] of sizes {parts} exist",
            "the [multinomial] for group sizes {parts}",
        ),
        unseen=(
            "how [many divisions into teams of fixed sizes] exist for {parts}",
            "the [ways to share things among named groups] sized {parts}",
        ),
    ),
    WorldTool(
        function=word_arrangements,
        draw={"text": word()},
        needs=(
            "the [number of ways to arrange the letters] of {text}",
            "how [many different letter arrangements] {text} has",
            "the [number of different arrangements of a word] for {text}",
        ),
        unseen=(
            "how [many ways a word can be shuffled], for {text}",
            "the [count of distinct letter permutations] of {text}",
        ),
    ),
    WorldTool(
        function=next_permutation,
        draw={"text": letters("abcdefgh", least=4, most=7)},
        needs=(
            "the [next arrangement in dictionary order] after {text}",
            "the [next permutation] of {text}",
            "the [following permutation of the characters] in {text}",
        ),
        unseen=(
            "the [successor in the ordering of permutations] of {text}",
            "which [rearrangement comes next] after {text}",
        ),
    ),
    WorldTool(
        function=count_inversions,
        draw={"values": ints(1, 60, least=4, most=6)},
        needs=(
            "the [number of inversions] in {values}",
            "how [many pairs are in the wrong order] in {values}",
            "count the [pairs out of order] of {values}",
        ),
        unseen=(
            "the [inversion count] of {values}",
            "how [many pairs would need swapping] in {values}",
        ),
    ),
    WorldTool(
        function=fibonacci,
        draw={"n": whole(3, 80)},
        needs=(
            "the [Fibonacci number] at index {n}",
            "the [Fibonacci sequence] at place {n}",
            "the [n-th Fibonacci] for n = {n}",
        ),
        unseen=(
            "the [rabbit-pair sequence of Fibonacci] at {n}",
            "the [entry in Fibonacci's numbers] with index {n}",
        ),
    ),
    WorldTool(
        function=lucas_number,
        draw={"n": whole(3, 79)},
        needs=(
            "the [Lucas number] at index {n}",
            "the [Lucas sequence] at place {n}",
            "the [n-th Lucas] number for n = {n}",
        ),
        unseen=(
            "the [sequence 2, 1, 3, 4, 7 of Lucas] at {n}",
            "the [companion of the Fibonacci numbers by Lucas] at {n}",
        ),
    ),
    WorldTool(
        function=tribonacci,
        draw={"n": whole(4, 60)},
        needs=(
            "the [tribonacci number] at index {n}",
            "the [tribonacci sequence] at place {n}",
            "the [sum-of-the-last-three sequence] at {n}",
        ),
        unseen=(
            "the [three-term Fibonacci variant] at {n}",
            "the [sequence adding three predecessors] at place {n}",
        ),
    ),
    WorldTool(
        function=catalan_number,
        draw={"n": whole(3, 60)},
        needs=(
            "the [Catalan number] at index {n}",
            "how [many balanced bracket strings] with {n} pairs exist",
            "the [n-th Catalan] number for n = {n}",
        ),
        unseen=(
            "how [many correct ways to nest parentheses] exist for {n} pairs",
            "the [sequence of Catalan] at {n}",
        ),
    ),
    WorldTool(
        function=integer_partitions,
        draw={"n": whole(4, 220)},
        needs=(
            "the [number of partitions] of {n}",
            "how [many ways to write as a sum] exist for {n}",
            "the [integer partitions count] for {n}",
        ),
        unseen=(
            "how [many ways to write a number as positive addends] exist for {n}",
            "the [partition function] at {n}",
        ),
    ),
    WorldTool(
        function=stirling_number,
        draw={"n": whole(4, 25), "k": whole(2, 14)},
        needs=(
            "the [Stirling number] for {n} things in {k} groups",
            "how [many ways to split into unlabelled groups], {n} things into {k}",
            "the [Stirling partition count] of {n} into {k} groups",
        ),
        unseen=(
            "how [many ways to sort things into unlabelled boxes or groups], {n} into {k}",
            "the [second-kind Stirling value] at {n} and {k}",
        ),
    ),
    WorldTool(
        function=triangular_number,
        draw={"n": whole(3, 999)},
        needs=(
            "the [triangular number] at index {n}",
            "the [sum of one to n] for n = {n}",
            "the [n-th triangular number] for n = {n}",
        ),
        unseen=(
            "how many [dots a triangular number has] with {n} rows",
            "the [triangle of dots, summed row by row,] with {n} rows",
        ),
    ),
    WorldTool(
        function=tetrahedral_number,
        draw={"n": whole(3, 400)},
        needs=(
            "the [tetrahedral number] at index {n}",
            "how [many balls are in a triangular pyramid] of {n} layers",
            "the [n-th tetrahedral number] for n = {n}",
        ),
        unseen=(
            "the [cannonballs stacked on a triangular base] in {n} layers",
            "the [three-sided pyramid count] with {n} layers",
        ),
    ),
    WorldTool(
        function=pentagonal_number,
        draw={"n": whole(3, 400)},
        needs=(
            "the [pentagonal number] at index {n}",
            "how [many dots nested pentagons have] at size {n}",
            "the [n-th pentagonal number] for n = {n}",
        ),
        unseen=(
            "the [figurate number of five-sided shapes] at {n}",
            "the [dots in a pentagon pattern] of size {n}",
        ),
    ),
    WorldTool(
        function=square_pyramid_number,
        draw={"n": whole(3, 400)},
        needs=(
            "the [sum of the first squares] up to {n}",
            "how [many balls are in a square pyramid] of {n} layers",
            "the [square pyramidal number] at index {n}",
        ),
        unseen=(
            "add [the first few square numbers], {n} in all",
            "the [cannonballs stacked on a square base] in {n} layers",
        ),
    ),
    WorldTool(
        function=harmonic_number,
        draw={"n": whole(3, 900)},
        needs=(
            "the [harmonic number] at index {n}",
            "the [harmonic series sum] up to {n}",
            "the [n-th harmonic number] for n = {n}",
        ),
        unseen=(
            "add [one, a half, a third and so on] down to one over {n}",
            "the [partial sum of the harmonic series] with {n} terms",
        ),
    ),
    WorldTool(
        function=handshakes,
        draw={"n": whole(3, 900)},
        needs=(
            "the [number of handshakes] among {n} people",
            "how [many handshakes] happen between {n} guests",
            "the [handshakes when all greet each other] with {n} people",
        ),
        unseen=(
            "how [often hands are shaken] at a party of {n}",
            "the [clinks when everybody toasts everybody] among {n}",
        ),
    ),
    WorldTool(
        function=grid_paths,
        draw={"rows": whole(2, 30), "columns": whole(2, 30)},
        needs=(
            "the [number of shortest paths in a grid] of {rows} by {columns}",
            "how [many shortest street routes] cross {rows} by {columns} blocks",
            "the [grid paths] over {rows} rows and {columns} columns",
        ),
        unseen=(
            "how [many lattice walks, only right and up,] cross {rows} by {columns}",
            "the [ways for a taxi across city blocks] of {rows} by {columns}",
        ),
    ),
    WorldTool(
        function=josephus_survivor,
        draw={"n": whole(5, 200), "step": whole(2, 9)},
        needs=(
            "the [Josephus survivor] among {n} people with step {step}",
            "which [place survives when people in a circle leave], {n} people, step {step}",
            "the [surviving place in the Josephus circle] of {n} counting by {step}",
        ),
        unseen=(
            "which [place is safe in a counting-out circle] of {n} with count {step}",
            "the [Josephus problem] for {n} men and every {step}th",
        ),
    ),
    WorldTool(
        function=dice_ways,
        draw={"dice": whole(2, 8), "total": whole(6, 40)},
        needs=(
            "the [number of ways for dice to show a total] of {total} with {dice} dice",
            "how [many dice throws give a total] of {total} using {dice} dice",
            "the [dice outcomes with a sum] of {total} over {dice} dice",
        ),
        unseen=(
            "how [many rolls add up to a target], {total} with {dice} cubes",
            "the [ways to roll a score], {total} on {dice} dice",
        ),
    ),
    WorldTool(
        function=birthday_probability,
        draw={"n": whole(2, 120)},
        needs=(
            "the [probability of a shared birthday] among {n} people",
            "how [likely two people share a birthday] in a group of {n}",
            "the [birthday paradox chance] with {n} people",
        ),
        unseen=(
            "the [odds that two were born on the same day] among {n}",
            "the [birthday coincidence in percent] for {n} guests",
        ),
    ),
    WorldTool(
        function=heads_probability,
        draw={"n": whole(3, 30), "k": whole(1, 20)},
        needs=(
            "the [probability of heads] exactly {k} times in {n} tosses",
            "how [likely coin tosses show heads], {k} times in {n} tosses",
            "the [coin toss probability] for {k} heads in {n} throws",
        ),
        unseen=(
            "the [chance when flipping a coin] of {k} heads out of {n}",
            "the [odds of heads on a fair penny], {k} of {n} flips",
        ),
    ),
    WorldTool(
        function=fixed_point_permutations,
        draw={"n": whole(5, 30), "k": whole(0, 9)},
        needs=(
            "how [many permutations leave some things in place], exactly {k} of {n}",
            "the [permutations with fixed points], {k} of them among {n} things",
            "the [number of partial derangements] of {n} things with {k} in place",
        ),
        unseen=(
            "how [many permutations keep certain things in place], exactly {k} of {n}",
            "the [permutations with exactly some things unmoved], {k} out of {n}",
        ),
    ),
    WorldTool(
        function=factorial_digits,
        draw={"n": whole(10, 999)},
        needs=(
            "the [number of digits of the factorial] of {n}",
            "how [many digits a factorial has], for {n}",
            "the [digit length of the factorial] of {n}",
        ),
        unseen=(
            "how [long a factorial is when written out], for {n}",
            "the [digit count of a factorial] with n = {n}",
        ),
    ),
    WorldTool(
        function=factorial_zeros,
        draw={"n": whole(10, 9999)},
        needs=(
            "the [number of zeros at the end of the factorial] of {n}",
            "how [many zeros a factorial ends in], for {n}",
            "the [trailing zeros of the factorial] of {n}",
        ),
        unseen=(
            "how [many zeros stand at a factorial's end], for {n}",
            "the [closing zeros of n factorial] when n is {n}",
        ),
    ),
)
