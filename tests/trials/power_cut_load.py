"""What runs while the power is cut: ``python -m tests.trials.power_cut_load COUNT PRAGMA`` registers through the product.

After each acknowledgement a line goes into the file ``acks`` of the recorded folder, so that the record holds the order
of everything: what was written, what was synchronised, and what somebody had been told by then.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from config.settings import load_settings
from huiying import bootstrap
from huiying.service import incidents
from huiying.service.services import Services
from tests.trials.stage import OPERATOR, opinion


def _pragmas(services: Services) -> dict[str, Any]:
    with services.store.engine.connect() as conn:
        return {
            name: conn.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "wal_autocheckpoint")
        }


def main(count: int, pragma: str) -> None:
    """Register ``count`` incidents; every third one gets a task as well."""
    settings = load_settings()
    services = bootstrap.build(settings)
    if pragma:
        sa.event.listen(services.store.engine, "connect", lambda connection, _: connection.execute(f"PRAGMA {pragma}"))
        services.store.engine.dispose()
    acks = os.open(settings.data_dir / "acks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(line: dict[str, Any]) -> None:
        os.write(acks, (json.dumps(line) + "\n").encode())

    note({"pragmas": _pragmas(services)})
    for number in range(count):
        now = datetime.now(UTC)
        view = incidents.register(services, OPERATOR, opinion(f"断电试验{number}", now, 3600.0), f"key-{number}")
        note({"no": view["no"], "clocks": len(view["clocks"])})
        if number % 3 == 0:
            due = now + timedelta(hours=2)
            view = incidents.add_task(services, OPERATOR, view["no"], "water", "核查情况", due)
            note({"no": view["no"], "clocks": len(view["clocks"])})


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
