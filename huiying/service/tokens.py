"""One-time passwords and personal tokens: how a person comes to act under an own name.

A token comes from the person's own password or, before there is one, from a one-time password, which is used up by it.

A token is 32 random bytes, shown once; only its SHA-256 is kept. Nobody can make a token for somebody else: an
administrator gives out a one-time password, and who holds it turns it into a token. That is what makes a second person
a second person. A token makes no further tokens unless it was made for that: one that was stolen would otherwise outlive
its end by its children. Whatever is wrong with a password or a token, the sentence is the same.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.access import AccessRole, Permission, permissions_of
from huiying.domain.errors import Forbidden, InvalidInput, NotAuthenticated, NotFound, Refused
from huiying.domain.resets import Factor
from huiying.domain.sentences import listed, said
from huiying.domain.signing import obliged, password_outdated
from huiying.domain.text import line
from huiying.service import lockout, resets, second_factor
from huiying.service.actor import Actor
from huiying.service.hashing import hash_password, matches
from huiying.service.scope import covers, parents, require_reach
from huiying.service.services import Services
from huiying.service.views import shown
from huiying.store import tables as t
from huiying.store.db import Tx
from huiying.store.types import from_micros, to_micros

PREFIX = "hy_"
#: The scope of a token that may make further ones; no permission, and never part of "everything".
ISSUE = "token"
SECRET_BYTES = 32
DEFAULT_DAYS = 90
LONGEST_DAYS = 365
PASSWORD_LIVES = timedelta(days=7)
#: Five wrong passwords within a quarter of an hour close the door for a quarter of an hour.
FAILURES_ALLOWED = 5
LOCK_WINDOW = timedelta(minutes=15)
#: When a token was last used is noted once a minute: a busy client must not make every reading a writing.
USE_NOTED_EVERY = timedelta(minutes=1)

#: Read aloud and typed in: no letters that look like digits.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"

REFUSED_EXCHANGE = (
    "用户编号或密码不正确，或一次性密码已使用、已过期，或因多次输错暂时锁定。连续输错 5 次将锁定 15 分钟。"
)
NO_OFFSPRING = (
    "用令牌不能再办令牌，未办理。请登录值班台办理，或用本人密码换取（huiying token exchange --scope …）；"
    "确需由令牌办理的，换取时须写明 --scope token。"
)
CODE_NEEDED = "此账号已启用动态口令，换取令牌须同时提供动态口令（命令行加 --code）。未办理，密码仍然有效。"
DESK_FIRST = "此账号须先登录值班台完成设置（设置新密码或启用动态口令），再换取令牌。未办理。"
REFUSED_BEARER = "访问令牌无效、已过期或已撤销。请用本人密码或一次性密码重新办理令牌。"


# -- one-time passwords ------------------------------------------------------------------------------------------------


def new_password() -> str:
    """Four groups of five letters and digits: about 98 bits."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(4))
    return "-".join(groups)


def issue_password(services: Services, actor: Actor, person_id: str) -> dict[str, Any]:
    """A new one-time password for a person, shown once; earlier unused ones end."""
    actor.require(Permission.PEOPLE)
    password = new_password()
    digest = hash_password(password)
    with services.store.transaction(actor.id) as tx:
        wanted = sa.select(t.person).where(t.person.c.id == person_id, t.person.c.active)
        person = tx.one(wanted.with_for_update(key_share=True))
        if person is None:
            raise NotFound(said("没有编号为「%(person_id)s」的在用人员。", person_id=person_id))
        require_reach(tx, actor, person_id, person.unit_id)
        resets.require_apart(tx, actor, person_id, Factor.PASSWORD)
        expires_at = keep_password(tx, person_id, digest)
        resets.tell(tx, actor, person_id, "password.issued")
    return {"person_id": person_id, "password": password, "expires_at": shown(expires_at)}


def keep_password(tx: Tx, person_id: str, digest: str) -> datetime:
    """Replace a person's unused one-time passwords; gives the end of its life."""
    table = t.one_time_password
    unused = sa.and_(table.c.person_id == person_id, table.c.used_at.is_(None))
    tx.run(table.update().where(unused).values(used_at=tx.now))
    expires_at = tx.now + PASSWORD_LIVES
    row = {"person_id": person_id, "secret_hash": digest, "created_at": tx.now, "expires_at": expires_at}
    tx.run(table.insert().values(**row))
    tx.audit("password.issued", f"person:{person_id}", {"expires_at": expires_at.isoformat()})
    return expires_at


