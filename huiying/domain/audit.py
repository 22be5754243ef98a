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
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

GENESIS = "0" * 64
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


def _ordered(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        if abs(value) >= _LARGEST_INTEGER:
            message = "integers of 2**53 and more are written as text in an audit entry"
            raise ValueError(message)
        return int(value)
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    if isinstance(value, dict):
        if all(key.isascii() for key in value):
            return {str(key): _ordered(value[key]) for key in sorted(value)}
        return {key: _ordered(item) for key, item in sorted(value.items(), key=_utf16_key)}
    message = f"{type(value).__name__} may not stand in an audit entry"
    raise TypeError(message)


def canonical(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Canonical JSON text (RFC 8785 within our subset); raises on floats, huge integers and lone surrogates."""
    text = json.dumps(_ordered(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text.encode("utf-8")  # a lone surrogate raises here, before anything is written
    return text


def rfc3339(at: datetime) -> str:
    """UTC text with microseconds and a Z, the only form of time in an entry."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def link(seq: int, at: datetime, actor: str, action: str, subject: str, payload: Any, prev_hash: str) -> AuditEntry:  # noqa: ANN401, PLR0913
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


def entry_hash(seq: int, at: datetime, actor: str, action: str, subject: str, payload_hash: str, prev_hash: str) -> str:  # noqa: PLR0913
    """The hash of a link; ``prev_hash`` is hex."""
    head = {
        "seq": seq,
        "at": rfc3339(at),
        "actor": actor,
        "action": action,
        "subject": subject,
        "payload_hash": payload_hash,
    }
    return hashlib.sha256(b"\x01" + bytes.fromhex(prev_hash) + canonical(head).encode()).hexdigest()
