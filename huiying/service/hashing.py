"""Hashes of passwords: argon2id, at most two at work, and the same work for people who do not exist."""

from __future__ import annotations

import secrets
import threading
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pwdlib import PasswordHash

#: One hash takes 64 MiB and a sixth of a second: a crowd at the door waits instead of eating the machine.
_AT_WORK = threading.BoundedSemaphore(2)
_LONGEST = 200


@cache
def _hasher() -> PasswordHash:
    from pwdlib import PasswordHash  # noqa: PLC0415 - only who checks a password pays for loading it

    return PasswordHash.recommended()


@cache
def _nobodys_hash() -> str:
    """Checked for unknown people, so that the time of an answer does not tell whether they exist."""
    return _hasher().hash(secrets.token_urlsafe())


def hash_password(password: str) -> str:
    """The form in which a password is kept."""
    with _AT_WORK:
        return _hasher().hash(password)


def matches(password: str, digest: str | None) -> bool:
    """Whether a password belongs to a hash; None or "" takes as long and is never right."""
    with _AT_WORK:
        # Made before it is needed: the first unknown name of a process must not take twice as long.
        nobody = _nobodys_hash()
        right = len(password) <= _LONGEST and _hasher().verify(password, digest or nobody)
        if len(password) > _LONGEST:
            _hasher().verify(password[:_LONGEST], nobody)
    return right and bool(digest)
