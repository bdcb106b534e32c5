"""What a run survives: kills, full disks, torn files, a second run, notebooks that end early. A
sample; `python tests/fault_harness.py` does it 200 times."""

import json
import os
import random
import shutil
import time

import pytest
from effort import times
from fault_harness import (
    AGAIN,
    Case,
    Harness,
    can_mount,
    damage_of,
    lock_is_free,
    product_folders,
    strike,
    whole_ones,
    wrong_after,
    wrong_at_the_end,
)
from tiny import FILES, Done, Tiny, sha

from cd4ml_nb.runs.products import flaw

SLOW = pytest.mark.slow        # a sample on every push; `make faults` does all of it
ROWS = "with open(product['rows'], 'w') as file:"
BLOB = "with open(product['blob'], 'wb') as file:"
BLOB_END = 'time.sleep(pause / 6)'
POINTS = [
    'lock.held', 'stage.start', 'cell.start', 'cell.end', 'stage.ended', 'publish.hash',
    'publish.before_manifest', 'publish.after_manifest', 'publish.before_rename',
    'publish.after_rename', 'pointer.before', 'pointer.after', 'file.begin', 'file.written',
    'file.replaced', 'record.before',
]


@pytest.fixture(scope='module')
def harness(tmp_path_factory):
    harness = Harness(tmp_path_factory.mktemp('faults'))
    harness.prepare()
    return harness


@pytest.fixture
def built(harness):
    """A project that is done."""
    with harness.project(Case(0, 'test', 'forced')) as project:
        yield project


@pytest.fixture
def bare(harness):
    """A project that never ran."""
    with harness.project(Case(0, 'test', 'fresh')) as project:
        yield project


def said(done: Done, code: int, *words: str) -> None:
    """A run ended with this code and one line that has these words."""
    assert (
        done.code == code
        and done.last.startswith('ERROR ')
        and 'Traceback' not in done.err
        and len(done.err.strip().splitlines()) == 1
    ), done
    assert [word for word in words if word not in done.last] == [], done.last


def heals(harness: Harness, project: Tiny, state: str = 'fresh') -> None:
    """One more run gives what an uninterrupted one gives, and leaves nothing behind."""
    assert (
        wrong_at_the_end(
            project, project.run(*AGAIN[state]), harness.references[state], AGAIN[state]
        )
        == []
    )


def good(harness: Harness, *cases: Case) -> None:
    """The harness finds nothing wrong."""
    assert [(str(r.case), r.said, r.wrong) for r in map(harness.run, cases) if r.wrong] == []


def test_every_fault_point_is_known(harness):
    assert sorted(set().union(*harness.points.values())) == sorted(POINTS)


def test_I01_after_a_kill_at_any_fault_point_the_old_products_are_whole_and_the_next_run_goes_on(
    harness, built
):
    before = whole_ones(built)
    for k, point in enumerate(POINTS[:: times(1, 2)]):
        # each run finds what the kill before it has left
        done = built.run(
            'run', '-p', f'scale={10 + k}', environment={'CD4ML_FAULT': f'{point}:kill'}
        )
        assert done.code == (4 if point.startswith('cell.') else -9), (point, done)
        assert wrong_after(built, before, {}) == [], point
        before |= whole_ones(built)
    heals(harness, built, 'changed')


@pytest.mark.parametrize(
    'point', ['publish.after_rename:kill', pytest.param('file.written:kill:10', marks=SLOW)]
)
def test_I01_a_kill_while_good_products_are_replaced(harness, point):
    good(harness, Case(1, 'point', 'forced', point))


@pytest.mark.parametrize('number', [0, pytest.param(1, marks=SLOW)])
def test_I01_kills_at_random_moments(harness, number):
    good(harness, Case(number, 'random', ['forced', 'damaged'][number]))


