"""Single words: what letters they hold, how they sound, and how alike two of them are."""

import difflib
import itertools
import re
from collections import Counter

from envs.worlds.authoring import WorldTool, within
from envs.worlds.draws import choice, whole, word, words
from envs.worlds.kinds import Code, Real, Verdict, Whole, Word, Words

_VOWELS = "aeiou"
_SCRABBLE = {1: "aeilnorstu", 2: "dg", 3: "bcmp", 4: "fhvwy", 5: "k", 8: "jx", 10: "qz"}
_SOUNDEX = {
    letter: str(digit) for digit, group in enumerate(("bfpv", "cgjkqsxz", "dt", "l", "mn", "r"), 1) for letter in group
}


def _letters(word: str) -> str:
    if not word.isalpha():
        raise ValueError("give one word of letters only")
    return word.lower()


def count_vowels(word: Word) -> Whole:
    """Count the vowels in a word."""
    return sum(c in _VOWELS for c in _letters(word))


def count_consonants(word: Word) -> Whole:
    """Count the consonants in a word."""
    return sum(c not in _VOWELS for c in _letters(word))


def count_syllables(word: Word) -> Whole:
    """Estimate the syllables of an English word."""
    groups = len(re.findall(r"[aeiouy]+", _letters(word)))
    return max(1, groups - (word.endswith("e") and not word.endswith("le")))


def count_letter(word: Word, letter: str) -> Whole:
    """Count how often one letter occurs in a word."""
    return _letters(word).count(letter.lower())


def distinct_letters(word: Word) -> Whole:
    """Count the different letters used in a word."""
    return len(set(_letters(word)))


def commonest_letter(word: Word) -> Word:
    """The letter that occurs most often in a word."""
    return Counter(_letters(word)).most_common(1)[0][0]


def sort_letters(word: Word) -> Word:
    """Put the letters of a word in alphabetical order."""
    return "".join(sorted(_letters(word)))


