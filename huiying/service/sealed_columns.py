"""Can what lies sealed in the database be opened with the key of this data directory? Asked after a restore."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from config.sealed import CannotOpen, Sealer
from huiying.store.db import Store, Tx
from huiying.store.tables import account, channel, person

_SEALED = "enc:"


def count_unreadable(store: Store, sealer: Sealer) -> int:
    """How many sealed values do not open; after a restore more than none means that the wrong ``secret.key`` lies there."""
    with store.reading() as tx:
        return sum(not _opens(sealer, text) for text in _sealed(tx))


#: Every column that holds sealed values, one in a text or several in a mapping.
COLUMNS = (
    person.c.mobile_sealed,
    person.c.email_sealed,
    person.c.im_sealed,
    channel.c.secrets_sealed,
    account.c.totp_sealed,
)


def count_behind(tx: Tx, sealer: Sealer) -> int:
    """How many sealed values the newest key alone does not open."""
    return sum(not sealer.is_newest(text) for text in _sealed(tx))


def reseal(tx: Tx, sealer: Sealer) -> int:
    """Seal anew what the newest key does not open; gives how many values. Raises CannotOpen for one that no key opens."""
    changed = 0
    for column in COLUMNS:
        table = column.table
        (identity,) = table.primary_key.columns
        for key, value in tx.all(sa.select(identity, column)):
            fresh, count = _anew(value, sealer)
            if count:
                tx.run(table.update().where(identity == key).values({column: fresh}))
                changed += count
    return changed


def _anew(value: Any, sealer: Sealer) -> tuple[Any, int]:
    if isinstance(value, dict):
        behind = [key for key, text in value.items() if _is_behind(text, sealer)]
        return {key: sealer.rotate(text) if key in behind else text for key, text in value.items()}, len(behind)
    return (sealer.rotate(value), 1) if _is_behind(value, sealer) else (value, 0)


def _is_behind(text: Any, sealer: Sealer) -> bool:
    return isinstance(text, str) and text.startswith(_SEALED) and not sealer.is_newest(text)


def _sealed(tx: Tx) -> Iterator[str]:
    for column in COLUMNS:
        for (value,) in tx.all(sa.select(column)):
            yield from _texts(value)


def _texts(value: Any) -> Iterator[str]:
    values: Iterable[Any] = value.values() if isinstance(value, dict) else [value]
    return (text for text in values if isinstance(text, str) and text.startswith(_SEALED))


def _opens(sealer: Sealer, text: str) -> bool:
    try:
        sealer.open(text)
    except CannotOpen:
        return False
    return True
