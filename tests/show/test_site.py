"""The index: what stands now, what ran before, links that resolve, nothing trusted."""

import json
import multiprocessing
import shutil
import time
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pandas as pd
import pytest
from browsers import visited
from html_checks import Outline, check
from report_examples import ABOUT, PAYLOADS, facts, hostile, predictions, typed
from site_examples import publish, record

from cd4ml_nb.core.files import write_json, write_text
from cd4ml_nb.runs.find import runs_there
from cd4ml_nb.show.report import executed_html, report_html
from cd4ml_nb.show.site import write_index


def checked(path):
    """The index, every relative link of which leads to a file below it."""

    def leads_somewhere(href):
        return (path.parent / unquote(href)).resolve().is_relative_to(path.parent.resolve()) and (
            path.parent / unquote(href)
        ).is_file()

    return check(path.read_text(encoding='utf-8'), leads_somewhere)


def test_an_index_of_nothing_says_what_to_do(tmp_path):
    assert 'Nothing has run yet' in checked(write_index(tmp_path)).text


def test_each_scenario_has_verdict_metric_links_and_history(tmp_path):
    publish(tmp_path, 'cars')
    publish(tmp_path, 'income', 'binary', accepted=False)
    publish(tmp_path, 'wine', 'multiclass')
    path = write_index(tmp_path)
    page = checked(path)
    assert path == tmp_path / 'index.html'
    for said in (
        '3 scenarios, 2 with a model',
        'Accepted as a candidate.',
        'Not released.',
        '1,612 EUR',
        '1,564 to 1,661 EUR',
        '.927',
        '22 November 2026, 10:02',
        'refused',
        'stopped',
        '62 s',
        '3 runs',
    ):
        assert said in page.text, said
    assert [h for h in page.attributes('href') if h.startswith('cars/')][:2] == [
        'cars/report/k1/report.html',
        'cars/report/k1/data_report.html',
    ]


def test_the_index_is_the_same_when_nothing_changed_and_moves_with_its_folder(tmp_path):
    publish(tmp_path / 'a')
    before = write_index(tmp_path / 'a').read_text(encoding='utf-8')
    shutil.move(tmp_path / 'a', tmp_path / 'b c')
    checked(tmp_path / 'b c' / 'index.html')
    assert write_index(tmp_path / 'b c').read_text(encoding='utf-8') == before
    assert str(tmp_path) not in before


def test_a_run_that_stopped_half_way_shows_what_there_is(tmp_path):
    record(
        tmp_path / 'cars',
        'r1',
        title='Cars',
        started='2026-11-23T10:00:00',
        seconds=2.0,
        exit_code=2,
        accepted=None,
        verdict='',
        report=None,
        metric=None,
    )
    page = checked(write_index(tmp_path))
    assert 'No model yet.' in page.text and 'stopped' in page.text and page.attributes('href') == []


@pytest.mark.parametrize('damage', [b'', b'{"run":', b'\xff\xfe', b'[]', b'null', b'"text"'])
def test_damaged_files_are_a_line_and_never_a_failure(tmp_path, damage):
    home = publish(tmp_path)
    for path in (
        'runs/run0.json',
        'evaluate/k1/metrics.json',
        'register/k1/registration.json',
        'package/k1/model/contract.json',
        'report/current',
    ):
        (home / path).write_bytes(damage)
    page = checked(write_index(tmp_path))
    assert 'its record cannot be read' in page.text and 'No model yet.' in page.text


@pytest.mark.parametrize(
    'field', ['started', 'seconds', 'exit_code', 'metric', 'report', 'title', 'verdict']
)
def test_a_record_with_any_value_in_any_field_is_shown(tmp_path, field):
    home = publish(tmp_path)
    for k, value in enumerate(
        (None, [], {}, -1, 'x', {'name': 'mae', 'value': 'x'}, True, float('nan'), 1e300)
    ):
        record_text = json.dumps(
            {'run': f'odd{k}', 'started': '2026-11-23T10:00:00', 'exit_code': 0, field: value}
        )
        (home / 'runs' / f'odd{k}.json').write_text(record_text, encoding='utf-8')
    assert '12 runs' in checked(write_index(tmp_path)).text


def test_X05_hostile_products_and_records_are_inert(tmp_path):
    for k, payload in enumerate(PAYLOADS):
        home = publish(
            tmp_path, f's{k}', products=hostile(json.loads(json.dumps(facts())), payload)
        )
        record(
            home, 'r', **dict.fromkeys(('title', 'started', 'verdict', 'report', 'error'), payload)
        )
    checked(write_index(tmp_path))


