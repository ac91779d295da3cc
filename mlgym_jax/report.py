"""Report on a run, finished or not: a table for people, JSON, csv, Markdown and LaTeX, or a page in one file.

python -m mlgym_jax.report RUN_DIR [--monitor=val/accuracy --mode=max] [--json | --csv | --markdown | --latex]
    [--columns=id,epochs --limit=10] [--every_epoch]
python -m mlgym_jax.report RUN… --csv [--every_epoch]
python -m mlgym_jax.report RUN… --html[=FILE]
"""

from __future__ import annotations

import csv
import re
import sys
from typing import Any

from mlgym_jax.command_line import DONE, Parser, answer, guarded, leave
from mlgym_jax.errors import MlgymError, listed, nearest
from mlgym_jax.events import default_mode, default_monitor
from mlgym_jax.reading.forms import FORMS, Form, written
from mlgym_jax.reading.results import RunResult, load_run
from mlgym_jax.reading.rows import Column, chosen, epoch_columns, of_runs, report_columns
from mlgym_jax.reading.summary import summary
from mlgym_jax.reading.table import damage, failures, print_table

_HTML = "--html"


def _main(arguments: list[str]) -> int:
    parser = Parser(prog="python -m mlgym_jax.report", description="Report on a run, finished or not.")
    parser.add_argument("run_dir", nargs="+", help="the run's folder, its id in event_storage, or latest")
    parser.add_argument("--monitor", help="the score to rank by, such as val/accuracy")
    parser.add_argument("--mode", choices=("min", "max"), help="which way is better; min for losses and errors")
    parser.add_argument("--csv", action="store_true", help="print the table as csv, with all digits of its numbers")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown, as GitHub reads it")
    parser.add_argument("--latex", action="store_true", help="print the table in LaTeX, of the package booktabs")
    parser.add_argument("--html", metavar="FILE", help="write runs as one interactive page that needs no server")
    parser.add_argument("--columns", metavar="NAMES", help="which columns, in which order: id,epochs,val/loss")
    parser.add_argument(
        "--every_epoch", action="store_true", help="a row an epoch, with its scores: the curves as a table"
    )
    parser.add_argument("--limit", metavar="N", help="only the best N experiments")
    # Alone it has no file, and does not take the run behind it for one.
    options = parser.parse_args([f"{_HTML}=" if word == _HTML else word for word in arguments])
    forms: list[Form] = [form for form in FORMS if getattr(options, form)]
    given = [f"--{form}" for form in ("json", *FORMS) if getattr(options, form)]
    given += [_HTML] * (options.html is not None)
    if len(given) > 1:
        raise MlgymError(f"{' and '.join(given)}: a report has one form; give one of them")
    for name in ("columns", "limit", "every_epoch"):
        if given in (["--json"], [_HTML]) and getattr(options, name) not in (None, False):
            raise MlgymError(
                f"--{name} is for tables, and {given[0]} has all; give --csv, --markdown or --latex with it"
            )
    names = None if options.columns is None else _names(options.columns)
    limit = None if options.limit is None else _count(options.limit)
    results = [load_run(run_dir) for run_dir in options.run_dir]
    result = results[0]
    if len(results) > 1 and options.html is None and not forms:
        raise MlgymError(
            "this report is of one run; several go into one table by --csv, --markdown or --latex, into a page by "
            "--html, and are compared by python -m mlgym_jax.runs compare RUN RUN"
        )
    if options.every_epoch and not forms:
        raise MlgymError("--every_epoch is for tables; write --csv with it, or --markdown or --latex")
    if options.monitor is not None:
        for one in results:
            _check_monitor(options.monitor, one)
    monitor, mode = _ranked_by(result, options)
    if options.html is not None:
        _write_page(results, options)
    elif options.json:
        answer(summary(result, monitor, mode))
        _tell(damage(result))
    elif forms:
        ids = [one.run_id for one in results]
        tables = {
            one.run_id if ids.count(one.run_id) == 1 else one.run_dir: _table(one, options, limit) for one in results
        }
        found = of_runs(tables) if len(results) > 1 else next(iter(tables.values()))
        _write(written(chosen(found, "csv" if options.csv else "people", names), forms[0]), results)
    else:
        print_table(result, monitor, mode, limit, names)
    return DONE


def _ranked_by(result: RunResult, options: Any) -> tuple[str | None, str]:
    monitor, mode = default_monitor(result.scores, result.view.config)
    if options.monitor is not None:
        monitor, mode = options.monitor, default_mode(options.monitor, result.view.config)
    return monitor, options.mode or mode


def _table(result: RunResult, options: Any, limit: int | None) -> list[Column]:
    monitor, mode = _ranked_by(result, options)
    if options.every_epoch:
        return epoch_columns(result.view, monitor, mode, limit)
    return report_columns(result.view, monitor, mode, limit, with_test=True)


def _check_monitor(monitor: str, result: RunResult) -> None:
    if result.scores and monitor not in result.scores:
        raise MlgymError(
            f"--monitor={monitor}: no such score{nearest(monitor, result.scores)} Scores: {listed(result.scores, 40)}"
        )


def _write_page(results: list[RunResult], options: Any) -> None:
    """Write a page and say where it is and how large."""
    from mlgym_jax.reading.page_file import write_page_file

    path = options.html or (f"{results[0].run_id}.html" if len(results) == 1 else "runs.html")
    found = write_page_file(results, path, monitor=options.monitor, mode=options.mode)
    replaced = ", in place of an older one" if found.replaced else ""
    print(f"{found.path}: {found.num_bytes / 1e6:.1f} MB{replaced}; open it in a browser, it needs no server")
    for result in results:
        _tell(damage(result))


def _names(text: str) -> list[str]:
    """Read names between commas; one that has a comma itself stands in quotes.

    Raises:
        MlgymError: there is none, or not between all commas.
    """
    words = next(csv.reader([re.sub(r"[\r\n]", " ", text)], skipinitialspace=True), [])
    names = [name.strip() for name in words]
    if not names or "" in names:
        raise MlgymError(f"--columns={text}: a name is missing; write --columns=id,epochs")
    return names


def _count(text: str) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]{0,17}", text):
        raise MlgymError(f"--limit={text}: it is how many experiments to show, 1 or more; write --limit=10")
    return int(text)


def _write(text: str, results: list[RunResult]) -> None:
    """Write to stdout nothing but the text, the same bytes wherever that leads; what is to be told goes to stderr."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)  # whatever stands in for a terminal may have none
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="mlgym_jax_in_ascii", newline="\n")
    sys.stdout.write(text)
    sys.stdout.flush()  # or there is no room for it, and nothing else to be told
    for result in results:
        _tell([*failures(result), *damage(result)])


def _tell(lines: list[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)


def main() -> None:
    """Entry point of the console script."""
    leave(guarded(_main, output="the report"))


if __name__ == "__main__":
    main()
