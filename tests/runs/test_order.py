"""Hidden state, at the seam a data scientist meets: notebooks run cell by cell in real IPython
shells and kernels, then registered."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from mlflow.tracking import MlflowClient
from nbclient import NotebookClient
from runs import SMALL, Place, copied_project
from traitlets.config import Config

from cd4ml_nb.audit.check import check_notebooks, rerun_differences
from cd4ml_nb.core.errors import GateRefused, UserError
from cd4ml_nb.runs import paths as notebooks
from cd4ml_nb.runs.hidden_state import executed_notebook, hidden_state
from cd4ml_nb.runs.order import Cell, disorder

NAME = 'breast_cancer'
PACKAGE = 'notebooks/stages/17_package.ipynb'
REGISTER = 'notebooks/stages/18_register.ipynb'


# ---- a project whose model is made and not yet registered, and notebooks that are opened in it

@pytest.fixture(scope='module')
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('made')
    project = copied_project(folder / 'project', f'scenarios/{NAME}.yaml')
    for notebook in (project / 'notebooks/stages').glob('1*.ipynb'):
        notebook.write_text(
            notebook.read_text(encoding='utf-8').replace(
                'scenarios/used_cars.yaml', f'scenarios/{NAME}.yaml'
            ),
            encoding='utf-8',
        )
    done = Place(folder).run(*SMALL, '--until', 'package', cwd=project)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def project(made, tmp_path, monkeypatch) -> Path:
    """A copy of it for one test, which may edit notebooks, leave drafts and register."""
    shutil.copytree(made, tmp_path / 'copy')
    for name, value in Place(tmp_path / 'copy').environment.items():
        if name.startswith('CD4ML_'):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path / 'copy/project')
    return tmp_path / 'copy/project'


@contextmanager
def shell() -> Iterator[InteractiveShell]:
    """An IPython shell as a kernel has it, without its history on disk."""
    quiet = Config()
    quiet.HistoryManager.hist_file = ':memory:'
    one = InteractiveShell(config=quiet)
    try:
        yield one
    finally:
        one.restore_sys_module_state()


def sources(notebook: Path | str) -> dict[int, str]:
    """Number -> text of the code cells of a notebook."""
    content = nbformat.read(notebook, as_version=4)
    return {
        number: cell.source
        for number, cell in enumerate(content.cells, start=1)
        if cell.cell_type == 'code'
    }


def edit(notebook: Path | str, change) -> None:
    """Save a notebook whose list of cells was changed."""
    content = nbformat.read(notebook, as_version=4)
    change(content.cells)
    nbformat.write(content, notebook)


def run_cells(texts, fail: bool = False) -> BaseException | None:
    """Run texts in a fresh shell; what the last one raised."""
    with shell() as one:
        for text in texts:
            result = one.run_cell(text, store_history=True)
            assert fail or result.success, text
            if not result.success:
                return result.error_in_exec or result.error_before_exec
    return None


def register() -> BaseException | None:
    """Run all cells of the notebook that registers, in a fresh shell."""
    return run_cells(sources(REGISTER).values(), fail=True)


def versions(project: Path) -> list[str]:
    client = MlflowClient(f'sqlite:///{project.parent}/mlflow.db')
    return [version.version for version in client.search_model_versions(f"name='{NAME}'")]


def assert_refused(project: Path, *words: str) -> None:
    error = register()
    assert isinstance(error, GateRefused) and error.exit_code == 3 and error.code == 'N08', error
    assert all(word in str(error) for word in words), str(error)
    assert versions(project) == []
    assert not (project.parent / f'products/{NAME}/register/draft/registration.json').exists()


def note(project: Path) -> dict:
    return json.loads(
        (project.parent / f'products/{NAME}/package/draft/executed.json').read_text(
            encoding='utf-8'
        )
    )


def first_run_cell(notebook: str = PACKAGE) -> int:
    texts = sources(notebook).items()
    return next(number for number, text in texts if text.startswith('#| pipeline'))


# ---- what may be promoted

def test_notebooks_run_by_hand_from_top_to_bottom_become_a_candidate(project):
    texts = list(sources(PACKAGE).values())
    run_cells(texts)
    assert note(project)['executed'] == texts and note(project)['page'] == PACKAGE
    assert hidden_state('package', NAME) == []
    assert register() is None
    assert versions(project) == [1]


def test_edits_of_prose_comments_and_format_are_no_hidden_state(project):
    run_cells([*sources(PACKAGE).values(), '%pwd', '# done', 'len('], fail=True)

    def reword(cells):
        cells.insert(1, nbformat.v4.new_markdown_cell('More prose.'))
        cells.insert(2, nbformat.v4.new_code_cell('# nothing but a comment'))
        last = cells[-1]
        last.source = last.source.replace('[{', '[ {', 1) + '\n\n# why'
        assert cells[-1].source != list(sources(PACKAGE).values())[-1]

    edit(PACKAGE, reword)
    assert register() is None
    assert versions(project) == [1]


def test_a_cell_that_is_run_twice_at_once_is_no_hidden_state(project):
    texts = list(sources(PACKAGE).values())
    run_cells([*texts, texts[-1]])
    assert hidden_state('package', NAME) == []


# ---- what may not, and how it is named

def test_a_cell_that_ran_out_of_order_is_named(project):
    texts = sources(PACKAGE)
    first = first_run_cell()
    last = max(texts)
    run_cells([*texts.values(), texts[first]])
    assert_refused(project, PACKAGE, f'cell {first} ran again after cell {last}')
    assert hidden_state('package', NAME)[0].cell == first


def test_a_cell_that_was_edited_after_it_ran_is_named(project):
    run_cells(sources(PACKAGE).values())
    first = first_run_cell()

    def fewer(cells):
        cells[first - 1].source = cells[first - 1].source.replace('contract)', 'contract, n=3)')

    edit(PACKAGE, fewer)
    assert_refused(
        project,
        PACKAGE,
        f'cell {first} was edited after it had run, at `inputs = golden_inputs(',
        'sets `ends`',
    )


def test_a_variable_that_only_a_deleted_cell_has_set_is_named(project):
    extra = [
        nbformat.v4.new_code_cell('wanted = len(inputs)'),
        nbformat.v4.new_code_cell('assert wanted > 3'),
    ]
    edit(PACKAGE, lambda cells: cells.extend(extra))
    texts = sources(PACKAGE)
    run_cells(texts.values())
    edit(PACKAGE, lambda cells: cells.pop(-2))
    reader = max(sources(PACKAGE))
    assert_refused(
        project,
        PACKAGE,
        f'cell {reader} reads `wanted`, which only a cell that is no longer in the notebook has'
        ' set',
    )
    found = hidden_state('package', NAME)[0]
    assert (found.notebook, found.cell, found.variable) == (PACKAGE, reader, 'wanted')


def test_a_cell_that_did_not_run_is_named(project):
    texts = sources(PACKAGE)
    edit(
        PACKAGE,
        lambda cells: cells.insert(first_run_cell() - 1, nbformat.v4.new_code_cell('seed = 9')),
    )
    run_cells(texts.values())
    assert_refused(project, PACKAGE, f'cell {first_run_cell() - 1} did not run')


def test_hidden_state_of_the_notebook_that_registers_itself_is_named(project):
    edit(
        REGISTER,
        lambda cells: cells.insert(
            first_run_cell(REGISTER) - 1, nbformat.v4.new_code_cell('forgotten = 1')
        ),
    )
    texts = sources(REGISTER)
    error = run_cells([text for text in texts.values() if text != 'forgotten = 1'], fail=True)
    assert isinstance(error, GateRefused) and 'did not run' in str(error) and REGISTER in str(error)
    assert versions(project) == []


def test_a_draft_of_which_nothing_tells_how_it_was_made_is_refused(project):
    run_cells(sources(PACKAGE).values())
    (project.parent / f'products/{NAME}/package/draft/executed.json').unlink()
    assert_refused(project, PACKAGE, 'nothing tells how its draft was made')


def test_what_the_notebook_has_read_is_judged_and_not_what_has_been_made_since(project):
    texts = list(sources(PACKAGE).values())
    first = first_run_cell(REGISTER)
    with shell() as one:
        for number, text in sources(REGISTER).items():
            if number <= first:
                assert one.run_cell(text, store_history=True).success
        # a draft in disorder, which the open notebook does not read
        run_cells([*texts, texts[1], texts[-2]])
        assert hidden_state('package', NAME)
        assert one.run_cell(sources(REGISTER)[first], store_history=True).success


def test_a_draft_made_from_products_that_have_been_made_anew_is_refused(project):
    run_cells(sources(PACKAGE).values())
    home = project.parent / f'products/{NAME}/evaluate'
    # made now
    shutil.copytree(
        home / (home / 'current').read_text(encoding='utf-8').strip(),
        home / 'draft',
        copy_function=shutil.copy,
    )
    executed = list(sources('notebooks/stages/16_evaluate.ipynb').values())
    (home / 'draft/executed.json').write_text(
        json.dumps({'page': '', 'id': 'later', 'made_from': {}, 'executed': executed}),
        encoding='utf-8',
    )
    assert_refused(project, PACKAGE, 'earlier products of evaluate')


def test_a_run_whose_notebook_did_not_end_well_is_named(project):
    home = project.parent / f'products/{NAME}/validate'
    notebook = home / (home / 'current').read_text(encoding='utf-8').strip() / 'page.ipynb'
    assert executed_notebook(notebook) == []
    edit(notebook, lambda cells: cells[-1].metadata.papermill.update(status='failed'))
    last = len(nbformat.read(notebook, as_version=4).cells)
    assert [(one.cell, 'validate' in one.notebook) for one in hidden_state('package', NAME)] == [
        (last, True)
    ]
    assert_refused(project, 'validate', f'cell {last} was not completed')


def test_the_runner_refuses_a_notebook_that_it_is_given_in_disorder(project):
    upstream = {'package': {'nb': project / 'page.ipynb'}}
    cells = [
        nbformat.v4.new_code_cell(
            f'x{k} = {k}', execution_count=count, metadata={'papermill': {'status': 'completed'}}
        )
        for k, count in enumerate((1, 3, 2))
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), project / 'page.ipynb')
    found = hidden_state('register', NAME, upstream, {'nb': project / 'register/page.ipynb'})
    assert [(one.cell, one.variable) for one in found] == [(3, 'x2')]


# ---- the note

def test_a_kernel_in_which_cells_ran_out_of_order_leaves_it_beside_the_draft(project):
    notebook = nbformat.read(PACKAGE, as_version=4)
    client = NotebookClient(
        notebook, timeout=100, kernel_name='python3', resources={'metadata': {'path': 'notebooks'}}
    )
    first = first_run_cell()
    # a cell above ## Run, then one below
    order = [number for number in sources(PACKAGE)] + [first - 2, first + 1]
    with client.setup_kernel():
        for number in order:
            client.execute_cell(notebook.cells[number - 1], number - 1)
    assert note(project)['executed'][-1] == sources(PACKAGE)[order[-1]]
    assert [one.cell for one in hidden_state('package', NAME)] == [order[-2]]


def test_outside_ipython_nothing_is_noted(project):
    _, product = notebooks.stage_paths('package', NAME, None, None)
    assert not (product['nb'].parent / 'executed.json').exists()


def test_a_note_that_cannot_be_written_disturbs_no_cell_and_leaves_no_older_one(
    project, monkeypatch
):
    texts = list(sources(PACKAGE).values())
    with shell() as one:
        for text in texts:
            assert one.run_cell(text, store_history=True).success
        with monkeypatch.context() as broken:
            broken.setattr(notebooks, 'write_json', lambda *_: 1 / 0)
            assert one.run_cell('x = 1', store_history=True).success
    assert_refused(project, PACKAGE, 'nothing tells')


def test_one_hook_serves_a_notebook_however_often_it_is_run(project):
    with shell() as one:
        before = len(one.events.callbacks['post_run_cell'])
        for _ in range(3):
            one.run_cell(
                f"from cd4ml_nb.runs.paths import stage_paths; stage_paths('package', '{NAME}',"
                " None, None)",
                store_history=True,
            )
        assert len(one.events.callbacks['post_run_cell']) == before + 1


# ---- all orders

TEXTS = st.lists(
    st.sampled_from('abcdefgh').flatmap(
        lambda a: st.builds(
            lambda k, b: f'{a} = {b} + {k}', st.integers(0, 99), st.sampled_from('abcdefgh')
        )
    ),
    min_size=2,
    max_size=8,
    unique=True,
)


@given(TEXTS, st.data())
def test_every_order_but_the_notebooks_own_is_found(texts, data):
    cells = [Cell(number, text) for number, text in enumerate(texts, start=1)]
    assert disorder(texts, cells, 'page') == []
    order = data.draw(st.permutations(texts))
    assume(order != texts)
    found = disorder(order, cells, 'page')
    assert found and all(f'cell {one.cell} ' in one.what for one in found)


@given(TEXTS, st.data())
def test_every_cell_left_out_edited_or_deleted_is_found(texts, data):
    k = data.draw(st.integers(0, len(texts) - 2))
    cells = [Cell(number, text) for number, text in enumerate(texts, start=1)]
    assert [one.cell for one in disorder([t for t in texts if t != texts[k]], cells, 'page')] == [
        k + 1
    ]
    assert any(
        one.cell == k + 1 and 'edited' in one.what
        for one in disorder([t if t != texts[k] else 'z = 1' for t in texts], cells, 'page')
    )
    assert any(
        one.cell is None or 'another text' in one.what
        for one in disorder(texts, [c for c in cells if c.number != k + 1], 'page')
    )


@given(TEXTS, st.lists(st.integers(0, 7), max_size=4))
def test_comments_blank_lines_and_repeats_at_once_are_never_found(texts, at):
    cells = [Cell(number, text) for number, text in enumerate(texts, start=1)]
    executed = [
        f'# note\n{text}\n\n' for text in texts for _ in range(1 + (texts.index(text) in at))
    ]
    assert disorder([*executed, '# only a note', '%matplotlib inline'], cells, 'page') == []


# ---- notebooks with outputs

def run_and_saved(
    path: Path, texts: list[str], order: list[int], without: int | None = None
) -> Path:
    """A notebook whose cells ran in this order in a kernel, saved with its outputs, perhaps without
    one of them."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell('# Sums'), *map(nbformat.v4.new_code_cell, texts)]
    )
    client = NotebookClient(notebook, timeout=60, kernel_name='python3')
    with client.setup_kernel():
        for count, k in enumerate(order, start=1):
            client.execute_cell(notebook.cells[k + 1], k + 1, execution_count=count)
    if without is not None:
        del notebook.cells[without + 1]
    nbformat.write(notebook, path)
    return path