def test_I02_a_kill_between_two_products_of_a_stage_leaves_none_of_them(harness, bare):
    bare.edit('source', ROWS, f'import os; os.kill(os.getpid(), 9)\n{ROWS}')
    said(bare.run('run'), 4, 'I21', 'notebooks/source.ipynb:cell 7', 'SIGKILL')
    assert (
        not product_folders(bare)
        and not bare.current('source')
        and wrong_after(bare, set(), {}) == []
    )
    bare.edit('source', 'import os; os.kill(os.getpid(), 9)\n', '')
    assert bare.run('run', environment={'CD4ML_FAULT': 'publish.hash:kill:3'}).code == -9
    assert not product_folders(bare) and wrong_after(bare, set(), {}) == []
    heals(harness, bare)


def test_I03_what_a_notebook_that_raised_has_half_written_is_no_product(harness, bare):
    bare.edit(
        'left', 'file.flush()\n            time.sleep(pause / 4)', 'file.flush(); assert k < 200'
    )
    said(bare.run('run'), 1, 'N07', 'notebooks/left.ipynb:cell 7', 'AssertionError')
    assert (
        not bare.current('left') and not bare.current('join') and wrong_after(bare, set(), {}) == []
    )
    bare.edit(
        'left', 'file.flush(); assert k < 200', 'file.flush()\n            time.sleep(pause / 4)'
    )
    heals(harness, bare)


EARLY = {
    'import sys; sys.exit(0)': (1, 'I04', 'cell 7'),
    'import os; os._exit(0)': (4, 'I21', 'code 0', 'cell 7'),
    'import os, signal; os.kill(os.getpid(), signal.SIGTERM)': (1, 'I04'),
}


def test_I04_a_notebook_that_ends_early_or_leaves_out_a_product_has_made_none(harness, built):
    before = whole_ones(built)
    for early, (code, *words) in EARLY.items():
        built.edit('source', ROWS, f'{early}\n{ROWS}')
        said(built.run('run'), code, *words)
        built.edit('source', f'{early}\n{ROWS}', ROWS)
    built.edit('source', BLOB_END, f'{BLOB_END}\nraise SystemExit')  # when all products are written
    said(built.run('run'), 1, 'I04', 'cell 8')
    built.edit('source', '\nraise SystemExit', '')
    # when a product is not written
    built.edit('source', BLOB, "with open('elsewhere', 'wb') as file:")
    said(built.run('run'), 1, 'I04', "product 'sub/blob.bin' was not written")
    built.edit('source', "with open('elsewhere', 'wb') as file:", BLOB)
    assert wrong_after(built, before, {}) == [] and whole_ones(built) == before
    heals(harness, built)


@pytest.mark.skipif(not can_mount(), reason='only root may mount a small disk')
@pytest.mark.parametrize(('size', 'state'), [
    pytest.param(0, 'changed', marks=SLOW),
    (300_000, 'changed'),
    pytest.param(860_000, 'forced', marks=SLOW),
])
def test_I09_a_full_disk_ends_in_one_line_and_harms_nothing(harness, size, state):
    good(harness, Case(2, 'disk', state, size=size))


@pytest.mark.parametrize(
    'point', ['file.written', pytest.param('publish.before_rename', marks=SLOW)]
)
def test_I09_a_disk_that_is_full_at_one_write(harness, point):
    good(harness, Case(3, 'enospc', 'forced', f'{point}:enospc'))


@pytest.mark.parametrize(
    ('size', 'state'), [pytest.param(60, 'fresh', marks=SLOW), (20_000, 'forced')]
)
def test_I10_a_limit_on_the_size_of_files_is_infrastructure(harness, size, state):
    good(harness, Case(4, 'limit', state, size=size))


def test_I10_a_file_where_a_folder_should_be_is_named(harness, bare):
    for place in (
        'products',
        'products/.inputs',
        'products/used_cars/left',
        'products/used_cars/runs',
    ):
        shutil.rmtree(bare.folder / 'products', ignore_errors=True)
        path = bare.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('in the way')
        said(bare.run('run', '--until', 'left'), 4, 'I10', place)
        assert wrong_after(bare, set(), {}) == []
        path.unlink()
    heals(harness, bare)


