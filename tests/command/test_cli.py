"""The command line at the seam: last line, exit code, what is shown, and every bad configuration by
its id."""

import functools
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from projects import ROOT, copy_parts, edited, notebook, write_notebook, write_scenario
from runs import PAPERMILL, Place
from waiting import wait_for

from cd4ml_nb.artefacts.run_record import StageRecord
from cd4ml_nb.command import console, doctor, pipeline_commands
from cd4ml_nb.command.cli import main
from cd4ml_nb.engine.stage_run import Event
from cd4ml_nb.planning.plan import make_plan
from cd4ml_nb.runs.outcome import Outcome

REFUSALS: list[float] = []             # seconds of the processor of each
COMMAND = [
    sys.executable,
    '-c',
    'import sys; from cd4ml_nb.command.cli import main; sys.exit(main())',
]
SMALL = """\
name: small
title: A small problem
task: regression
data: {source: data.csv}
target: {column: y}
gates:
  - {metric: r2, min: 0.0}
"""


def copied(folder: Path) -> Path:
    """A project of its own in `folder`, with one scenario and its data."""
    copy_parts(folder, 'notebooks', 'cd4ml_nb', 'pipeline.yaml', 'settings.ini')
    write_scenario(folder, 'small', SMALL)
    rows = [f'{k % 7},{"ab"[k % 2]},{k % 7 * 10 + k % 3}' for k in range(120)]
    (folder / 'data.csv').write_text('\n'.join(['x,kind,y', *rows]) + '\n')
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(copied(tmp_path))
    return tmp_path


def last_line(capsys) -> str:
    captured = capsys.readouterr()
    assert 'Traceback' not in captured.out + captured.err
    return captured.err.rstrip('\n').split('\n')[-1]


@pytest.fixture(scope='module', autouse=True)
def refusals_are_quick():
    """Half of the refusals take less than three seconds of the processor, ten times what they do
    (V8)."""
    REFUSALS.clear()
    yield
    if REFUSALS:
        assert statistics.median(REFUSALS) < 3


def refused(capsys, args: list[str], code: str, *words: str, exit_code: int = 2) -> str:
    """Run a command that must be refused before anything is done, and check how it ends (V6, V7,
    V8)."""
    begun = time.process_time()
    assert main(args) == exit_code
    REFUSALS.append(time.process_time() - begun)
    line = last_line(capsys)
    assert line.startswith(f'ERROR {code} '), line
    assert not [word for word in words if word not in line], line
    assert not list(Path('products').rglob('*.parquet'))
    return line


def with_scenario(project: Path, old: str, new: str) -> None:
    """The small scenario with a part of its text replaced."""
    assert old in SMALL
    (project / 'scenarios' / 'small.yaml').write_text(SMALL.replace(old, new))


RUN = ['run', '-s', 'small']


# ---- bad configuration, by id

@pytest.mark.parametrize(('new', 'words'), [
    ('sede: 3\ntitle:', ["unknown key 'sede'", "did you mean 'seed'?", 'scenarios/small.yaml:2']),
    (
        'evaluate: {confidense: 0.9}\ntitle:',
        ["did you mean 'confidence'?", 'scenarios/small.yaml:2'],
    ),
    ('columns: {x: {tipe: number}}\ntitle:', ["did you mean 'type'?", 'scenarios/small.yaml:2']),
])
def test_C01_unknown_key_in_a_scenario(project, capsys, new, words):
    with_scenario(project, 'title:', new)
    refused(capsys, RUN, 'C01', *words)


def test_C01_thershold_in_a_gate(project, capsys):
    with_scenario(project, 'min: 0.0', 'thershold: 0.0')
    refused(capsys, RUN, 'C01', 'thershold', 'scenarios/small.yaml:7')


def test_C01_unknown_key_in_the_settings(project, capsys):
    (project / 'settings.ini').write_text('[DEFAULT]\ntrails = 3\n')
    refused(capsys, RUN, 'C01', 'settings.ini', "did you mean 'trials'?")


@pytest.mark.parametrize('value', ['"0.8"', 'true', '[1]', '1.5', '"None"'])
def test_C02_wrong_type_is_not_coerced(project, capsys, value):
    with_scenario(project, 'title:', f'seed: {value}\ntitle:')
    refused(capsys, RUN, 'C02', 'seed', 'integer', 'got', 'scenarios/small.yaml:2')


@pytest.mark.parametrize('value', ['1e5', '0x10', '1_000', 'many', ''])
def test_C02_settings_take_plain_numbers_only(project, capsys, value):
    (project / 'settings.ini').write_text(f'[DEFAULT]\ntrials = {value}\n')
    refused(capsys, RUN, 'C02', 'settings.ini', 'trials')


@pytest.mark.parametrize('value', [
    'trials=-3',
    'sweep.trials=0',
    'split.seed=-1',
    'ingest.rows=-1',
    'trials=NaN',
])
def test_C03_numbers_out_of_range_on_the_command_line(project, capsys, value):
    line = refused(capsys, [*RUN, '-p', value], 'C03')
    assert value.split('=')[0].split('.')[-1] in line


@pytest.mark.parametrize('text', [
    'search: {rounds: -3}',
    'search: {fixed: {learning_rate: .nan}}',
    'search: {fixed: {learning_rate: -1}}',
    'search: {space: {learning_rate: {low: 0, high: 2}}}',
    'split: {holdout: 0}',
    'evaluate: {replicates: 0}',
])
def test_C03_numbers_out_of_range_in_a_scenario(project, capsys, text):
    with_scenario(project, 'title:', f'{text}\ntitle:')
    assert main(RUN) == 2
    assert re.match(r'ERROR C\d\d scenarios/small\.yaml:2: ', last_line(capsys))


