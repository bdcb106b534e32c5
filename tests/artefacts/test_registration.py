"""The registration of a model: what is written is read, and damage is named by file and key."""

import json

import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml_nb.artefacts.registration import (
    GateOutcome,
    Registration,
    read_registration,
    write_registration,
)
from cd4ml_nb.core.errors import UserError
from cd4ml_nb.core.files import write_json

NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=['Cs']), max_size=8)
GATES = st.builds(
    GateOutcome, metric=TEXTS, value=NUMBERS, low=NUMBERS, passed=st.booleans(), reason=TEXTS
)
REGISTRATIONS = st.builds(
    Registration,
    accepted=st.booleans(),
    verdict=TEXTS,
    gates=st.lists(GATES, max_size=3),
    model_name=TEXTS,
    version=st.none() | st.integers(1, 999),
    alias=st.none() | TEXTS,
    run_id=TEXTS,
    manifest_sha256=TEXTS,
)


@given(registration=REGISTRATIONS)
@settings(max_examples=examples(50), deadline=None)
def test_what_is_written_is_read(tmp_path_factory, registration):
    path = tmp_path_factory.getbasetemp() / 'registration.json'
    write_registration(path, registration)
    assert read_registration(path) == registration
    assert set(json.loads(path.read_text())) == {*Registration.model_fields}


def test_a_registration_of_the_version_before_is_read(tmp_path):
    path = tmp_path / 'registration.json'
    gates = [{'metric': 'r2', 'passed': False}]
    registration = {'accepted': False, 'verdict': 'refused: mae', 'gates': gates}
    write_json(path, registration | {'model_name': 'cars', 'version': None, 'run_id': 'r'})
    found = read_registration(path)
    assert [gate.metric for gate in found.refused] == ['r2'] and found.spooled is False


@pytest.mark.parametrize(
    ('change', 'key'),
    [
        ({'accepted': 'yes'}, 'accepted'),
        ({'version': 1.5}, 'version'),
        ({'gates': {}}, 'gates'),
        ({'gates': [{'metric': 'mae'}]}, 'gates.0.passed'),
        ({'run_id': None}, 'run_id'),
        ({'schema_version': 2}, 'schema_version'),
        ({'schema_version': '1'}, 'schema_version'),
    ],
)
def test_damage_ends_in_one_line_with_file_and_key(tmp_path, change, key):
    path = tmp_path / 'registration.json'
    write_json(path, {'accepted': True} | change)
    with pytest.raises(UserError) as caught:
        read_registration(path)
    assert caught.value.line.startswith(f'ERROR I13 {path}:{key}: ')
    assert '\n' not in caught.value.line and ' — ' in caught.value.line


@pytest.mark.parametrize('damage', [b'', b'{"accepted":', b'\xff', b'[]', b'null'])
def test_a_file_that_holds_no_registration_is_named(tmp_path, damage):
    path = tmp_path / 'registration.json'
    path.write_bytes(damage)
    with pytest.raises(UserError, match='I13 .*registration.json'):
        read_registration(path)
    path.unlink()
    with pytest.raises(UserError, match='registration.json: file not found'):
        read_registration(path)
