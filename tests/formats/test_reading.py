"""Files that are wrong end with the line that is wrong; those that are right come back letter by
letter."""

import bz2
import contextlib
import csv
import gzip
import io
import lzma
import tracemalloc
import unicodedata
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cd4ml_nb.columns.table import table_hash
from cd4ml_nb.columns.typed_table import typed_table
from cd4ml_nb.core.errors import InfrastructureError, UserError
from cd4ml_nb.formats import reading
from cd4ml_nb.formats.proposals import propose_data, propose_marks
from cd4ml_nb.formats.reading import read_file
from cd4ml_nb.scenario.definition import Column, Data, Target

GOOD = 'age,make,price\n' + ''.join(
    f'{k % 30},{"BMW" if k % 2 else "Fiat"},{1000 + 7 * k}\n' for k in range(200)
)


@pytest.fixture
def read(tmp_path):
    """Write a file and read it as the scenario would."""

    def write_and_read(content, name='a.csv', max_gb=1.0, **data):
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return read_file(name, Data(source=name, **data), tmp_path, max_gb)

    return write_and_read


@pytest.fixture
def refused(read):
    """The error of reading a file: its code is checked, its line returned."""

    def error_of(code, content, name='a.csv', **data):
        with pytest.raises(UserError) as caught:
            read(content, name, **data)
        assert caught.value.code == code, caught.value.line
        assert caught.value.exit_code == 2
        return caught.value.line

    return error_of


