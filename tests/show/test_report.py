"""The report: the verdict in words for every task, nothing active in it, legible for everyone, one
small file."""

import json
import re

import nbformat
import numpy as np
import pandas as pd
import pytest
from html_checks import check
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from report_examples import ABOUT, MAKES, PAYLOADS, copied, ends, facts, hostile, predictions, typed

from cd4ml_nb.artefacts.artefact import parsed
from cd4ml_nb.artefacts.metrics import Metrics
from cd4ml_nb.core.errors import UserError
from cd4ml_nb.core.files import project_root
from cd4ml_nb.show.report import executed_html, report_html
from cd4ml_nb.show.verdict import performance, verdict

PNG = (
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5E'
    'rkJggg=='
)


def plain(text):
    return text.replace('\N{NO-BREAK SPACE}', ' ')


def report(task='regression', accepted=True, products=None, pages=None, about=ABOUT):
    products = products or copied(facts(task, accepted))
    return report_html(
        typed(products), predictions(task, 1200), pages or {}, about, '2026-11-23T14:05'
    )


@pytest.fixture(scope='module')
def regression():
    return report()


def spoken(task, accepted):
    products = typed(facts(task, accepted))
    output = products.contract.output
    text, sentences = verdict(
        products.registration, products.metrics, output.words, output.positive
    )
    return plain(' '.join([text, *sentences]))


def test_an_accepted_regression_says_how_far_off_the_price_is():
    assert (
        spoken('regression', True)
        == 'Accepted as a candidate. On 8,799 cases that it has not learned from, the price is off'
        ' by 1,612 EUR (1,564 to 1,661) on average; for a naive guess it is 2,902 EUR. The naive'
        ' guess is the median price among those of the same make and model.'
    )


def test_cases_with_a_twin_among_the_rows_learned_from_are_said_with_both_errors():
    products = copied(facts('regression', True))
    ends = {'low': 900.0, 'high': 1100.0}
    products['metrics']['twins'] = {
        'n': 801,
        'differ': ['scraped_at', 'price'],
        'with_twin': {'value': 1000.0, **ends},
        'without': {'value': 1700.0, 'low': 1600.0, 'high': 1800.0},
    }
    said = plain(performance(parsed(Metrics, products['metrics'], 'metrics.json'), 'price'))
    assert said.endswith(
        'Of the 8,799 cases, 801 have a twin among the rows that it learned from, which differs in'
        ' scraped_at and price only: there the average error is 1,000 EUR (900 to 1,100), for all'
        ' others 1,700 EUR (1,600 to 1,800).'
    )
    assert 'never seen' not in said


def test_a_refused_regression_names_gate_bound_and_value():
    assert spoken('regression', False).startswith(
        'Not released. Gate mae refused: the average error had to be at most 1,451 EUR; 1,612 EUR'
        ' was measured (1,564 to 1,661 EUR), and the unfavourable end of the interval counts. On'
        ' 8,799 cases'
    )


def test_a_model_of_which_nothing_was_demanded_is_called_so():
    products = copied(facts('regression', True))
    products['registration']['gates'] = []
    text = check(report(products=products)).text
    assert 'Accepted as a candidate: no gate demanded anything.' in text
    products = copied(facts('regression', True))
    for gate in products['registration']['gates']:
        gate['is_easy'] = True
    text = check(report(products=products)).text
    assert 'its gates demanded no more than a naive guess reaches' in text


def test_a_model_worse_than_the_average_explains_nothing():
    products = copied(facts('regression', False))
    below = {'value': -0.12, 'low': -0.2, 'high': -0.03}
    products['metrics']['holdout']['r2'] = below
    products['metrics']['gain'] = {'mae': {'value': 3.0, 'low': 1.0, 'high': 5.0}}
    products['registration']['gates'][0] |= {'metric': 'r2', 'bound': 'min 0', **below}
    text = plain(check(report(products=products)).text)
    assert '−12.0 %' not in text and '−20.0' not in text
    assert 'none was measured' in text and 'not what matters' in text
    products['metrics']['metric'] = 'r2'
    said = plain(performance(parsed(Metrics, products['metrics'], 'metrics.json'), 'price'))
    assert 'none of the variation in the price is explained' in said


def test_a_model_that_is_too_good_is_asked_about_with_its_drivers():
    products = copied(facts('binary', True))
    products['metrics']['holdout']['auc'] = {'value': 1.0, 'low': 1.0, 'high': 1.0}
    products['metrics']['baseline']['auc'] = {'value': 0.5}
    text = plain(check(report('binary', products=products)).text)
    assert 'Accepted as a candidate' in text and 'leaves less than 0.1 % of the naive' in text
    driver = products['explanation']['global'][0]
    words = driver.get('words') or driver['name']
    assert f'known before the target is? The largest drivers are {words}' in text
    assert 'Too good' not in plain(check(report('binary')).text)


