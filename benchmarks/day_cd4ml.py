"""A scientist's day with cd4ml_nb, as cells; see day_cells.py and workbench.py."""
# ruff: noqa: B015, B018, E402, F811, F821

# %% open
from cd4ml_nb import Workbench, new

new(name, file, target)
bench = Workbench(name)
bench

# %% look
bench.profile()

# %% first
bench.fit()

# %% variant
bench.fit('shallow', max_depth=3)

# %% compare
bench.compare('as it is', 'shallow')

# %% feature @market
import numpy as np

from cd4ml_nb.model.features import feature


@feature('mileage_km', 'first_registration', unit='km')
def own(km, registered):
    years = (np.datetime64('2025-01-01') - registered) / np.timedelta64(365, 'D')
    return km / np.maximum(years, 0.25)


bench.fit('with own', features=[own])

# %% feature @titanic
from cd4ml_nb.model.features import feature


@feature('SibSp', 'Parch')
def own(siblings, parents):
    return siblings + parents + 1


bench.fit('with own', features=[own])

# %% groups
bench.slices('with own', by=[group])

# %% search
bench.sweep('searched', trials=10, features=[own])

# %% keep
from cd4ml_nb import run

bench.adopt('searched').write()
run(name, trials=10)

# %% apart rows
import pandas as pd

rows = pd.read_csv('fresh.csv')

# %% apart use
from cd4ml_nb import find_run, load_model

model = load_model(find_run('latest', name).model)
{'predicted': [float(value) for value in model.predict(rows)]}

# %% apart list
from cd4ml_nb import Workbench

bench = Workbench(name)
{'models': len(bench.table()), 'trials': len(bench.trials('searched'))}

# %% apart faults
import contextlib
import io

from cd4ml_nb import Workbench, new

with contextlib.redirect_stdout(io.StringIO()) as said:
    new('faulty', 'faulty.csv', target)
    print(Workbench('faulty').profile())
warned = [line for line in said.getvalue().splitlines() if not line.startswith(' ')]
{
    'leak': any('zz_after alone explains' in line for line in warned),
    'copies': any('copy of an earlier row' in line for line in warned),
}

# %% proof profile
all(column in shown['look'] for column in columns) and 'explains' in bench.profile().table

# %% proof spread
'std' in shown['first'].lower()

# %% proof interval
first = bench.attempts[0].measured
first.low < first.value < first.high

# %% proof verdict
bench.compare(bench.attempts[0].id, 'shallow').word in ('better', 'worse', 'undecided')

# %% proof allowance
early = next(value for value in Out.values() if hasattr(value, 'n_attempts'))
late = bench.compare(bench.attempts[0].id, 'shallow')
width = [end[1] - end[0] for end in (early.interval, late.interval)]
late.n_attempts > early.n_attempts and width[1] > width[0]

# %% proof groups
groups = bench.slices('with own', by=[group])
set(groups['group'].astype(str)) == set(values)

# %% proof groups_interval
bool((groups['low'] < groups['high']).all())

# %% proof worst
len(bench.worst('with own', 5)) == 5

# %% proof curves
any(hasattr(bench, word) for word in ('plot', 'roc', 'residuals', 'curve'))

# %% proof untouched
from cd4ml_nb.runs.paths import looks_ledger

looks = looks_ledger(name).read_text().splitlines()      # the run that keeps the best opens it once
len(looks) == 1 and '"stage": "evaluate"' in looks[0]

# %% proof sealed
from cd4ml_nb import UserError

try:
    refused = not len(bench.holdout)
except UserError:
    refused = True
refused

# %% proof kinds
from typing import get_args

from cd4ml_nb.scenario.search_space import Algorithm

len(get_args(Algorithm))

# %% proof estimate
kept = bench.named('searched').measured
{'value': kept.value, 'low': kept.low, 'high': kept.high}
