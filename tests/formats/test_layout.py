"""Files as people have them: titles, totals, comments, no header, other quotes and encodings. What
`cd4ml new` proposes for a file reads the table that was written; undeclared, one line says what to
declare."""

import csv
import gzip
import io
import string
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from effort import examples
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cd4ml_nb.core.errors import UserError
from cd4ml_nb.formats import archives
from cd4ml_nb.formats.proposals import propose_data
from cd4ml_nb.formats.reading import read_file
from cd4ml_nb.formats.totals import total_rows
from cd4ml_nb.scenario.definition import Data


def customers(n: int = 60) -> pd.DataFrame:
    """A table of numbers and texts with nothing wrong."""
    rng = np.random.default_rng(5)
    return pd.DataFrame({
        'age': rng.integers(18, 80, n),
        'spend': rng.gamma(2, 100, n).round(2),
        'plan': rng.choice(['basic', 'pro', 'plus'], n),
        'tenure': rng.integers(0, 120, n),
        'left': rng.integers(0, 2, n),
    })


TABLE = customers()
PLAIN = TABLE.to_csv(index=False)
LINES = PLAIN.splitlines(keepends=True)
NAMES = list(TABLE)


class Files:
    """A folder of files that are read as declared, or as is proposed for them."""

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self, content: str | bytes, name: str = 'a.csv', **declared):
        """What is read of a file."""
        content = content.encode() if isinstance(content, str) else content
        (self.folder / name).write_bytes(content)
        return read_file(name, Data(source=name, **declared), self.folder, 1.0)

    def proposed(self, content: str | bytes, name: str = 'a.csv'):
        """What is proposed for a file."""
        content = content.encode() if isinstance(content, str) else content
        (self.folder / name).write_bytes(content)
        return propose_data(name, self.folder)

    def read_as_proposed(self, content: str | bytes, name: str = 'a.csv'):
        """What is read of a file as is proposed for it."""
        found = self.proposed(content, name)
        return self.read(content, name, **found)

    def refused(self, content: str | bytes, name: str = 'a.csv', **declared) -> UserError:
        """The error of a file."""
        with pytest.raises(UserError) as caught:
            self.read(content, name, **declared)
        assert caught.value.exit_code == 2
        return caught.value


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(tmp_path)


def rows_of(raw) -> list[list[str]]:
    """The rows of a table of texts."""
    return [list(row.values()) for row in raw.table.to_pylist()]


ROWS = list(csv.reader(io.StringIO(PLAIN)))[1:]
WIDE = [line.rstrip('\n') for line in LINES]

# what stands in the file, what is proposed, what the refusal says where it is not declared
LAYOUTS = {
    'titles': ('Sales of 2024\nby CRM, version 3\n\n' + PLAIN, {'skip': 3}, 'D22', 'skip: 3'),
    'padded titles': ('Sales,,,,\n,,,,\n' + PLAIN, {'skip': 2}, 'D22', 'skip: 2'),
    'title and another separator': (
        'Sales\n\n' + PLAIN.replace(',', ';'),
        {'separator': ';', 'skip': 2},
        'D22',
        'separator: ";", skip: 2',
    ),
    'comment': ('# by CRM\n' + PLAIN, {'comment': '#'}, 'D61', 'comment: "#"'),
    'comment between': (
        ''.join(LINES[:30]) + '# batch 2\n' + ''.join(LINES[30:]),
        {'comment': '#'},
        'D61',
        'comment: "#"',
    ),
    'note below': (
        PLAIN + '\nSource: CRM\nAll rights reserved\n', {'skip_end': 2}, 'D61', 'skip_end: 2'
    ),
    'short total below': (PLAIN + 'Total,12000.50\n', {'skip_end': 1}, 'D61', 'skip_end: 1'),
    'blank after each comma': (
        PLAIN.replace(',', ', ').replace('pro', '"pro, old"'),
        {'skip_space': True},
        'D25',
        'skip_space: true',
    ),
    'no name of the first column': (
        LINES[0] + ''.join(f'{k},{line}' for k, line in enumerate(LINES[1:])),
        {'skip': 1, 'names': ['unnamed', *NAMES]},
        'D23',
        'names: [unnamed, age, spend, plan, tenure, left]',
    ),
    'a separator at the end of each row': (
        LINES[0] + ''.join(f'{line},\n' for line in WIDE[1:]),
        {'skip': 1, 'names': [*NAMES, 'unnamed']},
        'D23',
        'header 5 fields, rows 6',
    ),
}


