"""What a pipeline of notebooks costs: against a plain script, against Ploomber with nothing to do,
and with many stages.

    python benchmarks/pipeline.py [--repeats 3] [--scenario used_cars] [--trials 20]
                                  [--skip script|nothing|growth]

Every ratio is measured in this one run, the two sides alternating. Times are seconds of wall clock,
the median of the repeats.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from plain_script import script

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def environment(place: Path, **more: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith('CD4ML_')}
    return (
        clean
        | {
            'CD4ML_PRODUCTS': str(place / 'products'),
            'CD4ML_TRACKING_URI': f'sqlite:///{place}/mlflow.db',
            'CD4ML_ARTIFACT_ROOT': str(place / 'files'),
            'PLOOMBER_STATS_ENABLED': 'false',
            'CI': 'true',
        }
        | more
    )


def timed(command: list[str], cwd: Path, env: dict[str, str]) -> float:
    """Seconds that a command takes; it must end well."""
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if done.returncode not in (0, 3):
        raise SystemExit(f'{" ".join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}')
    return seconds


def show(name: str, ours: list[float], theirs: list[float], aim: float, what: str) -> None:
    ratio = statistics.median(ours) / statistics.median(theirs)
    verdict = 'met' if ratio <= aim else 'MISSED'
    print(
        f'{name:<28} {statistics.median(ours):8.3f} s ÷ {statistics.median(theirs):8.3f} s ='
        f' {ratio:6.3f}   aim ≤ {aim:.3f}   {verdict}   ({what})'
    )
    print(
        f'{"":<28} ours {[round(s, 3) for s in ours]}  theirs {[round(s, 3) for s in theirs]}',
        flush=True,
    )


def against_script(scenario: str, trials: int, repeats: int) -> None:
    """A forced full run against one script that calls the same functions."""
    ours = []
    theirs = []
    for k in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            path = place / 'script.py'
            path.write_text(
                script(
                    ROOT,
                    f'scenarios/{scenario}.yaml',
                    {'trials': trials},
                    place / 'products' / scenario,
                ),
                encoding='utf-8',
            )
            env = environment(place, MPLBACKEND='agg', GOMP_SPINCOUNT='1000')
            theirs.append(timed([sys.executable, str(path)], ROOT, env))
        with tempfile.TemporaryDirectory() as folder:
            ours.append(
                timed(
                    [str(BIN / 'cd4ml'), 'run', '-s', scenario, '-p', f'trials={trials}'],
                    ROOT,
                    environment(Path(folder)),
                )
            )
        print(
            f'  {k + 1} of {repeats}: script {theirs[-1]:.1f} s, run {ours[-1]:.1f} s', flush=True
        )
    show('full run ÷ script', ours, theirs, 1.15, f'{scenario}, {trials} trials')


def with_nothing_to_do(repeats: int) -> None:
    """`cd4ml run` against `ploomber build`, both with everything done."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        project = place / 'project'
        for name in ('notebooks', 'scenarios', 'cd4ml_nb'):
            shutil.copytree(
                ROOT / name,
                project / name,
                ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'),
            )
        shutil.copy(ROOT / 'settings.ini', project)
        (project / 'pipeline.yaml').write_text(
            (ROOT / 'pipeline.yaml').read_text().replace('used_cars.yaml', 'breast_cancer.yaml')
        )
        env = environment(place, CD4ML_TRIALS='2')
        run = [str(BIN / 'cd4ml'), 'run', '-s', 'breast_cancer']
        build = [str(BIN / 'ploomber'), 'build']
        timed(run, project, env)
        timed(build, project, env)
        pairs = [
            (timed(run, project, env), timed(build, project, env)) for _ in range(max(3, repeats))
        ]
        show(
            'nothing to do ÷ ploomber',
            [a for a, _ in pairs],
            [b for _, b in pairs],
            1 / 15,
            'and under 0.5 s',
        )
        shutil.rmtree(place / 'products' / '.answers')
        slow = []
        for _ in range(max(3, repeats)):
            slow.append(timed(run, project, env))
            shutil.rmtree(place / 'products' / '.answers')
        show(
            '  the same, planned anew',
            slow,
            [b for _, b in pairs],
            1 / 3,
            'no note left by an earlier run',
        )


