"""The wall clock is set while the product runs: forward two hours, back one and two hours, back half a minute.

The steps are those of ``tests/tools/clockstep.c``: the wall clock alone, as an NTP daemon or a hand on the BIOS would. The
clock that decides is the host's for SQLite and the database's for PostgreSQL, where a step of our host changes nothing.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from huiying.now import monotonic
from huiying.service.services import Services
from huiying.store import tables as t
from tests.trials.desk import Desk
from tests.trials.judge import Verdict as Judgement
from tests.trials.judge import judge_copies_alone, judge_database
from tests.trials.preload import Clockstep, NoCompiler
from tests.trials.processes import Cast, Process, wait_until
from tests.trials.receiver import Post, Receiver, wall_now
from tests.trials.setting import Setting
from tests.trials.stage import Stage, furnish, staged
from tests.trials.table import Row

#: How soon a step must have been found, and what it made due must have left.
_SECONDS = 5.0
_IN_TIME = 3.0


@dataclass
class Scene:
    """One run of steps on one database."""

    stage: Stage
    services: Services
    receiver: Receiver
    clock: Clockstep
    engine: Process
    desk: Desk
    follows: bool  # whether the deciding clock is the one that is stepped
    steps: list[tuple[float, float]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    found: list[float] = field(default_factory=list)

    def step(self, seconds: float) -> None:
        """Set the clock by so much."""
        self.clock.step(self.clock.seconds + seconds)
        self.steps.append((wall_now(), self.clock.seconds))

    def offset_at(self, at: float) -> float:
        """How far the deciding clock was from the true time at that moment."""
        if not self.follows:
            return 0.0
        return next((offset for since, offset in reversed(self.steps) if since <= at), 0.0)

    def heard(self, no: str) -> list[Post]:
        """Messages about an incident, digests included; a daily brief names incidents, but it is about the house."""
        said = [post for post in self.receiver.log.taken(["/hook"]) if post.data["data"]["layout"] != "brief"]
        return [post for post in said if no in json.dumps(post.data["data"])]

    def bands(self, no: str) -> set[str]:
        """How urgent the messages about an incident were."""
        return {post.data["data"]["band"] for post in self.heard(no)}

    def expect(self, what: str, check: Any, patience: float = _SECONDS) -> None:
        """Something has to happen soon; how long it took is a figure."""
        began = time.monotonic()
        if wait_until(check, patience, every=0.02):
            self.found.append(time.monotonic() - began)
        else:
            self.faults.append(f"not within {patience:.0f} s: {what}")


def clock_steps(setting: Setting) -> Row:
    """SQLite, whose deciding clock is the host's, and PostgreSQL, whose is not."""
    setting.folder.mkdir(parents=True)
    faults, figures = [], []
    for database in ("sqlite", "postgres"):
        try:
            clock = Clockstep(setting.folder)
        except NoCompiler as missing:
            return setting.skipped(str(missing))
        scene = _play(setting, setting.folder / database, database, clock)
        faults += [f"{database}: {fault}" for fault in scene.faults]
        figures.append(
            f"{database}: {len(scene.steps)} steps, {len(scene.receiver.log.taken())} messages,"
            f" found within {max(scene.found, default=0):.1f} s"
        )
    return setting.row("; ".join(figures), faults)


def _play(setting: Setting, folder: Path, database: str, clock: Clockstep) -> Scene:
    with Receiver() as receiver, staged(folder, database) as stage, Cast(stage) as cast:
        furnish(stage, receiver, robot=False)
        services = stage.services()
        engine = cast.engine(environment=clock.environment).start()
        with Desk(stage, clock.environment) as desk:
            scene = Scene(stage, services, receiver, clock, engine, desk, follows=database == "sqlite")
            if database == "sqlite":
                _steps_that_decide(setting, scene)
            else:
                _steps_that_do_not(setting, scene)
        scene.expect("every step in the audit chain", lambda: _noted(services) >= _large(scene), 20.0)
        clock.step(0.0)
        code = engine.end()
        if code:
            scene.faults.append(f"the engine ended with {code}: {engine.said()}")
        _judge(scene)
        services.store.close()
    return scene


def _steps_that_decide(setting: Setting, scene: Scene) -> None:
    far = scene.desk.register("一小时后到期", 3600.0)
    scene.expect("the registration is told", lambda: scene.bands(far) == {"notice"}, 20.0)
    setting.say("two hours forward")
    scene.step(7200.0)
    scene.expect("what became due by two hours forward", lambda: "overdue" in scene.bands(far))
    count = _settled(scene, far)
    for seconds, words in ((-3600.0, "one hour back"), (-7200.0, "two more hours back")):
        setting.say(words)
        near = scene.desk.register(f"{words}，之前登记", 4.0)
        scene.expect("the registration is told", lambda near=near: bool(scene.bands(near)), 20.0)
        scene.step(seconds)
        after = scene.desk.register(f"{words}，之后登记", 3.0)
        scene.expect("what is due after the step is told", lambda after=after: "overdue" in scene.bands(after), 12.0)
        if "overdue" in scene.bands(near) and not _was_due(scene, near):
            scene.faults.append(f"{words}: {near} was told before it was due by the deciding clock")
    if len(scene.heard(far)) > count:
        scene.faults.append(f"{len(scene.heard(far)) - count} messages again because time went back")
    setting.say("half a minute back, with something due in five seconds")
    _register_in_time(scene)
    scene.step(-30.0)
    time.sleep(8.0)
    setting.say("forward to the true time")
    scene.step(-scene.clock.seconds)
    scene.expect("all that was postponed is told", lambda: _all_settled(scene.services), 20.0)


