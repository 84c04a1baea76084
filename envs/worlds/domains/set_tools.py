"""Collections without order: what two of them share, what is missing, what comes twice."""

import itertools
from collections import Counter

from envs.worlds.authoring import WorldTool, filled, within
from envs.worlds.draws import ints, repeating_ints, repeating_words, some_of, whole, words
from envs.worlds.kinds import Ints, Real, Verdict, Whole, Word, Words

_SMALL = ints(1, 12, least=4, most=5)


def set_union(first: Ints, second: Ints) -> Ints:
    """All numbers that occur in either of two sets."""
    return sorted({*first, *second})


def set_intersection(first: Ints, second: Ints) -> Ints:
    """The numbers that two sets have in common."""
    return sorted(set(first) & set(second))


def set_difference(first: Ints, second: Ints) -> Ints:
    """The numbers of the first set that the second lacks."""
    return sorted(set(first) - set(second))


def symmetric_difference(first: Ints, second: Ints) -> Ints:
    """The numbers that are in exactly one of two sets."""
    return sorted(set(first) ^ set(second))


def is_subset(first: Ints, second: Ints) -> Verdict:
    """Check whether every number of a set is in another set."""
    return "yes" if set(first) <= set(second) else "no"


def are_disjoint(first: Ints, second: Ints) -> Verdict:
    """Check whether two sets have nothing in common."""
    return "yes" if set(first).isdisjoint(second) else "no"


def are_equal_sets(first: Ints, second: Ints) -> Verdict:
    """Check whether two lists hold the same members in any order."""
    return "yes" if set(first) == set(second) else "no"


def remove_duplicates(values: Ints) -> Ints:
    """Drop repeated numbers from a list, keeping the first of each."""
    return list(dict.fromkeys(values))


def find_duplicates(values: Ints) -> Ints:
    """The numbers that occur more than once in a list."""
    return [v for v, count in Counter(values).items() if count > 1]


def values_occurring_once(values: Ints) -> Ints:
    """The numbers that occur exactly once in a list."""
    return [v for v in values if values.count(v) == 1]


def count_distinct(values: Ints) -> Whole:
    """Count the different numbers of a list, repeats ignored."""
    return len(set(values))


def missing_numbers(values: Ints) -> Ints:
    """The whole numbers missing between the smallest and largest of a list."""
    filled(values)
    within(max(values) - min(values), 0, 200, "the span of the list")
    return [v for v in range(min(values), max(values)) if v not in values]


def complement_set(values: Ints, limit: int) -> Ints:
    """The numbers from one to a limit that a set lacks."""
    within(limit, 1, 100, "limit")
    return sorted({*range(1, limit + 1)}.difference(values))


def jaccard_index(first: Ints, second: Ints) -> Real:
    """The Jaccard index: shared members over all members of two sets."""
    return len(set(first) & set(second)) / len(set(first) | set(second))


def dice_coefficient(first: Ints, second: Ints) -> Real:
    """The Dice coefficient: twice the overlap over both set sizes."""
    return 2 * len(set(first) & set(second)) / (len(set(first)) + len(set(second)))


def overlap_coefficient(first: Ints, second: Ints) -> Real:
    """The overlap coefficient: shared members over the smaller set."""
    return len(set(first) & set(second)) / min(len(set(first)), len(set(second)))


def multiset_intersection(first: Ints, second: Ints) -> Ints:
    """The common numbers of two bags, repeats counted."""
    return sorted((Counter(first) & Counter(second)).elements())


def multiset_difference(first: Ints, second: Ints) -> Ints:
    """Take the numbers of one bag out of another, one copy each."""
    return sorted((Counter(first) - Counter(second)).elements())


def cartesian_product_size(first: Words, second: Words) -> Whole:
    """Count the pairs that two lists of words can form."""
    return len(set(itertools.product(first, second)))


def power_set_size(items: Words) -> Whole:
    """Count the subsets that a collection of words has."""
    within(len(set(items)), 0, 60, "items")
    return 2 ** len(set(items))


