"""The same day with PyCaret, as its tutorials have it; see day_cells.py and workbench.py."""
# ruff: noqa: B015, B018, E402, F403, F405, F811, F821

# %% open @market
import pandas as pd
from pycaret.regression import *

data = pd.read_csv(file, parse_dates=dates)
options = {'session_id': 7, 'ignore_features': ids, 'experiment_name': name}
setup(data, target=target, log_experiment=logged, **options)

# %% open @titanic
import pandas as pd
from pycaret.classification import *

data = pd.read_csv(file)
options = {'session_id': 7, 'ignore_features': ids, 'experiment_name': name}
setup(data, target=target, log_experiment=logged, **options)

# %% look
from ydata_profiling import ProfileReport

ProfileReport(data)

# %% first
first = create_model('lightgbm')

# %% variant
shallow = create_model('lightgbm', max_depth=3)

# %% compare
compare_models(include=[first, shallow])

# %% feature @market
registered = pd.to_datetime(data['first_registration'])
years = (pd.Timestamp('2025-01-01') - registered).dt.days / 365
data['own'] = data['mileage_km'] / years.clip(lower=0.25)
setup(data, target=target, log_experiment=logged, **options)
with_own = create_model('lightgbm')

# %% feature @titanic
data['own'] = data['SibSp'] + data['Parch'] + 1
setup(data, target=target, log_experiment=logged, **options)
with_own = create_model('lightgbm')

# %% groups
check_fairness(with_own, sensitive_features=[group])

# %% search
searched = tune_model(with_own, n_iter=10, optimize=metric)

# %% keep
save_model(finalize_model(searched), name)

# %% apart rows @market
import pandas as pd
from pycaret.regression import *

rows = pd.read_csv('fresh.csv', parse_dates=dates)

# %% apart rows @titanic
import pandas as pd
from pycaret.classification import *

rows = pd.read_csv('fresh.csv')

# %% apart own @market
years = (pd.Timestamp('2025-01-01') - rows['first_registration']).dt.days / 365
rows['own'] = rows['mileage_km'] / years.clip(lower=0.25)

# %% apart own @titanic
rows['own'] = rows['SibSp'] + rows['Parch'] + 1

# %% apart use @market
found = predict_model(load_model(name), data=rows)
{'predicted': found['prediction_label'].tolist()}

# %% apart use @titanic
found = predict_model(load_model(name), data=rows, raw_score=True)
{'predicted': found['prediction_score_1'].tolist()}

# %% apart list
import mlflow
import pandas as pd

runs = mlflow.search_runs(experiment_names=[name])
names = runs['tags.mlflow.runName'] if len(runs) else pd.Series(dtype=str)
ended = runs[~names.str.startswith('Session') & runs['status'].eq('FINISHED')]
{
    'models': len(ended),
    'trials': int(ended['tags.Source'].eq('tune_model').sum()) if len(ended) else 0,
    'names': names.tolist(),
}

# %% apart faults @market
import pandas as pd
from pycaret.regression import *
from ydata_profiling import ProfileReport

faulty = pd.read_csv('faulty.csv')
alerts = [str(alert).lower() for alert in ProfileReport(faulty).get_description().alerts]
setup(faulty, target=target, session_id=7, ignore_features=ids)
create_model('lightgbm')
{
    'leak': any('zz_after' in alert and 'correlat' in alert for alert in alerts),
    'copies': any('duplicate' in alert for alert in alerts),
    'alerts': alerts,
}

# %% apart faults @titanic
import pandas as pd
from pycaret.classification import *
from ydata_profiling import ProfileReport

faulty = pd.read_csv('faulty.csv')
alerts = [str(alert).lower() for alert in ProfileReport(faulty).get_description().alerts]
setup(faulty, target=target, session_id=7, ignore_features=ids)
create_model('lightgbm')
{
    'leak': any('zz_after' in alert and 'correlat' in alert for alert in alerts),
    'copies': any('duplicate' in alert for alert in alerts),
    'alerts': alerts,
}

# %% proof estimate
{'value': float(pull().loc['Mean', metric])}

# %% proof profile
all(column in shown['look'] for column in columns) and 'correlation' in shown['look'].lower()

# %% proof spread
labels = {str(label).lower() for label in [*pull().index, *pull().columns]}
'std' in labels

# %% proof interval
bool(labels & {'low', 'high', 'lower', 'upper', 'interval'})

# %% proof verdict
compare_models(include=[first, shallow], verbose=False)
compared = pull().to_string().lower()
any(word in compared for word in ('better', 'worse', 'undecided', 'significan', 'p-value'))

# %% proof allowance
labels = {str(label).lower() for label in pull().columns}
bool(labels & {'low', 'high', 'lower', 'upper', 'interval'})

# %% proof groups
groups = check_fairness(with_own, sensitive_features=[group])
{str(value) for value in groups.index} == set(values)

# %% proof groups_interval
bool({str(label).lower() for label in groups.columns} & {'low', 'high', 'lower', 'upper'})

# %% proof worst
'worst' in ' '.join(dir(get_current_experiment())).lower()

# %% proof curves @market
from pathlib import Path

Path(plot_model(with_own, plot='residuals', save=True)).is_file()

# %% proof curves @titanic
from pathlib import Path

Path(plot_model(with_own, plot='auc', save=True)).is_file()

# %% proof untouched
held_back = get_config('X_test')[group].value_counts()
asked = groups['Samples']
not all(asked[value] == held_back[value] for value in held_back.index)

# %% proof sealed
not len(get_config('X_test'))

# %% proof kinds
len(models())
