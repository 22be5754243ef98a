"""Sessions of the web desk: signing in, the second factor, locking and unlocking, signing out, throwing out.

A session's secret changes whenever the session gains something (a step of signing in, an unlock). Whatever is wrong
with a name or a password, the sentence and the work behind it are the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from huiying.domain.access import Permission
from huiying.domain.errors import Forbidden, InvalidInput, NotAuthenticated, NotFound, Refused
from huiying.domain.signing import SEEN_EVERY, Stage, next_stage
from huiying.service import device_marks, lockout, resets, session_rows, tokens
from huiying.service import second_factor as factor
from huiying.service.actor import Actor
from huiying.service.hashing import matches
from huiying.service.lockout import Door
from huiying.service.scope import covers, parents
from huiying.service.services import Services
from huiying.service.session_rows import Session
from huiying.service.views import shown
from huiying.store import tables as t
from huiying.store.db import Tx

__all__ = ["Session"]

LANGUAGES = ("zh", "en")
REFUSED = "用户编号或密码不正确，未登录。连续输错 5 次将锁定 15 分钟。"
REFUSED_CODE = "动态口令不正确或已使用过。请等下一个口令再输；连续输错 5 次将锁定 15 分钟。"
REFUSED_UNLOCK = "密码不正确，仍为锁定状态。连续输错 5 次后，本席位 15 分钟内不能解锁。"
REFUSED_RENEWAL = (
    "密码或动态口令不正确（用过的口令不能再用），仍为锁定状态。连续输错 5 次后，本席位 15 分钟内不能解锁。"
)
CODE_NEEDED = "本次登录已满 12 小时，请同时输入密码和动态口令重新登录。仍为锁定状态。"
GONE = "登录已失效，请重新登录。刚才提交的内容没有保存。"
_DOOR = "system:login"
_LONGEST_SECRET = 100
#: One-time passwords have a form of their own: which hashes are checked depends on what is typed, never on who exists.
_ONE_TIME = re.compile(r"[a-z2-9]{5}(?:-[a-z2-9]{5}){3}")


@dataclass(frozen=True, slots=True)
class _Known:
    """What stood in the database before the slow part of checking a password began."""

    person_id: str
    password_hash: str
    one_time_id: int | None
    one_time_hash: str


# -- signing in --------------------------------------------------------------------------------------------------------


def sign_in(
    services: Services, name: str, password: str, client: str, agent: str = "", mark: str = ""
) -> tuple[str, Session]:
    """Check a password or a one-time password; gives the secret for the cookie and the session it opens.

    ``mark`` is the secret of a browser in which somebody has signed in before (``device_marks``).
    """
    typed = name.strip()[:200]
    with services.store.reading() as tx:
        crowd = lockout.crowd(tx, client)
        known = _known(tx, typed)
    if crowd is not None:
        raise crowd
    by_password, by_one_time = _check(password, known)
    with services.store.transaction(f"person:{known.person_id}" if known.person_id else _DOOR) as tx:
        # What was checked must still be so: a password may have been changed or used up in the meantime.
        right = (by_password or by_one_time) and known == _known(tx, typed)
        browser = device_marks.browser_of(tx, mark)
        if right and not closed(tx, browser, typed):
            one_time_id = None if by_password else known.one_time_id
            return start(services, tx, known.person_id, client, agent, one_time_id, browser=browser)
        locked = note_wrong(tx, browser, lockout.name_door(typed, known.person_id, client), "password")
    raise locked or NotAuthenticated(REFUSED, locked=False)


def closed(tx: Tx, browser: str, name: str) -> NotAuthenticated | None:
    """The lock of the name's door, which does not stand before a browser that this person is known in."""
    return None if device_marks.find(tx, browser, name) is not None else lockout.shut(tx, name)


