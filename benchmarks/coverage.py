"""How often ranges hold the actual value on real data, overall and for each group, and their cost.

    python benchmarks/coverage.py [--data FOLDER] [--trials 10] [--methods residuals quantiles]
                                  [--coverage 0.9] [--only ames_housing] [--keep FOLDER]

Each set goes from `cd4ml new` to the metrics of stage `evaluate`, on rows that were sealed before
anything was learned: once without a range, then with each method. Printed are the share of actual
values inside with its binomial interval, whether that interval holds what was asked for, the
average width beside the average error, the groups, and the seconds of stage `train` with and
without.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from own_project import CD4ML, environment, project

SETS = {       # file -> target, column of the groups, further words for `new`
    'ames_housing': ('SalePrice', 'MS Zoning', ()),
    'diamonds': ('price', 'cut', ()),
    'california_housing': ('median_house_value', 'ocean_proximity', ()),
    'bike_sharing_hour': ('cnt', 'season', ()),
    'wine_quality': ('quality', 'color', ('--task', 'regression')),
    'cars_autoscout24_de_2021': ('price', 'fuel', ()),
}


def command(place: Path, *words: str) -> None:
    """A command that must end well; a refused gate is an end as well."""
    done = subprocess.run(
        [CD4ML, *words],
        cwd=place / 'project',
        env=environment(place),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 3):
        raise SystemExit(f'{" ".join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}')


def product(place: Path, name: str, stage: str, file: str) -> dict[str, Any]:
    """A JSON file among the current products of a stage."""
    home = place / 'products' / name / stage
    key = (home / 'current').read_text(encoding='utf-8').strip()
    return json.loads((home / key / file).read_text(encoding='utf-8'))


def with_range(text: str, groups: str, asked: float, method: str) -> str:
    """A scenario with groups, and with a range where a method is named."""
    lines = []
    for line in text.splitlines():
        if line.startswith('  groups: '):
            line = f'  groups: [{json.dumps(groups)}]'
        lines.append(line)
    if method:
        lines.append(f'interval: {{coverage: {asked}, method: {method}}}')
    return '\n'.join(lines) + '\n'


def measured(place: Path, name: str, trials: int) -> tuple[dict[str, Any], float]:
    """The metrics of a run up to stage `evaluate`, and the seconds of stage `train`."""
    words = ('--scenario', name, '--until', 'evaluate', '-p', f'sweep.trials={trials}')
    command(place, 'run', *words)
    seconds = product(place, name, 'train', 'manifest.json')['seconds']
    return product(place, name, 'evaluate', 'metrics.json'), float(seconds)


def between(at: dict[str, float]) -> str:
    return f'{100 * at["value"]:5.1f} % ({100 * at["low"]:.1f} to {100 * at["high"]:.1f})'


def show(name: str, method: str, found: dict[str, Any], asked: float, times: str) -> bool:
    """One line for all rows and one for each group; whether what was asked for was held."""
    coverage = found['holdout']['coverage']
    holds = coverage['low'] <= asked <= coverage['high']
    width = found['holdout']['width']['value'] / found['holdout']['mae']['value']
    print(
        f'{name:<26} {method:<10} {found["n_rows"]:>7,} rows  {between(coverage):<24}'
        f' {"holds" if holds else "MISSED":<7} width {width:4.1f} × average error   {times}',
        flush=True,
    )
    for column, groups in found['groups'].items():
        for group in groups:
            inside = group['metrics']['coverage']
            print(f'{"":<26} {column} {group["value"]:<20} {group["n"]:>7,}  {between(inside)}')
    return holds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, default=os.environ.get('CD4ML_TEST_DATA'))
    parser.add_argument('--trials', type=int, default=10)
    parser.add_argument('--coverage', type=float, default=0.9)
    parser.add_argument('--methods', nargs='+', default=['residuals', 'quantiles'])
    parser.add_argument('--only', action='append')
    parser.add_argument('--keep', type=Path, default=None)
    asked = parser.parse_args()
    if asked.data is None:
        raise SystemExit('name the folder of the data sets: --data FOLDER')
    place = asked.keep or Path(tempfile.mkdtemp())
    project(place)
    held = []
    for name in asked.only or SETS:
        target, groups, words = SETS[name]
        file = Path(asked.data).resolve() / f'{name}.csv'
        command(place, 'new', name, '--data', str(file), '--target', target, *words)
        path = place / f'project/scenarios/{name}.yaml'
        text = path.read_text(encoding='utf-8')
        path.write_text(with_range(text, groups, asked.coverage, ''), encoding='utf-8')
        _, plain = measured(place, name, asked.trials)
        for method in asked.methods:
            changed = with_range(text, groups, asked.coverage, method)
            path.write_text(changed, encoding='utf-8')
            found, seconds = measured(place, name, asked.trials)
            times = f'train {seconds:.1f} s, without {plain:.1f} s'
            held.append(show(name, method, found, asked.coverage, times))
    print(f'{sum(held)} of {len(held)} intervals hold {asked.coverage:g}')
    if asked.keep is None:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == '__main__':
    main()
