"""The auditor's export as one file: written into a private folder, packed while it is sent, and then gone."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from huiying.domain.plan import SHANGHAI
from huiying.service import audit, audit_view
from huiying.service.actor import Actor
from huiying.service.services import Services

_CHUNK = 256 * 1024
_PREFIX = "audit-export-"


def prepare(services: Services, actor: Actor, since: int = 0) -> tuple[str, Iterator[bytes]]:
    """The file's name and its bytes; the export itself has become an entry of the chain by then."""
    audit_view.require_export(services, actor)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=services.settings.data_dir))
    try:
        made = audit.export(services.store, folder / "audit", since, actor=actor.id)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    at = made.anchor.at.astimezone(SHANGHAI)
    return f"huiying-audit-{at:%Y%m%d-%H%M%S}.zip", _packed(folder)


def _packed(folder: Path) -> Iterator[bytes]:
    """Zip without ever holding more than a piece in memory."""
    pieces = _Pieces()
    try:
        with zipfile.ZipFile(pieces, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted((folder / "audit").iterdir()):
                with path.open("rb") as source, archive.open(path.name, "w", force_zip64=True) as target:
                    yield from _copied(source, target, pieces)
                yield pieces.take()
        yield pieces.take()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copied(source: IO[bytes], target: IO[bytes], pieces: _Pieces) -> Iterator[bytes]:
    while piece := source.read(_CHUNK):
        target.write(piece)
        if packed := pieces.take():
            yield packed


class _Pieces:
    """What ``zipfile`` takes for a pipe: bytes go in, and are taken out before more go in."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data
