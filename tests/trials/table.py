"""What a trial says at its end, and how the end of all trials is printed."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``ok`` None: skipped, loudly."""

    trial: str
    figures: str
    ok: bool | None
    faults: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For the parent process."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Row:
        """What ``as_json`` gave."""
        return cls(value["trial"], value["figures"], value["ok"], tuple(value["faults"]))

    @property
    def word(self) -> str:
        """The verdict."""
        return {True: "passed", False: "FAILED", None: "SKIPPED"}[self.ok]


def _wide(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _wide(text))


def render(rows: Sequence[Row], seconds: Sequence[float]) -> str:
    """The table: trial, figures, seconds, verdict; below it every fault."""
    cells = [("trial", "figures", "s", "verdict")]
    cells += [(row.trial, row.figures, f"{took:.0f}", row.word) for row, took in zip(rows, seconds, strict=True)]
    widths = [max(_wide(line[column]) for line in cells) for column in range(4)]
    lines = [
        "  ".join(_padded(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines += [f"  {row.trial}: {fault}" for row in rows for fault in row.faults]
    return "\n".join(lines)
