"""The warm engine leaves in an executed notebook what a kernel leaves there: the same cells by
both, compared output by output."""

import json
import os
import re
import subprocess
import sys
import textwrap

import nbformat
import pytest
from engine_notebooks import notebook
from runs import PAPERMILL

PIXEL = (
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E'
    'rkJggg=='
)
CELLS = {  # what it is about -> the cell; none of them raises
    'imports': (
        'import asyncio, base64, contextlib, ctypes, doctest, getpass, inspect, io, logging, os,'
        ' pickle, signal, subprocess, sys, threading, time\nimport traceback, typing, warnings,'
        ' multiprocessing\nfrom concurrent.futures import ProcessPoolExecutor,'
        ' ThreadPoolExecutor\nfrom dataclasses import dataclass\nfrom IPython.display import'
        ' *\nfrom IPython.display import update_display\nfork = multiprocessing.get_context("fork")'
    ),
    'name': '__name__, "__file__" in globals()',
    # ---- printed
    'print': (
        "print('one'); print('two', file=sys.stderr); print('three', end=''); print(' four',"
        " flush=True)"
    ),
    'interleaved': "for k in range(3):\n    print('out', k)\n    print('err', k, file=sys.stderr)",
    'around a display': "print('before'); display(1); print('after')\n2",
    'unicode': "print('äöü 🐍 \\u2028 x'); 'äöü 🐍'",
    'control': "print('a\\x00b\\x1b[31mred\\x1b[0m')",
    'huge': "print('x' * 100_000)",
    'write': "sys.stdout.writelines(['a\\n', 'b\\n'])\nsys.stdout.write('abc')",
    'write bytes': (
        "try:\n    sys.stdout.write(b'x')\nexcept TypeError as e:\n    print(type(e).__name__)"
    ),
    'stream': (
        "hasattr(sys.stdout, 'buffer'), sys.stdout.isatty(), sys.stdin.isatty(),"
        " sys.stdout.encoding.lower(), sys.stdout.writable(), sys.stdout.readable()"
    ),
    # a kernel loses what comes after it is idle, and a thread of its own reads what comes this way:
    # the cell lasts longer where others use the machine
    'original': (
        "import os\nprint('to the original', file=sys.__stdout__, flush=True)\n"
        "time.sleep(0.3 * max(1, os.getloadavg()[0]))"
    ),
    'redirect': "with contextlib.redirect_stdout(io.StringIO()) as f: print('in')\nf.getvalue()",
    'saved': 'saved = sys.stdout',
    'print saved': "print('by an earlier name', file=saved)",
    'carriage': (
        "for k in range(4):\n    sys.stdout.write(f'\\r{k}/3'); sys.stdout.flush()\nprint()"
    ),
    'tqdm': (
        "from tqdm import tqdm\nfor k in tqdm(range(3), mininterval=0, ncols=60,"
        " bar_format='{l_bar}{bar}|{n_fmt}'): pass"
    ),
    # ---- the last value
    'value': 'x = 5\nx',
    'semicolon': 'x;',
    'semicolon comment': 'x; # not shown',
    'semicolon in text': "'a;'",
    'none': 'None',
    'two values': 'x\nx + 1',
    'underscores': '_, __',
    'In and Out': 'len(In) > 3, sorted(Out)[:2]',
    'long': 'list(range(2000))',
    'class': 'class K: pass\nK.__qualname__, K.__module__, K',
    'displayhook': "sys.displayhook('through the hook')",
    'count': 'get_ipython().execution_count',
    'empty': '',
    'comment': '# nothing',
    'precision': '%precision 2\n3.14159',
    'precision back': '%precision\n3.14159',
    # ---- displayed
    'rich': (
        "display(HTML('<b>x</b>'), Markdown('**x**'), JSON({'a': [1, None]}), Latex('$x$'))\n'last'"
    ),
    'svg': "SVG('<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"3\" height=\"3\"></svg>')",
    'image': f"Image(data=base64.b64decode('{PIXEL}'))",
    'plain': "display(1, 'two', [3], {'four': 4}); print('after')",
    'frame': "import pandas as pd\npd.DataFrame({'a': [1, 2], 'b': ['x', None]})",
    'frame and series': "display(pd.DataFrame({'a': [1, 2]})); pd.Series([1, 2], name='s')",
    'width': "pd.get_option('display.max_rows'), pd.get_option('display.width')",
    'custom': (
        "class R:\n    def _repr_html_(self): return '<b>r</b>'\n    def __repr__(self): return"
        " 'R'\nR()"
    ),
    'bundle': (
        "class M:\n    def _repr_mimebundle_(self, include=None, exclude=None): return"
        " {'text/plain': 'm', 'application/x+json': {'a': 1}}, {'text/plain': {'k': 1}}\nM()"
    ),
    'displays itself': "class D:\n    def _ipython_display_(self): print('displayed itself')\nD()",
    'raw': (
        "display({'text/plain': 'p', 'text/html': '<i>h</i>'}, raw=True, metadata={'text/html':"
        " {'isolated': True}})"
    ),
    'publish': "publish_display_data({'text/plain': 'published'})",
    # ---- updated and cleared
    'handle': (
        "h = display('first', display_id='d1'); display(HTML('<i>f</i>'), display_id='d2');"
        " h.display_id"
    ),
    'updated here': (
        "g = display('g1', display_id=True)\ng.update('g2')\nprint('between')\ng.update(HTML('g3'))"
    ),
    'updated later': (
        "h.update('updated later'); update_display(HTML('<i>new</i>'), display_id='d2')"
    ),
    'updated unknown': "update_display('nobody', display_id='unknown')",
    'first of an id': "display('old', display_id='d3')",
    'again of an id': "display('new', display_id='d3')",
    'clear': "print('a'); clear_output(); print('b')",
    'clear wait': "print('a'); clear_output(wait=True); print('b')",
    'clear wait for nothing': "print('kept'); clear_output(wait=True)",
    'clear all': "print('a'); display(HTML('x')); clear_output()",
    'clear in a loop': 'for k in range(3):\n    clear_output(wait=True)\n    display(k)',
    'clear and update': (
        "print('x')\nq = display('q', display_id=True)\nclear_output(wait=True)\nq.update('q2')"
    ),
    # ---- past Python
    'shell': '!echo from the shell',
    'shell stderr': '!echo to stderr >&2',
    'shell capture': "lines = !printf 'a\\nb'\nlines",
    'shell variable': '!echo {x} $x',
    'shell exit': '!exit 3\nprint(_exit_code)',
    'bash': '%%bash\necho from bash\necho to err >&2',
    'subprocess': "subprocess.run(['echo', 'child']); time.sleep(0.3)",
    'subprocess stderr': (
        "subprocess.run('echo child err >&2', shell=True).returncode; time.sleep(0.3)"
    ),
    'os.write': "os.write(1, b'raw out\\n'); os.write(2, b'raw err\\n'); time.sleep(0.3)",
    'raw between': (
        "print('first', flush=True); os.write(1, b'second\\n'); time.sleep(0.3); print('third')"
    ),
    'raw before a display': "os.write(1, b'early\\n'); time.sleep(0.3); display('late')",
    'os.system': "os.system('echo system'); time.sleep(0.3)",
    'C': "ctypes.CDLL(None).printf(b'from C\\n'); ctypes.CDLL(None).fflush(None); time.sleep(0.3)",
    'raw bytes': "os.write(1, b'\\xff\\xfe ok\\n'); time.sleep(0.3)",
    # ---- warned and logged
    'warning': "warnings.warn('beware')",
    'warnings': "for k in range(2): warnings.warn('twice', UserWarning)",
    'deprecation': "def old(): warnings.warn('old', DeprecationWarning, stacklevel=2)\nold()",
    'logging': (
        "logging.warning('logged'); logging.getLogger('x').error('by x'); logging.info('not shown')"
    ),
    'logging set up': "logging.basicConfig(level='INFO', force=True); logging.info('now shown')",
    'handler': (
        "log = logging.getLogger('own'); log.propagate = False;"
        " log.addHandler(logging.StreamHandler(sys.stdout)); log.warning('own')"
    ),
    'handler later': "log.warning('own, later')",
    'caught': 'try:\n    1 / 0\nexcept Exception:\n    traceback.print_exc(limit=1)',
    # ---- magics
    'await': "await asyncio.sleep(0.01)\n'awaited'",
    'await value': "await asyncio.sleep(0.01, 'value')",
    'async for': 'async def gen():\n    for k in range(2): yield k\n[k async for k in gen()]',
    'time': '%%time\nz = 1',
    'time value': '%time 1 + 1',
    'timeit': '%timeit -n1 -r1 1 + 1',
    'capture': "%%capture got\nprint('captured'); print('err', file=sys.stderr); display('shown')",
    'captured': 'got.stdout, got.stderr, len(got.outputs)',
    'capture away': "%%capture\nprint('gone')\n5",
    'show captured': 'got.show()',
    'writefile': '%%writefile /dev/null\ntext',
    'env': "%env CD4_X=5\nos.environ['CD4_X']",
    'cd': "here = os.getcwd()\n%cd -q /\nos.getcwd()",
    'cd back': 'os.chdir(here)',
    'pprint': "from pprint import pprint; pprint({'a': 1})",
    'help': 'help(len)',
    # ---- figures
    'inline': '%matplotlib inline',
    'figure': 'import matplotlib.pyplot as plt\nplt.plot([1, 2]);',
    'figure and value': 'plt.plot([1, 2])',
    'two figures': 'plt.figure(); plt.plot([1]); plt.figure(); plt.plot([2]);',
    'show': "plt.plot([1, 2]); print('before'); plt.show(); print('after')",
    'show twice': 'for k in range(2):\n    plt.plot([k]); plt.show()',
    'figure last': 'fig, ax = plt.subplots(); ax.plot([1]); fig',
    'figure closed': 'fig, ax = plt.subplots(); plt.close(fig); fig',
    'figure displayed': 'fig, ax = plt.subplots(); display(fig); plt.close()',
    'figures left': 'len(plt.get_fignums()), plt.get_backend()',
    'figure as svg': "%config InlineBackend.figure_formats = ['svg']\nplt.plot([1]);",
    'figure as png': "%config InlineBackend.figure_formats = ['png']\nplt.plot([1]);",
    'figure settings': (
        "plt.rcParams['figure.figsize'], plt.rcParams['savefig.bbox'],"
        " plt.rcParams['figure.facecolor'], plt.rcParams['figure.dpi']"
    ),
    # ---- the shell and the module
    'get_ipython': (
        "get_ipython().user_ns['x'], get_ipython().run_line_magic('pwd', '') == os.getcwd()"
    ),
    'run_cell': "get_ipython().run_cell('print(7); 8').result",
    'hook': (
        "def after(result): print('post_run_cell',"
        " result.success)\nget_ipython().events.register('post_run_cell', after)"
    ),
    'hook off': "get_ipython().events.unregister('post_run_cell', after)\n1",
    'pickle': 'def f(x): return x + 1\npickle.loads(pickle.dumps(f)) is f',
    'dataclass': '@dataclass\nclass P:\n    a: int\npickle.loads(pickle.dumps(P(1))), P.__module__',
    'main': "import __main__; __main__.x, __main__.P is P, sys.modules['__main__'] is __main__",
    'hints': "class A:\n    b: 'P'\ntyping.get_type_hints(A)",
    'source': 'inspect.getsource(f)',
    'doctest': (
        "def g():\n    '''\n    >>> g()\n    1\n    '''\n    return 1\ndoctest.testmod(__main__)"
    ),
    'exec': "exec('print(\"from exec\")'); eval('1 + 1')",
    'interpreter': (
        "sys.flags.interactive, hasattr(sys, 'ps1'), sys.getrecursionlimit(), sys.gettrace() is"
        " None, signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    ),
    'path': "'' in sys.path",
    # ---- processes and threads
    'pool': 'with fork.Pool(2) as pool: print(pool.map(f, [1, 2]))',
    'executor': (
        'with ProcessPoolExecutor(2, mp_context=fork) as ex: print(list(ex.map(f, [1, 2])))'
    ),
    'child prints': (
        "p = fork.Process(target=print, args=('in a child',), kwargs={'flush': True}); p.start();"
        " p.join(); time.sleep(0.3)\np.exitcode"
    ),
    'pool prints': "with fork.Pool(1) as pool: pool.map(print, ['by a worker'])\ntime.sleep(0.3)",
    'thread': "th = threading.Thread(target=lambda: print('in a thread')); th.start(); th.join()",
    'threads': 'with ThreadPoolExecutor(2) as ex: print(list(ex.map(f, [1, 2])))',
    # ---- nobody types
    'input': "try:\n    input('? ')\nexcept Exception as e:\n    print(type(e).__name__, e)",
    'getpass': 'try:\n    getpass.getpass()\nexcept Exception as e:\n    print(type(e).__name__)',
    'stdin': 'sys.stdin.read()',
    'end': "'alive'",
}
ASYNC = {
    'loop': 'import asyncio\nasyncio.get_running_loop().is_running()',
    'start': (
        'seen = []\nasync def later():\n    await asyncio.sleep(0.01)\n    seen.append(1)\ntask ='
        ' asyncio.create_task(later())'
    ),
    'end': 'await asyncio.sleep(0.1)\nseen, task.done()',
    'gather': 'await asyncio.gather(asyncio.sleep(0.01, 1), asyncio.sleep(0.01, 2))',
    'run': (
        'c = asyncio.sleep(0)\ntry:\n    asyncio.run(c)\nexcept RuntimeError as e:\n   '
        ' print(e)\nc.close()'
    ),
}
ERRORS = {
    'in a function': "def f():\n    raise KeyError('gone')\nprint('a')\nf()",
    'syntax': 'y = (\nz',
    'indentation': 'def f():\nreturn 1',
    'input': "input('? ')",
    'interrupt': 'raise KeyboardInterrupt',
    'chained': "try:\n    1 / 0\nexcept Exception as e:\n    raise ValueError('from') from e",
    'no text': "class E(Exception):\n    def __str__(self): raise ValueError('in str')\nraise E()",
    'colours': "raise ValueError('one\\ntwo \\x1b[31m red')",
    'magic': '%nosuchmagic',
    'cell magic': '%%nosuchmagic\nx',
    'bash': '%%bash\nexit 3',
    'base': "class E(BaseException): pass\nraise E('base')",
    'own traceback': (
        "class E(Exception):\n    def _render_traceback_(self): return ['mine']\nraise E('x')"
    ),
    'after await': "import asyncio\nawait asyncio.sleep(0)\nraise ValueError('after await')",
    'cancelled': 'import asyncio\nraise asyncio.CancelledError',
    'system': 'raise OSError(28, "No space left on device", "/x")',
    'surrogate': "raise ValueError('\\udc80')",
    'representation': (
        "class B:\n    def _repr_html_(self): raise ValueError('in repr')\n    def __repr__(self):"
        " return 'B'\nB()"
    ),
    'shown': 'try:\n    1 / 0\nexcept ZeroDivisionError:\n    get_ipython().showtraceback()',
}
AT_ONCE = [
    "import sys\nprint('original', file=sys.__stdout__, flush=True)",
    "import os\nos.write(1, b'raw\\n');",
    "import ctypes\nctypes.CDLL(None).puts(b'C'); ctypes.CDLL(None).fflush(None);",
]
OTHERS = {
    'at-once': AT_ONCE,
    'surrogates': ["print('\\udc80 x')", "'\\udc80'"],
    'tagged': [('1 / 0', {'tags': ['raises-exception']}), "print('goes on')"],
    'async': list(ASYNC.values()),
    **{f'error {k}': ['1', source, "print('never')"] for k, source in enumerate(ERRORS.values())},
}
DRIVER = """
import json, sys, papermill
for name, engine in json.loads(sys.argv[1]):
    try:
        papermill.execute_notebook(
            f'{name}.ipynb', f'{name}.{engine}.ipynb', kernel_name='python3', progress_bar=False,
            engine_name=engine if engine == 'cd4ml' else None,
        )
        print(name, engine, 'ended well')
    except Exception as error:
        print(name, engine, type(error).__name__)
"""


@pytest.fixture(scope='module')
def executed(tmp_path_factory):
    """A folder in which everything was executed twice, and who told what: (notebook, engine) -> how
    it ended."""
    folder = tmp_path_factory.mktemp('executed')
    cells = [(source, {'tags': []}) for source in CELLS.values()]
    nbformat.write(notebook(*cells), folder / 'all.ipynb')
    nbformat.write(
        notebook(*((source, {'tags': ['raises-exception']}) for source in ERRORS.values())),
        folder / 'errors.ipynb',
    )
    for name, sources in OTHERS.items():
        nbformat.write(notebook(*sources), folder / f'{name}.ipynb')
    command = subprocess.run(
        [str(PAPERMILL), 'all.ipynb', 'all.cd4ml.ipynb', '--engine', 'cd4ml', '--no-progress-bar'],
        cwd=folder,
        env=without_pytest(),
        capture_output=True,
        text=True,
        errors='replace',
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    pairs = [
        *((name, 'cd4ml') for name in OTHERS),
        *((name, 'kernel') for name in ('all', 'errors', 'surrogates', 'tagged', 'async')),
    ]
    ends = driven(DRIVER, json.dumps(pairs), cwd=folder)
    return (
        folder,
        command,
        {
            (
                tuple(line.rsplit(maxsplit=2)[:2])
                if 'well' not in line
                else tuple(line.rsplit(maxsplit=3)[:2])
            ): line
            for line in ends.stdout.splitlines()
            if line.split()[0] in (*OTHERS, 'all', 'errors', 'error')
        },
    )


def without_pytest():
    """The environment outside pytest; in it, kernels leave alone what goes past Python."""
    return {k: v for k, v in os.environ.items() if not k.startswith('PYTEST')}


def driven(code, *words, cwd):
    """Run some code in a process of its own."""
    done = subprocess.run(
        [sys.executable, '-c', code, *words],
        cwd=cwd,
        env=without_pytest(),
        capture_output=True,
        text=True,
        errors='replace',
        stdin=subprocess.DEVNULL,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def cells_of(folder, name, engine):
    """The code cells of an executed notebook."""
    return {
        cell.id: cell
        for cell in nbformat.read(folder / f'{name}.{engine}.ipynb', as_version=4).cells
        if cell.cell_type == 'code'
    }


def plain(outputs):
    """Outputs without what differs from process to process; what was printed in a row, by name, as
    a kernel sends the two in bundles."""
    found = []
    streams = {}
    for output in [*json.loads(json.dumps(outputs)), {'output_type': 'end'}]:
        if output['output_type'] == 'stream':
            streams[output['name']] = streams.get(output['name'], '') + output['text']
            continue
        found += [
            {'output_type': 'stream', 'name': name, 'text': text}
            for name, text in sorted(streams.items())
        ]
        streams = {}
        if output['output_type'] == 'error':
            output['traceback'] = '\n'.join(output['traceback'])
        found.append(output)
    return [settled(output) for output in found[:-1]]


def settled(value):
    """A value without colours, addresses, paths of cells, durations and pixels."""
    if isinstance(value, dict):
        return {
            k: (
                'a figure'
                if k == 'image/png' and len(v) > 1000
                else (
                    re.sub('(?s).*<svg.*', 'a drawing', v)
                    if k == 'image/svg+xml' and len(v) > 1000
                    else settled(v)
                )
            )
            for k, v in value.items()
        }
    if not isinstance(value, str):
        return value
    for pattern, instead in (
        (r'\x1b\[[0-9;]*m', ''),
        (r'0x[0-9a-f]{6,}', '0x'),
        (r'<ipython-input-[^>]*>|/tmp/ipykernel_\d+/\d+\.py|\b\d{6,}\.py', 'CELL'),
        (r'[\d.e+]+ (ns|[µμ]s|ms|s)\b', 'TIME'),
        (r'TIME ± TIME per loop', 'TIME per loop'),
        (r'(?m)^.*RuntimeWarning: .*\n.*\n', ''),
    ):
        value = re.sub(pattern, instead, value)
    return value


def test_the_papermill_command_runs_every_cell_with_the_warm_engine(executed):
    folder, command, _ = executed
    assert command.returncode == 0, command.stderr[-3000:]
    assert command.stdout == ''  # what notebooks print is in the notebook, and nowhere else
    cells = cells_of(folder, 'all', 'cd4ml')
    assert [cell.metadata.papermill.status for cell in cells.values()] == ['completed'] * len(CELLS)
    nbformat.validate(nbformat.read(folder / 'all.cd4ml.ipynb', as_version=4))


@pytest.mark.parametrize('about', list(CELLS))
def test_a_cell_leaves_what_it_leaves_with_a_kernel(executed, about):
    folder, _, _ = executed
    name = f'cell-{list(CELLS).index(about)}'
    warm = cells_of(folder, 'all', 'cd4ml')[name]
    kernel = cells_of(folder, 'all', 'kernel')[name]
    assert plain(warm.outputs) == plain(kernel.outputs)
    assert warm.execution_count == kernel.execution_count


def test_what_goes_past_python_just_before_a_cell_ends_is_in_that_cell(executed):
    found = [plain(cell.outputs) for cell in cells_of(executed[0], 'at-once', 'cd4ml').values()]
    assert found == [
        [{'output_type': 'stream', 'name': 'stdout', 'text': text}]
        for text in ('original\n', 'raw\n', 'C\n')
    ]


@pytest.mark.parametrize(('about', 'n'), [
    ('figure', 1),
    ('figure and value', 1),
    ('two figures', 2),
    ('show', 1),
    ('show twice', 2),
    ('figure last', 2),
    ('figure displayed', 1),
])
def test_a_figure_appears_once_as_png(executed, about, n):
    folder, _, _ = executed
    outputs = cells_of(folder, 'all', 'cd4ml')[f'cell-{list(CELLS).index(about)}'].outputs
    assert [sorted(o.data) for o in outputs if 'image/png' in o.get('data', {})] == [
        ['image/png', 'text/plain']
    ] * n


@pytest.mark.parametrize('about', list(ASYNC))
def test_a_loop_runs_while_cells_do_as_with_a_kernel(executed, about):
    folder, _, _ = executed
    name = f'cell-{list(ASYNC).index(about)}'
    warm, kernel = (cells_of(folder, 'async', engine)[name] for engine in ('cd4ml', 'kernel'))
    assert plain(warm.outputs) == plain(kernel.outputs)


@pytest.mark.parametrize('about', list(ERRORS))
def test_an_exception_ends_the_notebook_as_with_a_kernel(executed, about):
    folder, _, ends = executed
    k = list(ERRORS).index(about)
    assert ends[f'error {k}', 'cd4ml'] == f'error {k} cd4ml PapermillExecutionError'
    notebook = cells_of(folder, f'error {k}', 'cd4ml')
    kernel = cells_of(folder, 'errors', 'kernel')[f'cell-{k}']
    # these two raise nothing
    assert [bool(cell.outputs) for cell in notebook.values()] == [
        True,
        True,
        about in ('representation', 'shown'),
    ]
    mine = plain(notebook['cell-1'].outputs)
    theirs = plain(kernel.outputs)
    rest = {'traceback': '', 'execution_count': 0}      # compared below; differs by the cells above
    assert [o | rest for o in mine] == [o | rest for o in theirs]
    for one, other in zip(mine, theirs, strict=True):
        places = [
            re.findall(r'Cell In\s?\[(\d+)\], line (\d+)', o.get('traceback', ''))
            for o in (one, other)
        ]
        if about != 'shown':      # of a handled exception, a kernel names the line that handles it
            assert [line for _, line in places[0]][-1:] == [line for _, line in places[1]][-1:]
        assert {n for n, _ in places[0]} <= {'2'}
    assert (
        'representation' == about
        or about == 'shown'
        or notebook['cell-1'].metadata.papermill.status == 'failed'
    )


def test_text_that_is_not_unicode_does_not_keep_a_notebook_from_being_saved(executed):
    folder, _, ends = executed
    assert ends['surrogates', 'cd4ml'] == 'surrogates cd4ml ended well'
    warm, kernel = (cells_of(folder, 'surrogates', engine) for engine in ('cd4ml', 'kernel'))
    assert [plain(cell.outputs) for cell in warm.values()] == [
        plain(cell.outputs) for cell in kernel.values()
    ]


def test_a_notebook_goes_on_behind_a_cell_tagged_to_raise_and_yet_did_not_end_well(executed):
    folder, _, ends = executed
    for engine in ('kernel', 'cd4ml'):
        assert ends['tagged', engine] == f'tagged {engine} PapermillExecutionError'
        assert plain(cells_of(folder, 'tagged', engine)['cell-1'].outputs) == [
            {'output_type': 'stream', 'name': 'stdout', 'text': 'goes on\n'}
        ], engine


def test_figures_appear_where_matplotlib_comes_with_the_notebook(tmp_path):
    nbformat.write(
        notebook('import matplotlib.pyplot as plt\nplt.plot([1, 2]);'), tmp_path / 'figure.ipynb'
    )
    code = """
        import importlib.metadata, sys, types
        # another engine, which loads matplotlib with papermill, is not installed everywhere
        package = types.ModuleType('ploomber_engine')
        other = types.ModuleType('ploomber_engine.engine')
        other.DebugEngine = other.DebugLaterEngine = other.ProfilingEngine = object
        sys.modules |= {'ploomber_engine': package, 'ploomber_engine.engine': other}
        import papermill
        assert 'matplotlib' not in sys.modules
        for name in ('first', 'second'):          # in one process, one after the other
            papermill.execute_notebook(
                'figure.ipynb', f'{name}.cd4ml.ipynb', engine_name='cd4ml', progress_bar=False
            )
    """
    driven(textwrap.dedent(code), cwd=tmp_path)
    for name in ('first', 'second'):
        assert [sorted(o.data) for o in cells_of(tmp_path, name, 'cd4ml')['cell-0'].outputs] == [
            ['image/png', 'text/plain']
        ], name


def test_the_engine_can_be_imported_before_papermill(tmp_path):
    driven(
        'from cd4ml_nb.engine.warm import ExactTranslator, WarmEngine\nimport papermill\nfrom'
        ' papermill.engines import papermill_engines\nassert'
        ' papermill_engines.get_engine(\'cd4ml\') is WarmEngine',
        cwd=tmp_path,
    )


@pytest.mark.slow
def test_the_kernel_that_runs_a_notebook_keeps_its_own_shell(tmp_path):
    inner = notebook(
        "x = 'theirs'\nprint('inner')",
        'import matplotlib.pyplot as plt\nplt.plot([1]);',
        "get_ipython().ast_transformers, __name__",
        '1 / 0',
    )
    nbformat.write(inner, tmp_path / 'inner.ipynb')
    outer = notebook(
        "import papermill, sys, builtins\nx = 'mine'\nbefore = get_ipython(), sys.stdout,"
        " sys.stderr, sys.displayhook, sys.modules['__main__'], builtins.input",
        "try:\n    papermill.execute_notebook('inner.ipynb', 'inner.cd4ml.ipynb',"
        " engine_name='cd4ml', progress_bar=False)\nexcept"
        " papermill.exceptions.PapermillExecutionError as error:\n    print(error.ename)",
        "after = get_ipython(), sys.stdout, sys.stderr, sys.displayhook, sys.modules['__main__'],"
        " builtins.input\n[a == b for a, b in zip(after, before)], x",
        "import matplotlib.pyplot as plt\nplt.plot([1]);",
        "display('shown'); _2 if '_2' in globals() else 'no _2'",
        '!echo out',
        '_, len(In)',
        'import pickle\ndef f(): return 1\npickle.loads(pickle.dumps(f)) is f, __name__',
    )
    nbformat.write(outer, tmp_path / 'outer.ipynb')
    driven(
        "import papermill; papermill.execute_notebook('outer.ipynb', 'outer.kernel.ipynb',"
        " kernel_name='python3', progress_bar=False)",
        cwd=tmp_path,
    )
    outputs = [
        [
            o.get('text', '').replace('\r', '') or o.data.get('text/plain')
            for o in cell.outputs
            if o.get('name') != 'stderr'
        ]
        for cell in cells_of(tmp_path, 'outer', 'kernel').values()
    ]
    assert outputs == [
        [],
        ['ZeroDivisionError\n'],
        [f"({[True] * 6}, 'mine')"],
        ['<Figure size 640x480 with 1 Axes>'],
        ["'shown'", "'no _2'"],
        ['out\n'],
        ["('no _2', 8)"],
        ["(True, '__main__')"],
    ]
    left = [
        o.get('text') or o.get('ename') or sorted(o.data)
        for cell in cells_of(tmp_path, 'inner', 'cd4ml').values()
        for o in cell.outputs
    ]
    assert left == ['inner\n', ['image/png', 'text/plain'], ['text/plain'], 'ZeroDivisionError']
