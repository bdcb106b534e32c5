"""What the workbench says and shows while it works, and what it keeps of the same thing twice."""

import os
import re
import subprocess
import sys

import pandas as pd
import pytest
from benches import Study

from cd4ml_nb.core.files import read_json, write_json
from cd4ml_nb.features import used_cars
from cd4ml_nb.workbench.cells import drafts_of

OPENED = 'from cd4ml_nb import Workbench\nbench = Workbench("cars")\n'


@pytest.fixture(scope='module')
def study(tmp_path_factory) -> Study:
    made = Study(tmp_path_factory.mktemp('manners'))
    file = made.place.folder / 'cars.csv'
    table = pd.read_csv(file)
    table.loc[table.index % 3 == 0, 'km'] = 0      # a heap
    table.to_csv(file, index=False)
    return made


def in_terminal(study: Study, text: str) -> tuple[str, str]:
    """What code prints, and what a terminal shows beside it."""
    ours, theirs = os.openpty()
    environment = study.place.environment | study.environment
    done = subprocess.run(
        [sys.executable, '-c', text], cwd=study.project, stderr=theirs, stdout=subprocess.PIPE,
        text=True, env=environment | {'PYTHONPATH': str(study.project)}, check=False,
    )
    os.close(theirs)
    shown = b''
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:      # all was read
        pass
    os.close(ours)
    assert done.returncode == 0, shown.decode()
    return done.stdout, shown.decode()


def test_E11_an_interrupted_ablation_keeps_what_is_done(study):
    said = study.code(OPENED + '''
from cd4ml_nb.workbench import looking
whole, left = looking.measured_again, [1]
def interrupted(*given):
    if not left:
        raise KeyboardInterrupt
    left.pop()
    return whole(*given)
looking.measured_again = interrupted
bench.fit('shallow', max_depth=2)
table = bench.ablate('shallow', columns=['kw', 'km'])
print('kept', table['feature'].tolist())
''')
    assert 'shallow: without each of 2 in turn, in 5 folds: 10 fits' in said
    assert 'shallow: interrupted after 1 of 2' in said and "kept ['kw']" in said


@pytest.mark.slow
def test_E11_a_terminal_sees_folds_go_by_and_a_program_that_reads_the_output_does_not(study):
    words = OPENED + 'bench.fit()\nbench.ablate(columns="kw")\n'
    said, shown = in_terminal(study, words)
    lines = [line.strip() for line in shown.split('\r')]
    assert 'as it is · choosing the rounds' in lines
    assert any(line.startswith('as it is · measuring in folds · 5 of 5 · about') for line in lines)
    assert any(line.startswith('as it is · without kw · 5 of 5') for line in lines)
    assert lines[-1] == ''      # wiped out
    assert 'as it is: one fit of trees, then measured in 5 folds' in said
    assert ' · ' not in study.code(words)


@pytest.mark.slow
def test_E16_a_sweep_says_what_it_will_cost_and_that_its_result_is_a_blend(study):
    said = study.code(OPENED + '''
made = bench.sweep(
    'mixed', 4, blend=3, rounds=9, learning_rate=0.5, max_depth=9,
    changes={'search.space': {'subsample': {'low': 0.4, 'high': 0.7}}},
)
print(made.lines[0])
print(made.attempt.chosen)
print(bench.table().query('attempt == "mixed"')['chosen'].item())
''')
    lines = said.splitlines()
    costs = lines.index('mixed: 4 trials of trees, a blend of at most 3 of them, then measured in'
                        ' 5 folds (15 fits at most)')
    assert 'trial ' in lines[costs + 1]      # it was said before the first
    first, chosen, in_table = lines[-3:]
    assert chosen.startswith('blend of') and chosen in first and in_table == chosen


CELL = '''
import numpy as np
from cd4ml_nb.model.features import feature

@feature('km')
def centred(km):
    return km - km.mean()

def names(owner):
    return sorted(set(owner.tolist()))

@feature('owner', fit=names)
def known(owner, state):
    return np.isin(owner.tolist(), state).astype(float)

@feature('owner', kind='category')
def same_again(owner):
    return owner

@feature('km')
def whole(km):
    return np.array([int(x) for x in km.tolist()], dtype=float)

@feature('km')
def miles(km):
    return km / 1.6

def refused(ask):
    try:
        ask()
    except Exception as error:
        print('refused:', error)
'''


def test_S13_a_feature_in_a_cell_is_proved_before_it_is_fitted_and_before_it_is_adopted(study):
    said = study.code(OPENED + CELL + '''
refused(lambda: bench.fit('centred', features=[centred]))
refused(lambda: bench.fit('known', features=[known]))
refused(lambda: bench.fit('same', features=[same_again]))
refused(lambda: bench.fit('whole', features=[whole]))
bench.fit('miles', features=[miles])
''')
    batch, personal, given, gap = [line for line in said.splitlines() if line.startswith('refused')]
    assert 'centred looks at its batch' in batch and 'make it depend on its row alone' in batch
    assert "feature known keeps texts of 'owner', which is personal" in personal
    assert "feature same_again keeps texts of 'owner', which is personal" in given
    assert 'in “return np.array([int(x) for x in km.tolist()], dtype=float)”: ValueError' in gap
    assert 'mend it: values may be missing (NaN' in gap
    names = [attempt['name'] for attempt in study.attempts()]
    assert 'miles' in names and 'centred' not in names and 'known' not in names
    (record,) = [path for path in (study.home / 'attempts').glob('*/attempt.json')
                 if read_json(path)['name'] == 'miles']
    attempt = read_json(record)
    draft = attempt['drafts'][0]
    draft['source'] = draft['source'].replace('km / 1.6', 'km / km.max()')
    write_json(record, attempt)
    said = study.code(OPENED + CELL + "refused(lambda: bench.adopt('miles'))")
    assert 'miles looks at its batch' in said


