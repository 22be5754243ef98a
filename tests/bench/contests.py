"""What is measured, and against what. Every contest gives rows for one table; ratios are against the row named first."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.bench.arena import Hook, Progress, Result, folder, hook, ours, run_role, running, simple
from tests.bench.durable_postgres import durable_server, fresh_database


@dataclass
class Table:
    """Rows of texts under a title; ``notes`` say what was promised and whether it was kept."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Setting:
    """How large, how often, and who reports."""

    progress: Progress
    scale: float = 1.0
    rounds: int = 1

    def count(self, number: int) -> int:
        """A size, smaller when only the way is to be tried."""
        return max(20, int(number * self.scale))


#: Seconds between a contestant's last preparation and its first message: whoever prepared it has left the processor.
_LEAD = 3.0

Entry = tuple[str, Callable[[], Result]]


@dataclass(frozen=True)
class Field:
    """What every contestant did in every round. They run in turns, so that whatever else the machine does hits all."""

    rounds: list[dict[str, Result]]

    def names(self) -> list[str]:
        """The contestants in their order."""
        return list(self.rounds[0])

    def median(self, name: str, measure: Callable[[Result], float]) -> float:
        """The middle round of one contestant."""
        return statistics.median(measure(results[name]) for results in self.rounds)

    def ratio(self, name: str, other: str, measure: Callable[[Result], float]) -> float:
        """The middle of the ratios, each taken within one round."""
        return statistics.median(measure(results[name]) / measure(results[other]) for results in self.rounds)

    def sum(self, name: str, measure: Callable[[Result], int]) -> str:
        """Over all rounds."""
        return str(sum(measure(results[name]) for results in self.rounds))


def _run(setting: Setting, what: str, entries: list[Entry]) -> Field:
    rounds = []
    for turn in range(setting.rounds):
        results = {}
        for name, run in entries:
            setting.progress.say(f"{what}, round {turn + 1} of {setting.rounds}: {name}")
            results[name] = run()
        rounds.append(results)
    return Field(rounds)


def _drained(result: Result) -> float:
    return result.drained


def _lost(result: Result) -> int:
    return result.count - result.distinct


def _twice(result: Result) -> int:
    return result.copies


def _late(share: float) -> Callable[[Result], float]:
    return lambda result: result.late_ms(share)


def _kept(condition: bool, text: str) -> str:
    return f"{'kept  ' if condition else 'MISSED'}  {text}"


@contextmanager
def _databases() -> Iterator[Callable[[], str]]:
    with durable_server() as server:
        numbers = iter(range(1000))
        yield lambda: fresh_database(server, f"bench{next(numbers)}")


# -- lateness ----------------------------------------------------------------------------------------------------------


def spread(setting: Setting) -> Table:
    """Fifty a second, evenly: how late a message is in the receiver's hand, durable claim included."""
    table = Table(
        "spread: 50/s, from due to the receiver's hand",
        ("contestant", "p50 ms", "p90 ms", "p99 ms", "max ms", "p99 / bare", "lost", "twice"),
    )
    plan = {"count": setting.count(300), "gap": 0.02, "connections": 16}
    with hook() as receiver, _databases() as database:
        entries: list[Entry] = [
            ("bare aiohttp", lambda: simple("bare", "bare", receiver, plan, _LEAD)),
            ("APScheduler + SQLite store", lambda: simple("aps", "apscheduler", receiver, plan, _aps_lead(plan))),
            ("ours, SQLite", lambda: ours("ours", receiver, plan, lead=_LEAD)),
            ("ours, PostgreSQL", lambda: ours("ours pg", receiver, plan, database=database(), lead=_LEAD)),
        ]
        found = _run(setting, "spread", entries)
    bare, mine = entries[0][0], entries[2][0]
    for name in found.names():
        late = [f"{found.median(name, _late(share)):.1f}" for share in (0.5, 0.9, 0.99, 1.0)]
        ratio = f"{found.ratio(name, bare, _late(0.99)):.1f}"
        table.rows.append((name, *late, ratio, found.sum(name, _lost), found.sum(name, _twice)))
    p99 = found.median(mine, _late(0.99))
    best = min(results[mine].late_ms(0.99) for results in found.rounds)
    table.notes.append(
        _kept(p99 <= 10, f"p99 of ours on SQLite ≤ 10 ms: {p99:.1f} ms, in the best round {best:.1f} ms")
    )
    return table


