"""Kill runs of a tiny project at random moments and at every fault point, fill its disk, start two
at once; then look whether anything damaged is accepted. Then kill workers and coordinators of
sweeps, and look whether a trial is lost, done once too often, or left running in MLflow.

    python tests/fault_harness.py --kills 200 --worker-kills 50 --coordinator-kills 10 --seed 1
"""

import argparse
import fcntl
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from sweeps import (
    content,
    ends,
    generation,
    kill_workers,
    parent_of,
    shown_by_mlflow,
    sweep_project,
)
from tiny import CD4ML, FILES, STAGES, Done, Started, Tiny, sha, tiny_project

LEFT = ('.running-', '.deleting-', '.writing-')
FORCE = ['run', *(word for stage in STAGES for word in ('--force', stage))]
# state -> the command that is disturbed
WORDS = {'fresh': ['run'], 'forced': FORCE, 'changed': ['run', '-p', 'scale=2'], 'damaged': ['run']}
AGAIN = WORDS | {'forced': ['run']}  # and the one that mends
WRITES = ('file.', 'publish.', 'pointer.', 'record.', 'cell.end')  # where a disk can be full


def damage_of(folder: Path) -> str:
    """What is wrong with a product directory, found without the code under test; empty when it is
    whole."""
    try:
        files = json.loads((folder / 'manifest.json').read_text())['files']
        if set(files) != set(FILES):
            return f'names {sorted(files)}'
        wrong = [
            name
            for name, f in files.items()
            if (folder / f['path']).stat().st_size != f['bytes']
            or sha(folder / f['path']) != f['sha256']
        ]
        return f'{wrong} differ from the manifest' if wrong else ''
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f'{type(error).__name__}: {error}'


def product_folders(project: Tiny) -> list[Path]:
    """Every directory that has the name of a product."""
    return sorted(
        p
        for stage in STAGES
        for p in (project.home / stage).glob('[0-9a-f]*')
        if re.match('[0-9a-f]{16}', p.name)
    )


def whole_ones(project: Tiny) -> set[str]:
    """The hashes of the manifests of all whole product directories."""
    return {
        f'{p.parent.name}/{sha(p / "manifest.json")[:12]}'
        for p in product_folders(project)
        if not damage_of(p)
    }


def lock_is_free(project: Tiny, patience: float = 2.0) -> bool:
    """Whether nobody holds the lock; a process that is ending closes its files a moment after it
    has lost its environment."""
    path = project.folder / 'products/used_cars/lock.json'
    until = time.monotonic() + patience
    if not path.exists():
        return True
    with open(path, 'a') as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() > until:
                    return False
                time.sleep(0.05)


def wrong_after(project: Tiny, before: set[str], known: dict[Path, str]) -> list[str]:
    """What must not be after a run that was disturbed: processes, a lock, damage that passes for a
    product, or a good product lost."""
    found = []
    if left := project.still_alive():
        found.append(
            f'{len(left)} processes live on: '
            + '; '.join(f'{p.pid} {" ".join(p.cmdline())[:80]}' for p in left if p.is_running())
        )
        for one in left:
            with suppress(psutil.Error):
                one.kill()
    if not lock_is_free(project):
        found.append('the lock is held by nobody')
    found += [
        f'{p.relative_to(project.home)}: {damage}'
        for p in product_folders(project)
        if (damage := damage_of(p)) and known.get(p) != damage
    ]
    if lost := before - whole_ones(project):
        found.append(f'lost whole products: {sorted(lost)}')
    for stage in STAGES:
        pointer = project.home / stage / 'current'
        if pointer.exists() and not re.fullmatch('[0-9a-f]{16}', pointer.read_text().strip()):
            found.append(f'the pointer of {stage} reads {pointer.read_text()!r}')
    return found