def note_wrong(tx: Tx, browser: str, door: Door, what: str) -> NotAuthenticated | None:
    """Count a wrong answer where it belongs: on the person's mark in this browser, else at the name's door."""
    mark = device_marks.find(tx, browser, door.person_id)
    return lockout.fail(tx, door, what) if mark is None else device_marks.fail(tx, mark, door, what)


def _known(tx: Tx, person_id: str) -> _Known:
    statement = (
        sa.select(t.person.c.id, t.account.c.password_hash)
        .outerjoin(t.account, t.account.c.person_id == t.person.c.id)
        .where(t.person.c.id == person_id, t.person.c.active)
    )
    row = tx.one(statement)
    if row is None:
        return _Known("", "", None, "")
    one_time = tx.one(tokens.usable_password(person_id, tx.now))
    if one_time is None:
        return _Known(row.id, row.password_hash or "", None, "")
    return _Known(row.id, row.password_hash or "", one_time.id, one_time.secret_hash)


def _check(password: str, known: _Known) -> tuple[bool, bool]:
    by_password = matches(password, known.password_hash)
    return by_password, bool(_ONE_TIME.fullmatch(password)) and matches(password, known.one_time_hash)


def start(
    services: Services,
    tx: Tx,
    person_id: str,
    client: str,
    agent: str,
    one_time_id: int | None = None,
    by: str = "password",
    browser: str = "",
    *,
    second_done: bool = False,
    at_desk: bool = False,
) -> tuple[str, Session]:
    """Open a session as far as what was shown carries; ``at_desk``: at a locked desk, not at the name's door."""
    ensure_account(tx, person_id)
    account = tx.one(sa.select(t.account).where(t.account.c.person_id == person_id))
    assert account is not None
    secret, session_id = session_rows.open_row(
        tx,
        person_id,
        Stage.PASSWORD,
        client,
        agent,
        one_time_id=one_time_id,
        previous_at=account.last_login_at,
        previous_from=account.last_login_from,
        browser_id=browser,
        second_done=second_done,
    )
    way = "one_time_password" if one_time_id is not None else by
    tx.audit("session.started", f"person:{person_id}", {"session": session_id, "by": way, "client": client[:64]})
    return secret, advance(services, tx, session_id, at_desk=at_desk)


def resets_told(services: Services, session: Session) -> list[resets.Told]:
    """What others have done to the person's account since the sign-in before this one."""
    if session.last_login_at is None:
        return []
    with services.store.reading() as tx:
        return resets.told_since(tx, session.person_id, session.last_login_at)


def ensure_account(tx: Tx, person_id: str) -> None:
    """The row a person signs in with; made where there is none yet."""
    # Two first sign-ins at once: the second finds the first one's row.
    tx.run(sa.text("INSERT INTO account (person_id) VALUES (:id) ON CONFLICT DO NOTHING"), {"id": person_id})


def advance(services: Services, tx: Tx, session_id: str, *, at_desk: bool = False) -> Session:
    """Put a session that is being opened at the step it needs next; once it is open, the sign-in is complete."""
    row = session_rows.find_by_id(tx, session_id)
    assert row is not None
    roles = session_rows.roles_of(tx, row.person_id)
    stage = next_stage(session_rows.standing_of(services, tx, row, roles))
    tx.run(t.session.update().where(t.session.c.id == session_id).values(stage=stage.value, locked_at=None))
    secret = ""
    if stage is Stage.OPEN:
        secret = _arrived(tx, row, at_desk=at_desk)
        login = {"last_login_at": tx.now, "last_login_from": row.client}
        tx.run(t.account.update().where(t.account.c.person_id == row.person_id).values(**login))
        tx.audit("session.opened", f"person:{row.person_id}", {"session": session_id, "client": row.client})
    found = session_rows.find_by_id(tx, session_id)
    return replace(session_rows.view(services, tx, found), mark=secret)


