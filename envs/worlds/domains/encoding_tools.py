"""Writing a text in another alphabet, and reading it back."""

import base64
import binascii
import codecs
import html
import itertools
import quopri
import re
import urllib.parse

from envs.worlds.authoring import WorldTool, within
from envs.worlds.draws import encoded, letters, line, phrase, whole, word
from envs.worlds.kinds import Bits, Code, Ints, Text, Whole, Word

_SIGNS = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- "  # a to m
    "-. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.."
).split()
_MORSE = dict(zip("abcdefghijklmnopqrstuvwxyz", _SIGNS, strict=True))
_NATO = (
    "alfa bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa "
    "quebec romeo sierra tango uniform victor whiskey xray yankee zulu"
).split()
_SQUARE = "abcdefghiklmnopqrstuvwxyz"  # Polybius: i and j share a cell


def _shift(text: str, steps: int) -> str:
    return "".join(chr((ord(c.lower()) - 97 + steps) % 26 + 97) if c.isalpha() and c.isascii() else c for c in text)


def base64_encode(text: Text) -> Code:
    """Encode a text in Base64."""
    return base64.b64encode(text.encode()).decode()


def base64_decode(code: str) -> Text:
    """Decode a Base64 string back to its text."""
    return base64.b64decode(code, validate=True).decode()


def base32_encode(text: Text) -> Code:
    """Encode a text in Base32."""
    return base64.b32encode(text.encode()).decode()


def base85_encode(text: Text) -> Code:
    """Encode a text in Base85."""
    return base64.b85encode(text.encode()).decode()


def hex_encode(text: Text) -> Code:
    """Write the bytes of a text as hexadecimal digits."""
    return binascii.hexlify(text.encode()).decode()


def hex_decode(code: str) -> Text:
    """Read hexadecimal byte digits back as a text."""
    return bytes.fromhex(code).decode()


def binary_encode(text: Text) -> Bits:
    """Write the letters of a text as bytes of zeros and ones."""
    return "".join(f"{byte:08b}" for byte in text.encode())


def rot13(text: Text) -> Text:
    """Rotate the letters of a text by thirteen places, ROT13."""
    return codecs.encode(text, "rot13")


def caesar_cipher(text: Text, shift: int) -> Text:
    """Shift the letters of a text along the alphabet, Caesar's cipher."""
    within(shift, 1, 25, "shift")
    return _shift(text, shift)


def caesar_decipher(code: str, shift: int) -> Text:
    """Undo a Caesar shift of letters to recover the message."""
    within(shift, 1, 25, "shift")
    return _shift(code, -shift)


def vigenere_cipher(text: Word, key: str) -> Code:
    """Encrypt a word with a key word, Vigenere's cipher."""
    pairs = zip(text.lower(), itertools.cycle(key.lower()), strict=False)
    return "".join(_shift(c, ord(k) - 97) for c, k in pairs)


def atbash_cipher(text: Text) -> Text:
    """Mirror the alphabet in a text, a for z, the Atbash cipher."""
    return "".join(chr(219 - ord(c)) if "a" <= c <= "z" else c for c in text.lower())


def rail_fence_cipher(text: Text) -> Code:
    """Encrypt by taking every other letter first, a rail fence."""
    return text[::2] + text[1::2]


def polybius_square(text: Word) -> Code:
    """Encode letters as row and column digits of the Polybius square."""
    cells = (_SQUARE.index(c) for c in text.lower().replace("j", "i"))
    return "".join(f"{cell // 5 + 1}{cell % 5 + 1}" for cell in cells)


def morse_encode(text: Word) -> Code:
    """Write a word in Morse code, dots and dashes."""
    return " ".join(_MORSE[c] for c in text.lower() if c in _MORSE)


def morse_decode(code: str) -> Word:
    """Read a word from Morse code, dots and dashes."""
    letters_of = {signs: letter for letter, signs in _MORSE.items()}
    return "".join(letters_of.get(signs, "?") for signs in code.split())


def nato_spelling(text: Word) -> Code:
    """Spell a word in the NATO phonetic alphabet, as on the radio."""
    return " ".join(_NATO[ord(c) - 97] for c in text.lower() if c.isascii() and c.isalpha())


