"""Lists of whole numbers: ordering, picking, cutting and accumulating."""

import bisect
import itertools
import math

from envs.worlds.authoring import WorldTool, filled, within
from envs.worlds.draws import ints, whole
from envs.worlds.kinds import Ints, Verdict, Whole

_LIST = ints(1, 99, least=4, most=5)


def sort_ascending(values: Ints) -> Ints:
    """Sort a list from smallest to largest."""
    return sorted(values)


def sort_descending(values: Ints) -> Ints:
    """Sort a list from largest to smallest."""
    return sorted(values, reverse=True)


def reverse_list(values: Ints) -> Ints:
    """Put the items of a list in the opposite order."""
    return values[::-1]


def maximum(values: Ints) -> Whole:
    """The largest number of a list."""
    return max(values)


def minimum(values: Ints) -> Whole:
    """The smallest number of a list."""
    return min(values)


def second_largest(values: Ints) -> Whole:
    """The runner-up: the second-largest number of a list."""
    filled(values, least=2)
    return sorted(values)[-2]


def sum_of_list(values: Ints) -> Whole:
    """Add up all numbers of a list."""
    return sum(values)


def product_of_list(values: Ints) -> Whole:
    """Multiply all numbers of a list."""
    return math.prod(values)


def sum_of_squares(values: Ints) -> Whole:
    """Square every number of a list and add up the squares."""
    return sum(v * v for v in values)


def alternating_sum(values: Ints) -> Whole:
    """Add and subtract the numbers of a list in turn."""
    return sum(values[::2]) - sum(values[1::2])


def running_total(values: Ints) -> Ints:
    """The cumulative sums of a list."""
    return list(itertools.accumulate(values))


def running_maximum(values: Ints) -> Ints:
    """The record so far at every place of a list."""
    return list(itertools.accumulate(values, max))


def consecutive_differences(values: Ints) -> Ints:
    """The differences between neighbouring numbers of a list."""
    return [b - a for a, b in itertools.pairwise(values)]


def position_of_maximum(values: Ints) -> Whole:
    """The place, counted from one, of the largest number in a list."""
    return values.index(max(values)) + 1


def position_of_value(values: Ints, item: int) -> Whole:
    """The place, counted from one, of a given number in a list."""
    return values.index(item) + 1


def count_value(values: Ints, item: int) -> Whole:
    """Count how often a number occurs in a list."""
    return values.count(item)


def count_above(values: Ints, limit: Whole) -> Whole:
    """Count the numbers of a list greater than a limit."""
    return sum(v > limit for v in values)


def even_numbers(values: Ints) -> Ints:
    """Keep only the even numbers of a list."""
    return [v for v in values if v % 2 == 0]


def odd_numbers(values: Ints) -> Ints:
    """Keep only the odd numbers of a list."""
    return list(filter(lambda v: v % 2, values))


def rotate_list(values: Ints, steps: int) -> Ints:
    """Move the first items of a list to its end."""
    filled(values)
    steps %= len(values)
    return values[steps:] + values[:steps]


def first_items(values: Ints, count: int) -> Ints:
    """Keep the first items of a list, as many as asked."""
    within(count, 1, 100, "count")
    return values[:count]


def last_items(values: Ints, count: int) -> Ints:
    """Keep the last items of a list, as many as asked."""
    within(count, 1, 100, "count")
    return values[-count:]


def every_other_item(values: Ints) -> Ints:
    """Keep every second item of a list, starting with the first."""
    return values[::2]


def smallest_items(values: Ints, count: int) -> Ints:
    """The lowest numbers of a list, as many as asked, sorted."""
    within(count, 1, 100, "count")
    return sorted(values)[:count]


def append_item(values: Ints, item: Whole) -> Ints:
    """Put a number at the end of a list."""
    return [*values, item]


def insert_sorted(values: Ints, item: Whole) -> Ints:
    """Insert a number into a list so that it stays in sorted order."""
    ordered = sorted(values)
    bisect.insort(ordered, item)
    return ordered


def remove_value(values: Ints, item: int) -> Ints:
    """Drop every copy of a number from a list."""
    return [v for v in values if v != item]


def interleave_lists(first: Ints, second: Ints) -> Ints:
    """Merge two lists by taking their items in turn."""
    return [v for pair in zip(first, second, strict=True) for v in pair]


def concatenate_lists(first: Ints, second: Ints) -> Ints:
    """Join two lists end to end."""
    return first + second


def add_lists(first: Ints, second: Ints) -> Ints:
    """Add two lists of the same length item by item."""
    return [a + b for a, b in zip(first, second, strict=True)]


