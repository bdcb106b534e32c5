"""Waiting for what must happen, instead of for a time; limits that allow for a busy machine."""

import os
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


def load() -> float:
    """How many times slower than a quiet machine this one may be now; at least 1."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def seconds(quiet: float) -> float:
    """A limit that holds on a quiet machine, longer where others use the machine."""
    return quiet * load()