@pytest.mark.parametrize('text', [
    'search: {fixed: {max_dpeth: 3}}',
    'search: {space: {max_dpeth: {low: 1, high: 3, integer: true}}}',
])
def test_C04_typo_in_a_parameter_of_xgboost(project, capsys, text):
    with_scenario(project, 'title:', f'{text}\ntitle:')
    refused(capsys, RUN, 'C04', "did you mean 'max_depth'?", 'scenarios/small.yaml:2')


@pytest.mark.parametrize(('text', 'words'), [
    (
        'search: {fixed: {monotone_constraints: [1, 0]}}', ["is written as 'monotone' of a column"],
    ),
    (
        'search: {fixed: {interaction_constraints: "[[0, 1]]"}}',
        ['not supported here', 'constraints'],
    ),
    (
        'search: {space: {booster: {choice: [gbtree, dart]}}}',
        ['not supported here', 'search.algorithms'],
    ),
    ('search: {fixed: {booster: gblinear}}', ['not supported here', 'search.algorithms']),
    ('search: {fixed: {multi_strategy: multi_output_tree}}', ['not supported here']),
    ('search: {fixed: {eta: 0.1}}', ["is written as 'learning_rate'"]),
    ('search: {fixed: {quantile_alpha: 0.9}}', ["is written as 'target.quantile'"]),
    ('search: {fixed: {feature_weights: 1}}', ['not supported here', 'remove it']),
    ('search: {fixed: {n_estimators: 100}}', ["is written as 'search.rounds'"]),
    ('search: {fixed: {objective: "rank:ndcg"}}', ['not supported here', 'reg:squarederror']),
])
def test_C04_a_parameter_that_xgboost_has_is_not_called_unknown(project, capsys, text, words):
    with_scenario(project, 'title:', f'{text}\ntitle:')
    line = refused(capsys, RUN, 'C04', *words, 'scenarios/small.yaml:2')
    assert 'has no parameter' not in line


@pytest.mark.parametrize(('gate', 'word'), [
    ('{metric: r2}', 'no threshold'),
    ('{metric: r3, min: 0.5}', "unknown metric 'r3'"),
    ('{metric: mae, min: 5}', 'wrong way'),
    ('{metric: auc, min: 0.5}', 'does not apply'),
    ('{metric: mae, by: 0.1}', 'add beats: naive'),
    ('{metric: mae, beats: naive, max: 9}', 'write a gate of its own'),
    ('{metric: bias, beats: naive}', 'best at zero'),
])
def test_C05_gates_that_could_not_close(project, capsys, gate, word):
    with_scenario(project, '{metric: r2, min: 0.0}', gate)
    refused(capsys, RUN, 'C05', word)


def test_C06_duplicate_keys_name_both_lines(project, capsys):
    with_scenario(project, 'title:', 'name: other\ntitle:')
    refused(capsys, RUN, 'C06', "key 'name' stands twice", 'lines 1 and 2')


@pytest.mark.parametrize('text', [
    '\tseed: 1',
    'seed: 010',
    'seed: 1:30',
    'a: &a [1]\nb: [*a, *a]',
    '!!python/object/apply:os.system ["touch owned"]',
    'owner: !!python/name:os.system',
    '- a\n- b',
    'a: ' + '[' * 3000,
])
def test_C07_yaml_that_means_something_else(project, capsys, text):
    (project / 'scenarios' / 'small.yaml').write_text(text + '\n')
    refused(capsys, RUN, 'C07', 'scenarios/small.yaml')
    assert not (project / 'owned').exists()


def test_C07_no_is_a_text_and_not_false(project, capsys):
    with_scenario(project, 'title:', 'columns: {x: {missing: no}}\ntitle:')
    refused(capsys, RUN, 'C02', 'missing', "'no'")


def test_C08_templates_are_not_evaluated(project, capsys):
    text = "{{cycler.__init__.__globals__.os.popen('touch owned').read()}}"
    with_scenario(project, 'A small problem', '"{{env}}"')
    refused(capsys, RUN, 'C08', 'scenarios/small.yaml:2')
    (project / 'scenarios' / 'small.yaml').write_text(SMALL)
    (project / 'settings.ini').write_text(f'[DEFAULT]\nproducts = {text}\n')
    refused(capsys, RUN, 'C08', 'settings.ini:products')
    assert not (project / 'owned').exists()


def test_C08_templates_on_the_command_line(project, capsys):
    assert main([*RUN, '-p', 'train.tracking={{env}}']) == 2
    assert 'templates' in last_line(capsys)


@pytest.mark.parametrize(('name', 'value', 'words'), [
    ('CD4ML_TRAILS', '3', ["did you mean 'CD4ML_TRIALS'?"]),
    ('CD4ML_ENV', 'tema', ["did you mean 'team'?"]),
])
def test_C09_environment_variables_with_a_typo(project, capsys, monkeypatch, name, value, words):
    monkeypatch.setenv(name, value)
    refused(capsys, RUN, 'C09', *words)


def test_C09_an_empty_variable_is_no_default(project, capsys, monkeypatch):
    monkeypatch.setenv('CD4ML_TRIALS', '')
    refused(capsys, RUN, 'C02', 'CD4ML_TRIALS')


def test_C09_unknown_environment_by_option(project, capsys):
    refused(capsys, ['--env', 'sagemakr', *RUN], 'C09', "did you mean 'sagemaker'?")


