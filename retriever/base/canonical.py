"""One spelling for JSON values, so that equal content has equal text and equal hashes."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any


def canonical_json(value: Any) -> str:
    """Sorted keys, no spaces, unicode kept; NaN and infinities are refused with ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: Any) -> str:
    """SHA-256, hex, of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def list_hash(values: Iterable[Any]) -> str:
    """`content_hash(list(values))`, without the list: one value at a time."""
    digest = hashlib.sha256(b"[")
    for place, value in enumerate(values):
        digest.update(f"{',' if place else ''}{canonical_json(value)}".encode())
    digest.update(b"]")
    return digest.hexdigest()


def same_json(left: Any, right: Any) -> bool:
    """Equal as JSON: 2 equals 2.0 (a number is a number), true does not equal 1, order of keys is nothing."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same_json(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same_json, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)
