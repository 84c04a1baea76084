"""Digests, checksums and check digits. Digests are cut to eight hex digits, short enough to be copied."""

import hashlib
import hmac
import uuid
import zlib

from envs.worlds.authoring import WorldTool
from envs.worlds.draws import encoded, ints, letters, line, word
from envs.worlds.kinds import Code, Ints, Text, Verdict, Whole

_DIGITS = 8
_DECIMAL = "0123456789"


def _numbers(digits: str, count: int | None = None) -> list[int]:
    if not digits.isdecimal() or (count is not None and len(digits) != count):
        raise ValueError(f"give {count or 'only'} decimal digits")
    return [int(digit) for digit in digits]


def md5_digest(text: Text) -> Code:
    """The MD5 digest of a text, first eight hex digits."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:_DIGITS]


def sha1_digest(text: Text) -> Code:
    """The SHA-1 digest of a text, first eight hex digits."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:_DIGITS]


def sha256_digest(text: Text) -> Code:
    """The SHA-256 digest of a text, first eight hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def sha512_digest(text: Text) -> Code:
    """The SHA-512 digest of a text, first eight hex digits."""
    return hashlib.sha512(text.encode()).hexdigest()[:_DIGITS]


def sha3_digest(text: Text) -> Code:
    """The SHA-3 (Keccak) digest of a text, first eight hex digits."""
    return hashlib.sha3_256(text.encode()).hexdigest()[:_DIGITS]


def blake2_digest(text: Text) -> Code:
    """The BLAKE2 digest of a text, first eight hex digits."""
    return hashlib.blake2b(text.encode(), digest_size=_DIGITS // 2).hexdigest()


def keyed_digest(text: Text, key: str) -> Code:
    """The HMAC signature of a text under a secret key, eight hex digits."""
    return hmac.new(key.encode(), text.encode(), "sha256").hexdigest()[:_DIGITS]


def crc32_checksum(text: Text) -> Code:
    """The CRC-32 cyclic redundancy check of a text, in hex."""
    return f"{zlib.crc32(text.encode()):08x}"


def adler32_checksum(text: Text) -> Code:
    """The Adler-32 checksum of a text, in hex."""
    return f"{zlib.adler32(text.encode()):08x}"


def fletcher16_checksum(text: Text) -> Code:
    """The Fletcher-16 checksum of a text, two running sums, in hex."""
    low = high = 0
    for byte in text.encode():
        low = (low + byte) % 255
        high = (high + low) % 255
    return f"{high:02x}{low:02x}"


def fnv1a_hash(text: Text) -> Code:
    """The FNV-1a hash of a text, 32 bits, in hex."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return f"{value:08x}"


def djb2_hash(text: Text) -> Whole:
    """Bernstein's djb2 hash of a text as a 32-bit number."""
    value = 5381
    for byte in text.encode():
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value


def byte_sum_checksum(text: Text) -> Whole:
    """The sum of a text's bytes modulo 256."""
    return sum(text.encode()) % 256


def xor_checksum(text: Text) -> Whole:
    """Exclusive-or all bytes of a text together, a one-byte checksum."""
    value = 0
    for byte in text.encode():
        value ^= byte
    return value


def parity_bit(values: Ints) -> Whole:
    """The even-parity bit, 0 or 1, for the bits of listed numbers."""
    return sum(bin(value).count("1") for value in values) % 2


