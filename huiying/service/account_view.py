"""Accounts as who manages people sees them: can this person sign in, what stands in the way, how many sign-ins live."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from huiying.domain.access import AccessRole, Permission
from huiying.domain.errors import Forbidden, NotFound
from huiying.domain.sentences import said
from huiying.domain.signing import account_state, obliged
from huiying.service import lockout, session_rows
from huiying.service.actor import Actor
from huiying.service.scope import require_reach, require_unit, visible_units
from huiying.service.services import Services
from huiying.service.views import shown
from huiying.store import tables as t
from huiying.store.db import Tx


def list_accounts(services: Services, actor: Actor) -> list[dict[str, Any]]:
    """Who can sign in how: for the page and the command of who manages people."""
    actor.require(Permission.PEOPLE)
    with services.store.reading() as tx:
        seen = visible_units(tx, actor)
        rows = tx.all(_people().where(t.person.c.active).order_by(t.person.c.unit_id, t.person.c.id))
        about = _gather(tx, [row.id for row in rows])
    own = actor.person_id
    return [_view(services, row, about) for row in rows if seen is None or row.unit_id in seen or row.id == own]


def show_account(services: Services, actor: Actor, person_id: str) -> dict[str, Any]:
    """One account; ``managed`` says whether the actor may touch it, ``bar`` why not."""
    actor.require(Permission.PEOPLE)
    with services.store.reading() as tx:
        row = tx.one(_people().where(t.person.c.id == person_id))
        if row is None:
            raise NotFound(said("没有编号为「%(person_id)s」的人员。", person_id=person_id[:64]))
        require_unit(tx, actor, row.unit_id)
        about = _gather(tx, [person_id])
        try:
            require_reach(tx, actor, person_id, row.unit_id)
            bar = ""
        except Forbidden as error:
            bar = error.message
    return {**_view(services, row, about), "active": bool(row.active), "managed": not bar, "bar": bar}


def _people() -> sa.Select[Any]:
    person = t.person.c
    return sa.select(person.id, person.name, person.unit_id, person.active, t.account).outerjoin(
        t.account, t.account.c.person_id == person.id
    )


@dataclass(frozen=True, slots=True)
class _About:
    """What other tables say of people, each read once however many people there are."""

    now: datetime
    locked: dict[str, datetime]
    recovery: dict[str, int]
    sessions: dict[str, int]
    tokens: dict[str, int]
    one_time: dict[str, datetime]
    roles: dict[str, set[AccessRole]]


def _gather(tx: Tx, people: Collection[str]) -> _About:
    failure, code, token, once = t.login_failure.c, t.recovery_code.c, t.token.c, t.one_time_password.c
    keys = {lockout.name_key(person_id): person_id for person_id in people}
    locks = tx.all(sa.select(failure.key, failure.locked_until).where(failure.locked_until > tx.now))
    codes = tx.all(_counted(code.person_id).where(code.used_at.is_(None)))
    tokens = tx.all(_counted(token.person_id).where(token.revoked_at.is_(None), token.expires_at > tx.now))
    unused = sa.select(once.person_id, once.expires_at).where(once.used_at.is_(None), once.expires_at > tx.now)
    roles: dict[str, set[AccessRole]] = {}
    for row in tx.all(sa.select(t.access.c.person_id, t.access.c.role)):
        roles.setdefault(row.person_id, set()).add(AccessRole(row.role))
    return _About(
        now=tx.now,
        locked={keys[row.key]: row.locked_until for row in locks if row.key in keys},
        recovery={row.person_id: row.n for row in codes},
        sessions=session_rows.living_by_person(tx),
        tokens={row.person_id: row.n for row in tokens},
        one_time={row.person_id: row.expires_at for row in tx.all(unused.order_by(once.id))},
        roles=roles,
    )


def _counted(person_id: Any) -> sa.Select[Any]:
    return sa.select(person_id, sa.func.count().label("n")).group_by(person_id)


def _view(services: Services, row: Any, about: _About) -> dict[str, Any]:
    settings = services.settings
    needed = obliged(about.roles.get(row.id, set()), everybody=settings.second_factor_for_all) and not settings.demo
    has_password, enrolled, subject = bool(row.password_hash), row.totp_since is not None, row.oidc_subject or ""
    locked = about.locked.get(row.id)
    state = account_state(
        opens=has_password or bool(subject), locked=locked is not None, enrolled=enrolled, obliged=needed
    )
    return {
        "person_id": row.id,
        "name": row.name,
        "state": state.value,
        "state_zh": state.zh,
        "has_password": has_password,
        "one_time_until": shown(about.one_time.get(row.id)),
        "enrolled": enrolled,
        "second_factor_needed": needed,
        "recovery_left": about.recovery.get(row.id, 0),
        "locked_until": shown(locked),
        "last_login_at": shown(row.last_login_at),
        "last_login_from": row.last_login_from or "",
        "sessions": about.sessions.get(row.id, 0),
        "tokens": about.tokens.get(row.id, 0),
        "oidc_subject": subject,
    }
