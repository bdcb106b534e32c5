"""Continuous delivery of machine learning, from notebooks: what other programs import.

Everything for others stands in `__all__`. A name brings its module when it is first used, so that
`import cd4ml_nb` alone imports nothing else. (Written by hand: the exporter leaves it alone.)
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING

__all__ = [
    'new', 'load_scenario', 'run', 'find_run', 'compare', 'load_model', 'predict', 'Workbench',
    'Cd4mlError', 'UserError', 'GateRefused', 'InfrastructureError', 'feature',
]

if TYPE_CHECKING:      # a checker reads this branch, and sees the types of all names
    from .command.use import compare, find_run, load_model, load_scenario, new, predict, run
    from .core.errors import Cd4mlError, GateRefused, InfrastructureError, UserError
    from .model.features import feature
    from .workbench.bench import Workbench
else:
    def __getattr__(name):
        "A public name, from the module that has it."
        if name not in __all__:
            raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
        place = {'Workbench': 'workbench.bench', 'feature': 'model.features'}.get(
            name, 'core.errors' if name[0].isupper() else 'command.use'
        )
        # Optuna would draw a bar of its own, and warns that it cannot; ours is the live plot
        warnings.filterwarnings('ignore', message='IProgress not found')
        found = getattr(import_module(f'{__name__}.{place}'), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    "What a module has anyway, and the public names, also those that nobody has used yet."
    return sorted({*globals(), *__all__})
