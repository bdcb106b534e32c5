"""The site for stakeholders: what is meant for them, links that lead somewhere, and nothing that
must not be seen."""

import datetime
import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from accessibility import as_usual, axe_findings, is_too_wide, opened
from browsers import visited
from html_checks import check
from places import s3_store
from report_examples import ABOUT, PAYLOADS, facts, hostile, predictions, typed
from runs import Place, copied_project
from site_examples import publish as write_products
from site_examples import record

from cd4ml_nb.core.errors import GateRefused, InfrastructureError, UserError
from cd4ml_nb.core.files import write_json, write_text
from cd4ml_nb.show.report import report_html
from cd4ml_nb.show.site_pages import PLACES
from cd4ml_nb.studies.leak_check import leaks_in
from cd4ml_nb.studies.publishing import place_of, publish, targets

PLANTED = {
    'key of AWS': 'AKIAIOSFODNN7EXAMPLE',
    'private key': '-----BEGIN RSA PRIVATE KEY-----',
    'token': 'ghp_' + 'a1B2' * 9,
    'a token of a session': 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcdefgh',
    'password in an address': 'postgresql://ann:hunter22@db/cars',
    'password': 'api_key = "s3cr3tvalue"',
    'secret of AWS': 'aws_secret_access_key=wJalrXUtnFEMIK7MDENG',
    'folder of this machine': '/home/ann/offers.csv',
    'another folder': 'C:\\Users\\ann\\offers.csv',
    'a temporary folder': '/tmp/pytest-1/x',
    'a database in a folder': 'sqlite:////srv/team/cars.db',
    'a drive of the network': r'\\nas01\cars\offers.csv',
    'an encoded folder': '&#47;home/ann/offers.csv',
    'a folder in an address': '%2Fhome%2Fann%2Foffers.csv',
    'a coloured password': '<b>password</b><i>:</i> <u>hunter2222</u>',
}
TIMES = '2026-11-30', '2026-12-24'


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A project with two scenarios that ran, one of them with names and addresses of people."""
    folder = tmp_path_factory.mktemp('site')
    place = Place(folder)
    project = copied_project(folder / 'project', 'scenarios/used_cars.yaml')
    lines = ['km,owner,mail,y']
    for k in range(200):
        lines.append(f'{k},Ann Ash {k % 5},p{k}@mail.example,{300 - k + (k * 37) % 101}')
    (folder / 'cars.csv').write_text('\n'.join(lines))
    (project / 'scenarios/cars.yaml').write_text('''name: cars
title: Cars
task: regression
data: {source: cars.csv, owner: Fleet team, licence: CC0}
target: {column: y}
columns:
  km: {type: number, unit: km, words: kilometres driven}
  owner: {type: category, personal: true}
  mail: {type: text, role: id, personal: true}
search: {rounds: 20}
evaluate: {replicates: 60}
''')
    for words in (['cars'], ['breast_cancer']):
        done = place.run('run', '-s', *words, '-p', 'trials=2', cwd=project,
                         CD4ML_DATA_ROOT=str(folder))
        assert done.returncode in (0, 3), done.stderr
    return place, project


@pytest.fixture(scope='module')
def site(made, tmp_path_factory):
    """Their site in a folder."""
    folder = tmp_path_factory.mktemp('published') / 'site'
    done = published(made, str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def published(made, where: str, **environment: str):
    place, project = made
    return place.run('publish', where, cwd=project, **environment)


@pytest.fixture
def inside(made, monkeypatch):
    """The project as that of this process, and its products."""
    place, project = made
    monkeypatch.setenv('CD4ML_PRODUCTS', str(place.folder / 'products'))
    monkeypatch.chdir(project)
    return place.folder / 'products'


def pages_of(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob('*.html')}


def test_E15_the_site_holds_what_is_meant_for_others_and_every_link_leads_to_a_page(made, site):
    pages = pages_of(site)
    assert {Path(name).name for name in pages} >= {*PLACES, 'report.html', 'data_report.html'}
    assert {p.suffix for p in site.rglob('*') if p.is_file()} == {'.html', '.json'}
    for name, page in pages.items():
        for href in targets(page):
            place, _, part = href.partition('#')
            assert place_of(name, place) in pages, (name, href)
            assert not part or f'id="{part}"' in pages[place_of(name, place)], (name, href)
        assert 'Ann Ash' not in page and '@mail.example' not in page
        assert 'aria-labelledby="pages"' not in page and page.count('<nav class="site"') == 1
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


def test_E15_single_cases_stay_at_home_where_data_has_personal_columns(made, site):
    place, _ = made
    (at_home,) = (place.folder / 'products/cars/report').glob('*/report.html')
    (of_people,) = (site / 'cars/report').glob('*/report.html')
    (of_cells,) = (site / 'breast_cancer/report').glob('*/report.html')
    assert 'The largest overestimate' in at_home.read_text()
    assert 'The largest overestimate' not in of_people.read_text()
    assert 'Single cases are not published here' in of_people.read_text()
    assert 'An ordinary case' in of_cells.read_text()


def test_E15_the_catalogue_says_whose_the_data_is_and_nothing_of_personal_columns(site):
    page = check((site / 'data.html').read_text(), lambda href: True)
    for said in ('cars.csv', 'Fleet team', 'CC0', 'kilometres driven', '0 to 199 km',
                 'identifier, personal', 'not shown', 'Used by Cars'):
        assert said in page.text, said
    rows = re.findall(r'<tr><th scope="row">(owner|mail)</th>(.*?)</tr>',
                      (site / 'data.html').read_text().replace('\n', ''))
    assert len(rows) == 2 and not any(re.search(r'\d', cells) for _, cells in rows)


def test_E15_what_an_earlier_site_had_goes_and_what_others_put_there_stays(inside, tmp_path):
    site = tmp_path / 'site'
    publish(str(site))
    (site / 'hello.txt').write_text('ours')
    listed = json.loads((site / 'published.json').read_text())
    entry = {'sha256': 'x', 'since': '2026-01-01', 'first': '2026-01-01'}
    (site / 'published.json').write_text(json.dumps(listed | {'../hello.html': entry}))
    (tmp_path / 'hello.html').write_text('not ours')
    (site / 'about.html').unlink()
    aside = tmp_path / 'aside'
    shutil.move(inside / 'breast_cancer', aside)
    try:
        done = publish(str(site))
    finally:
        shutil.move(aside, inside / 'breast_cancer')
    assert done.removed == 3 and not list(site.glob('breast_cancer/**/*.html'))
    assert (site / 'hello.txt').read_text() == 'ours' and (site / 'about.html').is_file()
    assert (tmp_path / 'hello.html').read_text() == 'not ours'
    listed = json.loads((site / 'published.json').read_text())
    assert all(not name.startswith(('breast_cancer', '..')) for name in listed)


@pytest.mark.parametrize('kind', PLANTED)
def test_E15_planted_secrets_and_paths_are_found_and_never_repeated(kind):
    page = f'<h2>Data</h2><p>from {PLANTED[kind]} on</p>'
    leaks = leaks_in('report.html', page)
    assert leaks and all(PLANTED[kind] not in str(leak) for leak in leaks)
    assert leaks[0].part == 'Data' or '<b>' in PLANTED[kind]
    if not set('"<') & set(PLANTED[kind]):
        assert leaks_in('report.html', f'<a href="#x" title="{PLANTED[kind]}">x</a>')
        assert leaks_in('report.html', f'<!-- {PLANTED[kind]} --><p>x</p>')


def test_E15_a_leak_is_refused_and_nothing_is_written(made, inside, tmp_path):
    place, _ = made
    report = max((inside / 'cars/report').glob('*/report.html'))
    text = report.read_text()
    seen = set()
    for part in ('train', 'validation'):
        rows = pq.read_table(place.product('cars', 'split', f'{part}.parquet'), columns=['mail'])
        seen |= set(rows['mail'].to_pylist())
    mail = next(f'p{k}@mail.example' for k in range(200) if f'p{k}@mail.example' not in seen)
    site = tmp_path / 'site'
    try:
        for planted in ('AKIAIOSFODNN7EXAMPLE', 'Ann Ash 3', f'sold by {mail} last year'):
            report.write_text(text.replace('</main>', f'<p>{planted}</p></main>'))
            with pytest.raises(GateRefused) as refused:
                publish(str(site))
            said = str(refused.value)
            assert 'report.html' in said and planted not in said and mail not in said
        every = ''.join(f'<h2>{kind}</h2><p>{said}</p>' for kind, said in PLANTED.items())
        report.write_text(text.replace('</main>', f'{every}</main>'))
        done = published(made, str(site))
        assert done.returncode == 3 and done.stderr.count('report.html: ') == 12
        assert ' and 2 more' in done.stderr      # one kind stands in two forms
        assert not site.exists()
    finally:
        report.write_text(text)


def test_E15_a_site_is_not_written_over_products_or_what_others_wrote(root, tmp_path):
    write_products(root)
    (tmp_path / 'index.html').write_text('mine')
    (tmp_path / 'file').write_text('x')
    for where, said in (
        (root / 'site', 'lies among the products'),
        (tmp_path, 'index.html is there'),
        (tmp_path / 'file', 'is a file'),
        ('ftp://host/site', 'cannot be written to ftp://'),
    ):
        with pytest.raises(UserError, match=said):
            publish(str(where))
    assert (tmp_path / 'index.html').read_text() == 'mine'


def test_E15_a_site_in_a_store_is_the_same_and_opens_in_a_browser(inside, site, monkeypatch):
    pages = pages_of(site)
    with s3_store() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        assert publish('s3://cars/models').written == len(pages)
        assert publish('s3://cars/models').written == 0
        for name, page in pages.items():
            found = store.client.get_object(Bucket='cars', Key=f'models/{name}')
            assert found['Body'].read().decode() == page
            assert found['ContentType'] == 'text/html; charset=utf-8'
        monkeypatch.setenv('AWS_ENDPOINT_URL', 'http://127.0.0.1:9')
        with pytest.raises(InfrastructureError, match='cannot be reached'):
            publish('s3://cars/models')


def test_E15_pages_ask_for_nothing_and_the_search_finds(browser, site):
    for page in sorted(site.rglob('*.html')):
        assert visited(browser, page) == ([], []), page
    opened(browser, site / 'search.html')
    box = browser.find_element('id', 'find')
    shown = 'return [...document.querySelectorAll("#entries li")].filter(e => !e.hidden)'
    assert browser.execute_script(shown) == []
    box.send_keys('Kílometres driven')
    (first, *_) = browser.execute_script(shown)
    assert first.find_element('css selector', 'mark').text == 'kilometres'
    found = browser.find_element('id', 'found').text
    assert re.fullmatch(r'\d+ places? ha(s|ve) all of it\.', found)
    first.find_element('css selector', 'a').click()
    assert 'kilometres driven' in browser.find_element('css selector', 'body').text
    browser.get((site / 'search.html').as_uri() + '?q=nowheretobefound')
    assert browser.find_element('id', 'found').text == 'No places have it.'


def test_E15_the_pages_of_the_site_can_be_read_by_everyone(browser, site):
    try:
        for name in PLACES:
            opened(browser, site / name, 'dark', 390)
            assert axe_findings(browser) == [] and not is_too_wide(browser), name
    finally:
        as_usual(browser)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Products that are made up, as those of this project."""
    monkeypatch.setenv('CD4ML_PRODUCTS', str(tmp_path / 'products'))
    return tmp_path / 'products'