@pytest.mark.parametrize('kind', LAYOUTS)
def test_lines_around_a_table_are_proposed_and_undeclared_named(files, kind):
    content, proposed, code, said = LAYOUTS[kind]
    assert files.proposed(content) == proposed
    refusal = files.refused(content)
    assert refusal.code == code and said in refusal.line, refusal.line
    table = files.read(content, **proposed).table.select(NAMES)
    rows = [[cell.removesuffix(', old') for cell in row.values()] for row in table.to_pylist()]
    assert rows == ROWS
    assert ('pro, old' in table['plan'].to_pylist()) == ('skip_space' in proposed)


def test_left_out_lines_are_findings_and_lines_keep_their_numbers(files):
    raw = files.read('Sales\n\n' + PLAIN + 'Total,5\n', skip=2, skip_end=1)
    said = [finding.what for finding in raw.facts['findings']]
    assert said == [
        'line 1 above the table, left out as declared',
        'line 64 below the table, left out as declared',
    ]
    assert raw.place(0) == 'line 4'


def test_D22_a_file_without_a_header_gets_names(files):
    content = ''.join(LINES[1:])
    names = [f'column_{k}' for k in range(1, 6)]
    assert files.proposed(content) == {'names': names}
    assert 'names: [column_1, ' in files.refused(content).line
    raw = files.read(content, names=NAMES)
    assert raw.table.column_names == NAMES and rows_of(raw) == ROWS and raw.place(0) == 'line 1'
    assert 'gives 2 names, the rows have 5' in files.refused(content, names=['a', 'b']).line
    assert 'remove data.names' in files.refused(PLAIN, names=NAMES).line


def test_a_header_of_two_lines_is_one(files):
    content = LINES[0] + 'years,EUR,,months,\n' + ''.join(LINES[1:])
    assert files.proposed(content) == {'skip': 2, 'names': NAMES}
    assert rows_of(files.read_as_proposed(content)) == ROWS
    groups = 'who,,what,,\n' + PLAIN
    assert files.proposed(groups)['names'][:3] == ['who age', 'who spend', 'what plan']


@pytest.mark.parametrize('first', ['sep=;', '"sep=;"', 'SEP=;', '\ufeffsep=;'])
def test_the_line_that_names_the_separator_is_recognised_without_a_word(files, first):
    content = f'{first}\r\n' + PLAIN.replace(',', ';')
    raw = files.read(content)
    assert rows_of(raw) == ROWS and raw.place(0) == 'line 3'
    assert files.proposed(content) == {'separator': ';'}


def test_texts_between_apostrophes_are_proposed_and_read(files):
    content = ''.join("'" + "','".join(line.split(',')) + "'\n" for line in WIDE)
    content = content.replace("'pro'", "'pro, old'")
    assert files.proposed(content) == {'quote': "'"}
    assert 'quote: "\'"' in files.refused(content).line
    rows = rows_of(files.read_as_proposed(content))
    assert rows == [[cell.replace('pro', 'pro, old') for cell in row] for row in ROWS]


def test_a_repeated_header_is_no_row(files):
    for mark in ('', '\ufeff'):
        raw = files.read(mark + PLAIN + mark + PLAIN)
        assert rows_of(raw) == ROWS + ROWS
        assert 'line 62 repeats the header' in raw.facts['findings'][-1].what
        assert raw.place(60) == 'line 63'


def test_cells_between_blanks_and_of_fixed_width(files):
    content = TABLE.to_string(index=False) + '\n'
    assert files.proposed(content) == {'separator': ' ', 'skip_space': True}
    assert [row[0] for row in rows_of(files.read_as_proposed(content))] == [row[0] for row in ROWS]
    fixed = TABLE.assign(plan=TABLE['plan'] + ' plan').to_string(index=False) + '\n'
    assert 'fixed width' in files.refused(fixed).line


def test_a_workbook_under_any_name_is_named(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, 'w') as archive:
        archive.writestr('xl/workbook.xml', 'x' * 9000)
        archive.writestr('[Content_Types].xml', 'x')
    for name in ('a.csv', 'a.xlsx', 'a.zip'):
        assert 'is an Excel workbook' in files.refused(packed.getvalue(), name).line


def test_json_lines_are_named(files):
    assert 'an object a line' in files.refused(TABLE.to_json(orient='records', lines=True)).line


def test_a_header_that_begins_with_a_mark_is_no_comment(files):
    content = PLAIN.replace('age', '#', 1)
    assert files.proposed(content) == {}
    assert files.read(content).table.column_names[0] == '#'


