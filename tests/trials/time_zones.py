"""The same deadlines and the same messages whatever the host's time zone says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.trials.setting import Setting
from tests.trials.stage import ROOT
from tests.trials.table import Row

ZONES = ("America/New_York", "Asia/Shanghai", "Pacific/Kiritimati", "Nowhere/No_Such_Zone")


def time_zones(setting: Setting) -> Row:
    """Register, view, remind, miss: every line in four time zones, compared byte by byte."""
    running = [(zone, *_begin(setting.folder / str(number), zone)) for number, zone in enumerate(ZONES)]
    said = {}
    faults = []
    for zone, process, path in running:
        code = process.wait()
        said[zone] = path.read_text(encoding="utf-8").splitlines()
        if code:
            faults.append(f"TZ={zone} ended with {code}: {path.with_suffix('.err').read_text(encoding='utf-8')[-400:]}")
    golden = said[ZONES[1]]
    for zone in ZONES:
        faults += [f"TZ={zone}: {difference}" for difference in _differences(golden, said[zone])[:3]]
    kinds = Counter(json.loads(line)["what"] for line in golden)
    if kinds["message"] < 100 or kinds["registered"] < 10:
        faults.append(f"too little was tried: {dict(kinds)}")
    return setting.row(
        f"{len(ZONES)} time zones, each {kinds['registered']} incidents, {kinds['clock']} clocks, {kinds['action']} actions,"
        f" {kinds['message']} messages in six formats, {kinds['duty']} duties: {'identical' if not faults else 'NOT identical'}",
        faults,
    )


def _begin(folder: Path, zone: str) -> tuple[subprocess.Popen[bytes], Path]:
    folder.mkdir(parents=True)
    path = folder / "said"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HUIYING_")}
    with path.open("wb") as out, path.with_suffix(".err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.trials.golden", str(folder)],
            cwd=ROOT,
            env=environment | {"TZ": zone},
            stdout=out,
            stderr=err,
        )
    return process, path


def _differences(golden: list[str], other: list[str]) -> list[str]:
    found = [
        f"line {n}: {_around(b, a)} instead of {_around(a, b)}"
        for n, (a, b) in enumerate(zip(golden, other, strict=False), 1)
        if a != b
    ]
    if len(golden) != len(other):
        found.append(f"{len(other)} lines instead of {len(golden)}")
    return found


def _around(line: str, other: str) -> str:
    """The first place where two lines part, with what stands before it."""
    parts = next((n for n, (a, b) in enumerate(zip(line, other, strict=False)) if a != b), min(len(line), len(other)))
    return "…" + line[max(0, parts - 60) : parts + 60]
