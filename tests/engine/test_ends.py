"""How a run ends when a notebook goes wrong: exit code, last line, the notebook as far as it came,
and nothing that still runs."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from engine_notebooks import WRITE, Tiny
from projects import ROOT, copy_parts
from waiting import seconds, wait_for

HERE = 'open("here", "w").close()'                     # how a notebook says that it has come so far
FOREVER = f'{HERE}\nimport time\ntime.sleep(600)'
ERROR = 'papermill-error-cell-tag'
DRIVER = """
import json, sys
from cd4ml_nb.command.pipeline_commands import with_options
from cd4ml_nb.engine.pipeline import run
from cd4ml_nb.planning.plan import make_plan
told, engine, jobs = {}, sys.argv[1], int(sys.argv[2])
def listen(event):
    if event.kind in ('done', 'failed', 'stopped', 'kept'):
        told[event.stage] = [event.kind, event.text]
outcome = run(make_plan('scenarios/tiny.yaml', with_options(engine, jobs)), listen=listen)
print(json.dumps(told))
"""


@pytest.fixture
def tiny(tmp_path):
    project = Tiny(tmp_path / 'project')
    yield project
    project.end_all()


def marked(project: Tiny, stage: str, cell: str, name: str) -> nbformat.NotebookNode:
    """The notebook that a stage left, which must say on top how it ended, and in which cell; cells
    behind it did not run."""
    notebook = project.failed(stage)
    codes = [c for c in notebook.cells if c.cell_type == 'code']
    assert [c.cell_type for c in notebook.cells[:1]] == ['markdown'] and ERROR in notebook.cells[
        0
    ].metadata.tags, 'no banner'
    at = [c.id for c in codes].index(cell)
    errors = [o for o in codes[at].outputs if o.output_type == 'error']
    assert [o.ename for o in errors] == [name], codes[at].outputs
    assert codes[at].metadata.papermill == codes[at].metadata.papermill | {
        'status': 'failed',
        'exception': True,
    }
    assert [c.metadata.papermill.status for c in codes[:at]] == ['completed'] * at
    assert [
        (c.metadata.papermill.status, c.outputs, c.execution_count) for c in codes[at + 1 :]
    ] == [('pending', [], None)] * (len(codes) - at - 1)
    nbformat.validate(notebook)
    return notebook


def outputs(notebook: nbformat.NotebookNode, cell: str) -> list:
    return next(c.outputs for c in notebook.cells if c.id == cell)


# ---- N07: a cell raises

@pytest.mark.parametrize('engine', ['warm', 'kernel'])
def test_N07_a_cell_that_raises_is_named_and_the_command_on_the_screen_runs_it_again(tiny, engine):
    tiny.add('one', WRITE)
    tiny.add(
        'two',
        'print("kept")',
        '## Heading',
        'x = 2\n\nraise KeyError("gone\\nsecond line \\x1b[31m")',
        'print("never")',
        WRITE,
        upstream=('one',),
    )
    tiny.add('three', WRITE, upstream=('two',))
    words = ('--engine', engine) if engine == 'kernel' else ()
    done = tiny.run(*words).check(
        1,
        'ERROR N07 pages/two.ipynb:cell 5, line 3: KeyError: ',
        'gone',
        'products/tiny/two/failed/page.ipynb',
        ' --until two',
    )
    assert '\x1b' not in done.out + done.err
    assert (
        done.line('notebook') == 'products/tiny/two/failed/page.ipynb'
        and done.line('again') in done.last
    )
    notebook = marked(tiny, 'two', 'cell-4', 'KeyError')
    assert outputs(notebook, 'cell-2') == [
        {'output_type': 'stream', 'name': 'stdout', 'text': 'kept\n'}
    ]
    assert {stage: s['status'] for stage, s in tiny.record()['stages'].items()} == {
        'one': 'done',
        'two': 'failed',
    }
    assert (
        tiny.published('one')
        and not tiny.published('two')
        and 'KeyError' in (tiny.home / 'two/failed/traceback.txt').read_text()
    )
    if engine == 'kernel':
        return
    tiny.add('two', WRITE, upstream=('one',))
    program, *rest = shlex.split(done.line('again'))
    assert program == 'cd4ml'
    again = tiny.end(tiny.begin(command=program, options=tuple(rest))).check(0)
    assert (
        'two        done' in again.out
        and 'one        unchanged' in again.out
        and 'three' not in again.out
    )
    assert (tiny.published('two') / 'out.txt').read_text() == 'whole'


def test_N07_an_exception_in_the_package_names_the_notebook_of_its_function(tiny):
    copy_parts(tiny.folder, 'notebooks', 'cd4ml_nb')
    tiny.add('one', 'from cd4ml_nb.core.code import code_hash\n\ncode_hash(5)', WRITE)
    cells = json.loads((ROOT / 'notebooks/core/code.ipynb').read_text())['cells']
    number = next(
        k
        for k, c in enumerate(cells, start=1)
        if c['cell_type'] == 'code' and 'def tree_text(' in ''.join(c['source'])
    )
    tiny.run().check(
        1,
        'ERROR N07 pages/one.ipynb:cell 3, line 3: ',
        f'(raised in notebooks/core/code.ipynb:cell {number}, line ',
    )


# ---- everything a notebook may do, several at a time

FAULTY = {  # stage -> its cells and the words of its error
    'sysexit0': (
        ['print("kept")', 'import sys\nsys.exit(0)', WRITE],
        ['I04 pages/sysexit0.ipynb:cell 4', 'sys.exit(0) was called'],
    ),
    'sysexit1': (
        ['1', 'import sys\nsys.exit(1)', WRITE],
        ['I04 pages/sysexit1.ipynb:cell 4', 'sys.exit(1) was called'],
    ),
    'asks': (
        ['1', 'input("Password? ")', WRITE],
        ['N07 pages/asks.ipynb:cell 4, line 1: StdinNotImplementedError'],
    ),
    'swallows': (
        [
            "from pathlib import Path\ntry:\n    Path('/nowhere/at/all').write_text('x')\nexcept"
            " OSError:\n    pass"
        ],
        ["'out.txt' was not written", 'pages/swallows.ipynb'],
    ),
    'tagged': (
        ['1', ('1 / 0', {'tags': ['raises-exception']}), WRITE],
        ['N07 pages/tagged.ipynb:cell 4, line 1: ZeroDivisionError'],
    ),
    'captures': (
        ['%%capture\nfrom pathlib import Path\nPath(product["out"]).write_texts("x")', WRITE],
        ['N07 pages/captures.ipynb:cell 3, line 2: AttributeError'],
    ),
    'killed': (
        [
            'print("kept")',
            'print("lost")\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)',
            'print("never")',
            WRITE,
        ],
        ['I21 pages/killed.ipynb:cell 4', 'memory ran out', 'failed/page.ipynb'],
    ),
    'crashed': (
        ['print("kept")', 'import ctypes\nctypes.string_at(0)', WRITE],
        ['I21 pages/crashed.ipynb:cell 4', 'crash'],
    ),
    'leaves': (
        ['print("kept")', 'import os\nos._exit(0)', WRITE],
        ['pages/leaves.ipynb:cell 4', 'failed/page.ipynb'],
    ),
    'writes': (
        ['print("kept")', f'{WRITE}\nimport os\nos._exit(0)', '1'],
        ['pages/writes.ipynb:cell 4', 'failed/page.ipynb'],
    ),
    'full': (
        ['raise OSError(28, "No space left on device")', WRITE],
        ['I09 pages/full.ipynb:cell 3', 'disk full'],
    ),
    'numbers': (
        ['__import__("numpy").zeros(10**15)', WRITE],
        ['I19 pages/numbers.ipynb:cell 3', 'memory ran out'],
    ),
    'refuses': (
        [
            (
                'from cd4ml_nb.core.errors import UserError\nraise UserError("no such column",'
                ' "name another", where="a.csv:x", code="D01")'
            ),
            WRITE,
        ],
        ['D01 a.csv:x: no such column', 'name another'],
    ),
}
FINE = {
    'talks': ['print("x" * 3_000_000)', WRITE],
    'spawns': [
        (
            'import subprocess, sys\nsubprocess.Popen([sys.executable, "-c", "import time;'
            ' time.sleep(600)"], start_new_session=True)'
        ),
        WRITE,
    ],
    'threads': [
        'import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()',
        WRITE,
    ],
}


@pytest.fixture(scope='module', params=['warm', 'kernel'])
def gallery(request, tmp_path_factory):
    """A project whose notebooks all go wrong at the same time; engine, project, and what was told:
    stage -> (kind, text)."""
    project = Tiny(tmp_path_factory.mktemp(request.param) / 'project')
    fine = FINE if request.param == 'warm' else {'spawns': FINE['spawns']}
    if request.param == 'warm':
        faulty = FAULTY
    else:
        faulty = {name: FAULTY[name] for name in ('sysexit0', 'asks', 'tagged', 'killed', 'writes')}
    if request.param == 'warm':
        faulty = faulty | {'exits': (['1', 'exit()', WRITE], ['I04 pages/exits.ipynb:cell 4'])}
    for stage, sources in [
        *fine.items(),
        *((stage, cells) for stage, (cells, _) in faulty.items()),
    ]:
        project.add(stage, *sources)
    done = subprocess.run(
        [sys.executable, '-c', DRIVER, request.param, '99'],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    yield request.param, project, json.loads(done.stdout) if done.returncode == 0 else done.stderr
    project.end_all()


def told_of(gallery, stage):
    engine, project, events = gallery
    assert isinstance(events, dict), events
    if stage not in project.stages:
        pytest.skip('with the other engine only')
    return project, events[stage]


@pytest.mark.parametrize('stage', [*FAULTY, 'exits'])
def test_a_notebook_that_goes_wrong_names_its_cell_and_is_never_published(gallery, stage):
    project, (kind, text) = told_of(gallery, stage)
    words = FAULTY[stage][1] if stage in FAULTY else ['I04 pages/exits.ipynb:cell 4']
    assert kind == 'failed' and 'PageShell' not in text
    assert not [word for word in words if word not in text], text
    assert not project.published(stage) and project.record()['stages'][stage]['status'] == 'failed'
    assert (project.home / stage / 'failed/traceback.txt').read_text().strip()


@pytest.mark.parametrize(('stage', 'name'), [
    ('sysexit0', 'SystemExit'),
    ('asks', 'StdinNotImplementedError'),
    ('tagged', 'ZeroDivisionError'),
])
def test_the_kept_notebook_of_an_exception_shows_where_it_stopped(gallery, stage, name):
    project, _ = told_of(gallery, stage)
    if stage == 'tagged':          # the notebook went on behind it
        notebook = project.failed(stage)
        assert notebook.cells[0].metadata.tags == [ERROR] and [
            o.ename for o in outputs(notebook, 'cell-3')
        ] == [name]
    else:
        marked(project, stage, 'cell-3', name)


@pytest.mark.parametrize('stage', ['killed', 'crashed', 'leaves', 'writes'])
def test_I21_the_notebook_of_a_process_that_died_is_marked_and_keeps_what_was_there(gallery, stage):
    project, (_, text) = told_of(gallery, stage)
    notebook = project.failed(stage)
    if gallery[0] == 'kernel':
        name = next(
            o.ename
            for c in notebook.cells
            if c.id == 'cell-3'
            for o in c.outputs
            if o.output_type == 'error'
        )
    else:
        name = 'died'
    notebook = marked(project, stage, 'cell-3', name)
    assert outputs(notebook, 'cell-2') == [
        {'output_type': 'stream', 'name': 'stdout', 'text': 'kept\n'}
    ]
    assert 'did not end well' in notebook.cells[0].source and 'cell 4' in notebook.cells[0].source


@pytest.mark.parametrize('stage', list(FINE))
def test_a_notebook_that_leaves_something_behind_is_done_and_what_it_left_is_ended(gallery, stage):
    project, (kind, _) = told_of(gallery, stage)
    assert kind == 'done' and (project.published(stage) / 'out.txt').read_text() == 'whole'
    if stage == 'talks':
        assert (project.published(stage) / 'page.ipynb').stat().st_size > 3_000_000


def test_nothing_is_alive_after_a_run_in_which_everything_went_wrong(gallery):
    gallery[1].assert_quiet()


def test_two_stages_that_fail_at_the_same_time_are_both_explained(tiny):
    tiny.add('one', 'import time\ntime.sleep(0.5)\nraise KeyError("first")')
    tiny.add('two', 'import time\ntime.sleep(0.5)\nraise ValueError("second")')
    tiny.add('slow', 'import time\ntime.sleep(2)', WRITE)           # runs already, and is finished
    tiny.add('later', WRITE, upstream=('slow',))
    done = tiny.run('--jobs', '3').check(1, 'ERROR N07 pages/')
    assert {stage: s['status'] for stage, s in tiny.record()['stages'].items()} == {
        'one': 'failed',
        'two': 'failed',
        'slow': 'done',
    }
    assert (tiny.published('slow') / 'out.txt').read_text() == 'whole'
    said = done.out + done.err
    assert (
        "KeyError: 'first'" in said
        and 'ValueError: second' in said
        and 'pages/one.ipynb:cell 3' in said
        and 'pages/two.ipynb:cell 3' in said
    )


# ---- I19, I21, I22, I23: exit codes of the command

def test_I19_a_notebook_that_runs_out_of_memory_ends_with_4(tiny):
    limit = (
        'import os, resource\nused = int(open("/proc/self/statm").read().split()[0]) *'
        ' os.sysconf("SC_PAGE_SIZE")\nresource.setrlimit(resource.RLIMIT_AS, (used + 2**26,'
        ' resource.RLIM_INFINITY))'
    )
    tiny.add('one', limit, 'big = []\nfor k in range(64):\n    big.append(bytearray(2**24))', WRITE)
    tiny.run().check(
        4,
        'ERROR I19 pages/one.ipynb:cell 4, line 3: memory ran out: MemoryError',
        'fewer rows',
        'cd4ml run -s tiny --until one',
    )
    marked(tiny, 'one', 'cell-3', 'MemoryError')


def test_I21_a_killed_notebook_ends_with_4_and_is_not_published_with_what_it_had_written(tiny):
    tiny.add('one', WRITE, 'import os, signal\nos.kill(os.getpid(), signal.SIGKILL)')
    tiny.run().check(
        4,
        'ERROR I21 pages/one.ipynb:cell 4: ',
        'SIGKILL',
        'failed/page.ipynb',
        'cd4ml run -s tiny --until one',
    )
    assert not tiny.published('one') and tiny.record()['exit_code'] == 4


def came_to(project: Tiny, stage: str, cell: str) -> bool:
    """Whether the failed notebook of a stage had begun a cell."""
    if not (project.home / stage / 'failed/page.ipynb').exists():
        return False
    found = next(c for c in project.failed(stage).cells if c.id == cell)
    return found.metadata.get('papermill', {}).get('status') == 'failed'


def test_I22_hanging_notebooks_are_ended_with_all_that_they_started(tiny):
    tiny.add('sleeps', '1', 'import time\ntime.sleep(600)', WRITE)
    tiny.add(
        'deaf',
        '1',
        'import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True:'
        ' time.sleep(1)',
        WRITE,
    )
    tiny.add(
        'waits',
        '1',
        'import subprocess\nsubprocess.run(["sh", "-c", "trap : TERM; while :; do sleep 1; done"],'
        ' start_new_session=True)',
        WRITE,
    )
    tiny.add(
        'swallows',
        '1',
        'import time\nwhile True:\n    try:\n        time.sleep(600)\n    except BaseException:\n  '
        '      pass',
        WRITE,
    )
    tiny.add('quick', WRITE)
    hanging = ('sleeps', 'deaf', 'waits', 'swallows')
    for limit in (5, 20, 80):          # until every notebook has come as far as the cell that hangs
        done = tiny.run('--jobs', '5', CD4ML_STAGE_TIMEOUT=str(limit))
        if all(came_to(tiny, stage, 'cell-3') for stage in hanging):
            break
    done.check(
        4,
        'ERROR I22 pages/',
        ':cell 4',
        f'more than {limit} s',
        'stage_timeout',
        'failed/page.ipynb',
    )
    record = tiny.record()['stages']
    assert {stage: s['status'] for stage, s in record.items()} == dict.fromkeys(
        tiny.stages, 'failed'
    ) | {'quick': 'done'}
    # the limit, patience with the deaf, and what a machine needs to notice
    ended = [record[stage]['seconds'] for stage in hanging]
    assert max(ended) < limit + 3 + seconds(5), record
    assert done.seconds < limit + seconds(30)
    for stage in hanging:
        marked(tiny, stage, 'cell-3', 'timeout')


def test_I22_a_hanging_kernel_is_ended(tiny):
    tiny.add('one', 'print("kept")', 'import time\ntime.sleep(600)', WRITE)
    for limit in (4, 20, 100):
        # a kernel takes a second to start, or a loaded machine's half minute
        done = tiny.run('--engine', 'kernel', CD4ML_STAGE_TIMEOUT=str(limit))
        if ':cell' in done.last:
            break
    done.check(
        4,
        'ERROR I22 pages/one.ipynb:cell 4',
        f'more than {limit} s',
        'cd4ml run -s tiny --engine kernel --until one',
    )
    assert outputs(marked(tiny, 'one', 'cell-3', 'timeout'), 'cell-2')[0].text == 'kept\n'


def test_I23_a_missing_kernel_ends_with_2_and_the_command_that_installs_it(tiny):
    tiny.add('one', WRITE)
    path = tiny.folder / 'pages/one.ipynb'
    path.write_text(path.read_text().replace('"name": "python3"', '"name": "nosuch"'))
    tiny.run('--engine', 'kernel').check(
        2, 'ERROR I23 pages/one.ipynb: ', 'nosuch', 'ipykernel install'
    )


def test_N09_two_cells_with_one_id_are_refused_before_anything_runs(tiny):
    tiny.add('one', HERE, WRITE)
    path = tiny.folder / 'pages/one.ipynb'
    path.write_text(path.read_text().replace('"cell-3"', '"cell-2"'))
    tiny.run().check(2, 'ERROR N09 pages/one.ipynb: two cells have the same id')
    assert not (tiny.folder / 'here').exists()


# ---- I07, I08: interrupted

DEAF = 'import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n'


def interrupted(tiny, how, number, times=1, engine='warm'):
    """Start a run, and send a signal when its second notebook is in the middle of a cell; with two,
    one that does not hear SIGTERM."""
    tiny.add('one', WRITE)
    tiny.add(
        'two',
        'print("kept")',
        (DEAF if times > 1 else '') + FOREVER,
        'print("never")',
        WRITE,
        upstream=('one',),
    )
    words = ('--engine', engine) if engine == 'kernel' else ()
    running = tiny.begin(*words)
    tiny.when('here')
    begun = time.monotonic()
    for _ in range(times):
        os.killpg(running.pid, number) if how == 'group' else os.kill(running.pid, number)
        time.sleep(0.3)
    done = tiny.end(running)
    return done, time.monotonic() - begun, shlex.join(['cd4ml', 'run', '-s', 'tiny', *words])


@pytest.mark.parametrize(('how', 'times', 'engine'), [
    ('group', 1, 'warm'),
    ('process', 1, 'warm'),
    ('group', 2, 'warm'),
    ('group', 1, 'kernel'),
])
def test_I07_ctrl_c_stops_the_notebook_keeps_it_and_says_how_to_go_on(tiny, how, times, engine):
    done, took, command = interrupted(tiny, how, signal.SIGINT, times, engine)
    done.check(130, swept=times == 1)
    assert done.last == f'stopped; resume with: {command}'
    assert took < seconds(5)
    if times == 1:
        assert 'stopped in pages/two.ipynb:cell 4' in done.out
        assert {stage: s['status'] for stage, s in tiny.record()['stages'].items()} == {
            'one': 'done',
            'two': 'stopped',
        }
        assert outputs(marked(tiny, 'two', 'cell-3', 'stopped'), 'cell-2')[0].text == 'kept\n'
    if how == 'process' or times == 2:
        program, *rest = shlex.split(done.last.removeprefix('stopped; resume with: '))
        tiny.add('two', WRITE, upstream=('one',))
        assert (
            'one        unchanged'
            in tiny.end(tiny.begin(command=program, options=tuple(rest))).check(0).out
        )


@pytest.mark.parametrize('engine', ['warm', 'kernel'])
def test_I08_a_terminated_run_ends_with_143_and_leaves_nothing(tiny, engine):
    done, took, command = interrupted(tiny, 'process', signal.SIGTERM, engine=engine)
    assert done.check(143).last == f'stopped; resume with: {command}'
    assert took < seconds(10)
    marked(tiny, 'two', 'cell-3', 'stopped')


def test_a_run_that_is_killed_takes_its_notebooks_along(tiny):
    tiny.add(
        'one',
        'import subprocess\nsubprocess.Popen(["sleep", "600"], start_new_session=True)',
        FOREVER,
    )
    running = tiny.begin()
    tiny.when('here')
    # the command, its server, the notebook, and what that started
    wait_for(lambda: len(tiny.alive()) >= 4, 60, 'the command, server, page and child')
    assert tiny.locked()
    running.kill()
    running.communicate()
    wait_for(lambda: not tiny.alive() and not tiny.locked(), 60, 'what the run left to end')


# ---- several at a time

MEETING = """import time
from pathlib import Path
Path(f'{name}-{stage}').touch()
until = time.monotonic() + patience
while not Path(f'{name}-{other}').exists() and time.monotonic() < until:
    time.sleep(0.02)