def test_a_cut_off_row_is_never_proposed_as_a_note(files):
    assert files.proposed(PLAIN[:-4]) == {}
    assert files.refused(PLAIN[:-4]).code == 'D24'


# ---- encodings

SAMPLES = {
    'shift-jis': ('東京都', 'D17'),
    'cp1250': ('Łódź', 'D17'),
    'cp1251': ('Казань', 'D17'),
    'mac-roman': ('crème brûlée', 'D17'),
    'euc-kr': ('서울', 'D17'),
    'gb18030': ('北京市', 'D17'),
    'cp1252': ('5–9 €', 'D17'),
}


@pytest.mark.parametrize('encoding', SAMPLES)
def test_D17_a_likely_encoding_is_named_with_a_word_as_it_would_read(files, encoding):
    word, code = SAMPLES[encoding]
    content = PLAIN.replace('basic', word).encode(encoding)
    refusal = files.refused(content)
    assert refusal.code == code and f'encoding: {encoding}' in refusal.line, refusal.line
    assert word.split()[-1] in refusal.line or word.split()[0] in refusal.line, refusal.line
    assert f'a.csv:{2 + ROWS.index(next(row for row in ROWS if row[2] == "basic"))}' in refusal.line
    raw = files.read_as_proposed(content)
    assert set(raw.table['plan'].to_pylist()) == {word, 'pro', 'plus'}


@pytest.mark.parametrize('encoding', ['utf-8', 'cp1252'])
def test_D17_one_broken_byte_is_no_other_encoding(files, encoding):
    content = PLAIN.replace('basic', 'Zürich').encode(encoding)
    broken = content.replace('ü'.encode(encoding), b'\x81', 1)
    refusal = files.refused(broken, encoding=encoding)
    at = broken.index(b'\x81')
    assert f'at byte {at}: 1 broken letter among' in refusal.line, refusal.line
    line = broken[:at].count(b'\n') + 1
    assert f'mend line {line}' in refusal.line and 'encoding:' not in refusal.line


def test_D17_utf_8_declared_as_ascii_is_called_utf_8(files):
    refusal = files.refused(PLAIN.replace('basic', 'Zürich'), encoding='ascii')
    assert 'looks like utf-8' in refusal.line


# ---- archives

def packed_tar(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar in a gz."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode='w') as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            entry.linkname = '/etc/passwd' if kind != tarfile.REGTYPE else ''
            entry.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue())


def test_a_tar_of_one_file_is_read_whatever_it_is_called(files, tmp_path):
    content = packed_tar(('._a.csv', b'x'), ('../../a.csv', PLAIN.encode()))
    for name in ('a.csv.tar.gz', 'a.tgz', 'a.csv'):
        assert rows_of(files.read(content, name)) == ROWS
    assert not (tmp_path.parent.parent / 'a.csv').exists()


def test_X10_a_tar_of_many_files_links_or_zeros_is_refused(files, monkeypatch):
    two = packed_tar(('a.csv', b'x'), ('b.csv', b'y'))
    assert 'holds 2 files: a.csv, b.csv' in files.refused(two, 'a.tar.gz').line
    link = packed_tar(('a.csv', b''), kind=tarfile.SYMTYPE)
    assert 'holds 0 files' in files.refused(link, 'a.tar.gz').line
    monkeypatch.setattr(archives, 'FREE', 1 << 16)
    zeros = packed_tar(('a.csv', bytes(4 << 20)))
    assert 'more than 200 times' in files.refused(zeros, 'a.tar.gz').line


def test_X10_a_packed_file_in_packed_files_ends(files):
    content = PLAIN.encode()
    for _ in range(3):
        content = gzip.compress(content)
    assert rows_of(files.read(content)) == ROWS
    assert 'more than 3 times' in files.refused(gzip.compress(content)).line


# ---- totals

@pytest.mark.parametrize('word', ['Total', 'SUMME', 'Grand total', 'Insgesamt', ''])
def test_a_total_at_the_end_is_found_by_word_or_by_sums(word):
    total = {name: TABLE[name].sum() for name in ('age', 'spend', 'tenure', 'left')}
    table = pd.concat([TABLE, pd.DataFrame([total | {'plan': word}])], ignore_index=True)
    assert total_rows(table) == [60]


