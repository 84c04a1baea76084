"""Rewriting a line of text: its case, order, spacing and pieces."""

import re
import textwrap

from envs.worlds.authoring import WorldTool, filled, within
from envs.worlds.draws import choice, line, phrase, whole, words
from envs.worlds.kinds import Code, Text, Whole, Words

_VOWELS = "aeiouAEIOU"


def reverse_text(text: Text) -> Text:
    """Write the characters of a text in reverse order."""
    return "".join(reversed(text))


def reverse_word_order(text: Text) -> Text:
    """Put the words of a text in reverse order, spelling unchanged."""
    return " ".join(reversed(text.split()))


def uppercase(text: Text) -> Text:
    """Write a text in capital letters only."""
    return text.upper()


def title_case(text: Text) -> Text:
    """Capitalise the first letter of every word in a text."""
    return " ".join(part.capitalize() for part in text.split())


def sentence_case(text: Text) -> Text:
    """Capitalise only the first letter of a text and add a full stop."""
    return text.capitalize() + "."


def alternating_case(text: Text) -> Text:
    """Write a text in letters alternately small and capital."""
    return "".join(c.upper() if i % 2 else c.lower() for i, c in enumerate(text))


def snake_case(text: Text) -> Code:
    """Join the words of a text with underscores, as in snake_case."""
    return "_".join(text.lower().split())