def _aps_lead(plan: dict[str, Any]) -> float:
    """APScheduler writes its jobs one by one; they must be there before the first is due."""
    return 4.0 + float(plan["count"]) / 50


# -- everything at once ------------------------------------------------------------------------------------------------


def storm(setting: Setting) -> Table:
    """A thousand due in the same second, sixteen connections."""
    count = setting.count(1000)
    table = Table(
        f"storm: {count} due in the same second, 16 connections, signed webhook",
        ("contestant", "drained s", "per s", "cpu ms each", "p99 ms", "time / bare", "time / APS", "lost", "twice"),
    )
    plan = {"count": count, "connections": 16}
    with hook() as receiver, _databases() as database:
        entries: list[Entry] = [
            ("bare aiohttp", lambda: simple("bare", "bare", receiver, plan, _LEAD)),
            ("APScheduler + SQLite store", lambda: simple("aps", "apscheduler", receiver, plan, _aps_lead(plan))),
            ("ours, SQLite", lambda: ours("ours", receiver, plan, lead=_LEAD)),
            ("ours, SQLite, two senders", lambda: ours("ours 2", receiver, plan, workers=2, lead=_LEAD)),
            ("ours, PostgreSQL", lambda: ours("ours pg", receiver, plan, database=database(), lead=_LEAD)),
        ]
        found = _run(setting, "storm", entries)
    bare, stored, mine = (entries[number][0] for number in range(3))
    _fill(table, found, (bare, stored))
    half = found.ratio(mine, stored, _drained)
    table.notes.append(_kept(half <= 0.5, f"at most half of APScheduler's time: {half:.2f}"))
    table.notes.append(f"aimed   near twice the bare client's time: {found.ratio(mine, bare, _drained):.2f}")
    return table


def _fill(table: Table, found: Field, references: tuple[str, ...]) -> None:
    for name in found.names():
        measures = (_drained, Result.rate, Result.cpu_ms, _late(0.99))
        forms = ("{:.2f}", "{:.0f}", "{:.2f}", "{:.0f}")
        row = [form.format(found.median(name, measure)) for form, measure in zip(forms, measures, strict=True)]
        ratios = [f"{found.ratio(name, other, _drained):.2f}" for other in references]
        table.rows.append((name, *row, *ratios, found.sum(name, _lost), found.sum(name, _twice)))


def flood(setting: Setting) -> Table:
    """Ten thousand due at once, durable."""
    return _many(setting, setting.count(10_000), 0.0)


def slow(setting: Setting) -> Table:
    """The same with a receiver that takes 0.3 s for every post."""
    return _many(setting, setting.count(10_000), 0.3)


def _many(setting: Setting, count: int, delay: float) -> Table:
    name = "slow" if delay else "flood"
    what = f", receiver takes {delay} s per post" if delay else ""
    table = Table(
        f"{name}: {count} due at once{what}",
        ("contestant", "drained s", "per s", "cpu ms each", "p99 ms", "time / bare", "lost", "twice"),
    )
    plan = {"count": count, "connections": 256 if delay else 64, "patience": 180.0}
    with hook(delay) as receiver:
        bare = f"bare aiohttp, {plan['connections']} connections"
        entries: list[Entry] = [
            (bare, lambda: simple("bare", "bare", receiver, plan, _LEAD)),
            ("ours, SQLite", lambda: ours("ours", receiver, plan, lead=_LEAD)),
            ("ours, SQLite, two senders", lambda: ours("ours 2", receiver, plan, workers=2, lead=_LEAD)),
        ]
        found = _run(setting, name, entries)
    _fill(table, found, (bare,))
    one, two = (found.median(entries[number][0], Result.rate) for number in (1, 2))
    table.notes.append(_kept(one >= 600, f"at least 600/s durable on SQLite: {one:.0f}/s"))
    table.notes.append(f"aimed   1,000/s with a second sender process: {two:.0f}/s")
    return table


# -- a hundred thousand incidents --------------------------------------------------------------------------------------