def _arrived(tx: Tx, row: Any, *, at_desk: bool) -> str:
    """A sign-in is complete: start the count of wrong answers anew where it was kept; gives the browser's new secret."""
    # Through a mark or at a desk nobody has passed the name's door: that must not open it to whoever guesses there.
    if not at_desk and device_marks.find(tx, row.browser_id, row.person_id) is None:
        lockout.forgive(tx, lockout.name_key(row.person_id))
    browser, secret = device_marks.renew(tx, row.browser_id, row.person_id)
    tx.run(t.session.update().where(t.session.c.id == row.id).values(browser_id=browser))
    return secret


def second_factor(services: Services, secret: str, code: str, client: str = "") -> tuple[str, Session]:
    """Show the second factor; gives the new secret and the session, a step further."""
    with services.store.transaction(_DOOR) as tx:
        row, session = needed(services, tx, secret, Stage.SECOND_FACTOR)
        tx.actor = session.actor.id
        locked = closed(tx, row.browser_id, row.person_id)
        if not locked and _shows_code(services, tx, row.person_id, code):
            turned = session_rows.turn(tx, row.id, second_done=True)
            return turned, advance(services, tx, row.id)
        door = lockout.name_door(row.person_id, row.person_id, client or row.client)
        locked = note_wrong(tx, row.browser_id, door, "second_factor")
    raise locked or NotAuthenticated(REFUSED_CODE, locked=False)


def _shows_code(services: Services, tx: Tx, person_id: str, code: str) -> bool:
    """Use up a code of either kind; a recovery code is noted with how many are left."""
    kind = factor.answers(services, tx, person_id, code)
    if kind == "recovery":
        left = factor.recovery_left(tx, person_id)
        tx.audit("second_factor.recovery_used", f"person:{person_id}", {"left": left})
    return bool(kind)


def needed(services: Services, tx: Tx, secret: str, *stages: Stage, lock: bool = True) -> tuple[Any, Session]:
    """The living desk session of a secret, which must be at one of these stages; held until the transaction ends."""
    row = session_rows.find(tx, secret[:_LONGEST_SECRET], lock=lock)
    if row is None:
        raise NotAuthenticated(GONE)
    session = session_rows.view(services, tx, row)
    if session.read_only or session.stage not in stages:
        raise Refused("当前登录状态下不能进行此操作，未作改动。请刷新页面。")
    return row, session


# -- at every request --------------------------------------------------------------------------------------------------


def look(services: Services, secret: str, *, touch: bool = True) -> Session | None:
    """The session of a cookie, or None where it is over. ``touch=False`` for what a page asks by itself: it keeps
    nobody awake."""
    if not secret or len(secret) > _LONGEST_SECRET:
        return None
    with services.store.reading() as tx:
        row = session_rows.find(tx, secret)
        if row is None:
            return None
        due = session_rows.lock_due(row, tx.now)
        stale = touch and row.stage != Stage.LOCKED and tx.now - row.seen_at >= SEEN_EVERY
        session = session_rows.view(services, tx, row)
    if due:
        return _lock(services, secret, by_person=False)
    if stale:
        with services.store.transaction(session.actor.id) as tx:
            # Only forward, and only one that nobody has locked or ended meanwhile.
            mine = sa.and_(t.session.c.id == session.id, t.session.c.stage != Stage.LOCKED.value)
            tx.run(t.session.update().where(mine, t.session.c.seen_at < tx.now).values(seen_at=tx.now))
    return session


def lock(services: Services, secret: str) -> Session | None:
    """Lock one's own desk at once, on leaving it."""
    return _lock(services, secret, by_person=True)


def _lock(services: Services, secret: str, *, by_person: bool) -> Session | None:
    with services.store.transaction(_DOOR) as tx:
        row = session_rows.find(tx, secret, lock=True)
        if row is None:
            return None
        why = session_rows.lock_due(row, tx.now) or ("person" if by_person else "")
        if why and row.kind == session_rows.DESK and row.stage == Stage.OPEN:
            tx.actor = f"person:{row.person_id}"
            tx.run(
                t.session.update().where(t.session.c.id == row.id).values(stage=Stage.LOCKED.value, locked_at=tx.now)
            )
            tx.audit("session.locked", f"person:{row.person_id}", {"session": row.id, "why": why})
        return session_rows.view(services, tx, session_rows.find_by_id(tx, row.id))


