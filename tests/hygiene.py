"""What must hold for every file of the repository, beyond what the linters know. Called by `./dev check`.

Names that no file may contain are put together here from pieces, so that this file passes its own check.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("pypi", "tuna", "tsinghua"),
        ("mirrors", "aliyun"),
        ("mirrors", "cloud", "tencent"),
        ("mirrors", "ustc"),
        ("repo", "huaweicloud"),
        ("registry", "npmjs"),
        ("npmmirror", "com"),
        ("deb", "debian"),
        ("archive", "ubuntu"),
        ("crates", "io"),
        ("proxy", "golang"),
    )
)
REGISTRY = re.compile("|".join(re.escape(host) for host in REGISTRY_HOSTS), re.IGNORECASE)
DOWNLOAD = re.compile(
    r"https?://\S+(?:\.whl|\.tar\.(?:gz|xz|bz2)|\.tgz|\.zip|\.deb|\.rpm|\.exe|/releases/download/)", re.IGNORECASE
)
# A folder of the machine somebody worked on; a path built by tempfile or tmp_path never stands in a file.
MACHINE_PATH = re.compile(
    r"(?:(?<![\w.$}/-])|(?<=file://))/(?:" + "|".join(("tmp", "work", "root", "farm", "opt" + "/pypi")) + r")/\w"
)

LOCK_LINE = re.compile(
    r"\s*#.*|[A-Za-z0-9._-]+(?:\[[\w,-]+\])?==[^\s;]+(?: ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}(?: \\)?|"
)
FOREIGN_LOCKS = {"uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "package-lock.json"}


def findings_in_text(text: str) -> Iterator[tuple[int, str]]:
    """Line and objection for everything that may stand in no file."""
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, objection in (
            (REGISTRY, "names the host of a package registry"),
            (DOWNLOAD, "carries a download address"),
            (MACHINE_PATH, "names a folder of one machine"),
        ):
            if found := pattern.search(line):
                yield number, f"{objection}: {found.group()}"


def findings_in_lock(text: str) -> Iterator[tuple[int, str]]:
    """The lock holds versions with hashes and nothing else: no address, no option, no package without a hash."""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if not LOCK_LINE.fullmatch(line):
            yield number, f"is neither a pinned version nor a hash: {line.strip()}"
        elif line[:1].isalnum() and not (number < len(lines) and "--hash=" in lines[number]):
            yield number, f"has no hash: {line.strip()}"


def imports_of(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            # `from huiying import now` imports a module, not a name of one.
            yield from (
                (node.lineno, f"{module}.{alias.name}" if module == "huiying" else module) for alias in node.names
            )


def findings_in_domain(source: str) -> Iterator[tuple[int, str]]:
    """The domain imports the standard library and itself: import-linter only knows the packages it is told of."""
    for number, name in imports_of(source):
        inside = name.startswith(("huiying.domain", "."))
        if not inside and name.split(".")[0] not in sys.stdlib_module_names:
            yield number, f"the domain imports {name}"


def tracked_files() -> list[Path]:
    """Tracked files and new ones that git does not ignore; without git (an unpacked archive) nothing."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    names = listed.stdout.decode("utf-8").split("\0") if listed.returncode == 0 else []
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def findings_in_readme(text: str) -> Iterator[tuple[int, str]]:
    for command in ("./dev run", "./dev test"):
        if command not in text:
            yield 1, f"does not name `{command}`"


def findings(files: Iterable[Path]) -> Iterator[str]:
    for path in sorted(files):
        name = path.relative_to(ROOT).as_posix()
        if path.name in FOREIGN_LOCKS:
            yield f"{name}: requirements.lock is the lock; this one carries addresses"
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found = list(findings_in_text(text))
        if name == "requirements.lock":
            found += findings_in_lock(text)
        elif name.startswith("huiying/domain/") and name.endswith(".py"):
            found += findings_in_domain(text)
        elif name in {"README.md", "README.zh-CN.md"}:
            found += findings_in_readme(text)
        yield from (f"{name}:{number}: {objection}" for number, objection in found)
    for name in ("dev", ".ci/run"):
        if not os.access(ROOT / name, os.X_OK):
            yield f"{name}: has lost its run bit"
    if "./dev test" not in (ROOT / ".ci" / "run").read_text(encoding="utf-8"):
        yield ".ci/run: does not call ./dev test"
    if not (ROOT / "README.md").is_file():
        yield "README.md: is missing"


def main() -> int:
    found = list(findings(tracked_files()))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