GARBAGE = [
    b'',
    b'{',
    b'null',
    b'[]',
    b'{}',
    b'\xff\xfe\x00',
    b'\0' * 300,
    b'{"stage": "left", "key": "x", "parts": {}, "made_from": {}, "files": {}}',
    b'{"stage": "left", "key": "x", "parts": {}, "made_from": {}, "files": {"told": 1}}',
    b'[' * 100_000,
]


@pytest.mark.parametrize('garbage', GARBAGE, ids=range(len(GARBAGE)))
def test_I13_a_damaged_manifest_makes_a_product_flawed_and_not_the_tool(built, garbage):
    (built.current('left') / 'manifest.json').write_bytes(garbage)
    assert 'manifest' in flaw(built.current('left'))


def test_I13_damaged_manifests_pointers_locks_and_records_are_made_anew(harness, built):
    (built.current('source') / 'manifest.json').write_bytes(
        (built.current('source') / 'manifest.json').read_bytes()[:200]
    )
    (built.current('left') / 'manifest.json').write_bytes(b'\0' * 500)
    for stage, text in {'right': b'../../..', 'join': b'\xff\xfe', 'last': b''}.items():
        (built.home / stage / 'current').write_bytes(text)
    (built.folder / 'products/used_cars/lock.json').write_text('{"process": 1, "torn')
    (built.folder / 'products/index.html').write_text('')
    newest = max((built.home / 'runs').glob('*.json'))
    newest.write_bytes(b'\0' * 100)
    done = built.run('run')
    newest.unlink()                     # a damaged record stays, for whoever wants to look at it
    assert wrong_at_the_end(built, done, harness.references['fresh'], ['run']) == []


def test_I13_a_damaged_record_does_not_stop_a_run_that_has_nothing_to_do(harness, built):
    for damage in (b'\0' * 1000, b'{"stages": []}'):
        newest = max((built.home / 'runs').glob('*.json'))
        newest.write_bytes(damage)
        done = built.run('run')
        assert done.code == 0, done
        newest.unlink()
    assert wrong_at_the_end(built, done, harness.references['fresh'], ['run']) == []


@pytest.mark.parametrize(('kind', 'state'), [('two', 'forced'), ('wait', 'changed')])
def test_I14_of_two_runs_one_goes_on_and_the_other_names_it_or_waits(harness, kind, state):
    good(harness, Case(5, kind, state))


def test_I14_the_lock_lasts_as_long_as_any_notebook_of_a_killed_run_runs(built):
    started = built.start('run', '--force', 'source')
    while not any(built.home.glob('source/.running-*/cells.jsonl')):
        time.sleep(0.01)
    notebook = started.family()[-1]
    notebook.suspend()
    strike(started, 'run')
    server = [p for p in built.alive() if p != notebook]
    for one in server:
        one.suspend()                    # so that it cannot end the notebook
    assert not lock_is_free(built, patience=0) and built.run('run').last.startswith('ERROR I14')
    for one in server:
        one.resume()
    assert built.still_alive() == [] and lock_is_free(built)
    started.end()


OWNERS = {
    'dead': {'process': 2**22 + 1},
    'reused': {'process': os.getpid(), 'started': 1.0},
    'elsewhere': {'process': 1, 'host': 'elsewhere'},
}


@pytest.mark.parametrize('owner', OWNERS.values(), ids=OWNERS)
def test_I15_a_lock_that_nobody_holds_is_taken_over_and_said_so(built, owner):
    left = {
        'process': 1,
        'host': os.uname().nodename,
        'since': '2020-01-01 00:00:00',
        'started': 0.0,
        'command': 'cd4ml run',
    } | owner
    (built.folder / 'products/used_cars/lock.json').write_text(json.dumps(left))
    done = built.run('run')
    assert (
        done.code == 0
        and 'earlier run ended without giving back its lock' in done.out
        and f'process {left["process"]}' in done.out
    )
    assert (built.folder / 'products/used_cars/lock.json').read_text() == ''


