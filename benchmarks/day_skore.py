"""The same day with scikit-learn, skrub and skore, as their tutorials have it; see day_cells.py
and workbench.py."""
# ruff: noqa: B015, B018, E402, F811, F821

# %% open @market
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor as Boosting
from sklearn.model_selection import train_test_split
from skore import Project, compare, evaluate
from skrub import TableReport, tabular_pipeline

data = pd.read_csv(file).drop(columns=ids)
X, X_holdout, y, y_holdout = train_test_split(
    data.drop(columns=target), data[target], test_size=0.2, random_state=7
)
project = Project(name)

# %% open @titanic
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier as Boosting
from sklearn.model_selection import train_test_split
from skore import Project, compare, evaluate
from skrub import TableReport, tabular_pipeline

data = pd.read_csv(file).drop(columns=ids)
X, X_holdout, y, y_holdout = train_test_split(
    data.drop(columns=target), data[target], test_size=0.2, random_state=7
)
project = Project(name)

# %% look
TableReport(data)

# %% first
first = evaluate(tabular_pipeline(Boosting(random_state=7)), X, y, splitter=5)
project.put('first', first)
first.metrics.summarize().frame()

# %% variant
shallow = evaluate(tabular_pipeline(Boosting(random_state=7, max_depth=3)), X, y, splitter=5)
project.put('shallow', shallow)
shallow.metrics.summarize().frame()

# %% compare
compare({'first': first, 'shallow': shallow}).metrics.summarize().frame(favorability=True)

# %% check @market
first.checks.summarize(ignore=['SKD008'])      # of 0.28, which fails where a column has no rank

# %% check @titanic
first.checks.summarize()

# %% feature @market
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer


def own(table):
    registered = pd.to_datetime(table['first_registration'])
    years = (pd.Timestamp('2025-01-01') - registered).dt.days / 365
    return table.assign(own=table['mileage_km'] / years.clip(lower=0.25))


def model(**params):
    boosting = tabular_pipeline(Boosting(random_state=7, **params))
    return make_pipeline(FunctionTransformer(own), boosting)


with_own = evaluate(model(), X, y, splitter=5)
project.put('with own', with_own)
with_own.metrics.summarize().frame()

# %% feature @titanic
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer


def own(table):
    return table.assign(own=table['SibSp'] + table['Parch'] + 1)


def model(**params):
    boosting = tabular_pipeline(Boosting(random_state=7, **params))
    return make_pipeline(FunctionTransformer(own), boosting)


with_own = evaluate(model(), X, y, splitter=5)
project.put('with own', with_own)
with_own.metrics.summarize().frame()

# %% groups @market
errors = [
    (part.y_test - part.estimator_.predict(part.X_test)).abs() for part in with_own.reports_
]
pd.concat(errors).groupby(X[group]).agg(['mean', 'size'])

# %% groups @titanic
from sklearn.metrics import roc_auc_score

chances = [
    pd.Series(part.estimator_.predict_proba(part.X_test)[:, 1], part.X_test.index)
    for part in with_own.reports_
]
rows = X.assign(chance=pd.concat(chances), actual=y)
{word: roc_auc_score(part['actual'], part['chance']) for word, part in rows.groupby(group)}

# %% search
from scipy.stats import loguniform, randint
from sklearn.model_selection import ParameterSampler

space = {
    'learning_rate': loguniform(0.03, 0.3),
    'max_leaf_nodes': randint(8, 64),
    'min_samples_leaf': randint(5, 50),
    'l2_regularization': loguniform(1e-3, 10),
}
for k, params in enumerate(ParameterSampler(space, 10, random_state=7)):
    project.put(f'search {k}', evaluate(model(**params), X, y, splitter=5))
project.summarize()

# %% keep @market
tried = project.summarize().frame()
best = project.get(tried['rmse'].idxmin()[1])
project.put('kept', best.create_estimator_report(X_test=X_holdout, y_test=y_holdout))

# %% keep @titanic
tried = project.summarize().frame()
best = project.get(tried['roc_auc'].idxmax()[1])
project.put('kept', best.create_estimator_report(X_test=X_holdout, y_test=y_holdout))

# %% apart rows
import pandas as pd
from skore import Project

project = Project(name)
rows = pd.read_csv('fresh.csv').drop(columns=ids)

