"""The rows behind a session: finding one by its secret, what it may do at this moment, opening, turning, ending.

Only the SHA-256 of a secret is kept. Roles are read at each look, so that a changed role or a removed person counts
from the next request on.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.access import AccessRole, Permission
from huiying.domain.signing import (
    IDLE,
    LONGEST,
    Stage,
    Standing,
    ends_at,
    is_spent,
    next_stage,
    obliged,
    password_outdated,
    why_locked,
)
from huiying.service.actor import Actor
from huiying.service.scope import covers, parents
from huiying.service.services import Services
from huiying.service.tokens import person_actor
from huiying.store import tables as t
from huiying.store.db import Tx

DESK, WALL = "desk", "wall"
_KEPT_AFTER_END = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Session:
    """A person at a desk. ``actor`` holds no permission before the stage is open, and only reading while locked.

    ``last_login_at``/``last_login_from`` are those of the sign-in before this one; instants are aware, in UTC. ``spent``:
    it is locked and opens only to a complete sign-in.
    """

    id: str
    person_id: str
    name: str
    unit_id: str
    roles: tuple[AccessRole, ...]
    actor: Actor
    csrf: str
    stage: Stage
    language: str
    last_login_at: datetime | None
    last_login_from: str
    opened_at: datetime
    expires_at: datetime
    enrolled: bool = False
    read_only: bool = False
    spent: bool = False
    #: A new secret for the browser's mark, there only in the answer to a complete sign-in.
    mark: str = field(default="", repr=False, compare=False)

    @property
    def is_open(self) -> bool:
        """Whether the whole desk may be used."""
        return self.stage is Stage.OPEN

    @property
    def asks_code(self) -> bool:
        """Whether a second factor is asked for besides the password to open this desk again."""
        return self.spent and self.enrolled


def digest(secret: str) -> str:
    """How a secret is kept."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def new_secret() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


def new_form_token(person_id: str) -> str:
    """What a form must bring back. Whose it was can still be told when it has been replaced; that is no secret."""
    random = secrets.token_urlsafe(24)
    return f"{random}.{_tag(random, person_id)}"


def is_form_token_of(token: str, person_id: str) -> bool:
    """Whether a token, perhaps one of before, was given to this person."""
    random, _, tag = token.partition(".")
    return bool(tag) and tag == _tag(random, person_id)


def _tag(random: str, person_id: str) -> str:
    return digest(f"{random} {person_id}")[:16]


_COLUMNS = (
    t.session,
    t.person.c.name.label("person_name"),
    t.person.c.unit_id,
    t.account.c.language,
    t.account.c.password_hash,
    t.account.c.must_change,
    t.account.c.changed_at,
    t.account.c.totp_since,
)


def find(tx: Tx, secret: str, *, lock: bool = False) -> Any | None:
    """The living session of a secret with its person and account; None for every kind of dead one."""
    statement = _living(tx.now).where(t.session.c.secret_hash == digest(secret))
    return tx.one(statement.with_for_update(of=t.session) if lock else statement)


def find_by_id(tx: Tx, session_id: str) -> Any | None:
    """The living session of an id."""
    return tx.one(_living(tx.now).where(t.session.c.id == session_id))


def _living(now: datetime) -> sa.Select[Any]:
    session, token = t.session.c, t.token.c
    half_done = session.stage.in_([Stage.SECOND_FACTOR.value, Stage.PASSWORD.value, Stage.ENROL.value])
    token_lives = sa.and_(token.revoked_at.is_(None), token.expires_at > now)
    return (
        sa.select(*_COLUMNS)
        .join(t.person, t.person.c.id == session.person_id)
        .outerjoin(t.account, t.account.c.person_id == session.person_id)
        .outerjoin(t.token, token.id == session.token_id)
        .where(
            t.person.c.active,
            session.revoked_at.is_(None),
            session.expires_at > now,
            sa.or_(session.token_id.is_(None), token_lives),
            sa.or_(sa.not_(half_done), sa.and_(session.seen_at > now - IDLE, session.opened_at > now - LONGEST)),
        )
    )


def living_by_person(tx: Tx) -> dict[str, int]:
    """How many living sessions each person has, walls included."""
    living = _living(tx.now).subquery().c
    rows = tx.all(sa.select(living.person_id, sa.func.count().label("n")).group_by(living.person_id))
    return {row.person_id: row.n for row in rows}


def lock_due(row: Any, now: datetime) -> str:
    """Why an open desk has to be locked now, "" where it need not be; a wall never is."""
    return why_locked(row.seen_at, row.opened_at, now) if row.kind == DESK and row.stage == Stage.OPEN else ""


def roles_of(tx: Tx, person_id: str) -> tuple[AccessRole, ...]:
    """The roles a person holds anywhere, in their usual order."""
    held = {row.role for row in tx.all(sa.select(t.access.c.role).where(t.access.c.person_id == person_id))}
    return tuple(role for role in AccessRole if role.value in held)


