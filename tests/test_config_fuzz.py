"""Random edits of the published configs and of command lines: each is a run, or one message and status 2."""

import contextlib
import io
import logging
import os
import random
import re
import signal

import fuzzed_configs as fuzzed
import jax
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ml_collections import config_dict
from study_files import here

import mlgym_jax as mg
from mlgym_jax.config.words import canonical_json, validated
from mlgym_jax.errors import MlgymError
from mlgym_jax.recording.forecast import forecast
from mlgym_jax.study.expand import prepare

# The suite tries this many; MLGYM_CONFIG_FUZZ=100000 tries more.
CASES = int(os.environ.get("MLGYM_CONFIG_FUZZ", "30"))
SECONDS = 300  # in which each is answered, on a machine that does much else
TRAINED = 0.02  # the share of those that could be trained which are, for one epoch


class Fault(AssertionError):
    """Something that is no run and no helpful refusal."""


@contextlib.contextmanager
def in_time():
    def late(*_):
        raise Fault(f"no answer in {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def checked(message):
    """See that a refusal is one that helps: a line a fault, that says where and what, without traces of the code."""
    first, *others = message.split("\n")
    if others and all(line.startswith("config.") for line in (first, *others)):  # of several sections
        return "\n".join(map(checked, (first, *others)))
    place = r"(config\b|--|mode|unknown option|unexpected argument|grid\(|component\(|\w+\(|-config|argument )"
    if not re.match(place, message):
        raise Fault(f"says no place: {message}")
    if "\n" in message or " at 0x" in message or "Traceback" in message:
        raise Fault(f"is not one plain line: {message}")
    if len(message) > 1500:
        raise Fault(f"is long: {message}")
    return message


def outcome(case):
    """Return what was said to a case, a function that runs it: "" for a run."""
    with in_time():
        try:
            case()
        except MlgymError as error:
            return checked(str(error))
    return ""


def command(words, dry=True):
    def case():
        status, out, err = here("run", *words, *["--dry_run"] * dry)
        if status == 0:
            return
        said = [line.removeprefix("error: ") for line in err.splitlines() if line.startswith("error: ")]
        is_last = bool(said) and err.endswith("".join(f"error: {line}\n" for line in said))
        if status != 2 or out or not is_last:
            raise Fault(f"status {status}: {out}{err}")
        raise MlgymError("\n".join(said))

    return case


def trained(config, folder):
    """Train for one epoch what is small enough to."""

    def case():
        study = prepare(config)
        steps = sum(job.shape.num_steps * len(job.group.experiments) for job in study.jobs)
        sizes = [leaf.size for job in study.jobs for leaf in jax.tree.leaves(job.abstract.params)]
        if steps > 2000 or len(study.jobs) > 2 or sum(sizes) > 100_000 or study.config["num_epochs"] != 1:
            return
        mg.run(config, folder / "runs")

    return case


def cases(chance, folder):
    """Make one case: its kind, what it is, and the function that runs it."""
    path = chance.choice(fuzzed.FILES)
    config = mg.load_config(path)
    kind = chance.choice(["words", "words", "edited", "edited", "text", "json"])
    if kind == "words":
        words = [f"--config={path}", *fuzzed.words(chance, config)]
        return kind, words, command([*words, f"--event_storage={folder}/storage"])
    if kind == "edited":
        config.num_epochs = 1
        config = fuzzed.edited(chance, config)
        train = chance.random() < TRAINED
        return kind, config, trained(config, folder) if train else lambda: forecast(config)
    if kind == "text":
        text = fuzzed.edited_text(chance, path.read_text(encoding="utf-8"))
        (folder / "study.py").write_text(text, encoding="utf-8", errors="replace")
        return kind, text, command([f"--config={folder}/study.py"])
    text = fuzzed.edited_json(chance, canonical_json(validated(config)))
    (folder / "study.json").write_text(text, encoding="utf-8", errors="replace")
    return kind, text, command([f"--config={folder}/study.json"])


def shown(what):
    try:
        return str(what)
    except config_dict.RequiredValueError:  # a ConfigDict that misses a value cannot be printed either
        return repr(type(what))


@pytest.mark.usefixtures("own_registry")
def test_every_config_is_a_run_or_is_refused_with_what_to_write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logging.disable(logging.WARNING)
    try:

        @settings(
            max_examples=CASES,
            derandomize="MLGYM_CONFIG_FUZZ" not in os.environ,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.integers(0, 2**64 - 1))
        def try_one(seed):
            kind, what, case = cases(random.Random(seed), tmp_path)
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    outcome(case)
            except Exception as error:
                raise Fault(f"seed {seed}, {kind}:\n{shown(what)}\n{type(error).__name__}: {error}") from error

        try_one()
    finally:
        logging.disable(logging.NOTSET)