def test_a_blend_has_the_parameters_of_each_of_its_members():
    products = copied(facts())
    first = {'number': 3, 'weight': 0.6, 'params': {'max_depth': 7}, 'rounds': 80}
    second = {'number': 5, 'weight': 0.4, 'params': {'eta': 0.5}, 'rounds': 200}
    products['best']['members'] = [first, second]
    text = plain(check(report(products=products)).text)
    assert 'Parameters of the 2 members of the blend' in text and 'Trial 3, 60 %' in text
    assert 'Parameters of the best trial' in plain(check(report()).text)


def test_a_model_with_more_rounds_than_its_trial_says_both():
    products = copied(facts())
    number = products['best']['number']
    (trial,) = [t for t in products['trials']['trials'] if t['number'] == number]
    trial['rounds'] = products['best']['rounds']
    assert 'learns from more rows' not in plain(check(report(products=products)).text)
    products['best']['rounds'] += 200
    text = plain(check(report(products=products)).text)
    more = f'the model, which learns from more rows, has {trial["rounds"] + 200:,}'
    assert f'after {trial["rounds"]:,} rounds of boosting; {more}.' in text


def test_a_gate_against_the_naive_guess_is_read_as_a_gain():
    products = copied(facts('regression', False))
    gain = {'value': 40.0, 'low': -10.0, 'high': 90.0}
    gate = {'metric': 'mae', 'bound': 'min 29', 'at': 'bound', 'passed': False, 'beats': 'naive'}
    products['registration']['gates'] = [gate | gain]
    ranked = {'metric': 'r2', 'bound': 'min 0.1', 'value': 0.04, 'low': -0.01, 'high': 0.09}
    products['registration']['gates'].append(gate | ranked)
    text = plain(check(report(products=products)).text)
    assert 'better than that of the naive guess by more than 29.0 EUR' in text
    assert 'the gain is 40.0 EUR (−10.0 to 90.0 EUR)' in text
    assert 'by more than 10.0 points; the gain is 4.0 points (−1.0 to 9.0 points)' in text


def biased(products):
    """Products of a model that predicts Dacias too low, and is far off for Porsches."""
    none = {'value': 0.001, 'low': -0.004, 'high': 0.006}
    row = {'n': 90, 'bias': none, 'error': ends(0.09), 'others': 0.001, 'error_of_others': 0.09}
    low = {'bias': {'value': -0.081, 'low': -0.102, 'high': -0.06}, 'side': 'under'}
    makes = [row | {'value': make} for make in MAKES[:-2]]
    makes.append(row | low | {'value': 'Dacia'})
    makes.append(row | {'value': 'Porsche', 'larger': True, 'error': ends(0.2)})
    bands = [row | {'value': [5000.0 * k, 5000.0 * k + 4999]} for k in range(5)]
    products['metrics']['errors'] = {
        'whole': [row | {'value': 'all'}], 'columns': {'make': makes}, 'bands': bands,
        'margins': {'': 0.009},
    }
    return products


def test_who_is_predicted_too_low_is_named_in_the_verdict_and_by_its_group():
    text = plain(check(report(products=biased(copied(facts())))).text)
    assert 'Predictions are systematically off for make Dacia (8.1 % too low).' in text
    assert (
        'Systematically predicted too low: Dacia, by 8.1 % (6.0 to 10.2), all others 0.1 % too'
        ' high.'
    ) in text
    assert 'for Porsche, 20.0 % against 9.0 % for all others' in text
    assert 'most for Porsche (20.0 %)' in text and 'Along the predicted price' in text
    text = plain(check(report()).text)
    assert 'systematically' not in text                  # records of earlier versions


def test_the_worst_cases_are_shown_with_what_names_them():
    products = copied(facts())
    case = products['explanation']['cases'][0] | {'who': {'offer': '17', 'day': '2026-01-31'}}
    nameless = products['explanation']['cases'][1]
    products['explanation']['worst'] = {
        'n': 88, 'of': 0.01, 'share': 0.31, 'cases': [case, nameless],
    }
    text = plain(check(report(products=products)).text)
    assert 'The worst 88 cases make 31.0 % of the whole error, and are 1.0 % of all cases.' in text
    assert 'offer 17, day 2026-01-31' in text and 'mileage 21,000 km, year of first' in text