def standing_of(services: Services, tx: Tx, row: Any, roles: tuple[AccessRole, ...]) -> Standing:
    """What is asked of this session."""
    settings = services.settings
    aged = password_outdated(row.changed_at, tx.now, settings.password_max_days) and bool(row.password_hash)
    return Standing(
        enrolled=row.totp_since is not None,
        second_done=bool(row.second_done),
        must_change=bool(row.must_change) or row.one_time_id is not None or aged,
        # Sample data may be looked at without an authenticator; every page says that it is sample data.
        obliged=obliged(roles, everybody=settings.second_factor_for_all) and not settings.demo,
    )


def view(services: Services, tx: Tx, row: Any) -> Session:
    """The session as the faces see it."""
    roles = roles_of(tx, row.person_id)
    stage = _stage(services, tx, row, roles)
    return Session(
        id=row.id,
        person_id=row.person_id,
        name=row.person_name,
        unit_id=row.unit_id,
        roles=roles,
        actor=_actor(tx, row, stage),
        csrf=row.csrf,
        stage=stage,
        language=row.language or "zh",
        last_login_at=row.previous_at,
        last_login_from=row.previous_from,
        opened_at=row.opened_at,
        expires_at=row.expires_at,
        enrolled=row.totp_since is not None,
        read_only=row.kind == WALL,
        spent=stage is Stage.LOCKED and is_spent(row.opened_at, tx.now),
    )


def _stage(services: Services, tx: Tx, row: Any, roles: tuple[AccessRole, ...]) -> Stage:
    """An open session whose person has been given a role that needs a second factor is not open any more."""
    stage = Stage(row.stage)
    if stage is not Stage.OPEN or row.kind == WALL:
        return stage
    if lock_due(row, tx.now):
        return Stage.LOCKED  # also before anybody has noted it
    needed = next_stage(standing_of(services, tx, row, roles))
    return needed if needed in {Stage.SECOND_FACTOR, Stage.ENROL} else stage


def _actor(tx: Tx, row: Any, stage: Stage) -> Actor:
    full = person_actor(tx, row.person_id)
    if stage is Stage.OPEN and row.kind == DESK:
        return replace(full, issues_tokens=True)
    left = full.permissions & {Permission.READ.value} if stage in {Stage.OPEN, Stage.LOCKED} else frozenset()
    # A wall shows one unit, wherever else its person may look; that person's own unit may lie outside of that.
    on_wall = frozenset({row.unit_id}) if row.kind == WALL and covers(full, parents(tx), row.unit_id) else frozenset()
    return Actor(full.id, full.person_id, left, on_wall if row.kind == WALL else full.units)


# -- changes -----------------------------------------------------------------------------------------------------------


def open_row(tx: Tx, person_id: str, stage: Stage, client: str, agent: str, **more: Any) -> tuple[str, str]:
    """A new session; gives its secret and its id. Sessions that ended long ago are swept away."""
    tx.run(t.session.delete().where(t.session.c.expires_at < tx.now - _KEPT_AFTER_END))
    secret, session_id = new_secret(), secrets.token_hex(8)
    row = {
        "id": session_id,
        "secret_hash": digest(secret),
        "person_id": person_id,
        "csrf": new_form_token(person_id),
        "stage": stage.value,
        "kind": DESK,
        "opened_at": tx.now,
        "seen_at": tx.now,
        "expires_at": ends_at(tx.now),
        "client": client[:64],
        "agent": "".join(c for c in agent if c.isprintable())[:200],
    }
    tx.run(t.session.insert().values(**{**row, **more}))
    return secret, session_id


def turn(tx: Tx, session_id: str, **changes: Any) -> str:
    """A new secret and form token for a session that has gained something; the old secret is dead at once."""
    secret = new_secret()
    person_id = str(tx.value(sa.select(t.session.c.person_id).where(t.session.c.id == session_id)))
    fresh = {"secret_hash": digest(secret), "csrf": new_form_token(person_id), "seen_at": tx.now}
    tx.run(t.session.update().where(t.session.c.id == session_id).values(**fresh, **changes))
    return secret


def end(tx: Tx, by: str, *conditions: sa.ColumnElement[bool]) -> list[str]:
    """End the living sessions that meet all conditions; gives their ids."""
    alive = (t.session.c.revoked_at.is_(None), t.session.c.expires_at > tx.now, *conditions)
    ids = [row.id for row in tx.all(sa.select(t.session.c.id).where(*alive).order_by(t.session.c.id))]
    tx.run(t.session.update().where(t.session.c.id.in_(ids)).values(revoked_at=tx.now, revoked_by=by[:80]))
    return ids


def end_all(tx: Tx, person_id: str, by: str, *, but: str = "") -> list[str]:
    """End every session of a person, perhaps but one."""
    return end(tx, by, t.session.c.person_id == person_id, t.session.c.id != but)
