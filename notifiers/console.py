"""Messages on the screen of whoever runs the process: for trying things out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from huiying.domain.message import Notice
from huiying.domain.outcome import Accepted, Outcome
from notifiers.contract import Address
from notifiers.templates import Form, render

Write: TypeAlias = Callable[[str], object]


def write_to_screen(text: str) -> None:
    """Standard output, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


class ConsoleNotifier:
    """Prints a message with a rule before it; control characters are gone since rendering."""

    def __init__(self, write: Write = write_to_screen) -> None:
        self._write = write

    def send(self, notice: Notice, to: Address, now: datetime, deadline_seconds: float) -> Outcome:
        whom = f"→ {to.name}\n" if to.name and to.name.isprintable() else ""
        self._write(f"{'─' * 40}\n{whom}{render(notice, Form.PLAIN).body}\n")
        return Accepted(notice.notice_no)

    def close(self) -> None:
        """Nothing is held open."""
