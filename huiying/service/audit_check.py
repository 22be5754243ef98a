"""Checking the whole chain while somebody looks on: one check at a time in a process, its progress and its last verdict.

A check reads everything and writes nothing; ten thousand entries take a fraction of a second, a million half a minute.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from loguru import logger

from huiying.domain.audit_check import Verdict
from huiying.domain.errors import Unavailable
from huiying.service import audit
from huiying.store.db import Store

#: A verdict of this age is good enough for a look; a short chain is simply checked again after a minute.
GOOD_FOR = timedelta(minutes=10)
_SHORT, _SHORT_GOOD_FOR = 50_000, timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class CheckState:
    """How far a check is (``done`` of ``total`` entries), and what the last one that ended has found."""

    running: bool = False
    done: int = 0
    total: int = 0
    verdict: Verdict | None = None
    checked_at: datetime | None = None
    fault: str = ""

    @property
    def percent(self) -> int:
        """0 to 100."""
        return 100 * self.done // self.total if self.total else 0


class ChainCheck:
    """Runs checks in a thread of its own; cheap to keep for the life of a process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._state = CheckState()
        self._ended = threading.Event()
        self._ended.set()

    @property
    def state(self) -> CheckState:
        """How things stand now."""
        with self._lock:
            return self._state

    def look(self, patience: float = 0.0) -> CheckState:
        """The state, after starting a check where the last verdict is too old; waits so many seconds for it to end."""
        state = self.state
        if not state.running and self._is_stale(state):
            self.start()
        self._ended.wait(patience)
        return self.state

    def start(self) -> None:
        """Begin a check unless one is under way."""
        with self._lock:
            if self._state.running:
                return
            self._state = replace(self._state, running=True, done=0, total=0, fault="")
            self._ended.clear()
        threading.Thread(target=self._run, name="audit-check", daemon=True).start()

    def _is_stale(self, state: CheckState) -> bool:
        if state.verdict is None or state.checked_at is None or not state.verdict.ok:
            return True
        good_for = _SHORT_GOOD_FOR if state.verdict.count <= _SHORT else GOOD_FOR
        return self._store.now() - state.checked_at > good_for

    def _run(self) -> None:
        verdict, fault, at = None, "", None
        try:
            verdict = audit.verify(self._store, progress=self._note)
            at = self._store.now()
        except Unavailable as error:
            fault = error.message
        except Exception:  # noqa: BLE001 - a check that cannot be carried out is said on the page
            logger.exception("the check of the audit chain failed")
            fault = "校验未能完成：系统内部出错，审计记录未受影响。请重试；若持续出现，请联系系统管理员。"
        with self._lock:
            kept = self._state
            self._state = CheckState(
                verdict=verdict if verdict is not None else kept.verdict,
                checked_at=at if verdict is not None else kept.checked_at,
                fault=fault,
            )
        self._ended.set()

    def _note(self, done: int, total: int) -> None:
        with self._lock:
            self._state = replace(self._state, done=done, total=total)