met = Path(f'{name}-{other}').exists()
Path(product['out']).write_text('met' if met else 'alone')"""


def test_stages_overlap_with_two_jobs_and_follow_each_other_with_one(tiny):
    # one after the other, the first waits for the second in vain
    for jobs, patience, expected in (('2', 60, ['met', 'met']), ('1', 1, ['alone', 'met'])):
        for stage, other in (('one', 'two'), ('two', 'one')):
            own = f'name, stage, other, patience = {jobs!r}, {stage!r}, {other!r}, {patience}'
            tiny.add(stage, own, MEETING)
        tiny.run('--jobs', jobs).check(0)
        found = [(tiny.published(stage) / 'out.txt').read_text() for stage in ('one', 'two')]
        assert sorted(found) == expected


# ---- a debugger

def test_debug_shows_the_state_of_a_failed_notebook_and_the_command_still_fails(tiny):
    tiny.add(
        'one',
        'secret_value = 40 + 2',
        'def inner(n):\n    deep_value = n + 1\n    raise KeyError("gone")',
        'print("said")\ninner(secret_value)',
        WRITE,
    )
    running = subprocess.Popen(
        [shutil.which('cd4ml', path=tiny.environment['PATH']), 'run', '-s', 'tiny', '--debug'],
        cwd=tiny.folder,
        env=tiny.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    out, err = running.communicate(
        'p secret_value\np deep_value\nup\np secret_value * 2\nq\n', timeout=300
    )
    last = err.rstrip('\n').split('\n')[-1]
    assert running.returncode == 1 and last.startswith(
        "ERROR N07 pages/one.ipynb:cell 5, line 2: KeyError: 'gone'"
    ), (out, err)
    shown = out + err
    assert '42' in shown and '43' in shown and '84' in shown and 'p NAME shows a variable' in shown
    tiny.assert_quiet()
    notebook = marked(tiny, 'one', 'cell-4', 'KeyError')
    assert outputs(notebook, 'cell-4')[0].text == 'said\n'