def dot_product(first: Ints, second: Ints) -> Whole:
    """The dot product of two vectors given as lists."""
    return sum(a * b for a, b in zip(first, second, strict=True))


def is_sorted(values: Ints) -> Verdict:
    """Check whether a list is already in rising order."""
    return "yes" if all(a <= b for a, b in itertools.pairwise(values)) else "no"


TOOLS = (
    WorldTool(
        function=sort_ascending,
        draw={"values": _LIST},
        needs=(
            "[sort from smallest to largest] {values}",
            "the [ascending order] of {values}",
            "put {values} [in rising order]",
        ),
        unseen=(
            "arrange {values} [in order of increasing size]",
            "arrange {values} [sorted by rising size]",
        ),
    ),
    WorldTool(
        function=sort_descending,
        draw={"values": _LIST},
        needs=(
            "[sort from largest to smallest] {values}",
            "the [descending order] of {values}",
            "put {values} [in falling order]",
        ),
        unseen=(
            "arrange {values} [in order of decreasing size]",
            "arrange {values} [sorted by falling size]",
        ),
    ),
    WorldTool(
        function=reverse_list,
        draw={"values": _LIST},
        needs=(
            "[reverse the list] {values}",
            "the [list in the opposite order] to {values}",
            "read {values} [from the last item to the first]",
        ),
        unseen=(
            "turn {values} [back to front as a list]",
            "the [items backwards] of {values}",
        ),
    ),
    WorldTool(
        function=maximum,
        draw={"values": ints(-500, 999)},
        needs=(
            "the [largest number] in {values}",
            "the [maximum] of {values}",
            "which [number of the list is the biggest] in {values}",
        ),
        unseen=(
            "the [highest number of the list] {values}",
            "the [greatest number found in a list] such as {values}",
        ),
    ),
    WorldTool(
        function=minimum,
        draw={"values": ints(-500, 999)},
        needs=(
            "the [smallest number] in {values}",
            "the [minimum] of {values}",
            "which [number of the list is the least] in {values}",
        ),
        unseen=(
            "the [lowest number of the list] {values}",
            "the [least number found in a list] such as {values}",
        ),
    ),
    WorldTool(
        function=second_largest,
        draw={"values": _LIST},
        needs=(
            "the [second-largest number] in {values}",
            "the [runner-up] among {values}",
            "which [number comes second in size] in {values}",
        ),
        unseen=(
            "the [next to the highest number] in {values}",
            "which [number is only beaten by the biggest] in {values}",
        ),
    ),
    WorldTool(
        function=sum_of_list,
        draw={"values": ints(1, 999)},
        needs=(
            "the [sum of the list] {values}",
            "[add up all numbers] in {values}",
            "the [total of the numbers] {values}",
        ),
        unseen=(
            "the [addition of all the list's numbers] for {values}",
            "the [grand total of the list] {values}",
        ),
    ),
    WorldTool(
        function=product_of_list,
        draw={"values": ints(2, 30, most=4)},
        needs=(
            "the [product of the list] {values}",
            "[multiply all numbers] in {values}",
            "the [product of the numbers] {values}",
        ),
        unseen=(
            "the [multiplication of all the list's numbers] for {values}",
            "the [product taken over a whole list] for {values}",
        ),
    ),
    WorldTool(
        function=sum_of_squares,
        draw={"values": ints(1, 30)},
        needs=(
            "the [sum of squares] of {values}",
            "[square every number and add up] {values}",
            "the [total of the squared numbers] in {values}",
        ),
        unseen=(
            "the [squares added together] for {values}",
            "how much [the squared entries sum to] in {values}",
        ),
    ),
    WorldTool(
        function=alternating_sum,
        draw={"values": _LIST},
        needs=(
            "the [alternating sum] of {values}",
            "[add and subtract in turn] {values}",
            "the [sum with alternating signs] over {values}",
        ),
        unseen=(
            "the [plus-minus-plus total] of {values}",
            "combine {values} [by adding and subtracting alternately]",
        ),
    ),
    WorldTool(
        function=running_total,
        draw={"values": _LIST},
        needs=(
            "the [running total] of {values}",
            "the [cumulative sums] of {values}",
            "the [partial sums of the list] {values}",
        ),
        unseen=(
            "the [sum so far at each place] in {values}",
            "[accumulate the numbers] of {values}",
        ),
    ),
    WorldTool(
        function=running_maximum,
        draw={"values": _LIST},
        needs=(
            "the [running maximum] of {values}",
            "the [record so far] in {values}",
            "the [cumulative maximum] over {values}",
        ),
        unseen=(
            "the [record value so far at each position] in {values}",
            "the [best so far at every step] of {values}",
        ),
    ),
    WorldTool(
        function=consecutive_differences,
        draw={"values": _LIST},
        needs=(
            "the [differences between neighbours] in {values}",
            "the [consecutive differences] of {values}",
            "the [steps from each number to the next] in {values}",
        ),
        unseen=(
            "the [difference of each number from its neighbour] in {values}",
            "the [gaps between adjacent numbers] in {values}",
        ),
    ),
    WorldTool(
        function=position_of_maximum,
        draw={"values": _LIST},
        needs=(
            "the [position of the largest number] in {values}",
            "where [the maximum stands] in {values}",
            "the [place of the biggest item] in {values}",
        ),
        unseen=(
            "which [index the highest value has] in {values}",
            "where to find [the largest number's place] in {values}",
        ),
    ),
    WorldTool(
        function=position_of_value,
        draw={"values": ints(1, 9, least=4, most=5), "item": whole(1, 9)},
        needs=(
            "the [position of a number in a list], {item} in {values}",
            "where [a given number stands in a list], {item} in {values}",
            "the [place of an item], {item}, within {values}",
        ),
        unseen=(
            "the [index at which a number is found], {item} in {values}",
            "how [far into the list a value comes], {item} in {values}",
        ),
    ),
    WorldTool(
        function=count_value,
        draw={"values": ints(1, 5, least=5, most=7), "item": whole(1, 5)},
        needs=(
            "how [often a number occurs in a list], {item} in {values}",
            "the [number of copies of an item], {item} in {values}",
            "count the [occurrences of a number in a list], {item}, in {values}",
        ),
        unseen=(
            "how [many times a value appears in a list], {item} in {values}",
            "the [frequency of a list entry], {item} in {values}",
        ),
    ),
    WorldTool(
        function=count_above,
        draw={"values": _LIST, "limit": whole(10, 80)},
        needs=(
            "how [many numbers exceed a limit] of {limit} in {values}",
            "count the [numbers greater than a limit], {limit}, in {values}",
            "the [number of items above] {limit} in {values}",
        ),
        unseen=(
            "how [many entries are over a threshold], {limit}, in {values}",
            "the [count of values beyond a bound] of {limit} in {values}",
        ),
    ),
    WorldTool(
        function=even_numbers,
        draw={"values": _LIST},
        needs=(
            "the [even numbers] in {values}",
            "[keep only even numbers] of {values}",
            "which [numbers are even] in {values}",
        ),
        unseen=(
            "select [just the even ones of a list] like {values}",
            "[filter out all but the evens] in {values}",
        ),
    ),
    WorldTool(
        function=odd_numbers,
        draw={"values": _LIST},
        needs=(
            "the [odd numbers] in {values}",
            "[keep only odd numbers] of {values}",
            "which [numbers are odd] in {values}",
        ),
        unseen=(
            "the [entries not divisible by two, odd,] in {values}",
            "select [just the odd ones of a list] like {values}",
        ),
    ),
    WorldTool(
        function=rotate_list,
        draw={"values": _LIST, "steps": whole(1, 3)},
        needs=(
            "[rotate the list] {values} by {steps}",
            "[move the first items to the end] of {values}, {steps} of them",
            "the [cyclic rotation] of {values} by {steps} places",
        ),
        unseen=(
            "[shift the items around in a circle], {steps} places, in {values}",
            "send [the first entries of a list to its end], {steps} of {values}",
        ),
    ),
    WorldTool(
        function=first_items,
        draw={"values": ints(1, 99, least=5, most=6), "count": whole(2, 4)},
        needs=(
            "the [first items of the list] {values}, {count} of them",
            "[keep the first items] of {values}, {count} in number",
            "the [initial items of the list] {values}, {count} in all",
        ),
        unseen=(
            "the [leading entries of a list] such as {values}, {count} of them",
            "take {count} [from the front of the list] {values}",
        ),
    ),
    WorldTool(
        function=last_items,
        draw={"values": ints(1, 99, least=5, most=6), "count": whole(2, 4)},
        needs=(
            "the [last items of the list] {values}, {count} of them",
            "[keep the last items] of {values}, {count} in number",
            "the [tail of the list] {values} with {count} items",
        ),
        unseen=(
            "the [closing entries of a list] such as {values}, {count} of them",
            "take {count} [from the back of the list] {values}",
        ),
    ),
    WorldTool(
        function=every_other_item,
        draw={"values": ints(1, 99, least=5, most=6)},
        needs=(
            "pick [every other item] of {values}",
            "the [list without each second item] of {values}",
            "[keep every second item] of {values}",
        ),
        unseen=(
            "[skip alternate entries] in {values}",
            "the [items at odd places of a list] in {values}",
        ),
    ),
    WorldTool(
        function=smallest_items,
        draw={"values": ints(1, 99, least=5, most=6), "count": whole(2, 3)},
        needs=(
            "the [lowest numbers] of {values}, {count} of them",
            "the [smallest few items] in {values}, {count} in number",
            "pick [the lowest few] from {values}, {count} in all",
        ),
        unseen=(
            "the [bottom few numbers of a list], {count} of {values}",
            "select {count} [least numbers] out of {values}",
        ),
    ),
    WorldTool(
        function=append_item,
        draw={"values": ints(1, 99), "item": whole(1, 99)},
        needs=(
            "[put a number at the end of a list], {item} onto {values}",
            "[append to the list] {values} the item {item}",
            "the [list with a number added at the end], {values} and {item}",
        ),
        unseen=(
            "[attach a further entry to the tail], {item} to {values}",
            "extend {values} [by one more item], {item}",
        ),
    ),
    WorldTool(
        function=insert_sorted,
        draw={"values": ints(1, 99), "item": whole(1, 99)},
        needs=(
            "[insert in sorted order] {item} into {values}",
            "[put a number into its place in a sorted list], {item} into {values}",
            "the [sorted list after inserting] {item} into {values}",
        ),
        unseen=(
            "add {item} to {values} [keeping the list sorted]",
            "[slot a new number into an ordered list], {item} into {values}",
        ),
    ),
    WorldTool(
        function=remove_value,
        draw={"values": ints(1, 6, least=5, most=7), "item": whole(1, 6)},
        needs=(
            "[remove a number from a list], {item} out of {values}",
            "[drop every copy of a number], {item}, from {values}",
            "the [list without a given number], {values} less {item}",
        ),
        unseen=(
            "[take out all entries equal to a value], {item}, in {values}",
            "[delete a number wherever it occurs], {item}, from {values}",
        ),
    ),
    WorldTool(
        function=interleave_lists,
        draw={"first": ints(1, 99, least=3, most=3), "second": ints(1, 99, least=3, most=3)},
        needs=(
            "[interleave the lists] {first} and {second}",
            "[merge two lists in turn], {first} and {second}",
            "the [items taken alternately from two lists], {first} and {second}",
        ),
        unseen=(
            "[shuffle two lists together like a zip], {first} with {second}",
            "[weave one list into another], {first} and {second}",
        ),
    ),
    WorldTool(
        function=concatenate_lists,
        draw={"first": ints(1, 99, most=4), "second": ints(1, 99, least=2, most=3)},
        needs=(
            "[join the lists end to end] {first} and {second}",
            "the [concatenation] of {first} and {second}",
            "[append one list to another], {second} to {first}",
        ),
        unseen=(
            "[chain two lists into one long list], {first} and {second}",
            "[glue one list behind another], {first} then {second}",
        ),
    ),
    WorldTool(
        function=add_lists,
        draw={"first": ints(1, 99, least=3, most=3), "second": ints(1, 99, least=3, most=3)},
        needs=(
            "[add the lists item by item] {first} and {second}",
            "the [item-by-item sum of two lists], {first} and {second}",
            "[add two equally long lists], {first} and {second}",
        ),
        unseen=(
            "the [pairwise additions of two lists], {first} with {second}",
            "add {first} and {second} [as lists, item with item]",
        ),
    ),
    WorldTool(
        function=dot_product,
        draw={"first": ints(1, 40, least=3, most=3), "second": ints(1, 40, least=3, most=3)},
        needs=(
            "the [dot product] of {first} and {second}",
            "the [scalar product of two vectors], {first} and {second}",
            "the [inner product] of {first} and {second}",
        ),
        unseen=(
            "the [product of two vectors as a number] for {first} and {second}",
            "the [vectors' inner product] of {first} with {second}",
        ),
    ),
    WorldTool(
        function=is_sorted,
        draw={"values": ints(1, 60, least=2, most=4)},
        needs=(
            "whether {values} [is already sorted]",
            "whether {values} [is in rising order]",
            "check {values} [for being sorted]",
        ),
        unseen=(
            "whether {values} [never goes down from item to item]",
            "whether [a list is in order already], {values}",
        ),
    ),
)
