"""What the stages before the report write, small and made up, for each task."""

import json

import numpy as np
import pandas as pd

from cd4ml_nb.artefacts.artefact import parsed
from cd4ml_nb.artefacts.catalogue import Catalogue
from cd4ml_nb.artefacts.explanation import Explanation
from cd4ml_nb.artefacts.findings import Findings
from cd4ml_nb.artefacts.metrics import Metrics
from cd4ml_nb.artefacts.registration import Registration
from cd4ml_nb.artefacts.schema import Schema
from cd4ml_nb.artefacts.split_record import SplitRecord
from cd4ml_nb.artefacts.sweep import Best, SweepRecord
from cd4ml_nb.artefacts.training_record import TrainingRecord
from cd4ml_nb.model.contract import Contract
from cd4ml_nb.show.report import Facts

MAKES = [
    'Volkswagen', 'Opel', 'Ford', 'Škoda', 'Renault', 'Audi', 'BMW', 'Mercedes-Benz', 'Toyota',
    'Dacia', 'Porsche',
]


def ends(value, spread=0.03):
    """A value with its interval."""
    return {'value': value, 'low': value - spread * abs(value), 'high': value + spread * abs(value)}


def facts(task='regression', accepted=True, seed=0):
    """The JSON products of every stage before the report."""
    rng = np.random.default_rng(seed)
    out = {
        'regression': {
            'name': 'price',
            'unit': 'EUR',
            'words': 'price',
            'scale': 'log',
            'classes': None,
            'positive': None,
        },
        'binary': {
            'name': 'income',
            'unit': '',
            'words': 'income',
            'scale': 'linear',
            'classes': ['<=50K', '>50K'],
            'positive': '>50K',
        },
        'multiclass': {
            'name': 'quality',
            'unit': '',
            'words': 'quality',
            'scale': 'linear',
            'classes': ['low', 'medium', 'high'],
            'positive': None,
        },
    }[task]
    values = {
        'regression': {
            'mae': 1612.2,
            'rmse': 2904.7,
            'medae': 1012.0,
            'mape': 0.131,
            'r2': 0.946,
            'bias': -96.0,
            'within_10': 0.561,
        },
        'binary': {
            'auc': 0.9268,
            'log_loss': 0.281,
            'brier': 0.087,
            'accuracy': 0.874,
            'precision': 0.781,
            'recall': 0.652,
            'f1': 0.711,
            'calibration_error': 0.012,
        },
        'multiclass': {
            'log_loss': 0.612,
            'brier': 0.341,
            'accuracy': 0.742,
            'macro_f1': 0.701,
            'balanced_accuracy': 0.694,
        },
    }[task]
    metric = {'regression': 'mae', 'binary': 'auc', 'multiclass': 'log_loss'}[task]
    better = {'regression': 'low', 'binary': 'high', 'multiclass': 'low'}[task]
    worse = 0.54 if better == 'high' else 1.8
    inputs = [
        {
            'name': 'mileage',
            'words': 'mileage',
            'type': 'number',
            'unit': 'km',
            'min': 0,
            'max': 480_000,
            'missing': True,
            'categories': None,
        },
        {
            'name': 'year',
            'words': 'year of first registration',
            'type': 'number',
            'unit': 'year',
            'min': 1990.0,
            'max': 2021.0,
            'missing': False,
            'categories': None,
        },
        {
            'name': 'make',
            'words': 'make',
            'type': 'category',
            'unit': '',
            'min': None,
            'max': None,
            'missing': True,
            'categories': MAKES,
        },
        {
            'name': 'hp',
            'words': 'engine power',
            'type': 'number',
            'unit': 'hp',
            'min': 1,
            'max': 850,
            'missing': True,
            'categories': None,
        },
        {
            'name': 'leased',
            'words': '',
            'type': 'boolean',
            'unit': '',
            'min': None,
            'max': None,
            'missing': True,
            'categories': None,
        },
    ]
    params = [
        {
            'learning_rate': float(10 ** rng.uniform(-2, -0.5)),
            'max_depth': int(rng.integers(3, 11)),
            'subsample': float(rng.uniform(0.5, 1)),
            'reg_lambda': float(10 ** rng.uniform(-1, 1.4)),
        }
        for _ in range(24)
    ]
    trials = [
        {
            'number': k,
            'state': 'pruned' if k % 6 == 5 else 'complete',
            'params': p,
            'rounds': 400,
            'seconds': 3.1,
            'reason': '',
            'value': (
                values[metric]
                * (1 + (1 if better == 'low' else -1) * (0.25 / (k + 1) + abs(rng.normal(0, 0.02))))
            ),
        }
        for k, p in enumerate(params)
    ]
    groups = [
        {
            'value': make,
            'n': int(1900 / (k + 1)),
            'metrics': {
                m: ends(v * (1 + 0.05 * rng.normal()), 0.02 + 0.01 * k) for m, v in values.items()
            },
        }
        for k, make in enumerate(MAKES)
    ]
    bound = values[metric] * (
        (1.1 if accepted else 0.9) if better == 'low' else (0.9 if accepted else 1.05)
    )
    gates = [{
        'metric': metric,
        'bound': f"{'max' if better == 'low' else 'min'} {bound:.4g}",
        'at': 'bound',
        **ends(values[metric]),
        'passed': accepted,
        'reason': f'{metric} is {values[metric]:.4g}',
    }]
    if task == 'regression':
        gates.append({
            'metric': 'bias',
            'bound': 'min -400, max 400',
            'at': 'value',
            **ends(-96.0),
            'passed': True,
            'reason': 'bias is -96, within min -400 and max 400',
        })
    reasons = [
        {
            'name': 'mileage',
            'words': 'mileage',
            'unit': 'km',
            'value': '21,000',
            'contribution': 0.24,
            'effect': '× 1.27',
        },
        {
            'name': 'year',
            'words': 'year of first registration',
            'unit': 'year',
            'value': '2,019',
            'contribution': 0.18,
            'effect': '× 1.20',
        },
        {
            'name': 'make',
            'words': 'make',
            'unit': '',
            'value': 'Dacia',
            'contribution': -0.31,
            'effect': '× 0.73',
        },
    ]
    actual, predicted = {
        'regression': (11_900.0, 12_340.0),
        'binary': ('>50K', 0.83),
        'multiclass': ('low', 'medium'),
    }[task]
    p = np.sort(rng.uniform(0.02, 0.98, 10))
    bins = {
        'predicted': p.tolist(),
        'actual': (0.97 * p).tolist(),
        'low': (0.9 * p).tolist(),
        'high': np.minimum(1.05 * p, 1).tolist(),
        'n': [880] * 10,
    }
    shares = (0.34, 0.29, 0.2, 0.15, 0.02)
    return {
        'catalogue': {
            'source': '/srv/data/cars_autoscout24_de_2021.csv',
            'format': 'csv',
            'bytes': 2_400_000,
            'file_sha256': 'ab' * 32,
            'data_hash': 'cd' * 32,
            'n_rows': 46_405,
            'n_rows_in_file': 46_405,
            'encoding': 'utf-8',
            'separator': ',',
            'owner': 'AutoScout24',
            'licence': 'CC0',
            'published': '2021-11-01',
            'age_days': 1848,
            'first_line': '',
            'columns': [],
            'sample': [],
            'sampled': False,
            'inferred': [],
            'notes': [],
        },
        'findings': {
            'n_rows_in': 46_405,
            'n_rows_out': 43_992,
            'dropped': {'equal to an earlier row': 2140, 'price above 150,000': 273},
            'findings': [
                {
                    'code': 'D21',
                    'level': 'warn',
                    'column': 'mileage',
                    'count': 3,
                    'what': '3 values are a sentinel and count as missing',
                    'todo': '',
                    'first_row': 17,
                },
                {
                    'code': 'D30',
                    'level': 'info',
                    'column': '',
                    'count': 2140,
                    'what': '2,140 rows equal an earlier one',
                    'todo': '',
                    'first_row': 1,
                },
            ],
        },
        'schema': {
            'target': {**out, 'task': task},
            'columns': [
                {**c, 'role': 'feature', 'values_declared': False, 'sentinels': []} for c in inputs
            ],
        },
        'split': {
            'by': 'random',
            'column': None,
            'seed': 7,
            'n': {'train': 28_155, 'validation': 7038, 'holdout': 8799},
            'left_out': 0,
            'hash': {'train': '1' * 64, 'validation': '2' * 64, 'holdout': '3' * 64},
            'overlap': {'rows': 0, 'groups': 0},
            'span': {},
        },
        'trials': {
            'metric': metric,
            'better': better,
            'sampler': 'TPE, multivariate',
            'seed': 7,
            'pruner': 'worse half',
            'evaluator': 'PED-ANOVA',
            'importance': {
                'learning_rate': 0.52,
                'max_depth': 0.31,
                'subsample': 0.1,
                'reg_lambda': 0.07,
            },
            'trials': trials,
        },
        'best': {
            'params': {'objective': 'reg:squarederror', **params[3]},
            'rounds': 812,
            'value': values[metric],
            'metric': metric,
            'number': 3,
            'n_trials': 24,
            'device': 'cpu',
        },
        'training': {
            'run_id': '3f2a' * 8,
            'tracking': 'postgresql://cd4ml:geheim@db.example.invalid/mlflow',
            'params': {},
            'rounds': 812,
            'device': 'cpu',
            'threads': 2,
            'seed': 7,
            'n_rows': 35_193,
            'model_sha256': 'ef' * 32,
            'data_hash': '45' * 32,
            'commit': '9c1d' * 10,
            'dirty': True,
            'modules': {},
            'xgboost': '3.2.0',
        },
        'contract': {
            'schema': 1,
            'name': 'used_cars_de',
            'title': 'What a used car is worth',
            'version': '1.0.0',
            'task': task,
            'inputs': [{**i, 'internal': f'f{k:04d}'} for k, i in enumerate(inputs, start=1)],
            'output': out,
        },
        'metrics': {
            'task': task,
            'unit': out['unit'],
            'metric': metric,
            'n_rows': 8799,
            'confidence': 0.95,
            'holdout': {m: ends(v) for m, v in values.items()},
            'baseline': {m: ends(v * worse if m == metric else v * 0.8) for m, v in values.items()},
            'baseline_by': ['make', 'model'] if task == 'regression' else [],
            'gain': {metric: ends(values[metric] * (1 - worse), 0.05)},
            'validation': {},
            'groups': {'leased': groups[:2]},
            'groups_too_small': {'leased': []},
            'calibration': None if task == 'regression' else bins,
            'residuals': None,
            'partitions': {
                'column': 'make',
                'rows': groups,
                'too_small': [{'value': 'Lada', 'n': 7}, {'value': 'Ferrari', 'n': 4}],
            },
        },
        'explanation': {
            'method': 'contributions of XGBoost (TreeSHAP)',
            'n_rows': 2000,
            'global': [
                {'name': c['name'], 'words': c['words'] or c['name'], 'share': s}
                for c, s in zip(inputs, shares, strict=True)
            ],
            'cases': [
                {'title': title, 'actual': actual, 'predicted': predicted, 'reasons': reasons}
                for title in ('An ordinary case', 'The largest overestimate')
            ],
        },
        'manifest': {'gates': gates},
        'registration': {
            'accepted': accepted,
            'verdict': 'accepted: 2 of 2 gates passed' if accepted else f'refused: {metric}',
            'gates': gates,
            'model_name': 'used_cars_de',
            'version': 4 if accepted else None,
            'alias': 'candidate' if accepted else None,
            'run_id': '3f2a' * 8,
        },
    }


