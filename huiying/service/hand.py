"""Who takes actions and deliveries: the name that leases carry, and the way the work takes."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

DIRECT = "direct"
PREFECT = "prefect"


@dataclass(frozen=True, slots=True)
class Hand:
    """A process in one of its lives. ``process`` is ``<node>/<name>``; a restart has another ``boot_id``."""

    process: str
    boot_id: str
    mode: str = DIRECT

    @property
    def owner(self) -> str:
        """What a lease carries."""
        return f"{self.process}/{self.boot_id}"

    @property
    def actor(self) -> str:
        """What the audit chain names."""
        return f"system:{self.process}"

    @property
    def is_direct(self) -> bool:
        """True where the taker sends at once by itself; False where flow tasks send."""
        return self.mode == DIRECT

    @property
    def history(self) -> str:
        """What remains to be done for the run history: a direct run is owed to it."""
        return "owed" if self.is_direct else "prefect"


def new_hand(node: str, name: str, mode: str = DIRECT) -> Hand:
    """A fresh life of a process."""
    return Hand(f"{node}/{name}", secrets.token_hex(4), mode)
