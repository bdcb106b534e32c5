"""The loop that everybody writes: Optuna, `XGBRegressor.fit` for each trial, and for each a nested
MLflow run.

It reads the same train and validation rows as our sweep, searches the same space with the same
number of trials and the same seed, and stops boosting early on the validation rows, in XGBoost's
own metric of what it learns. `usual_loop(…)` returns the best loss.
"""

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
import pandas as pd
import xgboost as xgb
from sklearn.metrics import log_loss, mean_absolute_error


def frames(
    folder: Path, inputs: list[str], target: str
) -> tuple[pd.DataFrame, pd.Series, pd.DataFrame, pd.Series]:
    """Train and validation rows as pandas with categories, as XGBoost's documentation shows it."""
    train, validation = (
        pd.read_parquet(folder / f'{part}.parquet') for part in ('train', 'validation')
    )
    x = train[inputs].copy()
    x_valid = validation[inputs].copy()
    for name in inputs:
        if x[name].dtype.kind == 'M':
            x[name], x_valid[name] = (
                table[name].astype('int64') / 8.64e13 for table in (x, x_valid)
            )
        elif x[name].dtype.kind not in 'fiub':
            kind = pd.CategoricalDtype(sorted(set(x[name].dropna()) | set(x_valid[name].dropna())))
            x[name], x_valid[name] = x[name].astype(kind), x_valid[name].astype(kind)
    return x, train[target], x_valid, validation[target]


def suggested(trial: optuna.Trial, space: dict[str, dict[str, Any]]) -> dict[str, Any]:
    values = {}
    for name, d in space.items():
        if d['choice'] is not None:
            values[name] = trial.suggest_categorical(name, d['choice'])
        elif d['integer']:
            values[name] = trial.suggest_int(name, int(d['low']), int(d['high']), log=d['log'])
        else:
            values[name] = trial.suggest_float(name, d['low'], d['high'], log=d['log'])
    return values


def usual_loop(
    folder: Path,
    problem: dict[str, Any],
    trials: int,
    seed: int,
    tracking: str,
    device: str = 'cpu',
) -> float:
    """The best loss of the loop: mean absolute error in the target's unit, or log loss."""
    x, y, x_valid, y_valid = frames(folder, problem['inputs'], problem['target'])
    regression = problem['task'] == 'regression'
    if not regression:
        y, y_valid = (
            column.map({name: k for k, name in enumerate(problem['classes'])})
            for column in (y, y_valid)
        )
    forth, back = (np.log, np.exp) if problem['scale'] == 'log' else (lambda v: v, lambda v: v)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    mlflow.set_tracking_uri(tracking)
    mlflow.set_experiment('the usual loop')

    def objective(trial: optuna.Trial) -> float:
        with mlflow.start_run(nested=True):
            params = suggested(trial, problem['space'])
            settings = {
                'n_estimators': problem['rounds'],
                'early_stopping_rounds': problem['early_stopping'],
                'tree_method': 'hist',
                'enable_categorical': True,
                'random_state': seed,
                'device': device,
                **problem['fixed'],
                **params,
            }
            if regression:
                model = xgb.XGBRegressor(eval_metric='mae', **settings)
                model.fit(x, forth(y), eval_set=[(x_valid, forth(y_valid))], verbose=False)
                loss = mean_absolute_error(y_valid, back(model.predict(x_valid).astype(float)))
            else:
                model = xgb.XGBClassifier(eval_metric='logloss', **settings)
                model.fit(x, y, eval_set=[(x_valid, y_valid)], verbose=False)
                loss = log_loss(y_valid, model.predict_proba(x_valid)[:, 1])
            mlflow.log_params(params)
            mlflow.log_metrics({'loss': loss, 'rounds': model.best_iteration + 1})
        return float(loss)

    with mlflow.start_run():
        study = optuna.create_study(
            direction='minimize', sampler=optuna.samplers.TPESampler(seed=seed)
        )
        study.optimize(objective, n_trials=trials)
        mlflow.log_params(study.best_params)
        mlflow.log_metric('best loss', study.best_value)
    return study.best_value


def described(folder: Path, contract: dict[str, Any], search: dict[str, Any]) -> dict[str, Any]:
    """What the loop must know, without our classes; the contract as JSON."""
    output = contract['output']
    return {
        'task': contract['task'],
        'inputs': [i['name'] for i in contract['inputs']],
        'target': output['name'],
        'scale': output.get('scale'),
        'classes': output.get('classes'),
        'space': search['space'],
        'fixed': search['fixed'],
        'rounds': search['rounds'],
        'early_stopping': search['early_stopping'],
        'seen': json.loads((folder / 'split.json').read_text())['n'],
    }
