"""By which score a run is ranked: one table for the engine, the board and its page (which Vitest reads)."""

import json
import pathlib

import pytest
from boards import RUN, write_run
from test_board_rest import Client

from mlgym_jax import events as ev
from mlgym_jax import report
from mlgym_jax.components.registry import registrations
from mlgym_jax.events import default_mode, default_monitor
from mlgym_jax.search.refit import rule, selected

ROOT = pathlib.Path(__file__).parent.parent
CASES = json.loads((ROOT / "board_server/page/tests/monitor_cases.json").read_text(encoding="utf-8"))
MODES = json.loads((ROOT / "board_server/page/tests/mode_cases.json").read_text(encoding="utf-8"))

# Every registered metric has its place in one of the two: of these, lower is better.
LOWER = "mse mae rmse brier_score perplexity expected_calibration_error class_wise_calibration_error"
HIGHER = (
    "accuracy balanced_accuracy precision recall f1 fbeta specificity auroc aupr top_k recall_at_k "
    "area_under_recall_at_k retrieval_recall_at_k area_under_retrieval_recall_at_k r2 explained_variance "
    "matthews_corrcoef cohen_kappa confusion_matrix"
)


@pytest.mark.parametrize("case", CASES, ids=[case["what"] for case in CASES])
def test_the_score_that_ranks(case):
    assert default_monitor(case["scores"], case["config"]) == (case["monitor"], case["mode"])


def test_the_board_says_the_same(tmp_path):
    def events(run_id, case):
        yield ev.job_scheduled(run_id, job_id=run_id, config=case["config"], now_ms=1)
        scores = [
            {"metric": name, "split": split, "score": 0.5}
            for split, _, name in (name.partition("/") for name in case["scores"])
        ]
        payload = {"grid_search_id": run_id, "experiment_id": 0, "epoch": 1, "metric_scores": scores, "loss_scores": []}
        yield {"event_type": "evaluation_result", "creation_ts": 2, "payload": payload}

    cases = {f"run-{n}": case for n, case in enumerate(CASES)}
    for run_id, case in cases.items():
        write_run(tmp_path, list(events(run_id, case)), run_id)
    client = Client(tmp_path)
    found = {run_id: client.json(f"/grid_searches/{run_id}") for run_id in cases}
    assert {run_id: (run["monitor"], run["mode"], run["scores"]) for run_id, run in found.items()} == {
        run_id: (case["monitor"], case["mode"], case["scores"]) for run_id, case in cases.items()
    }


def test_every_registered_metric_has_its_direction():
    entries = registrations("metric")  # also what other tests registered
    found = {entry.name for entry in entries if entry.factory.__module__.startswith("mlgym_jax.")}
    found -= {"roc_curve", "precision_recall_curve", "calibration_curve"}  # which record no scores
    lower = set(LOWER.split())
    assert found == lower | set(HIGHER.split())
    assert {name for name in found if default_mode(f"val/{name}", None) == "min"} == lower
    config = {"metrics": {f"m{n}": {"component": name} for n, name in enumerate(sorted(found))}}
    modes = {one["component"]: default_mode(f"test/{name}/1", config) for name, one in config["metrics"].items()}
    assert {name for name, mode in modes.items() if mode == "min"} == lower


@pytest.mark.parametrize("case", MODES, ids=[f"{number} {case['name']}" for number, case in enumerate(MODES)])
def test_the_direction_of_a_score(case):
    assert default_mode(case["name"], case["config"]) == case["mode"]


def test_a_refit_selects_the_smallest_error():
    config = {"validation": {"component": "cross_validation"}, "metrics": {"distance": {"component": "mse"}}}
    assert rule(selected(), config, ["train/distance", "val/distance", "val/loss"]) == ("val/distance", "min")


@pytest.mark.parametrize(("monitor", "mode"), [("val/mse", "min"), ("val/loss", "min"), ("val/r2", "max")])
def test_a_report_by_another_score_knows_its_direction(tmp_path, capsys, monkeypatch, monitor, mode):
    path = write_run(
        tmp_path,
        [
            ev.evaluation_result(
                RUN,
                experiment_id=0,
                epoch=epoch,
                scores={"val/mse": epoch, "val/loss": epoch, "val/r2": -epoch},
                seconds=1.0,
                now_ms=epoch,
            )
            for epoch in (1, 2)
        ],
    )
    monkeypatch.setattr("sys.argv", ["report", str(path.parent), f"--monitor={monitor}", "--json"])
    with pytest.raises(SystemExit, match="0"):
        report.main()
    best = json.loads(capsys.readouterr().out)["experiments"][0]["best"]
    assert (best["mode"], best["epoch"]) == (mode, 1)
