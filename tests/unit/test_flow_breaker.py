"""The runner's breaker: what it promises, on a clock that the test moves."""

from __future__ import annotations

from flows.breaker import OPEN_SECONDS, PROBE_SECONDS, Breaker


def closed_at(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    breaker.note_probe(now, answered=True)
    return breaker


def test_nothing_is_promised_before_prefect_has_answered():
    breaker = Breaker()
    assert not breaker.closed
    assert breaker.probe_due(0.0)


def test_a_probe_that_is_answered_closes_it():
    breaker = closed_at()
    assert breaker.closed
    assert not breaker.probe_due(100.0)


def test_one_failure_is_forgiven():
    breaker = closed_at()
    breaker.note_run(1.0, succeeded=False)
    assert breaker.closed


def test_two_failures_in_a_row_open_it_for_its_pause():
    breaker = closed_at()
    breaker.note_run(1.0, succeeded=False)
    breaker.note_run(2.0, succeeded=False)
    assert not breaker.closed
    assert not breaker.probe_due(2.0 + OPEN_SECONDS - 0.01)
    assert breaker.probe_due(2.0 + OPEN_SECONDS)


def test_a_success_between_two_failures_keeps_it_closed():
    breaker = closed_at()
    for succeeded in (False, True, False):
        breaker.note_run(1.0, succeeded=succeeded)
    assert breaker.closed


def test_after_its_pause_it_is_asked_every_second_until_it_answers():
    breaker = Breaker()
    breaker.note_probe(10.0, answered=False)
    assert not breaker.probe_due(10.0 + PROBE_SECONDS - 0.01)
    assert breaker.probe_due(10.0 + PROBE_SECONDS)
    breaker.note_probe(11.0, answered=True)
    assert breaker.closed


def test_a_late_success_of_a_run_begun_before_does_not_close_it():
    breaker = closed_at()
    for _ in range(2):
        breaker.note_run(1.0, succeeded=False)
    breaker.note_run(2.0, succeeded=True)
    assert not breaker.closed
    assert breaker.next_probe_at == 1.0 + OPEN_SECONDS


def test_an_answered_probe_forgets_earlier_failures():
    breaker = Breaker(failures=1)
    breaker.note_probe(0.0, answered=True)
    breaker.note_run(1.0, succeeded=False)
    assert breaker.closed
