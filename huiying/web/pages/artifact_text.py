"""A run's page (our own markdown: headings, tables, lines) as blocks that a template can show; anything else is text."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RULE = re.compile(r"^\|(?:\s*:?-{3,}:?\s*\|)+$")
_CELL = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, slots=True)
class Block:
    """``kind``: heading, line or table; a table has ``rows``, the first of which are its heads."""

    kind: str
    text: str = ""
    rows: tuple[tuple[str, ...], ...] = ()


def blocks(page: str) -> list[Block]:
    """The blocks of a page, in order."""
    found: list[Block] = []
    table: list[tuple[str, ...]] = []
    for raw in [*page.splitlines(), ""]:
        line = raw.strip()
        if line.startswith("|") and line.endswith("|") and len(line) > 1:
            if not _RULE.match(line):
                table.append(_cells(line))
            continue
        if table:
            found.append(Block("table", rows=tuple(table)))
            table = []
        if line.startswith("#"):
            found.append(Block("heading", line.lstrip("#").strip()))
        elif line:
            found.append(Block("line", line))
    return found


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip().replace("\\|", "|") for cell in _CELL.split(line[1:-1]))
