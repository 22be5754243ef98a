"""The audit chain: every change is an entry whose hash covers the one before it.

``hash = SHA-256(0x01 ‖ previous hash ‖ canonical({seq, at, actor, action, subject, payload_hash}))``; the payload's own
hash stands apart, so that personal data in a payload can be erased later while the chain still verifies.
A chain alone does not stop somebody who may rewrite the whole database: only anchors kept elsewhere do.

Canonical JSON is RFC 8785 restricted to what we allow in an entry: texts, integers below 2**53, booleans, null, lists and
objects with text keys. No floats. Within that subset sorted compact JSON *is* RFC 8785 when keys sort by UTF-16 code units.
"""

from __future__ import annotations

import hashlib
import json
import json.encoder
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

GENESIS = "0" * 64
_quoted = json.encoder.encode_basestring
_LARGEST_INTEGER = 2**53


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One link: who did what to which subject, when (aware UTC), with the canonical payload text."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    payload: str
    payload_hash: str
    prev_hash: str
    hash: str


def _utf16_key(pair: tuple[str, Any]) -> bytes:
    return pair[0].encode("utf-16-be")


def _ordered(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        if abs(value) >= _LARGEST_INTEGER:
            raise ValueError("integers of 2**53 and more are written as text in an audit entry")
        return int(value)
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("the keys of an audit entry are texts")
        if all(map(str.isascii, value)):
            return {str(key): _ordered(value[key]) for key in sorted(value)}
        return {str(key): _ordered(item) for key, item in sorted(value.items(), key=_utf16_key)}
    raise TypeError(f"{type(value).__name__} may not stand in an audit entry")


def canonical(value: Any) -> str:
    """Canonical JSON text (RFC 8785 within our subset); raises on floats, huge integers and lone surrogates."""
    text = json.dumps(_ordered(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text.encode("utf-8")  # a lone surrogate raises here, before anything is written
    return text


def rfc3339(at: datetime) -> str:
    """UTC text with microseconds and a Z, the only form of time in an entry."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def link(seq: int, at: datetime, actor: str, action: str, subject: str, payload: Any, prev_hash: str) -> AuditEntry:
    """Make the entry that follows ``prev_hash``."""
    text = canonical(payload)
    payload_hash = hashlib.sha256(text.encode()).hexdigest()
    return AuditEntry(
        seq,
        at,
        actor,
        action,
        subject,
        text,
        payload_hash,
        prev_hash,
        entry_hash(seq, at, actor, action, subject, payload_hash, prev_hash),
    )


def entry_hash(seq: int, at: datetime, actor: str, action: str, subject: str, payload_hash: str, prev_hash: str) -> str:
    """The hash of a link; ``prev_hash`` is hex.

    The text is ``canonical`` of the six fields, put together by hand: a verifier does this a million times.
    """
    text = (
        f'{{"action":{_quoted(action)},"actor":{_quoted(actor)},"at":"{rfc3339(at)}",'
        f'"payload_hash":{_quoted(payload_hash)},"seq":{seq:d},"subject":{_quoted(subject)}}}'
    )
    return hashlib.sha256(b"\x01" + bytes.fromhex(prev_hash) + text.encode()).hexdigest()
