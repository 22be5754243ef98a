"""Who has reset what of an account: read from the audit chain, which nobody can tidy up afterwards.

The person concerned is told in the inbox and at the next sign-in; see ``huiying.domain.resets`` for the rule.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from huiying.domain.access import GRANTS, Permission
from huiying.domain.errors import Forbidden
from huiying.domain.plan import SHANGHAI
from huiying.domain.resets import APART_FOR, Factor, Reset, is_barred
from huiying.domain.sentences import listed, said
from huiying.service.actor import Actor
from huiying.service.scope import covers, parents
from huiying.store import tables as t
from huiying.store.db import Tx

_PERSON = "person:"
#: An identity of the organisation's provider that is put on an account opens it like a password.
_FACTORS = {
    "password.issued": Factor.PASSWORD,
    "password.reset": Factor.PASSWORD,
    "account.subject": Factor.PASSWORD,
    "second_factor.reset": Factor.CODE,
}
#: With any of these one administrator may have made another one, who is then no other person.
_MAKING = ("person.added", "access.granted", *_FACTORS)
_MANAGERS = [str(role) for role, granted in GRANTS.items() if Permission.PEOPLE in granted]

KEPT_APART = {
    Factor.PASSWORD: (
        "此账号的动态口令刚由您（或与您相关的账号）重置，密码须由另一人重置：72 小时内，以及本人重新登录以前，"
        "同一人不得经手两项。请由另一名管理员办理，或在服务器本机用命令行办理。未作任何改动。"
    ),
    Factor.CODE: (
        "此账号的密码刚由您（或与您相关的账号）重置或发放，动态口令须由另一人重置：72 小时内，以及本人重新登录以前，"
        "同一人不得经手两项。请由另一名管理员办理，或在服务器本机用命令行办理。未作任何改动。"
    ),
}
_SAID = {
    "password.issued": "发放了一次性密码",
    "password.reset": "重置了登录密码",
    "account.subject": "登记了统一身份对应关系",
    "second_factor.reset": "重置了动态口令和恢复码",
}
LOCAL_NAME = "服务器本机命令行"


@dataclass(frozen=True, slots=True)
class Told:
    """A reset as the person concerned is told of it."""

    what: str
    by: str
    at: datetime


# -- the rule ----------------------------------------------------------------------------------------------------------


def require_apart(tx: Tx, actor: Actor, person_id: str, factor: Factor) -> None:
    """Refuse who holds the other factor of the account already; the machine's own command line is held to nothing.

    The person's row must be locked: of two resets at once the second has to see the first.
    """
    if not actor.is_person:
        return
    signed_in_at = tx.value(sa.select(t.account.c.last_login_at).where(t.account.c.person_id == person_id))
    done = resets_of(tx, person_id)

    def barred(author: str) -> bool:
        return is_barred(factor, done, _hands(tx, author, tx.now), signed_in_at, tx.now)

    if barred(actor.id):
        raise Forbidden(KEPT_APART[factor], findings=[_others(tx, person_id, barred)])


def resets_of(tx: Tx, person_id: str) -> list[Reset]:
    """Every reset of a factor of this account, under the name of each who had a hand in its author's own account then.

    What still opens the account (a one-time password that nobody has used, an identity that stands on it) does so at this
    moment, however long ago it was given out.
    """
    rows = list(_rows(tx, person_id))
    standing = _standing(tx, person_id, rows)
    return [
        Reset(_FACTORS[row.action], hand, tx.now if row in standing else row.at)
        for row in rows
        for hand in _hands(tx, row.actor, row.at)
    ]


def _standing(tx: Tx, person_id: str, rows: list[Any]) -> list[Any]:
    """The resets whose gift still opens the account: the last one-time password, the last identity."""
    once, account = t.one_time_password.c, t.account.c
    usable = tx.value(
        sa.select(sa.func.count()).where(once.person_id == person_id, once.used_at.is_(None), once.expires_at > tx.now)
    )
    linked = tx.value(sa.select(account.oidc_subject).where(account.person_id == person_id))
    given = [row for row in rows if row.action.startswith("password.")][-1:] if usable else []
    named = [row for row in rows if row.action == "account.subject"][-1:] if linked else []
    return given + named


def _rows(tx: Tx, person_id: str, since: datetime | None = None) -> Iterator[Any]:
    audit = t.audit.c
    statement = sa.select(audit.action, audit.actor, audit.at, audit.payload).where(
        audit.subject == f"{_PERSON}{person_id}", audit.action.in_(_FACTORS)
    )
    if since is not None:
        statement = statement.where(audit.at > since)
    for row in tx.all(statement.order_by(audit.seq)):
        noted = json.loads(row.payload)
        # What was not there was not reset, and an identity that is taken away opens nothing.
        if noted.get("was_enrolled", True) and noted.get("set", True):
            yield row


def _hands(tx: Tx, actor_id: str, at: datetime) -> set[str]:
    """The actor and whoever had lately made, or got hold of, the actor's own account at a moment: they count as one."""
    audit = t.audit.c
    found, asked = {actor_id}, [actor_id]
    while asked:
        statement = sa.select(audit.actor).where(
            audit.subject.in_(asked),
            audit.action.in_(_MAKING),
            audit.at > at - APART_FOR,
            audit.at <= at,
            audit.actor.startswith(_PERSON, autoescape=True),
        )
        asked = [row.actor for row in tx.all(statement.distinct()) if row.actor not in found]
        found.update(asked)
    return found