def url_encode(text: Text) -> Code:
    """Percent-encode a text for use in a URL."""
    return urllib.parse.quote(text, safe="")


def url_decode(code: str) -> Text:
    """Decode the percent signs of a URL back to a text."""
    return urllib.parse.unquote(code)


def html_escape(text: Text) -> Code:
    """Escape the special characters of a text for HTML."""
    return html.escape(text)


def quoted_printable(text: Text) -> Code:
    """Encode a text for e-mail as quoted-printable."""
    return quopri.encodestring(text.encode()).decode()


def character_codes(text: Text) -> Ints:
    """List the ASCII or Unicode code numbers of the characters."""
    return [ord(c) for c in text]


def letter_numbers(text: Word) -> Ints:
    """List the alphabet position of each letter, a being one."""
    return [ord(c) - 96 for c in text.lower() if "a" <= c <= "z"]


def run_length_encode(text: Text) -> Code:
    """Compress repeated characters to a count and the character."""
    return "".join(f"{len(list(run))}{c}" for c, run in itertools.groupby(text))


def run_length_decode(code: str) -> Text:
    """Expand counts and characters of a run-length code again."""
    runs = re.findall(r"(\d{1,2})(\D)", code)
    return "".join(int(count) * c for count, c in runs)


def utf16_length(text: Text) -> Whole:
    """Count the bytes of a text in the UTF-16 encoding."""
    return len(text.encode("utf-16-le"))


