"""What the sample city has not lived through, made by the use cases on a running demo: for screens that need it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from config.settings import load_settings
from huiying.bootstrap import build
from huiying.service import handover, pack_admin
from huiying.service.actor import Actor
from huiying.service.services import Services
from huiying.service.tokens import person_actor
from tests.browser.documents import PACK, changed_pack

#: Neither has a part in other tests: what waits for them disturbs nobody.
LEAVING, COMING = "zhiban3", "zhiban2"
_NOTES = (
    "示例化工园区：等示例市水务局 22:00 回电，复测结果出来后立即报带班领导，并核对第二次通报的口径。\n"
    "示例学校：家长群里仍有传言，示例市教育局 23:30 前报来名单。"
)


@contextmanager
def beside(folder: Path) -> Iterator[Services]:
    """A second view of a running demo's store."""
    made = build(load_settings(data_dir=folder, demo=True, prefect_enabled=False), prepare=False)
    with closing(made.store):
        yield made


def add(services: Services) -> None:
    """Make them all; ``tests.browser.screens.numbers`` knows where they are."""
    _second_version(services)
    _sheet(services)


def _second_version(services: Services) -> None:
    """An office's own version of a pack was in use for a while, and the shipped one is again."""
    keeper = _actor(services, "guanli")
    pack_admin.import_pack(services, keeper, changed_pack().encode(), "示例.yaml")
    pack_admin.reset_pack(services, keeper, PACK)


def _sheet(services: Services) -> None:
    """A hand-over that one has signed and the other has not."""
    leaving = _actor(services, LEAVING)
    made = handover.prepare(services, leaving, "main", COMING, _NOTES)
    handover.sign_out(services, leaving, made["id"], made["hash"])


def _actor(services: Services, person_id: str) -> Actor:
    with services.store.reading() as tx:
        return person_actor(tx, person_id)