def test_I27_what_a_power_loss_has_torn_is_found_and_made_again(harness, built):
    chance = random.Random(1)
    files = sorted(p for p in built.home.rglob('*') if p.is_file() and 'runs' not in p.parts)
    for path in chance.sample(files, len(files) // 3):
        size = path.stat().st_size
        how = chance.choice(['empty', 'torn', 'zeros'])
        path.write_bytes(
            b''
            if how == 'empty'
            else path.read_bytes()[: size // 2] if how == 'torn' else b'\0' * size
        )
    heals(harness, built)


def test_I27_a_product_whose_bytes_changed_and_not_its_length_is_found(harness, built):
    path = built.current('right') / FILES['blob']
    content = path.read_bytes()
    path.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    heals(harness, built)


@SLOW
def test_I28_no_home_no_terminal_and_an_old_locale_do_not_matter(harness, bare):
    for stage in ('source', 'last'):
        bare.edit(stage, f'# {stage}', '# Zürich ≥ 東京')
    bare.edit('left', 'stage = ', "print('Zürich → 東京')\nstage = ")
    scenario = bare.folder / 'scenarios/used_cars.yaml'
    scenario.write_text(scenario.read_text().replace('Kill me', 'Zürich ≥ 東京'), encoding='utf-8')
    assert (
        bare.run('run', environment={'HOME': '', 'LANG': 'C', 'LC_ALL': 'C', 'TERM': 'dumb'}).code
        == 0
    )
    without = {k: v for k, v in bare.environment.items() if k not in ('HOME', 'LANG', 'LC_ALL')}
    for words, more in (
        (['run', '-p', 'scale=2'], {'LC_ALL': 'C', 'PYTHONCOERCECLOCALE': '0', 'PYTHONUTF8': '0'}),
        (['run'], {'PYTHONIOENCODING': 'ascii'}),
    ):
        done = bare.run(*words, env=without | more)
        assert done.code == 0 and 'Traceback' not in done.err, done
    assert bare.content() == harness.references['fresh']


def test_I28_a_temporary_folder_that_is_removed_during_the_run_does_not_matter(
    harness, bare, tmp_path
):
    folder = tmp_path / 'tmp'
    folder.mkdir()
    bare.edit(
        'left',
        'stage = ',
        "import os; os.rename(os.environ['TMPDIR'], os.environ['TMPDIR'] + '-gone')\nstage = ",
    )
    done = bare.run('run', environment={'TMPDIR': str(folder)})
    assert done.code == 0, done
    assert bare.content() == harness.references['fresh']


DIGEST_END = 'digest = digest.hexdigest()\ntime.sleep(pause)'
DAEMON = '''import os, threading, time
def write_on(file):
    while True:
        file.write(b'late')
        file.flush()
        time.sleep(0.001)
threading.Thread(target=write_on, args=(open(product['rows'], 'ab'),), daemon=True).start()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        write_on(open(product['blob'], 'ab'))
    os._exit(0)
'''


@pytest.mark.parametrize('engine', ['warm', 'kernel'])
def test_N13_what_a_notebook_has_left_running_is_ended_before_its_products_are_known(built, engine):
    built.edit('left', DIGEST_END, DAEMON + DIGEST_END)
    done = built.run('run', '--until', 'left', '--engine', engine)
    assert built.still_alive(2.0) == []
    first = sha(built.current('left') / FILES['blob'])
    time.sleep(0.3)
    assert (
        done.code == 0
        and damage_of(built.current('left')) == ''
        and sha(built.current('left') / FILES['blob']) == first
    )
    assert built.run('run', '--until', 'left').out.count('unchanged') == 3
