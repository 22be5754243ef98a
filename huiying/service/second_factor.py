"""The second factor: codes from an authenticator (RFC 6238, 30 s, 6 digits) and ten recovery codes.

The secret lies sealed in the database. A code is good for one sign-in: the step it belongs to is kept, and only a later
one counts.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import unicodedata
from dataclasses import dataclass
from typing import Any

import pyotp
import sqlalchemy as sa

from config.sealed import CannotOpen
from huiying.domain.errors import InvalidInput, Refused
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Tx
from huiying.store.types import to_micros

ISSUER = "回应值班系统"
_STEP = 30_000_000  # microseconds
#: The clock of a telephone may be off by half a minute.
_TOLERANCE = (-1, 0, 1)
RECOVERY_CODES = 10
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_CODE = re.compile(r"[0-9]{6}")
_RECOVERY = re.compile(r"[a-z2-9]{16}")
_UNREADABLE = "动态口令的密钥无法解开（加密密钥文件不对）。请管理员核对 secret.key，或重置动态口令。"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator is set up with."""

    secret: str
    address: str


def matching_step(secret: str, code: str, step: int, last_used: int) -> int | None:
    """The step whose code this is, near the present one and later than the last used one."""
    totp = pyotp.TOTP(secret)
    for near in _TOLERANCE:
        if step + near > last_used and hmac.compare_digest(totp.generate_otp(step + near), code):
            return step + near
    return None


def plain(code: str) -> str:
    """A code as typed, without the blanks and hyphens people set for reading; a Chinese keyboard types wide digits."""
    return re.sub(r"[\s-]", "", unicodedata.normalize("NFKC", code[:60])).lower()


def answers(services: Services, tx: Tx, person_id: str, code: str) -> str:
    """Use up a code; tells which kind it was ("totp", "recovery"), or "" where it is wrong."""
    typed = plain(code)
    if _CODE.fullmatch(typed):
        return "totp" if _use_totp(services, tx, person_id, typed) else ""
    if _RECOVERY.fullmatch(typed):
        return "recovery" if _use_recovery(tx, person_id, typed) else ""
    return ""


def _account(tx: Tx, person_id: str) -> Any:
    return tx.one(sa.select(t.account).where(t.account.c.person_id == person_id).with_for_update())


def _use_totp(services: Services, tx: Tx, person_id: str, code: str) -> bool:
    account = _account(tx, person_id)
    if account is None or not account.totp_sealed or not _CODE.fullmatch(code):
        return False
    try:
        secret = services.sealer.open(account.totp_sealed)
    except CannotOpen:
        raise Refused(_UNREADABLE) from None
    step = matching_step(secret, code, to_micros(tx.now) // _STEP, account.totp_step)
    if step is not None:
        tx.run(t.account.update().where(t.account.c.person_id == person_id).values(totp_step=step))
    return step is not None


def _use_recovery(tx: Tx, person_id: str, code: str) -> bool:
    table = t.recovery_code.c
    mine = sa.and_(table.person_id == person_id, table.code_hash == _hash(code), table.used_at.is_(None))
    used = tx.run(t.recovery_code.update().where(mine).values(used_at=tx.now)).rowcount
    return bool(used)


def recovery_left(tx: Tx, person_id: str) -> int:
    """How many recovery codes are still good."""
    table = t.recovery_code.c
    mine = sa.and_(table.person_id == person_id, table.used_at.is_(None))
    return int(tx.value(sa.select(sa.func.count()).select_from(t.recovery_code).where(mine)))


def propose(services: Services, tx: Tx, person_id: str) -> Enrolment:
    """The secret to set up an authenticator with; the same one until it is confirmed."""
    account = _account(tx, person_id)
    if account.totp_since is not None:
        raise Refused("您已启用动态口令。更换设备请先请管理员重置。")
    secret = ""
    if account.totp_sealed:
        try:
            secret = services.sealer.open(account.totp_sealed)
        except CannotOpen:
            secret = ""  # never confirmed, so nothing is lost by making another
    if not secret:
        secret = pyotp.random_base32()
        tx.run(t.account.update().where(_is(person_id)).values(totp_sealed=services.sealer.seal(secret), totp_step=0))
    return Enrolment(secret, pyotp.TOTP(secret).provisioning_uri(name=person_id, issuer_name=ISSUER))


def confirm(services: Services, tx: Tx, person_id: str, code: str) -> list[str]:
    """Switch the second factor on with a first right code; gives the recovery codes, shown only now."""
    if not _use_totp(services, tx, person_id, plain(code)):
        raise InvalidInput("code", "动态口令不正确，尚未启用。请核对手机时间是否准确，等下一个口令再输。")
    tx.run(t.account.update().where(_is(person_id)).values(totp_since=tx.now))
    tx.run(t.recovery_code.delete().where(t.recovery_code.c.person_id == person_id))
    codes = ["".join(secrets.choice(_ALPHABET) for _ in range(16)) for _ in range(RECOVERY_CODES)]
    rows = [{"person_id": person_id, "code_hash": _hash(code), "created_at": tx.now} for code in codes]
    tx.run(t.recovery_code.insert(), rows)
    tx.audit("second_factor.enrolled", f"person:{person_id}", {"recovery_codes": len(codes)})
    return ["-".join(code[at : at + 4] for at in range(0, 16, 4)) for code in codes]


def is_enrolled(tx: Tx, person_id: str) -> bool:
    """Whether a second factor is in force."""
    return tx.value(sa.select(t.account.c.totp_since).where(_is(person_id))) is not None


def forget(tx: Tx, person_id: str) -> None:
    """Take the second factor and its recovery codes away."""
    tx.run(t.account.update().where(_is(person_id)).values(totp_sealed="", totp_since=None, totp_step=0))
    tx.run(t.recovery_code.delete().where(t.recovery_code.c.person_id == person_id))


def _is(person_id: str) -> sa.ColumnElement[bool]:
    return t.account.c.person_id == person_id


def _hash(code: str) -> str:
    # 79 random bits: nothing is gained by a slow hash.
    return hashlib.sha256(code.encode()).hexdigest()
