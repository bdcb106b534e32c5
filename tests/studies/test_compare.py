"""Comparing runs: on rows that none has seen or not at all, a page that anybody can read, and a
verdict that says what it rests on."""

import functools
import json
import random
import shutil
import signal
import subprocess
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from browsers import visited
from html_checks import Outline, check
from report_examples import MAKES, PAYLOADS, hostile
from runs import CD4ML, PAPERMILL, ROOT, Place
from sweeps import alive

from cd4ml_nb.artefacts.schema import read_schema
from cd4ml_nb.artefacts.sweep import read_best
from cd4ml_nb.columns.table import read_table, row_hashes, seal, table_hash, unseal, write_table
from cd4ml_nb.command.cli import main
from cd4ml_nb.core.errors import GateRefused, UserError
from cd4ml_nb.core.files import file_hash, read_json, write_json
from cd4ml_nb.core.provenance import is_sealed, sealed
from cd4ml_nb.model.from_schema import make_contract
from cd4ml_nb.rows.split import PARTS, seen_schema, split_rows
from cd4ml_nb.runs.products import publish
from cd4ml_nb.scenario.definition import Compare, Evaluate, Split
from cd4ml_nb.show.comparison_page import comparison_html
from cd4ml_nb.show.comparison_words import verdict_words
from cd4ml_nb.show.pages import asset
from cd4ml_nb.studies.alternatives import (
    EvaluationSet,
    group_draws,
    group_verdicts,
    load_alternative,
    overall_draws,
    run_paths,
)
from cd4ml_nb.studies.compare import challenger_verdict, compare_runs
from cd4ml_nb.studies.trainings import resampled
from cd4ml_nb.training.members import fit_winner
from cd4ml_nb.training.training import save_model

SORT = asset('assets/sort.js')

