"""The data directory and the keys in it: readable by the operator's account alone, made at first use."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from huiying.domain.errors import Refused

FOLDER_MODE, FILE_MODE = 0o700, 0o600
SEAL_KEY = "secret.key"
SERVER_KEY = "server.key"
_SERVER_KEY_BYTES = 32


def prepare_folder(folder: Path) -> None:
    """Make the data directory, closed to others; one that exists already is the operator's own choice."""
    try:
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"数据目录 {folder} 无法使用：{error.strerror}。请检查路径和权限（HUIYING_DATA_DIR）。") from None


def server_key(folder: Path) -> bytes:
    """The key behind the secrets that we issue; made once."""
    path = folder / SERVER_KEY
    with suppress(FileNotFoundError):
        return _read(path)
    write_private(path, secrets.token_hex(_SERVER_KEY_BYTES) + "\n", replace=False)
    return _read(path)


def _read(path: Path) -> bytes:
    if path.stat().st_mode & 0o077:
        raise Refused(f"密钥文件 {path} 的权限过宽，应为 0600（仅属主可读写）。请执行 chmod 600 后重试。")
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != _SERVER_KEY_BYTES:
        raise Refused(f"密钥文件 {path} 的内容不正确。请从备份中恢复该文件，不要新建：已发出的签收链接依赖它。")
    return key


def write_private(path: Path, text: str, *, replace: bool = True) -> None:
    """Write a file that only its owner may read, whole or not at all; without ``replace`` an existing one stays."""
    draft = path.with_name(f".{path.name}-{secrets.token_hex(6)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
            with suppress(FileExistsError):
                os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
