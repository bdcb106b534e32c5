"""How much work the tests do: a part of it on every push, all of it in `make nightly`.

The environment variable CD4ML_TEST_EFFORT chooses: `push`, which is the default, or `nightly`.
"""

import os

from hypothesis import settings

EFFORT = os.environ.get('CD4ML_TEST_EFFORT', 'push')
SHARE = {'push': 4, 'nightly': 1}       # one example of so many is tried
LEAST = 10                              # examples of a property


def examples(nightly: int) -> int:
    """How many examples of a property are tried now, of those that are tried every night."""
    return min(nightly, max(LEAST, nightly // SHARE[EFFORT]))


def times(nightly: int, push: int) -> int:
    """How often something is repeated now."""
    return nightly if EFFORT == 'nightly' else push


def load_profile() -> None:
    """Load Hypothesis's profile for the properties that name no number of examples."""
    for effort, share in SHARE.items():
        settings.register_profile(effort, max_examples=100 // share, deadline=None)
    settings.load_profile(EFFORT)
