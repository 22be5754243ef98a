"""How the runner speaks to Prefect: quick to ask again, quick to give up; and what tasks are made of an event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx
import pytest
from prefect.client.orchestration import get_client

from flows import sdk
from flows.account import MOST_TASKS, DeliveryLine, batches
from flows.incident_events import FLOWS, _Fate, _plain_code
from flows.sdk import PATIENCE_SECONDS, QuickTransport, Unreachable
from huiying.domain.kinds import ChannelKind, DeliveryState, EventKind


def ask(handler: Callable[[httpx.Request], httpx.Response]) -> httpx.Response:
    async def one() -> httpx.Response:
        async with httpx.AsyncClient(transport=QuickTransport(httpx.MockTransport(handler))) as client:
            return await client.post("http://prefect/api/flow_runs/")

    return asyncio.run(one())


def test_a_503_is_asked_again_within_milliseconds():
    answers = [503, 503, 201]
    began = time.monotonic()
    assert ask(lambda _: httpx.Response(answers.pop(0))).status_code == 201
    assert time.monotonic() - began < 0.5


def test_a_server_that_stays_busy_is_given_up_within_its_patience():
    began = time.monotonic()
    with pytest.raises(Unreachable, match="503"):
        ask(lambda _: httpx.Response(503))
    assert time.monotonic() - began < PATIENCE_SECONDS + 0.5


@pytest.mark.parametrize("fault", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError])
def test_what_cannot_be_reached_is_reported_at_once_and_not_as_something_the_sdk_retries(fault):
    def fail(_request: httpx.Request) -> httpx.Response:
        raise fault("金丝雀")

    with pytest.raises(Unreachable) as caught:
        ask(fail)
    assert "金丝雀" not in str(caught.value)
    assert not isinstance(caught.value, httpx.TimeoutException | httpx.NetworkError | httpx.ProtocolError)


def test_other_answers_are_the_sdks_affair():
    assert ask(lambda _: httpx.Response(409)).status_code == 409


def test_the_tasks_of_a_flow_share_the_runners_client(monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")

    async def same() -> bool:
        async with sdk.connected() as client:
            return get_client() is client and get_client(sync_client=True) is get_client(sync_client=True)

    assert asyncio.run(same())


def test_every_kind_of_event_has_a_flow_of_its_own_that_asks_for_numbers_only():
    assert {flow.name for flow in FLOWS.values()} == {kind.zh for kind in EventKind}
    for flow in FLOWS.values():
        assert set(flow.parameters.properties) == {"action_id", "incident_no", "clock_id", "due_at"}
        assert flow.persist_result is False


def lines(number: int, channel: ChannelKind) -> list[DeliveryLine]:
    return [
        DeliveryLine(f"N-{channel}-{i}", "值班员", channel.zh, DeliveryState.PENDING, 0, None, None)
        for i in range(number)
    ]


def test_each_message_has_a_task_and_all_inboxes_share_one():
    found = list(batches([*lines(3, ChannelKind.INBOX), *lines(2, ChannelKind.DINGTALK)]))
    assert [label for label, _ in found] == [
        "值班员·钉钉群机器人·N-dingtalk-0",
        "值班员·钉钉群机器人·N-dingtalk-1",
        "站内收件箱3件",
    ]
    assert [len(numbers) for _, numbers in found] == [1, 1, 3]


def test_tasks_are_few_however_many_messages_there_are():
    found = list(batches([*lines(40, ChannelKind.EMAIL), *lines(40, ChannelKind.INBOX)]))
    assert len(found) == MOST_TASKS + 2
    assert sum(len(numbers) for _, numbers in found) == 80


@pytest.mark.parametrize(
    ("code", "shown"), [("45009", "45009"), ("HTTP.503", "HTTP.503"), ("请联系李处长", ""), ("x" * 40, ""), ("", "")]
)
def test_only_what_looks_like_an_error_code_is_shown(code, shown):
    assert _plain_code(code) == shown


def test_a_fate_says_what_happened_without_the_providers_words():
    failed = _Fate("N-1", DeliveryState.PENDING, 1, "transient", "503")
    assert failed.told == "N-1 待发送（第1次，暂时故障 503）"
    assert _Fate("N-1", DeliveryState.SENT, 2, "accepted", "").told == "N-1 已送出（第2次）"
    assert _Fate("N-1", DeliveryState.BUNDLED, 0, "", "").told == "N-1 已并入汇总"
