"""The pipeline as the plain script that people write instead: the same functions, called one after
the other in one process.

The script is written from the notebooks themselves, so that it cannot fall behind them: their
imports and the cells below `## Run`, without hashes, manifests, processes or displayed outputs.
"""

import ast
import json
from pathlib import Path

from cd4ml_nb.runs.paths import read_pipeline, stage_files

ABOUT_PAGES = 'refuse_hidden_state('        # what a script has none of


def cells(page: Path) -> list[dict]:
    return [
        cell
        for cell in json.loads(page.read_text(encoding='utf-8'))['cells']
        if cell['cell_type'] == 'code'
    ]


def source(cell: dict) -> str:
    return ''.join(cell['source'])


def only_imports(text: str) -> bool:
    body = ast.parse(text).body
    return bool(body) and all(
        isinstance(statement, ast.Import | ast.ImportFrom) for statement in body
    )


def stage_text(stage: str, page: Path, params: dict, upstream: dict, product: dict) -> str:
    """One stage: its imports, its parameters, its Run cells."""
    lines = [f'# ---- {stage}']
    lines += [source(cell) for cell in cells(page) if only_imports(source(cell))]
    lines += [
        f'{name} = {value!r}'
        for name, value in (params | {'upstream': upstream, 'product': product}).items()
    ]
    lines += [
        line
        for c in cells(page)
        if '#| pipeline' in source(c)
        for line in source(c).split('\n')
        if not line.startswith(ABOUT_PAGES)
    ]
    return '\n'.join(lines)


def script(root: Path, scenario: str, given: dict[str, object], place: Path) -> str:
    """The whole script; it keeps its products in `place`."""
    stages = read_pipeline(root)
    paths = {
        stage: {
            name: str(place / stage / file) for name, file in stage_files(stage, stages).items()
        }
        for stage in stages
    }
    parts = []
    for stage, task in stages.items():
        params = {name: given.get(name, value) for name, value in task['params'].items()} | {
            'scenario': scenario
        }
        parts.append(
            stage_text(
                stage,
                root / task['source'],
                params,
                {above: paths[above] for above in task['upstream']},
                paths[stage],
            )
        )
    return '\n'.join(parts) + '\n'
