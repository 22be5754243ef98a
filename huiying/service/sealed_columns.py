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


def _sealed(tx: Tx) -> Iterator[str]:
    columns = (
        person.c.mobile_sealed,
        person.c.email_sealed,
        person.c.im_sealed,
        channel.c.secrets_sealed,
        account.c.totp_sealed,
    )
    for column in columns:
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
