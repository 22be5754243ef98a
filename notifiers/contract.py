"""The one contract every channel fulfils."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from huiying.domain.kinds import ChannelKind
from huiying.domain.message import Notice
from huiying.domain.outcome import Outcome


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """One configured way out, secrets already resolved to clear text in memory (never logged: see ``Secret``).

    ``settings`` holds the kind's own keys (e.g. ``url``, ``secret``, ``base_url``, ``host``, ``port``, ``from``,
    ``starttls``, ``ca_bundle``, ``proxy``, ``allow_cidrs``, ``per_minute``, ``per_second``).
    """

    channel_id: str
    kind: ChannelKind
    name: str
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Address:
    """Where one recipient is reached on a channel; empty for a group robot."""

    person_id: str = ""
    name: str = ""
    email: str = ""
    mobile: str = ""
    user_id: str = ""
    url: str = ""


class Notifier(Protocol):
    """Sends one notice through one channel, within a total deadline, and says what became of it.

    ``deadline_seconds`` bounds the whole call, retries included (in-process retries only where they fit).
    ``now`` is the wall clock for signatures. Returns a typed outcome; never raises for what the other side does.
    """

    def send(self, notice: Notice, to: Address, now: datetime, deadline_seconds: float) -> Outcome: ...

    def close(self) -> None: ...
