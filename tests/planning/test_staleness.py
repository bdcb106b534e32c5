"""The staleness matrix: after each change, exactly which stages a real run redoes, and what `cd4ml
why` says of it."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from four_stages import STAGES, current, four_stages, helper, notebook_edit
from projects import copy_of, edited
from runs import Place


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """The project with everything done, in a state that each case brings back."""
    folder = four_stages(tmp_path_factory.mktemp('tiny') / 'project')
    place = Place(folder)
    done = place.run('run', '-s', 'tiny', cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, place


def cell(stage: str, position: int, kind: str, text: str):
    """A new cell in a notebook."""
    def edit(folder: Path) -> None:
        path = folder / f'notebooks/tiny_{stage}.ipynb'
        notebook = nbformat.read(path, as_version=4)
        notebook.cells.insert(
            position,
            (
                nbformat.v4.new_markdown_cell(text)
                if kind == 'md'
                else nbformat.v4.new_code_cell(text)
            ),
        )
        nbformat.write(notebook, path)
    return edit


# change -> what it does, further words of the command, the stages that run again, what `why` says
# of the first of them
MATRIX = {
    'prose of a page': (notebook_edit('clean', 'A stage.', 'Another text.'), (), [], ''),
    'a new cell of prose': (cell('clean', 3, 'md', 'Words.'), (), [], ''),
    'a comment, and formatting, in a page': (
        notebook_edit('clean', 'rows = [clipped(x) for', 'rows = [  # why\n    clipped(x) for'),
        (),
        [],
        '',
    ),
    'the code of a page': (
        notebook_edit('learn', '* rate', '* rate + 1'),
        (),
        ['learn', 'judge'],
        r'notebook tiny_learn.ipynb: cell 7 changed',
    ),
    'a new cell of code': (
        cell('judge', 3, 'code', 'x = 1'),
        (),
        ['judge'],
        r'notebook tiny_judge.ipynb: cell 4 is new',
    ),
    'a helper': (
        helper('min(x, LIMIT)', 'min(LIMIT, x)'),
        (),
        ['clean', 'learn', 'judge'],
        r'code helpers.clipped changed \(notebooks/30_helpers.ipynb:cell 3, line 5\)',
    ),
    'a constant that a helper reaches': (
        helper('LIMIT = 3', 'LIMIT = 4'),
        (),
        ['clean', 'learn', 'judge'],
        r'code helpers.LIMIT changed \(notebooks/30_h',
    ),
    'a helper of a later stage, by its module': (
        helper('* 10', '* 20'),
        (),
        ['learn', 'judge'],
        r'code helpers.scaled changed \(notebooks/30_helpers.ipynb:cell 5, line 2\)',
    ),
    'a template that a helper names includes': (
        lambda folder: edited(folder / 'cd4ml_nb/parts/more.html', 'Good', 'Bad'),
        (),
        ['judge'],
        r'file cd4ml_nb/parts/more.html changed',
    ),
    'a template that nothing names': (
        lambda folder: edited(folder / 'cd4ml_nb/parts/other.html', 'Good', 'Bad'),
        (),
        [],
        '',
    ),
    'an unrelated function of the same module': (
        helper('    return x\n', '    return -x\n'),
        (),
        [],
        '',
    ),
    'a docstring and a comment of a helper': (
        helper('    return clipped(x)', '    "Words."\n    # more\n    return clipped(x)'),
        (),
        [],
        '',
    ),
    'a parameter': (
        lambda folder: None,
        ('-p', 'learn.rate=2.0'),
        ['learn', 'judge'],
        r'params rate: 1.0 → 2.0',
    ),
    'a byte of the data': (
        lambda folder: edited(folder / 'data.csv', '5', '6'),
        (),
        STAGES,
        r'data data.csv changed',
    ),
    'the time stamp of the data': (lambda folder: (folder / 'data.csv').touch(), (), [], ''),
    'a section of the scenario that one stage reads': (
        lambda folder: edited(folder / 'scenarios/tiny.yaml', 'title: Tiny', 'title: Small'),
        (),
        ['learn', 'judge'],
        r'scenario title changed',
    ),
    'wording in a section that one stage reads': (
        lambda folder: edited(
            folder / 'scenarios/tiny.yaml', 'source: data.csv', 'source: data.csv, owner: Ann'
        ),
        (),
        [],
        '',
    ),
    'a section that no stage reads': (
        lambda folder: edited(folder / 'scenarios/tiny.yaml', 'seed: 1', 'seed: 2'),
        (),
        [],
        '',
    ),
    'a product that was changed': (
        lambda folder: edited(current(folder, 'clean') / 'value.json', '3', '9'),
        (),
        ['clean'],
        r'its product value was changed',
    ),
    'a product that was truncated': (
        lambda folder: (current(folder, 'learn') / 'value.json').write_bytes(b''),
        (),
        ['learn'],
        r'has 0 bytes instead of',
    ),
    'a manifest that is gone': (
        lambda folder: (current(folder, 'judge') / 'manifest.json').unlink(),
        (),
        ['judge'],
        r'manifest is missing or damaged',
    ),
}


def ran(done) -> list[str]:
    """The stages that a run did."""
    return [
        stage for stage in STAGES if re.search(rf'^{stage} +done in', done.stdout, re.MULTILINE)
    ]


@pytest.mark.parametrize('change', MATRIX)
def test_a_change_reruns_exactly_what_depends_on_it(built, change, tmp_path):
    source, _ = built
    folder = copy_of(source, tmp_path / 'project')
    place = Place(folder)
    edit, words, expected, cause = MATRIX[change]
    edit(folder)
    if expected:
        answer = place.run('why', expected[0], '-s', 'tiny', *words, cwd=folder)
        assert answer.returncode == 0, answer.stderr
        assert re.search(cause, answer.stdout), answer.stdout
    done = place.run('run', '-s', 'tiny', *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert ran(done) == expected, done.stdout
    if expected:
        assert ran(place.run('run', '-s', 'tiny', *words, cwd=folder)) == []


def test_going_back_runs_nothing(built, tmp_path):
    source, _ = built
    folder = copy_of(source, tmp_path / 'project')
    place = Place(folder)
    notebook_edit('learn', '* rate', '* rate + 1')(folder)
    assert ran(place.run('run', '-s', 'tiny', cwd=folder)) == ['learn', 'judge']
    notebook_edit('learn', '* rate + 1', '* rate')(folder)
    assert ran(place.run('run', '-s', 'tiny', cwd=folder)) == []
    assert json.loads((current(folder, 'learn') / 'value.json').read_text()) == 40
    notebook_edit('learn', '* rate', '* rate + 1')(folder)
    assert ran(place.run('run', '-s', 'tiny', cwd=folder)) == []
    assert json.loads((current(folder, 'learn') / 'value.json').read_text()) == 41


def test_C13_a_library_that_is_not_the_locked_one_is_refused_before_anything_runs(built, tmp_path):
    source, _ = built
    folder = copy_of(source, tmp_path / 'project')
    (folder / 'requirements.lock').write_text('numpy==1.0 \\\n    --hash=sha256:0\n')
    done = Place(folder).run('run', '-s', 'tiny', cwd=folder)
    assert done.returncode == 2 and re.match(
        r'ERROR C13 requirements.lock: numpy \S+ is installed, 1.0 is locked — make setup',
        done.stderr,
    )


def test_status_shows_every_stage_with_key_age_and_cause(built, tmp_path):
    source, _ = built
    folder = copy_of(source, tmp_path / 'project')
    notebook_edit('learn', '* rate', '* rate + 1')(folder)
    answer = Place(folder).run('status', cwd=folder).stdout
    rows = {
        line.split()[0]: line
        for line in answer.splitlines()
        if line.split() and line.split()[0] in STAGES
    }
    assert re.match(r'clean +done +[0-9a-f]{16} +\d', rows['clean'])
    assert (
        re.match(r'learn +stale +[0-9a-f]{16} .*cell 7 changed', rows['learn'])
        and 'upstream learn changed' in rows['judge']
    )
