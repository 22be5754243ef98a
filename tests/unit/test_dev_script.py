"""./dev without installing anything: a copy of the script beside an environment that only pretends."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hygiene import ROOT

PRETENDED_PROGRAM = (
    '#!/bin/sh\necho "$(basename "$0")" "$@" "data=$HUIYING_DATA_DIR" "pyc=${PYTHONDONTWRITEBYTECODE-on}"\n'
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose path has a space, with the real script, lock and metadata."""
    root = tmp_path / "my checkout"
    root.mkdir()
    for name in ("dev", "requirements.lock", "pyproject.toml"):
        shutil.copy2(ROOT / name, root / name)
    return root


def dev(checkout: Path, *arguments: str, path: str | None = None, **environment: str):
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("HUIYING_") and name != "BASH_ENV"
    }
    return subprocess.run(
        ["bash", str(checkout / "dev"), *arguments],
        env=inherited | environment | ({"PATH": path} if path is not None else {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def installed(checkout: Path) -> Path:
    """The stamp says that everything is installed."""
    programs = checkout / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "huiying"):
        program = programs / name
        program.write_text(PRETENDED_PROGRAM, encoding="utf-8")
        program.chmod(0o755)
    contents = subprocess.run(
        [
            "bash",
            "-c",
            'source <(sed "\\$d" "$1") >/dev/null; ROOT=$2 LOCK=$2/requirements.lock; _contents',
            "-",
            str(ROOT / "dev"),
            str(checkout),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (checkout / ".venv" / ".ready").write_text(f"{contents}\n{checkout}\n{sys.executable}\n", encoding="utf-8")
    return checkout


def test_the_script_can_be_run():
    assert os.access(ROOT / "dev", os.X_OK)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_both_scripts_are_correct_bash():
    for name in ("dev", ".ci/run"):
        assert subprocess.run(["bash", "-n", str(ROOT / name)], check=False).returncode == 0


def test_without_a_command_it_says_what_there_is(checkout):
    done = dev(checkout)
    assert done.returncode == 0
    for command in ("run", "test", "check", "bench", "trials", "huiying", "lock"):
        assert f"\n  {command} " in done.stdout


def test_an_unknown_command_is_a_usage_error(checkout):
    assert dev(checkout, "fly").returncode == 2


def test_run_serves_with_the_data_in_the_checkout(installed):
    done = dev(installed, "run", "--port", "1", PYTHONDONTWRITEBYTECODE="1")
    assert done.stdout == f"huiying serve --port 1 data={installed}/var pyc=on\n", done.stderr


def test_the_callers_data_directory_is_kept(installed):
    done = dev(installed, "huiying", "doctor", HUIYING_DATA_DIR="elsewhere")
    assert done.stdout == "huiying doctor data=elsewhere pyc=on\n", done.stderr


def test_arguments_reach_the_command_line_unbroken(installed):
    (installed / ".venv" / "bin" / "huiying").write_text('#!/bin/sh\nprintf "<%s>" "$@"\n', encoding="utf-8")
    assert dev(installed, "huiying", "incident", "title with  spaces", "").stdout == "<incident><title with  spaces><>"


def test_bench_and_trials_are_modules_of_the_tests(installed):
    for command in ("bench", "trials"):
        assert dev(installed, command, "ci").stdout.startswith(f"python -m tests.{command} ci ")


def test_an_exit_code_is_handed_on(installed):
    (installed / ".venv" / "bin" / "huiying").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    assert dev(installed, "huiying").returncode == 1


def test_without_a_usable_python_it_says_what_to_install(checkout, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "cat", "awk", "sed", "cut", "sha256sum", "dirname"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    done = dev(checkout, "run", path=str(programs))
    assert done.returncode != 0
    assert "no Python 3.11 or later found" in done.stderr


def test_a_python_that_is_too_old_is_refused(checkout, tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(old.stat().st_mode | stat.S_IXUSR)
    done = dev(checkout, "run", HUIYING_PYTHON=str(old))
    assert done.returncode != 0
    assert "is not a Python 3.11 or later" in done.stderr


def test_a_checkout_without_its_lock_says_so(checkout):
    (checkout / "requirements.lock").unlink()
    done = dev(checkout, "run")
    assert done.returncode != 0
    assert "requirements.lock is missing" in done.stderr
