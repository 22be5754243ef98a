"""Accounts of the desk: setting a password, starting anew after a loss, unlocking, who has which second factor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from huiying.domain import passwords
from huiying.domain.access import Permission
from huiying.domain.errors import Conflict, InvalidInput, NotAuthenticated, NotFound, Refused
from huiying.domain.resets import Factor
from huiying.domain.sentences import said
from huiying.domain.signing import Stage
from huiying.domain.text import line
from huiying.service import device_marks, first_run, lockout, resets, second_factor, session_rows, sessions, tokens
from huiying.service.actor import Actor
from huiying.service.hashing import hash_password, matches
from huiying.service.scope import require_reach
from huiying.service.second_factor import Enrolment
from huiying.service.services import Services
from huiying.service.session_rows import Session
from huiying.service.views import shown
from huiying.store import tables as t
from huiying.store.db import Tx

_WRONG_OLD = "现用密码不正确，密码未改动。连续输错 5 次将锁定账号 15 分钟。"
_USED_BEFORE = said("新密码不能与最近 %(count)s 次用过的密码相同。密码未改动。", count=passwords.REMEMBERED)
_STALE_ONE_TIME = "登录所用的一次性密码已失效（过期、已使用或已重新发放），密码未改动。请向管理员领取新的一次性密码。"


# -- by oneself --------------------------------------------------------------------------------------------------------


def change_password(
    services: Services, secret: str, new: str, *, old: str = "", client: str = ""
) -> tuple[str, Session]:
    """Set one's own password; the old one is asked for unless the sign-in itself has just demanded a new one.

    Gives the new secret and the session; every other session of the person ends.
    """
    with services.store.reading() as tx:
        row, session = sessions.needed(services, tx, secret, Stage.PASSWORD, Stage.OPEN, lock=False)
        history = _history(tx, row.person_id)
    passwords.check(new, row.person_id, row.person_name)
    asked = session.stage is Stage.OPEN
    old_right = not asked or matches(old, row.password_hash)
    if old_right and _any_matches(new, history):
        raise InvalidInput("new_password", _USED_BEFORE)
    digest = hash_password(new) if old_right else ""
    with services.store.transaction(session.actor.id) as tx:
        present, _ = sessions.needed(services, tx, secret, session.stage)
        locked = sessions.closed(tx, row.browser_id, row.person_id) if asked else None
        if old_right and not locked:
            return _set_password(services, tx, present, history, digest)
        door = lockout.name_door(row.person_id, row.person_id, client or row.client)
        locked = sessions.note_wrong(tx, row.browser_id, door, "old_password")
    raise locked or NotAuthenticated(_WRONG_OLD, locked=False)


def _set_password(services: Services, tx: Tx, row: Any, history: list[str], digest: str) -> tuple[str, Session]:
    if _history(tx, row.person_id) != history:
        raise Conflict("密码刚在另一处改动过，本次未改动。请重新登录后再试。")
    _use_up(services, tx, row)
    values = {"password_hash": digest, "must_change": False, "changed_at": tx.now}
    kept = [digest, *history][: passwords.REMEMBERED]
    tx.run(t.account.update().where(t.account.c.person_id == row.person_id).values(**values, history=kept))
    ended = session_rows.end_all(tx, row.person_id, f"person:{row.person_id}", but=row.id)
    device_marks.forget_all(tx, row.person_id, but=row.browser_id)
    tx.audit("password.changed", f"person:{row.person_id}", {"session": row.id, "ended": ended})
    turned = session_rows.turn(tx, row.id, one_time_id=None)
    if row.stage == Stage.OPEN:
        return turned, session_rows.view(services, tx, session_rows.find_by_id(tx, row.id))
    return turned, sessions.advance(services, tx, row.id)


def _use_up(services: Services, tx: Tx, row: Any) -> None:
    """The one-time password that opened this session must still be good, and is spent now."""
    usable = tx.one(tokens.usable_password(row.person_id, tx.now).with_for_update(of=t.one_time_password))
    if row.one_time_id is not None and (usable is None or usable.id != row.one_time_id):
        raise Refused(_STALE_ONE_TIME)
    if usable is not None:
        table = t.one_time_password
        unused = sa.and_(table.c.person_id == row.person_id, table.c.used_at.is_(None))
        tx.run(table.update().where(unused).values(used_at=tx.now))
        first_run.forget_spent(services, usable.secret_hash)


def _history(tx: Tx, person_id: str) -> list[str]:
    return list(tx.value(sa.select(t.account.c.history).where(t.account.c.person_id == person_id)) or ())


def _any_matches(password: str, digests: Iterable[str]) -> bool:
    return any(matches(password, digest) for digest in digests)


def enrolment(services: Services, secret: str) -> Enrolment:
    """What one's authenticator is to be set up with; not in force before ``enrol``."""
    with services.store.transaction("system:login") as tx:
        row, session = sessions.needed(services, tx, secret, Stage.ENROL, Stage.OPEN)
        tx.actor = session.actor.id
        return second_factor.propose(services, tx, row.person_id)