def test_an_accepted_binary_model_says_how_well_it_ranks():
    assert (
        spoken('binary', True)
        == 'Accepted as a candidate. On 8,799 cases that it has not learned from, it ranks a case'
        ' whose income is “>50K” above another 92.7 % (89.9 to 95.5) of the time; for a naive'
        ' guess it is 50.0 %. The naive guess is the frequency of each outcome.'
    )


def test_an_accepted_multiclass_model_adds_how_many_are_right():
    said = spoken('multiclass', True)
    assert (
        'log loss, 0 is perfect) is .612 (.594 to .630)' in said
        and 'Also, 74.2 % (72.0 to 76.4) of the cases are classified right' in said
    )


@pytest.mark.parametrize('task', ['binary', 'multiclass'])
def test_a_refused_model_of_classes_names_its_gate(task):
    assert re.match(
        r'Not released\. Gate (auc|log_loss) refused: the .* had to be at (least|most) \.\d+; \.\d+'
        r' was measured',
        spoken(task, False),
    )


def test_a_gate_on_an_undefined_metric_says_so():
    products = facts('regression', False)
    products['registration']['gates'][0] |= {'value': None, 'low': None, 'high': None}
    undefined = typed(products)
    assert 'it is undefined' in verdict(undefined.registration, undefined.metrics)[1][0]


@pytest.mark.parametrize(('task', 'accepted'), [
    ('regression', True),
    ('regression', False),
    ('binary', True),
    ('multiclass', False),
])
def test_each_report_is_one_inert_legible_file(task, accepted):
    text = report(task, accepted)
    page = check(text)
    assert len(text) < 500_000
    assert page.text.index(
        'Accepted as a candidate' if accepted else 'Not released'
    ) < page.text.index('What it does')
    for heading in (
        'How good it is', 'For whom', 'Can the numbers be trusted?', 'What drives',
        'How it was found', 'Gates', 'Where it comes from',
    ):
        assert heading in page.text
    for said in (
        'AutoScout24',
        'CC0',
        '1 November 2021',
        '1,848 days old',
        'equal to an earlier row',
        'Lada (7), Ferrari (4)',
        'passed' if accepted else 'refused',
    ):
        assert said in page.text, said
    assert '{{' not in text and 'None' not in page.text and 'nan' not in page.text.split()


def test_numbers_have_units_and_forms_of_their_own(regression):
    text = check(regression).text
    for said in (
        '1,612 EUR', '1,564 to 1,661 EUR', '94.6 %', '0 to 480,000 km', '1990 to 2021', '21,000 km',
        ' 2019 ', '+27 %', '−27 %', 'the upper end, 1,661 EUR',
    ):
        assert said in text, said


def test_no_folder_of_this_machine_and_no_password_is_in_it(regression):
    assert (
        'geheim' not in regression
        and '/srv/data' not in regression
        and str(project_root()) not in regression
    )
    assert 'postgresql://db.example.invalid/mlflow' in regression


def test_equal_products_give_equal_reports(regression):
    assert report() == regression


@pytest.mark.parametrize('payload', [' '.join(PAYLOADS[k::8]) for k in range(8)])
def test_X05_hostile_texts_in_every_field_are_inert(payload):
    products = hostile(copied(facts('binary', False)), payload)
    text = report(
        'binary', products=products, about={key: payload + value for key, value in ABOUT.items()}
    )
    page = check(text)
    assert 'used_cars_de' in page.text


def test_X05_hostile_class_names_of_several_classes_are_inert():
    products = hostile(copied(facts('multiclass')), PAYLOADS[1])
    table = predictions('multiclass', 500).rename(
        columns=lambda name: f'p_{PAYLOADS[1]}{name[2:]}' if name.startswith('p_') else name
    )
    check(report_html(typed(products), table, {}, ABOUT))


def notebook(payload):
    """A page whose prose, code and outputs all hold a payload."""
    kinds = [
        'text/html',
        'text/markdown',
        'text/plain',
        'image/svg+xml',
        'text/latex',
        'application/javascript',
        'application/vnd.jupyter.widget-view+json',
    ]
    outputs = [
        new_output('stream', text=payload),
        new_output('stream', name='stderr', text=payload),
        new_output('error', ename=payload, evalue=payload, traceback=[payload]),
        *(new_output('display_data', data={k: payload}) for k in kinds),
        new_output('execute_result', data={'image/png': payload}),
        new_output('display_data', data={'image/png': PNG}, metadata={'alt': payload}),
    ]
    return new_notebook(
        cells=[
            new_markdown_cell(f'# {payload}\n\n{payload}\n\n[x]({payload})\n\n![x]({payload})'),
            new_code_cell(payload, outputs=outputs),
            nbformat.v4.new_raw_cell(payload),
        ]
    )


