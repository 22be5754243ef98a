"""What every trial is given: its folder, its seed, how much is asked of it, and a voice."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.trials.table import Row

Trial = Callable[["Setting"], Row]


@dataclass
class Setting:
    """The frame of one trial. ``scale`` is ci or long."""

    name: str
    folder: Path
    seed: int
    scale: str = "ci"
    began: float = field(default_factory=time.monotonic)

    @property
    def is_long(self) -> bool:
        """Whether this is the long run."""
        return self.scale == "long"

    def chance(self, salt: str = "") -> random.Random:
        """A source of chance that the printed seed makes again."""
        return random.Random(f"{self.seed}-{self.name}-{salt}")

    def say(self, text: str) -> None:
        """Show progress."""
        sys.stderr.write(f"[{self.name} {time.monotonic() - self.began:5.1f} s] {text}\n")
        sys.stderr.flush()

    def row(self, figures: str, faults: list[str]) -> Row:
        """The line of the table."""
        return Row(self.name, figures, not faults, tuple(faults))

    def skipped(self, why: str) -> Row:
        """Not tried; where everything has to be tried, that is a failure."""
        return Row(self.name, f"NOT TRIED: {why}", None)
