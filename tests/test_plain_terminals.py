"""Terminals that are not UTF-8 are told what they can show, and a finished run stays a finished run."""

import codecs
import io
import json
import sys

import pytest
from study_files import finish, small, start

from mlgym_jax import command_line

FOLDS = 'config.name = "café ±"; config.validation = component("cross_validation", folds=2); config.num_epochs = 1'


def test_a_cross_validated_run_ends_in_order(tmp_path):
    small(tmp_path, FOLDS)
    words = ["--config=study.py", "--run_id=r", "--event_storage=runs"]
    status, out, err = finish(start("run", *words, cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"}))
    assert (status, "Traceback" in err) == (0, False), err
    assert "+-" in out and "over 2 folds" in out and "caf\\u00e9" in out
    status, out, err = finish(
        start("report", "runs/r", "--json", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"}), timeout=60
    )
    assert status == 0 and json.loads(out)["run_id"] == "r"


@pytest.mark.parametrize(
    "text, written",
    [
        ("0.9 ± 0.1…", b"0.9 +- 0.1..."),
        ("café", b"caf\\u00e9"),
        ("\U0001f600", json.dumps("\U0001f600").strip('"').encode()),  # in two units, as JSON writes it
        ("run-\udcff", b"run-\\udcff"),  # how Python holds a file's name that is no text
    ],
)
def test_what_ascii_does_not_have_is_spelled(text, written):
    assert text.encode("ascii", "mlgym_jax_in_ascii") == written


def test_a_name_that_is_no_text_is_shown_in_utf_8_too():
    assert "é \udcff".encode("utf-8", "mlgym_jax_in_ascii") == "é \\udcff".encode()


def test_a_stream_that_cannot_be_told_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    command_line.write_what_can_be_written()
    print("±")
    assert sys.stdout.getvalue() == "±\n"
    assert codecs.lookup_error("mlgym_jax_in_ascii")
