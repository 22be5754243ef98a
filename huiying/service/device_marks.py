"""Marks of browsers: who knows a name can lock its door, but not to a browser in which that person has signed in before.

A browser that has come all the way to an open desk keeps a random secret in a cookie; stored is its SHA-256, once for
each person who has signed in there: a duty seat is shared by its shifts. Attempts with a mark are counted on the mark.
The fifth wrong one ends it for good and closes the name's door as well, so that nobody gets another five. A mark signs
nobody in, replaces no factor and lifts no throttle, and every complete sign-in turns the browser's secret: a copy of it
is worth nothing afterwards.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.errors import NotAuthenticated
from huiying.service import lockout
from huiying.service.lockout import Door
from huiying.store import tables as t
from huiying.store.db import Tx

#: A browser in which a person has not signed in for so long is a stranger again.
LIVES = timedelta(days=90)
#: Wrong answers in a row, however far apart: only a complete sign-in starts the count anew.
ALLOWED = 5
#: More browsers than one person uses; those not used for longest make room.
MOST = 20
_LONGEST_SECRET = 100
_M = t.device_mark.c


def browser_of(tx: Tx, secret: str) -> str:
    """The browser that holds this secret; "" for a stranger."""
    if not secret or len(secret) > _LONGEST_SECRET:
        return ""
    alive = sa.and_(_M.secret_hash == _digest(secret), _M.expires_at > tx.now)
    return str(tx.value(sa.select(_M.browser_id).where(alive).limit(1)) or "")


def find(tx: Tx, browser_id: str, person_id: str) -> Any | None:
    """The living mark of this person in a browser, held until the transaction ends."""
    if not browser_id or not person_id:
        return None
    return tx.one(sa.select(t.device_mark).where(_is(browser_id, person_id), _M.expires_at > tx.now).with_for_update())


def fail(tx: Tx, mark: Any, door: Door, what: str) -> NotAuthenticated | None:
    """Count a wrong answer on a mark; gives the lock that falls with the last one allowed."""
    lockout.count_client(tx, door.client)
    subject, failures = f"person:{mark.person_id}", mark.failures + 1
    noted = {"what": what, "client": door.client[:64], "failures": failures, "browser": mark.browser_id}
    tx.audit("session.refused", subject, noted)
    if failures < ALLOWED:
        here = _is(mark.browser_id, mark.person_id)
        tx.run(t.device_mark.update().where(here).values(failures=failures))
        return None
    forget(tx, mark.person_id, mark.browser_id)
    tx.audit("session.mark_ended", subject, {"browser": mark.browser_id, "failures": failures})
    return lockout.close(tx, door)


def renew(tx: Tx, browser_id: str, person_id: str) -> tuple[str, str]:
    """After a complete sign-in: the browser's id and its new secret, for the cookie."""
    tx.run(t.device_mark.delete().where(_M.expires_at <= tx.now))
    browser_id, secret = browser_id or secrets.token_hex(8), secrets.token_urlsafe(32)
    fresh = {"secret_hash": _digest(secret), "failures": 0, "used_at": tx.now, "expires_at": tx.now + LIVES}
    # Two tabs at once: the second finds the first one's row.
    values = {"browser_id": browser_id, "person_id": person_id, **fresh}
    if tx.run(t.device_mark.update().where(_is(browser_id, person_id)).values(**fresh)).rowcount == 0:
        _insert(tx, values)
    # The others who use this browser keep their marks: there is one cookie for all of them.
    tx.run(t.device_mark.update().where(_M.browser_id == browser_id).values(secret_hash=_digest(secret)))
    _make_room(tx, person_id)
    return browser_id, secret


_INSERT = sa.text(
    "INSERT INTO device_mark (browser_id, person_id, secret_hash, failures, used_at, expires_at)"
    " VALUES (:browser_id, :person_id, :secret_hash, :failures, :used_at, :expires_at) ON CONFLICT DO NOTHING"
).bindparams(*(sa.bindparam(name, type_=_M[name].type) for name in ("used_at", "expires_at")))


def _insert(tx: Tx, values: dict[str, Any]) -> None:
    tx.run(_INSERT, values)


def _make_room(tx: Tx, person_id: str) -> None:
    rows = tx.all(sa.select(_M.browser_id).where(_M.person_id == person_id).order_by(_M.used_at.desc()).offset(MOST))
    for row in rows:
        forget(tx, person_id, row.browser_id)


def count(tx: Tx, person_id: str) -> int:
    """In how many browsers a person is known."""
    mine = sa.and_(_M.person_id == person_id, _M.expires_at > tx.now)
    return int(tx.value(sa.select(sa.func.count()).select_from(t.device_mark).where(mine)) or 0)


def forget(tx: Tx, person_id: str, browser_id: str) -> None:
    """Take a person's mark away in one browser; others keep theirs there."""
    tx.run(t.device_mark.delete().where(_is(browser_id, person_id)))


def forget_all(tx: Tx, person_id: str, *, but: str = "") -> None:
    """Take a person's marks away in every browser, perhaps but one."""
    tx.run(t.device_mark.delete().where(_M.person_id == person_id, _M.browser_id != but))


def _is(browser_id: str, person_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(_M.browser_id == browser_id, _M.person_id == person_id)


def _digest(secret: str) -> str:
    # 256 random bits: nothing is gained by a slow hash.
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