def predictions(task='regression', n=8799, seed=0):
    """Actual and predicted on the holdout, as `evaluate` writes them."""
    rng = np.random.default_rng(seed)
    if task == 'regression':
        actual = rng.gamma(2.2, 7000, n) + 500
        return pd.DataFrame(
            {'predicted': actual * np.exp(rng.normal(0, 0.13, n)), 'actual': actual}
        )
    if task == 'binary':
        p = rng.beta(0.7, 2, n)
        return pd.DataFrame({'predicted': p, 'actual': (rng.uniform(size=n) < p).astype(int)})
    p = rng.dirichlet([1.2, 1.6, 0.7], n)
    return pd.DataFrame({
        'p_low': p[:, 0],
        'p_medium': p[:, 1],
        'p_high': p[:, 2],
        'actual': [rng.choice(3, p=row) for row in p],
    })


ABOUT = {
    'name': 'used_cars_de',
    'title': 'What a used car is worth in Germany',
    'owner': 'Pricing team',
    'description': (
        'An asking price in EUR for a passenger car, from 46,405 offers on AutoScout24 in 2021.'
        ' Repeated offers are counted once, and cars above 150,000 EUR are a market of their own'
        ' that this model leaves out.'
    ),
}

PAYLOADS = [
    '<script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    '</title><script>alert(1)</script>',
    '</style><script>alert(1)</script>',
    '<iframe src="javascript:alert(1)">',
    'javascript:alert(1)',
    '<a href="javascript:alert(1)">x</a>',
    '{{ 7 * 7 }}',
    '{% for x in y %}',
    '" onmouseover="alert(1)',
    '<img src="http://evil.invalid/x.png">',
    '<link rel=stylesheet href=//evil.invalid/x.css>',
    '<meta http-equiv=refresh content="0;url=//evil.invalid">',
    '<base href="//evil.invalid/">',
    '<form action="//evil.invalid"><button>',
    '<style>*{background:url(//evil.invalid)}</style>',
    '<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>',
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    '<!--><script>alert(1)</script>-->',
    '$\\href{javascript:alert(1)}{x}$',
    '\x00<scr\x00ipt>alert(1)</scr\x00ipt>',
    '&lt;script&gt;alert(1)&lt;/script&gt;',
    '<details open ontoggle=alert(1)>',
]

