"""Logs of other trackers become runs whose numbers are theirs: event files are written by TensorBoard's own writer."""

import csv
import importlib
import math
import random
import struct

import pytest
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2
from tensorboard.plugins.hparams import summary_v2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

import mlgym_jax as mg
from mlgym_jax import import_logs
from mlgym_jax.command_line import guarded
from mlgym_jax.events import project_log
from mlgym_jax.events.claim import claimed
from mlgym_jax.events.views import RunView
from mlgym_jax.imports.columns import Column, Imported, rows

START = 1_700_000_000.25


def scalar(tag, value):
    return summary_pb2.Summary.Value(tag=tag, simple_value=value)


def write(folder, points, *, hparams=None, suffix=""):
    """Write an event file by TensorBoard's own writer: points are (step, seconds, {tag: value})."""
    before = {*folder.glob("*")}
    writer = EventFileWriter(str(folder), filename_suffix=suffix)
    if hparams is not None:
        writer.add_event(event_pb2.Event(wall_time=START, summary=summary_v2.hparams_pb(hparams, "x", START)))
    for step, seconds, values in points:
        told = summary_pb2.Summary(value=[scalar(tag, value) for tag, value in values.items()])
        writer.add_event(event_pb2.Event(step=step, wall_time=START + seconds, summary=told))
    writer.close()
    (new,) = {*folder.iterdir()} - before
    return new


def f32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def imported(path, tmp_path, *arguments) -> RunView:
    storage = tmp_path / "event_storage"
    assert guarded(import_logs._main, [str(path), f"--event_storage={storage}", *arguments]) == 0
    (run,) = [one for one in storage.iterdir() if not one.name.startswith(".")]
    return project_log(run / "event_storage.log")[0]


def test_each_folder_of_event_files_is_an_experiment_with_its_hyperparameters(tmp_path):
    draw = random.Random(0)
    expected = {}
    for name, rate in (("a b/run_2", 0.1), ("a b/run_10", 1e-3)):
        values = [(step, step * 1.5, {"train/loss": draw.random(), "Loss/valid": draw.random()}) for step in (0, 5, 9)]
        write(tmp_path / "logs" / name, values, hparams={"lr": rate, "layers": 3, "opt": "adam", "flag": True})
        expected[name] = values
    view = imported(tmp_path / "logs", tmp_path)
    assert (view.status, view.name, view.num_malformed) == ("DONE", "logs", 0)
    assert view.run_id == "2023-11-14--22-13-20"  # the UTC time of the first point
    for (name, values), experiment in zip(expected.items(), view.experiments.values(), strict=True):
        assert experiment.hyperparameters["experiment"] == name
        assert experiment.hyperparameters["layers"] == 3 and experiment.hyperparameters["flag"] is True
        assert experiment.epoch_numbers == experiment.epoch_steps == [0, 5, 9]
        assert experiment.history["train/loss"] == [f32(told["train/loss"]) for _, _, told in values]
        assert experiment.history["val/Loss"] == [f32(told["Loss/valid"]) for _, _, told in values]
        assert experiment.evaluated_ms == [1_700_000_000_250 + 1500 * step for step in (0, 5, 9)]
        assert experiment.status == "DONE"


def test_a_step_that_was_written_again_has_its_later_value(tmp_path):
    folder = tmp_path / "logs"
    points = [(step, step, {"loss": value}) for step, value in ((1, 1.0), (2, 2.0), (3, 3.0), (2, 20.0), (4, 4.0))]
    write(folder, points)
    (experiment,) = imported(folder, tmp_path).experiments.values()
    assert experiment.epoch_numbers == [1, 2, 3, 4]
    assert experiment.history == {"logged/loss": [1.0, 20.0, 3.0, 4.0]}


def test_a_file_that_goes_on_is_one_experiment_and_one_that_begins_anew_another(tmp_path):
    folder = tmp_path / "logs"
    for at, (first, last) in enumerate(((1, 6), (4, 9), (1, 3))):
        path = write(folder, [(step, at * 100 + step, {"loss": at * 100 + step}) for step in range(first, last)])
        path.rename(folder / f"events.out.tfevents.{at}")
    view = imported(folder, tmp_path)
    assert [experiment.history["logged/loss"] for experiment in view.experiments.values()] == [
        [1, 2, 3, 104, 105, 106, 107, 108],
        [201, 202],
    ]


