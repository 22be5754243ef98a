"""The backup before an upgrade of the schema, made because there is no other way back from one.

An upgrade that fails is tried again at the next start, and every start keeps what is there then. One backup of each
former schema is enough: a newer one that is complete takes the place of those whose state the database has grown out
of. Anything else that lies there, such as what another database has left, stays.
"""

from __future__ import annotations

from pathlib import Path

from loguru import logger

from huiying.domain.errors import HuiyingError, Refused
from huiying.service import backup as backups
from huiying.service.archive import open_archive
from huiying.service.backup import Backup
from huiying.store.audit_log import read_place
from huiying.store.db import Store

#: Followed by the version of the schema in it and the moment.
BEFORE_UPGRADE = "before-upgrade-from-schema-"


def keep_former(store: Store, folder: Path, version: int) -> Path:
    """A backup of everything as it is, in this folder; without it nothing is upgraded."""
    beginning = f"{BEFORE_UPGRADE}{version}-"
    older = sorted(folder.glob(f"{beginning}*.zip"))
    # To the microsecond: whoever restarts what fails may do so twice in a second.
    target = folder / f"{beginning}{store.now():%Y%m%dT%H%M%S.%fZ}.zip"
    try:
        made = backups.backup(store, target, actor="system:upgrade")
    except HuiyingError as error:
        raise Refused(f"升级前的备份未能完成，数据库结构未升级，数据未作任何改动。{error.message}") from error
    logger.warning("the database is brought up to date; the former one lies in {}", made.path.name)
    for path in older:
        if _is_superseded(store, path, made):
            _remove(path)
    return made.path


def _is_superseded(store: Store, path: Path, made: Backup) -> bool:
    """Whether the new backup holds all that an older one does, and is as good as it."""
    try:
        with open_archive(path) as archive:
            head = archive.manifest.head
            with store.reading() as tx:
                grown_from = read_place(tx.conn, head.seq) == head
            return grown_from and (made.verdict.ok or not backups.verify_archive(archive).ok)
    except Refused as damaged:
        logger.warning("{} stays, for it cannot be compared: {}", path.name, damaged.message)
        return False


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        logger.warning("{} could not be removed: {}", path.name, error.strerror)
    else:
        logger.warning("{} is removed; the newer backup holds the same and what came after it", path.name)
