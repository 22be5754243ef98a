"""When we look: APScheduler in memory, and a watchdog that looks by itself when the scheduler is silent.

The scheduler holds no truth. A date job is set again and again to the next due instant, an interval job sweeps, and both
call the same function; a lost timer costs a quarter of a second, never a message. The watchdog counts on the monotonic
clock: after a step of the wall clock APScheduler may sleep for hours, and its thread dies silently on an exception.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, time, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from loguru import logger

from huiying.now import monotonic, utc_now

SHANGHAI = ZoneInfo("Asia/Shanghai")
SWEEP_SECONDS = 0.25
#: The watchdog looks by itself after this much silence.
SILENCE_SECONDS = 2.0
#: The wall clock may be slewed; a larger difference to the monotonic clock is a step.
STEP_SECONDS = 30.0
_WATCH_SECONDS = 0.5
_NEXT, _SWEEP = ("next-a", "next-b"), "sweep"
# A sweep that finds the last look still running is left out, which is as it should be and no news.
logging.getLogger("apscheduler").setLevel(logging.ERROR)
_JOB_DEFAULTS = {"coalesce": True, "misfire_grace_time": None, "max_instances": 1}


class Duty(Protocol):
    """A recurring duty at a Shanghai time of day; ``run`` must be safe to call at any time and as often as you like."""

    @property
    def name(self) -> str: ...

    @property
    def at(self) -> time: ...

    @property
    def run(self) -> Callable[[], object]: ...


class Ticker:
    """Calls ``look`` at the next due instant and on every sweep; ``look`` answers with the seconds until the next one."""

    def __init__(  # the clocks are given by tests
        self,
        look: Callable[[], float],
        *,
        duties: Sequence[Duty] = (),
        on_step: Callable[[float], object] | None = None,
        sweep_seconds: float = SWEEP_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
        wall: Callable[[], datetime] = utc_now,
        elapsed: Callable[[], float] = monotonic,
    ) -> None:
        self._look = look
        self._duties = duties
        self._on_step = on_step
        self._sweep_seconds = sweep_seconds
        self._silence_seconds = silence_seconds
        self._wall = wall
        self._elapsed = elapsed
        self._stopping = threading.Event()
        self._looked_at = elapsed()
        self._set = threading.Lock()
        self._scheduler: Any = None
        self._watchdog = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._armed = False
        self.rescues = 0

    def start(self) -> None:
        """Begin to look."""
        self._scheduler = self._new_scheduler()
        self._looked_at = self._elapsed()
        self._watchdog.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        self._watchdog.join(2 * _WATCH_SECONDS)
        with self._set:
            _shut(self._scheduler)

    @property
    def silent_for(self) -> float:
        """Seconds since the last look came back; what /livez asks."""
        return self._elapsed() - self._looked_at

    # -- the scheduler -----------------------------------------------------------------------------------------------

    def _new_scheduler(self) -> Any:
        scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(4)}, job_defaults=_JOB_DEFAULTS, timezone=SHANGHAI
        )
        scheduler.add_job(self._tick, "interval", seconds=self._sweep_seconds, id=_SWEEP)
        for duty in self._duties:
            trigger = CronTrigger(hour=duty.at.hour, minute=duty.at.minute, timezone=SHANGHAI)
            scheduler.add_job(self._run_duty, trigger, args=[duty], id=f"duty:{duty.name}")
            # At the start and every hour as well: the process may have been away when the duty fell due.
            hourly = IntervalTrigger(hours=1)
            first = self._wall() + timedelta(seconds=1)
            scheduler.add_job(self._run_duty, hourly, args=[duty], id=f"again:{duty.name}", next_run_time=first)
        scheduler.start()
        return scheduler

    def _tick(self) -> None:
        """Look until nothing more is due; whatever it raises, the next one comes."""
        seconds = 0.0
        while seconds <= 0 and not self._stopping.is_set():
            try:
                seconds = self._look()
            except Exception:  # noqa: BLE001 - a look that fails must not be the last one
                logger.exception("a look failed")
                return
            finally:
                self._looked_at = self._elapsed()
        if seconds < self._sweep_seconds:
            self._arm(seconds)

    def _arm(self, seconds: float) -> None:
        """Set the date job; what lies beyond the next sweep is found by that sweep."""
        trigger = DateTrigger(self._wall() + timedelta(seconds=seconds))
        with self._set:
            # Two names in turn: the job that arms is still running, and one of its own name would be refused.
            self._armed = not self._armed
            if not self._stopping.is_set() and self._scheduler is not None and self._scheduler.running:
                self._scheduler.add_job(self._tick, trigger, id=_NEXT[self._armed], replace_existing=True)

    def _run_duty(self, duty: Duty) -> None:
        try:
            duty.run()
        except Exception:  # noqa: BLE001 - duties are repeated; the scheduler's thread goes on
            logger.exception("the duty {} failed", duty.name)

    # -- the watchdog ------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        wall, elapsed = self._wall(), self._elapsed()
        while not self._stopping.wait(_WATCH_SECONDS):
            now, passed = self._wall(), self._elapsed()
            step = (now - wall).total_seconds() - (passed - elapsed)
            wall, elapsed = now, passed
            if abs(step) > STEP_SECONDS:
                self._stepped(step)
            if self.silent_for > self._silence_seconds:
                self._rescue()

    def _stepped(self, seconds: float) -> None:
        logger.warning("the wall clock was set by {:.1f} s", seconds)
        try:
            if self._on_step is not None:
                self._on_step(seconds)
        except Exception:  # noqa: BLE001 - the watchdog must live
            logger.exception("the clock step could not be recorded")
        self._renew()

    def _rescue(self) -> None:
        """The scheduler is silent: look now, and give the work to a new scheduler."""
        self.rescues += 1
        logger.error("the scheduler has been silent for {:.1f} s; the watchdog looks", self.silent_for)
        self._renew()
        self._tick()

    def _renew(self) -> None:
        with self._set:
            old = self._scheduler
            self._scheduler = None if self._stopping.is_set() else self._new_scheduler()
        _shut(old)


def _shut(scheduler: Any) -> None:
    if scheduler is None:
        return
    with contextlib.suppress(JobLookupError, RuntimeError):
        scheduler.remove_job(_SWEEP)
    if scheduler.running:
        # A scheduler that hangs in a job, or whose thread is dead, is left to itself.
        threading.Thread(target=scheduler.shutdown, kwargs={"wait": False}, daemon=True).start()
