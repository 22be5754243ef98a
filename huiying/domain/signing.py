"""What a session still needs before it may act, and when it ends: pure rules, the present instant is given."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from huiying.domain.access import AccessRole
from huiying.domain.kinds import Word

#: Without a sign of life for so long, an open desk locks and a half-finished sign-in ends.
IDLE = timedelta(minutes=15)
#: One long shift; then a desk locks, however busy, and opens only to a complete sign-in.
LONGEST = timedelta(hours=12)
#: So long a desk that is due for a complete sign-in goes on showing its read-only alarm view; then it is over.
SHOWN_FOR = timedelta(hours=24)
#: When a session was last seen is noted this often: a busy desk must not make every reading a writing.
SEEN_EVERY = timedelta(seconds=20)
#: Who decides, audits or administers shows a second factor at each sign-in.
OBLIGED = frozenset({AccessRole.APPROVER, AccessRole.AUDITOR, AccessRole.ADMINISTRATOR})


class Stage(Word):
    """How far a session has come."""

    SECOND_FACTOR = "second_factor", "等待动态口令"
    PASSWORD = "password", "等待设置新密码"
    ENROL = "enrol", "等待启用动态口令"
    OPEN = "open", "已登录"
    LOCKED = "locked", "已锁定"


class AccountState(Word):
    """What stands between a person and the desk at this moment."""

    NONE = "none", "未启用"
    LOCKED = "locked", "已锁定"
    UNBOUND = "unbound", "未绑定动态口令"
    READY = "ready", "正常"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known about a person and a session when the next step is asked for."""

    enrolled: bool
    second_done: bool
    must_change: bool
    obliged: bool


def obliged(roles: Collection[AccessRole], *, everybody: bool) -> bool:
    """Whether these roles need a second factor."""
    return everybody or bool(OBLIGED.intersection(roles))


def account_state(*, opens: bool, locked: bool, enrolled: bool, obliged: bool) -> AccountState:
    """One word for an account; ``opens``: there is a password or an identity of the provider to sign in with."""
    if not opens:
        return AccountState.NONE
    if locked:
        return AccountState.LOCKED
    return AccountState.UNBOUND if obliged and not enrolled else AccountState.READY


def next_stage(standing: Standing) -> Stage:
    """The second factor comes first: a stolen password alone must not be enough to set another one."""
    if standing.enrolled and not standing.second_done:
        return Stage.SECOND_FACTOR
    if standing.must_change:
        return Stage.PASSWORD
    if standing.obliged and not standing.enrolled:
        return Stage.ENROL
    return Stage.OPEN


def password_outdated(changed_at: datetime | None, now: datetime, most_days: int) -> bool:
    """Whether a password has to be renewed by its age; 0 days switches that off."""
    return bool(most_days) and changed_at is not None and now - changed_at >= timedelta(days=most_days)


def idle_too_long(seen_at: datetime, now: datetime) -> bool:
    """Whether nobody has been at the desk for the allowed time."""
    return now - seen_at >= IDLE


def ends_at(opened_at: datetime) -> datetime:
    """When a session that was opened then is over, whatever is done with it."""
    return opened_at + LONGEST + SHOWN_FOR


def is_spent(opened_at: datetime, now: datetime) -> bool:
    """Whether a session may act no more before everything has been shown again."""
    return now - opened_at >= LONGEST


def why_locked(seen_at: datetime, opened_at: datetime, now: datetime) -> str:
    """Why an open desk has to be locked now: "limit", "idle", or "" where it need not be."""
    if is_spent(opened_at, now):
        return "limit"
    return "idle" if idle_too_long(seen_at, now) else ""
