"""A small office to try things on: a data directory, a database, people on duty, and ways out to the trial's receiver.

Every process of a trial is the product's own, started with this stage's environment; nothing in it is replaced.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from config.settings import Settings
from huiying import bootstrap
from huiying.domain.access import LOCAL_PERMISSIONS
from huiying.domain.kinds import Kind
from huiying.service import channels, people, roster_admin
from huiying.service.actor import EVERYWHERE, Actor
from huiying.service.requests import RegisterRequest, TransferInput
from huiying.service.services import Services
from tests.fakes.postgres import postgres_server, url_of
from tests.trials.receiver import SECRET, Receiver

OPERATOR = Actor("local:trial", "", LOCAL_PERMISSIONS, EVERYWHERE)
ROOT = Path(__file__).parents[2]
NODE = "trial"
UNIT = "office"
#: Who is on duty; each of them has an inbox and is reached through the personal webhook.
PEOPLE = {
    "zhang": ("张一", "duty_officer"),
    "li": ("李二", "liaison"),
    "wang": ("王三", "shift_leader"),
    "zhao": ("赵四", "leader_in_charge"),
    "qian": ("钱五", "principal"),
    "sun": ("孙六", "supervision_office"),
}
HOOK = "hook"
ROBOT = "robot"


@dataclass(frozen=True)
class Stage:
    """Where a trial plays. ``url`` empty: the SQLite file in ``folder``."""

    folder: Path
    url: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of a process of this stage."""
        given = {"data_dir": self.folder, "database_url": self.url, "node": NODE, "prefect_enabled": "false"}
        given |= {"allow_loopback_channels": "true", **self.settings}
        ours = {f"HUIYING_{name.upper()}": str(value) for name, value in given.items() if value != ""}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HUIYING_")}
        return kept | ours | {"DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}

    def with_settings(self, **more: Any) -> Stage:
        """The same stage for a process with other settings."""
        return replace(self, settings={**self.settings, **more})

    def services(self) -> Services:
        """An outfit in the calling process."""
        return bootstrap.build(
            Settings(
                data_dir=self.folder,
                database_url=self.url,
                node=NODE,
                prefect_enabled=False,
                allow_loopback_channels=True,
                **self.settings,
            )
        )

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file."""
        return not self.url


def furnish(stage: Stage, receiver: Receiver | None, *, robot: bool = True) -> None:
    """People on standing duties, and the ways out to the receiver."""
    services = stage.services()
    furnish_with(services)
    if receiver is not None:
        add_hook(services, HOOK, receiver.url)
        if robot:
            add_robot(services, ROBOT, receiver.robot(ROBOT))
    services.store.close()


def furnish_with(services: Services) -> None:
    """Units, people and their duties."""
    people.add_unit(services, OPERATOR, UNIT, name="示例市政务公开办", region_code="990100")
    people.add_unit(services, OPERATOR, "water", name="示例市水务局", parent_id=UNIT)
    for person, (name, role) in PEOPLE.items():
        people.add_person(services, OPERATOR, person, name=name, unit_id=UNIT)
        roster_admin.add_duty(services, OPERATOR, person, role, UNIT)
    roster_admin.add_duty(services, OPERATOR, "li", "handler", "water")


def add_hook(services: Services, name: str, url: str, *, audience: str = "personal") -> None:
    """A signed webhook that reaches every person."""
    settings = {"url": url, "secret": SECRET}
    channels.add_channel(services, OPERATOR, name, kind="webhook", audience=audience, settings=settings)


def add_robot(services: Services, name: str, url: str) -> None:
    """A group robot without a rate limit worth the name."""
    settings = {"url": url, "per_minute": 10_000}
    channels.add_channel(services, OPERATOR, name, kind="wecom", settings=settings)


@contextmanager
def staged(folder: Path, database: str = "sqlite", **settings: Any) -> Iterator[Stage]:
    """A stage with an empty system on SQLite or on a PostgreSQL of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    if database == "sqlite":
        stage = Stage(folder, "", settings)
        stage.services().store.close()
        yield stage
        return
    with postgres_server() as server:
        with psycopg.connect(host=str(server / "run"), user="postgres", dbname="postgres", autocommit=True) as admin:
            admin.execute("CREATE DATABASE trial")
        stage = Stage(folder, url_of(server, "trial"), settings)
        stage.services().store.close()
        yield stage


# -- what is registered ------------------------------------------------------------------------------------------------


def opinion(title: str, now: datetime, seconds: float) -> RegisterRequest:
    """An opinion with a superior's notice that is due in so many seconds: five messages follow one another quickly."""
    return RegisterRequest(
        title=title,
        kind=Kind.OPINION,
        unit_id=UNIT,
        transfer=TransferInput(f"转〔{title}〕", now, now + timedelta(seconds=seconds), "示例省政务公开办"),
    )
