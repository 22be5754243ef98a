"""运行记录 with a real Prefect server behind it: what its flows and tasks say stands beside our own record."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.browsers import DESK, axe, sign_in
from tests.browser.screens import numbers
from tests.browser.stage import PEOPLE, Stage, free_port
from tests.browser.watch import Watch

pytestmark = [pytest.mark.slow, pytest.mark.prefect, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def with_prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A demo of its own, all four processes of it."""
    made = Stage(tmp_path_factory.mktemp("prefect"), prefect=True, HUIYING_PREFECT_PORT=str(free_port()))
    made.start()
    yield made
    made.stop()


def test_flows_tasks_and_artifacts_of_prefect_are_read_in_chinese(
    with_prefect: Stage, chromium: Browser, watches: list[Watch]
):
    context = chromium.new_context(locale="zh-CN", viewport=DESK)
    watches.append(Watch(context, with_prefect.url))
    page = context.new_page()
    sign_in(page, with_prefect, PEOPLE["duty"])
    no = numbers(with_prefect.folder)["示例化工园区储罐泄漏"]
    run = _run_with_tasks(page, f"{with_prefect.url}/incidents/{no}/runs")
    assert re.search(r"通知号|N-\d{8}-\d{4}", run), "our own deliveries stand in the same place"
    assert re.search(r"(判定|登记|提醒|送达|超时)", run)
    assert not re.search(r"Completed|Scheduled|Pending|Running|\{\{", run), "no state of Prefect's is left in English"
    artifact = page.locator("details.artifact").first
    artifact.locator("summary").click()
    assert no in artifact.inner_text()
    assert axe(page) == []
    context.close()


def _run_with_tasks(page: Page, address: str) -> str:
    """The text of the first run of which Prefect knows the tasks; they are filled in within seconds."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        page.goto(address)
        for place in range(page.locator("details.run").count()):
            run = page.locator("details.run").nth(place)
            run.locator("> summary").click()
            text = run.inner_text()
            if "任务 Prefect" in text.replace("\n", " "):
                return text
        page.wait_for_timeout(2000)
    raise AssertionError("Prefect never told of its tasks")
