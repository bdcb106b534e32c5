"""Waiting for what must happen, instead of for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar('T')


def wait_for(
    what: Callable[[], T], patience: float = 120, words: str = '', every: float = 0.02
) -> T:
    """Wait until `what` says something true, and return it; a TimeoutError after `patience` s."""
    until = time.monotonic() + patience
    while not (found := what()):
        if time.monotonic() > until:
            raise TimeoutError(words or getattr(what, '__name__', 'nothing happened'))
        time.sleep(every)
    return found