def wrong_at_the_end(project: Tiny, done: Done, reference: dict, words: list[str]) -> list[str]:
    """What must not be after the run that mends."""
    found = [] if done.code == 0 else [f'the run that mends ended with {done.code}: {done.last}']
    if (content := project.content()) != reference:
        found.append(
            'other content than an uninterrupted run: '
            f'{[s for s in STAGES if content[s] != reference[s]]}'
        )
    found += [
        f'{p.relative_to(project.home)}: {damage}'
        for stage in STAGES
        if (p := project.current(stage)) and (damage := damage_of(p))
    ]
    if left := [
        str(p.relative_to(project.folder))
        for p in (project.folder / 'products').rglob('.*')
        if p.name.startswith(LEFT)
    ]:
        found.append(f'left behind: {left}')
    return found + wrong_records(project) + wrong_repeat(project, words)


def wrong_records(project: Tiny) -> list[str]:
    """Whether the last record and the index tell of what is there."""
    try:
        paths = sorted((project.home / 'runs').glob('*.json'), key=lambda p: p.stat().st_mtime_ns)
        record = json.loads(paths[-1].read_text())
    except (OSError, ValueError, IndexError) as error:
        return [f'no record of the last run: {error!r}']
    recorded = {stage: s.get('manifest') for stage, s in record['stages'].items()}
    there = {
        stage: sha(folder / 'manifest.json')
        for stage in STAGES
        if (folder := project.current(stage)) and (folder / 'manifest.json').is_file()
    }
    if record['exit_code'] == 0:
        found = []
    else:
        found = [f'the last record tells of exit code {record["exit_code"]}']
    if recorded != there:
        found.append(
            'the last record names other products than are current: '
            f'{[s for s in STAGES if recorded.get(s) != there.get(s)]}'
        )
    index = project.folder / 'products/index.html'
    if not index.is_file() or index.stat().st_mtime_ns < paths[-1].stat().st_mtime_ns:
        found.append(
            'the index is older than the last record' if index.is_file() else 'there is no index'
        )
    return found


def wrong_repeat(project: Tiny, words: list[str]) -> list[str]:
    """Whether one more run finds something to do."""
    third = project.run(*words)
    if third.code == 0 and '0 stages run, 5 unchanged' in third.out:
        return []
    return [f'one more run: code {third.code}, {third.out.strip()[-80:]} {third.last}']


def wrong_words(done: Done, codes: set[int]) -> list[str]:
    """Whether a run that noticed its trouble says so in one line."""
    if done.code in codes:
        found = []
    else:
        found = [f'exit code {done.code} instead of {sorted(codes)}: {done.last}']
    if done.code > 0 and (
        not done.last.startswith('ERROR ')
        or 'Traceback' in done.err
        or len(done.err.strip().splitlines()) > 1
    ):
        found.append(f'not one line: {done.err.strip()[-300:]!r}')
    return found


@dataclass
class Case:
    """One way to disturb a run."""

    number: int
    kind: str  # 'random', 'point', 'raise', 'enospc', 'disk', 'limit', 'two' or 'wait'
    state: str = 'fresh'
    point: str = ''  # name:action:n
    size: int = 0  # bytes

    def __str__(self) -> str:
        return f'case {self.number}: {self.kind} {self.state} {self.point}{self.size or ""}'


@dataclass
class Result:
    case: Case
    wrong: list[str]
    kills: int = 1
    reached: bool = True
    said: str = ''