def kebab_case(text: Text) -> Code:
    """Join the words of a text with hyphens, as in a URL slug."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def camel_case(text: Text) -> Code:
    """Join the words of a text with inner capitals, as in camelCase."""
    first, *rest = text.split()
    return first.lower() + "".join(part.capitalize() for part in rest)


def acronym(text: Text) -> Code:
    """Build the acronym from the first letters of the words."""
    return "".join(part[0].upper() for part in text.split())


def remove_vowels(text: Text) -> Text:
    """Delete all vowels from a text."""
    return "".join(c for c in text if c not in _VOWELS)


def remove_spaces(text: Text) -> Text:
    """Delete all spaces from a text, gluing the words together."""
    return "".join(text.split())


def remove_letter(text: Text, letter: str) -> Text:
    """Delete every occurrence of a letter from a text."""
    within(len(letter), 1, 1, "length of letter")
    return text.replace(letter, "")


def replace_letter(text: Text, old: str, new: str) -> Text:
    """Replace every occurrence of one letter in a text by another."""
    within(len(old), 1, 1, "length of old")
    return text.replace(old, new[:1])


def repeat_text(text: Text, times: int) -> Text:
    """Write a text several times in a row."""
    within(times, 1, 20, "times")
    return text * times


def truncate_text(text: Text, length: int) -> Text:
    """Keep only the first characters of a text."""
    within(length, 1, 400, "length")
    return text[:length]


def last_characters(text: Text, length: int) -> Text:
    """Keep only the final characters of a text."""
    within(length, 1, 400, "length")
    return text[-length:]


def pad_left(text: Text, width: int) -> Text:
    """Fill a text with dots on the left up to a width."""
    within(width, 1, 60, "width")
    return text.rjust(width, ".")


def pad_right(text: Text, width: int) -> Text:
    """Fill a text with dots on the right up to a width."""
    within(width, 1, 60, "width")
    return text.ljust(width, ".")


def centre_text(text: Text, width: int) -> Text:
    """Centre a text between stars in a line of a width."""
    within(width, 1, 60, "width")
    return text.center(width, "*")


def space_out(text: Text) -> Text:
    """Put a space between all letters of a text."""
    return " ".join(text.replace(" ", ""))


def double_letters(text: Text) -> Text:
    """Write every letter of a text twice."""
    return "".join(2 * c for c in text)


def join_words(parts: Words) -> Text:
    """Join a list of words into an English enumeration with 'and'."""
    filled(parts, "parts")
    return " and ".join([", ".join(parts[:-1])] * (len(parts) > 1) + parts[-1:])


def split_letters(text: Text, size: int) -> Words:
    """Cut a text into pieces of equal length."""
    within(size, 1, 40, "size")
    return textwrap.wrap(text.replace(" ", ""), size)


def count_words(text: Text) -> Whole:
    """Count the words in a text."""
    return len(text.split())


def count_characters(text: Text) -> Whole:
    """Count the characters in a text, spaces included."""
    return len(text)


TOOLS = (
    WorldTool(
        function=reverse_text,
        draw={"text": line()},
        needs=(
            "the [letters in reverse order] of {text}",
            "[reverse the characters] of {text}",
            "write {text} [backwards letter by letter]",
        ),
        unseen=(
            "spell {text} [with all characters reversed]",
            "the [mirror spelling, back to front,] of {text}",
        ),
    ),
    WorldTool(
        function=reverse_word_order,
        draw={"text": phrase(least=2, most=4)},
        needs=(
            "the [words in reverse order] of {text}",
            "[reverse the word order] in {text}",
            "put [the words of a text in backward order] in {text}",
        ),
        unseen=(
            "turn around [the word order of a text] in {text}",
            "say {text} [with reversed words order]",
        ),
    ),
    WorldTool(
        function=uppercase,
        draw={"text": line()},
        needs=(
            "the [upper-case form] of {text}",
            "write {text} [in capital letters]",
            "put {text} [in all caps]",
        ),
        unseen=(
            "turn {text} [into capitals only]",
            "the [text in all capital letters] for {text}",
        ),
    ),
    WorldTool(
        function=title_case,
        draw={"text": phrase()},
        needs=(
            "the [title case] of {text}",
            "[capitalise every word] of {text}",
            "write {text} [like a headline with capital initials]",
        ),
        unseen=(
            "give each word of {text} [a capital first letter]",
            "style {text} [as a book title]",
        ),
    ),
    WorldTool(
        function=sentence_case,
        draw={"text": phrase()},
        needs=(
            "the [sentence case] of {text}",
            "write {text} [as a sentence with a full stop]",
            "turn {text} [into a sentence, first letter capital]",
        ),
        unseen=(
            "punctuate {text} [like a sentence ending in a period]",
            "write {text} [with one leading capital and a closing stop]",
        ),
    ),
    WorldTool(
        function=alternating_case,
        draw={"text": line()},
        needs=(
            "the [alternating case] of {text}",
            "write {text} [in alternating small and capital letters]",
            "make {text} [switch case at every letter]",
        ),
        unseen=(
            "write {text} [with every second letter in capitals]",
            "the [alternately capital and small letters] of {text}",
        ),
    ),
    WorldTool(
        function=snake_case,
        draw={"text": phrase()},
        needs=(
            "the [snake case] of {text}",
            "join {text} [with underscores]",
            "the [underscore variable name] for {text}",
        ),
        unseen=(
            "write {text} [in Python identifier style, underscores between words]",
            "put [an underscore for every space] in {text}",
        ),
    ),
    WorldTool(
        function=kebab_case,
        draw={"text": phrase()},
        needs=(
            "the [URL slug] for {text}",
            "join {text} [with hyphens]",
            "the [kebab case] of {text}",
        ),
        unseen=(
            "turn {text} [into a hyphenated web address part]",
            "put [hyphens for a slug between the words] of {text}",
        ),
    ),
    WorldTool(
        function=camel_case,
        draw={"text": phrase()},
        needs=(
            "the [camel case] of {text}",
            "join {text} [with inner capitals]",
            "the [camelCase identifier] for {text}",
        ),
        unseen=(
            "write {text} [in Java style with humps]",
            "glue {text} together [with a capital at each inner word]",
        ),
    ),
    WorldTool(
        function=acronym,
        draw={"text": phrase(least=3, most=4)},
        needs=(
            "the [acronym] of {text}",
            "the [initials of the words] in {text}",
            "the [abbreviation by first letters] of {text}",
        ),
        unseen=(
            "shorten {text} [to an acronym of initials]",
            "the [abbreviation built from first letters] of {text}",
        ),
    ),
    WorldTool(
        function=remove_vowels,
        draw={"text": line()},
        needs=(
            "the [text without vowels] from {text}",
            "[remove the vowels] from {text}",
            "[delete a, e, i, o and u] in {text}",
        ),
        unseen=(
            "strip {text} [of its vowels]",
            "write {text} [using only its consonants]",
        ),
    ),
    WorldTool(
        function=remove_spaces,
        draw={"text": phrase()},
        needs=(
            "the [text without spaces] from {text}",
            "[remove the spaces] from {text}",
            "[glue the words together] in {text}",
        ),
        unseen=(
            "strip {text} [of all spaces]",
            "write {text} [as one run without gaps between words]",
        ),
    ),
    WorldTool(
        function=remove_letter,
        draw={"text": line(), "letter": choice(*"aeioulnrst")},
        needs=(
            "[delete a letter] from {text}, namely {letter}",
            "the [text with one letter removed], {letter} taken out of {text}",
            "[remove every occurrence of a letter], {letter}, in {text}",
        ),
        unseen=(
            "cross out [one letter wherever it occurs in a text], {letter} in {text}",
            "[erase one letter everywhere]: {letter} in {text}",
        ),
    ),
    WorldTool(
        function=replace_letter,
        draw={"text": line(), "old": choice(*"aeiourst"), "new": choice(*"xyzqkm")},
        needs=(
            "[replace a letter by another], {old} by {new}, in {text}",
            "[substitute one letter] in {text}: {new} instead of {old}",
            "the [letter substitution] of {old} with {new} in {text}",
        ),
        unseen=(
            "[swap out each such letter] in {text}, writing {new} for {old}",
            "[exchange one letter for another], {new} for every {old}, in {text}",
        ),
    ),
    WorldTool(
        function=repeat_text,
        draw={"text": line(), "times": whole(2, 3)},
        needs=(
            "[repeat the text]: {text}, {times} times",
            "write {text} [several times in a row], {times} in all",
            "the [repetition] of {text}, {times} times over",
        ),
        unseen=(
            "echo {text} [again and again], {times} times",
            "the [copies written one after another] of {text}, {times} of them",
        ),
    ),
    WorldTool(
        function=truncate_text,
        draw={"text": phrase(), "length": whole(4, 9)},
        needs=(
            "the [first characters of the text] {text}, {length} of them",
            "[cut the text off] in {text} after {length} characters",
            "[shorten to the first characters] the line {text}, leaving {length}",
        ),
        unseen=(
            "the [beginning characters of a text] like {text}, {length} in number",
            "keep [only the beginning of the text] {text}, up to {length} letters",
        ),
    ),
    WorldTool(
        function=last_characters,
        draw={"text": phrase(), "length": whole(3, 9)},
        needs=(
            "the [last characters] of {text}, {length} of them",
            "the [final letters] of {text}, {length} in number",
            "[keep the ending] of {text}, {length} characters long",
        ),
        unseen=(
            "the [closing letters at the tail] of {text}, {length} in number",
            "drop all but [the end of the text] in {text}, leaving {length}",
        ),
    ),
    WorldTool(
        function=pad_left,
        draw={"text": line(), "width": whole(18, 24)},
        needs=(
            "[pad on the left] with dots {text} to width {width}",
            "[align right with dots] {text} in a width of {width}",
            "the [left padding] of {text} up to {width} characters",
        ),
        unseen=(
            "put [leading dots before the text] {text} until it is {width} wide",
            "[push to the right edge with dots] {text}, width {width}",
        ),
    ),
    WorldTool(
        function=pad_right,
        draw={"text": line(), "width": whole(18, 24)},
        needs=(
            "[pad on the right] with dots {text} to width {width}",
            "[align left with dots] {text} in a width of {width}",
            "the [right padding] of {text} up to {width} characters",
        ),
        unseen=(
            "put [trailing dots after the text] {text} until it is {width} wide",
            "[fill up the right edge with dots] {text}, width {width}",
        ),
    ),
    WorldTool(
        function=centre_text,
        draw={"text": line(), "width": whole(18, 24)},
        needs=(
            "[centre the text] {text} in a width of {width}",
            "[put in the middle of a line] {text}, {width} wide",
            "the [centred line with stars] around {text}, width {width}",
        ),
        unseen=(
            "place {text} [in the centre between asterisks], width {width}",
            "surround {text} [with stars on both sides] up to {width}",
        ),
    ),
    WorldTool(
        function=space_out,
        draw={"text": line()},
        needs=(
            "[put spaces between the letters] of {text}",
            "the [spaced-out spelling] of {text}",
            "spread {text} [with a blank after each letter]",
        ),
        unseen=(
            "write {text} [in wide letter-spacing]",
            "separate {text} [letter by letter with blanks]",
        ),
    ),
    WorldTool(
        function=double_letters,
        draw={"text": line()},
        needs=(
            "[double every letter] of {text}",
            "write {text} [with each letter twice]",
            "the [doubled letters] of {text}",
        ),
        unseen=(
            "stutter {text} [by duplicating its letters]",
            "the [spelling in which all characters come in pairs] of {text}",
        ),
    ),
    WorldTool(
        function=join_words,
        draw={"parts": words()},
        needs=(
            "[join the words with commas and 'and'] from {parts}",
            "the [English enumeration] of {parts}",
            "write {parts} [as a spoken list with and]",
        ),
        unseen=(
            "turn {parts} [into a phrase listing the items]",
            "string {parts} together [with commas and a final and]",
        ),
    ),
    WorldTool(
        function=split_letters,
        draw={"text": line(), "size": whole(2, 4)},
        needs=(
            "[cut the text into pieces] from {text}, {size} letters each",
            "[split into equal chunks] of {size} letters {text}",
            "the [pieces of equal length] of {text}, {size} long",
        ),
        unseen=(
            "slice {text} [into blocks of letters], {size} apiece",
            "the [segments of fixed size] in {text}, {size} letters each",
        ),
    ),
    WorldTool(
        function=count_words,
        draw={"text": phrase(least=2, most=5)},
        needs=(
            "the [number of words] in {text}",
            "how [many words] {text} has",
            "the [word count] of {text}",
        ),
        unseen=(
            "the [tally of words] in {text}",
            "how [many words long a text is], for {text}",
        ),
    ),
    WorldTool(
        function=count_characters,
        draw={"text": phrase(least=1, most=4)},
        needs=(
            "the [number of characters] in {text}",
            "how [many characters] {text} has",
            "the [length of the text] for {text}",
        ),
        unseen=(
            "the [character count] of {text}",
            "how [long in letters and spaces] {text} is",
        ),
    ),
)
