"""The kill storm: registrars and the engine die at random moments under load, and nothing acknowledged is lost."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.trials.judge import Bounds, drain, judge, lateness, share
from tests.trials.processes import Nursery, Nursling
from tests.trials.receiver import Faults, Receiver
from tests.trials.setting import Setting
from tests.trials.stage import Stage, furnish, staged
from tests.trials.table import Row

#: Deliveries in flight at any moment: two channels with 16 places each.
IN_FLIGHT = 32
_FAULTS = Faults(dropped=0.02, refused=0.02)
_DRAIN_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Storm:
    """How hard it blows: lives of working processes last up to so many seconds."""

    database: str
    kills: int
    engine_lives: float
    registrar_lives: float


def kill_storm_sqlite(setting: Setting) -> Row:
    """100 kills on SQLite (2,000 in the long run)."""
    return _storm(setting, Storm("sqlite", 2000 if setting.is_long else 100, 1.0, 1.2))


def kill_storm_postgres(setting: Setting) -> Row:
    """30 kills on PostgreSQL (600 in the long run)."""
    return _storm(setting, Storm("postgres", 600 if setting.is_long else 30, 1.0, 2.0))


@dataclass
class Victim:
    """A process under fire: it is killed some moments after it has begun to work, now and then before that."""

    process: Nursling
    has_worked: Callable[[], int]
    longest: float
    chance: random.Random
    worked: int = 0
    dies_at: float | None = None
    rises_at: float | None = None

    def begin(self) -> None:
        """A new life."""
        self.worked = self.has_worked()
        self.process.start()
        early = self.chance.random() < 0.1
        self.dies_at = time.monotonic() + self.chance.uniform(0.0, 0.8) if early else None
        self.rises_at = None

    def turn(self) -> bool:
        """Do what is due; True when it has just been killed."""
        now = time.monotonic()
        if self.rises_at is not None:
            if now >= self.rises_at:
                self.begin()
            return False
        if self.dies_at is None and self.has_worked() > self.worked:
            self.dies_at = now + self.chance.uniform(0.0, self.longest)
        if self.dies_at is None or now < self.dies_at:
            return False
        self.process.kill()
        self.rises_at = now + self.chance.choice([0.0, 0.05, 0.4])
        return True


def _storm(setting: Setting, storm: Storm) -> Row:
    with Receiver(setting.seed, _FAULTS) as receiver, staged(setting.folder, storm.database, lease_seconds=12) as stage:
        furnish(stage, receiver)
        services = stage.services()
        with Nursery(stage.folder) as nursery:
            engine, registrars, victims = _victims(setting, storm, stage, nursery, receiver)
            began = time.monotonic()
            _blow(setting, storm, victims)
            blown = time.monotonic() - began
            for registrar in registrars:
                registrar.kill()
            _finish_intents(nursery, stage, registrars)
            drained = drain(services, _DRAIN_SECONDS, soon=12.0)
            code = engine.end()
        kills = sum(member.kills for member in (engine, *registrars))
        verdict = judge(stage, services, receiver.log, Bounds(kills * IN_FLIGHT))
        late = lateness(services, receiver.log)
        services.store.close()
    if code != 0:
        verdict.faults.append(f"the engine ended with {code}: {engine.said()[-300:]}")
    figures = verdict.figures
    own = figures["duplicates"] - figures["provoked"]
    return setting.row(
        f"{kills} kills ({engine.kills} engine) in {blown:.0f} s, {figures['acknowledged']} acknowledged,"
        f" {figures['messages']} messages, lost {0 if not verdict.faults else '?'},"
        f" duplicates {own} = {own / max(1, engine.kills):.1f} per engine kill (allowed {kills * IN_FLIGHT} in all),"
        f" {figures['provoked']} more provoked, most copies {figures['copies']}"
        f" ({figures['own copies']} without the provoked ones, allowed 3),"
        f" p95 late {share(late, 0.95):.2f} s, drained {drained:.1f} s, audit {figures['audit']} entries",
        verdict.faults,
    )


def _victims(
    setting: Setting, storm: Storm, stage: Stage, nursery: Nursery, receiver: Receiver
) -> tuple[Nursling, list[Nursling], list[Victim]]:
    engine = nursery.engine(stage)
    load = ("--pause", "0.1", "--seed", str(setting.seed))
    registrars = [nursery.registrar(stage, name, *load) for name in ("r1", "r2")]
    victims = [Victim(engine, lambda: len(receiver.log.posts), storm.engine_lives, setting.chance("engine"))]
    victims += [
        Victim(
            member, _acks_of(stage.folder / f"{member.name}.acks"), storm.registrar_lives, setting.chance(member.name)
        )
        for member in registrars
    ]
    return engine, registrars, victims


def _acks_of(path: Path) -> Callable[[], int]:
    return lambda: path.stat().st_size if path.exists() else 0


def _blow(setting: Setting, storm: Storm, victims: Sequence[Victim]) -> None:
    """Until so many have been killed."""
    kills = 0
    for victim in victims:
        victim.begin()
    while kills < storm.kills:
        time.sleep(0.004)
        for victim in victims:
            if victim.turn():
                kills += 1
                if kills % 10 == 0:
                    setting.say(f"{kills}/{storm.kills} kills")
    for victim in victims:
        if victim.rises_at is not None:
            victim.begin()


def _finish_intents(nursery: Nursery, stage: Stage, registrars: Sequence[Nursling]) -> None:
    """What was asked and not answered is asked once more, with its key."""
    for registrar in registrars:
        nursery.registrar(stage, registrar.name, "--count", "1").start().wait(60.0)