def _others(tx: Tx, person_id: str, barred: Callable[[str], bool]) -> str:
    """Who may do it instead, by name."""
    access, person, tree = t.access.c, t.person.c, parents(tx)
    reached = {row.unit_id for row in tx.all(sa.select(access.unit_id).where(access.person_id == person_id))}
    reached.add(tx.value(sa.select(person.unit_id).where(person.id == person_id)))
    statement = (
        sa.select(person.id, person.name, access.unit_id)
        .join(t.access, access.person_id == person.id)
        .where(access.role.in_(_MANAGERS), person.active, person.id != person_id)
    )
    held: dict[str, tuple[str, set[str]]] = {}
    for row in tx.all(statement.order_by(person.id)):
        held.setdefault(row.id, (row.name, set()))[1].add(row.unit_id)
    names = [
        name
        for key, (name, units) in held.items()
        if _reaches(key, units, tree, reached) and not barred(f"{_PERSON}{key}")
    ]
    if not names:
        return "目前没有其他管理员可以办理，请在服务器本机用命令行办理。"
    return said("可以办理的管理员：%(names)s。", names=listed(names))


def _reaches(key: str, units: Iterable[str], tree: dict[str, str | None], wanted: Iterable[str]) -> bool:
    manager = Actor(f"{_PERSON}{key}", key, units=frozenset(units))
    return all(covers(manager, tree, unit_id) for unit_id in wanted)


# -- telling the person concerned --------------------------------------------------------------------------------------


def tell(tx: Tx, actor: Actor, person_id: str, action: str) -> None:
    """Put into the person's inbox what somebody else has just done to the account."""
    if actor.person_id == person_id:
        return
    who, at = _name(tx, actor.id), f"{tx.now.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"
    text = f"{who}于 {at} 对您的账号{_SAID[action]}。\n如非您本人要求，请立即报告审计人员和另一名管理员。"
    row = {
        "notice_no": f"account-{secrets.token_hex(8)}",
        "person_id": person_id,
        "subject": "您的登录凭据有变动",
        "text": text,
        "created_at": tx.now,
    }
    tx.run(t.inbox_message.insert().values(**row))


def told_since(tx: Tx, person_id: str, since: datetime) -> list[Told]:
    """What others have done to the account since a moment, oldest first."""
    found: dict[datetime, Told] = {}
    for row in _rows(tx, person_id, since):
        if row.actor != f"{_PERSON}{person_id}":
            # A reset issues a password in the same moment: what comes last says it all.
            found[row.at] = Told(_SAID[row.action], _name(tx, row.actor), row.at)
    return list(found.values())


def _name(tx: Tx, author: str) -> str:
    kind, _, key = author.partition(":")
    if f"{kind}:" != _PERSON:
        return LOCAL_NAME
    return str(tx.value(sa.select(t.person.c.name).where(t.person.c.id == key)) or key)