def test_an_average_and_subtotals_are_found():
    means = TABLE[['age', 'spend', 'tenure']].mean().round(1).to_dict()
    table = pd.concat([TABLE, pd.DataFrame([means | {'plan': 'Average'}])], ignore_index=True)
    assert total_rows(table) == [60]
    parts = [TABLE[:20], TABLE[20:]]
    blocks = []
    for part in parts:
        blocks += [part, pd.DataFrame([{'plan': 'Subtotal', 'spend': part['spend'].sum()}])]
    assert total_rows(pd.concat(blocks, ignore_index=True)) == [20, 61]


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 10_000), st.integers(20, 200))
def test_a_table_without_totals_has_none(seed, n):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({
        'flag': rng.integers(0, 2, n),
        'other': rng.integers(0, 2, n),
        'count': rng.poisson(1, n),
        'brand': rng.choice(['Totalis', 'Shell', 'Summer'], n),
        'price': rng.lognormal(3, 1, n).round(2),
    })
    assert total_rows(table) == []


def test_a_brand_called_total_is_no_total():
    rng = np.random.default_rng(0)
    brands = rng.choice(['Total', 'Shell', 'Esso'], 300)
    table = pd.DataFrame({'brand': brands, 'price': rng.normal(50, 9, 300).round(2)})
    assert total_rows(table) == []


# ---- any table in any of these shapes

CELL = st.text(string.ascii_letters + ' ,;"\'\n#é€', max_size=8).map(str.strip).filter(
    lambda cell: not cell.startswith(('#', '\'')) and "'" not in cell
)
WORD = st.text(string.ascii_lowercase, min_size=2, max_size=6)


@st.composite
def tables(draw):
    width = draw(st.integers(3, 5))
    names = draw(st.lists(WORD, min_size=width, max_size=width, unique=True))
    rows = draw(
        st.lists(
            st.lists(CELL, min_size=width - 2, max_size=width - 2), min_size=8, max_size=12
        )
    )
    return names, [[str(3 * k + 1), f'{k}.5', *row] for k, row in enumerate(rows)]


@st.composite
def shapes(draw):
    """A way to write a table: what stands around it, and how its cells are written."""
    return {
        'separator': draw(st.sampled_from([',', ';', '\t'])),
        'end': draw(st.sampled_from(['\n', '\r\n'])),
        'titles': draw(st.integers(0, 3)),
        'notes': draw(st.integers(0, 2)),
        'comment': draw(st.booleans()),
        'header': draw(st.booleans()),
        'space': draw(st.booleans()),
        'packed': draw(st.booleans()),
    }


def written(names: list[str], rows: list[list[str]], shape: dict) -> bytes:
    """A table as a file of this shape."""
    end = shape['end']
    text = io.StringIO(newline='')
    writer = csv.writer(text, delimiter=shape['separator'], lineterminator=end)
    writer.writerows(([names] if shape['header'] else []) + rows)
    body = text.getvalue()
    if shape['space']:
        mark = shape['separator']
        records = ([names] if shape['header'] else []) + rows
        body = ''.join(
            f'{mark} '.join('"' + cell.replace('"', '""') + '"' for cell in record) + end
            for record in records
        )
    above = ''.join(f'Title {"x" * k}{end}' for k in range(1, shape['titles'] + 1))
    above += f'# by CRM{end}' if shape['comment'] else ''
    below = ''.join(f'Note {"x" * k}{end}' for k in range(1, shape['notes'] + 1))
    content = (above + body + below).encode()
    return gzip.compress(content) if shape['packed'] else content


@settings(
    max_examples=examples(200),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(tables(), shapes())
def test_a_table_in_any_shape_comes_back_as_declared(files, table, shape):
    names, rows = table
    assume(not (shape['space'] and shape['separator'] == '\t'))
    declared = {
        'separator': shape['separator'],
        'skip': shape['titles'] + shape['comment'],
        'skip_end': shape['notes'],
        'skip_space': shape['space'],
    }
    if not shape['header']:
        declared['names'] = names
    raw = files.read(written(names, rows, shape), **declared)
    assert raw.table.column_names == names and rows_of(raw) == rows


@settings(
    max_examples=examples(200),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(tables(), shapes())
def test_a_table_in_any_shape_comes_back_as_proposed_or_is_refused(files, table, shape):
    names, rows = table
    assume(not (shape['space'] and shape['separator'] == '\t'))
    try:
        raw = files.read_as_proposed(written(names, rows, shape))
    except UserError as error:
        assert error.todo, error.line
        return
    if shape['header']:
        assert raw.table.column_names == names
    assert rows_of(raw) == rows
