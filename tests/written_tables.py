"""Tables of numbers, dates and words as people write them, with the values that they mean."""

import csv
import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

NO_VALUE = ['', 'NA', '?', '-', 'n.d.', '#DIV/0!', '\\N', '(null)', '–', 'n/a', 'null']
LAYOUTS = [
    '%Y-%m-%d', '%Y-%m-%dT%H:%M:%S', '%d.%m.%Y', '%m/%d/%Y', '%d/%m/%Y %H:%M', '%Y%m%d',
    '%m/%d/%Y %I:%M:%S %p', '%Y-%m-%d %H:%M:%S UTC', '%d %b %Y', '%b %d, %Y', '%d-%b-%Y',
    '%Y/%m/%d %H:%M:%S', '%d.%m.%y',
]


@dataclass(frozen=True)
class Style:
    """How the numbers of a column are written."""

    decimal: str = '.'
    thousands: str = ''
    before: str = ''
    after: str = ''
    negative: str = '-'      # in front; or ( for brackets, behind for a minus at the end
    ending: str = ''         # of whole amounts: .- or ,--

    def text(self, value: float, digits: int) -> str:
        """A number as it is written."""
        whole, _, decimals = f'{abs(value):.{digits}f}'.partition('.')
        groups = f'{int(whole):,}'.replace(',', self.thousands) if self.thousands else whole
        body = groups + (self.decimal + decimals if digits else self.ending)
        body = f'{self.before}{body}{self.after}'
        if value >= 0:
            return body
        if self.negative == '(':
            return f'({body})'
        return f'{body}-' if self.negative == 'behind' else f'{self.negative}{body}'


MARKS = [
    ('.', ''), ('.', ','), (',', '.'), (',', ''), ('.', "'"), ('.', '’'), (',', ' '),
    (',', '\u00a0'), ('.', '\u202f'),
]
styles = st.builds(
    # a minus behind `5.-` would be read as the ending `5.--`
    lambda marks, affix, negative, ending: Style(
        *marks, *affix, negative, '' if negative == 'behind' else ending
    ),
    st.sampled_from(MARKS),
    st.sampled_from([
        ('', ''), ('', ''), ('$', ''), ('€ ', ''), ('', ' €'), ('CHF ', ''), ('', ' km'), ('', '%'),
        ('', ' %'), ('', ' kWh'), ('', '\u00a0kg'), ('EUR', ''),
    ]),
    st.sampled_from(['-', '\u2212', '(', 'behind']),
    st.sampled_from(['', '', '.-', ',--']),
)
columns = st.fixed_dictionaries({
    'kind': st.sampled_from(['number', 'number', 'number', 'date', 'category', 'code']),
    'style': styles,
    'digits': st.integers(0, 3),
    'size': st.sampled_from([20, 900, 5_000, 80_000, 3_000_000]),
    'below': st.booleans(),                 # some are below zero
    'layout': st.sampled_from(LAYOUTS),
    'nothing': st.sampled_from(NO_VALUE),
    'missing': st.sampled_from([0.0, 0.0, 0.1]),
})
tables = st.fixed_dictionaries({
    'columns': st.lists(columns, min_size=1, max_size=4),
    'separator': st.sampled_from([',', ';', '\t']),
    'encoding': st.sampled_from(['utf-8', 'utf-8-sig', 'utf-16']),
    'rows': st.integers(30, 90),
    'seed': st.integers(0, 2**31),
})


def column_of(spec: dict[str, Any], n: int, rng: np.random.Generator) -> tuple[list, list[str]]:
    """The values of a column, None where one is missing, and their texts."""
    if spec['kind'] == 'number':
        values = np.round(rng.lognormal(np.log(spec['size']), 1, n), spec['digits'])
        values = np.where(rng.random(n) < 0.2 * spec['below'], -values, values)
        pairs = [(float(v), spec['style'].text(float(v), spec['digits'])) for v in values]
    elif spec['kind'] == 'date':
        start = datetime.datetime(2019, 1, 1)
        moments = [start + datetime.timedelta(seconds=int(s)) for s in rng.integers(0, 2e8, n)]
        texts = [moment.strftime(spec['layout']) for moment in moments]
        layout = spec['layout']
        pairs = [(datetime.datetime.strptime(text, layout), text) for text in texts]
    elif spec['kind'] == 'category':
        pairs = [(word, word) for word in rng.choice(['red', 'green', 'A1', 'B 2', '5 Series'], n)]
    else:
        pairs = [(code, code) for code in (f'{k:05}' for k in rng.integers(0, 9_000, n))]
    if spec['kind'] in ('number', 'date'):
        gone = rng.random(n) < spec['missing']
        pairs = [(None, spec['nothing']) if g else p for g, p in zip(gone, pairs, strict=True)]
    return [value for value, _ in pairs], [text for _, text in pairs]


def write_written(path: Path, table: dict[str, Any]) -> dict[str, list]:
    """Write a table as people write it, and give the values that it means."""
    rng = np.random.default_rng(table['seed'])
    made = {f'c{k}': column_of(spec, table['rows'], rng) for k, spec in enumerate(table['columns'])}
    made['y'] = column_of({'kind': 'number', 'digits': 0, 'size': 40, 'below': False,
                           'missing': 0, 'style': Style()}, table['rows'], rng)
    with path.open('w', newline='', encoding=table['encoding']) as file:
        writer = csv.writer(file, delimiter=table['separator'])
        writer.writerow(made)
        writer.writerows(zip(*(texts for _, texts in made.values()), strict=True))
    return {name: values for name, (values, _) in made.items()}