def exchange_password(
    services: Services,
    person_id: str,
    password: str,
    *,
    name: str = "",
    code: str = "",
    scopes: Collection[str] = (),
    days: int = DEFAULT_DAYS,
) -> dict[str, Any]:
    """Make a personal token for who knows the own password, or a one-time one, which is used up.

    Who has set up a second factor shows it here as well.
    """
    label, wanted, lives = line("name", name, 80, "令牌名称"), _scopes(scopes), _days(days)
    failed = False
    with services.store.reading() as tx:
        known, own = tx.one(usable_password(person_id, tx.now)), _own_hash(tx, person_id)
    # Slow on purpose, so never inside the transaction: nobody else could write meanwhile.
    by_one_time = matches(password, known.secret_hash if known is not None else None)
    by_own = matches(password, own)
    with services.store.transaction(f"person:{person_id[:64]}") as tx:
        row = tx.one(usable_password(person_id, tx.now).with_for_update(of=t.one_time_password))
        by_one_time = by_one_time and row is not None and known is not None and row.id == known.id
        # The own password opens the desk, too: whoever guesses it finds one door, wherever they knock.
        by_own = by_own and own == _own_hash(tx, person_id) and lockout.shut(tx, person_id) is None
        right = (by_one_time or by_own) and not _locked(tx, person_id)
        if right and not by_one_time:
            _require_settled(services, tx, person_id)
        if right and _second_proof(services, tx, person_id, code):
            if by_one_time and row is not None:
                tx.run(t.one_time_password.update().where(t.one_time_password.c.id == row.id).values(used_at=tx.now))
            made = _make(tx, person_id, label or "首次令牌", wanted, lives)
        else:
            known_id = tx.value(sa.select(t.person.c.id).where(t.person.c.id == person_id))
            _note_failure(tx, person_id)
            lockout.note_guess(tx, person_id, str(known_id or ""))
            failed = True
    if failed:
        raise NotAuthenticated(REFUSED_EXCHANGE)
    return {**made, "used_up": by_one_time}


def _own_hash(tx: Tx, person_id: str) -> str:
    account, person = t.account.c, t.person.c
    statement = sa.select(account.password_hash).join(t.person, person.id == account.person_id)
    return str(tx.value(statement.where(account.person_id == person_id, person.active)) or "")


def _require_settled(services: Services, tx: Tx, person_id: str) -> None:
    """What the desk would ask for before it opens must be done there first."""
    settings, account = services.settings, tx.one(sa.select(t.account).where(t.account.c.person_id == person_id))
    assert account is not None
    aged = password_outdated(account.changed_at, tx.now, settings.password_max_days)
    held = tx.all(sa.select(t.access.c.role).where(t.access.c.person_id == person_id))
    needs = obliged([AccessRole(row.role) for row in held], everybody=settings.second_factor_for_all)
    if account.must_change or aged or (needs and not settings.demo and account.totp_since is None):
        raise Refused(DESK_FIRST)


def _second_proof(services: Services, tx: Tx, person_id: str, code: str) -> bool:
    """A one-time password alone would let whoever hands it out act for somebody with a second factor."""
    if not second_factor.is_enrolled(tx, person_id):
        return True
    if not code.strip():
        raise NotAuthenticated(CODE_NEEDED)
    return bool(second_factor.answers(services, tx, person_id, code))


def usable_password(person_id: str, now: datetime) -> sa.Select[Any]:
    """The one-time password that would open for a person who is in use, if there is one."""
    password, person = t.one_time_password, t.person
    return (
        sa.select(password)
        .join(person, person.c.id == password.c.person_id)
        .where(
            password.c.person_id == person_id,
            password.c.used_at.is_(None),
            password.c.expires_at > now,
            person.c.active,
        )
        .order_by(password.c.id.desc())
    )


# -- the lock ----------------------------------------------------------------------------------------------------------


def _lock_key(person_id: str) -> str:
    # Hashed: whatever somebody types as a name fits the column, and a list of settings shows no names.
    return "lockout:" + hashlib.sha256(person_id.encode("utf-8", "replace")).hexdigest()[:32]