@pytest.mark.parametrize('path', [
    '../../escaped/ingest/table.parquet',
    'products/ploomber/other/table.parquet',
    'products/ploomber/ingest/../../../x/table.parquet',
])
def test_C10_products_outside_their_folder(project, capsys, path):
    text = (
        (project / 'pipeline.yaml')
        .read_text()
        .replace('products/ploomber/ingest/table.parquet', path)
    )
    (project / 'pipeline.yaml').write_text(text)
    assert main(RUN) == 2
    line = last_line(capsys)
    assert line.startswith('ERROR C10 pipeline.yaml') and 'ingest' in line
    assert not (project.parent.parent / 'escaped').exists()


def test_C10_a_scenario_or_data_that_is_not_there(project, capsys):
    refused(capsys, ['run', '-s', 'smal'], 'C10', "did you mean 'small.yaml'?")
    with_scenario(project, 'data.csv', 'date.csv')
    refused(capsys, RUN, 'C10', "did you mean 'data.csv'?")


def test_C10_outside_a_project(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    refused(capsys, ['status'], 'C10', 'no pipeline.yaml')


def test_C11_typo_in_a_key_of_the_pipeline(project, capsys):
    path = project / 'pipeline.yaml'
    lines = path.read_text().split('\n')
    at = next(k for k, line in enumerate(lines) if line.strip().startswith('product:'))
    lines[at] = lines[at].replace('product:', 'prodcut:')
    path.write_text('\n'.join(lines))
    refused(capsys, RUN, 'C11', "did you mean 'product'?", f'pipeline.yaml:{at + 1}')


def test_C12_circular_and_missing_upstreams(project, capsys):
    path = project / 'pipeline.yaml'
    text = (project / 'pipeline.yaml').read_text()
    path.write_text(text.replace('upstream: [ingest]', 'upstream: [ingest, report]', 1))
    refused(capsys, RUN, 'C12', 'validate', '→')
    path.write_text(text.replace('upstream: [ingest]', 'upstream: [ingets]', 1))
    refused(capsys, RUN, 'C12', "did you mean 'ingest'?")


@pytest.mark.parametrize('name', ['small', 'scenarios/small.yaml', 'scenarios/small.yml'])
def test_C10_scenarios_that_differ_only_in_the_ending_are_refused_by_both_names(
    project, capsys, name
):
    (project / 'scenarios' / 'small.yml').write_text(SMALL)
    refused(capsys, ['run', '-s', name], 'C10', 'scenarios/small.', 'small.yaml', 'small.yml')
    assert not (project / 'products/small').exists()
    assert main(['status']) == 0
    assert capsys.readouterr().out.count('would share products') == 2


@pytest.mark.parametrize('command', [
    ['run', '-s'],
    ['status', '-s'],
    ['why', '-s'],
    ['compare', '-s'],
    ['trend', '-s'],
    ['ui', '-s'],
    ['check', '-s'],
])
def test_C10_a_copied_scenario_does_not_take_over_the_products_of_the_first(
    project, capsys, command
):
    (project / 'scenarios' / 'copy.yaml').write_text(SMALL)
    line = refused(capsys, [*command, 'copy'], 'C10', "'copy'", "'small'", 'write name: copy')
    assert line.startswith('ERROR C10 scenarios/copy.yaml:1: ') and 'rename the file' not in line
    assert not (project / 'products/small').exists()
    (project / 'scenarios' / 'small.yaml').unlink()
    refused(capsys, [*command, 'copy'], 'C10', 'write name: copy, or rename the file to small.yaml')


def test_C10_a_stage_on_a_copied_scenario_is_refused_by_papermill_too(project):
    (project / 'scenarios' / 'copy.yaml').write_text(SMALL)
    done = Place(project).run(
        'notebooks/stages/10_ingest.ipynb',
        'out.ipynb',
        '-p',
        'scenario',
        'scenarios/copy.yaml',
        cwd=project,
        command=PAPERMILL,
    )
    assert (
        done.returncode
        and 'C10 scenarios/copy.yaml:1: ' in done.stderr
        and 'write name: copy' in done.stderr
    )
    assert not list((project / 'products').glob('small/*/*/*.parquet'))


def test_C10_a_scenario_that_is_not_named_like_its_file_is_told_beside_the_others(project, capsys):
    (project / 'scenarios' / 'copy.yaml').write_text(SMALL)
    assert main(['status']) == 0
    assert 'C10 scenarios/copy.yaml:1: ' in capsys.readouterr().out


@pytest.mark.parametrize('space', [
    '{low: 3, high: 1}',
    '{low: 1, high: 1}',
    '{choice: []}',
    '{low: 0, high: 1, log: true}',
    '{low: 1}',
    '{choice: [{a: 1}]}',
    '{low: 1, high: 2, choice: [1]}',
])
def test_C15_search_spaces_that_hold_nothing(project, capsys, space):
    with_scenario(project, 'title:', f'search: {{space: {{reg_lambda: {space}}}}}\ntitle:')
    refused(capsys, RUN, 'C15', 'search.space.reg_lambda', 'scenarios/small.yaml:2')


def test_C16_a_missing_seed_is_the_default_one_and_recorded(project):
    plan = make_plan('scenarios/small.yaml')
    assert {step.params['seed'] for step in plan.steps.values() if 'seed' in step.params} == {0}


# ---- notebooks that cannot be run, by id

def test_N01_a_module_older_than_its_notebook(project, capsys):
    path = project / 'notebooks' / 'core/files.ipynb'
    path.write_text(path.read_text().replace('of a file\'s bytes', 'of the bytes of a file'))
    refused(capsys, RUN, 'N01', 'run export: 1 file differs', 'files.py')


def hand_edited(project: Path) -> None:
    """A helper of the split is edited in its module, and its notebook saved afterwards, as
    JupyterLab does by itself."""
    path = project / 'cd4ml_nb' / 'rows/split.py'
    path.write_text(path.read_text() + '\nX = 1\n')
    os.utime(path, (time.time() - 60, time.time() - 60))
    page = project / 'notebooks' / 'rows/split.ipynb'
    os.utime(
        page,
        (
            (time.time(), time.time())
            if (project / '.git').exists()
            else (time.time() - 600, time.time() - 600)
        ),
    )


def assert_told_how_to_keep_it(text: str) -> None:
    number, cell = re.search(
        r'^--- notebooks/rows/split.ipynb, cell (\d+) \((\w+)\)$', text, re.MULTILINE
    ).groups()
    cells = json.loads((ROOT / 'notebooks' / 'rows/split.ipynb').read_text())['cells']
    assert cells[int(number) - 1]['id'] == cell
    assert '\n+++ cd4ml_nb/rows/split.py\n' in text and '\n+X = 1\n' in text
    assert (
        f'put the lines with + into notebooks/rows/split.ipynb, cell {number} ({cell}), then'
        ' make export'
        in text
    )


@pytest.mark.parametrize('git', [False, True])
def test_N02_a_module_edited_by_hand_is_shown_with_the_cell_it_belongs_to(project, capsys, git):
    if git:
        for words in (
            ['init', '-q'],
            ['add', '.'],
            ['-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '-qm', 'first'],
        ):
            subprocess.run(['git', *words], cwd=project, check=True)
    hand_edited(project)
    assert main(RUN) == 2
    err = capsys.readouterr().err
    assert (
        err.splitlines()[-1].startswith('ERROR N02 cd4ml_nb/rows/split.py:')
        and 'Traceback' not in err
    )
    assert_told_how_to_keep_it(err)
    line = int(err.splitlines()[-1].split(':')[1])
    lines = (project / 'cd4ml_nb' / 'rows/split.py').read_text().splitlines()
    assert lines[line - 2].startswith('# %% ')


def test_N02_the_doctor_shows_a_module_edited_by_hand(project, capsys, monkeypatch):
    monkeypatch.setattr(
        'cd4ml_nb.command.doctor.check_imports', lambda packages: doctor.Check('imports', 'ok', '')
    )
    hand_edited(project)
    assert main(['doctor']) == 2
    assert_told_how_to_keep_it(capsys.readouterr().out)


def test_N01_a_notebook_that_was_edited_is_exported_whatever_the_files_times_say(project, capsys):
    for words in (
        ['init', '-q'],
        ['add', '.'],
        ['-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '-qm', 'first'],
    ):
        subprocess.run(['git', *words], cwd=project, check=True)
    path = project / 'notebooks' / 'core/files.ipynb'
    path.write_text(path.read_text().replace('of a file\'s bytes', 'of the bytes of a file'))
    os.utime(path, (time.time() - 600, time.time() - 600))
    assert refused(capsys, RUN, 'N01', 'files.py').endswith(' — make export')
    assert main(['why', 'sweep', '-s', 'small']) == 0
    note = 'files.py not yet as the notebooks say: make export first'
    assert note in capsys.readouterr().out


def test_N01_a_module_that_no_notebook_writes_is_not_answered_with_an_export(project, capsys):
    (project / 'cd4ml_nb' / 'mine.py').write_text('X = 1\n')
    assert 'make export' not in refused(capsys, RUN, 'N01', 'cd4ml_nb/mine.py', 'default_exp mine')


def test_N03_merge_conflict_markers(project, capsys):
    path = project / 'notebooks' / 'stages/12_split.ipynb'
    path.write_text('<<<<<<< HEAD\n' + path.read_text())
    refused(capsys, RUN, 'N03', 'notebooks/stages/12_split.ipynb', 'nbdev-fix')


def edit_page(project: Path, name: str, change) -> None:
    path = project / 'notebooks' / name
    page = json.loads(path.read_text())
    change(page)
    path.write_text(json.dumps(page))


@pytest.mark.parametrize('n', [0, 2])
def test_N05_missing_or_doubled_parameters_tag(project, capsys, n):
    def change(page):
        cells = [c for c in page['cells'] if c['cell_type'] == 'code']
        for cell in cells:
            cell['metadata'] = {}
        for cell in cells[1:1 + n]:
            cell['metadata'] = {'tags': ['parameters']}
    edit_page(project, 'stages/12_split.ipynb', change)
    refused(capsys, RUN, 'N05', f'{n} cells are tagged', 'notebooks/stages/12_split.ipynb')


@pytest.mark.parametrize(('value', 'words'), [
    ('trails=3', ["unknown parameter 'trails'", "did you mean 'trials'?"]),
    ('swep.trials=3', ["unknown stage 'swep'", "did you mean 'sweep'?"]),
    ('sweep.trails=3', ["did you mean 'trials'?"]),
    ('trials', ['no assignment']),
    ('split.trials=3', ["unknown parameter 'trials'"]),
    ('x=1\nimport os', ['unknown parameter']),
])
def test_N06_unknown_parameters(project, capsys, value, words):
    refused(capsys, [*RUN, '-p', value], 'N06', *words)


def test_N06_unknown_stages(project, capsys):
    refused(capsys, [*RUN, '--until', 'swep'], 'N06', "did you mean 'sweep'?")
    refused(capsys, [*RUN, '--force', 'swep'], 'N06', "did you mean 'sweep'?")
    refused(capsys, ['why', 'swep', '-s', 'small'], 'N06', "did you mean 'sweep'?")


# ---- how a command ends

@pytest.mark.parametrize(('args', 'words'), [
    (['rn'], ["no such command 'rn'", "did you mean 'run'?"]),
    (['run', '--forse', 'x'], ['--forse', "did you mean '--force'?"]),
    (['data', 'lst'], ['cd4ml data', "did you mean 'ls'?"]),
    (['data', 'run'], ['known: describe, lineage, ls']),
    (['new', 'x'], ["'--data'"]),
    (['lab', '--port', 'x'], ['--port']),
    (['run', 'extra'], ['extra']),
    (['new'], ['missing argument']),
])
def test_V6_what_the_parser_refuses_ends_in_the_same_form(project, capsys, args, words):
    refused(capsys, args, 'USAGE', *words)


def test_no_command_shows_the_help(capsys):
    assert main([]) == 0 and main(['data']) == 0 and main(['--help']) == 0
    assert 'Exit codes: 0 done' in capsys.readouterr().out


def test_V6_our_own_bug_leaves_its_traceback_in_a_file(project, capsys, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError('seven\nlines \x1b[31m')
    monkeypatch.setattr(pipeline_commands, 'make_plan', broken)
    assert main(RUN) == 1
    line = last_line(capsys)
    assert line.startswith('ERROR BUG ZeroDivisionError: seven — see products/.logs/')
    assert 'in broken' in (project / line.rsplit(' ', 1)[-1]).read_text()


def test_V6_control_characters_do_not_reach_the_terminal(project, capsys):
    assert '\x1b' not in refused(capsys, ['run', '-s', 'a\x1b[31mb\nc'], 'C10')


def test_V7_a_refused_model_ends_with_3_and_names_the_gate(project, capsys, monkeypatch):
    def refused_run(plan, force, until, listen, *_):
        folder = plan.steps['register'].folder
        folder.mkdir(parents=True)
        gates = [
            {'metric': 'r2', 'passed': True, 'reason': 'fine'},
            {'metric': 'mae', 'passed': False, 'reason': 'mae is 9, above the maximum 5'},
        ]
        (folder / 'registration.json').write_text(json.dumps({'accepted': False, 'gates': gates}))
        return Outcome(
            'r',
            'small',
            {'register': StageRecord(status='done')},
            False,
            'refused: mae',
            plan.steps['report'].folder / 'report.html',
            61.0,
        )
    monkeypatch.setattr(pipeline_commands, 'run_plan', refused_run)
    assert main(RUN) == 3
    captured = capsys.readouterr()
    assert re.search(
        r'verdict  refused: mae\nreport   products/small/report/\w+/report.html\n'
        r'share    cd4ml publish FOLDER [^\n]*\ntime     1 min 1 s, 1 stage run, 0 unchanged',
        captured.out,
    )
    assert re.match(
        r'ERROR GATE scenarios/small.yaml:gates:mae: mae is 9, above the maximum 5 — read'
        r' products/small/report',
        captured.err.split('\n')[-2],
    )


def test_V7_interrupted_by_a_signal(project, capsys, monkeypatch):
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        struck = functools.partial(os.kill, os.getpid(), number)
        monkeypatch.setattr(pipeline_commands, 'make_plan', lambda *_, struck=struck: struck())
        assert main([*RUN, '-p', 'seed=1 2']) == code
        assert last_line(capsys) == "stopped; resume with: cd4ml run -s small -p 'seed=1 2'"


def started(args: list[str], cwd: Path, **environment: str) -> subprocess.Popen:
    env = (
        {k: v for k, v in os.environ.items() if not k.startswith('CD4ML_')}
        | {'PYTHONUNBUFFERED': '1'}
        | environment
    )
    return subprocess.Popen(
        [*COMMAND, *args],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_reader_that_goes_away_is_no_error(project):
    done = subprocess.run(
        f'"{sys.executable}" -c "import sys; from cd4ml_nb.command.cli import main;'
        ' sys.exit(main([\'status\']))" | true',
        shell=True,
        cwd=project,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and 'Traceback' not in done.stderr


def test_light_commands_do_not_load_the_scientific_stack(project):
    heavy = [
        'pandas', 'mlflow', 'xgboost', 'papermill', 'sklearn', 'optuna', 'matplotlib', 'jinja2',
    ]
    code = (
        'import sys; from cd4ml_nb.command.cli import main; main(["--version"]); main(["status"]);'
        f' print([m for m in {heavy} if m in sys.modules])'
    )
    assert (
        subprocess.run([sys.executable, '-c', code], cwd=project, capture_output=True, text=True)
        .stdout.rstrip()
        .endswith('[]')
    )


# ---- what is shown

def test_status_and_why_of_a_scenario_that_never_ran(project, capsys):
    assert main(['status', '-s', 'small']) == 0
    out = capsys.readouterr().out
    assert out.count('never') == out.count('no run of it yet') == 10 and 'report' in out
    assert main(['why', 'sweep', '-s', 'small']) == 0
    assert capsys.readouterr().out == 'no run of it yet\n'


def test_status_shows_a_broken_scenario_beside_the_others(project, capsys):
    (project / 'scenarios' / 'broken.yaml').write_text('name: [')
    assert main(['status']) == 0
    out = capsys.readouterr().out
    assert 'problem' in out and 'C07' in out and 'never run' in out


def test_a_scenario_can_be_named_from_a_folder_below(project, monkeypatch, capsys):
    monkeypatch.chdir(project / 'scenarios')
    for name in (
        'small.yaml',
        'small',
        './small.yaml',
        'scenarios/small.yaml',
        str(project / 'scenarios' / 'small.yaml'),
    ):
        assert main(['why', 'ingest', '-s', name]) == 0, name


def test_plain_lines_when_nobody_watches(capsys):
    with console.watching(['ingest', 'sweep'], every=0.05) as listen:
        listen(Event('kept', 'ingest'))
        listen(Event('start', 'sweep', 'params seed: 0 → 1'))
        listen(Event('cell', 'sweep', 'cell 9 of 12: Run'))
        listen(Event('progress', 'sweep', 'trial 3 of 20'))
        time.sleep(0.15)
        listen(Event('done', 'sweep', seconds=0.2))
    lines = capsys.readouterr().out.split('\n')
    assert lines[:2] == ['ingest     unchanged', 'sweep      started: params seed: 0 → 1']
    assert re.fullmatch(
        r'sweep      running for 0\.\d s: cell 9 of 12: Run · trial 3 of 20', lines[2]
    )
    assert lines[-2] == 'sweep      done in 0.2 s'


def test_a_live_table_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(console, 'on_terminal', lambda: True)
    with console.watching(['ingest', 'sweep']) as listen:
        listen(Event('start', 'ingest', 'no run of it yet'))
        listen(Event('done', 'ingest', seconds=2.0))
    out = capsys.readouterr().out
    assert 'ingest' in out and '2.0 s' in out and 'sweep' in out


def test_quiet_shows_nothing(capsys):
    with console.watching(['ingest'], quiet=True) as listen:
        listen(Event('start', 'ingest'))
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize(('value', 'watched'), [
    ('', True),
    ('true', False),
    ('1', False),
    ('false', True),
])
def test_CI_is_no_terminal(monkeypatch, value, watched):
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True, raising=False)
    monkeypatch.setenv('CI', value)
    monkeypatch.setenv('TERM', 'xterm')
    assert console.on_terminal() is watched


def test_the_catalogue_before_anything_was_ingested(project, capsys):
    (project / 'scenarios' / 'twin.yaml').write_text(SMALL.replace('small', 'twin'))
    assert main(['data', 'ls']) == 0
    out = capsys.readouterr().out
    assert 'not ingested' in out and 'small, twin' in out and out.count('data.csv') == 1
    refused(capsys, ['data', 'describe', 'smal'], 'C10', "did you mean 'small'?")
    refused(capsys, ['data', 'describe', 'small'], 'FIRST', 'cd4ml run -s small --until ingest')


# ---- a real stage, run, interrupted and run again

def interrupted(project: Path, engine: str, ready) -> tuple[int, str, list[psutil.Process]]:
    """Interrupt a run once it is `ready`: exit code, last line, and the processes that it left."""
    running = started([*RUN, '--until', 'ingest', '--engine', engine], project)
    assert 'started: no run of it yet' in running.stdout.readline()
    wait_for(lambda: ready(running.pid), words='the run to be ready')
    family = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    _, left = psutil.wait_procs(family, timeout=10)
    return running.returncode, err.rstrip('\n').split('\n')[-1], left


def has_a_page(pid: int) -> bool:
    """Whether a run's page is in a process of its own: a child of the fork server, which is a child
    of the run."""
    return any(p.children() for p in psutil.Process(pid).children())


STOPPED = 'stopped; resume with: cd4ml run -s small --until ingest --engine '


def test_V7_an_interrupted_run_ends_its_processes(project):
    assert interrupted(project, 'kernel', has_a_page) == (130, STOPPED + 'kernel', [])


def test_V7_a_run_interrupted_before_its_first_page_started_says_so_last(project):
    assert interrupted(project, 'warm', lambda pid: time.sleep(0.5) or True) == (
        130,
        STOPPED + 'warm',
        [],
    )


def test_a_stage_is_run_and_remembered(project, capsys):
    facts = 'owner: Sales, licence: CC0-1.0, published: 2024-02-03'
    with_scenario(project, '{source: data.csv}', f'{{source: data.csv, {facts}}}')
    running = started([*RUN, '--until', 'ingest'], project)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert re.search(r'ingest     done in .*\ntime     .* 1 stage run, 0 unchanged', out)
    assert (project / 'products' / 'index.html').is_file()

    assert main([*RUN, '--until', 'ingest']) == 0
    assert 'ingest     unchanged' in capsys.readouterr().out
    assert main(['why', 'ingest', '-s', 'small']) == 0
    assert 'is done' in capsys.readouterr().out
    assert main(['status', '-s', 'small']) == 0
    assert 'done' in capsys.readouterr().out
    assert main(['status']) == 0
    assert 'partial' in capsys.readouterr().out
    assert main(['data', 'describe', 'small']) == 0
    out = capsys.readouterr().out
    for fact in ('owner +Sales', 'licence +CC0-1.0', 'published +2024-02-03', 'n_rows +120'):
        assert re.search(f'^{fact} *$', out, re.MULTILINE), fact
    assert re.search(r'kind\s+category\s+feature', out) and 'data_hash' in out
    assert re.search(r'^y +number +target +0 +\d+ +0 +62 *$', out, re.MULTILINE), 'the schema'
    sample = r'^kind +x +y *\na +0 +0 *\nb +1 +11 *$'
    assert re.search(sample, out, re.MULTILINE), 'the first rows'
    assert main(['data', 'ls']) == 0
    out = capsys.readouterr().out
    assert re.search(r'data +data.csv +Sales +CC0-1.0 +120 +[\d,]+ d old +small', out)

    edited(project / 'scenarios/small.yaml', 'title:', 'undeclared: ignore\ntitle:')
    (project / 'data.csv').write_text((project / 'data.csv').read_text() + '1,a,3\n')
    assert main(['why', 'ingest', '-s', 'small']) == 0
    assert 'data data.csv changed' in capsys.readouterr().out


# ---- hidden state

def saved(path: Path, *cells: tuple[str, int, str]) -> str:
    """Write a notebook as it was saved, with the count and the result of each cell; its path."""
    content = notebook(*[source for source, _, _ in cells])
    for cell, (_, count, shown) in zip(content['cells'], cells, strict=True):
        result = {'output_type': 'execute_result', 'data': {'text/plain': shown}, 'metadata': {}}
        cell['execution_count'] = count
        cell['outputs'] = [result | {'execution_count': count}] if shown else []
    write_notebook(path, content)
    return str(path)


def test_N08_check_ends_with_0_for_a_notebook_in_order_and_with_3_for_another(tmp_path, capsys):
    good = saved(tmp_path / 'good.ipynb', ('rows = 2', 1, ''), ('rows + 1', 2, '3'))
    assert main(['check', good]) == 0
    assert capsys.readouterr().out == 'no hidden state\n'
    bad = saved(tmp_path / 'bad.ipynb', ('rows = 2', 2, ''), ('rows + 1', 1, '3'))
    assert main(['check', good, bad]) == 3
    printed = capsys.readouterr()
    assert 'no hidden state' not in printed.out
    assert 'cell 2 ran before cell 1, which stands above it' in printed.out
    last = printed.err.splitlines()[-1]
    assert last.startswith(f'ERROR N08 {bad}: 2 signs of hidden state, first: ')
    assert last.endswith(' — restart the kernel, run all cells and save')


@pytest.mark.slow
def test_N08_check_with_a_rerun_finds_a_result_that_a_fresh_kernel_does_not_give(tmp_path, capsys):
    path = saved(tmp_path / 'old.ipynb', ('rows = 2', 1, ''), ('rows + 1', 2, '4'))
    assert main(['check', path]) == 0
    assert main(['check', path, '--rerun']) == 3
    printed = capsys.readouterr()
    assert 'shows `4`, a fresh run `3`' in printed.out and 'ERROR N08 ' in printed.err


# ---- a stage of your own, as the tour says

OWN = [
    '# Shelf\n\n> The rows that a person wants to look at first.',
    (
        "scenario = 'scenarios/used_cars.yaml'\nupstream = None\nproduct = None",
        {'tags': ['parameters']},
    ),
    'from cd4ml_nb.core.files import write_json\n'
    'from cd4ml_nb.columns.table import read_table\n'
    'from cd4ml_nb.runs.paths import stage_paths',
    '## Run',
    "#| pipeline\nupstream, product = stage_paths('shelf', scenario, upstream, product)",
    "#| pipeline\nwrite_json(product['shelf'], len(read_table(upstream['split']['train'])))",
]


@pytest.mark.slow
def test_a_stage_of_your_own_runs_between_split_and_sweep(project):
    with_scenario(project, 'title:', 'columns: {x: {leak_ok: known before}}\ntitle:')
    write_notebook(project / 'notebooks/stages/13_shelf.ipynb', notebook(*OWN))
    place = 'products/ploomber/shelf'
    task = (
        '  - name: shelf\n    source: notebooks/stages/13_shelf.ipynb\n    upstream: [split]\n'
        f'    product: {{nb: {place}/page.ipynb, shelf: {place}/shelf.json}}\n'
        '    params: {scenario: scenarios/used_cars.yaml}\n\n'
    )
    path = project / 'pipeline.yaml'
    reads_split = 'upstream: [split, features]\n    product: {nb: products/ploomber/sweep'
    edited(path, reads_split, reads_split.replace('split,', 'split, shelf,'))
    edited(path, 'evaluate, package, register]', 'evaluate, package, register, shelf]')
    edited(path, '  - name: sweep', f'{task}  - name: sweep')
    done = Place(project).run(*RUN, '--until', 'shelf', cwd=project)
    assert done.returncode == 0, done.stderr
    assert re.search(r'shelf +done in .*\ntime .* 4 stages run', done.stdout), done.stdout
    rows = Place(project).json('small', 'shelf', 'shelf.json')
    assert rows == Place(project).json('small', 'split', 'split.json')['n']['train']
    plan = make_plan('scenarios/small.yaml')
    assert list(plan.steps).index('shelf') == 4 and 'shelf' in plan.steps['report'].upstream


# ---- lab and ui

def test_I18_a_taken_port_names_its_owner(project, capsys):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        for command in ('lab', 'ui'):
            refused(
                capsys,
                [command, '--port', str(port)],
                'I18',
                f'{port} in use by PID {os.getpid()}',
                'use --port',
                exit_code=4,
            )


def test_ui_of_a_remote_store_is_the_servers_own(project, capsys, monkeypatch):
    monkeypatch.setenv('CD4ML_TRACKING_URI', 'https://ann:secret@mlflow.example')
    assert 'secret' not in refused(capsys, ['ui'], 'UI', 'open https://ann:***@mlflow.example')


def test_ui_names_a_comparison_on_the_pages_of_a_remote_store(project, capsys, monkeypatch):
    from cd4ml_nb.core.files import write_json
    from cd4ml_nb.core.settings import load_settings
    from cd4ml_nb.runs.identities import outbox
    from cd4ml_nb.tracking.queue import store_name
    from cd4ml_nb.tracking.views import Saved
    monkeypatch.setenv('CD4ML_TRACKING_URI', 'https://ann:secret@mlflow.example/team/')
    monkeypatch.setenv('CD4ML_PRODUCTS', str(project / 'products'))
    refused(capsys, ['ui', '--compare', 'models'], 'FIRST', 'nothing is compared yet')
    refused(capsys, ['ui', '--compare', 'modles'], 'C02', "did you mean 'models'")
    here = load_settings()
    saved = Saved(store_name(here), 'cars', '7', 'cd4ml-models', 'Models', 0)
    write_json(outbox(here) / 'views/cars/cd4ml-models.json', vars(saved))
    assert main(['ui', '--compare', 'models']) == 0
    assert capsys.readouterr().out == (
        'cars, Models: https://mlflow.example/team/#/experiments/7/runs'
        '?viewStateShareKey=cd4ml-models&workflowType=machine_learning\n'
    )


def test_T36_T37_ui_prints_the_training_view_and_starts_no_runner_of_jobs(
    project, capsys, monkeypatch
):
    from cd4ml_nb.lab import servers
    begun = []

    def serve(command, root, environment, meanwhile):
        begun.append((command, environment))
        return 0
    monkeypatch.setattr(servers, 'serve', serve)
    port = servers.free_port()
    assert main(['ui', '--port', str(port)]) == 0
    assert (
        capsys.readouterr().out.strip()
        == f'http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning'
    )
    (command, environment), = begun
    assert command[command.index('--workers') + 1] == '1'
    assert environment['MLFLOW_SERVER_ENABLE_JOB_EXECUTION'] == 'false'


def answered(url: str, seconds: float = 60) -> tuple[int, str]:
    """The status and body of an address, as soon as something answers there."""
    until = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors='replace')
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def test_T1_lab_opens_notebooks_through_the_contents_api(project):
    from cd4ml_nb.lab.servers import free_port
    port = free_port()
    running = started(
        ['lab', '--no-browser', '--port', str(port)],
        project,
        JUPYTER_TOKEN='tried',
        HOME=str(project),
    )
    try:
        status, body = answered(
            f'http://127.0.0.1:{port}/api/contents/notebooks/stages/10_ingest.ipynb?token=tried'
        )
        assert status == 200 and json.loads(body)['type'] == 'notebook'
        assert (
            answered(f'http://127.0.0.1:{port}/api/contents/notebooks/stages/10_ingest.ipynb')[0]
            == 403
        )
    finally:
        running.terminate()
        _, err = running.communicate(timeout=30)
    assert running.returncode == 143 and 'ploomber' not in err
    with pytest.raises(OSError):
        answered(f'http://127.0.0.1:{port}/', seconds=0)


def test_lab_asks_nobody_about_news_and_writes_no_settings(project):
    from cd4ml_nb.lab.servers import free_port
    port = free_port()
    home = project / 'home'
    home.mkdir()
    running = started(
        ['lab', '--no-browser', '--port', str(port)], project, JUPYTER_TOKEN='tried', HOME=str(home)
    )
    try:
        _, body = answered(
            f'http://127.0.0.1:{port}/lab/api/settings/@jupyterlab/apputils-extension:notification?token=tried'
        )
        properties = json.loads(body)['schema']['properties']
        assert (
            properties['fetchNews']['default'] == 'false'
            and properties['checkForUpdates']['default'] is False
        )
    finally:
        running.terminate()
        running.communicate(timeout=30)
    assert not [
        path
        for path in home.rglob('*')
        if 'labconfig' in path.parts or path.suffix == '.jupyterlab-settings'
    ]


@pytest.mark.slow
def test_lab_opens_without_a_pop_up(project, browser):
    from cd4ml_nb.lab.servers import free_port
    port = free_port()
    running = started(
        ['lab', '--no-browser', '--port', str(port)],
        project,
        JUPYTER_TOKEN='tried',
        HOME=str(project),
    )
    try:
        answered(f'http://127.0.0.1:{port}/api', seconds=120)
        browser.get(f'http://127.0.0.1:{port}/lab?token=tried')
        wait_for(lambda: browser.find_elements('css selector', '.jp-Launcher-body'))
        time.sleep(5)           # the question came a moment later
        asked = browser.find_elements('css selector', '.jp-Dialog, .Toastify__toast')
        assert [question.text for question in asked] == []
    finally:
        running.terminate()
        running.communicate(timeout=30)


@pytest.mark.slow
def test_T27_ui_answers_on_this_machine_and_to_no_other_name(project):
    from cd4ml_nb.lab.servers import free_port
    port = free_port()
    running = started(['ui', '--port', str(port)], project)
    try:
        assert answered(f'http://127.0.0.1:{port}/health', seconds=240)[0] == 200
        asked = urllib.request.Request(
            f'http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search',
            headers={'Host': 'evil.example'},
        )
        with pytest.raises(urllib.error.HTTPError, match='403'):
            urllib.request.urlopen(asked, timeout=5)
        family = [
            ' '.join(child.cmdline())
            for child in psutil.Process(running.pid).children(recursive=True)
        ]
        assert family and not [command for command in family if 'mlflow.server.jobs' in command]
    finally:
        running.terminate()
        running.communicate(timeout=30)
    assert running.returncode == 143