PAGE = [
    '# Stage\n\n> One of many.',
    ('parameters', 'number = 0   # of the stage\nupstream = None\nproduct = None'),
    'import json\nfrom pathlib import Path',
    "given = sum(json.loads(Path(p['value']).read_text()) for p in (upstream or {}).values())",
    "Path(product['value']).write_text(json.dumps(given + number))",
]


def many_stages(folder: Path, n: int) -> Path:
    """A project of n stages, each of which reads up to two earlier ones."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / 'notebooks').mkdir(parents=True)
    (folder / 'scenarios').mkdir()
    page = nbformat.v4.new_notebook(
        metadata={'kernelspec': {'name': 'python3', 'display_name': 'Python', 'language': 'python'}}
    )
    for cell in PAGE:
        if isinstance(cell, tuple):
            page.cells.append(nbformat.v4.new_code_cell(cell[1], metadata={'tags': [cell[0]]}))
        else:
            page.cells.append(
                nbformat.v4.new_markdown_cell(cell)
                if cell.startswith('#')
                else nbformat.v4.new_code_cell(cell)
            )
    nbformat.write(page, folder / 'notebooks' / 'stage.ipynb')
    tasks = [
        {
            'name': f's{k}',
            'source': 'notebooks/stage.ipynb',
            'upstream': sorted({f's{(k - 1) // 2}', f's{k - 1}'}) if k else [],
            'product': {
                'nb': f'products/ploomber/s{k}/page.ipynb',
                'value': f'products/ploomber/s{k}/value.json',
            },
            'params': {'number': k},
        }
        for k in range(n)
    ]
    (folder / 'pipeline.yaml').write_text(
        json.dumps({'meta': {'extract_upstream': False}, 'tasks': tasks})
    )
    (folder / 'scenarios' / 'many.yaml').write_text(
        'name: many\ntitle: Many stages\ntask: regression\ndata: {source:'
        ' "builtin:diabetes"}\ntarget: {column: target}\n'
    )
    return folder


def growth(counts: list[int]) -> None:
    """The runner's own cost with more and more stages."""
    rows = []
    for n in counts:
        with tempfile.TemporaryDirectory() as place:
            project = many_stages(Path(place) / 'project', n)
            env = environment(Path(place), CD4ML_JOBS='1')
            run = [str(BIN / 'cd4ml'), 'run', '-q', '-s', 'many']
            full = timed(run, project, env)
            noted = min(timed(run, project, env) for _ in range(3))
            shutil.rmtree(Path(place) / 'products' / '.answers')
            planned = timed(run, project, env)
            rows.append((n, full, planned, noted))
            print(
                f'  {n:>4} stages: full run {full:7.2f} s ({1000 * full / n:6.1f} ms a stage),'
                f' nothing to do {noted:6.3f} s, planned anew {planned:6.3f} s',
                flush=True,
            )
    (n, full, planned, noted), (m, *last) = rows[0], rows[-1]
    for name, first, end in (
        ('full run', full, last[0]),
        ('planned anew', planned, last[1]),
        ('nothing to do', noted, last[2]),
    ):
        print(
            f'growth, {name:<20} {m} ÷ {n} stages: time × {end / first:6.1f} (linear: × {m / n:g})'
        )


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--scenario', default='used_cars')
    parser.add_argument('--trials', type=int, default=20)
    parser.add_argument('--stages', type=int, nargs='+', default=[10, 100, 500])
    parser.add_argument('--skip', nargs='*', default=[], choices=['script', 'nothing', 'growth'])
    asked = parser.parse_args()
    if 'script' not in asked.skip:
        against_script(asked.scenario, asked.trials, asked.repeats)
    if 'nothing' not in asked.skip:
        with_nothing_to_do(asked.repeats)
    if 'growth' not in asked.skip:
        growth(asked.stages)
