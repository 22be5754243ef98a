"""What is needed to create and upgrade a database is inside the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def test_the_wheel_carries_the_migrations_and_the_lone_verifier(tmp_path: Path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=_ROOT,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    steps = {path.name for path in (_ROOT / "huiying/store/migrations/versions").glob("*.py")}
    assert {f"huiying/store/migrations/versions/{name}" for name in steps} <= names
    assert {"huiying/store/migrations/env.py", "huiying/store/migrations/script.py.mako"} <= names
    assert "huiying/service/verify_audit.py" in names
