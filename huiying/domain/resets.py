"""Two factors, two pairs of hands: who has reset one factor of an account may not reset the other.

Whoever holds both a fresh password and the place of a fresh authenticator can sign in as that person: an administrator
could make an approver's decisions (三员分立). The bar falls when 72 hours have passed and the person has signed in since,
and thereby has seen who reset what; it stands for as long as what was given out still opens the account.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from huiying.domain.kinds import Word

#: The two factors of one account stay in different hands for so long at least.
APART_FOR = timedelta(hours=72)


class Factor(Word):
    """One of the two proofs with which a person signs in."""

    PASSWORD = "password", "密码"
    CODE = "code", "动态口令"


@dataclass(frozen=True, slots=True)
class Reset:
    """A factor that somebody gave out or took away: ``by`` is the author as the audit chain names it."""

    factor: Factor
    by: str
    at: datetime


def is_barred(
    factor: Factor, resets: Iterable[Reset], hands: Collection[str], signed_in_at: datetime | None, now: datetime
) -> bool:
    """Whether these hands may not reset a factor, because they hold the other one."""
    return any(
        reset.factor is not factor
        and reset.by in hands
        and (now - reset.at < APART_FOR or signed_in_at is None or signed_in_at <= reset.at)
        for reset in resets
    )
