"""Run the cells of a scientist's day as a notebook does, in the environment of its own side.

    python benchmarks/day_cells.py SCRIPT GIVEN OUT [CELL …]

SCRIPT is cut at lines `# %% NAME`, or `# %% NAME @DAY` for the cells of one data set. GIVEN is a
JSON file of the names that a scientist would write as literals, with `day` among them. Cells run in
an IPython shell, in order: all with a plain name, or those that are named. What a cell shows is
worked out as Jupyter does it, HTML and all, and lies in `OUT.NAME.txt`. OUT gets a line of JSON
when a cell begins and when it ends: the time, and the CPU seconds that this process and all that
it has started have used. Cells named `apart …` run only when they are named. Cells named `proof …`
come last and answer with their last expression; what cells have shown is there as `shown`.
"""

import contextlib
import ctypes
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

TICKS = os.sysconf('SC_CLK_TCK')
PR_SET_CHILD_SUBREAPER = 36      # orphans become ours, so that their seconds are counted


def cells_of(text: str, day: str) -> dict[str, str]:
    """The cells of a script for one data set: name -> source."""
    cells: dict[str, str] = {}
    for part in text.split('\n# %% ')[1:]:
        title, _, source = part.partition('\n')
        name, _, only = title.partition(' @')
        if only.strip() in ('', day):
            cells[name.strip()] = source.strip('\n') + '\n'
    return cells


def cpu_seconds() -> float:
    """What this process and its descendants have used, those that ended among them."""
    parents, used = {}, {}
    for entry in Path('/proc').iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            fields = (entry / 'stat').read_text().rpartition(')')[2].split()
            parents[int(entry.name)] = int(fields[1])
            used[int(entry.name)] = sum(map(int, fields[11:15])) / TICKS
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(used.get(pid, 0.0) for pid in family)


class Notebook:
    """An IPython shell that keeps what its cells show."""

    def __init__(self, given: dict[str, Any]):
        from IPython.core.displaypub import CapturingDisplayPublisher
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        class Shell(InteractiveShell):
            def enable_gui(self, gui: str | None = None) -> None:     # of `%matplotlib inline`
                pass

        quiet = Config(HistoryManager={'enabled': False})
        self.shell = Shell.instance(config=quiet)
        self.shell.display_pub = CapturingDisplayPublisher(parent=self.shell)
        self.shell.displayhook.write_format_data = lambda data, *_: self.results.append(data)
        self.shell.displayhook.write_output_prompt = lambda: None
        self.shell.user_ns |= {'shown': {}} | given
        self.results: list[dict[str, Any]] = []

    def run(self, name: str, source: str) -> Any:     # its last expression
        """Run a cell, and keep what it shows."""
        from IPython.utils.capture import capture_output
        self.results.clear()
        self.shell.display_pub.outputs.clear()
        with capture_output(stderr=False, display=False) as said:
            found = self.shell.run_cell(source, store_history=True)
        displayed = [output['data'] for output in self.shell.display_pub.outputs]
        texts = [data.get('text/html') or data.get('text/plain', '')
                 for data in [*displayed, *self.results]]
        self.shell.user_ns['shown'][name] = '\n'.join([said.stdout, *map(str, texts)])
        found.raise_error()
        return found.result


def main() -> None:
    script, given, out, *wanted = sys.argv[1:]
    sys.path[0] = ''             # as in a notebook: the folder that one works in, not this one
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    words = json.loads(Path(given).read_text(encoding='utf-8'))
    cells = cells_of(Path(script).read_text(encoding='utf-8'), words['day'])
    notebook = Notebook(words)
    lines = Path(out).open('a', encoding='utf-8')

    def note(**words: Any) -> None:
        now = {'at': time.time(), 'used': cpu_seconds()}
        lines.write(json.dumps(words | now, default=str) + '\n')
        lines.flush()

    plain = [name for name in cells if name.partition(' ')[0] not in ('proof', 'apart')]
    for name in wanted or plain:
        note(cell=name, state='begun')
        value = notebook.run(name, cells[name])
        note(cell=name, state='ended', answer=value if isinstance(value, dict) else None)
        shown = notebook.shell.user_ns['shown'][name]
        Path(f'{out}.{name}.txt').write_text(shown, encoding='utf-8')
    for name in [] if wanted else [name for name in cells if name.startswith('proof')]:
        try:
            note(cell=name, state='proved', answer=notebook.run(name, cells[name]))
        except Exception as error:
            note(cell=name, state='failed', answer=f'{type(error).__name__}: {error}'[:300])


if __name__ == '__main__':
    main()
