"""After a restore with the wrong key file somebody has to be told at once, not when the first call is due."""

from __future__ import annotations

from pathlib import Path

from config.sealed import Sealer
from huiying.service.sealed_columns import count_unreadable
from huiying.store import tables as t
from huiying.store.db import Store


def test_values_sealed_with_another_key_are_counted(store: Store, tmp_path: Path):
    own, foreign = Sealer(tmp_path / "own.key"), Sealer(tmp_path / "foreign.key")
    with store.transaction("test") as tx:
        tx.run(t.unit.insert().values(id="u", name="示例市"))
        for number in range(3):
            tx.run(
                t.person.insert().values(
                    id=f"p{number}",
                    unit_id="u",
                    created_at=tx.now,
                    email_sealed="",
                    mobile_sealed=own.seal("13800000000"),
                    im_sealed={"ding": own.seal("x")} if number else {},
                )
            )
        secrets = {"secret": own.seal("s"), "token": "env:TOKEN"}
        tx.run(t.channel.insert().values(id="c", kind="dingtalk", audience="group", secrets_sealed=secrets))
    assert count_unreadable(store, own) == 0
    assert count_unreadable(store, foreign) == 6