@dataclass
class Harness:
    """Projects in their states, what an uninterrupted run makes of each, and the cases that disturb
    it."""

    place: Path
    seed: int = 1
    pause: float = 0.02
    references: dict[str, dict] = field(default_factory=dict)
    # state -> fault point -> how often one process comes by
    points: dict[str, Counter] = field(default_factory=dict)
    duration: float = 3.0  # s, of an uninterrupted run
    startup: float = 1.0  # s, until its first stage
    number: itertools.count = field(default_factory=itertools.count)

    def prepare(self) -> None:
        """Build the states, and look at uninterrupted runs."""
        tiny_project(self.place / 'bare', self.pause)
        for state, parent in (
            ('built', 'bare'),
            ('fresh', 'bare'),
            ('forced', 'built'),
            ('changed', 'built'),
        ):
            project = self.copy(parent, state) if state != 'fresh' else self.copy('bare', 'again')
            listed = self.place / f'{state}.list'
            begun = time.monotonic()
            started = project.start(
                *WORDS.get(state, ['run']), environment={'CD4ML_FAULT': f'list:{listed}'}
            )
            while started.process.poll() is None and not any(project.home.glob('*/.running-*')):
                time.sleep(0.01)
            self.startup = time.monotonic() - begun
            done = started.end()
            self.duration = time.monotonic() - begun
            assert done.code == 0, done.err
            self.references[state], self.points[state] = (
                project.content(),
                _per_process(listed.read_text().split()),
            )
        assert (
            self.references['built']
            == self.references['fresh']
            == self.references['forced']
            != self.references['changed']
        )
        self.references['damaged'] = self.references['fresh']
        assert not wrong_at_the_end(
            Tiny(self.place / 'changed'),
            Done(0, '', ''),
            self.references['changed'],
            AGAIN['changed'],
        )

    def copy(self, parent: str, name: str) -> Tiny:
        shutil.copytree(self.place / parent, self.place / name, symlinks=True)
        return Tiny(self.place / name)

    @contextmanager
    def project(self, case: Case):
        """A project in the state that a case starts from."""
        name = f'{case.number}-{next(self.number)}'
        project = self.copy('bare' if case.state == 'fresh' else 'built', name)
        for stage in STAGES if case.state == 'damaged' else []:
            with open(
                project.current(stage)
                / random.Random(f'{self.seed} {case.number} {stage}').choice(
                    [*FILES.values(), 'manifest.json']
                ),
                'r+b',
            ) as file:
                file.truncate(100)
        try:
            yield project
        finally:
            for one in project.alive():
                with suppress(psutil.Error):
                    one.kill()
            shutil.rmtree(project.folder, ignore_errors=True)

    def cases(self, kills: int) -> list[Case]:
        """The systematic ones, random kills up to the number asked for, then the others."""
        found: list[Case] = []
        points = sorted(set().union(*self.points.values()))
        for k, name in enumerate(points):
            there = [state for state in ('fresh', 'changed', 'forced') if self.points[state][name]]
            times = max(self.points[state][name] for state in there)
            for j, n in enumerate(
                sorted({1, 2, (times + 1) // 2, times} & set(range(1, times + 1)))
            ):
                state = [s for s in there if self.points[s][name] >= n][
                    (j + k) % sum(self.points[s][name] >= n for s in there)
                ]
                found.append(Case(len(found), 'point', state, f'{name}:kill:{n}'))
        found = found[:kills]
        for k in range(kills - len(found)):  # some kill twice, so that not all are needed
            found.append(
                Case(
                    len(found),
                    'random',
                    ['fresh', 'changed', 'forced', 'changed', 'damaged', 'forced'][k % 6],
                )
            )
        for k, name in enumerate(points):
            for action in ('raise', *(['enospc'] if name.startswith(WRITES) else [])):
                there = [
                    state for state in ('forced', 'fresh', 'changed') if self.points[state][name]
                ]
                found.append(Case(len(found), action, there[k % len(there)], f'{name}:{action}'))
        for k, size in enumerate([0, 4, 12, 60, 200, 290, 420, 580, 860, 1120, 1390]):
            found.append(
                Case(len(found), 'disk', ['changed', 'fresh', 'forced'][k % 3], size=size * 1000)
            )
        for k, size in enumerate([60, 1000, 5000, 20_000, 200_000]):
            found.append(Case(len(found), 'limit', ['fresh', 'forced'][k % 2], size=size))
        for k in range(6):
            found.append(
                Case(len(found), ['two', 'wait'][k % 2], ['fresh', 'forced', 'changed'][k % 3])
            )
        return found

    def run(self, case: Case) -> Result:
        """Disturb a run, look, let it be mended, look again."""
        chance = random.Random(f'{self.seed} {case.number}')
        try:
            return {
                'random': self.kill,
                'disk': self.disk,
                'limit': self.limit,
                'two': self.two,
                'wait': self.two,
            }.get(case.kind, self.at_point)(case, chance)
        except Exception as error:  # a case that cannot be judged has failed
            return Result(case, [f'the harness: {type(error).__name__}: {error}'])

    def at_point(self, case: Case, chance: random.Random) -> Result:
        """Let a run come by a fault point."""
        with self.project(case) as project:
            before = whole_ones(project)
            known = {p: damage_of(p) for p in product_folders(project)}
            done = project.run(*WORDS[case.state], environment={'CD4ML_FAULT': case.point})
            if done.code == 0:
                wrong = []
            else:
                wrong = wrong_words(
                    done, {'point': {-9, 4}, 'raise': {1}, 'enospc': {4}}[case.kind]
                )
            wrong += wrong_after(project, before, known)
            wrong += self.wrong_after_another_run(project, case)
            return Result(case, wrong, reached=done.code != 0, said=done.last)

    def kill(self, case: Case, chance: random.Random) -> Result:
        """Kill a run once to three times at random moments, each time resumed from what the last
        one left."""
        with self.project(case) as project:
            before = whole_ones(project)
            known = {p: damage_of(p) for p in product_folders(project)}
            wrong = []
            moments = []
            kills = 0
            engine = ['--engine', 'kernel'] if case.number % 25 == 24 else []
            for k in range(chance.choice([1, 1, 2])):
                words = [*(WORDS if k == 0 else AGAIN)[case.state], *engine]
                scope = chance.choice(['run', 'run', 'all', 'group', 'server', 'page'])
                started = project.start(*words)
                moment = self.moment(started, chance)
                hit = strike(started, scope)
                quick = chance.random() < 0.3 and scope in ('run', 'all')
                done = started.end()
                if done.code == 0 and scope not in ('server', 'page'):
                    hit = False      # it ended by itself between the look at it and the signal
                moments.append(f'{scope} after {moment:.2f} s')
                kills += hit
                if scope in ('server', 'page') or not hit:
                    wrong += wrong_words(done, {0, 4} if hit else {0})
                elif done.code != -9:
                    wrong.append(f'exit code {done.code} after SIGKILL')
                if quick:  # while what was killed may still be going down
                    waiting = project.run(*AGAIN[case.state], '--wait')
                    wrong += wrong_words(waiting, {0})
                harm = wrong_after(project, before, known)
                wrong += [f'{moments[-1]}: {words}' for words in harm]
                before |= whole_ones(project)
            wrong += self.wrong_after_another_run(project, case)
            return Result(case, wrong, kills, kills > 0, ', '.join(moments))

    def wrong_after_another_run(self, project: Tiny, case: Case) -> list[str]:
        """Run again; what must not be after it."""
        words = AGAIN[case.state]
        return wrong_at_the_end(project, project.run(*words), self.references[case.state], words)

    def moment(self, started: Started, chance: random.Random) -> float:
        """Wait for a random moment, sometimes of the whole run, mostly while stages run."""
        begun = time.monotonic()
        if chance.random() < 0.2:
            time.sleep(chance.uniform(0, self.duration))
        else:
            while started.process.poll() is None and not any(
                started.project.home.glob('*/.running-*')
            ):
                time.sleep(0.01)
            time.sleep(chance.uniform(0, self.duration - self.startup))
        return time.monotonic() - begun

    def disk(self, case: Case, chance: random.Random) -> Result:
        """Run on a disk with some room left, then with enough."""
        with self.project(case) as project, small_disk(project.folder / 'products') as ballast:
            before = whole_ones(project)
            known = {}
            free = shutil.disk_usage(ballast.parent).free
            ballast.write_bytes(b'x' * max(0, free - case.size))
            done = project.run(*WORDS[case.state])
            wrong = wrong_words(done, {4}) + ([] if ' I09 ' in done.last else ['not I09'])
            wrong += wrong_after(project, before, known)
            ballast.unlink()
            wrong += self.wrong_after_another_run(project, case)
            return Result(case, wrong, said=done.last)

    def limit(self, case: Case, chance: random.Random) -> Result:
        """Run where no file may be larger than a limit."""
        with self.project(case) as project:
            before = whole_ones(project)
            limit = (
                'import os, resource, sys;'
                f' resource.setrlimit(resource.RLIMIT_FSIZE, ({case.size},) * 2);'
                ' os.execv(sys.argv[1], sys.argv[1:])'
            )
            ended = subprocess.run(
                [sys.executable, '-c', limit, CD4ML, *WORDS[case.state]],
                cwd=project.folder,
                env=project.environment,
                # through pipes, as the limit is for every file
                capture_output=True,
                text=True,
                timeout=60,
            )
            done = Done(ended.returncode, ended.stdout, ended.stderr)
            wrong = wrong_words(done, {4}) + (
                [] if ' I10 ' in done.last or ' I09 ' in done.last else ['neither I10 nor I09']
            )
            wrong += wrong_after(project, before, {})
            wrong += self.wrong_after_another_run(project, case)
            return Result(case, wrong, said=done.last)

    def two(self, case: Case, chance: random.Random) -> Result:
        """Start two runs at once."""
        with self.project(case) as project:
            before = whole_ones(project)
            words = [*WORDS[case.state], *(['--wait'] if case.kind == 'wait' else [])]
            started = [project.start(*words)]
            time.sleep(chance.choice([0, 0, 0.05, 0.3]))
            started.append(project.start(*words))
            ends = sorted((one.end() for one in started), key=lambda done: done.code)
            if [done.code for done in ends] == ([0, 0] if case.kind == 'wait' else [0, 4]):
                wrong = []
            else:
                wrong = [f'codes {[done.code for done in ends]}']
            if case.kind == 'two':
                holder = str(started[0].process.pid), str(started[1].process.pid)
                if not (
                    ends[1].last.startswith('ERROR I14')
                    and any(f'process {pid} ' in ends[1].last for pid in holder)
                ):
                    wrong.append(f'the refused one says: {ends[1].last}')
                wrong += wrong_words(ends[1], {4})
            elif case.state != 'forced' and sorted('0 stages run' in done.out for done in ends) != [
                False,
                True,
            ]:
                wrong.append(f'both have run stages: {[done.out[-60:] for done in ends]}')
            wrong += wrong_after(project, before, {})
            wrong += wrong_at_the_end(
                project, Done(0, '', ''), self.references[case.state], AGAIN[case.state]
            )
            return Result(case, wrong)


def _per_process(names: list[str]) -> Counter:
    """How often one process comes by each point: pages share the cells, and the process that writes
    the index takes one file."""
    found = Counter(names)
    for name in found:
        if name.startswith('cell.'):
            found[name] = found[name] // len(STAGES)
        else:
            found[name] = found[name] - name.startswith('file.')
    return found


def strike(started: Started, scope: str) -> bool:
    """SIGKILL a run alone, it with all its descendants, its process group, its fork server, or a
    page; False when it was too late."""
    family = started.family()
    try:
        run = psutil.Process(started.process.pid)
        if started.process.poll() is not None or run.status() == 'zombie':
            return False
    except psutil.Error:
        return False
    servers = [p for p in family if parent_of(p) == run.pid]
    pages = [p for p in family if p not in servers]
    targets = {
        'run': [run],
        'group': [run],
        'all': [run, *family],
        'server': servers[:1],
        'page': pages[-1:],
    }[scope] or servers
    for one in targets:
        with suppress(psutil.Error, OSError):
            os.killpg(one.pid, 9) if scope == 'group' else one.kill()
    return bool(targets)


@contextmanager
def small_disk(folder: Path, size: str = '4m'):
    """Put a folder on a disk of its own, and yield the path of a file that can fill it."""
    kept = folder.with_name('kept')
    if folder.is_dir():
        folder.rename(kept)
    folder.mkdir()
    subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', folder],
        check=True,
        capture_output=True,
    )
    try:
        if kept.is_dir():
            shutil.copytree(kept, folder, dirs_exist_ok=True)
        yield folder / 'ballast'
    finally:
        for _ in range(50):
            if subprocess.run(['umount', folder], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        else:
            subprocess.run(['umount', '-l', folder], check=True)


def can_mount() -> bool:
    """Whether this process may mount a disk."""
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() == 0:
            done = subprocess.run(
                ['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder], capture_output=True
            )
        else:
            done = None
        return (
            done is not None
            and done.returncode == 0
            and subprocess.run(['umount', folder]).returncode == 0
        )


LOST = 'complete trials lost'
LEFT_RUNNING = 'left running in MLflow'
WRONG_COUNT = 'sweeps without exactly their trials'
BAD = (
    LOST,
    LEFT_RUNNING,
    WRONG_COUNT,
    'sweeps with other trials than an undisturbed one',
    'processes left',
    'runs that ended badly',
)


@dataclass
class Sweeps:
    """Sweeps whose workers or coordinators are killed."""

    place: Path
    seed: int
    n: int = 40  # trials of each
    numbers: itertools.count = field(default_factory=itertools.count)
    reference: dict = field(default_factory=dict)

    def prepare(self) -> None:
        """Look at an undisturbed sweep."""
        project = self.project()
        done = self.start(project).end()
        assert done.code == 0, done
        self.reference = content(project)

    def project(self) -> Tiny:
        return sweep_project(
            self.place / f'sweep-{next(self.numbers)}', rounds=300, early_stopping=300
        )

    def start(self, project: Tiny, fault: str = '') -> Started:
        return project.start(
            'run',
            '-p',
            f'trials={self.n}',
            environment={'CD4ML_THREADS': '2', 'CD4ML_FAULT': fault},
        )

    def workers(self, kills: int) -> Counter:
        """SIGKILL workers at random moments, a dozen in each sweep."""
        counts = Counter()
        chance = random.Random(f'{self.seed} workers')
        while counts['kills'] < kills:
            project = self.project()
            started = self.start(project)
            counts['kills'] += kill_workers(
                project,
                lambda pid=started.process.pid: generation(pid, 3),
                lambda process=started.process: process.poll() is None,
                chance,
                min(13, kills - counts['kills']),
            )
            self.judge(project, started.end(), counts)
        return counts

    def coordinators(self, kills: int) -> Counter:
        """SIGKILL runs at random moments and at lines of the journal, up to four times in each
        sweep, and then let it end."""
        counts = Counter()
        chance = random.Random(f'{self.seed} coordinators')
        while counts['kills'] < kills:
            project = self.project()
            known = dict[int, dict]()
            for k in range(min(4, kills - counts['kills'])):
                left = self.n - len(known)
                if k % 2:
                    side = chance.choice(['before', 'after'])
                    fault = f'journal.{side}:kill:{chance.randint(1, max(1, left))}'
                else:
                    fault = ''
                started = self.start(project, fault)
                if not fault:
                    strike_after(started, len(known) + chance.randint(1, max(1, left // 3)), chance)
                counts['kills'] += started.end().code != 0
                known = self.compare(project, known, counts)
            done = self.start(project).end()
            self.compare(project, known, counts)
            self.judge(project, done, counts)
        return counts

    def compare(self, project: Tiny, known: dict[int, dict], counts: Counter) -> dict[int, dict]:
        """The trials that have ended, among which those must be that had ended before."""
        now = ends(project)
        counts[LOST] += sum(now.get(number) != record for number, record in known.items())
        counts['processes left'] += len(project.still_alive())
        return now

    def judge(self, project: Tiny, done: Done, counts: Counter) -> None:
        """What must not be after a sweep that has come to its end."""
        mlflow = shown_by_mlflow(project)
        exact = list(range(self.n))
        counts['sweeps'] += 1
        counts[LEFT_RUNNING] += mlflow['running']
        counts[WRONG_COUNT] += sorted(ends(project)) != exact or mlflow['trials'] != [exact]
        counts['sweeps with other trials than an undisturbed one'] += (
            done.code != 0 or content(project) != self.reference
        )
        counts['runs that ended badly'] += done.code != 0
        counts['processes left'] += len(project.still_alive())
        shutil.rmtree(project.folder)

    def report(self, kind: str, kills: int) -> bool:
        """Kill, and say what became of it; whether all is well."""
        counts = {'workers': self.workers, 'coordinators': self.coordinators}[kind](kills)
        losses = ', '.join(f'{counts[name]} {name}' for name in BAD)
        print(
            f'{kind:<8} {counts["kills"]} kills in {counts["sweeps"]} sweeps of {self.n} trials:'
            f' {losses}',
            flush=True,
        )
        return not any(counts[name] for name in BAD)


def kill_sweeps(sweeps: Sweeps, kinds: dict[str, int]) -> bool:  # kind -> how many kills
    """Whether all is well after kills of each kind."""
    sweeps.prepare()
    return all([sweeps.report(kind, kills) for kind, kills in kinds.items()])


def strike_after(started: Started, n: int, chance: random.Random) -> None:
    """SIGKILL a run, its page or all of it a moment after so many trials have ended."""
    while started.process.poll() is None and len(ends(started.project)) < n:
        time.sleep(0.005)
    time.sleep(chance.uniform(0, 0.1))
    scope = chance.choice(['run', 'all', 'group', 'server', 'page'])
    if scope != 'page':
        strike(started, scope)
    for page in generation(started.process.pid, 2) if scope == 'page' else []:
        with suppress(psutil.Error):
            page.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--kills',
        type=int,
        default=200,
        help='how often a run is killed, at every fault point and then at random moments',
    )
    parser.add_argument(
        '--worker-kills', type=int, default=50, help='how often a worker of a sweep is killed'
    )
    parser.add_argument(
        '--coordinator-kills',
        type=int,
        default=10,
        help='how often a sweep is killed and begun again',
    )
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument(
        '--minutes', type=float, default=0, help='begin nothing new after that many; 0: no limit'
    )
    parser.add_argument('--workers', type=int, default=1, help='cases at the same time')
    parser.add_argument(
        '--only',
        help='numbers of cases, or kinds, separated by commas; of sweeps: workers, coordinators',
    )
    asked = parser.parse_args()
    begun = time.monotonic()
    lock = threading.Lock()
    counts = {}
    print(f'seed {asked.seed}', flush=True)
    with tempfile.TemporaryDirectory(prefix='cd4ml-faults-') as place:
        only = set(asked.only.split(',')) if asked.only else set()
        wanted = {'workers': asked.worker_kills, 'coordinators': asked.coordinator_kills}
        sweeps = {
            kind: kills for kind, kills in wanted.items() if kills and (not only or kind in only)
        }
        harness = Harness(Path(place), asked.seed)
        cases = []
        if not only or only - set(wanted):
            harness.prepare()
            cases = [
                c for c in harness.cases(asked.kills) if not only or {str(c.number), c.kind} & only
            ]
            print(
                f'fault points {dict(harness.points["fresh"])},'
                f' one run takes {harness.duration:.1f} s',
                flush=True,
            )
        if not can_mount():
            print('no right to mount a disk: disk cases are left out', flush=True)
            cases = [case for case in cases if case.kind != 'disk']

        def one(case: Case) -> None:
            late = asked.minutes and time.monotonic() - begun > 60 * asked.minutes
            if (
                late
                or case.kind == 'random'
                and not asked.only
                and sum(count['kills'] for count in counts.values()) >= asked.kills
            ):
                return
            result = harness.run(case)
            with lock:
                count = counts.setdefault(case.kind, Counter())
                kills = result.kills if case.kind in ('random', 'point') and result.reached else 0
                count.update(
                    cases=1, good=int(not result.wrong), kills=kills, missed=int(not result.reached)
                )
                if result.wrong:
                    print(
                        f'FAIL {case} ({result.said})\n'
                        + ''.join(f'     {words}\n' for words in result.wrong)
                        + f'     again: python tests/fault_harness.py --kills {asked.kills}'
                        f' --seed {asked.seed} --only {case.number}',
                        flush=True,
                    )

        with ThreadPoolExecutor(asked.workers) as pool:
            list(pool.map(one, cases))
        well = not sweeps or kill_sweeps(Sweeps(Path(place), asked.seed), sweeps)
    for kind, count in counts.items():
        more = f', {count["kills"]} kills' if count['kills'] else ''
        print(
            f'{kind:<8} {count["good"]} of {count["cases"]} good{more}'
            + (f', {count["missed"]} came too late or not by' if count['missed'] else '')
        )
    good = sum(c['good'] for c in counts.values())
    total = sum(c['cases'] for c in counts.values())
    kills = sum(c['kills'] for c in counts.values())
    print(
        f'{good} of {total} cases good, {kills} kills,'
        f' seed {asked.seed}, {time.monotonic() - begun:.0f} s'
    )
    too_few = kills < asked.kills and not asked.only and not asked.minutes
    if too_few:
        print(f'{asked.kills} kills were asked for')
    return int(good < total or not well or too_few)


if __name__ == '__main__':
    sys.exit(main())
