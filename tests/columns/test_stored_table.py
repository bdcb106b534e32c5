"""A table that is read in pieces is the table: column by column, row by row, part by part."""

import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cd4ml_nb.columns.stored_table import StoredTable, in_memory, rows_at, stored, write_parts
from cd4ml_nb.columns.table import read_table, row_hashes, seal, table_hash, write_table
from cd4ml_nb.core.errors import UserError
from cd4ml_nb.model.contract import Contract, Input, Output
from cd4ml_nb.search.trial import drawn
from cd4ml_nb.training.training import base_parameters, fit, matrix

MAKES = ('BMW', 'Fiat', 'Škoda')


def table_of(n: int, seed: int) -> pd.DataFrame:
    """Rows with every type that a stage writes, some values missing."""
    rng = np.random.default_rng(seed)
    gone = rng.random((3, n)) < 0.1
    listed = pd.Series(pd.Timestamp('2024-01-01') + pd.to_timedelta(rng.integers(0, 900, n), 'D'))
    table = pd.DataFrame({
        'make': pd.Series(rng.choice(MAKES, n), dtype='str').mask(gone[0]),
        'km': pd.Series(rng.random(n)).mask(gone[1]),
        'used': pd.array(rng.random(n) < 0.5, 'boolean'),
        'listed': listed.astype('datetime64[us]').mask(gone[2]),
        'doors': rng.integers(2, 6, n),
        'weight': rng.integers(1, 4, n).astype(float),
    })
    return table.assign(y=table['km'].fillna(0) + (table['make'] == 'BMW') + table['doors'])


CONTRACT = Contract(
    'cars',
    'regression',
    (
        Input('make', 'f0001', 'category', categories=MAKES),
        Input('km', 'f0002', 'number'),
        Input('used', 'f0003', 'boolean'),
        Input('listed', 'f0004', 'date'),
        Input('doors', 'f0005', 'number'),
    ),
    Output('y'),
)


def written(table: pd.DataFrame, folder, cuts: list[int], piece: int) -> StoredTable:
    """A table in several files, one below the other."""
    shutil.rmtree(folder, ignore_errors=True)
    ends = [0, *sorted(cuts), len(table)]
    paths = [folder / f'{k}.parquet' for k in range(len(ends) - 1)]
    for k, path in enumerate(paths):
        write_table(table[ends[k]:ends[k + 1]].reset_index(drop=True), path)
    return StoredTable(tuple(paths), piece)


@given(data=st.data(), n=st.integers(1, 60), piece=st.integers(1, 30), seed=st.integers(0, 99))
def test_a_stored_table_is_the_table(tmp_path_factory, data, n, piece, seed):
    table = table_of(n, seed)
    folder = tmp_path_factory.getbasetemp() / 'stored'
    there = written(table, folder, data.draw(st.lists(st.integers(0, n), max_size=2)), piece)
    assert (len(there), list(there.columns)) == (n, list(table))
    pd.testing.assert_frame_equal(in_memory(there, list(table)), table)
    pd.testing.assert_frame_equal(pd.concat(there.pieces(), ignore_index=True), table)
    assert all(len(rows) <= piece for rows in there.pieces())
    assert table_hash(there) == table_hash(table)
    assert np.array_equal(row_hashes(there, ['make', 'used']), row_hashes(table, ['make', 'used']))
    places = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1)))), dtype=int)
    pd.testing.assert_frame_equal(rows_at(there, places), rows_at(table, places))
    part = np.array(data.draw(st.lists(st.integers(-1, 1), min_size=n, max_size=n)))
    write_parts(there, part, [folder / 'a.parquet', folder / 'b.parquet'])
    for k, name in enumerate('ab'):
        rows = table[part == k].reset_index(drop=True)
        pd.testing.assert_frame_equal(read_table(folder / f'{name}.parquet'), rows)


@pytest.mark.parametrize('weight', [None, 'weight'])
@pytest.mark.parametrize('threads', [1, 2])
def test_a_model_does_not_depend_on_how_its_rows_are_cut_into_pieces(tmp_path, weight, threads):
    table = table_of(3000, 1)
    parameters = base_parameters('regression', 0, 'cpu', threads, 3) | {'subsample': 0.7}
    whole = matrix(CONTRACT, table, weight, threads=threads)
    model = fit(parameters, whole, 10).save_raw('json')
    for piece in (211, 2999):
        there = written(table, tmp_path / 'cut', [700], piece)
        pieces = matrix(CONTRACT, there, weight, threads=threads)
        assert fit(parameters, pieces, 10).save_raw('json') == model


@pytest.mark.parametrize('each', [None, 'make'])
def test_a_sample_is_the_same_however_the_table_is_kept(tmp_path, each):
    table = table_of(500, 2)
    there = written(table, tmp_path / 'cut', [123], 70)
    pd.testing.assert_frame_equal(drawn(there, 0.2, each), drawn(table, 0.2, each))


def test_files_that_are_absent_damaged_or_sealed_are_refused(tmp_path):
    table = table_of(50, 3)
    write_table(table, tmp_path / 'a.parquet')
    with pytest.raises(UserError, match='file not found'):
        stored(tmp_path / 'a.parquet', tmp_path / 'b.parquet')
    content = (tmp_path / 'a.parquet').read_bytes()
    for damage in (content[:-50], content[:100] + bytes(400) + content[500:]):
        (tmp_path / 'b.parquet').write_bytes(damage)
        with pytest.raises(UserError, match=r'b\.parquet.*damaged'):
            list(StoredTable((tmp_path / 'b.parquet',), 10).pieces())
    seal(table, tmp_path / 'b.parquet')
    with pytest.raises(UserError, match='sealed'):
        stored(tmp_path / 'b.parquet')
