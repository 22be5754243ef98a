"""Group commit of outcomes: many attempts, one transaction, off the path of sending."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence

from loguru import logger

from huiying.domain.errors import Unavailable
from huiying.now import monotonic
from huiying.service.delivery import Attempt

MOST = 256
#: How long an outcome waits for company: hardly at all in calm, a little more in a storm.
CALM_SECONDS = 0.003
STORM_SECONDS = 0.02
_STORM_FROM = 8
_LONGEST_PAUSE = 2.0
#: So many outcomes may be unrecorded before sending waits: at a kill -9 each of them is a message that goes out twice. A
#: process that has just started may be about to die again, so it begins with few and doubles with every commit.
NARROW = 32
WIDE = 384


class Recorder:
    """A thread that hands attempts to ``record`` in batches; nothing is dropped while the store is away.

    ``give_up`` hears of an attempt that cannot be recorded at all: its lease runs out, and then it is sent again.
    """

    def __init__(
        self,
        record: Callable[[Sequence[Attempt]], None],
        give_up: Callable[[Sequence[Attempt]], None] = lambda _attempts: None,
    ) -> None:
        self._record = record
        self._give_up = give_up
        self._queue: queue.SimpleQueue[Attempt | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._closing = False
        self._open = 0
        self._window = NARROW
        self._room = threading.Condition()

    def start(self) -> None:
        """Begin recording."""
        self._thread.start()

    def put(self, attempt: Attempt) -> None:
        """Queue an attempt."""
        with self._room:
            self._open += 1
        self._queue.put(attempt)

    def wait_for_room(self, seconds: float) -> bool:
        """Wait until another outcome may be left unrecorded for a moment; False when that takes too long."""
        with self._room:
            return self._room.wait_for(lambda: self._open < self._window or self._closing, seconds)

    @property
    def waiting(self) -> int:
        """Attempts whose outcome is not yet in the database."""
        return self._open

    def close(self, seconds: float) -> None:
        """Record what is there and end."""
        self._closing = True
        self._queue.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        last = 0
        while True:
            batch = self._collect(STORM_SECONDS if last >= _STORM_FROM else CALM_SECONDS)
            last = len(batch)
            if batch:
                self._commit(batch)
                with self._room:
                    self._open -= len(batch)
                    self._window = min(2 * self._window, WIDE)
                    self._room.notify_all()
            elif self._closing:
                return

    def _collect(self, patience: float) -> list[Attempt]:
        first = self._queue.get()
        if first is None:
            return self._rest([])
        if self._open < self._window:  # nobody else will come while everybody waits for us
            time.sleep(patience)
        return self._rest([first])

    def _rest(self, batch: list[Attempt]) -> list[Attempt]:
        with contextlib.suppress(queue.Empty):
            while len(batch) < MOST:
                attempt = self._queue.get_nowait()
                if attempt is not None:
                    batch.append(attempt)
        if self._closing and self._queue.empty():
            self._queue.put(None)
        return batch

    def _commit(self, batch: list[Attempt]) -> None:
        """Try until the store takes it; a batch that cannot be recorded is halved until the culprit stands alone."""
        pause, until = 0.05, None
        while True:
            try:
                self._record(batch)
            except Unavailable as error:
                if self._closing:
                    until = until or monotonic() + _LONGEST_PAUSE
                    if monotonic() > until:
                        logger.error("{} outcomes could not be recorded: {}", len(batch), error.message)
                        return
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except Exception:  # noqa: BLE001 - recording must go on for the others
                logger.exception("recording failed for {} outcomes", len(batch))
                if len(batch) > 1:
                    middle = len(batch) // 2
                    self._commit(batch[:middle])
                    self._commit(batch[middle:])
                else:
                    self._give_up(batch)
                return
            else:
                return