def middle_letter(word: Word) -> Word:
    """The letter in the middle of a word."""
    return _letters(word)[(len(word) - 1) // 2]


def scrabble_score(word: Word) -> Whole:
    """The points that a word scores in Scrabble."""
    return sum(points for c in _letters(word) for points, group in _SCRABBLE.items() if c in group)


def alphabet_sum(word: Word) -> Whole:
    """Add up the alphabet positions of a word's letters, a being one."""
    return sum(ord(c) - 96 for c in _letters(word))


def soundex(word: Word) -> Code:
    """The Soundex code of a word, which stands for its sound."""
    letters = _letters(word)
    digits = [(c, _SOUNDEX.get(c, "")) for c in letters if c not in "hw"]
    kept = [digit for (_, before), (_, digit) in itertools.pairwise(digits) if digit and digit != before]
    return (letters[0].upper() + "".join(kept) + "000")[:4]


def plural(word: Word) -> Word:
    """The plural of an English noun by the regular rules."""
    if re.search(r"(s|x|z|ch|sh)$", _letters(word)):
        return word + "es"
    return re.sub(r"([^aeiou])y$", r"\1ie", word) + "s"


def pig_latin(word: Word) -> Word:
    """Turn a word into Pig Latin."""
    head = re.match(r"[^aeiou]*", _letters(word))
    start = head.end() if head else 0
    return word[start:] + word[:start] + ("ay" if start else "way")


def is_palindrome(word: Word) -> Verdict:
    """Check whether a word reads the same backwards."""
    letters = _letters(word)
    return "yes" if letters == letters[::-1] else "no"


def are_anagrams(first: Word, second: Word) -> Verdict:
    """Check whether two words use exactly the same letters."""
    return "yes" if Counter(_letters(first)) == Counter(_letters(second)) else "no"


def edit_distance(first: Word, second: Word) -> Whole:
    """The Levenshtein distance: single-letter edits that turn one word into another."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        previous, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def hamming_distance(first: Word, second: Word) -> Whole:
    """Count the positions at which two equally long words differ."""
    return sum(a != b for a, b in zip(first, second, strict=True))


def similarity_ratio(first: Word, second: Word) -> Real:
    """The similarity of two words by matching blocks, zero to one."""
    return difflib.SequenceMatcher(None, first, second, autojunk=False).ratio()


def common_prefix_length(first: Word, second: Word) -> Whole:
    """Count the leading letters that two words share."""
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def shared_letters(first: Word, second: Word) -> Code:
    """The letters that occur in both of two words."""
    return "".join(sorted(set(_letters(first)) & set(_letters(second)))) or "none"


def alphabetical_first(items: Words) -> Word:
    """The word of a list that comes first in the alphabet."""
    return min(items, key=str.casefold)


def longest_word(items: Words) -> Word:
    """The longest word of a list."""
    return max(items, key=len)


def shortest_word(items: Words) -> Word:
    """The shortest word of a list."""
    return min(items, key=len)


def word_lengths(items: Words) -> Code:
    """The lengths of the words in a list, joined by hyphens."""
    return "-".join(str(len(item)) for item in items)


def sort_alphabetically(items: Words) -> Words:
    """Sort a list of words from A to Z."""
    return sorted(items, key=str.casefold)


def sort_by_length(items: Words) -> Words:
    """Sort a list of words from shortest to longest."""
    return sorted(items, key=lambda item: (len(item), item))


def nth_letter(word: Word, position: int) -> Word:
    """The letter at a numbered position in a word."""
    within(position, 1, len(word), "position")
    return _letters(word)[position - 1]


TOOLS = (
    WorldTool(
        function=count_vowels,
        draw={"word": word()},
        needs=(
            "the [number of vowels] in {word}",
            "how [many vowels] {word} has",
            "count the [vowel letters] of {word}",
        ),
        unseen=(
            "the [vowel count] of {word}",
            "the [tally of vowels] in {word}",
        ),
    ),
    WorldTool(
        function=count_consonants,
        draw={"word": word()},
        needs=(
            "the [number of consonants] in {word}",
            "how [many consonants] {word} has",
            "count the [letters that are no vowels] of {word}",
        ),
        unseen=(
            "the [consonant count] of {word}",
            "the [tally of consonants] in {word}",
        ),
    ),
    WorldTool(
        function=count_syllables,
        draw={"word": word()},
        needs=(
            "the [number of syllables] in {word}",
            "how [many syllables] {word} has",
            "count the [spoken syllables] of {word}",
        ),
        unseen=(
            "how [many beats when spoken, syllables,] {word} has",
            "the [syllable count] of {word}",
        ),
    ),
    WorldTool(
        function=count_letter,
        draw={"word": word(), "letter": choice(*"aeioulnrst")},
        needs=(
            "how [often a letter occurs] in {word}, the letter {letter}",
            "the [number of times a letter appears], {letter} in {word}",
            "count the [occurrences of one letter], {letter}, in {word}",
        ),
        unseen=(
            "the [frequency of a letter], {letter}, within {word}",
            "how [often one letter is in a word], {letter} in {word}",
        ),
    ),
    WorldTool(
        function=distinct_letters,
        draw={"word": word()},
        needs=(
            "the [number of different letters] in {word}",
            "how [many distinct letters] {word} uses",
            "count the [unique letters] of {word}",
        ),
        unseen=(
            "how [many letters without counting repeats] {word} has",
            "the [variety of letters] in {word}",
        ),
    ),
    WorldTool(
        function=commonest_letter,
        draw={"word": word(least=4)},
        needs=(
            "the [most frequent letter] of {word}",
            "which [letter occurs most often] in {word}",
            "the [commonest letter] in {word}",
        ),
        unseen=(
            "which [letter repeats most] in {word}",
            "the [letter with the highest count] in {word}",
        ),
    ),
    WorldTool(
        function=sort_letters,
        draw={"word": word(least=4)},
        needs=(
            "the [letters in alphabetical order] of {word}",
            "[sort the letters] of {word}",
            "[alphabetise the letters] in {word}",
        ),
        unseen=(
            "arrange [a word's letters alphabetically] in {word}",
            "the [alphabetically ordered spelling] of {word}",
        ),
    ),
    WorldTool(
        function=middle_letter,
        draw={"word": word()},
        needs=(
            "the [middle letter] of {word}",
            "the [letter in the centre] of {word}",
            "which [letter stands in the middle] of {word}",
        ),
        unseen=(
            "the [central letter] of {word}",
            "which [letter sits halfway through the word] in {word}",
        ),
    ),
    WorldTool(
        function=scrabble_score,
        draw={"word": word()},
        needs=(
            "the [Scrabble score] of {word}",
            "how [many Scrabble points] {word} is worth",
            "the [points in Scrabble] for {word}",
        ),
        unseen=(
            "the [value of Scrabble tiles] in {word}",
            "what {word} [earns in the board game Scrabble]",
        ),
    ),
    WorldTool(
        function=alphabet_sum,
        draw={"word": word()},
        needs=(
            "the [sum of alphabet positions] for {word}",
            "add up [the letter values with a=1] of {word}",
            "the [alphabet position total] of {word}",
        ),
        unseen=(
            "the [letters as numbers added up] in {word}",
            "the [gematria-like letter sum] of {word}",
        ),
    ),
    WorldTool(
        function=soundex,
        draw={"word": word()},
        needs=(
            "the [Soundex code] of {word}",
            "the [phonetic code] for {word}",
            "encode [how it sounds] for {word}",
        ),
        unseen=(
            "the [sound-alike index] of {word}",
            "the [code for how a word sounds] of {word}",
        ),
    ),
    WorldTool(
        function=plural,
        draw={"word": word()},
        needs=(
            "the [plural] of {word}",
            "the [plural form of a noun] for {word}",
            "put {word} [in the plural]",
        ),
        unseen=(
            "how to say [more than one, as a noun,] for {word}",
            "turn {word} [from singular to plural]",
        ),
    ),
    WorldTool(
        function=pig_latin,
        draw={"word": word()},
        needs=(
            "the [Pig Latin] of {word}",
            "say {word} [in Pig Latin]",
            "translate {word} [to Pig Latin]",
        ),
        unseen=(
            "the [Pig Latin as children speak it] for {word}",
            "the [Pig Latin version] of {word}",
        ),
    ),
    WorldTool(
        function=is_palindrome,
        draw={
            "word": choice(
                *(f"{a}{b}{c}{b}{a}" for a in "lmnprst" for b in "aeiou" for c in "dgvtk"),
                *(f"{a}{b}{c}{b}{d}" for a in "lmnp" for b in "aeio" for c in "dgv" for d in "rst"),
            )
        },
        needs=(
            "whether {word} [is a palindrome]",
            "whether {word} [reads the same backwards]",
            "test {word} [for being a palindrome]",
        ),
        unseen=(
            "whether {word} [is the same forwards and in reverse]",
            "run a [palindrome check] on {word}",
        ),
    ),
    WorldTool(
        function=are_anagrams,
        draw={
            "first": choice("stone", "listen", "heart", "night", "evil", "angel", "study", "bored"),
            "second": choice(
                "notes",
                "silent",
                "earth",
                "thing",
                "vile",
                "angle",
                "dusty",
                "robed",
                "onset",
                "enlist",
                "live",
                "glean",
                "tones",
                "tinsel",
                "veil",
                "table",
                "river",
                "paper",
                "stone",
                "green",
                "light",
                "house",
                "sheet",
                "melon",
                "lemon",
                "cheat",
                "teach",
                "votes",
                "stove",
                "inlets",
            ),
        },
        needs=(
            "whether {first} and {second} [are anagrams]",
            "whether {first} and {second} [are words with exactly the same letters]",
            "test {first} and {second} [for being anagrams of each other]",
        ),
        unseen=(
            "whether {first} [has the same letters as another word], {second}",
            "run an [anagram check] on {first} and {second}",
        ),
    ),
    WorldTool(
        function=edit_distance,
        draw={"first": word(), "second": word()},
        needs=(
            "the [edit distance] between {first} and {second}",
            "the [Levenshtein distance] from {first} to {second}",
            "how [many single-letter edits] turn {first} into {second}",
        ),
        unseen=(
            "the [fewest insertions, deletions and substitutions] from {first} to {second}",
            "how [many spelling edits apart] {first} and {second} are",
        ),
    ),
    WorldTool(
        function=hamming_distance,
        draw={"first": word(least=5, most=5), "second": word(least=5, most=5)},
        needs=(
            "the [Hamming distance] between {first} and {second}",
            "how [many positions differ] between {first} and {second}",
            "the [number of places where letters differ] in {first} and {second}",
        ),
        unseen=(
            "count the [differing positions of equally long words] for {first} and {second}",
            "the [Hamming count of differing positions] in {first} and {second}",
        ),
    ),
    WorldTool(
        function=similarity_ratio,
        draw={"first": word(), "second": word()},
        needs=(
            "the [similarity ratio] of {first} and {second}",
            "how [similar two words are], {first} and {second}",
            "the [similarity from zero to one] of {first} and {second}",
        ),
        unseen=(
            "the [degree of likeness between words] {first} and {second}",
            "how [similar, as a ratio, two words] {first} and {second} are",
        ),
    ),
    WorldTool(
        function=common_prefix_length,
        draw={"first": word(), "second": word()},
        needs=(
            "the [length of the common prefix] of {first} and {second}",
            "how [many leading letters are shared] by {first} and {second}",
            "the [count of shared leading letters] in {first} and {second}",
        ),
        unseen=(
            "how [many letters two words share at the start], {first} and {second}",
            "the [shared prefix size] of {first} and {second}",
        ),
    ),
    WorldTool(
        function=shared_letters,
        draw={"first": word(), "second": word()},
        needs=(
            "the [letters in both words] {first} and {second}",
            "which [letters two words share], {first} and {second}",
            "the [shared letters] of {first} and {second}",
        ),
        unseen=(
            "the [letters in common] of {first} and {second}",
            "which [letters occur in each of the words] {first} and {second}",
        ),
    ),
    WorldTool(
        function=alphabetical_first,
        draw={"items": words()},
        needs=(
            "which [word comes first in the alphabet] among {items}",
            "the [alphabetically first word] of {items}",
            "the [first word in a dictionary] out of {items}",
        ),
        unseen=(
            "which [entry is earliest in alphabetical order] in {items}",
            "the [first of the words alphabetically] in {items}",
        ),
    ),
    WorldTool(
        function=longest_word,
        draw={"items": words()},
        needs=(
            "the [longest word] in {items}",
            "which [word has the most letters] in {items}",
            "the [word of greatest length] among {items}",
        ),
        unseen=(
            "the [lengthiest word] among {items}",
            "which [entry is the longest to spell] in {items}",
        ),
    ),
    WorldTool(
        function=shortest_word,
        draw={"items": words()},
        needs=(
            "the [shortest word] in {items}",
            "which [word has the fewest letters] in {items}",
            "the [word of least length] among {items}",
        ),
        unseen=(
            "the [briefest word] among {items}",
            "which [entry is the shortest to spell] in {items}",
        ),
    ),
    WorldTool(
        function=word_lengths,
        draw={"items": words()},
        needs=(
            "the [lengths of the words] in {items}",
            "how [long the words of a list are] in {items}",
            "the [letter counts joined by hyphens] for {items}",
        ),
        unseen=(
            "the [size of every word] in {items}",
            "how [long each of the words is] in {items}",
        ),
    ),
    WorldTool(
        function=sort_alphabetically,
        draw={"items": words()},
        needs=(
            "the [words in alphabetical order] from {items}",
            "[sort the words from A to Z] in {items}",
            "[alphabetise the list of words] {items}",
        ),
        unseen=(
            "arrange {items} [in dictionary order]",
            "order {items} [as words from A to Z]",
        ),
    ),
    WorldTool(
        function=sort_by_length,
        draw={"items": words()},
        needs=(
            "the [words from shortest to longest] in {items}",
            "[sort the words by length] in {items}",
            "[order the words by number of letters] for {items}",
        ),
        unseen=(
            "arrange {items} [with short words first and long ones last]",
            "rank {items} [by how long each word is]",
        ),
    ),
    WorldTool(
        function=nth_letter,
        draw={"word": word(least=5), "position": whole(1, 5)},
        needs=(
            "the [letter at a position] in {word}, number {position}",
            "which [letter stands at a numbered place] of {word}, place {position}",
            "pick [the n-th letter] of {word} with n = {position}",
        ),
        unseen=(
            "the [letter with a given index] in {word}, counting to {position}",
            "spell {word} and name [the letter you reach at a count] of {position}",
        ),
    ),
)
