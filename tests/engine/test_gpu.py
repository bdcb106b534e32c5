"""On a GPU a whole run gives what it gives on the processor, within what rounding does."""

import pytest
from runs import SMALL, Place

pytestmark = pytest.mark.gpu


def test_a_run_on_a_gpu_trains_there_and_is_as_good_as_on_the_processor(tmp_path):
    areas = {}
    for device in ('cpu', 'cuda'):
        (tmp_path / device).mkdir()
        place = Place(tmp_path / device)
        done = place.run(*SMALL, '--until', 'evaluate', CD4ML_DEVICE=device)
        assert done.returncode == 0, done.stderr
        assert place.json('breast_cancer', 'sweep', 'best.json')['device'] == device
        metrics = place.json('breast_cancer', 'evaluate', 'metrics.json')
        areas[device] = metrics['holdout']['auc']['value']
    assert areas['cuda'] == pytest.approx(areas['cpu'], abs=0.03)
