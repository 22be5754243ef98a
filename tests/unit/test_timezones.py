"""Results do not depend on the host's time zone: a golden table, computed in processes that live elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ZONES = ("America/New_York", "Asia/Shanghai", "Pacific/Kiritimati")

#: Clock dues, fixed times of day, plans and packs, all as Beijing text. A host at UTC-5 or UTC+14 lives on another day.
GOLDEN = {
    "spring festival": {"5h": "2026-02-16 03:30+08:00 running", "24h": "2026-02-16 22:30+08:00 running"},
    "opinion": {"48h": "2026-10-02 18:00+08:00 running"},
    "new year": {"5h": "2027-01-01 03:00+08:00 running", "24h": "2027-01-01 22:00+08:00 running"},
    # The night in which New York changes its clocks: five natural hours are five natural hours.
    "march 8": {"5h": "2026-03-08 17:00+08:00 running", "24h": "2026-03-09 12:00+08:00 running"},
    "dst 1988": {"5h": "1988-07-01 14:00+09:00 running", "24h": "1988-07-02 09:00+09:00 running"},
    "late": {
        "5h": "2026-03-10 13:00+08:00 breached",
        "5h内部": "2026-03-10 18:50+08:00 running",
        "24h": "2026-03-11 08:00+08:00 running",
    },
    "worsened": {
        "5h": "2026-03-11 01:00+08:00 running",
        "24h": "2026-03-11 20:00+08:00 running",
        "48h": "2026-03-12 08:00+08:00 superseded",
    },
    "history": {"48h": "2026-03-12 08:00+08:00 running"},
    "daily": ["2026-03-10 09:00+08:00", "2026-03-11 09:00+08:00", "1988-07-01 09:00+09:00"],
    "plan": [
        "2026-03-10 09:10+08:00 unacknowledged_1h",
        "2026-03-10 10:30+08:00 share_50",
        "2026-03-10 12:00+08:00 share_80",
        "2026-03-10 12:30+08:00 left_30m",
        "2026-03-10 12:50+08:00 left_10m",
        "2026-03-10 13:00:00.000001+08:00 breach",
        "2026-03-10 14:00+08:00 overdue_hourly",
        "2026-03-10 15:00+08:00 overdue_hourly",
        "2026-03-10 16:00+08:00 overdue_hourly",
        "2026-03-10 17:00+08:00 overdue_hourly",
        "2026-03-10 18:00+08:00 overdue_hourly",
        "2026-03-10 19:00+08:00 overdue_hourly",
        "2026-03-11 09:00+08:00 overdue_daily",
    ],
}


def compute() -> dict[str, object]:
    """The table, in this process."""
    from datetime import time

    from huiying.domain.folding import Entry, fold
    from huiying.domain.plan import next_daily, plan_actions
    from tests.builders import (
        EMERGENCY,
        MAJOR,
        OPINION,
        WORSENED,
        at,
        beijing,
        binding,
        graded,
        incident,
        national,
        policy,
        table,
    )

    def major(occurred, now, **times):
        facts = incident(EMERGENCY, MAJOR, occurred=occurred, registered=now, **times)
        return table(facts, now)

    opinion = incident(OPINION, detected="2026-03-10 08:00", occurred="2026-03-10 08:00", registered="2026-03-10 08:00")
    entries = [
        Entry("registered", at("2026-03-10 08:20"), "duty", {"kind": "opinion"}),
        # The same instant, as a client in another part of the world may write it.
        Entry(
            "time_fact", at("2026-03-10 08:20"), "duty",
            {"kind": "detected_at", "value": "2026-03-09T19:00:00-05:00", "source": "值班记录"},
        ),
    ]  # fmt: skip
    emergency = incident(EMERGENCY, MAJOR, occurred="2026-03-10 08:00", registered="2026-03-10 08:10")
    five = binding(emergency, "2026-03-10 08:10")["5h"]
    plan = plan_actions(five, policy("release-5h"), at("2026-03-10 08:10"), at("2026-03-10 08:10"))
    return {
        "spring festival": major("2026-02-15 22:30", "2026-02-15 22:40"),
        "opinion": table(
            incident(OPINION, detected="2026-09-30 18:00", registered="2026-09-30 18:20"), "2026-09-30 18:20"
        ),
        "new year": major("2026-12-31 22:00", "2026-12-31 22:05"),
        "march 8": major("2026-03-08 12:00", "2026-03-08 12:05"),
        "dst 1988": major("1988-07-01 09:00", "1988-07-01 09:05"),
        "late": major("2026-03-10 08:00", "2026-03-10 14:00", notified="2026-03-10 13:50"),
        "worsened": table(graded(opinion, MAJOR, WORSENED, "2026-03-10 20:00"), "2026-03-10 20:00"),
        "history": table(fold(entries, [], national()), "2026-03-10 08:20"),
        "daily": [
            beijing(next_daily(at(after), (time(9), time(15))))
            for after in ("2026-03-10 00:30", "2026-03-10 15:00", "1988-07-01 03:00")
        ],
        "plan": [f"{beijing(action.due_at)} {action.step_id}" for action in plan],
    }


def test_the_golden_table_holds_here():
    assert compute() == GOLDEN


@pytest.mark.parametrize("zone", ZONES)
def test_the_golden_table_holds_on_a_host_in(zone):
    """In a process of its own, as ``TZ`` is read when a process starts."""
    program = (
        "import json, time; from tests.unit.test_timezones import compute; "
        "print(json.dumps([time.strftime('%Z%z', time.localtime(0)), compute()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "TZ": zone, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    offset, found = json.loads(done.stdout)
    assert (
        offset
        == {"America/New_York": "EST-0500", "Asia/Shanghai": "CST+0800", "Pacific/Kiritimati": "-1040-1040"}[zone]
    )
    assert found == GOLDEN
