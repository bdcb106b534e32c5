"""The record of a run: written and read; each damage ends in a line with file and key."""

import json
from pathlib import Path

import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml_nb.artefacts.run_record import (
    CodeRecord,
    DataRecord,
    Interval,
    Machine,
    Measured,
    RunRecord,
    StageRecord,
    has_whole_seal,
    patch_of,
    read_run_record,
    read_sealed_record,
    record_path,
    write_run_record,
)
from cd4ml_nb.core.errors import Cd4mlError, UserError
from cd4ml_nb.core.files import json_hash, write_json
from cd4ml_nb.runs.find import latest_record, read_records, record_paths, scenarios_that_ran

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=['Cs']), max_size=8)
HASHES = st.dictionaries(TEXTS, TEXTS, max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
STAGE = st.builds(
    StageRecord,
    key=TEXTS,
    status=st.sampled_from(['done', 'kept', 'failed', 'stopped']),
    seconds=NUMBERS,
    manifest=TEXTS,
    stable=st.none() | HASHES,
    remarks=st.lists(TEXTS, max_size=2),
)
RECORDS = st.builds(
    RunRecord,
    run=TEXTS,
    started=TEXTS,
    order=st.lists(TEXTS, max_size=3, unique=True),
    stages=st.dictionaries(TEXTS, STAGE, max_size=3),
    products=st.dictionaries(TEXTS, HASHES, max_size=3),
    accepted=st.none() | st.booleans(),
    metric=st.none() | st.builds(Measured, name=TEXTS, unit=TEXTS, value=st.none() | NUMBERS),
    metrics=st.dictionaries(TEXTS, st.none() | NUMBERS, max_size=3),
    intervals=st.dictionaries(TEXTS, st.builds(Interval, low=NUMBERS, high=NUMBERS), max_size=3),
    parameters=st.dictionaries(TEXTS, st.dictionaries(TEXTS, JSON, max_size=3), max_size=3),
    settings=st.dictionaries(TEXTS, JSON, max_size=3),
    data=st.builds(DataRecord, source=TEXTS, identity=TEXTS),
    code=st.builds(CodeRecord, commit=TEXTS, dirty=st.booleans(), sources=HASHES),
    machine=st.builds(Machine, python=TEXTS, cpus=st.none() | st.integers(1, 999)),
)
FULL = RunRecord(
    run='r1',
    scenario='cars',
    order=['look', 'judge'],
    stages={'look': StageRecord(key='k', status='done', manifest='m', stable={'table': 'h'})},
    metric=Measured(name='mae', value=1.0),
    intervals={'mae': Interval(low=0.5, high=1.5)},
    machine=Machine(cpus=2),
)


@given(record=RECORDS)
@settings(max_examples=examples(60), deadline=None)
def test_what_is_written_is_read(tmp_path_factory, record):
    path = tmp_path_factory.getbasetemp() / 'written.json'
    write_run_record(path, record)
    assert read_sealed_record(path) == record == read_run_record(path)
    text = path.read_bytes()
    write_run_record(path, read_run_record(path))
    assert path.read_bytes() == text


def places(value, above=()):
    """Every key of nested objects, as a path."""
    for name, item in value.items():
        yield (*above, name)
        if isinstance(item, dict):
            yield from places(item, (*above, name))


KEYS = [
    place
    for place in places(FULL.model_dump())
    if place[0] not in ('parameters', 'settings', 'seal')
]


@pytest.mark.parametrize('place', KEYS, ids='.'.join)
def test_a_wrong_value_under_any_key_ends_in_one_line_with_file_and_key(tmp_path, place):
    path = record_path(tmp_path, 'r1')
    value = FULL.model_dump()
    part = value
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = [[]]
    write_json(path, value)
    with pytest.raises(UserError) as caught:
        read_run_record(path)
    line = caught.value.line
    assert line.startswith(f'ERROR I13 {path}:{".".join(place)}') and '\n' not in line
    assert len(line) < 400


def test_a_record_without_its_run_or_of_a_later_version_is_refused(tmp_path):
    path = tmp_path / 'r.json'
    write_json(path, {'scenario': 'cars'})
    with pytest.raises(UserError, match='r.json:run: this record of a run lacks the key'):
        read_run_record(path)
    write_json(path, {'run': 'r', 'schema_version': 99})
    with pytest.raises(UserError, match='has version 99, and this program reads up to 2'):
        read_run_record(path)


@given(data=st.data())
@settings(max_examples=examples(80), deadline=None)
def test_any_bytes_and_any_json_are_read_or_refused_in_one_line(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / 'any.json'
    values = JSON.map(lambda value: json.dumps(value).encode())
    objects = st.dictionaries(st.sampled_from([*RunRecord.model_fields]), JSON, max_size=4)
    path.write_bytes(
        data.draw(st.binary(max_size=30) | values | objects.map(lambda v: json.dumps(v).encode()))
    )
    try:
        read_run_record(path)
    except Cd4mlError as error:
        assert str(path) in error.line and '\n' not in error.line


def test_one_changed_value_breaks_the_seal(tmp_path):
    path = record_path(tmp_path, 'r1')
    write_run_record(path, FULL)
    assert has_whole_seal(path)
    whole = json.loads(path.read_text())
    for name in set(whole) - {'seal'}:
        write_json(path, whole | {name: 'other' if whole[name] != 'other' else ''})
        assert not has_whole_seal(path), name
        with pytest.raises(UserError, match='V2 r1: the record of the run was changed'):
            read_sealed_record(path)


def test_records_of_version_1_are_read_and_their_products_found(tmp_path):
    old = {
        'run': 'r0',
        'order': ['split', 'train', 'evaluate', 'package', 'report'],
        'stages': {
            'split': {'key': 'a', 'status': 'done', 'stable': {'split': 'h', 'holdout': 'h'}},
            'train': {'key': 'b', 'status': 'kept', 'stable': {'contract': 'h', 'training': 'h'}},
            'package': {'key': 'c', 'status': 'kept', 'stable': {'contract': 'h'}},
            'report': {'key': 'd', 'status': 'done', 'seconds': 0.5, 'stable': {}},
        },
        'data': {'source': 'builtin:wine', 'identity': 'builtin:wine'},
        'machine': {'python': '3.11.7', 'system': 'Linux', 'cpus': 2},
        'unknown to us': [1],
    }
    path = tmp_path / 'r0.json'
    write_json(path, old | {'seal': json_hash(old)})
    record = read_sealed_record(path)
    found = {name: record.maker(name) for name in ('holdout', 'training', 'contract', 'report')}
    assert found == {
        'holdout': 'split', 'training': 'train', 'contract': 'package', 'report': 'report',
    }
    assert record.makers('contract') == ['train', 'package'] and record.maker('metrics') == ''
    assert record.file('package', 'contract') == 'model/contract.json'
    assert record.data.source == 'builtin:wine' and record.machine.cpus == 2


def test_records_are_listed_the_latest_first_and_damaged_ones_named(tmp_path):
    for k, run in enumerate(('20260101-1', '20260103-1', '20260102-1')):
        path = record_path(tmp_path / 'cars', run)
        write_run_record(path, RunRecord(run=run, started=f'2026-01-0{9 - k}'))
    record_path(tmp_path / 'cars', '20260104-1').write_text('{"run": ')
    record_path(tmp_path / 'cars', '.writing-1').write_text('{}')
    names = [path.stem for path in record_paths('cars', tmp_path)]
    assert names == ['20260104-1', '20260103-1', '20260102-1', '20260101-1']
    found, damaged = read_records(tmp_path / 'cars')
    assert [record.run for record in found] == ['20260102-1', '20260103-1', '20260101-1']
    assert damaged == ['20260104-1']
    assert scenarios_that_ran(tmp_path) == ['cars'] and scenarios_that_ran(tmp_path / 'no') == []


def test_the_latest_record_that_can_be_read_is_the_last_run(tmp_path, monkeypatch):
    monkeypatch.setattr('cd4ml_nb.runs.find.products_root', lambda: tmp_path)
    assert latest_record('cars') is None
    write_run_record(record_path(tmp_path / 'cars', 'r1'), FULL)
    record_path(tmp_path / 'cars', 'r2').write_text('[]')
    assert latest_record('cars') == FULL
    assert patch_of(record_path(Path('h'), 'r1')) == Path('h/runs/r1.patch')