def test_E15_the_site_says_since_when_each_page_is_here_and_as_it_is(root, tmp_path):
    write_products(root)
    site = tmp_path / 'site'
    first, later = (datetime.date.fromisoformat(time) for time in TIMES)
    publish(str(site), first)
    write_text(root / 'cars/report/k1/report.html', '<!doctype html><h1>Cars, anew</h1>')
    assert publish(str(site), later).written == 3       # the report, the search, the list
    listed = json.loads((site / 'published.json').read_text())
    report = listed['cars/report/k1/report.html']
    assert (report['first'], report['since']) == TIMES
    assert listed['cars/report/k1/data_report.html']['since'] == TIMES[0]
    page = check((site / 'about.html').read_text(), lambda href: True)
    assert 'Model report 30 November 2026 24 December 2026' in page.text
    assert 'the last changed on 24 December 2026' in page.text


def test_E15_a_publication_that_was_killed_is_ended_by_the_next(root, tmp_path, monkeypatch):
    write_products(root)
    whole = tmp_path / 'whole'
    publish(str(whole))
    site = tmp_path / 'site'
    from fsspec.implementations.local import LocalFileSystem
    write = LocalFileSystem.pipe_file

    def killed(self, path, *rest, **more):
        if path.endswith('report.html'):
            raise KeyboardInterrupt
        write(self, path, *rest, **more)

    monkeypatch.setattr(LocalFileSystem, 'pipe_file', killed)
    with pytest.raises(KeyboardInterrupt):
        publish(str(site))
    monkeypatch.setattr(LocalFileSystem, 'pipe_file', write)
    assert publish(str(site)).pages == len(pages_of(whole))
    assert pages_of(site) == pages_of(whole)
    (site / 'cars/trend.html').write_text('<p>cut')
    publish(str(site))
    assert pages_of(site) == pages_of(whole)


