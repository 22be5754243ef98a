"""The hygiene check finds what it is there to find."""

import pytest

from tests import hygiene

HASH = "    --hash=sha256:" + "0" * 64


def objections(found) -> list[str]:
    return [objection for _, objection in found]


@pytest.mark.parametrize("host", hygiene.REGISTRY_HOSTS)
def test_a_registrys_host_is_found(host):
    assert "package registry" in objections(hygiene.findings_in_text(f"index = {host}/simple"))[0]


@pytest.mark.parametrize("tail", [".whl", ".tar.gz", ".zip", "/releases/download/v1/x"])
def test_a_download_address_is_found(tail):
    assert "download address" in objections(hygiene.findings_in_text("https://" + f"example.org/a{tail}"))[0]


@pytest.mark.parametrize("folder", ["tmp", "work", "root"])
def test_a_machines_folder_is_found(folder):
    for before in ("", '"', "cd ", "file://", "("):
        assert "one machine" in objections(hygiene.findings_in_text(f"{before}/{folder}/x"))[0]


@pytest.mark.parametrize(
    "line",
    ["https://example.org/work/1", "POST /api/v1/work/1", "a/tmp/b", "$HOME/tmp/x", "https://example.org/x.html"],
)
def test_ordinary_text_is_left_alone(line):
    assert objections(hygiene.findings_in_text(line)) == []


def test_a_lock_with_hashes_is_good():
    lock = f"# by ./dev lock\na==1 ; sys_platform == 'win32' \\\n{HASH} \\\n{HASH}\n    # via b\nb[c]==2 \\\n{HASH}\n"
    assert objections(hygiene.findings_in_lock(lock)) == []


@pytest.mark.parametrize(
    "line", ["--index-url x", "a==1", "a>=1", "a @ https://" + "example.org/a", "--find-links wheels", "-e ."]
)
def test_a_lock_with_anything_else_is_not(line):
    assert objections(hygiene.findings_in_lock(f"{line}\n"))


def test_a_locked_package_needs_a_hash():
    assert "has no hash" in objections(hygiene.findings_in_lock("a==1 \\\n    # via b\n"))[0]


def test_the_domain_may_import_only_the_standard_library_and_itself():
    source = (
        "import json, yaml\nfrom huiying.domain.clock import Clock\nfrom huiying import now\nfrom config import x\n"
    )
    assert objections(hygiene.findings_in_domain(source)) == [
        "the domain imports yaml",
        "the domain imports huiying.now",
        "the domain imports config",
    ]


def test_a_readme_names_both_commands():
    assert objections(hygiene.findings_in_readme("./dev run")) == ["does not name `./dev test`"]
