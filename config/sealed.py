"""Sealing of what lies in the database (secrets, telephone numbers, addresses) with a key that lies outside of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from huiying.domain.sentences import said

_PREFIX = "enc:"


class CannotOpen(ValueError):
    """A sealed value was made with another key or was changed; the message is a Chinese sentence."""


class Sealer:
    """Seals and opens texts. The key file holds one Fernet key a line, the newest first; it is made at first use.

    Several processes share the file: each looks before it uses a key whether another has exchanged it.
    """

    def __init__(self, key_path: Path) -> None:
        self._path = key_path
        if not key_path.exists():
            _create(key_path, Fernet.generate_key().decode() + "\n")
        self._stamp = _stamp(key_path)
        self._keys = _read_keys(key_path)
        self._fernet = _combine(self._keys)

    @property
    def key_count(self) -> int:
        """How many keys open values; more than one while a rotation is under way."""
        self._refresh()
        return len(self._keys)

    def _refresh(self) -> None:
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._keys = _read_keys(self._path)
            self._fernet, self._stamp = _combine(self._keys), stamp

    def is_newest(self, sealed: str) -> bool:
        """Whether the newest key alone opens this value."""
        self._refresh()
        try:
            Fernet(self._keys[0]).decrypt(sealed.removeprefix(_PREFIX).encode())
        except (InvalidToken, UnicodeError):
            return False
        return True

    def seal(self, text: str) -> str:
        """``enc:`` and the sealed text; two seals of one text differ."""
        self._refresh()
        return _PREFIX + self._fernet.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """The text; raises CannotOpen."""
        self._refresh()
        try:
            return self._fernet.decrypt(sealed.removeprefix(_PREFIX).encode()).decode()
        except (InvalidToken, UnicodeError):
            raise CannotOpen("加密保存的值无法解开：密钥文件不对或内容已被改动。") from None

    def rotate(self, sealed: str) -> str:
        """The same text sealed with the newest key."""
        return self.seal(self.open(sealed))

    def add_key(self) -> None:
        """Put a new key first; older ones stay for opening until everything has been rotated."""
        self._refresh()
        self._write([Fernet.generate_key().decode(), *self._keys])

    def drop_old_keys(self) -> None:
        """Keep only the newest key; what was not rotated before cannot be opened any more."""
        self._refresh()
        self._write(self._keys[:1])

    def _write(self, keys: list[str]) -> None:
        _replace(self._path, "".join(key + "\n" for key in keys))
        self._keys = keys
        self._fernet, self._stamp = _combine(keys), _stamp(self._path)


def _stamp(path: Path) -> tuple[int, int, int]:
    """What tells one key file from the next: it is always replaced whole."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise CannotOpen(said("密钥文件 %(path)s 不见了，请放回原来的文件。", path=path)) from None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _combine(keys: list[str]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def _read_keys(path: Path) -> list[str]:
    if path.stat().st_mode & 0o077:
        raise CannotOpen(said("密钥文件 %(path)s 的权限过宽，应为 0600（仅属主可读写）。", path=path))
    keys = path.read_text("ascii").split()
    try:
        _combine(keys)
    except ValueError:
        raise CannotOpen(said("密钥文件 %(path)s 的内容不是有效的密钥。", path=path)) from None
    return keys


def _create(path: Path, text: str) -> None:
    """Whoever comes second keeps the first one's key: two processes may start together."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _write_beside(path, text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _replace(path: Path, text: str) -> None:
    _write_beside(path, text).replace(path)
    _sync_folder(path.parent)


def _write_beside(path: Path, text: str) -> Path:
    # mkstemp makes the file with mode 0600 from its first moment.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    return Path(name)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
