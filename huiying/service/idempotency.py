"""One request, one effect: the answer to a key is kept with the hash of what was asked."""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa

from huiying.domain.audit import canonical
from huiying.domain.errors import Conflict, InvalidInput
from huiying.store import tables as t
from huiying.store.db import Tx

_CLAIM = sa.text(
    "INSERT INTO idempotency (actor, key, request_hash, answer, created_at) VALUES (:actor, :key, :hash, 'null', :at) "
    "ON CONFLICT (actor, key) DO NOTHING"
).bindparams(sa.bindparam("at", type_=t.idempotency.c.created_at.type))
_KEY_LIMIT = 200


def request_hash(value: Any) -> str:
    """SHA-256 of the canonical request."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def recall(tx: Tx, actor: str, key: str, digest: str) -> Any | None:
    """Claim the key inside the transaction; gives the earlier answer when the same request was made before.

    A concurrent request with the same key waits at the claim until the first one has ended.
    """
    if not key:
        return None
    if len(key) > _KEY_LIMIT or not key.isprintable():
        raise InvalidInput("Idempotency-Key", "Idempotency-Key 须为可见字符，最长 200 位。内容未登记。")
    if tx.run(_CLAIM, {"actor": actor, "key": key, "hash": digest, "at": tx.now}).rowcount == 1:
        return None
    table = t.idempotency
    row = tx.one(sa.select(table.c.request_hash, table.c.answer).where(table.c.actor == actor, table.c.key == key))
    assert row is not None
    if row.request_hash != digest:
        raise Conflict("同一个 Idempotency-Key 已用于另一份内容不同的登记，本次未登记。请换用新的 Key。")
    return row.answer


def remember(tx: Tx, actor: str, key: str, answer: Any) -> None:
    """Keep the answer for the claimed key."""
    if key:
        table = t.idempotency
        tx.run(table.update().where(table.c.actor == actor, table.c.key == key).values(answer=answer))
