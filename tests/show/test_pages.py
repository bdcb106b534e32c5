"""Templates, style sheets and the script are files: found wherever the package lies, each of them
used; and foreign HTML is reduced to what is harmless."""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from html_checks import check
from markupsafe import Markup
from report_examples import PAYLOADS

from cd4ml_nb.core.code import Reach, reached
from cd4ml_nb.core.files import project_root
from cd4ml_nb.core.package_files import package_files
from cd4ml_nb.show.pages import asset, clean_html, frame, templates

ROOT = project_root()
SHOW = ROOT / 'cd4ml_nb/show'
FILES = [p.relative_to(SHOW).as_posix() for p in package_files(SHOW) if p.suffix != '.py']
PICTURE = 'data:image/png;base64,iVBORw0KGgo='


def shown_by(folder, place):
    """The page that a package in a folder makes, and where that package lies."""
    code = (
        'import cd4ml_nb; from cd4ml_nb.show.pages import asset, frame; from markupsafe import'
        ' Markup; print(cd4ml_nb.__path__[0]); print(frame("T", Markup("<p>b</p>"),'
        ' script=asset("assets/sort.js")))'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=place,
        env=os.environ | {'PYTHONPATH': str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split('\n', 1)


def test_a_wheel_holds_every_file_and_its_pages_are_the_same(tmp_path):
    project = tmp_path / 'project'
    shutil.copytree(
        ROOT / 'cd4ml_nb', project / 'cd4ml_nb', ignore=shutil.ignore_patterns('__pycache__')
    )
    for name in ('pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, project)
    build = 'import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])'
    subprocess.run(
        [sys.executable, '-c', build, str(tmp_path)], cwd=project, check=True, capture_output=True
    )
    with zipfile.ZipFile(next(tmp_path.glob('*.whl'))) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith('cd4ml_nb/')}
        wheel.extractall(tmp_path / 'installed')
    whole = {path.relative_to(ROOT).as_posix() for path in package_files(ROOT / 'cd4ml_nb')}
    assert whole == packed
    place, page = shown_by(tmp_path / 'installed', tmp_path)
    assert place == str(tmp_path / 'installed/cd4ml_nb')
    assert page == shown_by(ROOT, tmp_path)[1]
    assert asset('assets/type.css') in page


def test_a_notebook_finds_them_without_a_file_of_its_own():
    cells = json.loads((ROOT / 'notebooks/show/pages.ipynb').read_text(encoding='utf-8'))['cells']
    code = [
        ''.join(c['source'])
        for c in cells
        if c['cell_type'] == 'code' and ''.join(c['source']).startswith('#| export')
    ]
    space = {'__name__': '__main__'}
    exec('\n\n'.join(code), space)
    assert space['asset']('assets/type.css') == asset('assets/type.css')
    assert 'T</h1>' in space['frame']('T', Markup('<p>b</p>'))


def test_every_file_is_used_and_every_file_that_is_named_is_there():
    every = (
        'from cd4ml_nb.show import comparison_page, data_page, profile_page, report, site, trend\n'
        'from cd4ml_nb.show import site_pages\n'
        'print(comparison_page, data_page, profile_page, report, site, site_pages, trend)'
    )
    found = reached(Reach(ROOT / 'cd4ml_nb'), every)
    prefix = 'cd4ml_nb/show/'
    assert {name.removeprefix(prefix) for name in found if name.startswith(prefix)} == set(FILES)


@pytest.mark.parametrize('name', FILES)
def test_each_file_is_readable_and_each_template_is_one(name):
    lines = asset(name).split('\n')
    assert max(map(len, lines)) <= 100 and lines[-1] == ''
    if name.endswith('.html'):
        templates().get_template(name)


def test_an_edited_template_shows_at_once(tmp_path, monkeypatch):
    text = {'t.html': 'one'}
    monkeypatch.setattr('cd4ml_nb.show.pages.asset', text.__getitem__)
    assert templates().get_template('t.html').render() == 'one'
    text['t.html'] = 'two'
    assert templates().get_template('t.html').render() == 'two'


@pytest.mark.parametrize(('html', 'clean'), [
    ('<h2>A</h2><h6>B</h6><h1>C</h1><h3>D</h3>', '<h4>A</h4><h5>B</h5><h4>C</h4><h5>D</h5>'),
    ('<h1>A<div><h2>B</h2></div></h1>', '<h4>A<div><h5>B</h5></div></h4>'),
    ('<h1>A<h2>B', '<h4>A</h4><h5>B</h5>'),
    ('<b class="k">x</b><span class="kn evil highlight" style="x">y</span>',
     '<b>x</b><span class="kn highlight">y</span>'),
    ('<div class="evil">z</div>', '<div>z</div>'),
    ('<p title="t" lang="x" id="i" data-x="1" onclick="x()">a</p>', '<p>a</p>'),
    ('<a href="https://example.org">a</a><form><input>b</form>', 'ab'),
    ('<table><tr><th scope="row" colspan="2" width="9">a</th></tr></table>',
     '<table><tbody><tr><th scope="row" colspan="2">a</th></tr></tbody></table>'),
    ('<style>p {}</style><script>x()</script><svg><text>t</text></svg>a<!-- c -->', 'a'),
    ('<math><mi>x</mi></math>a', 'a'),
    ('<textarea><script>x()</script></textarea>a<template>b</template><noscript>c</noscript>', 'a'),
])
def test_foreign_html_keeps_its_form_and_nothing_else(html, clean):
    assert clean_html(html) == clean


@pytest.mark.parametrize('source', [
    'x.png', 'https://example.org/x.png', '//example.org/x', 'data:text/html;base64,AAAA',
    'data:image/png,AAAA', 'javascript:x()', ' data:image/svg+xml;utf8,<svg onload=x()>',
])
def test_only_embedded_pictures_stay(source):
    assert clean_html(f'<p>a<img src="{source}" alt="b"></p>') == '<p>a</p>'


def test_pictures_are_named_and_counted_and_stop_where_the_room_ends():
    picture = f'<img src="{PICTURE}">'
    named = f'<img alt="A &quot;b&quot; &lt;h1&gt;" src="{PICTURE}">'
    text = clean_html(picture + named + picture * 2, figure_text='<Page>', room=3 * len(PICTURE))
    assert [part.split('"')[0] for part in text.split('alt="')[1:]] == [
        '&lt;Page&gt;, figure 1', 'A &quot;b&quot; &lt;h1&gt;', '&lt;Page&gt;, figure 3',
    ]
    assert text.count('<img') == 3 and text.endswith('An image is left out here for its size.</p>')


HIDDEN = [
    '<svg></p><style><a id="</style><img src=1 onerror=alert(1)>">',
    (
        '<math><mtext><table><mglyph><style><!--</style>'
        '<img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">'
    ),
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    '<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>',
    f'<img src="{PICTURE}" alt="<h1 onclick=x()>&quot; onerror=&quot;x()">',
    '<th scope="<h1>&quot;<img src=x onerror=x()>">a</th></div></main><script>x()</script>',
]


@pytest.mark.parametrize('html', [*HIDDEN, *PAYLOADS])
def test_X05_hidden_markup_stays_text_and_reading_it_again_changes_nothing(html):
    clean = clean_html(html)
    check(frame('T', Markup('<h2>H</h2><h3>I</h3><div>{}</div>').format(clean)))
    assert clean_html(clean) == clean