def unlock(
    services: Services, secret: str, password: str, client: str = "", code: str = "", agent: str = ""
) -> tuple[str, Session]:
    """Open a locked desk with the person's password; gives the new secret.

    One that has lasted its longest opens only to a complete sign-in, which begins a session of its own: a new id, a new
    secret, and the time starts anew.
    """
    with services.store.reading() as tx:
        row = session_rows.find(tx, secret[:_LONGEST_SECRET])
        if row is None:
            raise NotAuthenticated(GONE)
    right = matches(password, row.password_hash)
    with services.store.transaction(f"person:{row.person_id}") as tx:
        now_row, session = needed(services, tx, secret, Stage.LOCKED)
        if session.asks_code and not code.strip():
            raise NotAuthenticated(CODE_NEEDED, locked=False)  # nothing is said about the password
        door = lockout.desk_door(row.id, row.person_id, client or row.client)
        proven = right and now_row.password_hash == row.password_hash and not lockout.shut_door(tx, door)
        if proven and session.asks_code:
            proven = _shows_code(services, tx, row.person_id, code)
        if proven:
            lockout.forgive(tx, door.key)
            if session.spent:
                return _renew(services, tx, now_row, client, agent)
            turned = session_rows.turn(tx, row.id, stage=Stage.OPEN.value, locked_at=None)
            tx.audit("session.unlocked", f"person:{row.person_id}", {"session": row.id, "client": client[:64]})
            return turned, session_rows.view(services, tx, session_rows.find_by_id(tx, row.id))
        locked = lockout.fail(tx, door, "unlock")
    wrong = REFUSED_RENEWAL if session.asks_code else REFUSED_UNLOCK
    raise locked or NotAuthenticated(wrong, locked=False)


def _renew(services: Services, tx: Tx, row: Any, client: str, agent: str) -> tuple[str, Session]:
    """In place of a session that has lasted its longest, another one of the person who has shown everything again."""
    session_rows.end(tx, tx.actor, t.session.c.id == row.id)
    tx.audit("session.closed", f"person:{row.person_id}", {"session": row.id, "why": "renewed"})
    return start(
        services,
        tx,
        row.person_id,
        client or row.client,
        agent or row.agent,
        by="renewal",
        browser=row.browser_id,
        second_done=row.totp_since is not None,
        at_desk=True,
    )


def wall_session(services: Services, token: str, client: str = "", agent: str = "") -> tuple[str, Session]:
    """A read-only session for a wall: never idle, alive as long as its token, which allows nothing but reading."""
    actor = tokens.authenticate(services, token.strip()[:200])
    if actor.permissions != {Permission.READ.value}:
        raise Forbidden("大屏只接受仅限查看的令牌。请登录值班台，在“我的登录”中办理大屏令牌。")
    with services.store.transaction(actor.id) as tx:
        found = tx.one(sa.select(t.token).where(t.token.c.secret_hash == session_rows.digest(token.strip()[:200])))
        assert found is not None
        more = {"kind": session_rows.WALL, "token_id": found.id, "expires_at": found.expires_at}
        secret, session_id = session_rows.open_row(tx, found.person_id, Stage.OPEN, client, agent, **more)
        tx.audit("session.wall_opened", actor.id, {"session": session_id, "token": found.id, "client": client[:64]})
        return secret, session_rows.view(services, tx, session_rows.find_by_id(tx, session_id))


# -- ending ------------------------------------------------------------------------------------------------------------


