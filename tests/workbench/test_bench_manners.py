"""What the workbench says and shows while it works, and what it keeps of the same thing twice."""

import os
import subprocess
import sys

import pandas as pd
import pytest
from benches import Study

from cd4ml_nb.core.files import read_json, write_json

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