def test_a_torn_file_gives_what_is_whole_and_says_so(tmp_path, capsys):
    path = write(tmp_path / "logs", [(step, step, {"train/loss": step / 3}) for step in range(1, 100)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    (experiment,) = imported(tmp_path / "logs", tmp_path).experiments.values()
    assert experiment.epoch_numbers == list(range(1, 99))
    assert "bytes, which are torn or damaged" in capsys.readouterr().err


def test_a_damaged_record_ends_the_file(tmp_path, capsys):
    path = write(tmp_path / "logs", [(step, step, {"train/loss": step / 3}) for step in range(1, 100)])
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    (experiment,) = imported(tmp_path / "logs", tmp_path).experiments.values()
    assert 40 < experiment.epochs < 60 and experiment.history["train/loss"] == [
        f32(step / 3) for step in experiment.epoch_numbers
    ]
    assert "torn or damaged" in capsys.readouterr().err


def test_other_tags_are_left_out_by_name_and_tensors_of_one_number_are_scores(tmp_path, capsys):
    folder = tmp_path / "logs"
    writer = EventFileWriter(str(folder))
    tensors = [tensor_pb2.TensorProto(dtype=2, double_val=[1 / 3]), tensor_pb2.TensorProto(dtype=7, string_val=[b"x"])]
    values = [summary_pb2.Summary.Value(tag=tag, tensor=one) for tag, one in zip(("val/f1", "words"), tensors)]  # noqa: B905
    writer.add_event(event_pb2.Event(step=1, wall_time=START, summary=summary_pb2.Summary(value=values)))
    writer.close()
    (experiment,) = imported(folder, tmp_path).experiments.values()
    assert experiment.history == {"val/f1": [1 / 3]}
    assert "tags that are no numbers: words" in capsys.readouterr().err


def test_folders_train_and_validation_are_one_experiment(tmp_path):
    for split in ("train", "validation"):
        write(tmp_path / "logs" / "net" / split, [(0, 0, {"epoch_loss": len(split)})])
    (experiment,) = imported(tmp_path / "logs", tmp_path).experiments.values()
    assert experiment.history == {"train/loss": [5.0], "val/loss": [10.0]}
    assert experiment.hyperparameters == {"experiment": "net"}


def test_not_finite_scores_stay_what_they_are(tmp_path):
    write(tmp_path / "logs", [(1, 1, {"loss": math.nan}), (2, 2, {"loss": math.inf}), (3, 3, {"loss": -math.inf})])
    (experiment,) = imported(tmp_path / "logs", tmp_path).experiments.values()
    found = experiment.history["logged/loss"]
    assert math.isnan(found[0]) and found[1:] == [math.inf, -math.inf]


def test_what_was_imported_is_not_imported_again_until_it_changes(tmp_path, capsys):
    folder, storage = tmp_path / "logs", tmp_path / "event_storage"
    write(folder, [(1, 1, {"loss": 1.0})])
    for _ in range(2):
        imported(folder, tmp_path)
    assert capsys.readouterr().out.splitlines()[1].endswith("(imported before)")
    write(folder, [(2, 2, {"loss": 1.0})], suffix=".b")
    assert guarded(import_logs._main, [str(folder), f"--event_storage={storage}"]) == 0
    assert len(list(storage.iterdir())) == 2


def test_what_sinks_write_comes_back_to_the_last_digit(tmp_path):
    from mlgym_jax import export_logs

    folder = tmp_path / "lightning"
    folder.mkdir()
    draw = random.Random(1)
    table = [{"epoch": epoch, "step": 7 * epoch, "val_loss": draw.random()} for epoch in range(1, 30)]
    write_table(folder / "metrics.csv", table)
    (one,) = imported(folder, tmp_path).experiments.values()
    (run,) = (tmp_path / "event_storage").iterdir()
    assert guarded(export_logs._main, [str(run), "--to=tensorboard", f"--out={tmp_path}"]) == 0
    (other,) = imported(tmp_path / "tensorboard", tmp_path / "again").experiments.values()
    assert one.history == other.history == {"val/loss": [row["val_loss"] for row in table]}
    assert (one.epoch_numbers, one.epoch_steps) == (other.epoch_numbers, other.epoch_steps)
    assert one.evaluated_ms == other.evaluated_ms


# --- tables --------------------------------------------------------------------------------------------------------


def write_table(path, table):
    names = list(dict.fromkeys(name for row in table for name in row))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(table)


def test_a_table_of_lightning_has_a_row_an_epoch_and_its_hyperparameters(tmp_path):
    folder = tmp_path / "lightning_logs" / "version_0"
    folder.mkdir(parents=True)
    table = [  # training and validation in rows of their own, at one step or not
        {"epoch": 0, "step": 9, "train_loss": 0.1 + 0.2},
        {"epoch": 0, "step": 9, "val_loss": 1 / 3, "val_acc": 0.5},
        {"epoch": 1, "step": 19, "train_loss": 0.25},
        {"epoch": 1, "step": 20, "val_loss": "nan", "val_acc": 0.75},
    ]
    write_table(folder / "metrics.csv", table)
    (folder / "hparams.yaml").write_text(
        "lr: 0.01\nlayers: !!python/tuple\n- 8\n- 8\nnet:\n  width: 3\nact: !!python/name:torch.nn.ReLU ''\n"
    )
    (experiment,) = imported(tmp_path / "lightning_logs", tmp_path).experiments.values()
    assert experiment.epoch_numbers == [0, 1] and experiment.epoch_steps == [9, 20]
    assert experiment.history["train/loss"] == [0.1 + 0.2, 0.25]
    assert experiment.history["val/loss"][0] == 1 / 3 and math.isnan(experiment.history["val/loss"][1])
    assert experiment.history["val/acc"] == [0.5, 0.75]
    assert {**experiment.hyperparameters, "act": ""} == {
        "experiment": "version_0",
        "lr": 0.01,
        "layers": "[8, 8]",
        "net.width": 3,
        "act": "",
    }


def test_a_table_with_several_rows_an_epoch_is_one_by_steps(tmp_path):
    write_table(tmp_path / "log.csv", [{"epoch": step // 3, "step": step, "loss": step / 7} for step in range(9)])
    (experiment,) = imported(tmp_path / "log.csv", tmp_path).experiments.values()
    assert experiment.epoch_numbers == list(range(9))
    assert experiment.history == {"logged/loss": [step / 7 for step in range(9)]}


def test_a_table_of_keras_says_which_scores_are_of_training(tmp_path):
    write_table(tmp_path / "log.csv", [{"epoch": 0, "acc": 0.5, "loss": 1.5, "val_acc": 0.25, "val_loss": 2.5}])
    (experiment,) = imported(tmp_path / "log.csv", tmp_path).experiments.values()
    assert experiment.history == {"train/acc": [0.5], "train/loss": [1.5], "val/acc": [0.25], "val/loss": [2.5]}


def test_torn_lines_and_words_are_left_out_by_name(tmp_path, capsys):
    text = "epoch,loss,note\n1,0.5,fine\n2.5,0.4,\nx,1,\n1e300,1,\n2,0.25,\n3,0.1"
    (tmp_path / "log.csv").write_text(text)
    (experiment,) = imported(tmp_path / "log.csv", tmp_path).experiments.values()
    assert experiment.history == {"logged/loss": [0.5, 0.25]}
    said = capsys.readouterr().err
    assert "4 lines without a whole number of steps, or torn" in said and "words among the numbers of note" in said


# --- the run that comes of it --------------------------------------------------------------------------------------


def test_scores_beyond_a_thousand_are_left_out_by_name(tmp_path, capsys):
    heads = ["epoch", *(f"s{number}" for number in range(1_003))]
    table = tmp_path / "many.csv"
    table.write_text(",".join(heads) + "\n" + "\n".join(f"{e}" + ",0.5" * 1_003 for e in (1, 2)) + "\n")
    view = imported(table, tmp_path)
    assert len(view.experiments[0].history) == 1_000
    assert "at most 1,000 scores, and 's1000' and 2 more come after those" in capsys.readouterr().err


def test_report_and_results_read_it_and_what_trains_refuses_it_in_words(tmp_path, capsys):
    write_table(tmp_path / "log.csv", [{"epoch": 1, "val_acc": 0.5}, {"epoch": 2, "val_acc": 0.75}])
    imported(tmp_path / "log.csv", tmp_path)
    (folder,) = (tmp_path / "event_storage").iterdir()
    result = mg.load_run(folder)
    assert result.best("val/acc").best_epoch == 2 and result.view.status == "DONE"
    for name, argument in (("reproduce", str(folder)), ("run", f"--resume={folder}")):
        command = importlib.import_module(f"mlgym_jax.{name}")
        assert guarded(command._main, [argument]) == 2
        assert "this run was imported from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "nothing",
            None,
            "there is no such file or folder. Name a folder of TensorBoard's event files or of .csv tables",
        ),
        ("log.txt", "x", "a folder of logs or a .csv file is expected"),
        ("log.csv", "a,b\n1,2\n", "no column counts epochs or steps"),
        ("log.csv", "epoch,b\n", "no scores were found"),
        ("log.csv", "", "no column counts epochs or steps"),
    ],
)
def test_a_wrong_request_says_what_is_expected(name, content, said, tmp_path, capsys):
    if content is not None:
        (tmp_path / name).write_text(content)
    storage = tmp_path / "event_storage"
    assert guarded(import_logs._main, [str(tmp_path / name), f"--event_storage={storage}"]) == 2
    assert said in capsys.readouterr().err
    assert not storage.exists() or not list(storage.iterdir())


def test_rows_are_what_a_dictionary_of_dictionaries_says():
    """Steps in any order, of many scores, against plain Python."""
    draw = random.Random(2)
    one, expected = Imported("x"), {}
    for tag in ("train/a", "train/b", "val/c"):
        column = one.scores[tag] = Column()
        for _ in range(200):
            step, value = draw.randrange(150), draw.random()
            column.add(step, value, 10 * step)
            expected.setdefault(step, {})[tag] = value
    found = list(rows(one))
    assert [row.epoch for row in found] == sorted(expected)
    assert {row.epoch: row.scores for row in found} == expected
    assert all(row.time_ms == 10 * row.epoch for row in found)


def cut_short(storage, run_id):
    """Leave what an import leaves that is killed while it writes: its folder, and beside it what is not whole."""
    (storage / run_id).rename(storage / f".{run_id}.importing")
    (storage / run_id).mkdir()


def test_an_import_that_was_killed_is_made_again_in_its_place_and_its_remains_are_no_run(tmp_path, capsys):
    folder, storage = tmp_path / "logs", tmp_path / "event_storage"
    write(folder, [(1, 1, {"loss": 1.0})])
    imported(folder, tmp_path)
    (run,) = storage.iterdir()
    whole = (run / "event_storage.log").read_bytes()
    cut_short(storage, run.name)
    assert not list(mg.load_runs(storage))
    imported(folder, tmp_path)
    assert [one.name for one in storage.iterdir()] == [run.name]
    assert (run / "event_storage.log").read_bytes() == whole
    assert "imported before" not in capsys.readouterr().out


def test_two_imports_of_the_same_logs_at_once_make_one_run(tmp_path, capsys):
    folder, storage = tmp_path / "logs", tmp_path / "event_storage"
    write(folder, [(1, 1, {"loss": 1.0})])
    imported(folder, tmp_path)
    (run,) = storage.iterdir()
    cut_short(storage, run.name)
    with claimed(run):  # the other one is at it
        assert guarded(import_logs._main, [str(folder), f"--event_storage={storage}"]) == 2
    assert "another process is making this run" in capsys.readouterr().err
    assert [one.name for one in storage.iterdir() if not one.name.startswith(".")] == [run.name]