def test_a_notebook_whose_saved_result_a_fresh_run_does_not_give_is_named_by_cell_and_variable(
    project,
):
    texts = [
        'import sys\nrows = [1, 2]',
        'rows.append(3)',
        'total = sum(rows)\ntotal',
        'print("progress", file=sys.stderr)\nobject()',
    ]
    good = run_and_saved(project / 'good.ipynb', texts, [0, 1, 2, 3])
    assert check_notebooks([good], rerun=True) == []
    bad = run_and_saved(project / 'bad.ipynb', texts, [0, 1, 1, 2, 3])
    static = check_notebooks([bad])
    rerun = rerun_differences(bad)
    assert [one.cell for one in static] == [3] and 'ran again, or was deleted' in static[0].what
    assert [(one.cell, one.variable) for one in rerun] == [(4, 'total')]
    assert 'shows `9`, a fresh run `6`' in rerun[0].what


def test_a_notebook_that_needs_a_deleted_cell_is_named_by_cell_and_variable(project):
    path = run_and_saved(
        project / 'gone.ipynb', ['kept = 1', 'cleaned = 2', 'cleaned + kept'], [0, 1, 2], without=1
    )
    assert [(one.cell, one.variable) for one in rerun_differences(path)] == [(3, 'cleaned')]
    assert [one.cell for one in check_notebooks([path])] == [3]


@pytest.mark.parametrize('text', ['', '[]', '{"cells": 3}', '{"cells": [{"cell_type": "code"}]}'])
def test_what_is_no_notebook_is_refused_in_one_line(project, text):
    (project / 'odd.ipynb').write_text(text, encoding='utf-8')
    with pytest.raises(UserError, match=re.escape('odd.ipynb')):
        check_notebooks([project / 'odd.ipynb', project / 'missing.ipynb'])