def _register_in_time(scene: Scene) -> None:
    """Something due in five seconds whose registration is told well before that: else it would leave while we step."""
    for number in range(8):
        began = time.monotonic()
        soon = scene.desk.register(f"半分钟{number}", 5.0)
        scene.expect("the registration is told", lambda soon=soon: bool(scene.bands(soon)), 20.0)
        if time.monotonic() - began < _IN_TIME:
            return
    scene.faults.append(f"the machine is too busy to step within {_IN_TIME} s of a registration")


def _steps_that_do_not(setting: Setting, scene: Scene) -> None:
    for seconds in (7200.0, -3600.0, -7200.0, -30.0):
        setting.say(f"our host's clock by {seconds:+.0f} s; the database's stays")
        near = scene.desk.register(f"{seconds:+.0f}之前", 6.0)
        scene.step(seconds)
        after = scene.desk.register(f"{seconds:+.0f}之后", 3.0)
        for no in (near, after):
            scene.expect("a message in its own time", lambda no=no: "overdue" in scene.bands(no), 15.0)
    scene.step(-scene.clock.seconds)


def _settled(scene: Scene, incident: str) -> int:
    """How many messages about an incident there are once no more of them come: all that the step made due has arrived."""
    count, since = len(scene.heard(incident)), monotonic()
    give_up = since + 20.0
    while monotonic() < min(since + 3.0, give_up):
        time.sleep(0.1)
        if len(scene.heard(incident)) != count:
            count, since = len(scene.heard(incident)), monotonic()
    return count


def _was_due(scene: Scene, no: str) -> bool:
    """Whether every message about a missed limit left after the limit by the deciding clock."""
    with scene.services.store.reading() as tx:
        due = tx.value(
            sa.select(t.clock.c.due_at)
            .join(t.incident, t.incident.c.id == t.clock.c.incident_id)
            .where(t.incident.c.no == no, t.clock.c.origin == "transfer")
        )
    told = [post for post in scene.heard(no) if post.data["data"]["band"] == "overdue"]
    return all(post.at + scene.offset_at(post.at) >= due.timestamp() - 0.01 for post in told)


def _large(scene: Scene) -> int:
    """Steps beyond half a minute have to be noted; smaller ones may pass for slewing."""
    offsets = [0.0, *(offset for _, offset in scene.steps)]
    return sum(abs(after - before) > 31.0 for before, after in pairwise(offsets))


def _noted(services: Services) -> int:
    with services.store.reading() as tx:
        counted = sa.select(sa.func.count()).select_from(t.audit).where(t.audit.c.action == "clock_step")
        return int(tx.value(counted))


def _all_settled(services: Services) -> bool:
    a, d = t.timed_action.c, t.delivery.c
    now = datetime.now(UTC)
    with services.store.reading() as tx:
        actions = sa.select(sa.func.count()).select_from(t.timed_action).where(a.state == "pending", a.due_at <= now)
        letters = sa.select(sa.func.count()).select_from(t.delivery).where(d.state.in_(("pending", "sending")))
        return not tx.value(actions) and not tx.value(letters)


def _judge(scene: Scene) -> None:
    """Nothing early by the deciding clock, nothing twice, nothing lost, the chain whole."""
    verdict = Judgement()
    with scene.services.store.reading() as tx:
        due = {
            row.notice_no: row.due_at.timestamp()
            for row in tx.all(
                sa.select(t.delivery.c.notice_no, t.timed_action.c.due_at).join(
                    t.timed_action, t.timed_action.c.id == t.delivery.c.action_id
                )
            )
        }
        unsent = tx.all(sa.select(t.delivery.c.notice_no).where(t.delivery.c.state.in_(("failed", "dead"))))
        pending = tx.all(
            sa.select(t.timed_action).where(t.timed_action.c.state == "pending", t.timed_action.c.due_at <= tx.now)
        )
    early = [
        f"{post.notice_no} by {due[post.notice_no] - post.at - scene.offset_at(post.at):.3f} s"
        for post in scene.receiver.log.taken()
        if post.at + scene.offset_at(post.at) < due[post.notice_no] - 0.05
    ]
    verdict.blame("message before it was due", early)
    verdict.blame("delivery given up", (row.notice_no for row in unsent))
    verdict.blame("due action unsettled", (row.step_id for row in pending))
    judge_copies_alone(scene.receiver.log, verdict)
    judge_database(scene.stage, scene.services, verdict)
    scene.faults += verdict.faults