# texts that the pipeline chooses, not the data
KEEP = {
    'task', 'metric', 'bound', 'at', 'state', 'by', 'better', 'type', 'published', 'role', 'scale',
    'level',
}


def hostile(value, payload, key=''):
    """The same products, with a payload in every text that data, people or libraries supply; names
    that belong together stay equal."""
    if isinstance(value, dict):
        foreign = key in ('dropped', 'importance', 'params', 'groups', 'groups_too_small')
        return {
            (payload + k if foreign else k): hostile(v, payload, '' if foreign else k)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [hostile(item, payload, key) for item in value]
    return payload + value if isinstance(value, str) and key not in KEEP else value


FORMS = {
    'catalogue': Catalogue,
    'findings': Findings,
    'schema': Schema,
    'split': SplitRecord,
    'trials': SweepRecord,
    'best': Best,
    'training': TrainingRecord,
    'metrics': Metrics,
    'explanation': Explanation,
    'registration': Registration,
}


def typed(products):
    """The same products, as they are read from their files."""
    read = {name: parsed(form, products[name], f'{name}.json') for name, form in FORMS.items()}
    return Facts(contract=Contract.from_json(products['contract']), **read)


def copied(value):
    """A deep copy through JSON, which also proves that the example is JSON."""
    return json.loads(json.dumps(value, allow_nan=False))
