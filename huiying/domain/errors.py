"""Every way in which Huiying says no, as one tree.

::

    HuiyingError
    ├── Refused            the request is understood and not allowed now (exit code 1, HTTP 409)
    │   ├── NotFound       nothing of that number exists (HTTP 404)
    │   ├── Forbidden      the caller may not do this (HTTP 403)
    │   ├── NeedsSecondPerson  allowed only when another person confirms (HTTP 409, change kept as pending)
    │   └── Conflict       somebody else changed it first; nothing was written (HTTP 409)
    ├── InvalidInput       a field is wrong; names the field (HTTP 422, exit code 1)
    ├── NotAuthenticated   token missing, unknown, expired or revoked (HTTP 401)
    ├── BadRulePack        a rule pack cannot be loaded; carries findings with file, line and key
    └── Unavailable        the store cannot answer now; nothing was written (HTTP 503, or 507 when the disk is full)

The message is a Chinese sentence for a duty officer: what happened, what was kept, what to do.
"""

from __future__ import annotations


class HuiyingError(Exception):
    """Base of all errors that a person is meant to read."""

    code = "error"
    status = 500

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Refused(HuiyingError):
    """The request is understood and not allowed in the present state."""

    code = "refused"
    status = 409


class NotFound(Refused):
    """Nothing of that number or name exists."""

    code = "not_found"
    status = 404


class Forbidden(Refused):
    """The caller's roles do not allow this."""

    code = "forbidden"
    status = 403


class NeedsSecondPerson(Refused):
    """The change was kept as a pending request; another person's own account must confirm it."""

    code = "needs_second_person"
    status = 409


class Conflict(Refused):
    """Another change came first; nothing of this one was written."""

    code = "conflict"
    status = 409


class InvalidInput(HuiyingError):
    """A value is not acceptable; ``field`` names where it was given."""

    code = "invalid_input"
    status = 422

    def __init__(self, field: str, message: str, **details: object) -> None:
        super().__init__(message, **details)
        self.field = field


class NotAuthenticated(HuiyingError):
    """No valid token was shown."""

    code = "not_authenticated"
    status = 401


class BadRulePack(HuiyingError):
    """A rule pack, calendar or policy file is refused as a whole; ``findings`` says where and why."""

    code = "bad_rule_pack"
    status = 422


class Unavailable(HuiyingError):
    """The store cannot answer at the moment; nothing was written, the caller may try again."""

    code = "unavailable"
    status = 503
