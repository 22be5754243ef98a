"""Failed sign-ins, counted per typed name, per desk and per network address in the database.

A name that does not exist is counted and locked like one that does, so that no answer tells them apart. The name is
kept as a hash: what somebody types there by mistake may be a password. Each kind of key has a prefix of its own: nothing
that is typed as a name reaches the door of a desk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from huiying.domain.errors import NotAuthenticated
from huiying.domain.sentences import Sentence, said
from huiying.store.db import Tx
from huiying.store.tables import login_failure
from huiying.store.types import to_micros

#: Five wrong answers, none more than a quarter of an hour after the last, close the door for a quarter of an hour.
NAME_FAILURES = 5
#: A whole office may stand behind one address; a machine that tries names is stopped all the same.
CLIENT_FAILURES = 30
WINDOW = timedelta(minutes=15)
_FORGOTTEN_AFTER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Failure:
    """One more failure: how many there are now, and whether this one has closed the door."""

    failures: int
    locks: bool


def name_key(name: str) -> str:
    """The key of a typed name."""
    return "name:" + hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:40]


def desk_key(session_id: str) -> str:
    """The key of a desk, by the session that is locked there."""
    return "desk:" + session_id


def client_key(client: str) -> str:
    """The key of a network address."""
    return "client:" + client[:64]


def locked_until(tx: Tx, key: str) -> datetime | None:
    """When a closed door opens again; None where it stands open."""
    row = tx.one(sa.select(login_failure.c.locked_until).where(login_failure.c.key == key))
    return row.locked_until if row is not None and row.locked_until and row.locked_until > tx.now else None


def note_failure(tx: Tx, key: str, allowed: int) -> Failure:
    """Count a failure; the last allowed one locks."""
    _forget_old(tx)
    fresh = {"key": key, "at": to_micros(tx.now)}
    # Two first failures at once: the second waits for the first one's row, and then counts on.
    tx.run(
        sa.text("INSERT INTO login_failure (key, last_at, failures) VALUES (:key, :at, 0) ON CONFLICT DO NOTHING"),
        fresh,
    )
    (row,) = tx.all(sa.select(login_failure).where(login_failure.c.key == key).with_for_update())
    failures = 1 + (row.failures if tx.now - row.last_at <= WINDOW else 0)
    locks = failures >= allowed
    values = {"failures": 0 if locks else failures, "last_at": tx.now}
    until = {"locked_until": tx.now + WINDOW} if locks else {}
    tx.run(login_failure.update().where(login_failure.c.key == key).values(**values, **until))
    return Failure(failures, locks)


def forgive(tx: Tx, key: str) -> bool:
    """Forget the failures and the lock of a key; tells whether there were any."""
    return bool(tx.run(login_failure.delete().where(login_failure.c.key == key)).rowcount)


def _forget_old(tx: Tx) -> None:
    c = login_failure.c
    over = sa.or_(c.locked_until.is_(None), c.locked_until < tx.now)
    tx.run(login_failure.delete().where(c.last_at < tx.now - _FORGOTTEN_AFTER, over))


def _crowded(minutes: int) -> Sentence:
    return said("此网络地址登录失败次数过多，请在 %(minutes)s 分钟后再试。", minutes=minutes)


def _name_locked(minutes: int) -> Sentence:
    return said("连续输错 5 次，此用户编号已锁定。请在 %(minutes)s 分钟后再试，或请管理员解锁。", minutes=minutes)


def _desk_locked(minutes: int) -> Sentence:
    return said("连续输错 5 次，本席位暂不能解锁。请在 %(minutes)s 分钟后再试，或退出后重新登录。", minutes=minutes)


@dataclass(frozen=True, slots=True)
class Door:
    """Where somebody knocks: the key it is counted by, the person behind it (empty: nobody), the network address."""

    key: str
    person_id: str
    client: str
    locked: Callable[[int], Sentence] = _name_locked


def crowd(tx: Tx, client: str) -> NotAuthenticated | None:
    """The refusal where an address may not even try."""
    return _shut(tx, client_key(client), _crowded)


def shut(tx: Tx, name: str) -> NotAuthenticated | None:
    """The refusal where a name is refused whatever is typed with it."""
    return _shut(tx, name_key(name), _name_locked)


def shut_door(tx: Tx, door: Door) -> NotAuthenticated | None:
    """The refusal at a door that is closed."""
    return _shut(tx, door.key, door.locked)


def name_door(name: str, person_id: str, client: str) -> Door:
    """Where one signs in with a name."""
    return Door(name_key(name), person_id, client)


def desk_door(session_id: str, person_id: str, client: str) -> Door:
    """Unlocking has a door of its own: wrong sign-ins from elsewhere must not keep the person on duty out."""
    return Door(desk_key(session_id), person_id, client, _desk_locked)


def _shut(tx: Tx, key: str, sentence: Callable[[int], Sentence]) -> NotAuthenticated | None:
    until = locked_until(tx, key)
    if until is None:
        return None
    return NotAuthenticated(sentence(max(1, -(-(until - tx.now) // timedelta(minutes=1)))), locked=True)


def fail(tx: Tx, door: Door, what: str) -> NotAuthenticated | None:
    """Count and audit a failure; gives the refusal by the lock that stands or has just fallen."""
    subject = f"person:{door.person_id}" if door.person_id else f"client:{door.client}"[:120]
    count_client(tx, door.client)
    standing = shut_door(tx, door)
    if standing is not None:
        tx.audit("session.refused", subject, {"what": what, "client": door.client[:64], "locked": True})
        return standing
    failure = note_failure(tx, door.key, NAME_FAILURES)
    tx.audit("session.refused", subject, {"what": what, "client": door.client[:64], "failures": failure.failures})
    if failure.locks:
        _note_locked(tx, subject)
    return shut_door(tx, door)


def count_client(tx: Tx, client: str) -> None:
    """Count a failure at the network address, whichever door it was at."""
    many = note_failure(tx, client_key(client), CLIENT_FAILURES)
    if many.locks:
        tx.audit("session.client_locked", f"client:{client}"[:120], {"failures": many.failures})


def note_guess(tx: Tx, name: str, person_id: str) -> None:
    """Count a wrong answer at a name's door that was given elsewhere, whether or not the name is a person's."""
    if shut(tx, name) is None and note_failure(tx, name_key(name), NAME_FAILURES).locks and person_id:
        _note_locked(tx, f"person:{person_id}")


def close(tx: Tx, door: Door) -> NotAuthenticated | None:
    """Close a door of which the allowance was used up elsewhere."""
    note_failure(tx, door.key, 1)
    _note_locked(tx, f"person:{door.person_id}")
    return shut_door(tx, door)


def _note_locked(tx: Tx, subject: str) -> None:
    tx.audit("session.name_locked", subject, {"minutes": int(WINDOW.total_seconds() // 60)})
