"""What the split `test` says is in a report, of the epoch that is the best by what it is ranked by."""

import io

import pytest
from study_files import here, small

import mlgym_jax as mg

HELD_OUT = """
    config.num_epochs = 4
    config.optimizer.learning_rate = 3.0
    config.validation = component("holdout", val=0.2, test=0.3)"""


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held_out")
    return mg.run(mg.load_config(small(folder, HELD_OUT)), folder / "runs", run_id="r")


@pytest.mark.parametrize("monitor", ["val/accuracy", "train/loss", "test/loss"])
def test_a_report_shows_them(result, monitor, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")
    _, out, _ = here("report", result.run_dir, f"--monitor={monitor}")
    head, row = ([cell.strip() for cell in line.strip("│┃").split("│" if "│" in line else "┃")]
                 for line in out.splitlines() if line.startswith(("│", "┃")))  # fmt: skip
    [experiment] = result.experiments
    epoch, _ = experiment.best_score(monitor)
    shown = {name: cell for name, cell in zip(head, row, strict=True) if name.startswith("test/")}
    wanted = [name for name in ("test/accuracy", "test/loss") if name != monitor]
    assert shown == {f"{name} @ best": f"{experiment.history[name][epoch - 1]:.4f}" for name in wanted}


def test_who_watches_a_run_does_not_choose_by_them(result):
    from mlgym_jax.reading.table import table

    assert not [column for column in table(result.view, "val/loss", "min").columns if "test/" in str(column.header)]


def test_what_does_not_fit_is_named_below_and_nothing_is_broken_over_lines(result):
    from rich.console import Console

    from mlgym_jax.reading.table import table

    whole = table(result.view, "val/loss", "min", with_test=True)
    for width in (60, 80, 100, 200):
        console = Console(width=width, record=True, file=io.StringIO())
        found = table(result.view, "val/loss", "min", with_test=True, width=width)
        console.print(found)
        heads = [str(column.header).replace("\n", " ") for column in found.columns]
        left = [str(one.header) for one in whole.columns if str(one.header) not in heads and "/" in str(one.header)]
        lines = console.export_text().splitlines()
        assert all(name in str(found.caption) for name in left)
        assert not any("…" in line for line in lines if line.startswith(("│", "┃")))
        assert len([line for line in lines if line.startswith("│")]) == 1  # an experiment, a line
