"""Sessions put straight into a store: signed in, halfway or locked, without the sign-in pages."""

from __future__ import annotations

import sqlalchemy as sa

from huiying.domain.signing import Stage
from huiying.service import session_rows
from huiying.service.services import Services
from huiying.store import tables as t


def session_of(services: Services, person_id: str, stage: Stage = Stage.OPEN) -> tuple[str, str]:
    """The secret of a new session of this person and the token of its forms, without the sign-in pages."""
    with services.store.transaction(f"person:{person_id}") as tx:
        if tx.one(sa.select(t.account.c.person_id).where(t.account.c.person_id == person_id)) is None:
            # The second factor counts as set up: without it a session of an obliged role is not open.
            values = {"person_id": person_id, "password_hash": "unused", "changed_at": tx.now, "totp_since": tx.now}
            tx.run(t.account.insert().values(**values))
        secret, session_id = session_rows.open_row(tx, person_id, stage, "127.0.0.1", "test", second_done=True)
        session = session_rows.view(services, tx, session_rows.find_by_id(tx, session_id))
    return secret, session.csrf
