"""Has anything changed? A mark of how far the append-only tables are written, cheap enough to be asked twice a second."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Self

import sqlalchemy as sa

from huiying.service.services import Services
from huiying.store import tables as t

#: Rows that count. PostgreSQL may show a number after a higher one, as far apart as transactions overlap; a maximum
#: alone would not move for the late one.
_NEWEST = 100


@dataclass(frozen=True, slots=True)
class Mark:
    """One number for each table, the sum of its newest row numbers: it grows with every row that comes into sight."""

    clock_event: int = 0
    history: int = 0
    acknowledgement: int = 0
    attempt: int = 0

    def changes_queue(self, before: Mark) -> bool:
        """Whether the queue may look different from what it was at that mark; messages alone do not change it."""
        mine = (self.clock_event, self.history, self.acknowledgement)
        then = (before.clock_event, before.history, before.acknowledgement)
        return any(now > old for now, old in zip(mine, then, strict=True))

    def is_news_after(self, before: Mark) -> bool:
        """Whether anything at all has come into sight since that mark."""
        return self.changes_queue(before) or self.attempt > before.attempt

    def __str__(self) -> str:
        return ".".join(map(str, astuple(self)))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The mark that a page carries; None where the text is none."""
        parts = text.split(".")
        if len(parts) != len(cls.__slots__) or not all(part.isascii() and part.isdecimal() for part in parts):
            return None
        return cls(*map(int, parts))


def mark(services: Services) -> Mark:
    """Read the ends of the tables: four walks over the end of a primary key."""
    tables = (t.clock_event, t.history, t.acknowledgement, t.delivery_attempt)
    with services.store.reading() as tx:
        row = tx.one(sa.select(*map(_sum_of_newest, tables)))
        return Mark(*(int(number or 0) for number in (row or ())))


def _sum_of_newest(table: sa.Table) -> sa.ScalarSelect[int]:
    newest = sa.select(table.c.id).order_by(table.c.id.desc()).limit(_NEWEST).subquery()
    return sa.select(sa.func.sum(newest.c.id)).scalar_subquery()