def name_uuid(text: Text) -> Code:
    """The first block of the name-based UUID for a domain name."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, text)).split("-")[0]


def luhn_check_digit(digits: str) -> Whole:
    """The Luhn check digit that completes a card number."""
    doubled = (2 * d if i % 2 == 0 else d for i, d in enumerate(reversed(_numbers(digits))))
    return -sum(d - 9 * (d > 9) for d in doubled) % 10


def is_valid_luhn(digits: str) -> Verdict:
    """Check whether a card number passes the Luhn test."""
    *body, last = _numbers(digits)
    return "yes" if luhn_check_digit("".join(map(str, body))) == last else "no"


def isbn10_check_digit(digits: str) -> Code:
    """The check digit that completes a nine-digit ISBN of a book."""
    total = sum((10 - i) * d for i, d in enumerate(_numbers(digits, 9)))
    return "0123456789X"[-total % 11]


def ean13_check_digit(digits: str) -> Whole:
    """The check digit that completes a twelve-digit EAN product barcode."""
    return -sum(d * (3 if i % 2 else 1) for i, d in enumerate(_numbers(digits, 12))) % 10


def account_check_digits(digits: str) -> Whole:
    """The two check digits, 98 minus modulo 97, for a bank account number."""
    return 98 - int("".join(map(str, _numbers(digits)))) * 100 % 97


def _with_luhn(digits: str) -> str:
    good = luhn_check_digit(digits)
    return f"{digits}{good if int(digits[0]) % 2 else (good + 3) % 10}"


TOOLS = (
    WorldTool(
        function=md5_digest,
        draw={"text": line()},
        needs=(
            "the [MD5 digest] of {text}",
            "hash {text} [with MD5]",
            "the [md5sum] of {text}",
        ),
        unseen=(
            "the [MD5 fingerprint] of {text}",
            "run [message digest five, MD5,] over {text}",
        ),
    ),
    WorldTool(
        function=sha1_digest,
        draw={"text": line()},
        needs=(
            "the [SHA-1 digest] of {text}",
            "hash {text} [with SHA-1]",
            "the [sha1 hash] of {text}",
        ),
        unseen=(
            "the [SHA-1 fingerprint] of {text}",
            "run [the secure hash SHA1] over {text}",
        ),
    ),
    WorldTool(
        function=sha256_digest,
        draw={"text": line()},
        needs=(
            "the [SHA-256 digest] of {text}",
            "hash {text} [with SHA-256]",
            "the [sha256 hash] of {text}",
        ),
        unseen=(
            "the [SHA-256 fingerprint] of {text}",
            "run [the 256-bit secure hash SHA256] over {text}",
        ),
    ),
    WorldTool(
        function=sha512_digest,
        draw={"text": line()},
        needs=(
            "the [SHA-512 digest] of {text}",
            "hash {text} [with SHA-512]",
            "the [sha512 hash] of {text}",
        ),
        unseen=(
            "the [SHA-512 fingerprint] of {text}",
            "run [the 512-bit secure hash SHA512] over {text}",
        ),
    ),
    WorldTool(
        function=sha3_digest,
        draw={"text": line()},
        needs=(
            "the [SHA-3 digest] of {text}",
            "hash {text} [with SHA-3]",
            "the [Keccak hash] of {text}",
        ),
        unseen=(
            "the [SHA-3 fingerprint] of {text}",
            "run [the Keccak sponge hash] over {text}",
        ),
    ),
    WorldTool(
        function=blake2_digest,
        draw={"text": line()},
        needs=(
            "the [BLAKE2 digest] of {text}",
            "hash {text} [with BLAKE2]",
            "the [BLAKE hash] of {text}",
        ),
        unseen=(
            "the [BLAKE2 fingerprint] of {text}",
            "run [the fast hash BLAKE2b] over {text}",
        ),
    ),
    WorldTool(
        function=keyed_digest,
        draw={"text": line(), "key": word(most=6)},
        needs=(
            "the [HMAC signature] of {text} under the key {key}",
            "sign {text} [with a secret key] {key}",
            "the [keyed digest] of {text} with key {key}",
        ),
        unseen=(
            "the [message authentication code] of {text} for key {key}",
            "the [signature by a shared secret] {key} over {text}",
        ),
    ),
    WorldTool(
        function=crc32_checksum,
        draw={"text": line()},
        needs=(
            "the [CRC-32] of {text}",
            "the [cyclic redundancy check] of {text}",
            "the [crc32 checksum] of {text}",
        ),
        unseen=(
            "the [CRC code as used in zip files] for {text}",
            "run [a 32-bit CRC] over {text}",
        ),
    ),
    WorldTool(
        function=adler32_checksum,
        draw={"text": line()},
        needs=(
            "the [Adler-32 checksum] of {text}",
            "the [Adler checksum] of {text}",
            "checksum {text} [with Adler-32]",
        ),
        unseen=(
            "the [checksum by Mark Adler, as in zlib,] for {text}",
            "run [Adler32] over {text}",
        ),
    ),
    WorldTool(
        function=fletcher16_checksum,
        draw={"text": line()},
        needs=(
            "the [Fletcher-16 checksum] of {text}",
            "the [Fletcher checksum] of {text}",
            "checksum {text} [with Fletcher-16]",
        ),
        unseen=(
            "the [checksum from two running sums by Fletcher] for {text}",
            "run [Fletcher16] over {text}",
        ),
    ),
    WorldTool(
        function=fnv1a_hash,
        draw={"text": line()},
        needs=(
            "the [FNV-1a hash] of {text}",
            "hash {text} [with FNV-1a]",
            "the [Fowler-Noll-Vo FNV hash] of {text}",
        ),
        unseen=(
            "run [the FNV1a hash function] over {text}",
            "the [FNV fingerprint] of {text}",
        ),
    ),
    WorldTool(
        function=djb2_hash,
        draw={"text": line()},
        needs=(
            "the [djb2 hash] of {text}",
            "hash {text} [with Bernstein's function]",
            "the [Bernstein hash number] of {text}",
        ),
        unseen=(
            "run [djb2] over {text}",
            "the [times-33 string hash of Bernstein] for {text}",
        ),
    ),
    WorldTool(
        function=byte_sum_checksum,
        draw={"text": line()},
        needs=(
            "the [sum of the bytes modulo 256] of {text}",
            "the [byte sum checksum] of {text}",
            "add up [all the bytes mod 256] of {text}",
        ),
        unseen=(
            "the [bytes added up, kept in one byte,] for {text}",
            "the [additive eight-bit checksum] of {text}",
        ),
    ),
    WorldTool(
        function=xor_checksum,
        draw={"text": line()},
        needs=(
            "the [XOR checksum] of {text}",
            "the [exclusive-or of all bytes] in {text}",
            "combine {text} [byte by byte with exclusive or]",
        ),
        unseen=(
            "the [longitudinal redundancy check by xor] of {text}",
            "the [bytes xored together] for {text}",
        ),
    ),
    WorldTool(
        function=parity_bit,
        draw={"values": ints(1, 255)},
        needs=(
            "the [parity bit] for {values}",
            "the [even parity] over {values}",
            "which [parity bit completes] {values}",
        ),
        unseen=(
            "which [parity value, 0 or 1, evens the one-bits] of {values}",
            "the [bit that makes the parity even] for {values}",
        ),
    ),
    WorldTool(
        function=name_uuid,
        draw={"text": encoded(lambda stem: f"{stem}.org", word(most=8))},
        needs=(
            "the [name-based UUID] for {text}",
            "the [UUID of a domain name] such as {text}",
            "the [unique identifier derived from a name], {text}",
        ),
        unseen=(
            "the [version 5 UUID] of {text}",
            "the [universally unique ID for a host name], {text}",
        ),
    ),
    WorldTool(
        function=luhn_check_digit,
        draw={"digits": letters(_DECIMAL, least=7, most=9)},
        needs=(
            "the [Luhn check digit] for {digits}",
            "which [digit completes a card number] {digits}",
            "the [credit card check digit] of {digits}",
        ),
        unseen=(
            "the [mod-10 control digit of a card] after {digits}",
            "which [last digit makes the Luhn sum right] for {digits}",
        ),
    ),
    WorldTool(
        function=is_valid_luhn,
        draw={"digits": encoded(_with_luhn, letters(_DECIMAL, least=7, most=8))},
        needs=(
            "whether {digits} [passes the Luhn test]",
            "whether {digits} [is a valid card number]",
            "check {digits} [by the Luhn formula]",
        ),
        unseen=(
            "whether {digits} [could be a genuine card number]",
            "whether the [card number is correct by Luhn], {digits}",
        ),
    ),
    WorldTool(
        function=isbn10_check_digit,
        draw={"digits": letters(_DECIMAL, least=9, most=9)},
        needs=(
            "the [ISBN check digit] for {digits}",
            "which [digit completes the ISBN] {digits}",
            "the [book number check digit] after {digits}",
        ),
        unseen=(
            "the [control digit of a book's ISBN-10] after {digits}",
            "the [final ISBN character of a book] numbered {digits}",
        ),
    ),
    WorldTool(
        function=ean13_check_digit,
        draw={"digits": letters(_DECIMAL, least=12, most=12)},
        needs=(
            "the [EAN check digit] for {digits}",
            "which [digit completes the product barcode] {digits}",
            "the [barcode check digit] after {digits}",
        ),
        unseen=(
            "the [control digit of a supermarket barcode] after {digits}",
            "the [thirteenth digit of the EAN] {digits}",
        ),
    ),
    WorldTool(
        function=account_check_digits,
        draw={"digits": letters(_DECIMAL, least=9, most=12)},
        needs=(
            "the [bank account check digits] for {digits}",
            "the [modulo 97 check] of an account {digits}",
            "the [two IBAN-style check digits] after {digits}",
        ),
        unseen=(
            "the [control number of a bank account] {digits}",
            "the [IBAN mod-97 checksum] of {digits}",
        ),
    ),
)
