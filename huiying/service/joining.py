"""A new colleague in one step: the person, standing duties, access roles and a first password, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from huiying.domain.access import Permission
from huiying.service import people, roster_admin, tokens
from huiying.service.actor import Actor
from huiying.service.hashing import hash_password
from huiying.service.services import Services
from huiying.service.views import shown


def join(
    services: Services,
    actor: Actor,
    person_id: str,
    *,
    name: str,
    unit_id: str,
    mobile: str = "",
    email: str = "",
    im: Mapping[str, str] | None = None,
    duties: Sequence[str] = (),
    access: Sequence[str] = (),
    password: bool = False,
) -> dict[str, Any]:
    """Write it all in one transaction: whatever is refused leaves nothing half-made behind.

    With ``password`` the answer holds a one-time password, shown this once.
    """
    actor.require(Permission.PEOPLE)
    # Hashing takes long on purpose: before the transaction, not within.
    secret = tokens.new_password() if password else ""
    digest = hash_password(secret) if password else ""
    issued: dict[str, Any] = {}
    with services.store.transaction(actor.id) as tx:
        people.insert_person(
            services, tx, actor, person_id, name=name, unit_id=unit_id, mobile=mobile, email=email, im=im or {}
        )
        for role in duties:
            roster_admin.insert_duty(tx, actor, person_id, role, unit_id)
        for role in access:
            roster_admin.insert_access(tx, actor, person_id, role, unit_id)
        if password:
            expires_at = tokens.keep_password(tx, person_id, digest)
            issued = {"person_id": person_id, "password": secret, "expires_at": shown(expires_at)}
    return {**people.show_person(services, actor, person_id), **issued}
