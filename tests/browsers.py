"""A headless Chromium for tests of pages, and what a page asked for."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = (
    '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run',
    '--disable-background-networking', '--disable-dev-shm-usage',
)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser that is gone afterwards; skips the test where none is installed."""
    webdriver = pytest.importorskip('selenium.webdriver', reason='selenium is not installed')
    if not (shutil.which('chromium') and shutil.which('chromedriver')):
        pytest.skip('needs chromium and chromedriver')
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which('chromium')
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    service = webdriver.ChromeService(shutil.which('chromedriver'))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


def visited(browser: Any, path: Path) -> tuple[list[str], list[Any]]:
    """Open a file; return what it asked for besides itself, and what the console says."""
    for kind in ('performance', 'browser'):      # what pages before it have left there
        browser.get_log(kind)
    browser.get(path.as_uri())
    events = [json.loads(entry['message'])['message'] for entry in browser.get_log('performance')]
    asked = [
        event['params']['request']['url']
        for event in events
        if event['method'] == 'Network.requestWillBeSent'
    ]
    others = [url for url in asked if not url.startswith(('data:', path.as_uri()))]
    return others, browser.get_log('browser')
