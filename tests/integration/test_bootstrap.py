"""The wiring: a data directory is prepared once, whoever comes, on either database."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import alembic.command
import pytest
import sqlalchemy as sa

from config.settings import Settings, load_settings
from huiying import bootstrap
from huiying.domain.errors import Refused, Unavailable
from huiying.service import backup, people
from huiying.service.archive import open_archive
from huiying.service.backup import verify_archive
from huiying.service.former import BEFORE_UPGRADE
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.schema import VERSION_TABLE, schema_version
from huiying.store.tables import SCHEMA_VERSION
from tests.fakes.house import OPERATOR, cheap_passwords

__all__ = ["cheap_passwords"]

pytestmark = pytest.mark.usefixtures("cheap_passwords")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    url = request.getfixturevalue("pg_empty_url") if request.param == "postgres" else None
    return load_settings(data_dir=tmp_path / "data", node="test", database_url=url)


def counts(services: Services) -> tuple[int, int, int]:
    with services.store.reading() as tx:
        return tuple(  # type: ignore[return-value]
            int(tx.value(sa.select(sa.func.count()).select_from(table)))
            for table in (t.unit, t.pack, t.one_time_password)
        )


def test_several_first_starts_at_once_prepare_one_system(settings: Settings):
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: bootstrap.build(settings), range(4)))
    assert {services.server_key for services in made} == {made[0].server_key}
    assert made[0].sealer.open(made[3].sealer.seal("x")) == "x"
    units, packs, passwords = counts(made[0])
    assert (units, passwords) == (1, 1)
    assert packs == 7
    for services in made:
        services.store.close()


def test_coming_again_changes_nothing(settings: Settings):
    first = bootstrap.build(settings)
    with first.store.reading() as tx:
        entries = tx.value(sa.select(sa.func.count()).select_from(t.audit))
    first.store.close()
    password = (settings.data_dir / "first-password").read_text()
    again = bootstrap.build(settings)
    with again.store.reading() as tx:
        assert tx.value(sa.select(sa.func.count()).select_from(t.audit)) == entries
    again.store.close()
    assert (settings.data_dir / "first-password").read_text() == password
    child = bootstrap.build(settings, prepare=False)
    child.store.close()


def test_everything_in_the_data_directory_is_its_owners_alone(tmp_path: Path):
    services = bootstrap.build(load_settings(data_dir=tmp_path / "data"))
    services.store.close()
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    for name in ("secret.key", "server.key", "first-password", "huiying.db"):
        assert stat.S_IMODE((tmp_path / "data" / name).stat().st_mode) == 0o600, name


@pytest.mark.parametrize(("name", "text"), [("server.key", "00" * 31), ("server.key", "x"), ("secret.key", "x")])
def test_a_damaged_key_is_refused_and_never_replaced(tmp_path: Path, name: str, text: str):
    settings = load_settings(data_dir=tmp_path / "data")
    bootstrap.build(settings).store.close()
    path = settings.data_dir / name
    path.write_text(text)
    with pytest.raises(Refused):
        bootstrap.build(settings)
    assert path.read_text() == text


@pytest.mark.parametrize("name", ["server.key", "secret.key"])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, name: str):
    settings = load_settings(data_dir=tmp_path / "data")
    bootstrap.build(settings).store.close()
    (settings.data_dir / name).chmod(0o640)
    with pytest.raises(Refused, match="0600"):
        bootstrap.build(settings)


def test_a_command_never_changes_an_older_schema(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    services = bootstrap.build(settings)
    with services.store.engine.begin() as conn:
        conn.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    services.store.close()
    for options in ({}, {"prepare": False}, {"upgrade_schema": True}):
        with pytest.raises(Refused, match="9999"):
            bootstrap.build(settings, **options)


def make_former(settings: Settings) -> None:
    """The data directory as the first version of the schema left it."""
    services = bootstrap.build(settings)
    with services.store.engine.begin() as conn:
        conn.exec_driver_sql("DROP TABLE device_mark")
        conn.exec_driver_sql("ALTER TABLE session DROP COLUMN browser_id")
        conn.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '0001'")
    services.store.close()


def test_serve_alone_brings_an_older_schema_up_to_date_and_keeps_a_backup_of_it(settings: Settings):
    make_former(settings)
    for options in ({}, {"prepare": False}):
        with pytest.raises(Refused, match="自动备份并升级"):
            bootstrap.build(settings, **options)
    assert list(settings.data_dir.glob("*.zip")) == []
    services = bootstrap.build(settings, upgrade_schema=True)
    assert schema_version(services.store.engine) == SCHEMA_VERSION
    (kept,) = settings.data_dir.glob(f"{BEFORE_UPGRADE}1-*.zip")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with open_archive(kept) as archive:
        assert archive.manifest.schema == 1
        assert verify_archive(archive).ok
    services.store.close()
    bootstrap.build(settings, upgrade_schema=True).store.close()
    assert len(list(settings.data_dir.glob("*.zip"))) == 1, "nothing to upgrade, nothing to keep"


def test_without_room_for_the_backup_nothing_is_upgraded(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    make_former(settings)

    def full(*_: object, **__: object) -> None:
        raise Unavailable("磁盘已满。")

    with monkeypatch.context() as patch:
        patch.setattr(backup, "backup", full)
        with pytest.raises(Refused, match=r"升级前的备份未能完成.*磁盘已满"):
            bootstrap.build(settings, upgrade_schema=True)
    store = bootstrap.open_store(settings)
    assert schema_version(store.engine) == 1
    store.close()
    bootstrap.build(settings, upgrade_schema=True).store.close()


FORMER = Path(__file__).parents[1] / "data" / "backup-schema-1.zip"


def kept_of(settings: Settings) -> list[Path]:
    return sorted(settings.data_dir.glob(f"{BEFORE_UPGRADE}1-*.zip"))


@pytest.fixture
def power_cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[Settings], Path]:
    """Starts a program whose steps to the new schema fail; gives the newest backup that lies there afterwards."""

    def start(settings: Settings) -> Path:
        with monkeypatch.context() as patch:
            patch.setattr(alembic.command, "upgrade", _fails)
            with pytest.raises(RuntimeError, match="power cut"):
                bootstrap.build(settings, upgrade_schema=True)
        return kept_of(settings)[-1]

    return start


def _fails(*_: object) -> None:
    raise RuntimeError("power cut")


def test_an_upgrade_that_keeps_failing_keeps_one_backup_the_newest(
    settings: Settings, power_cut: Callable[[Settings], Path]
):
    make_former(settings)
    first = power_cut(settings)
    for _ in range(2):
        newest = power_cut(settings)
        assert kept_of(settings) == [newest]
    assert newest > first
    with open_archive(newest) as archive:
        assert verify_archive(archive).ok
        assert archive.manifest.schema == 1
    bootstrap.build(settings, upgrade_schema=True).store.close()
    assert len(kept_of(settings)) == 1


def test_no_backup_goes_before_a_newer_one_is_complete(
    settings: Settings, power_cut: Callable[[Settings], Path], monkeypatch: pytest.MonkeyPatch
):
    make_former(settings)
    only = power_cut(settings)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Refused, match="升级前的备份未能完成"):
            bootstrap.build(settings, upgrade_schema=True)
    assert kept_of(settings) == [only]
    with open_archive(only) as archive:
        assert verify_archive(archive).ok


def test_a_backup_that_this_database_has_not_grown_out_of_stays(
    settings: Settings, power_cut: Callable[[Settings], Path]
):
    make_former(settings)
    foreign = settings.data_dir / f"{BEFORE_UPGRADE}1-20010101T000000Z.zip"
    shutil.copyfile(FORMER, foreign)
    damaged = foreign.with_name(f"{BEFORE_UPGRADE}1-20010102T000000Z.zip")
    damaged.write_bytes(FORMER.read_bytes()[:1000])
    power_cut(settings)
    newest = power_cut(settings)
    assert kept_of(settings) == [foreign, damaged, newest]


def test_a_backup_with_a_sound_audit_chain_stays_beside_one_whose_chain_is_broken(
    settings: Settings, power_cut: Callable[[Settings], Path]
):
    make_former(settings)
    sound = power_cut(settings)
    store = bootstrap.open_store(settings)
    with store.exclusive() as conn:
        sqlite = conn.dialect.name == "sqlite"
        conn.exec_driver_sql("DROP TRIGGER audit_no_update" if sqlite else "ALTER TABLE audit DISABLE TRIGGER USER")
        conn.exec_driver_sql("UPDATE audit SET actor = 'forged' WHERE seq = 1")
    store.close()
    power_cut(settings)
    newest = power_cut(settings)
    assert kept_of(settings) == [sound, newest]


def contents_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def add_a_person(settings: Settings) -> None:
    services = bootstrap.build(settings)
    people.add_person(services, OPERATOR, "zhang", name="张一", unit_id="main")
    services.store.close()


def test_a_demo_is_refused_on_real_data_of_a_former_schema_before_anything_is_touched(settings: Settings):
    add_a_person(settings)
    make_former(settings)
    before = contents_of(settings.data_dir)
    said: list[str] = []
    with pytest.raises(Refused, match="已有 0 个事项、1 名人员，不是演示数据"):
        bootstrap.serve(settings.model_copy(update={"demo": True}), said.append)
    assert contents_of(settings.data_dir) == before
    assert said == []
    store = bootstrap.open_store(settings)
    assert schema_version(store.engine) == 1
    store.close()


def test_sample_data_of_a_former_schema_are_refused_for_real_work_before_anything_is_touched(settings: Settings):
    services = bootstrap.build(settings)
    with services.store.transaction("test") as tx:
        tx.run(t.setting.insert().values(key="demo", value={"complete": True}, updated_at=tx.now))
    services.store.close()
    make_former(settings)
    before = contents_of(settings.data_dir)
    with pytest.raises(Refused, match="只能加 --demo 启动"):
        bootstrap.serve(settings)
    assert contents_of(settings.data_dir) == before


def test_the_command_that_makes_sample_data_refuses_real_ones_rather_than_asking_for_their_upgrade(tmp_path: Path):
    settings = load_settings(data_dir=tmp_path / "data")
    add_a_person(settings)
    make_former(settings)
    before = contents_of(settings.data_dir)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "huiying.cli", "demo"],
        env={**os.environ, "HUIYING_DATA_DIR": str(settings.data_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "1 名人员，不是演示数据" in done.stdout + done.stderr
    assert contents_of(settings.data_dir) == before


_KILLED = """
import os, sys
from pathlib import Path
from config.settings import load_settings
from huiying.bootstrap import build
from huiying.service import people
from tests.fakes.house import OPERATOR
services = build(load_settings(data_dir=Path(sys.argv[1])))
people.add_person(services, OPERATOR, "zhang", name="张一", unit_id="main")
os._exit(9)
"""


def test_what_a_killed_process_has_left_in_the_log_counts_when_a_demo_is_refused(tmp_path: Path):
    settings = load_settings(data_dir=tmp_path / "data")
    bootstrap.build(settings).store.close()
    root = Path(bootstrap.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", _KILLED, settings.data_dir], cwd=root, check=False)
    assert done.returncode == 9
    before = contents_of(settings.data_dir)
    assert before["huiying.db-wal"][0]
    with pytest.raises(Refused, match="1 名人员，不是演示数据"):
        bootstrap.serve(settings.model_copy(update={"demo": True}))
    after = contents_of(settings.data_dir)
    index = {"huiying.db-shm"}  # SQLite's own: it holds nothing and is made anew by who opens the database first
    assert {name: after[name] for name in after if name not in index} == {
        name: before[name] for name in before if name not in index
    }


def test_rule_files_are_read_again_only_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    extra = tmp_path / "rules"
    extra.mkdir()
    settings = load_settings(data_dir=tmp_path / "data", rules_dir=extra)
    services = bootstrap.build(settings)
    reads = 0
    real = bootstrap._fingerprint

    def counted(folder: Path | None) -> str:
        nonlocal reads
        reads += 1
        return real(folder)

    monkeypatch.setattr(bootstrap, "_fingerprint", counted)
    assert bootstrap.sync_rules(services) == []
    (extra / "bad.yaml").write_text("id: x\n")
    findings = bootstrap.sync_rules(services)
    assert any("bad.yaml" in finding for finding in findings)
    # What was refused is told again without reading everything anew.
    assert bootstrap.sync_rules(services) == findings
    assert reads == 3
    assert counts(services)[1] == 7
    services.store.close()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="HUIYING_DATA_DIR"):
        bootstrap.build(load_settings(data_dir=tmp_path / "file" / "data"))