def test_X05_hostile_prose_code_and_outputs_of_pages_are_inert():
    pages = {
        f'page{k}': executed_html(notebook(payload), f'page{k}')
        for k, payload in enumerate(PAYLOADS)
    }
    check(report(pages=pages))


def test_a_page_keeps_its_form_and_loses_what_is_not_for_readers():
    table = (
        '<style scoped>.a {}</style><table border="1" class="dataframe">'
        '<thead><tr><th>make</th></tr></thead><tbody><tr><td>Opel</td></tr></tbody></table>'
    )
    outputs = [
        new_output(
            'stream', text=f'wrote {project_root()}/products/x, from postgresql://me:geheim@host/db'
        ),
        new_output('execute_result', data={'text/html': table}),
        new_output('display_data', data={'image/png': PNG}),
        new_output('stream', text='x' * 100_000),
    ]
    cells = [
        new_markdown_cell('# Train\n\n> Fit.\n\n### Why\n\nSee [source](https://example.org/a).'),
        new_code_cell('#| export\nimport os', outputs=outputs),
        new_code_cell('#| default_exp train'),
    ]
    text = executed_html(new_notebook(cells=cells), 'train')
    for kept in (
        '<h4>Train</h4>', '<h5>Why</h5>', '<blockquote>', '<th>make</th>',
        'alt="Notebook train, figure 1"', './products/x', 'postgresql://host/db',
    ):
        assert kept in text, kept
    for gone in ('scoped', 'https://', 'default_exp', '#|', 'geheim', str(project_root())):
        assert gone not in text, gone
    assert len(text) < 20_000


def test_large_images_are_left_out_and_a_report_stays_under_two_megabytes():
    picture = 'A' * 120_000
    page = new_notebook(
        cells=[
            new_code_cell(
                'plot()',
                outputs=[new_output('display_data', data={'image/png': picture}) for _ in range(5)],
            )
        ]
    )
    pages = {
        f'stage{k}': executed_html(
            json.loads(json.dumps(page), object_hook=nbformat.NotebookNode), f'stage{k}'
        )
        for k in range(9)
    }
    text = report(pages=pages)
    assert len(text) < 2_000_000 and 'left out here for its size' in text
    check(text)


def test_what_a_stage_may_leave_out_is_left_out():
    products = copied(facts())
    for product, keys in {
        'catalogue': ['age_days', 'licence', 'owner', 'published', 'sampled'],
        'metrics': ['gain', 'partitions', 'groups', 'groups_too_small', 'calibration'],
        'trials': ['importance'],
        'training': ['dirty', 'commit', 'threads', 'xgboost'],
        'explanation': ['method'],
    }.items():
        for key in keys:
            del products[product][key]
    (
        products['registration']['gates'],
        products['explanation']['cases'],
        products['explanation']['global'],
    ) = ([], [], [])
    text = check(report(products=products)).text
    assert 'no gates' in text and 'names no groups' in text and 'not in a repository' in text


@pytest.mark.parametrize('missing', [
    ('metrics', 'holdout'),
    ('registration', 'accepted'),
    ('findings', 'n_rows_in'),
])
def test_what_a_stage_must_say_is_not_made_up(missing):
    products = copied(facts())
    del products[missing[0]][missing[1]]
    with pytest.raises(UserError, match=rf'{missing[0]}\.json:{missing[1]}: .* lacks the key'):
        report(products=products)


def test_a_contract_without_its_output_is_refused_by_its_key():
    products = copied(facts())
    del products['contract']['output']
    with pytest.raises(UserError, match="contract.json: key 'output' is missing"):
        report(products=products)


def test_undefined_values_are_dashes():
    products = copied(facts('binary'))
    products['metrics']['holdout']['precision'] = {'value': None, 'low': None, 'high': None}
    products['metrics']['partitions']['rows'][0]['metrics']['auc'] = {
        'value': None,
        'low': None,
        'high': None,
    }
    assert 'no interval' in check(report('binary', products=products)).text


def test_one_trial_one_class_one_case_still_make_a_report():
    products = copied(facts('multiclass'))
    products['trials']['trials'] = products['trials']['trials'][:1]
    products['contract']['output']['classes'] = ['low', 'medium', 'high']
    table = pd.DataFrame({'actual': [0], 'p_low': [0.8], 'p_medium': [0.1], 'p_high': [0.1]})
    page = check(report_html(typed(products), table, {}, ABOUT))
    assert 'No case was classified wrong' in page.text


def test_errors_of_equal_cases_can_be_drawn():
    table = pd.DataFrame({'actual': np.full(40, 3.0), 'predicted': np.full(40, 3.0)})
    check(report_html(typed(facts()), table, {}, ABOUT))
