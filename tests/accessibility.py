"""What axe-core says of the page that a browser shows, in a colour scheme and at a width."""

from pathlib import Path
from typing import Any

AXE = Path(__file__).parent / 'axe' / 'axe.min.js'
RUN = """
const done = arguments[0];
axe.run(document, {resultTypes: ['violations']}).then(({violations}) => done(violations.map(
  ({impact, id, nodes}) => `${impact} ${id}, ${nodes.length} times: ${nodes[0].html}`)));
"""
TOO_WIDE = 'return document.documentElement.scrollWidth > document.documentElement.clientWidth'
UNFOLD = 'for (const part of document.querySelectorAll("details")) part.open = true'


def opened(browser: Any, page: Path, scheme: str = 'light', width: int = 1200) -> None:
    """Open a page as somebody with a colour scheme and a screen sees it, everything unfolded."""
    preferred = {'name': 'prefers-color-scheme', 'value': scheme}
    browser.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': [preferred]})
    screen = {'width': width, 'height': 844, 'deviceScaleFactor': 1, 'mobile': width < 600}
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', screen)
    browser.get(page.as_uri())
    browser.execute_script(UNFOLD)


def axe_findings(browser: Any) -> list[str]:
    """What axe-core finds on the page, a line for each rule."""
    browser.set_script_timeout(120)
    browser.execute_cdp_cmd('Runtime.evaluate', {'expression': AXE.read_text(encoding='utf-8')})
    return browser.execute_async_script(RUN)


def is_too_wide(browser: Any) -> bool:
    """Whether the whole page scrolls sideways."""
    return browser.execute_script(TOO_WIDE)


def as_usual(browser: Any) -> None:
    """Undo what `opened` asked the browser to be."""
    browser.execute_cdp_cmd('Emulation.setEmulatedMedia', {'media': '', 'features': []})
    browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})