def test_E15_data_that_is_gone_is_not_taken_for_clean(root, tmp_path):
    home = write_products(root)
    write_text(home / 'ingest/current', 'k1')
    columns = [{'name': 'who', 'type': 'text', 'role': 'id', 'personal': True}]
    entry = facts()['catalogue'] | {'columns': columns}
    write_json(home / 'ingest/k1/catalogue.json', {'schema_version': 1, **entry})
    with pytest.raises(Exception, match='its rows are gone'):
        publish(str(tmp_path / 'site'))
    assert not (tmp_path / 'site').exists()


def test_X05_hostile_products_are_inert_on_every_page_of_the_site(browser, root, tmp_path):
    payload = ' '.join(PAYLOADS)
    products = hostile(json.loads(json.dumps(facts())), payload)
    home = write_products(root, 'cars', products=products)
    record(home, 'r', **dict.fromkeys(('title', 'started', 'verdict', 'error'), payload))
    columns = [
        {'name': text, 'unit': text, 'min': text, 'max': text, 'type': 'category', 'role': 'time'}
        for text in PAYLOADS
    ]
    products['catalogue'] |= {'source': f'{payload}.csv', 'columns': columns}
    write_text(home / 'ingest/current', 'k1')
    write_json(home / 'ingest/k1/catalogue.json', {'schema_version': 1, **products['catalogue']})
    text = report_html(typed(products), predictions(n=300), {}, dict.fromkeys(ABOUT, payload))
    write_text(home / 'report/k1/report.html', text)
    site = tmp_path / 'site'
    publish(str(site))
    for name, page in pages_of(site).items():
        policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
        if name.endswith('data_report.html') or not policy:
            continue
        assert policy[1].startswith("default-src &#39;none&#39;"), name
        own = name == 'search.html'
        inert = re.sub('<script>.*?</script>', '', page, flags=re.DOTALL) if own else page
        allowed = re.sub('<p class="find".*?</p>', '', inert, flags=re.DOTALL) if own else inert
        check(allowed, lambda href: not re.match('[a-z]+:', href))
        assert visited(browser, site / name) == ([], []), name
        active = 'iframe, [onerror], [onload], [onmouseover], svg svg, base, link, form'
        assert not browser.find_elements('css selector', active), name
        assert len(browser.find_elements('css selector', 'script')) == own
    opened(browser, site / 'search.html')
    browser.find_element('id', 'find').send_keys('alert(1)')
    assert browser.find_elements('css selector', '#entries li:not([hidden]) mark')
    assert not browser.find_elements('css selector', '#entries img, #entries script, #entries svg')