def enrol(services: Services, secret: str, code: str) -> tuple[str, Session, list[str]]:
    """Switch on one's second factor with a first code; gives the new secret, the session and the recovery codes."""
    with services.store.transaction("system:login") as tx:
        row, session = sessions.needed(services, tx, secret, Stage.ENROL, Stage.OPEN)
        tx.actor = session.actor.id
        codes = second_factor.confirm(services, tx, row.person_id, code)
        turned = session_rows.turn(tx, row.id, second_done=True)
        if row.stage == Stage.OPEN:
            return turned, session_rows.view(services, tx, session_rows.find_by_id(tx, row.id)), codes
        return turned, sessions.advance(services, tx, row.id), codes


# -- by who manages people ---------------------------------------------------------------------------------------------


def reset_password(services: Services, actor: Actor, person_id: str) -> dict[str, Any]:
    """After a loss: the old password, every session and every token end, a one-time password leads to a new one."""
    actor.require(Permission.PEOPLE)
    password = tokens.new_password()
    digest = hash_password(password)
    with services.store.transaction(actor.id) as tx:
        _managed(tx, actor, person_id)
        resets.require_apart(tx, actor, person_id, Factor.PASSWORD)
        tx.run(t.account.update().where(t.account.c.person_id == person_id).values(password_hash=""))
        expires_at = tokens.keep_password(tx, person_id, digest)
        ended = session_rows.end_all(tx, person_id, actor.id)
        device_marks.forget_all(tx, person_id)
        revoked = tokens.revoke_all(tx, person_id)
        tx.audit("password.reset", f"person:{person_id}", {"ended": ended, "tokens": revoked})
        resets.tell(tx, actor, person_id, "password.reset")
    return {"person_id": person_id, "password": password, "expires_at": shown(expires_at)}


def reset_second_factor(services: Services, actor: Actor, person_id: str) -> dict[str, Any]:
    """Take away a lost authenticator and the recovery codes; every session ends."""
    actor.require(Permission.PEOPLE)
    with services.store.transaction(actor.id) as tx:
        _managed(tx, actor, person_id)
        was = second_factor.is_enrolled(tx, person_id)
        if was:
            resets.require_apart(tx, actor, person_id, Factor.CODE)
            resets.tell(tx, actor, person_id, "second_factor.reset")
        second_factor.forget(tx, person_id)
        ended = session_rows.end_all(tx, person_id, actor.id)
        device_marks.forget_all(tx, person_id)
        tx.audit("second_factor.reset", f"person:{person_id}", {"was_enrolled": was, "ended": ended})
    return {"person_id": person_id, "was_enrolled": was, "ended": len(ended)}


def unlock_account(services: Services, actor: Actor, person_id: str) -> dict[str, Any]:
    """Open a door before its quarter of an hour is over."""
    actor.require(Permission.PEOPLE)
    with services.store.transaction(actor.id) as tx:
        _managed(tx, actor, person_id)
        was = lockout.forgive(tx, lockout.name_key(person_id))
        tx.audit("session.name_unlocked", f"person:{person_id}", {"had_failures": was})
    return {"person_id": person_id, "had_failures": was}


def set_subject(services: Services, actor: Actor, person_id: str, subject: str) -> dict[str, Any]:
    """Which identity of the organisation's provider is this person; "" takes it away. Nobody is mapped by guessing."""
    actor.require(Permission.PEOPLE)
    wanted = line("oidc_subject", subject, 200, "统一身份标识")
    with services.store.transaction(actor.id) as tx:
        _managed(tx, actor, person_id)
        taken = tx.value(sa.select(t.account.c.person_id).where(t.account.c.oidc_subject == wanted)) if wanted else None
        if taken not in {None, person_id}:
            raise Conflict("该统一身份标识已对应另一人员，未改动。")
        if wanted:
            resets.require_apart(tx, actor, person_id, Factor.PASSWORD)
            resets.tell(tx, actor, person_id, "account.subject")
        sessions.ensure_account(tx, person_id)
        tx.run(t.account.update().where(t.account.c.person_id == person_id).values(oidc_subject=wanted or None))
        tx.audit("account.subject", f"person:{person_id}", {"set": bool(wanted)})
    return {"person_id": person_id, "oidc_subject": wanted}


def _managed(tx: Tx, actor: Actor, person_id: str) -> None:
    wanted = sa.select(t.person.c.unit_id).where(t.person.c.id == person_id, t.person.c.active)
    row = tx.one(wanted.with_for_update(key_share=True))
    if row is None:
        raise NotFound(said("没有编号为「%(person_id)s」的在用人员。", person_id=person_id[:64]))
    require_reach(tx, actor, person_id, row.unit_id)
