"""`cd4ml check --rerun`: what keeps a fresh run from an end is named in one line."""

from pathlib import Path

from projects import notebook, write_notebook

from cd4ml_nb.audit import check
from cd4ml_nb.command.cli import main


def refused_line(path: Path, capsys) -> str:
    """The one line with which a check that runs a notebook again is refused."""
    assert main(['check', '--rerun', str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == '' and len(captured.err.splitlines()) == 1
    return captured.err.strip()


def test_I23_a_kernel_that_is_not_installed_is_named_with_the_notebook(tmp_path, capsys):
    content = notebook('a = 1')
    content['metadata']['kernelspec'] = {'name': 'nosuch', 'display_name': 'No such kernel'}
    write_notebook(tmp_path / 'mine.ipynb', content)
    line = refused_line(tmp_path / 'mine.ipynb', capsys)
    assert line.startswith('ERROR I23 ') and 'mine.ipynb' in line
    assert "the kernel 'nosuch' is not installed — choose 'python3'" in line


def test_I22_a_cell_that_takes_too_long_is_ended_and_the_limit_is_said(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(check.rerun_differences, '__defaults__', (1,))
    write_notebook(tmp_path / 'mine.ipynb', notebook('import time\ntime.sleep(600)'))
    line = refused_line(tmp_path / 'mine.ipynb', capsys)
    assert line.startswith('ERROR I22 ') and 'mine.ipynb' in line
    assert 'a cell took more than 1 s — make it quicker' in line
