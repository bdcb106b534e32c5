"""A tracking store that is ready: MLflow takes seconds to make its tables, and one copy serves all
tests of a process."""

import atexit
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

MAKE = 'import sys, pathlib; from cd4ml_nb.tracking.reach import set_up; set_up(pathlib.Path({!r}))'


@cache
def empty_store() -> Path:
    """A SQLite file with MLflow's tables and nothing in them; to be copied."""
    folder = Path(tempfile.mkdtemp(prefix='cd4ml-store-'))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / 'mlflow.db'
    making = [sys.executable, '-c', MAKE.format(str(path))]
    subprocess.run(making, check=True, capture_output=True)
    return path


def give_store(folder: Path) -> None:
    """Put an empty store into a folder, unless there is one."""
    if not (folder / 'mlflow.db').exists():
        shutil.copy(empty_store(), folder / 'mlflow.db')
