"""Products and records of runs as a site shows them, small and made up."""

from report_examples import facts

from cd4ml_nb.core.files import write_json, write_text


def publish(root, name='cars', task='regression', accepted=True, products=None):
    """Current products of a scenario, and the records of three runs."""
    products = products or facts(task, accepted)
    home = root / name
    for stage, product, place in (
        ('register', 'registration', ''),
        ('evaluate', 'metrics', ''),
        ('package', 'contract', 'model'),
    ):
        write_text(home / stage / 'current', 'k1')
        write_json(home / stage / 'k1' / place / f'{product}.json', products[product])
    for file in ('report.html', 'data_report.html'):
        write_text(home / 'report' / 'current', 'k1\n')
        write_text(home / 'report' / 'k1' / file, '<!doctype html><title>x</title>')
    metric = products['metrics']['metric']
    for k, code in enumerate((0, 4, 0 if accepted else 3)):
        record(
            home,
            f'run{k}',
            title=products['contract']['title'],
            started=f'2026-11-2{k}T10:0{k}:00+00:00',
            seconds=61.5,
            exit_code=code,
            accepted=accepted,
            verdict='accepted: 2 of 2',
            report='report/k1/report.html',
            metric={
                'name': metric,
                'unit': products['metrics']['unit'],
                **products['metrics']['holdout'][metric],
            },
        )
    return home


def record(home, run, **fields):
    write_json(
        home / 'runs' / f'{run}.json',
        {'run': run, 'scenario': home.name, 'stages': {}, 'error': None, **fields},
    )
