"""What every use case is given: the store, the settings and the means to reach people. Made by ``bootstrap`` alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.settings import Settings
from huiying.store.db import Store
from notifiers.contract import ChannelConfig, Notifier

if TYPE_CHECKING:
    from config.sealed import Sealer


@dataclass(frozen=True, slots=True)
class Services:
    """The outfit of a process; cheap to share between threads.

    ``sealer`` encrypts phone numbers, addresses and entered secrets at rest. ``server_key`` makes the secrets that we
    issue (acknowledge links). ``make_notifier`` builds a channel's sender; None where nothing may be sent (a drill).
    """

    store: Store
    settings: Settings
    sealer: Sealer
    server_key: bytes
    make_notifier: Callable[[ChannelConfig], Notifier] | None = None
