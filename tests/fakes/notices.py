"""Notices and channels for tests: the incident of the samples (invented), and notifiers that point at a fake."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from huiying.domain.kinds import Band, ChannelKind
from huiying.domain.message import Notice
from notifiers.contract import ChannelConfig, Notifier
from notifiers.registry import Services, build
from notifiers.retrying import RetryPolicy

_SAMPLE = Notice(
    notice_no="N-20261122-0107",
    band=Band.WARNING,
    incident_no="2026-0117",
    notice_title="",
    grade_text="一般政务舆情",
    clock_name="48小时回应",
    status_text="文件明定",
    due_at=datetime(2026, 11, 22, 10, 40, tzinfo=UTC),
    remaining_seconds=7080,
    share_used=96,
    responsible="示例市生态环境局，经办人、分管负责人",
    state_text="研判完成，回应稿未发布",
    must_do=("报审回应稿", "发布后登记网址和发布时间"),
    next_step="18:40未发布即转“超时督办”，同时报送市政府办公室",
    basis="《要点》“其他政务舆情48小时内予以权威回应”",
    ordinal=3,
    composed_at=datetime(2026, 11, 22, 8, 42, tzinfo=UTC),
    content_rule="转载工作动态、新闻报道、评论文章不算回应",
    ack_url="https://duty.example.gov.cn/a/9Pd4rT2w9Pd4rT2w9Pd4rT",
    detail_url="https://duty.example.gov.cn/i/2026-0117/respond",
)


def a_notice(**changes: Any) -> Notice:
    """Sample B of the channel facts, changed as asked."""
    return replace(_SAMPLE, **changes)


def a_notifier(kind: ChannelKind, *, attempts: int = 1, retry_ambiguous: bool = False, **settings: Any) -> Notifier:
    """A notifier that may post to the loopback address."""
    services = Services(
        store_message=lambda *_: None,
        threads=4,
        retry=RetryPolicy(attempts, retry_ambiguous),
        allow_loopback=True,
    )
    return build(ChannelConfig("c-1", kind, "测试渠道", settings), services)
