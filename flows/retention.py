"""How long Prefect keeps its history of runs: what is older than the setting says is deleted, a few at a time.

Only Prefect's copy is cut: our own tables keep every event, message and attempt, and the screens go on showing them.
"""

from __future__ import annotations

from datetime import timedelta

from loguru import logger

from flows.rest import PrefectApi, PrefectRefused, PrefectUnavailable
from huiying.now import monotonic
from huiying.store.db import Store

#: Runs deleted at once: each costs Prefect's database a moment in which nothing else is written.
BATCH = 10
#: Seconds until the next batch where there is more, and until the next look where there is not.
_MORE, _REST = 5.0, 900.0
_ENDED = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]


class Retention:
    """Deletes old runs; the caller calls ``step`` in calm moments, as often as it likes."""

    def __init__(self, store: Store, api: PrefectApi, days: int) -> None:
        self._store = store
        self._api = api
        self._days = days
        self._next_look = monotonic() + _MORE

    def step(self) -> int:
        """Delete one batch where it is time for one; gives the number of runs. What Prefect refuses is left for later."""
        if not self._days or monotonic() < self._next_look:
            return 0
        self._next_look = monotonic() + _REST
        try:
            deleted = self.delete_batch()
        except (PrefectUnavailable, PrefectRefused) as error:
            logger.warning("old runs not deleted: {}", error)
            return 0
        if deleted:
            logger.info("{} runs older than {} days deleted from Prefect's history", deleted, self._days)
            self._next_look = monotonic() + _MORE
        return deleted

    def delete_batch(self) -> int:
        """Delete the oldest runs that are old enough, now; gives their number."""
        with self._store.reading() as tx:
            before = (tx.now - timedelta(days=self._days)).isoformat()
        wanted = {"end_time": {"before_": before}, "state": {"type": {"any_": _ENDED}}}
        runs = self._api.post(
            "/flow_runs/filter", {"flow_runs": wanted, "sort": "EXPECTED_START_TIME_ASC", "limit": BATCH}
        )
        ids = [str(run["id"]) for run in runs]
        if ids:
            self._delete_pages(ids)
        for run_id in ids:
            self._delete(f"/flow_runs/{run_id}")
        return len(ids)

    def _delete_pages(self, run_ids: list[str]) -> None:
        """A run's pages do not go with it."""
        wanted = {"artifacts": {"flow_run_id": {"any_": run_ids}}, "limit": 200}
        for page in self._api.post("/artifacts/filter", wanted):
            self._delete(f"/artifacts/{page['id']}")

    def _delete(self, path: str) -> None:
        try:
            self._api.delete(path)
        except PrefectRefused as error:
            if error.status != 404:  # another node was quicker
                raise