def sign_out(services: Services, secret: str) -> None:
    """End one's own session; one that is over already stays over."""
    with services.store.transaction(_DOOR) as tx:
        row = session_rows.find(tx, secret[:_LONGEST_SECRET], lock=True)
        if row is None:
            return
        tx.actor = f"person:{row.person_id}"
        session_rows.end(tx, tx.actor, t.session.c.id == row.id)
        tx.audit("session.closed", tx.actor, {"session": row.id})


def list_sessions(services: Services, actor: Actor, person_id: str = "") -> list[dict[str, Any]]:
    """Living sessions, the newest first: one's own, or those of the people one manages (``person_id`` "*": all)."""
    wanted = person_id or actor.person_id
    manages = Permission.PEOPLE in actor.permissions
    if wanted != actor.person_id and not manages:
        raise Forbidden("您只能查看本人的登录。")
    table = t.session.c
    with services.store.reading() as tx:
        statement = (
            sa.select(t.session, t.person.c.name.label("person_name"), t.person.c.unit_id)
            .join(t.person, t.person.c.id == table.person_id)
            .where(table.revoked_at.is_(None), table.expires_at > tx.now)
            .order_by(table.opened_at.desc(), table.id)
        )
        rows = tx.all(statement if wanted in {"", "*"} else statement.where(table.person_id == wanted))
        return [_device(row) for row in rows if may_see(tx, actor, row.person_id, row.unit_id)]


def may_see(tx: Tx, actor: Actor, person_id: str, unit_id: str) -> bool:
    """Oneself, and the people of the units where the actor's roles are held."""
    return person_id == actor.person_id or covers(actor, parents(tx), unit_id)


def _device(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "person_id": row.person_id,
        "person_name": row.person_name,
        "kind": row.kind,
        "stage": row.stage,
        "client": row.client,
        "agent": row.agent,
        "opened_at": shown(row.opened_at),
        "seen_at": shown(row.seen_at),
        "expires_at": shown(row.expires_at),
    }


def revoke(services: Services, actor: Actor, session_id: str) -> dict[str, Any]:
    """踢出: end a session at once, one's own or one of a person one manages; ending twice changes nothing."""
    with services.store.transaction(actor.id) as tx:
        statement = sa.select(t.session, t.person.c.name.label("person_name"), t.person.c.unit_id).join(
            t.person, t.person.c.id == t.session.c.person_id
        )
        row = tx.one(statement.where(t.session.c.id == session_id[:32]))
        own = row is not None and bool(actor.person_id) and row.person_id == actor.person_id
        if (
            row is None
            or not (own or Permission.PEOPLE in actor.permissions)
            or not may_see(tx, actor, row.person_id, row.unit_id)
        ):
            raise NotFound("没有这个登录，或不归您管理。可能已经退出。")
        device_marks.forget(tx, row.person_id, row.browser_id)
        if session_rows.end(tx, actor.id, t.session.c.id == row.id):
            tx.audit("session.revoked", f"person:{row.person_id}", {"session": row.id})
        return _device(row)


def marked_browsers(services: Services, session: Session) -> int:
    """In how many browsers the person is known."""
    with services.store.reading() as tx:
        return device_marks.count(tx, session.person_id)


def forget_browsers(services: Services, session: Session) -> None:
    """Be a stranger in every browser again: for who has signed in at somebody else's."""
    with services.store.transaction(session.actor.id) as tx:
        device_marks.forget_all(tx, session.person_id)
        tx.audit("session.marks_forgotten", f"person:{session.person_id}", {"by": "person"})


# -- small wishes ------------------------------------------------------------------------------------------------------


def set_language(services: Services, session: Session, language: str) -> None:
    """Keep the language a person reads the desk in."""
    if language not in LANGUAGES:
        raise InvalidInput("language", "没有这种界面语言，未改动。")
    with services.store.transaction(session.actor.id) as tx:
        tx.run(t.account.update().where(t.account.c.person_id == session.person_id).values(language=language))
