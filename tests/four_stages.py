"""A project of four small stages in a row, which use one notebook of helpers of their own."""

from collections.abc import Callable
from pathlib import Path

from projects import (
    PARAMETERS as GIVEN,
)
from projects import (
    copy_parts,
    current_folder,
    edited,
    edited_notebook,
    notebook,
    stage_notebook,
    task,
    write_notebook,
    write_pipeline,
    write_scenario,
)

STAGES = ['load', 'clean', 'learn', 'judge']
SCENARIO = (
    'name: tiny\ntitle: Tiny\ntask: regression\ndata: {source: data.csv}\ntarget: {column:'
    ' y}\nseed: 1\n'
)
FEATURES = '''#| export
LIMIT = 3


def clipped(x):
    return min(x, LIMIT)
'''
MORE = '''#| export
def scaled(x):
    return clipped(x) * 10


def unrelated(x):
    return x


def template():
    return 'parts/words.html'
'''
PAGES = {
    'load': [
        'from cd4ml_nb.scenario.definition import load_scenario',
        (
            "plan = load_scenario(scenario, sections=['data'])\nrows = [int(n) for n in"
            " Path('data.csv').read_text().split()[1:]]"
        ),
        "Path(product['value']).write_text(json.dumps(rows))",
    ],
    'clean': [
        'from cd4ml_nb.helpers import clipped',
        "rows = [clipped(x) for x in json.loads(Path(upstream['load']['value']).read_text())]",
        "Path(product['value']).write_text(json.dumps(rows))",
    ],
    'learn': [
        'from cd4ml_nb import helpers',
        'from cd4ml_nb.scenario.definition import load_scenario',
        "plan = load_scenario(scenario, sections=['title'])",
        (
            "value = sum(helpers.scaled(x) for x in"
            " json.loads(Path(upstream['clean']['value']).read_text())) * rate"
        ),
        "Path(product['value']).write_text(json.dumps(value))",
    ],
    'judge': [
        'from cd4ml_nb.helpers import template\ntemplate()',
        "value = json.loads(Path(upstream['learn']['value']).read_text())",
        "Path(product['value']).write_text(json.dumps({'good': value > 0}))",
    ],
}
PARAMETERS = {
    'load': "scenario = 'scenarios/tiny.yaml'",
    'learn': "scenario = 'scenarios/tiny.yaml'\nrate = 1.0   # of learning",
}


def exported(cells: list[tuple[int, str]]) -> str:
    """A module as nbdev-export writes it."""
    return ''.join(
        f'# %% ../notebooks/30_helpers.ipynb #cell-{k}\n' + text.removeprefix('#| export\n') + '\n'
        for k, text in cells
    )


def four_stages(folder: Path) -> Path:
    """Write a project of four small stages in a row and one notebook of helpers."""
    copy_parts(folder, 'cd4ml_nb', 'notebooks', 'settings.ini')
    write_scenario(folder, 'tiny', SCENARIO)
    (folder / 'data.csv').write_text('y\n1\n5\n')
    parts = folder / 'cd4ml_nb/parts'
    parts.mkdir()
    (parts / 'words.html').write_text("{% include 'parts/more.html' %}")
    (parts / 'more.html').write_text('Good')
    (parts / 'other.html').write_text('Good')
    helpers = ('# Helpers\n\n> Helpers.', '#| default_exp helpers', FEATURES, '## More', MORE)
    write_notebook(folder / 'notebooks/30_helpers.ipynb', notebook(*helpers))
    (folder / 'cd4ml_nb/helpers.py').write_text(exported([(2, FEATURES), (4, MORE)]))
    for stage in STAGES:
        own = PARAMETERS.get(stage, '')
        cells = ('import json\nfrom pathlib import Path', *PAGES[stage])
        title = f'{stage}\n\n> A stage.'
        content = stage_notebook(title, *cells, parameters=f'{own}\n{GIVEN}'.strip())
        write_notebook(folder / f'notebooks/tiny_{stage}.ipynb', content)
    write_pipeline(folder, [stage_task(number) for number in range(len(STAGES))])
    return folder


def stage_task(number: int) -> dict:
    """One stage of the pipeline, by its place in the row."""
    stage = STAGES[number]
    params = {'load': {'scenario': None}, 'learn': {'scenario': None, 'rate': 1.0}}.get(stage)
    above = STAGES[max(number - 1, 0) : number]
    return task(stage, f'notebooks/tiny_{stage}.ipynb', {'value': 'value.json'}, above, params)


def current(folder: Path, stage: str) -> Path:
    """The folder of a stage's current products."""
    found = current_folder(folder / 'products/tiny', stage)
    assert found, f'{stage} has accepted nothing'
    return found


def helper(old: str, new: str) -> Callable[[Path], None]:
    """An edit of a helper, in the notebook and in the module, as an export leaves them."""

    def edit(folder: Path) -> None:
        edited_notebook(folder / 'notebooks/30_helpers.ipynb', old, new)
        edited(folder / 'cd4ml_nb/helpers.py', old, new)

    return edit


def notebook_edit(stage: str, old: str, new: str) -> Callable[[Path], None]:
    """An edit of the notebook of a stage."""
    return lambda folder: edited_notebook(folder / f'notebooks/tiny_{stage}.ipynb', old, new)