@pytest.mark.parametrize(
    'place',
    [
        '../../secret.html',
        '/etc/hostname',
        'javascript:alert(1)',
        'https://example.org/x.html',
        'report/k1',
        'runs/run0.json',
        'link/x.html',
    ],
)
def test_a_record_links_only_to_a_report_of_its_own_scenario(tmp_path, place):
    home = publish(tmp_path / 'products')
    write_text(tmp_path / 'secret.html', 'secret')
    write_text(tmp_path / 'outside' / 'x.html', 'secret')
    (home / 'link').symlink_to(tmp_path / 'outside')
    record(home, 'bad', started='2027-01-01T00:00:00', exit_code=0, report=place)
    hrefs = checked(write_index(tmp_path / 'products')).attributes('href')
    assert len(hrefs) == 2 + 3 + 1, 'the two reports, the trend, and one for each honest run'


def test_a_current_pointer_does_not_lead_outside(tmp_path):
    home = publish(tmp_path / 'products')
    write_text(tmp_path / 'evil' / 'report.html', 'secret')
    write_text(home / 'report' / 'current', '../../../evil')
    assert 'evil' not in write_index(tmp_path / 'products').read_text(encoding='utf-8')


def test_a_browser_asks_for_nothing_and_has_nothing_to_say(browser, tmp_path):
    home = publish(tmp_path)
    wide = pd.DataFrame({f'a_column_with_a_long_name_{k}': [1.5] for k in range(20)}).to_html()
    cell = nbformat.v4.new_code_cell(
        'table', outputs=[nbformat.v4.new_output('execute_result', {'text/html': wide})]
    )
    pages = {'sweep': executed_html(nbformat.v4.new_notebook(cells=[cell]), 'sweep')}
    report = report_html(typed(facts()), predictions(n=1500), pages, ABOUT)
    (home / 'report' / 'k1' / 'report.html').write_text(report, encoding='utf-8')
    index = write_index(tmp_path)
    assert visited(browser, index) == ([], [])
    browser.find_element('link text', 'Model report').click()
    assert browser.title.startswith(ABOUT['title'])
    assert visited(browser, Path(home / 'report' / 'k1' / 'report.html')) == ([], [])
    too_wide = 'return document.documentElement.scrollWidth > document.documentElement.clientWidth'
    browser.execute_script('document.querySelectorAll("details").forEach(one => one.open = true)')
    for width in (1200, 420):
        browser.set_window_size(width, 900)
        assert not browser.execute_script(too_wide), f'the page scrolls sideways at {width} pixels'


def test_X05_a_browser_runs_nothing_of_a_hostile_report(browser, tmp_path):
    payload = ' '.join(PAYLOADS)
    products = hostile(json.loads(json.dumps(facts('binary', False))), payload)
    path = tmp_path / 'hostile.html'
    about = {key: payload for key in ABOUT}
    text = report_html(typed(products), predictions('binary', 500), {}, about)
    path.write_text(text, encoding='utf-8')
    assert visited(browser, path) == ([], [])
    assert not browser.find_elements('css selector', 'script, iframe, [onerror], [onload], svg svg')
    assert Outline(path.read_text(encoding='utf-8')).text.count('alert(1)') > 10


def test_of_two_writers_of_the_index_the_last_shows_what_both_have_recorded(tmp_path, monkeypatch):
    def record(name: str) -> None:
        content = {'run': name, 'started': '2026-11-23T10:00:00', 'title': f'The title of {name}'}
        write_json(tmp_path / name / 'runs' / f'{name}.json', content)

    def slow(path, text):       # the first writer has read all records, and is not done
        if path.name == 'index.html' and not (tmp_path / 'wrote').exists():
            (tmp_path / 'wrote').write_text('')
            time.sleep(1)
        write_text(path, text)

    monkeypatch.setattr('cd4ml_nb.show.site.write_text', slow)
    record('one')
    first = multiprocessing.get_context('fork').Process(target=write_index, args=(tmp_path,))
    first.start()
    while not (tmp_path / 'wrote').exists():
        time.sleep(0.01)
    record('two')
    text = write_index(tmp_path).read_text(encoding='utf-8')
    first.join()
    assert first.exitcode == 0
    assert (tmp_path / 'index.html').read_text(encoding='utf-8') == text
    assert 'The title of one' in text and 'The title of two' in text
    assert (tmp_path / '.index').read_text() == runs_there(tmp_path)