@contextlib.contextmanager
def bounded(memory):
    """What runs inside takes no more memory (bytes)."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()


def typed(raw, columns=None, target='price', **data):
    return typed_table(
        raw, columns or {}, 'infer', Target(column=target), Data(source='a.csv', **data)
    )[0]


def test_a_plain_file_comes_back_as_texts(read):
    raw = read(GOOD)
    assert raw.table.column_names == ['age', 'make', 'price']
    assert raw.table.slice(0, 1).to_pylist() == [{'age': '0', 'make': 'Fiat', 'price': '1000'}]
    assert (raw.facts['n_rows'], raw.facts['first_line'], raw.place(7)) == (200, 2, 'line 9')


def test_D12_duplicate_column_names(refused):
    assert "'age' stands twice, in columns 1 and 3" in refused('D12', 'age,b,age\n1,x,2\n3,y,4\n')


def test_D16_another_separator_is_named_with_the_remedy(refused):
    for separator, written in ((';', '";"'), ('\t', '"\\t"'), ('|', '"|"')):
        line = refused('D16', GOOD.replace(',', separator))
        assert f'data: {{separator: {written}}}' in line
    assert 'decimal: ","' in refused('D16', 'a;b\n1,5;2\n3,5;4\n')


def test_D16_declared_separator_and_decimal_are_followed(read):
    raw = read('a;price\n1,5;2\n3,5;4\n', separator=';', decimal=',')
    assert typed(raw, separator=';', decimal=',')['a'].tolist() == [1.5, 3.5]


def test_D17_latin_1_names_the_byte(refused):
    line = refused('D17', 'a,b\nx,1\nMüller,2\n'.encode('latin-1'))
    assert 'not UTF-8 at byte 9; looks like latin-1' in line and 'encoding: latin-1' in line


def test_D17_latin_1_far_into_the_file_names_the_byte(refused):
    content = b'a,b\n' + 800_000 * b'x,1\n' + 'Müller,2\n'.encode('latin-1')
    assert f'at byte {content.index(0xFC)}; looks like latin-1' in refused('D17', content)


def test_D17_windows_1252_is_distinguished_from_latin_1(refused):
    assert 'looks like cp1252' in refused('D17', 'a,b\n5 €,1\nx,2\n'.encode('cp1252'))


@pytest.mark.parametrize('encoding', ['utf-16', 'utf-16-le', 'utf-16-be'])
def test_D17_utf_16_is_refused_undeclared_and_read_declared(read, refused, encoding):
    content = GOOD.encode(encoding)
    assert f'encoding: {encoding}' in refused('D17', content)
    assert read(content, encoding=encoding).table.equals(read(GOOD).table)


def test_D17_a_wrong_declaration_is_refused(refused):
    assert 'not ASCII at byte 8' in refused('D17', 'a,b\n1,2\né,3\n', encoding='ascii')
    assert "did you mean 'utf-8'" in refused('C02', GOOD, encoding='utf-88')


@pytest.mark.parametrize('marks', [1, 2])
def test_D18_byte_order_marks_leave_the_first_name_clean(read, marks):
    assert read(marks * b'\xef\xbb\xbf' + GOOD.encode()).table.column_names[0] == 'age'
    quoted = marks * b'\xef\xbb\xbf' + b'"age","b"\n"1","2"\n"3","4"\n'
    assert read(quoted).table.to_pylist() == [{'age': '1', 'b': '2'}, {'age': '3', 'b': '4'}]


def test_D19_line_ends_do_not_change_the_content(read):
    hashes = {table_hash(typed(read(GOOD.replace('\n', end)))) for end in ('\n', '\r\n', '\r')}
    assert len(hashes) == 1


def test_D19_the_last_line_needs_no_end(read):
    assert read(GOOD.rstrip('\n')).table.equals(read(GOOD).table)
    assert read(GOOD + '\n\r\n').table.equals(read(GOOD).table)


def test_D20_a_nul_byte_names_the_line(refused):
    assert 'a.csv:3: a NUL byte in line 3, at byte 8' in refused('D20', b'a,b\n1,2\n\x00,4\n')


@pytest.mark.parametrize('content', ['', '\n', '\n\n', 'a,b\n', 'a,b', 'a,b\r\n\r\n'])
def test_D21_no_rows(refused, content):
    assert '0 rows' in refused('D21', content)


def test_D21_one_row(refused):
    assert '1 row' in refused('D21', 'a,b\n1,2\n')


@pytest.mark.parametrize('content', [
    '5.1,3.5,1.4,setosa\n4.9,3.0,1.3,setosa\n4.7,3.2,1.3,virginica\n',
    '39,State-gov\n50,Private\n38,State-gov\n',
    '7.5,3\n2.5,4\n9.5,4\n',
])
def test_D22_no_header(refused, content):
    assert 'first line looks like data' in refused('D22', content)


@pytest.mark.parametrize('content', [
    'country,2019,2020\nPeru,1,2\nChad,3,4\n',
    '0,1,2\n5.5,6.5,7\n1,2,3\n',
    'x,y\nx1,y1\nx2,y2\n',
    ',a\n0,1\n1,2\n',
])
def test_D22_headers_with_numbers_in_them_are_headers(read, content):
    assert len(read(content).table) == 2


def test_D23_every_row_one_field_too_many(refused):
    content = 'a,b,c,d\n' + 300 * '1,2,3,4,5\n'
    assert 'header 4 fields, rows 5' in refused('D23', content)
    assert 'header 4 fields, rows 3' in refused('D23', 'a,b,c,d\n' + 300 * '1,2,3\n')


@pytest.mark.parametrize('bad', ['1,x', '1,x,2,3'])
@pytest.mark.parametrize('row', [0, 150, 199])
def test_D24_a_ragged_row_names_its_line(refused, bad, row):
    lines = GOOD.splitlines()
    lines[1 + row] = bad
    assert f'a.csv:{row + 2}: {bad.count(",") + 1} fields in line {row + 2}, header 3' in refused(
        'D24', '\n'.join(lines)
    )


def test_D24_a_truncated_last_line(refused):
    assert 'line 201' in refused('D24', GOOD[:GOOD.rindex(',') - 3])


def test_D25_an_unclosed_quote_names_the_line_where_it_opens(refused):
    assert 'a.csv:3: a quote opens that does not close' in refused(
        'D25', 'a,b\n1,2\n3,"x\n5,6\n7,8\n'
    )


def test_D25_two_unclosed_quotes_do_not_swallow_the_rows_between(refused):
    assert 'a.csv:3:' in refused('D25', 'a,b\n1,2\n3,"x\n5,6\n7,"y\n9,10\n')


def test_D25_a_long_tail_behind_a_quote_is_not_held_in_memory(refused):
    content = b'a,b\n"1,2\n' + 4_000_000 * b'123,4567\n'   # 36 MB
    with bounded(memory=100e6):
        assert 'a.csv:2:' in refused('D25', content)


def test_D25_quotes_inside_of_texts_are_texts(read):
    raw = read('a,b\n5" pipe,1\n6"" pipe,2\n"7"" pipe",3\n')
    assert raw.table['a'].to_pylist() == ['5" pipe', '6"" pipe', '7" pipe']


def test_D31_D32_odd_names_are_kept(read):
    names = [
        '[a]', '<b>', 'x < y', 'DROP TABLE cars;--', '<script>alert(1)</script>', 'größe', '价格',
        ' padded ', 'a"b', 'two\nlines',
    ]
    text = io.StringIO()
    csv.writer(text).writerows([names, *2 * [['1'] * len(names)]])
    assert read(text.getvalue()).table.column_names == names


def test_D32_names_that_only_differ_in_code_points_are_refused(refused):
    composed = unicodedata.normalize('NFC', 'größe')
    decomposed = unicodedata.normalize('NFD', 'größe')
    assert 'different code points' in refused('D32', f'{composed},{decomposed}\n1,2\n3,4\n')


def test_D32_an_empty_name_is_reported(read):
    raw = read(',a\nx,1\ny,2\n')
    assert raw.table.column_names == ['unnamed 1', 'a'] and 'no name' in raw.facts['notes'][0]


def test_D33_integer_names_in_parquet_become_texts_and_are_reported(read, tmp_path):
    pd.DataFrame({0: [1, 2], 1: [3, 4]}).to_parquet(tmp_path / 'i.parquet')
    raw = read((tmp_path / 'i.parquet').read_bytes(), 'a.parquet')
    assert raw.table.column_names == ['0', '1'] and len(raw.facts['notes']) == 2


def test_D33_names_on_two_levels_are_refused(refused, tmp_path):
    table = pd.DataFrame(
        [[1, 2], [3, 4]], columns=pd.MultiIndex.from_tuples([('a', 'x'), ('a', 'y')])
    )
    table.to_parquet(tmp_path / 'm.parquet')
    assert '2 levels' in refused('D33', (tmp_path / 'm.parquet').read_bytes(), 'a.parquet')


@pytest.fixture
def parquet():
    sink = io.BytesIO()
    pq.write_table(
        pa.table({'a': np.arange(5000), 'price': np.random.default_rng(0).normal(size=5000)}), sink
    )
    return sink.getvalue()


def test_D44_damaged_parquet(refused, parquet):
    assert 'damaged' in refused('D44', parquet[:-50], 'a.parquet')
    assert 'damaged' in refused('D44', parquet[:len(parquet) // 2], 'a.parquet')
    assert 'empty' in refused('D44', b'', 'a.parquet')
    assert 'looks like text' in refused('D44', GOOD, 'a.parquet')
    assert 'is a Parquet file' in refused('D44', parquet, 'a.csv')


def test_D44_flipped_bits_never_end_in_a_traceback(read, parquet):
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(parquet)
        for at in rng.integers(4, len(damaged), 3):
            damaged[at] ^= 1 << rng.integers(8)
        try:
            read(bytes(damaged), 'a.parquet')
        except UserError as error:
            assert error.code in ('D44', 'D48', 'D12', 'D21', 'D32'), error.line


def test_D45_gz_and_zip_are_read(read):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('__MACOSX/._a.csv', 'x')
        archive.writestr('folder/a.csv', GOOD)
    assert read(packed.getvalue(), 'a.csv.zip').table.equals(read(GOOD).table)
    assert read(gzip.compress(GOOD.encode()), 'a.csv.gz').table.equals(read(GOOD).table)


def test_D45_a_truncated_archive(refused):
    assert 'damaged or incomplete' in refused('D45', gzip.compress(GOOD.encode())[:-30], 'a.csv.gz')
    assert 'damaged or incomplete' in refused('D45', b'PK\x03\x04 no more', 'a.zip')
    assert 'damaged or incomplete' in refused('D45', gzip.compress(GOOD.encode())[:20], 'a.gz')


def test_D45_a_zip_with_two_files(refused):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, 'w') as archive:
        archive.writestr('a.csv', GOOD)
        archive.writestr('b.csv', GOOD)
    assert 'holds 2 files: a.csv, b.csv' in refused('D45', packed.getvalue(), 'a.zip')


PACKERS = {
    'gz': gzip.compress,
    'bz2': bz2.compress,
    'xz': lzma.compress,
    'zst': lambda content: pa.compress(content, 'zstd', asbytes=True),
}


@pytest.mark.parametrize('kind', PACKERS)
def test_D45_content_decides_whatever_the_name_says(read, refused, kind):
    packed = PACKERS[kind](GOOD.encode())
    for name in ('a.csv', 'a.txt.gz', f'a.csv.{kind}'):
        assert read(packed, name).table.equals(read(GOOD).table)
    assert read(GOOD, 'a.csv.gz').table.equals(read(GOOD).table)
    assert 'damaged or incomplete' in refused('D45', packed[:-12], 'a.csv')


def test_D45_a_bomb_is_stopped(refused):
    zeros = bytes(1 << 20)
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(packed, 'w', zipfile.ZIP_DEFLATED) as archive,
        archive.open('a.csv', 'w', force_zip64=True) as member,
    ):
        for _ in range(300):
            member.write(zeros)
    with bounded(memory=50e6):
        assert 'more than 200 times' in refused('D45', packed.getvalue(), 'a.zip')


def test_files_of_another_kind_are_named(refused):
    for head, said in (
        (b'SQLite format 3\0', 'database'),
        (b'PK\x03\x04xx[Content_Types].xml', 'Excel'),
        (b'%PDF-1.7', 'PDF'),
    ):
        assert said in refused('D45', head + bytes(range(256)))


def test_a_line_without_end_is_no_header(refused):
    assert 'more than 131,072 letters' in refused('D25', 1_000_000 * b'x')


def test_long_texts_are_read(read):
    long = 300_000 * 'x'
    assert read(f'a,b\n{long},1\ny,2\n').table['a'][0].as_py() == long


def test_D46_a_web_page_or_json_saved_as_csv(refused):
    for page in ('<!DOCTYPE html><html>404</html>', '\n <html>\n', '<?xml version="1.0"?>\n<a/>'):
        assert 'looks like HTML' in refused('D46', page)
    for text in ('{"a": [1, 2]}', '[{"a": 1}]', '[\n  {"a": 1}\n]'):
        assert 'looks like JSON' in refused('D46', text)


def test_D47_a_file_that_changes_while_it_is_read(read, tmp_path, monkeypatch):
    parse = reading.read_csv

    def parse_and_change(*args):
        with open(tmp_path / 'a.csv', 'a') as file:
            file.write('1,x,2\n')
        return parse(*args)

    monkeypatch.setattr(reading, 'read_csv', parse_and_change)
    with pytest.raises(InfrastructureError) as caught:
        read(GOOD)
    assert (
        caught.value.code == 'D47'
        and caught.value.exit_code == 4
        and 'changed during run' in caught.value.line
    )


def test_D48_larger_data_is_refused_before_it_is_read(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, 'read_csv', lambda *_: pytest.fail('was read'))
    line = refused('D48', 1000 * GOOD, max_gb=0.001)
    assert 'GB of memory; the limit is' in line and 'max_data_gb' in line
    assert 'limit is' in refused(
        'D48', gzip.compress(1000 * GOOD.encode(), 1), 'a.csv.gz', max_gb=0.001
    )


def test_D48_parquet_counts_unpacked(refused):
    sink = io.BytesIO()
    pq.write_table(
        pa.table({'a': np.random.default_rng(0).integers(0, 5, 1_000_000)}),
        sink,
        use_dictionary=False,
        compression='zstd',
    )
    assert len(sink.getvalue()) < 2_000_000
    assert 'limit is' in refused('D48', sink.getvalue(), 'a.parquet', max_gb=0.004)


def test_sources_that_are_not_there(tmp_path, refused):
    (tmp_path / 'cars.csv').write_text(GOOD)
    with pytest.raises(UserError, match="did you mean 'cars.csv'"):
        read_file('car.csv', Data(source='car.csv'), tmp_path, 1)
    with pytest.raises(UserError, match='is a folder'):
        read_file('.', Data(source='.'), tmp_path, 1)


@pytest.mark.parametrize('source', [
    'http://127.0.0.1/a.csv',
    'https://example.org/a.csv',
    'ftp://x/a.csv',
    'HTTP://x/a',
    'filecache://x',
    'github://x/y',
    'file://a.csv::http://127.0.0.1/a.csv',
    'memory://a::https://x/a',
    'http://169.254.169.254/latest/meta-data',
    'http://[::1]/a.csv',
    'http://2130706433/a.csv',
    'gopher://x/a.csv',
    'file:///etc/hostname',
    'file://localhost/etc/hostname',
    'file://../a.csv',
])
def test_X09_web_addresses_are_not_read(source, tmp_path):
    with pytest.raises(UserError, match='are not read'):
        read_file(source, Data(source=source), tmp_path, 1)


def test_addresses_of_stores_are_read(tmp_path, read):
    (tmp_path / 'b.csv').write_text(GOOD)
    source = f'file://{tmp_path}/b.csv'
    assert read_file(source, Data(source=source), tmp_path, 1).table.equals(read(GOOD).table)
    with pytest.raises(UserError, match='name the path instead'):
        read_file(f'file://{tmp_path}/data/../b.csv', Data(source=source), tmp_path / 'data', 1)
    with pytest.raises(UserError, match='file not found'):
        read_file('memory://nothing/there.csv', Data(source='x'), tmp_path, 1)


def test_lines_are_counted_through_texts_of_several_lines_and_empty_lines(read):
    raw = read('a,price\n"x\ny",1\n\n"z",2\n\n\nw,3\n')
    assert [raw.place(k) for k in range(3)] == ['line 2', 'line 5', 'line 8']
    raw = read('a,price\r\n"x\r\ny",1\r\n\r\nz,2\r\n')
    assert [raw.place(k) for k in range(2)] == ['line 2', 'line 5']
    raw = read('"a\nb",price\nx,1\ny,2\n')
    assert raw.place(0) == 'line 3'


CELL = st.text(st.characters(exclude_characters='\0', exclude_categories=('Cs',)), max_size=8)
NAME = st.text(
    st.characters(exclude_characters='\0\ufeff', exclude_categories=('Cs',)), min_size=1, max_size=8
).filter(
    lambda name: name.strip()
    and not name.lstrip().startswith(('<', '{', '['))
    and not any(c.isdigit() for c in name)
)


@st.composite
def tables(draw):
    names = draw(
        st.lists(
            NAME, min_size=2, max_size=4, unique_by=lambda name: unicodedata.normalize('NFC', name)
        )
    )
    return names, draw(
        st.lists(st.lists(CELL, min_size=len(names), max_size=len(names)), min_size=2, max_size=8)
    )


@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    tables(),
    st.sampled_from([('\r\n', csv.QUOTE_MINIMAL), ('\r\n', csv.QUOTE_ALL), ('\n', csv.QUOTE_ALL)]),
)
def test_what_was_written_is_what_is_read(read, table, dialect):
    # csv.writer leaves a bare CR unquoted when lines end in LF
    (names, rows), (end, quoting) = table, dialect
    text = io.StringIO(newline='')
    csv.writer(text, lineterminator=end, quoting=quoting).writerows([names, *rows])
    try:
        raw = read(text.getvalue())
    except UserError as error:
        # a random table may look like something else; nothing else may happen
        assert error.code in ('D22', 'D16'), error.line
        return
    assert raw.table.column_names == [unicodedata.normalize('NFC', name) for name in names]
    assert [list(row.values()) for row in raw.table.to_pylist()] == rows
    reader = csv.reader(io.StringIO(text.getvalue(), newline=''))
    next(reader)
    for k in range(len(rows)):
        first_line = reader.line_num + 1
        assert next(reader) == rows[k]
        if not any('\r' in cell for row in [names, *rows] for cell in row):
            assert raw.place(k) == f'line {first_line}'


@settings(
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.binary(max_size=300))
def test_no_bytes_end_in_a_traceback(read, content):
    for name in ('a.csv', 'a.parquet', 'a.csv.gz', 'a.zip'):
        try:
            read(content, name)
        except UserError:
            pass


@settings(
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, len(GOOD) - 1), st.sampled_from(list(b',"\n\r\0;x\xff\xe9 ')))
def test_no_changed_byte_ends_in_a_traceback(read, at, byte):
    content = bytearray(GOOD.encode())
    content[at] = byte
    try:
        assert 199 <= len(read(bytes(content)).table) <= 201
    except UserError:
        pass


def test_the_way_a_file_is_written_is_proposed(tmp_path):
    for content, expected, marks in [
        (GOOD.encode(), {}, {'decimal': '.'}),
        (GOOD.replace(',', '\t').encode(), {'separator': '\t'}, {'decimal': '.'}),
        (GOOD.encode('utf-16'), {'encoding': 'utf-16'}, {'decimal': '.'}),
        (
            'Ort;Preis\nKöln;1.200,50\nBonn;7,5\n'.encode('latin-1'),
            {'encoding': 'latin-1', 'separator': ';'},
            {'decimal': ',', 'thousands': '.'},
        ),
        (b'a,price\nx,"1,200"\ny,"3,400.5"\n', {}, {'decimal': '.', 'thousands': ','}),
    ]:
        (tmp_path / 'p.csv').write_bytes(content)
        assert propose_data('p.csv', tmp_path) == expected
        data = Data(source='p.csv', **expected)
        raw = read_file('p.csv', data, tmp_path, 1)
        assert len(raw.table) >= 2 and propose_marks(raw, data) == marks


@pytest.mark.parametrize('name', [
    'adult.csv',
    'ames_housing.csv',
    'cars_nz_manheim_vehicles.csv',
    'titanic.csv',
])
def test_real_files_are_read_as_pandas_reads_their_texts(real_data, name):
    path = real_data(name)
    raw = read_file(path.name, Data(source=path.name), path.parent, 8)
    texts = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert (
        raw.table.to_pandas().equals(texts.astype('str'))
        and propose_data(path.name, path.parent) == {}
    )


def test_a_million_rows_are_read(read):
    content = 'k,make,price\n' + ''.join(f'{k},"Alfa, Romeo",{k * .5}\n' for k in range(1_000_000))
    raw = read(content)
    df = typed(raw, {'k': Column(role='id')})
    assert len(df) == 1_000_000 and str(df['k'].dtype) == 'int64'
