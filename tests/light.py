"""A Python with numpy, XGBoost and what they depend on, and nothing else that is not its own."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = ('numpy', 'scipy', 'xgboost')       # XGBoost depends on SciPy
START = '''import sys
sys.path.append(sys.argv[1])
'''
END = '''
installed = sorted(p.name for p in __import__('pathlib').Path(sys.argv[1]).iterdir())
json.dump({'answer': answer, 'loaded': [n for n in installed if n in sys.modules]}, sys.stdout)
'''


def light_environment(folder: Path) -> Path:
    """A folder with links to the allowed libraries and to the package."""
    folder.mkdir()
    (folder / 'cd4ml_nb').symlink_to(ROOT / 'cd4ml_nb')
    for name in ALLOWED:
        spec = find_spec(name)
        assert spec is not None and spec.origin is not None
        installed = Path(spec.origin).parent
        # libraries that come along: numpy.libs and such
        for path in (installed, *installed.parent.glob(f'{name}.libs')):
            (folder / path.name).symlink_to(path)
    return folder


def run_light(environment: Path, script: str, *words: str) -> dict[str, Any]:
    """What a script leaves in `answer`, and which libraries of the environment it has loaded."""
    done = subprocess.run(
        [sys.executable, '-I', '-S', '-c', f'{START}{script}{END}', str(environment), *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


SERVE = '''
import json
from pathlib import Path
from cd4ml_nb.model.explanation import drivers, reasons
from cd4ml_nb.model.golden import as_columns, read_golden, verify_golden
from cd4ml_nb.model.loading import load_model
from cd4ml_nb.model.manifest import verify_model
from cd4ml_nb.model.prediction import contributions, predict
from cd4ml_nb.model.pyfunc import _load_pyfunc
folder = Path(sys.argv[2])
verify_model(folder)
booster, contract = load_model(folder)
inputs = [case['input'] for case in read_golden(folder / 'golden.jsonl')]
columns = as_columns(inputs)
predicted = predict(booster, contract, columns)
shares = contributions(booster, contract, columns)
of_one = shares[0] if shares.ndim == 2 else shares[0, 0]
answer = {
    'golden': verify_golden(folder),
    'predicted': predicted.tobytes().hex(),
    'by mlflow': _load_pyfunc(str(folder)).predict(columns).tobytes().hex(),
    'drivers': drivers(shares, contract),
    'reasons': reasons(inputs[0], of_one, contract),
}
'''


def served_light(environment: Path, folder: Path) -> dict[str, Any]:
    """What a model's directory answers to its golden cases where nothing else is installed."""
    return run_light(environment, SERVE, str(folder))