def _locked(tx: Tx, person_id: str) -> bool:
    state = tx.value(sa.select(t.setting.c.value).where(t.setting.c.key == _lock_key(person_id))) or {}
    return bool(state.get("until")) and from_micros(state["until"]) > tx.now


def _note_failure(tx: Tx, person_id: str) -> None:
    """Count a failure of a person who exists and is not locked out yet; otherwise there is nothing to protect."""
    known = tx.one(sa.select(t.person.c.id).where(t.person.c.id == person_id).with_for_update())
    if known is None or _locked(tx, person_id):
        return
    key = _lock_key(person_id)
    state = tx.value(sa.select(t.setting.c.value).where(t.setting.c.key == key))
    recent = [at for at in (state or {}).get("failures", []) if from_micros(at) > tx.now - LOCK_WINDOW]
    failures = [*recent, to_micros(tx.now)]
    locks = len(failures) >= FAILURES_ALLOWED
    value = {"failures": [], "until": to_micros(tx.now + LOCK_WINDOW)} if locks else {"failures": failures}
    if state is None:
        tx.run(t.setting.insert().values(key=key, value=value, updated_at=tx.now))
    else:
        tx.run(t.setting.update().where(t.setting.c.key == key).values(value=value, updated_at=tx.now))
    tx.audit("password.refused", f"person:{person_id}", {"failures": len(failures)})
    if locks:
        tx.audit("password.locked", f"person:{person_id}", {"minutes": int(LOCK_WINDOW.total_seconds() // 60)})


# -- tokens ------------------------------------------------------------------------------------------------------------


def create_token(
    services: Services, actor: Actor, *, name: str, scopes: Collection[str] = (), days: int = DEFAULT_DAYS
) -> dict[str, Any]:
    """Another token for the acting person, for a program or a second device; never wider than what the person acts by."""
    if not actor.is_person:
        raise Forbidden("令牌只能由本人办理：请先用本人的密码换取首个令牌（huiying token exchange）。")
    label, wanted, lives = line("name", name, 80, "令牌名称", required=True), _scopes(scopes), _days(days)
    if not actor.issues_tokens:
        raise Forbidden(NO_OFFSPRING)
    excess = set(wanted) - set(actor.permissions) - {ISSUE}
    if excess:
        raise Forbidden(said("令牌的范围不能超出您现有的权限：%(scopes)s。", scopes=listed(sorted(excess))))
    narrowed = wanted or sorted(actor.permissions)
    if not narrowed:  # no scope at all would stand for everything the person may do some day
        raise Forbidden("您目前没有任何权限，没有可以办理的令牌。")
    with services.store.transaction(actor.id) as tx:
        return _make(tx, actor.person_id, label, narrowed, lives)


def _make(tx: Tx, person_id: str, name: str, scopes: list[str], lives: timedelta) -> dict[str, Any]:
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    row = {
        "id": secrets.token_hex(8),
        "person_id": person_id,
        "name": name,
        "scopes": scopes,
        "created_at": tx.now,
        "expires_at": tx.now + lives,
    }
    tx.run(t.token.insert().values(**row, secret_hash=_digest(secret)))
    tx.audit("token.created", f"person:{person_id}", {"token": row["id"], "scopes": scopes, "days": lives.days})
    return {"token": secret, **_view({**row, "last_used_at": None, "revoked_at": None})}


def _scopes(scopes: Collection[str]) -> list[str]:
    """Permissions by name; none given stands for everything the person may do."""
    unknown = sorted(set(scopes) - {permission.value for permission in Permission} - {ISSUE})
    if unknown:
        raise InvalidInput("scopes", said("没有这样的范围：%(scopes)s。", scopes="、".join(unknown)[:200]))
    return sorted(set(scopes))


def _days(days: int) -> timedelta:
    if not 1 <= days <= LONGEST_DAYS:
        raise InvalidInput("days", said("有效期为 1 至 %(most)s 天。", most=LONGEST_DAYS))
    return timedelta(days=days)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def authenticate(services: Services, secret: str) -> Actor:
    """The person behind a token, with the permissions that person and token share."""
    digest = _digest(secret)
    statement = (
        sa.select(t.token, t.person.c.active.label("person_active"))
        .join(t.person, t.person.c.id == t.token.c.person_id)
        .where(t.token.c.secret_hash == digest)
    )
    with services.store.reading() as tx:
        row = tx.one(statement)
        if row is None or not hmac.compare_digest(row.secret_hash, digest) or not _valid(row, tx.now):
            raise NotAuthenticated(REFUSED_BEARER)
        actor = replace(person_actor(tx, row.person_id, row.scopes), issues_tokens=ISSUE in row.scopes)
        stale = row.last_used_at is None or tx.now - row.last_used_at >= USE_NOTED_EVERY
    if stale:
        with services.store.transaction(actor.id) as tx:
            tx.run(t.token.update().where(t.token.c.id == row.id).values(last_used_at=tx.now))
    return actor


def _valid(row: Any, now: datetime) -> bool:
    return row.revoked_at is None and row.expires_at > now and bool(row.person_active)


def person_actor(tx: Tx, person_id: str, scopes: Collection[str] = ()) -> Actor:
    """What a person may do at this moment, narrowed to the scopes where some are given."""
    held = tx.all(sa.select(t.access.c.role, t.access.c.unit_id).where(t.access.c.person_id == person_id))
    allowed = permissions_of(AccessRole(row.role) for row in held)
    permissions = frozenset(permission.value for permission in allowed if not scopes or permission.value in scopes)
    return Actor(f"person:{person_id}", person_id, permissions, frozenset(row.unit_id for row in held))


def list_tokens(services: Services, actor: Actor, person_id: str = "") -> list[dict[str, Any]]:
    """One's own tokens; everybody's (or one person's) for who manages people or audits."""
    everybody = bool(actor.permissions & {Permission.PEOPLE, Permission.AUDIT})
    wanted = person_id or ("" if everybody else actor.person_id)
    if not everybody and wanted != actor.person_id:
        raise Forbidden("您只能查看本人的令牌。")
    statement = _with_unit().order_by(t.token.c.created_at.desc(), t.token.c.id)
    with services.store.reading() as tx:
        rows = tx.all(statement.where(t.token.c.person_id == wanted) if wanted else statement)
        tree = parents(tx)
    seen = [row for row in rows if row.person_id == actor.person_id or covers(actor, tree, row.unit_id)]
    return [_view(row._asdict()) for row in seen]


def _with_unit() -> sa.Select[Any]:
    """Tokens, each with the unit of the person it stands for."""
    return sa.select(t.token, t.person.c.unit_id).join(t.person, t.person.c.id == t.token.c.person_id)


def revoke_token(services: Services, actor: Actor, token_id: str) -> dict[str, Any]:
    """End a token at once; revoking twice changes nothing."""
    with services.store.transaction(actor.id) as tx:
        row = tx.one(_with_unit().where(t.token.c.id == token_id))
        if row is None or not _may_end(tx, actor, row):
            raise NotFound(said("没有编号为「%(token_id)s」的令牌，或不归您管理。", token_id=token_id[:40]))
        if row.revoked_at is None:
            tx.run(t.token.update().where(t.token.c.id == token_id).values(revoked_at=tx.now))
            tx.audit("token.revoked", f"person:{row.person_id}", {"token": token_id})
        return _view({**row._asdict(), "revoked_at": row.revoked_at or tx.now})


def revoke_all(tx: Tx, person_id: str) -> list[str]:
    """End every token of a person; gives their ids. The caller writes the audit entry."""
    alive = (t.token.c.person_id == person_id, t.token.c.revoked_at.is_(None))
    ids = [row.id for row in tx.all(sa.select(t.token.c.id).where(*alive).order_by(t.token.c.id))]
    tx.run(t.token.update().where(t.token.c.id.in_(ids)).values(revoked_at=tx.now))
    return ids


def _may_end(tx: Tx, actor: Actor, row: Any) -> bool:
    """One's own, and those of the people one manages."""
    manages = Permission.PEOPLE in actor.permissions and covers(actor, parents(tx), row.unit_id)
    return manages or (actor.is_person and row.person_id == actor.person_id)


def _view(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "person_id": row["person_id"],
        "name": row["name"],
        "scopes": list(row["scopes"]),
        "created_at": shown(row["created_at"]),
        "expires_at": shown(row["expires_at"]),
        "last_used_at": shown(row["last_used_at"]),
        "revoked_at": shown(row["revoked_at"]),
    }