def test_S13_a_feature_is_adopted_into_the_notebook_that_new_writes(study):
    file = study.place.folder / 'cars.csv'
    made = study.cd4ml('new', 'fresh', '--data', str(file), '--target', 'y')
    assert made.returncode == 0, made.stderr
    study.code('from cd4ml_nb import Workbench\nbench = Workbench("fresh")\n' + CELL + '''
bench.fit('in miles', features=[miles])
bench.adopt('in miles').write()
''')
    assert 'use: [miles]' in (study.project / 'scenarios/fresh.yaml').read_text()
    text = (study.project / 'notebooks/features/fresh.ipynb').read_text()
    assert text.count('def miles(km)') == 1
    assert text.count('from cd4ml_nb.model.features import feature') == 1
    assert 'def miles(km)' in (study.project / 'cd4ml_nb/features/fresh.py').read_text()


def test_the_source_of_a_feature_from_a_module_is_found_and_its_imports_are_those_of_a_notebook():
    found = drafts_of({'age': used_cars.age, 'km_a_year': used_cars.km_a_year})
    assert found[0].source.startswith("age = difference('listing_date', 'first_registration'")
    assert found[0].imports == ['from cd4ml_nb.model.ready_made import difference']
    assert found[1].source.startswith('@feature(')
    assert found[1].imports == [
        'from cd4ml_nb.model.features import feature', 'import numpy as np'
    ]


def test_E10_the_same_again_is_no_new_attempt_bands_rise_and_a_heap_is_named(study):
    said = study.code(OPENED + '''
first = bench.fit('deep', max_depth=5).attempt
print(bench.fit('deep', max_depth=5).attempt == first)
print(bench.fit('deep', max_depth=5, again=True).attempt.id == first.id)
print(bench.fit('deep', max_depth=4).attempt.id == first.id)
print(list(bench.table()['attempt']).count('deep'))
print(bench.slices('deep', by='kw')['group'].tolist())
print(bench.profile())
print('short:', bench.fit('short', rounds=5).lines[-1])
print('relative:', bench.fit('relative', changes={'search.metric': 'mape'}).lines[1])
print('adopted:', bench.adopt('relative').verdict)
row = bench.table().set_index('attempt').loc['relative']
print('row:', row[['mae', 'low', 'high']].isna().all(), row['mape'] > 0)
''')
    assert 'deep: already tried at' in said and 'again=True' in said
    lines = said.splitlines()
    equal = lines.index('True')
    others = [line for line in lines[equal + 1:] if line in ('True', 'False')]
    assert others == ['False', 'False'] and '3' in lines
    bands = next(line for line in lines if line.startswith("['4"))
    assert bands.count('above') == 3 and bands.index('above') > bands.index(' to ')
    heap = r'! km: 3\d\.\d.% of the rows are exactly 0, the others spread over \d+ values'
    assert re.search(heap, said), said
    assert 'relative: It was measured by mape, the scenario by mae: nothing is compared' in said
    assert 'short: It ended at the cap of 5 rounds' in said and 'rounds=10, or a higher' in said
    assert 'adopted: It was measured by mape' in said and 'row: True True' in said


def test_S1_who_has_the_scenario_is_said_while_the_workbench_waits_and_a_naive_guess_beside(study):
    said = study.code('''
import threading, time
from cd4ml_nb import Workbench
from cd4ml_nb.core.lock import locked
from cd4ml_nb.runs.paths import products_root
heard, made = [], []
opened = threading.Thread(target=lambda: made.append(Workbench('cars', say=heard.append)))
with locked(products_root() / 'cars'):
    opened.start()
    while not heard:
        time.sleep(0.02)
    print(heard[0], bool(made))
opened.join()
print(made[0].fit())
''')
    waited, _, fitted = said.partition('\n')
    assert re.fullmatch(r'waiting for another run: .*\d.* False', waited), waited
    value, naive = re.search(r'mae ([\d.,]+) .*a naive guess ([\d.,]+)', fitted).groups()
    assert float(naive.replace(',', '')) > float(value.replace(',', ''))


def test_E16_a_mistake_in_a_cell_is_one_line_and_a_bug_keeps_its_traceback(study):
    cells = ["from cd4ml_nb import Workbench\nbench = Workbench('cars')",
             "bench.fit(without='kmm')", '1 / 0']
    said = study.code(f'''
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
book = new_notebook(cells=[new_code_cell(text) for text in {cells!r}])
NotebookClient(book, allow_errors=True, kernel_name='python3').execute()
for cell in book.cells[1:]:
    print(len(cell.outputs[-1].traceback), cell.outputs[-1].traceback[0])
''')
    mistake, *bug = said.splitlines()
    assert mistake.startswith('1 ERROR D01') and "did you mean 'km'" in mistake
    assert not bug[0].startswith('1 ')