SCENARIO = """name: mine
title: Who buys
owner: Sales
task: binary
data: {source: data.csv}
target: {column: bought, words: purchase}
columns:
  customer: {type: number, role: id}
search:
  rounds: 30
  metric: log_loss
  space: {max_depth: {low: 2, high: 4, integer: true}, subsample: {low: 0.5, high: 0.9}}
evaluate: {groups: [kind]}
compare: {replicates: 200, trainings: 2, margin: 0.02}
"""
@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Four runs of one scenario: two by the command, and from their products an older one without a
    column and a newer one on another split."""
    place = Place(tmp_path_factory.mktemp('compare'))
    chance = random.Random(0)
    rows = [
        (k, chance.gauss(40, 12), chance.choice('abc'), chance.gauss(0, 1)) for k in range(2800)
    ]
    text = [
        f'{k},{age:.9f},{kind},{score:.9f},'
        f'{int(score + age / 30 + (kind == "a") + chance.gauss(0, .5) > 1.6)}'
        for k, age, kind, score in rows
    ]
    (place.folder / 'data.csv').write_text(
        '\n'.join(['customer,age,kind,score,bought', *text]) + '\n'
    )
    (place.folder / 'mine.yaml').write_text(SCENARIO)
    found = {}
    for name, words in (
        ('first', ['-p', 'trials=2']),
        ('second', ['-p', 'trials=4', '-p', 'sweep.seed=3']),
    ):
        done = place.run(
            'run',
            '-s',
            str(place.folder / 'mine.yaml'),
            *words,
            '--until',
            'train',
            '-q',
            CD4ML_DATA_ROOT=str(place.folder),
        )
        assert done.returncode == 0, done.stderr
        found[name] = sorted((place.folder / 'products/mine/runs').glob('*.json'))[-1]
    found['bare'] = other_run(
        found['first'], '20000101-bare', '2000-01-01T00:00:00+00:00', without=['age']
    )
    found['elsewhere'] = other_run(
        found['first'], '29990101-elsewhere', '2999-01-01T00:00:00+00:00', seed=5
    )
    return place, found


def other_run(record, name, started, seed=0, without=()):
    """A run like another, without some columns or on another split."""
    content = read_json(record)
    home = record.parent.parent
    stages = content['stages']
    before = {stage: home / stage / stages[stage]['key'] for stage in ('validate', 'sweep')}
    table = read_table(before['validate'] / 'table.parquet').drop(columns=list(without))
    schema = read_schema(before['validate'] / 'schema.json')
    kept = [column for column in schema.columns if column.name not in without]
    schema = schema.model_copy(update={'columns': kept})
    part = split_rows(table, Split(), 'bought', 'binary', ['customer'], None, seed)
    work = {stage: home / stage / 'work' for stage in ('split', 'train')}
    parts = {one: table[part == k].reset_index(drop=True) for k, one in enumerate(PARTS)}
    seen = pd.concat([parts['train'], parts['validation']], ignore_index=True)
    best = read_best(before['sweep'] / 'best.json')
    contract = make_contract(
        seen_schema(schema, seen), 'mine', 'Who buys', '1.0.0', 'binary:logistic'
    )
    save_model(
        fit_winner(
            contract, seen, best.params, best.rounds, device='cpu', nthread=1, seed=0
        ),
        work['train'] / 'model.json',
    )
    for one in ('train', 'validation'):
        write_table(parts[one], work['split'] / f'{one}.parquet')
    seal(parts['holdout'], work['split'] / 'holdout.sealed')
    split = {
        'by': 'random',
        'column': None,
        'n': {k: len(v) for k, v in parts.items()},
        'hash': {k: table_hash(v) for k, v in parts.items()},
    }
    training = {
        'run_id': '',
        'rounds': best.rounds,
        'data_hash': table_hash(seen),
        'n_rows': len(seen),
        'model_sha256': file_hash(work['train'] / 'model.json'),
    }
    for stage, product, value in (
        ('split', 'schema', schema.model_dump()),
        ('split', 'split', split),
        ('train', 'contract', contract.to_json()),
        ('train', 'training', training),
    ):
        write_json(work[stage] / f'{product}.json', value)
    stages = dict(content['stages'])
    for stage, folder in work.items():
        key = file_hash(folder / ('model.json' if stage == 'train' else 'split.json'))[:16]
        files = {path.stem: path.name for path in folder.iterdir()}
        manifest = {'stage': stage, 'key': key, 'parts': {}, 'made_from': {}}
        stages[stage] = {
            'status': 'done',
            'key': key,
            'manifest': publish(folder, home / stage / key, manifest, files),
        }
    parameters = content['parameters']
    parameters = parameters | {'split': parameters['split'] | {'seed': seed}}
    write_json(
        record.with_name(f'{name}.json'),
        sealed(
            content | {'run': name, 'started': started, 'stages': stages, 'parameters': parameters}
        ),
    )
    return record.with_name(f'{name}.json')


@pytest.fixture
def here(made, monkeypatch):
    """The runs, with settings that lead to them."""
    place, found = made
    for name, value in place.environment.items():
        if name.startswith('CD4ML_'):
            monkeypatch.setenv(name, value)
    return found


@pytest.fixture(scope='module')
def compared(made, tmp_path_factory):
    """The first two runs, compared: the summary, its folder, the lines of progress, and how many
    looks there were before."""
    folder = tmp_path_factory.mktemp('compared')
    lines = []
    before = len(looks(made[1]['first']))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('CD4ML_PRODUCTS', str(made[0].folder / 'products'))
        return (
            compare_runs([made[1]['first'], made[1]['second']], folder, on_progress=lines.append),
            folder,
            lines,
            before,
        )


@pytest.fixture
def copy(made, tmp_path, monkeypatch):
    """A copy of the products, to be tampered with."""
    shutil.copytree(made[0].folder / 'products', tmp_path / 'products', symlinks=True)
    monkeypatch.setenv('CD4ML_PRODUCTS', str(tmp_path / 'products'))
    return {name: tmp_path / 'products/mine/runs' / path.name for name, path in made[1].items()}


def looks(record):
    path = record.parent.parent / 'looks.jsonl'
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def checked(text):
    """The page as the checks of every page want it, but for its one script, which its policy names
    by its hash."""
    assert (
        text.count('<script') == 1
        and f'<script>{SORT}</script>' in text
        and text.count("script-src &#39;sha256-") == 1
    )
    page = check(text.replace(f'<script>{SORT}</script>', ''))
    assert (
        len(text) < 1_000_000
        and '{{' not in text
        and 'nan' not in page.text.split()
        and 'None' not in page.text.split()
    )
    return page


def refused(kind, *records, **options):
    with pytest.raises(kind) as caught:
        compare_runs(list(records), **options)
    assert '\n' not in caught.value.line
    return caught.value.line


# ---- two runs

def test_two_runs_are_compared_on_the_rows_that_both_have_sealed(here, compared):
    summary, folder, lines, before = compared
    kept = read_json(folder / 'comparison.json')
    page = checked((folder / 'comparison.html').read_text(encoding='utf-8'))
    assert (
        summary['page'] == folder / 'comparison.html'
        and is_sealed(kept)
        and kept['verdict'] == summary['verdict']
    )
    assert (
        summary['verdict'] in ('better', 'worse', 'undecided') and summary['metric'] == 'log_loss'
    )
    assert summary['interval'][0] <= summary['difference'] <= summary['interval'][1]
    assert (
        summary['holdout']['same']
        and set(summary['holdout']['seen'].values()) == {0}
        and summary['holdout']['judged'] == 596
    )
    assert (
        summary['same_training_rows']
        and summary['comparisons'][0]['recipes']['trainings'] == 2
        and len(lines) == 4
    )
    assert {g['group'] for g in summary['comparisons'][0]['groups']['kind']} == {'a', 'b', 'c'}
    assert (
        'sweep.trials' in [row[0] for row in summary['differs']['Parameters']]
        and summary['differs']['Data'] == []
    )
    look = looks(here['first'])[before]
    assert (
        look['stage'] == 'compare'
        and look['rows'] == 596
        and here['second'].stem in look['purpose']
        and summary['looks']['n'] == before + 1
    )
    for said in (
        'that neither has seen',
        'Trained 2 more times each',
        f'{before + 1} time',
        'sweep.trials',
        'In fact “',
        'The same for all: scenario, data and code.',
        'Dwork et al. 2015',
        here['first'].stem,
    ):
        assert said in page.text, said
    assert str(folder) not in page.text


def test_the_same_runs_give_the_same_numbers(here, compared, tmp_path):
    once, again = (
        json.loads(json.dumps(content, default=str))
        for content in (compared[0], compare_runs([here['first'], here['second']], tmp_path))
    )
    for content in (once, again):
        for key in ('made', 'looks', 'page', 'said'):
            content.pop(key)
        content['comparisons'][0].pop('after_looks')
    assert once == again


def test_a_comparison_without_further_trainings_lies_beside_the_runs_and_says_what_it_leaves_open(
    here,
):
    summary = compare_runs([here['first'], here['second']], trainings=0)
    assert summary['comparisons'][0]['recipes'] is None
    assert 'The recipes were not trained again' in checked(summary['page'].read_text()).text
    assert 'one further training shows no spread' in refused(
        UserError, here['first'], here['second'], trainings=1
    )
    name = f'{here["first"].stem}_vs_{here["second"].stem}'
    assert (
        summary['page'] == here['first'].parent.parent / 'comparisons' / name / 'comparison.html'
        and summary['page'].is_file()
    )


@contextmanager
def later_run(record, **changes):
    """The same run again, later, with some changes in its record."""
    content = read_json(record)
    later = record.with_name('29980101-later.json')
    changes |= {'run': later.stem, 'started': '2998-01-01T00:00:00+00:00'}
    write_json(later, sealed(content | changes))
    try:
        yield later
    finally:
        later.unlink()


def test_a_later_run_with_the_same_model_is_not_trained_again(here, tmp_path):
    with later_run(here['second']) as later:
        summary = compare_runs([here['second'], later], tmp_path)
    page = checked(summary['page'].read_text()).text
    assert 'B is the very model that A is, so neither was trained again.' in page
    assert 'No difference that matters between A and B.' in page
    assert summary['comparisons'][0]['recipes'] is None


def test_a_query_that_has_changed_is_named(here, tmp_path):
    data = read_json(here['second'])['data']
    parts = {'offers': 'aa', 'query': 'bb'}
    with later_run(here['second'], data=data | {'parts': parts}) as later:
        summary = compare_runs([here['second'], later], tmp_path, trainings=0)
    assert ['content of query', None, 'bb'] in summary['differs']['Data']


def test_several_challengers_share_the_error_of_one(here, tmp_path):
    summary = compare_runs([here['first'], here['second'], here['bare']], tmp_path, trainings=0)
    assert [c['challenger'] for c in summary['comparisons']] == ['B', 'C'] and summary[
        'comparisons'
    ][0]['confidence'] == pytest.approx(0.975)
    page = checked((tmp_path / 'comparison.html').read_text())
    assert 'C against A' in page.text and 'share the error of one' in page.text


def test_ctrl_c_ends_a_comparison_and_its_workers(made, tmp_path):
    place, found = made
    shutil.copytree(place.folder / 'products', tmp_path / 'products', symlinks=True)
    runs = [found[name].stem for name in ('first', 'second')]
    environment = place.environment | {
        'CD4ML_PRODUCTS': str(tmp_path / 'products'),
        'CD4ML_THREADS': '2',
    }
    with subprocess.Popen(
        [CD4ML, 'compare', *runs, '--trainings', '100'],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout is not None
        lines = [command.stdout.readline() for _ in range(3)]
        family = set(psutil.Process(command.pid).children(recursive=True))
        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=120)
    assert lines[2] == f'{runs[0]}: training again 3 of 100\n' and len(family) == 2
    assert (
        command.returncode == 130
        and 'nothing was left half done' in said
        and 'Traceback' not in said
        and not alive(family)
    )
    assert {path.name for path in tmp_path.glob('products/mine/comparisons/*/*')} == {
        path.name for path in place.folder.glob('products/mine/comparisons/*/*')}


# ---- honesty

def test_a_model_that_has_learned_from_the_judging_rows_is_refused_and_no_look_is_spent(here):
    before = len(looks(here['first']))
    line = refused(GateRefused, here['first'], here['elsewhere'])
    alternative = load_alternative(here['first'])
    of = load_alternative(here['elsewhere'])
    columns = ['age', 'kind', 'score', 'bought']
    sealed_rows = unseal(of.folders['split'] / 'holdout.sealed', 'test', 'count')
    seen = row_hashes(alternative.seen(), columns)
    n = int(np.isin(row_hashes(sealed_rows, columns), seen).sum())
    n_sealed = len(sealed_rows)
    assert n > 300 and line.startswith(
        f'ERROR SEEN {here["first"].stem}: its model has learned from {n} of the'
        f' {n_sealed} rows of the holdout of run {here["elsewhere"].stem} — judge on the'
        f' {n_sealed - n} rows that no model has seen: --unseen'
    )
    assert GateRefused.exit_code == 3 and len(looks(here['first'])) == before


def test_where_splits_differ_the_rows_that_none_has_seen_can_judge(here, tmp_path):
    summary = compare_runs([here['first'], here['elsewhere']], tmp_path, unseen=True)
    holdout = summary['holdout']
    assert holdout['run'] == here['elsewhere'].stem and not holdout['same']
    assert (
        holdout['seen'][here['first'].stem] == holdout['rows'] - holdout['judged'] > 0
        and holdout['seen'][here['elsewhere'].stem] == 0
    )
    assert (
        not summary['same_training_rows']
        and summary['comparisons'][0]['recipes']['same_rows'] is False
    )
    page = checked((tmp_path / 'comparison.html').read_text())
    for said in (
        'which started last, decide. Of {rows} cases, run'.format(**holdout),
        f'run {here["first"].stem} had learned from',
        'learned from different rows',
        'split.seed',
    ):
        assert said in page.text, said


def test_too_few_rows_that_none_has_seen_are_refused(here, monkeypatch):
    monkeypatch.setattr('cd4ml_nb.studies.shared_rows.unseen_rows.__defaults__', (False, 500))
    assert 'train both on the same split' in refused(
        GateRefused, here['first'], here['elsewhere'], unseen=True
    )


def test_an_older_model_with_fewer_inputs_is_judged_on_the_newer_rows(here, tmp_path):
    summary = compare_runs([here['bare'], here['second']], tmp_path, trainings=0)
    assert ['inputs', 'kind, score', 'age, kind, score'] in summary['differs']['Data'] and summary[
        'holdout'
    ]['run'] == here['second'].stem
    assert summary['comparisons'][0]['models']['value'] > 0            # age helps
    cases = summary['comparisons'][0]['cases']
    assert any(
        e['effects'][0] is None for case in cases for e in case['inputs'] if e['words'] == 'age'
    )


def test_a_model_reads_its_own_inputs_where_the_judging_run_lacks_them(copy, tmp_path):
    record = read_json(copy['bare']) | {'started': '2099-01-01T00:00:00+00:00'}
    write_json(copy['bare'], sealed(record))
    summary = compare_runs([copy['bare'], copy['second']], tmp_path, trainings=0)
    holdout = summary['holdout']
    assert holdout['run'] == copy['bare'].stem and holdout['same'] and holdout['judged'] == 596


def of_scenario(record, name, source=None):
    """A run of another scenario, of the same data or of others."""
    content = read_json(record)
    text = yaml.safe_load(content['scenario_text']) | {'name': name}
    if source:
        text['data']['source'] = source
    write_json(record, sealed(content | {'scenario': name, 'scenario_text': yaml.safe_dump(text)}))


def test_variants_of_a_scenario_that_share_their_data_are_compared_like_runs_of_one(
    copy, tmp_path,
):
    usual = compare_runs([copy['first'], copy['second']], tmp_path / 'one', trainings=0)
    of_scenario(copy['second'], 'variant')
    found = compare_runs([copy['first'], copy['second']], tmp_path / 'two', trainings=0)
    pairs = [summary['comparisons'][0] for summary in (usual, found)]
    assert pairs[0]['models'] == pairs[1]['models'] and pairs[0]['verdict'] == pairs[1]['verdict']
    assert found['holdout']['same'] and any(
        'variant' in row for row in found['differs']['Scenario']
    )
    # both ledgers count: the looks at the one holdout are those of both scenarios
    mine = copy['first'].parents[1]
    ledgers = [mine / 'looks.jsonl', mine.parent / 'variant/looks.jsonl']
    assert all('compare' in path.read_text() for path in ledgers)
    assert found['looks']['n'] == usual['looks']['n'] > 0      # and the same question once


def test_runs_of_other_data_are_refused_and_a_run_beside_itself(copy):
    of_scenario(copy['second'], 'variant', 'other.csv')
    said = refused(UserError, copy['first'], copy['second'])
    assert 'other data than run' in said and 'other.csv' in said
    assert 'a run cannot be compared with itself' in refused(
        UserError, copy['first'], copy['first']
    )
    assert 'name 2 to 6' in refused(UserError, copy['first'])


def with_unit(record, unit):
    """A run whose scenario names the unit of its target."""
    content = read_json(record)
    text = content['scenario_text'].replace('words: purchase', f'words: purchase, unit: {unit}')
    assert text != content['scenario_text']
    write_json(record, sealed(content | {'scenario_text': text}))


def test_a_unit_that_was_filled_in_afterwards_compares_and_another_unit_does_not(copy, tmp_path):
    with_unit(copy['second'], 'EUR')
    summary = compare_runs([copy['first'], copy['second']], tmp_path / 'out', trainings=0)
    assert (summary['unit'], summary['target']) == ('EUR', 'purchase')
    assert (
        compare_runs([copy['second'], copy['first']], tmp_path / 'back', trainings=0)['unit']
        == 'EUR'
    )
    with_unit(copy['first'], 'USD')
    assert 'another unit than run' in refused(UserError, copy['first'], copy['second'])
    with_unit(copy['elsewhere'], 'EUR')
    unsaid = copy['bare']
    # the reference says nothing
    assert 'another unit than run' in refused(UserError, unsaid, copy['elsewhere'], copy['first'])


def test_products_that_are_gone_or_changed_and_records_that_were_changed_end_in_one_line(copy):
    second = read_json(copy['second'])
    folder = load_alternative(copy['second']).folders
    with open(folder['training'] / 'model.json', 'a') as file:
        file.write(' ')
    assert (
        f'{copy["second"].stem}: its product model of stage train is not as the run left it'
        in refused(UserError, copy['first'], copy['second'])
    )
    shutil.rmtree(folder['training'])
    line = refused(UserError, copy['first'], copy['second'])
    assert (
        f'{copy["second"].stem}: its products of stage train are gone — ' in line
        and f'cd4ml reproduce {copy["second"].stem}' in line
    )
    write_json(copy['second'], second | {'accepted': True})
    assert 'the record of the run was changed' in refused(UserError, copy['first'], copy['second'])
    write_json(
        copy['second'],
        sealed(second | {'stages': {**second['stages'], 'train': {'status': 'failed'}}}),
    )
    assert 'the run has no model: stage train did not end well' in refused(
        UserError, copy['first'], copy['second']
    )


def test_products_that_were_set_aside_are_found(copy):
    folder = load_alternative(copy['second']).folders['training']
    folder.rename(folder.with_name(folder.name + '~0123456789ab'))
    assert load_alternative(copy['second']).folders['training'].name.endswith('~0123456789ab')


# ---- which runs

def test_the_latest_two_accepted_models_are_compared_when_none_is_named(copy):
    with pytest.raises(UserError, match='has 0 accepted models'):
        run_paths('mine')
    for name in ('first', 'second'):
        write_json(copy[name], sealed(read_json(copy[name]) | {'accepted': True}))
    # the same model once more
    write_json(
        copy['second'].with_name('29991231-twin.json'),
        sealed(read_json(copy['second']) | {'run': '29991231-twin'}),
    )
    assert [p.stem for p in run_paths('mine')] == [copy['first'].stem, '29991231-twin']
    assert run_paths('mine', [copy['second'].stem, copy['first'].stem[:18]]) == [
        copy['second'],
        copy['first'],
    ]
    assert [p.stem for p in run_paths('mine', ['latest', 'latest~1'])] == [
        '29991231-twin',
        '29990101-elsewhere',
    ]
    with pytest.raises(UserError, match='no such run'):
        run_paths('mine', ['nothing', copy['first'].stem])


def test_the_page_runs_under_papermill_and_ends_on_the_summary(made, tmp_path):
    place, found = made
    done = place.run(
        'notebooks/studies/compare.ipynb',
        str(tmp_path / 'out.ipynb'),
        '--engine',
        'cd4ml',
        '-p',
        'scenario',
        str(place.folder / 'mine.yaml'),
        '-y',
        json.dumps({'runs': [found['first'].stem, found['second'].stem], 'trainings': 0}),
        '-p',
        'product',
        str(tmp_path / 'told'),
        command=PAPERMILL,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    cells = json.loads((tmp_path / 'out.ipynb').read_text())['cells']
    assert 'undecided' in ''.join(
        cells[-1]['outputs'][0]['data']['text/plain']
    ) or 'better' in ''.join(cells[-1]['outputs'][0]['data']['text/plain'])
    assert (tmp_path / 'told/comparison.html').is_file()


# ---- the command

def typed(capsys, *words: str) -> tuple[int, str, str]:
    """`cd4ml compare` without further trainings: its exit code, what it prints, and its last
    line."""
    code = main(['compare', '--trainings', '0', *words])
    printed = capsys.readouterr()
    return code, printed.out, (printed.err.splitlines() or [''])[-1]


@pytest.mark.parametrize('demand', ['better', 'not-worse'])
def test_a_demand_is_met_by_the_better_model_and_ends_with_3_for_the_worse(here, capsys, demand):
    worse, better = here['bare'].stem, here['first'].stem
    code, out, last = typed(capsys, worse, better, '--demand', demand)
    assert code == 0 and last == '' and 'verdict  ' in out
    code, out, last = typed(capsys, better, worse, '--demand', demand)
    assert code == 3 and 'comparison.html' in out
    said = f'ERROR COMPARE --demand: B is not shown to be {demand.replace("-", " ")} — read '
    assert last.startswith(said)
    assert Path(last.removeprefix(said)).name == 'comparison.html'


def test_without_a_demand_a_worse_model_is_an_answer_and_an_unknown_demand_is_refused(
    here, capsys
):
    names = [here['first'].stem, here['bare'].stem]
    assert typed(capsys, *names)[0] == 0
    code, _, last = typed(capsys, *names, '--demand', 'not_worse')
    assert code == 2 and last.startswith('ERROR C02 --demand: ') and 'not-worse' in last


def test_rows_that_a_model_has_learned_from_are_left_out_where_unseen_is_typed(here, capsys):
    names = [here['first'].stem, here['elsewhere'].stem]
    code, _, last = typed(capsys, *names)
    assert code == 3 and last.startswith('ERROR SEEN ') and '--unseen' in last
    code, out, last = typed(capsys, *names, '--unseen')
    assert code == 0 and last == '' and 'verdict  ' in out


# ---- the page, for every task

WORDS = {'regression': 'price', 'binary': 'income', 'multiclass': 'quality'}


def example(task='regression', ratio=0.8, several=1, absolute=None):
    """A summary of made-up models, their predictions and sweeps."""
    return deepcopy(made_up(task, ratio, several, absolute))


@functools.cache
def made_up(task, ratio, several, absolute):
    rng = np.random.default_rng(0)
    n = 900
    group = np.array(MAKES)[rng.choice(len(MAKES), n, p=np.r_[0.5, np.full(10, 0.05)])]
    if task == 'regression':
        y = rng.lognormal(9, 0.6, n)
        predicted = [
            y * np.exp(rng.normal(0, 0.2 * ratio ** min(k, 1), n)) for k in range(several + 1)
        ]
    elif task == 'binary':
        score = rng.normal(size=n)
        y = (score + rng.normal(0, 0.6, n) > 0).astype(int)
        predicted = [
            1 / (1 + np.exp(-2 * score - rng.normal(0, 1.5 * ratio ** min(k, 1), n)))
            for k in range(several + 1)
        ]
    else:
        y = rng.integers(0, 3, n)
        predicted = [
            0.5 * np.eye(3)[y] + 0.5 * rng.dirichlet(np.ones(3), n) for _ in range(several + 1)
        ]
    metric = {'regression': 'mae', 'binary': 'auc', 'multiclass': 'log_loss'}[task]
    plan = Compare(replicates=200, absolute=absolute)
    evaluation_set = EvaluationSet(pd.DataFrame({'make': group}), y, None, None)
    draws = overall_draws(task, evaluation_set, predicted, plan, 0)
    parts = group_draws(metric, task, evaluation_set, predicted, ['make'], plan, Evaluate(), 0)
    again = [
        [float(draws[metric][k, 0]) * (1 + 0.002 * j) for j in range(3)] for k in range(several + 1)
    ]
    cases = [{'actual': '12,590 EUR', 'predicted': ['20,782 EUR', '65,242 EUR'], 'nearer': 0,
              'inputs': [{'words': 'make', 'value': 'Estrima', 'effects': ['+38 %', None]},
                         {'words': 'mileage', 'value': '250 km', 'effects': ['+18 %', '+32 %']}]}]
    comparisons = [
        {
            'reference': 'A',
            'challenger': 'ABCDEF'[k],
            **challenger_verdict(metric, draws, k, evaluation_set, plan, again, True, several, 4),
            'groups': group_verdicts(metric, parts, k, plan),
            'cases': cases,
        }
        for k in range(1, several + 1)
    ]
    runs = [f'20261124-1108{k}1-3769' for k in range(several + 1)]
    summary = {
        'name': 'x',
        'scenario': 'used_cars_de',
        'title': 'What a used car is worth',
        'owner': 'Pricing team',
        'task': task,
        'target': WORDS[task],
        'unit': 'EUR' if task == 'regression' else '',
        'classes': None,
        'metric': metric,
        'compare': plan.model_dump(),
        'made': '2026-11-24T12:08:00+00:00',
        'said': [
            verdict_words(c, metric, 'EUR' if task == 'regression' else '', n) for c in comparisons
        ],
        'models': [
            {
                'letter': letter,
                'run': run,
                'started': '2026-11-24T11:08:41+00:00',
                'accepted': k == 0,
                'rows': 35_332,
                'model': 'ab' * 32,
            }
            for k, (letter, run) in enumerate(zip('ABCDEF', runs, strict=False))
        ],
        'holdout': {
            'run': runs[-1],
            'hash': 'cd' * 32,
            'rows': n,
            'judged': n,
            'same': True,
            'seen': dict.fromkeys(runs, 0),
        },
        'looks': {
            'n': 4,
            'by': {'evaluate': 3, 'compare': 1},
            'first': '2026-11-24T11:09:26+00:00',
            'latest': [['2026-11-24T12:08:00+00:00', 'compare', PAYLOADS[0]]],
        },
        'comparisons': comparisons,
        'too_small': {'make': parts['make']['too_small']},
        'words': {'make': 'make'},
        'differs': {
            'Parameters': [['max_depth', 9, *[7] * several]],
            'Scenario': [],
            'Data': [['content', 'ef' * 32, *['01' * 32] * several]],
            'Code': [
                ['module evaluate', '1', *['2'] * several],
                ['commit', '9c1d', *['8b2e and changes'] * several],
            ],
        },
    }
    trials = [
        {
            'number': k,
            'state': 'pruned' if k == 3 else 'complete',
            'value': 2000.0 - 30 * k,
            'params': {'max_depth': 3 + k, 'eta': 0.3 / (k + 1)},
            'curve': [[r, 2000 - r] for r in range(0, 100, 10)],
        }
        for k in range(6)
    ]
    sweeps = {
        letter: {'metric': metric, 'better': 'low', 'trials': trials, 'won': 5}
        for letter in 'ABCDEF'[: several + 1]
    }
    return summary, predicted, sweeps


@pytest.mark.parametrize('task, several', [
    ('regression', 1),
    ('binary', 1),
    ('multiclass', 1),
    ('regression', 3),
])
def test_each_page_is_one_inert_legible_file(task, several):
    text = comparison_html(*example(task, several=several))
    page = checked(text)
    assert page.text.index(example(task, several=several)[0]['said'][0][0]) < page.text.index(
        'How sure that is'
    )
    for said in (
        'For whom it is better or worse',
        'What differs',
        'max_depth',
        'Changed between the runs: 1 module of the package: evaluate.',
        'efefefefefef…',
        'How they were found',
        'How the winners learned',
        'What the searches tried',
        'Prediction against prediction',
        'Estrima',
        'Holm 1979',
        'looked at 4 times since 24 November 2026, 11:09',
        'Not one of the 900 cases',
    ):
        assert said in page.text, said
    assert page.text.count('against A') >= (several > 1) * several


def test_the_verdict_says_better_worse_or_undecided_in_words():
    def headline(ratio, **options):
        return example(ratio=ratio, **options)[0]['said'][0][0]
    assert (
        headline(0.7) == 'B is better than A.'
        and headline(1.4) == 'B is worse than A.'
        and headline(1.0) == 'Undecided between A and B.'
    )
    assert headline(1.02, absolute=5000.0) == 'No difference that matters between A and B.'
    sentences = example(ratio=0.7)[0]['said'][0][1]
    assert 'more than the luck of one training' in sentences[1] and 'better' in sentences[0]


def test_older_sweeps_without_curves_and_searches_for_other_metrics_leave_that_out():
    summary, predicted, sweeps = example()
    for sweep in sweeps.values():
        for trial in sweep['trials']:
            trial.pop('curve', None)
    page = checked(comparison_html(summary, predicted, sweeps))
    assert 'How the winners learned' not in page.text and 'What the searches tried' in page.text
    sweeps['B']['metric'] = 'rmse'
    assert (
        'improved different metrics, mae and rmse' in checked(
            comparison_html(summary, predicted, sweeps)
        ).text
    )


def test_an_undefined_metric_and_no_groups_are_said():
    summary, predicted, sweeps = example('binary')
    content = summary['comparisons'][0]
    content['models'] |= {
        'value': None,
        'low': None,
        'high': None,
        'p': None,
        'reference': None,
        'margin': None,
    }
    content |= {'verdict': 'undecided', 'recipes': None, 'power': []}
    content |= {'detectable': None, 'groups': {}}
    summary['said'] = [verdict_words(content, 'auc', '', 900)]
    page = checked(comparison_html(summary, predicted, sweeps))
    assert (
        'is undefined on these cases' in page.text
        and 'names no groups' in page.text
        and 'cannot be said' in page.text
    )


@pytest.mark.parametrize('payload', [' '.join(PAYLOADS[k::8]) for k in range(8)])
def test_X05_hostile_texts_in_every_field_are_inert(payload):
    summary, predicted, sweeps = example()
    keep = {key: summary[key] for key in ('comparisons', 'looks', 'compare', 'metric', 'task')}
    text = hostile({k: v for k, v in summary.items() if k not in keep}, payload)
    for content in keep['comparisons']:
        content['groups'] = {
            column: [{**row, 'group': payload + row['group']} for row in rows]
            for column, rows in content['groups'].items()
        }
        content['cases'] = hostile(content['cases'], payload)
    named = {
        'words': {'make': payload},
        'too_small': {'make': [{'group': payload, 'n': 3}]},
        'made': summary['made'],
        'models': [{**m, 'run': payload, 'letter': m['letter']} for m in summary['models']],
        'differs': {
            part: [[payload + row[0], *row[1:]] for row in rows]
            for part, rows in summary['differs'].items()
        },
    }
    check(
        comparison_html(text | keep | named, predicted, sweeps).replace(
            f'<script>{SORT}</script>', ''
        )
    )


# ---- sorting

def test_tables_are_sorted_by_click_and_key_and_nothing_else_happens(browser, tmp_path):
    path = tmp_path / 'comparison.html'
    path.write_text(comparison_html(*example()), encoding='utf-8')
    assert visited(browser, path) == ([], [])
    browser.execute_script(
        'document.querySelectorAll("details").forEach((d) => { d.open = true; })'
    )
    groups = browser.find_elements('css selector', 'table.sortable')[-1]

    def column(k):
        return [
            row.find_elements('css selector', 'th, td')[k].text.split('\n')[0]
            for row in groups.find_elements('css selector', 'tbody tr')
        ]

    def heading(k):
        return groups.find_elements('css selector', 'thead th')[k]

    cases = [int(text.replace(',', '')) for text in column(1)]
    assert (
        cases == sorted(cases, reverse=True)
        and len(cases) > 5
        and heading(1).get_attribute('aria-sort') is None
    )
    heading(1).find_element('css selector', 'button').click()
    assert [int(text.replace(',', '')) for text in column(1)] == sorted(cases) and heading(
        1
    ).get_attribute('aria-sort') == 'ascending'
    heading(0).find_element('css selector', 'button').send_keys('\n')
    assert (
        column(0) == sorted(column(0), key=lambda name: name.casefold().replace('š', 's'))
        and heading(0).get_attribute('aria-sort') == 'ascending'
    )
    assert heading(1).get_attribute('aria-sort') is None
    heading(4).find_element('css selector', 'button').send_keys(' ')
    heading(4).find_element('css selector', 'button').send_keys(' ')
    gains = [float(text.replace('−', '-').replace('+', '').split()[0]) for text in column(4)]
    assert (
        gains == sorted(gains, reverse=True)
        and heading(4).get_attribute('aria-sort') == 'descending'
    )
    for width in (1200, 420):
        browser.set_window_size(width, 900)
        assert not browser.execute_script(
            'return document.documentElement.scrollWidth > document.documentElement.clientWidth'
        ), width


def test_a_browser_runs_no_other_script_on_the_page(browser, tmp_path):
    path = tmp_path / 'comparison.html'
    text = comparison_html(*example()).replace(
        '</body>', '<script>document.title = "owned"</script></body>'
    )
    path.write_text(text, encoding='utf-8')
    browser.get(path.as_uri())
    assert browser.title.startswith('What a used car is worth')
    assert browser.find_elements('css selector', 'th button')


def test_without_the_script_the_tables_are_plain_tables():
    page = Outline(comparison_html(*example()).replace(f'<script>{SORT}</script>', ''))
    assert 'button' not in {tag for tag, _ in page.tags} and [
        a for t, a in page.tags if t == 'table' and a.get('class') == 'sortable'
    ]


# ---- groups of rows

def test_resampled_groups_stay_whole():
    table = pd.DataFrame({'who': np.repeat(list('abcd'), [1, 2, 3, 4]), 'x': range(10)})
    for seed in range(20):
        again = resampled(table, table['who'].factorize()[0], np.random.default_rng(seed))
        sizes = again.groupby('who')['x'].agg(['size', 'nunique'])
        assert (sizes['size'] % sizes['nunique'] == 0).all() and (
            sizes['nunique'] == sizes.index.map(dict(zip('abcd', [1, 2, 3, 4], strict=True)))
        ).all()


# ---- real runs

@pytest.mark.slow
def test_two_sweeps_over_real_offers_are_compared(tmp_path, real_data, monkeypatch):
    place = Place(tmp_path)
    for trials in ('2', '4'):
        done = place.run(
            'run',
            '-s',
            'used_cars_de',
            '-p',
            f'trials={trials}',
            '-q',
            CD4ML_DATA_ROOT=str(real_data('cars_autoscout24_de_2021.csv').parent),
        )
        assert done.returncode == 0, done.stderr
    monkeypatch.setenv('CD4ML_PRODUCTS', str(tmp_path / 'products'))
    summary = compare_runs(run_paths('used_cars_de'), trainings=2)
    checked(Path(summary['page']).read_text(encoding='utf-8'))
    content = summary['comparisons'][0]
    assert (
        summary['holdout']['judged'] > 8000
        and len(content['groups']['make']) > 20
        and len(content['cases']) == 6
    )
    models = content['models']
    assert models['high'] - models['low'] < 0.1 * models['reference']