TOOLS = (
    WorldTool(
        function=base64_encode,
        draw={"text": line()},
        needs=(
            "the [Base64 encoding] of {text}",
            "encode {text} [in Base64]",
            "the [Base64 form] of {text}",
        ),
        unseen=(
            "turn {text} [into a b64 string]",
            "the [base 64 encoded text] for {text}",
        ),
    ),
    WorldTool(
        function=base64_decode,
        draw={"code": encoded(base64_encode, line())},
        needs=(
            "the [text behind the Base64 string] {code}",
            "[decode Base64] from {code}",
            "read {code} [back from Base64]",
        ),
        unseen=(
            "what the [Base64 string says once decoded], given {code}",
            "the [plain text of a Base64 message], {code}",
        ),
    ),
    WorldTool(
        function=base32_encode,
        draw={"text": line()},
        needs=(
            "the [Base32 encoding] of {text}",
            "encode {text} [in Base32]",
            "the [Base32 form] of {text}",
        ),
        unseen=(
            "turn {text} [into a b32 string]",
            "the [base 32 encoded text] for {text}",
        ),
    ),
    WorldTool(
        function=base85_encode,
        draw={"text": line()},
        needs=(
            "the [Base85 encoding] of {text}",
            "encode {text} [in Base85]",
            "the [Base85 form] of {text}",
        ),
        unseen=(
            "turn {text} [into a b85 string]",
            "the [base 85 encoded text] for {text}",
        ),
    ),
    WorldTool(
        function=hex_encode,
        draw={"text": line()},
        needs=(
            "the [hexadecimal bytes] of {text}",
            "encode {text} [as hex digits]",
            "the [hex dump of the text] for {text}",
        ),
        unseen=(
            "turn {text} [into base-16 byte codes]",
            "the [bytes of a text in hex] for {text}",
        ),
    ),
    WorldTool(
        function=hex_decode,
        draw={"code": encoded(hex_encode, word(most=8))},
        needs=(
            "the [text behind the hex digits] {code}",
            "[decode hexadecimal bytes] from {code}",
            "read {code} [back from hex to text]",
        ),
        unseen=(
            "what the [hex bytes spell] in {code}",
            "the [plain text of a hex string], {code}",
        ),
    ),
    WorldTool(
        function=binary_encode,
        draw={"text": letters("abcdefghijklmnopqrstuvwxyz", least=2, most=3)},
        needs=(
            "the [binary bytes] of {text}",
            "write {text} [as zeros and ones]",
            "the [bits of the letters] in {text}",
        ),
        unseen=(
            "turn {text} [into eight-bit binary text]",
            "the [ones and zeros that spell] {text}",
        ),
    ),
    WorldTool(
        function=rot13,
        draw={"text": line()},
        needs=(
            "the [ROT13] of {text}",
            "[rotate the letters by thirteen] in {text}",
            "hide {text} [with the ROT13 cipher]",
        ),
        unseen=(
            "scramble {text} [by a thirteen-place letter rotation]",
            "the [rot-13 spoiler text] for {text}",
        ),
    ),
    WorldTool(
        function=caesar_cipher,
        draw={"text": line(), "shift": whole(1, 25)},
        needs=(
            "the [Caesar cipher] of {text} with shift {shift}",
            "[shift the letters along the alphabet] in {text} by {shift}",
            "encrypt {text} [like Caesar] with a shift of {shift}",
        ),
        unseen=(
            "move [letters along the alphabet by a shift] in {text}, {shift} places",
            "the [secret text by Caesar's letter shift] for {text} and {shift}",
        ),
    ),
    WorldTool(
        function=caesar_decipher,
        draw={"code": encoded(lambda text: _shift(text, 7), line()), "shift": whole(1, 25)},
        needs=(
            "[undo the Caesar shift] of {shift} in {code}",
            "[decrypt a Caesar cipher] {code} made with {shift}",
            "the [message behind a Caesar code] {code} with shift {shift}",
        ),
        unseen=(
            "[shift the letters back] in {code} by {shift} to read it",
            "the [original of a Caesar-encrypted text], {code} under {shift}",
        ),
    ),
    WorldTool(
        function=vigenere_cipher,
        draw={"text": word(), "key": word(most=5)},
        needs=(
            "the [Vigenere cipher] of {text} with key {key}",
            "encrypt {text} [with a key word], {key}",
            "the [Vigenere encryption] of {text} under {key}",
        ),
        unseen=(
            "the [polyalphabetic cipher text] of {text} by keyword {key}",
            "scramble {text} [with a key word like Vigenere], {key}",
        ),
    ),
    WorldTool(
        function=atbash_cipher,
        draw={"text": line()},
        needs=(
            "the [Atbash cipher] of {text}",
            "[mirror the alphabet, a for z,] in {text}",
            "encrypt {text} [by Atbash]",
        ),
        unseen=(
            "swap [a with z, b with y and so on] in {text}",
            "the [alphabet-mirroring cipher] for {text}",
        ),
    ),
    WorldTool(
        function=rail_fence_cipher,
        draw={"text": phrase()},
        needs=(
            "the [rail fence cipher] of {text}",
            "encrypt {text} [on two rails]",
            "scatter {text} over two rails, [a rail fence encryption]",
        ),
        unseen=(
            "the [zigzag transposition cipher] of {text}",
            "scramble {text} [by a fence cipher taking every other letter]",
        ),
    ),
    WorldTool(
        function=polybius_square,
        draw={"text": word()},
        needs=(
            "the [Polybius square code] of {text}",
            "encode {text} [as rows and columns of a letter square]",
            "the [Polybius digits] for {text}",
        ),
        unseen=(
            "the [five-by-five letter grid coordinates] of {text}",
            "the [tap code digits by row and column] of {text}",
        ),
    ),
    WorldTool(
        function=morse_encode,
        draw={"text": word(most=7)},
        needs=(
            "the [Morse code] of {text}",
            "write {text} [in dots and dashes]",
            "encode {text} [in Morse]",
        ),
        unseen=(
            "the [telegraph signals] for {text}",
            "tap out {text} [as a Morse message]",
        ),
    ),
    WorldTool(
        function=morse_decode,
        draw={"code": encoded(morse_encode, word(most=7))},
        needs=(
            "the [word behind the Morse code] {code}",
            "[decode Morse] from {code}",
            "read {code} [back from dots and dashes]",
        ),
        unseen=(
            "what the [Morse signals spell] in {code}",
            "translate {code} [from telegraph dots and dashes to letters]",
        ),
    ),
    WorldTool(
        function=nato_spelling,
        draw={"text": word(least=3, most=5)},
        needs=(
            "the [NATO phonetic spelling] of {text}",
            "spell {text} [in the NATO alphabet]",
            "the [radio spelling alphabet] for {text}",
        ),
        unseen=(
            "spell {text} [like a pilot, alfa bravo charlie]",
            "the [phonetic alphabet used on the radio] for {text}",
        ),
    ),
    WorldTool(
        function=url_encode,
        draw={"text": phrase()},
        needs=(
            "the [URL encoding] of {text}",
            "[percent-encode] {text}",
            "make {text} [safe for a URL]",
        ),
        unseen=(
            "escape {text} [for a web address with percent signs]",
            "the [query-string escaping] of {text}",
        ),
    ),
    WorldTool(
        function=url_decode,
        draw={"code": encoded(url_encode, phrase())},
        needs=(
            "the [text behind the percent-encoded] {code}",
            "[decode the URL escapes] in {code}",
            "read {code} [back from percent encoding]",
        ),
        unseen=(
            "[unescape a web address] with percent signs such as {code}",
            "the [plain text of a URL-encoded string], {code}",
        ),
    ),
    WorldTool(
        function=html_escape,
        draw={
            "text": lambda r: f"{word(most=6)(r)} {r.choice('&<>')} {word(most=6)(r)}",
        },
        needs=(
            "the [HTML-escaped form] of {text}",
            "[escape for HTML] the characters in {text}",
            "make {text} [safe for an HTML page]",
        ),
        unseen=(
            "write {text} [with HTML entities]",
            "[protect markup characters for a web page] in {text}",
        ),
    ),
    WorldTool(
        function=quoted_printable,
        draw={"text": lambda r: f"{word()(r)}={r.randint(1, 99)}"},
        needs=(
            "the [quoted-printable encoding] of {text}",
            "encode {text} [for e-mail as quoted-printable]",
            "the [quoted-printable form] of {text}",
        ),
        unseen=(
            "make {text} [safe for mail transport, quoted-printable]",
            "the [MIME quoted text] for {text}",
        ),
    ),
    WorldTool(
        function=character_codes,
        draw={"text": word(least=3, most=5)},
        needs=(
            "the [ASCII codes] of {text}",
            "the [character code numbers] in {text}",
            "list the [Unicode code points] of {text}",
        ),
        unseen=(
            "the [ASCII numbers of the letters] in {text}",
            "which [code point each character has] in {text}",
        ),
    ),
    WorldTool(
        function=letter_numbers,
        draw={"text": word(least=3, most=7)},
        needs=(
            "the [alphabet positions of the letters] in {text}",
            "write {text} [as letter numbers with a=1]",
            "list [where each letter stands in the alphabet] for {text}",
        ),
        unseen=(
            "the [position numbers of letters in the alphabet] for {text}",
            "turn {text} [into numbers by alphabet place]",
        ),
    ),
    WorldTool(
        function=run_length_encode,
        draw={"text": letters("aaab", least=5, most=12)},
        needs=(
            "the [run-length encoding] of {text}",
            "[compress repeated characters] in {text}",
            "the [repeated characters written as counts] for {text}",
        ),
        unseen=(
            "shrink {text} [by writing each run as count and letter]",
            "the [RLE compression] of {text}",
        ),
    ),
    WorldTool(
        function=run_length_decode,
        draw={"code": encoded(run_length_encode, letters("aabcd", least=5, most=10))},
        needs=(
            "the [text behind the run-length code] {code}",
            "[expand the run-length code] {code}",
            "[decompress counts and letters] in {code}",
        ),
        unseen=(
            "[expand a run-length compressed code] such as {code}",
            "write out [characters by their counts from run-length code] in {code}",
        ),
    ),
    WorldTool(
        function=utf16_length,
        draw={"text": phrase(least=1, most=4)},
        needs=(
            "the [number of bytes in UTF-16] of {text}",
            "how [many UTF-16 bytes] {text} takes",
            "the [UTF-16 size] of {text}",
        ),
        unseen=(
            "the [storage size in UTF-16 bytes] of {text}",
            "how [many bytes wide characters need] for {text}",
        ),
    ),
)