def words_in_both(first: Words, second: Words) -> Words:
    """The words that two lists have in common."""
    return [item for item in first if item in second]


def words_in_one(first: Words, second: Words) -> Words:
    """The words of one list that are not in another."""
    return [item for item in first if item not in second]


def unique_words(items: Words) -> Words:
    """Drop repeated words from a list."""
    return list(dict.fromkeys(item.lower() for item in items))


def repeated_word(items: Words) -> Word:
    """The word that a list holds more than once."""
    word, count = Counter(items).most_common(1)[0]
    if count < 2:
        raise ValueError("no word is repeated")
    return word


def group_sizes(values: Ints) -> Ints:
    """The sizes of the groups of equal numbers, largest first."""
    return sorted(Counter(values).values(), reverse=True)


_PETS = some_of("cat", "dog", "cow", "hen", "pig", "fox", "owl", "bee", least=3, most=4)

TOOLS = (
    WorldTool(
        function=set_union,
        draw={"first": _SMALL, "second": _SMALL},
        needs=(
            "the [union of the sets] {first} and {second}",
            "the [numbers in either set], {first} or {second}",
            "[unite two sets], {first} and {second}",
        ),
        unseen=(
            "the [members of both sets pooled] from {first} and {second}",
            "pool {first} and {second} [into the union set]",
        ),
    ),
    WorldTool(
        function=set_intersection,
        draw={"first": _SMALL, "second": _SMALL},
        needs=(
            "the [intersection of the sets] {first} and {second}",
            "the [numbers that two sets share], {first} and {second}",
            "[intersect two sets], {first} and {second}",
        ),
        unseen=(
            "the [members common to both sets], {first} and {second}",
            "which [numbers belong to each of two sets], {first} and {second}",
        ),
    ),
    WorldTool(
        function=set_difference,
        draw={"first": _SMALL, "second": _SMALL},
        needs=(
            "the [set difference] of {first} without {second}",
            "the [numbers of the first set missing in the second], {first} and {second}",
            "[subtract a set], {second} from {first}",
        ),
        unseen=(
            "which [members only the first set has], {first} against {second}",
            "what [one set holds that another lacks], {first} versus {second}",
        ),
    ),
    WorldTool(
        function=symmetric_difference,
        draw={"first": _SMALL, "second": _SMALL},
        needs=(
            "the [symmetric difference] of {first} and {second}",
            "the [numbers in exactly one set], {first} or {second}",
            "the [symmetric set difference] between {first} and {second}",
        ),
        unseen=(
            "which [numbers belong to exactly one of the sets], {first} and {second}",
            "the [difference of sets taken symmetrically] for {first} and {second}",
        ),
    ),
    WorldTool(
        function=is_subset,
        draw={"first": ints(1, 8, least=2, most=3), "second": ints(1, 8, least=4, most=6)},
        needs=(
            "whether {first} [is a subset] of {second}",
            "whether {first} [is contained in the set] {second}",
            "check {first} [for being a subset], with {second} around it",
        ),
        unseen=(
            "whether [all members of a set belong to another], {first} to {second}",
            "whether [a set is part of another set], {first} of {second}",
        ),
    ),
    WorldTool(
        function=are_disjoint,
        draw={"first": ints(1, 12, least=2, most=3), "second": ints(1, 12, least=2, most=4)},
        needs=(
            "whether {first} and {second} [are disjoint]",
            "whether {first} and {second} [are sets with nothing in common]",
            "check {first} and {second} [for being disjoint sets]",
        ),
        unseen=(
            "whether [two sets share no member], {first} and {second}",
            "whether {first} and {second} [do not overlap as sets]",
        ),
    ),
    WorldTool(
        function=are_equal_sets,
        draw={"first": ints(1, 3, least=3, most=4), "second": ints(1, 3, least=3, most=4)},
        needs=(
            "whether {first} and {second} [are equal sets]",
            "whether {first} and {second} [hold the same members]",
            "check {first} and {second} [for set equality]",
        ),
        unseen=(
            "whether [two collections are the same regardless of order], {first} and {second}",
            "whether {first} and {second} [contain identical members]",
        ),
    ),
    WorldTool(
        function=remove_duplicates,
        draw={"values": repeating_ints(1, 30)},
        needs=(
            "[remove duplicates] from {values}",
            "[drop repeated numbers] in {values}",
            "the [list without repeats] of {values}",
        ),
        unseen=(
            "[deduplicate the numbers] in {values}",
            "write {values} [with each number only one time]",
        ),
    ),
    WorldTool(
        function=find_duplicates,
        draw={"values": repeating_ints(1, 20)},
        needs=(
            "the [duplicates] in {values}",
            "which [numbers occur more than once] in {values}",
            "find the [repeated numbers] in {values}",
        ),
        unseen=(
            "which [entries come twice or more] in {values}",
            "the [numbers present more than one time] in {values}",
        ),
    ),
    WorldTool(
        function=values_occurring_once,
        draw={"values": repeating_ints(1, 20)},
        needs=(
            "which [numbers occur exactly once] in {values}",
            "the [values without a copy] in {values}",
            "the [numbers that are never repeated] in {values}",
        ),
        unseen=(
            "which [entries appear only a single time] in {values}",
            "the [numbers found exactly one time] in {values}",
        ),
    ),
    WorldTool(
        function=count_distinct,
        draw={"values": repeating_ints(1, 20)},
        needs=(
            "the [number of distinct values] in {values}",
            "how [many different numbers a list has], for {values}",
            "count the [distinct numbers] of {values}",
        ),
        unseen=(
            "how [many unique values] there are in {values}",
            "the [count ignoring repeats] for {values}",
        ),
    ),
    WorldTool(
        function=missing_numbers,
        draw={"values": ints(1, 14, least=5, most=6)},
        needs=(
            "the [missing numbers] between the ends of {values}",
            "which [whole numbers are missing in between] in {values}",
            "find the [gaps in the numbering] of {values}",
        ),
        unseen=(
            "which [numbers were left out] from lowest to highest in {values}",
            "the [absent numbers in the span] of {values}",
        ),
    ),
    WorldTool(
        function=complement_set,
        draw={"values": ints(1, 12, least=4, most=6), "limit": whole(10, 12)},
        needs=(
            "the [complement of the set] {values} up to {limit}",
            "which [numbers from one to a limit are not in the set], limit {limit}, set {values}",
            "the [set complement] of {values} within one to {limit}",
        ),
        unseen=(
            "list [everything outside the set] {values} from one to {limit}",
            "which [members of the universe a set lacks], {values} in one to {limit}",
        ),
    ),
    WorldTool(
        function=jaccard_index,
        draw={"first": _SMALL, "second": _SMALL},
        needs=(
            "the [Jaccard index] of {first} and {second}",
            "the [shared members over all members] of {first} and {second}",
            "the [Jaccard similarity] between {first} and {second}",
        ),
        unseen=(
            "the [Jaccard ratio of shared members] for {first} and {second}",
            "the [shared members divided by all members] for {first} and {second}",
        ),
    ),
    WorldTool(
        function=dice_coefficient,
        draw={"first": _SMALL, "second": _SMALL},
        needs=(
            "the [Dice coefficient] of {first} and {second}",
            "the [double overlap over both set sizes] for {first} and {second}",
            "the [Dice similarity of sets] {first} and {second}",
        ),
        unseen=(
            "the [Sorensen-Dice score] of {first} and {second}",
            "the [doubled overlap divided by set sizes] for {first} and {second}",
        ),
    ),
    WorldTool(
        function=overlap_coefficient,
        draw={"first": _SMALL, "second": _SMALL},
        needs=(
            "the [overlap coefficient] of {first} and {second}",
            "the [shared members over the smaller set] for {first} and {second}",
            "the [overlap relative to the smaller set] of {first} and {second}",
        ),
        unseen=(
            "the [Szymkiewicz-Simpson overlap] of {first} and {second}",
            "how [much of the smaller set is shared], {first} and {second}",
        ),
    ),
    WorldTool(
        function=multiset_intersection,
        draw={"first": ints(1, 5, least=4, most=6), "second": ints(1, 5, least=4, most=6)},
        needs=(
            "the [multiset intersection] of {first} and {second}",
            "the [common numbers of two bags] {first} and {second}",
            "the [shared numbers with repeats counted] in {first} and {second}",
        ),
        unseen=(
            "what [two bags of numbers have in common, copies included], {first} and {second}",
            "the [intersection respecting multiplicity] of {first} and {second}",
        ),
    ),
    WorldTool(
        function=multiset_difference,
        draw={"first": ints(1, 5, least=5, most=6), "second": ints(1, 5, least=2, most=3)},
        needs=(
            "the [multiset difference] of {first} and {second}",
            "[take one bag of numbers out of another], {second} out of {first}",
            "the [numbers left after removing one copy each], {first} less {second}",
        ),
        unseen=(
            "what [remains in the bag once copies are taken out], {second} from {first}",
            "the [difference respecting multiplicity] of {first} and {second}",
        ),
    ),
    WorldTool(
        function=cartesian_product_size,
        draw={"first": words(least=2, most=4), "second": words(least=2, most=4)},
        needs=(
            "the [number of pairs] from {first} and {second}",
            "how [many pairs two lists can form], {first} with {second}",
            "the [size of the Cartesian product] of {first} and {second}",
        ),
        unseen=(
            "how [many pairs of words from two lists] exist for {first} and {second}",
            "the [count of all pairings] of {first} with {second}",
        ),
    ),
    WorldTool(
        function=power_set_size,
        draw={"items": words(least=2, most=5)},
        needs=(
            "the [number of subsets] of {items}",
            "the [size of the power set] of {items}",
            "how [many subsets a collection has], for {items}",
        ),
        unseen=(
            "how [many sub-collections of the words] can be made from {items}",
            "the [power set cardinality] of {items}",
        ),
    ),
    WorldTool(
        function=words_in_both,
        draw={"first": _PETS, "second": _PETS},
        needs=(
            "the [words in both lists], {first} and {second}",
            "which [words two lists share], {first} and {second}",
            "the [common words] of {first} and {second}",
        ),
        unseen=(
            "which [entries appear in each word list], {first} and {second}",
            "the [overlap of the word lists] {first} and {second}",
        ),
    ),
    WorldTool(
        function=words_in_one,
        draw={"first": _PETS, "second": _PETS},
        needs=(
            "the [words of one list missing in another], {first} without {second}",
            "which [words are only in the first list], {first} against {second}",
            "the [words not in the other list], {first} minus {second}",
        ),
        unseen=(
            "which [entries one word list has and another lacks], {first} versus {second}",
            "the [word list less the words of another], {first} and {second}",
        ),
    ),
    WorldTool(
        function=unique_words,
        draw={"items": repeating_words()},
        needs=(
            "the [words without repeats] in {items}",
            "[drop repeated words] from {items}",
            "the [unique words] of {items}",
        ),
        unseen=(
            "[deduplicate the words] in {items}",
            "write {items} [with each word only one time]",
        ),
    ),
    WorldTool(
        function=repeated_word,
        draw={"items": repeating_words()},
        needs=(
            "the [repeated word] in {items}",
            "which [word occurs more than once] in {items}",
            "the [word that comes twice] in {items}",
        ),
        unseen=(
            "which [entry is a duplicate word] in {items}",
            "the [word having a double] in {items}",
        ),
    ),
    WorldTool(
        function=group_sizes,
        draw={"values": ints(1, 4, least=5, most=7)},
        needs=(
            "the [group sizes of equal numbers] in {values}",
            "how [large the groups of equal numbers are] in {values}",
            "the [sizes of the groups] of {values}",
        ),
        unseen=(
            "the [group sizes, largest group first,] in {values}",
            "how [big each group of equal numbers is] in {values}",
        ),
    ),
)
