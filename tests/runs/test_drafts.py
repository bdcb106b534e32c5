"""Drafts, which a notebook leaves that somebody runs by hand: read while they are the newest, said
aloud, and named by `cd4ml status`."""

import json
import shutil

import nbformat
import pytest
from engine_notebooks import Ended, Tiny
from runs import PAPERMILL

PARAMETERS = "text = 'run'\nupstream = None\nproduct = None"
IMPORTS = 'from cd4ml_nb.runs.paths import stage_paths'
STAGES = {'first': (), 'second': ('first',), 'third': ('second',)}


def body(stage: str) -> str:
    """What a notebook does: it writes its text behind the texts of those that it reads."""
    return (f"upstream, product = stage_paths('{stage}', 'tiny', upstream, product)\n"
            "above = [paths['out'].read_text() for paths in upstream.values()]\n"
            "product['out'].write_text(' '.join([*above, text]))")


@pytest.fixture
def tiny(tmp_path):
    """A project of three notebooks, after one run."""
    project = Tiny(tmp_path / 'project')
    for stage, above in STAGES.items():
        project.add(
            stage,
            IMPORTS,
            body(stage),
            upstream=above,
            parameters=PARAMETERS,
            params={'text': 'run'},
        )
    project.run().check(0)
    yield project
    project.end_all()


def by_hand(project: Tiny, stage: str, text: str = 'hand') -> tuple[str, str]:
    """Run a notebook as somebody does who opens it: what it made, and what its cells say."""
    words = (
        f'pages/{stage}.ipynb',
        'out.ipynb',
        '-p',
        'text',
        text,
        '--engine',
        'cd4ml',
        '--no-progress-bar',
    )
    done = project.end(project.begin(command=PAPERMILL, options=words))
    assert done.code == 0, done.err
    cells = nbformat.read(project.folder / 'out.ipynb', as_version=4).cells
    said = ''.join(
        output.get('text', '')
        for cell in cells
        if cell.cell_type == 'code'
        for output in cell.outputs
    )
    return (project.home / stage / 'draft/out.txt').read_text(), said


def status(project: Tiny, *words: str) -> dict[str, str]:
    """The lines of drafts that the command shows, by stage."""
    done: Ended = project.end(project.begin(options=('status', *words))).check(0)
    _, there, below = done.out.partition('draft ')
    if there:
        return {line.split()[0]: line for line in below.splitlines()[1:] if line.strip()}
    return {}


def test_a_newer_draft_is_read_and_the_notebook_that_reads_it_says_so(tiny):
    assert by_hand(tiny, 'second')[0] == 'run hand'
    text, said = by_hand(tiny, 'third')
    assert text == 'run hand hand'
    assert (
        'third reads the draft of second, made by hand on 20' in said
        and 'not what a run has accepted' in said
    )
    assert 'rm -r products/tiny/second/draft' in said
    shutil.rmtree(tiny.home / 'second/draft')
    assert by_hand(tiny, 'third') == ('run run hand', '')


@pytest.mark.parametrize('stage', ['second', pytest.param('first', marks=pytest.mark.slow)])
def test_what_a_run_has_accepted_later_wins_over_an_older_draft_of_the_stage_and_of_those_below(
    tiny, stage
):
    by_hand(tiny, 'second')
    draft = tiny.folder / 'kept'
    shutil.copytree(tiny.home / 'second/draft', draft)
    tiny.run('-p', f'{stage}.text=later', '--until', stage).check(0)
    if stage == 'second':  # accepting it has removed the draft; a copy comes back
        assert not (tiny.home / 'second/draft').exists()
        shutil.copytree(draft, tiny.home / 'second/draft')
    text, said = by_hand(tiny, 'third')
    assert (
        'hand hand' not in text
        and 'third leaves the draft of second' in said
        and 'a run has accepted something later' in said
    )
    assert 'nothing: a run has accepted something later' in status(tiny)['second']


def test_status_names_each_draft_its_age_who_reads_it_and_how_to_remove_it(tiny):
    assert status(tiny) == status(tiny, '-s', 'tiny') == {}
    by_hand(tiny, 'first')
    by_hand(tiny, 'third')
    for words in ((), ('-s', 'tiny')):
        lines = status(tiny, *words)
        assert list(lines) == ['first', 'third']
        assert 's ago' in lines['first']
        assert 'second when run by hand; no cd4ml run' in lines['first']
        assert (
            lines['first'].rstrip().endswith('rm -r products/tiny/first/draft')
            and 'nothing below it' in lines['third']
        )
    tiny.run().check(0)
    assert status(tiny) == {}


@pytest.mark.slow
def test_a_draft_that_is_not_complete_is_told_and_not_read(tiny):
    by_hand(tiny, 'second')
    path = tiny.folder / 'pipeline.yaml'
    pipeline = json.loads(path.read_text())
    pipeline['tasks'][1]['product']['more'] = 'products/ploomber/second/m.txt'
    path.write_text(json.dumps(pipeline))
    text, said = by_hand(tiny, 'third')
    assert text == 'run run hand' and 'it is not complete' in said
    assert 'nothing: it is not complete' in status(tiny)['second']


@pytest.mark.slow
def test_without_any_run_drafts_follow_each_other(tiny):
    shutil.rmtree(tiny.home)
    assert by_hand(tiny, 'first')[0] == 'hand'
    text, said = by_hand(tiny, 'second')
    assert text == 'hand hand' and 'no run has made any yet' in said
    assert list(status(tiny)) == ['first', 'second']