def start(setting: Setting) -> Table:
    """An engine that starts on a large database claims its first overdue action at once and stays small."""
    count = setting.count(100_000)
    table = Table(
        f"start: {count} open incidents with eight timed actions each",
        ("what", "seconds", "MB resident"),
    )
    with hook() as receiver, folder() as path:
        base = {"url": receiver.url, "folder": str(path), "database": f"sqlite:///{path}/huiying.db", "count": count}
        setting.progress.say("start: writing the database")
        run_role("create", base)
        run_role("populate", base)
        setting.progress.say("start: engine")
        seconds, size = _first_overdue(receiver, base)
        table.rows.append(("process start to the first overdue post", f"{seconds:.2f}", f"{size:.0f}"))
        setting.progress.say("start: registering")
        median = json.loads(run_role("register", base))["median"]
        table.rows.append(("registering, median", f"{median:.4f}", ""))
    table.notes.append(_kept(seconds <= 2, f"first overdue action ≤ 2 s after the start: {seconds:.2f} s"))
    table.notes.append(_kept(size <= 150, f"≤ 150 MB resident: {size:.0f} MB"))
    table.notes.append(_kept(median <= 0.02, f"registering ≤ 20 ms at the median: {1000 * median:.1f} ms"))
    return table


def _first_overdue(receiver: Hook, base: dict[str, Any]) -> tuple[float, float]:
    receiver.reset()
    began = time.time()
    with running("worker", base) as process:
        stats = receiver.wait_for(1, 60)
        time.sleep(1.0)
        size = psutil.Process(process.pid).memory_info().rss / 1e6
    return stats["first_at"] - began, size


def desk(setting: Setting) -> Table:
    """The main screen in a real browser: what comes over the wire, how soon, and what ticking costs."""
    from tests.bench.desk import measure

    table = Table("desk: the main screen in Chromium", ("clocks", "wire kB", "requests", "first paint ms", "ready ms"))
    loads, ticking = measure(setting.progress.say, (setting.count(200), setting.count(2000)), setting.rounds)
    for clocks, found in loads.items():
        middle = [statistics.median(values) for values in zip(*found, strict=True)]
        wire, requests, paint, ready = middle
        table.rows.append((str(clocks), f"{wire / 1024:.1f}", f"{requests:.0f}", f"{paint:.0f}", f"{ready:.0f}"))
    table.notes = [
        "wanted with 200 clocks: at most 60 kB and 8 requests; with 2,000: first paint within 3,000 ms",
        f"main thread while 200 clocks tick: {statistics.median(ticking):.2f} s per 10 s (wanted: at most 0.60)",
    ]
    return table


def crowded(setting: Setting) -> Table:
    """The main screen while ten thousand reminders are delivered."""
    from tests.bench.crowded import measure

    count = setting.count(10_000)
    table = Table(
        f"crowded: the main screen while {count} reminders go out", ("when", "pages", "p50 ms", "p95 ms", "worst ms")
    )
    with hook() as receiver:
        found = [measure(receiver, count, lead=6.0) for _ in range(setting.rounds)]
    calm = sorted(spent for one in found for spent in one.calm)
    busy = sorted(spent for one in found for spent in one.busy)
    for when, spent in (("before", calm), ("meanwhile", busy)):
        shares = [1000 * spent[min(len(spent) - 1, int(share * len(spent)))] for share in (0.5, 0.95, 1.0)]
        table.rows.append((when, str(len(spent)), *(f"{value:.0f}" for value in shares)))
    p95 = 1000 * busy[min(len(busy) - 1, int(0.95 * len(busy)))]
    table.notes.append(_kept(p95 <= 500, f"p95 at most 500 ms while they are delivered: {p95:.0f} ms"))
    rates = statistics.median(one.delivered / one.took for one in found)
    table.notes.append(f"delivered meanwhile: {rates:.0f}/s, {min(one.delivered for one in found)} of {count} at least")
    return table


CONTESTS: dict[str, Callable[[Setting], Table]] = {
    "spread": spread,
    "storm": storm,
    "flood": flood,
    "slow": slow,
    "start": start,
    "desk": desk,
    "crowded": crowded,
}


def load() -> str:
    """How busy the machine has been in the last 1, 5 and 15 minutes; two is all of two cores."""
    return ", ".join(f"{value:.1f}" for value in psutil.getloadavg())


def machine() -> str:
    """What the figures were taken on."""
    version = ".".join(map(str, sys.version_info[:3]))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=False, capture_output=True, text=True).stdout
    return f"{psutil.cpu_count()} cores, load average {load()}, Python {version}, commit {commit.strip() or 'unknown'}"