# %% apart own @market
def own(table):
    registered = pd.to_datetime(table['first_registration'])
    years = (pd.Timestamp('2025-01-01') - registered).dt.days / 365
    return table.assign(own=table['mileage_km'] / years.clip(lower=0.25))


# %% apart own @titanic
def own(table):
    return table.assign(own=table['SibSp'] + table['Parch'] + 1)


# %% apart use @market
tried = project.summarize().frame()
kept = project.get(tried[tried['key'] == 'kept'].index[-1][1])
{'predicted': kept.estimator_.predict(rows).tolist()}

# %% apart use @titanic
tried = project.summarize().frame()
kept = project.get(tried[tried['key'] == 'kept'].index[-1][1])
{'predicted': kept.estimator_.predict_proba(rows)[:, 1].tolist()}

# %% apart list
from skore import Project

keys = Project(name).summarize().frame()['key']
{
    'models': int((~keys.str.startswith('search')).sum()),
    'trials': int(keys.str.startswith('search').sum()),
}

# %% apart faults @market
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor as Boosting
from skore import evaluate
from skrub import TableReport, tabular_pipeline

faulty = pd.read_csv('faulty.csv').drop(columns=ids)
looked = TableReport(faulty)._repr_html_().lower()
X, y = faulty.drop(columns=target), faulty[target]
found = evaluate(tabular_pipeline(Boosting(random_state=7)), X, y, splitter=5)
checks = str(found.checks.summarize(ignore=['SKD008'])).partition('Passed')[0]
{'leak': 'zz_after' in checks, 'copies': 'duplicate' in looked + checks, 'checks': checks}

# %% apart faults @titanic
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier as Boosting
from skore import evaluate
from skrub import TableReport, tabular_pipeline

faulty = pd.read_csv('faulty.csv').drop(columns=ids)
looked = TableReport(faulty)._repr_html_().lower()
X, y = faulty.drop(columns=target), faulty[target]
found = evaluate(tabular_pipeline(Boosting(random_state=7)), X, y, splitter=5)
checks = str(found.checks.summarize()).partition('Passed')[0]
{'leak': 'zz_after' in checks, 'copies': 'duplicate' in looked + checks, 'checks': checks}

# %% proof estimate @market
{'value': float(best.metrics.summarize().frame().filter(like='mean').loc['rmse'].iloc[0])}

# %% proof estimate @titanic
{'value': float(best.metrics.summarize().frame().filter(like='mean').loc['roc_auc'].iloc[0])}

# %% proof profile
all(column in shown['look'] for column in columns if column not in ids) and (
    'associations' in shown['look'].lower()
)

# %% proof spread
labels = {part for label in first.metrics.summarize().frame() for part in str(label).split('_')}
'std' in labels

# %% proof interval
bool(labels & {'low', 'high', 'lower', 'upper', 'interval'})

# %% proof verdict
compared = compare({'first': first, 'shallow': shallow})
compared = compared.metrics.summarize().frame(favorability=True).to_string().lower()
any(word in compared for word in ('better', 'worse', 'undecided', 'significan', 'p-value'))

# %% proof allowance
bool(labels & {'low', 'high', 'lower', 'upper', 'interval'})

# %% proof groups
calls = [*dir(first), *dir(first.metrics), *dir(first.inspection)]
calls = ' '.join(call for call in calls if not call.startswith('_')).lower()
by_tool = any(word in calls for word in ('group', 'slice', 'subset', 'fairness'))
'yes' if by_tool else 'by hand' if all(value in shown['groups'] for value in values) else 'no'

# %% proof groups_interval
bool(shown['groups'].count('lower') + shown['groups'].count('interval'))

# %% proof worst
'worst' in calls

# %% proof curves @market
first.metrics.prediction_error().plot() is not None

# %% proof curves @titanic
first.metrics.roc().plot() is not None

# %% proof untouched
first.X.index.intersection(X_holdout.index).empty and with_own.X.equals(X)

# %% proof sealed
not len(X_holdout)

# %% proof kinds @market
from sklearn.utils import all_estimators

len(all_estimators(type_filter='regressor'))

# %% proof kinds @titanic
from sklearn.utils import all_estimators

len(all_estimators(type_filter='classifier'))
