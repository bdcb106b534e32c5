"""The site for stakeholders: what is meant for them, links that lead somewhere, and nothing that
must not be seen."""

import json
import shutil
from pathlib import Path

import pytest
from browsers import chromium
from places import s3_store
from runs import Place, copied_project

from cd4ml_nb.studies.leak_check import leaks_in
from cd4ml_nb.studies.publishing import place_of, targets

PLANTED = {
    'key of AWS': 'AKIAIOSFODNN7EXAMPLE',
    'private key': '-----BEGIN RSA PRIVATE KEY-----',
    'token': 'ghp_' + 'a1B2' * 9,
    'password in an address': 'postgresql://ann:hunter22@db/cars',
    'password': 'api_key = "s3cr3tvalue"',
    'folder of this machine': '/home/ann/offers.csv',
    'another folder': 'C:\\\\Users\\\\ann\\\\offers.csv',
    'a temporary folder': '/tmp/pytest-1/x',
    'an encoded folder': '&#47;home/ann/offers.csv',
    'a token of a session': 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcdefgh',
}


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A project with two scenarios that ran, one of them with names of people."""
    folder = tmp_path_factory.mktemp('site')
    place = Place(folder)
    project = copied_project(folder / 'project', 'scenarios/used_cars.yaml')
    lines = ['km,owner,y'] + [f'{k},Ann Ash {k % 5},{300 - k + (k * 37) % 101}' for k in range(200)]
    (folder / 'cars.csv').write_text('\n'.join(lines))
    (project / 'scenarios/cars.yaml').write_text('''name: cars
title: Cars
task: regression
data: {source: cars.csv}
target: {column: y}
columns: {km: {type: number}, owner: {type: category, personal: true}}
search: {rounds: 20}
evaluate: {replicates: 60}
''')
    for words in (['cars'], ['breast_cancer']):
        done = place.run('run', '-s', *words, '-p', 'trials=2', cwd=project,
                         CD4ML_DATA_ROOT=str(folder))
        assert done.returncode in (0, 3), done.stderr
    return place, project


def published(made, where: str, **environment: str):
    place, project = made
    return place.run('publish', where, cwd=project, **environment)


def pages_of(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob('*.html')}


def test_E15_the_site_holds_what_is_meant_for_others_and_every_link_leads_to_a_page(made, tmp_path):
    site = tmp_path / 'site'
    done = published(made, str(site))
    assert done.returncode == 0, done.stderr
    pages = pages_of(site)
    assert {Path(name).name for name in pages} >= {'index.html', 'about.html', 'report.html',
                                                   'data_report.html'}
    assert {p.suffix for p in site.rglob('*') if p.is_file()} == {'.html', '.json'}
    for name, page in pages.items():
        for href in targets(page):
            assert place_of(name, href) in pages, (name, href)
        assert 'Ann Ash' not in page and 'aria-labelledby="pages"' not in page
    reached, waiting = set(), ['index.html']
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [place_of(name, href) for href in targets(pages[name])]
    assert reached == set(pages)
    before = {p: p.stat().st_mtime_ns for p in site.rglob('*') if p.is_file()}
    again = published(made, str(site))
    assert ' 0 written, 0 removed' in again.stdout
    assert before == {p: p.stat().st_mtime_ns for p in site.rglob('*') if p.is_file()}


def test_E15_what_an_earlier_site_had_goes_and_what_others_put_there_stays(made, tmp_path):
    place, project = made
    site = tmp_path / 'site'
    assert published(made, str(site)).returncode == 0
    (site / 'hello.txt').write_text('ours')
    moved = place.folder / 'products/breast_cancer'
    aside = place.folder / 'aside'
    shutil.move(moved, aside)
    try:
        done = published(made, str(site))
    finally:
        shutil.move(aside, moved)
    assert done.returncode == 0, done.stderr
    assert not list(site.glob('breast_cancer/**/*.html'))
    assert (site / 'hello.txt').read_text() == 'ours'
    listed = json.loads((site / 'published.json').read_text())
    assert all(not name.startswith('breast_cancer') for name in listed)


@pytest.mark.parametrize('kind', PLANTED)
def test_E15_planted_secrets_and_paths_are_found_and_never_repeated(kind):
    page = f'<h2>Data</h2><p>from {PLANTED[kind]} on</p>'
    (leak, *_) = leaks_in('report.html', page)
    assert leak.part == 'Data' and PLANTED[kind] not in str(leak)
    if '"' not in PLANTED[kind]:
        assert leaks_in('report.html', f'<a href="#x" title="{PLANTED[kind]}">x</a>')


def test_E15_a_leak_is_refused_and_nothing_is_written(made, tmp_path):
    place, _ = made
    report = max((place.folder / 'products/cars/report').glob('*/report.html'))
    text = report.read_text()
    site = tmp_path / 'site'
    try:
        for planted in ('AKIAIOSFODNN7EXAMPLE', 'Ann Ash 3'):
            report.write_text(text.replace('</main>', f'<p>{planted}</p></main>'))
            done = published(made, str(site))
            assert done.returncode == 3 and 'report.html' in done.stderr
            assert planted not in done.stderr and not site.exists()
    finally:
        report.write_text(text)


def test_E15_a_site_in_a_store_is_the_same(made, tmp_path):
    folder = tmp_path / 'site'
    assert published(made, str(folder)).returncode == 0
    with s3_store() as store:
        for n in ('21', '0'):
            done = published(made, 's3://cars/models', **store.environment)
            assert done.returncode == 0, done.stderr
            assert n == '21' or ' 0 written' in done.stdout
        for name, page in pages_of(folder).items():
            body = store.client.get_object(Bucket='cars', Key=f'models/{name}')['Body'].read()
            assert body.decode() == page


def test_E15_pages_ask_for_nothing_and_the_search_finds(made, tmp_path):
    site = tmp_path / 'site'
    assert published(made, str(site)).returncode == 0
    with chromium() as browser:
        browser.execute_cdp_cmd('Network.enable', {})
        browser.execute_cdp_cmd('Network.setBlockedURLs', {'urls': ['http://*', 'https://*']})
        for page in sorted(site.rglob('*.html')):
            browser.get(page.as_uri())
            severe = [e for e in browser.get_log('browser') if e['level'] == 'SEVERE']
            assert severe == [], page
        browser.get((site / 'about.html').as_uri())
        box = browser.find_element('id', 'find')
        shown = 'return [...document.querySelectorAll("tbody tr")].filter(r => !r.hidden).length'
        every = browser.execute_script(shown)
        box.send_keys('trend')
        assert 0 < browser.execute_script(shown) < every


