"""Runs side by side, over HTTP: the numbers are those of scipy, and a run that is not there is named."""

import json
import os

import pytest
from boards import write_run
from scipy import stats
from test_board_rest import Client
from test_runs_command import ONE, OTHER, swept

from board_server import comparison


@pytest.fixture
def client(tmp_path):
    write_run(tmp_path, swept("a", {0.1: [0.1] * 4, 0.01: ONE}), "a")
    write_run(tmp_path, swept("b", {0.1: OTHER}, name="other"), "b")
    return Client(tmp_path)


def test_two_runs_are_compared_with_welchs_interval_and_said_in_words(client):
    found = client.json("/comparison?runs=a&runs=b")
    assert (found["runs"], found["labels"], found["monitor"]) == (["a", "b"], ["config", "other"], "val/accuracy")
    assert found["config"] == {"name": ["config", "other"]}
    best = found["selected"][0]
    assert best["experiments"] == [4, 5, 6, 7] and best["hyperparameters"] == {"optimizer.learning_rate": 0.01}
    assert (best["best_experiment_id"], best["best_epoch"], best["best_score"], best["epochs"]) == (6, 1, 0.9334, 2)
    expected = stats.ttest_ind(OTHER, ONE, equal_var=False).confidence_interval()
    one = found["scores"][0]["differences"][1]
    assert (one["low"], one["high"]) == pytest.approx(tuple(expected), rel=1e-10)
    low, high = sorted(abs(end) for end in expected)
    assert found["sentences"] == [
        None,
        f"config is better than other by 0.0568 in val/accuracy (95 % interval {low:.4f} to {high:.4f}): "
        "can be told apart.",
    ]


def test_runs_of_one_name_are_called_by_their_ids_and_chance_is_named(tmp_path):
    write_run(tmp_path, swept("a", {0.1: [0.9, 0.8, 0.7]}), "a")
    write_run(tmp_path, swept("b", {0.1: [0.91, 0.75, 0.8]}), "b")
    write_run(tmp_path, swept("c", {0.1: [0.95]}), "c")
    write_run(tmp_path, swept("d", {0.1: []}), "d")
    sentences = Client(tmp_path).json("/comparison?runs=a&runs=b&runs=c&runs=d")["sentences"]
    assert sentences[1].startswith(
        "b and a cannot be told apart in val/accuracy: the 95 % interval of their difference"
    )
    assert sentences[2] == (
        "c is better than a by 0.1500 in val/accuracy; one score alone cannot tell whether that is more than chance."
    )
    assert sentences[3] == "d has no val/accuracy."


def test_of_a_loss_the_lesser_is_better(tmp_path):
    for run_id, losses in (("a", [0.5, 0.52, 0.51]), ("b", [0.3, 0.31, 0.32])):
        events = swept(run_id, {0.1: losses})
        text = json.dumps(events).replace("accuracy", "loss")
        write_run(tmp_path, json.loads(text), run_id)
    found = Client(tmp_path).json("/comparison?runs=a&runs=b&monitor=val/loss")
    assert found["sentences"][1].startswith("b is better than a by 0.2000 in val/loss (95 % interval ")


def test_a_run_is_read_once_for_all_that_it_is_compared_with(client, monkeypatch):
    client.json("/comparison?runs=a")
    read = []
    original = comparison.side
    monkeypatch.setattr(comparison, "side", lambda *given: read.append(given[2]) or original(*given))
    client.json("/comparison?runs=a&runs=b")
    assert read == [None]  # of the other alone
    client.json("/comparison?runs=a&monitor=test/accuracy")
    client.json("/comparison?runs=b&runs=a")
    assert read == [None, "test/accuracy"]  # what was known by the run's own score is known still


def test_an_unchanged_answer_is_not_sent_again(client, tmp_path):
    _, headers, _ = client("/comparison?runs=a&runs=b")
    assert client("/comparison?runs=a&runs=b", headers={"If-None-Match": headers["ETag"]})[0] == 304
    (tmp_path / "a" / "run.json").write_text('{"git": {"commit": "c1"}}')
    found = client.json("/comparison?runs=a&runs=b", headers={"If-None-Match": headers["ETag"]})
    assert found["code"] == {"git commit": ["c1", None]}


@pytest.mark.parametrize(
    "query, status, said",
    [
        ("", 400, "runs: found 0"),
        ("&".join(f"runs=r{number}" for number in range(51)), 400, "runs: found 51"),
        ("runs=a&runs=c", 404, "no run 'c'"),
        ("runs=../a", 400, "grid_search_id"),
    ],
)
def test_what_cannot_be_compared_is_said(client, query, status, said):
    assert said in client.json(f"/comparison?{query}", status=status)["error"]


def test_a_record_that_leads_elsewhere_is_not_read(client, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-record.json"
    outside.write_text('{"git": {"commit": "secret"}}')
    (tmp_path / "a" / "run.json").symlink_to(outside)
    assert client.json("/comparison?runs=a&runs=b")["code"] == {}


def test_a_pipe_in_the_place_of_a_runs_record_holds_nothing_up(client, tmp_path):
    os.mkfifo(tmp_path / "a/run.json")
    assert client.json("/comparison?runs=a&runs=b")["runs"] == ["a", "b"]
