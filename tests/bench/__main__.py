"""``python -m tests.bench [NAME …] [--scale 0.1] [--rounds 2]``: prints one table per contest; exit code 0 always.

A bench measures; whether a figure is kept is said beside it and judged by people who know what else the machine did.
"""

from __future__ import annotations

import argparse
import sys

from tests.bench.arena import Progress
from tests.bench.contests import CONTESTS, Setting, Table, load, machine


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="dev bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(CONTESTS)} (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="smaller contests, to try the way")
    parser.add_argument("--rounds", type=int, default=2, help="how often; medians are shown")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in CONTESTS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(CONTESTS)}")
    progress = Progress()
    print(machine())
    for name in options.names or list(CONTESTS):
        rounds = 1 if name == "start" else options.rounds
        table = CONTESTS[name](Setting(progress, options.scale, rounds))
        progress.clear()
        print(_rendered(table), f"load average now {load()}", sep="\n", flush=True)
    return 0


def _rendered(table: Table) -> str:
    lines = [table.head, *table.rows]
    widths = [max(len(row[column]) for row in lines) for column in range(len(table.head))]

    def line(row: tuple[str, ...]) -> str:
        first, *rest = [
            text.ljust(width) if not column else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join([first, *rest])

    rule = "-" * len(line(table.head))
    body = [line(row) for row in table.rows]
    return "\n".join(["", table.title, rule, line(table.head), rule, *body, *table.notes])


if __name__ == "__main__":
    sys.exit(main())
