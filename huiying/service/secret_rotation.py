"""A new key for everything that lies sealed in the database.

Four steps, each safe to be killed in and to be done again: a new key joins the old one in the file; every value is sealed
anew; it is looked once more, with writers kept out, whether anything is left; then the old key goes. Until that last step
both keys open everything, and running processes notice a changed file by themselves (``config.sealed``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from config.sealed import CannotOpen
from huiying.domain.access import Permission
from huiying.domain.errors import Forbidden, Refused
from huiying.service.actor import Actor
from huiying.service.sealed_columns import COLUMNS, count_behind, count_unreadable, reseal
from huiying.service.services import Services
from huiying.store.db import Tx

Stage = Callable[[str], None]


def rotate_secrets(services: Services, actor: Actor, reached: Stage = lambda _name: None) -> dict[str, Any]:
    """Exchange the key; an interrupted exchange is taken up where it stopped. ``reached`` hears of every step."""
    actor.require(Permission.OPERATE)
    if actor.is_person:
        raise Forbidden("更换密钥只能在服务器命令行上进行，不使用令牌。未作任何改动。")
    sealer, store = services.sealer, services.store
    if lost := count_unreadable(store, sealer):
        raise Refused(
            f"有 {lost} 项加密内容用现有密钥无法解开，未更换。请先换回原来的 secret.key，或重新填写这些内容。"
        )
    resumed = sealer.key_count > 1
    if not resumed:
        sealer.add_key()
    reached("key_added")
    try:
        with store.transaction(actor.id) as tx:
            _keep_writers_out(tx, is_sqlite=store.is_sqlite)
            changed = reseal(tx, sealer)
            tx.audit("secrets.resealed", "secrets", {"values": changed, "resumed": resumed})
            reached("resealed")
    except CannotOpen as error:
        raise Refused(f"{error}旧密钥仍然保留，未更换。") from None
    reached("resealed_committed")
    with store.transaction(actor.id) as tx:
        _keep_writers_out(tx, is_sqlite=store.is_sqlite)
        if behind := count_behind(tx, sealer):
            raise Refused(f"还有 {behind} 项内容仍用旧密钥，旧密钥已保留。请再执行一次。")
        tx.audit("secrets.rotated", "secrets", {"values": changed})
        reached("checked")
    # Whatever is written from here on is sealed with the new key: every process looks at the file first.
    sealer.drop_old_keys()
    reached("old_dropped")
    return {
        "values": changed,
        "resumed": resumed,
        "message": f"已用新密钥重新加密 {changed} 项内容，旧密钥已删除。此前的备份须配原来的 secret.key 才能读出号码和渠道密钥。",
    }


def _keep_writers_out(tx: Tx, *, is_sqlite: bool) -> None:
    """On SQLite the transaction is the only writer already; on PostgreSQL it waits for those under way."""
    if not is_sqlite:
        names = ", ".join(sorted({f'"{column.table.name}"' for column in COLUMNS}))
        tx.run(sa.text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))
