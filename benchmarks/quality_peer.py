"""One peer of quality.py, in the environment of its own: learn, predict, say how long it took.

    python benchmarks/quality_peer.py flaml|autogluon FOLDER TASK SECONDS SEED THREADS

FOLDER holds learn.parquet and judge.parquet with the target in column `y`, classes as whole numbers
from zero on. Written there is predicted.npy: numbers, of two classes the probability of class 1, of
several that of each.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What is learned from and what is judged, texts as categories."""
    learn = pd.read_parquet(folder / 'learn.parquet')
    judge = pd.read_parquet(folder / 'judge.parquet')
    for name in learn.columns:
        is_number = pd.api.types.is_numeric_dtype(learn[name])
        if is_number or pd.api.types.is_datetime64_any_dtype(learn[name]):
            continue
        known = pd.Index(learn[name].dropna().astype(str).unique())
        for table in (learn, judge):
            texts = table[name].astype(object).where(table[name].notna())
            texts = texts.map(str, na_action='ignore')
            table[name] = pd.Categorical(texts, categories=known)
    return learn, judge


def flaml(
    learn: pd.DataFrame, judge: pd.DataFrame, task: str, seconds: float, seed: int, threads: int
) -> np.ndarray:
    """What FLAML predicts."""
    from flaml import AutoML
    model = AutoML()
    model.fit(
        learn.drop(columns='y'),
        learn['y'].to_numpy(),
        task='regression' if task == 'regression' else 'classification',
        metric={'regression': 'mae', 'binary': 'roc_auc', 'multiclass': 'log_loss'}[task],
        time_budget=seconds,
        n_jobs=threads,
        seed=seed,
        verbose=0,
    )
    rows = judge.drop(columns='y')
    return model.predict(rows) if task == 'regression' else model.predict_proba(rows)


def autogluon(
    learn: pd.DataFrame, judge: pd.DataFrame, task: str, seconds: float, seed: int, threads: int
) -> np.ndarray:
    """What AutoGluon predicts with its preset medium_quality; it takes no seed of its own."""
    from autogluon.tabular import TabularPredictor
    named = {'regression': 'mean_absolute_error', 'binary': 'roc_auc', 'multiclass': 'log_loss'}
    mixed = learn.sample(frac=1, random_state=seed)
    model = TabularPredictor(
        'y', problem_type=task, eval_metric=named[task], path='autogluon', verbosity=0
    ).fit(mixed, time_limit=seconds, presets='medium_quality', num_cpus=threads)
    rows = judge.drop(columns='y')
    if task == 'regression':
        return model.predict(rows).to_numpy()
    return model.predict_proba(rows).to_numpy()


PEERS: dict[str, Any] = {'flaml': flaml, 'autogluon': autogluon}


def main() -> None:
    name, folder, task, seconds, seed, threads = sys.argv[1:7]
    learn, judge = tables(Path(folder))
    begun = time.perf_counter()
    predicted = PEERS[name](learn, judge, task, float(seconds), int(seed), int(threads))
    took = time.perf_counter() - begun
    shown = predicted[:, 1] if task == 'binary' else predicted
    np.save(Path(folder) / 'predicted.npy', np.asarray(shown, dtype=float))
    print(json.dumps({'seconds': took}))


if __name__ == '__main__':
    main()
