"""Rules that choose among experiments, as the board's page reads and applies them (its `choose.test.ts`)."""

import json
import math
import re

import pytest
from boards import ROOT

from mlgym_jax.errors import MlgymError
from mlgym_jax.events.views import RunView
from mlgym_jax.search.cell_texts import texts_of
from mlgym_jax.search.rule import Compare, In, Joined, Rule, read_rule
from mlgym_jax.search.ruled import chosen

CASES = json.loads((ROOT / "board_server/page/tests/rule_cases.json").read_text(encoding="utf-8"))


def run(*rows):
    """Make a run of (lr, fold, scores of the epochs, more hyperparameters)."""
    view = RunView(config={})
    for number, (rate, fold, scores, *more) in enumerate(rows):
        one = view.experiment(number)
        one.hyperparameters, one.fold = {"lr": rate, **(more[0] if more else {})}, fold
        one.status = "DONE"
        for epoch, score in enumerate(scores, 1):
            one._add_epoch(epoch, {"val/f1": score, "val/loss": -score}, 0.0, 0, None)
    return view


def ids(text, view):
    return [member.view.experiment_id for member in chosen(read_rule(text), view)]


def test_a_rule_may_ask_for_more_than_there_are():
    assert read_rule("top 99999999999 by x").top == 99_999_999_999


def test_a_rule_is_read():
    text = 'top 5 by val/f1 max at last mean over fold, seed where "a b" < 1e-2 and (s = DONE or not x in (1, [2,3]))'
    text += " per w"
    assert read_rule(text) == Rule(
        5,
        "val/f1",
        "max",
        "last",
        ("fold", "seed"),
        Joined(
            "and",
            (
                Compare("a b", "<", "1e-2"),
                Joined("or", (Compare("s", "=", "DONE"), Joined("not", (In("x", ("1", "[2,3]")),)))),
            ),
        ),
        "w",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at its end: a rule begins with 'top NUMBER by SCORE' or 'all by SCORE'"),
        ("best 3 by x", "at 'best 3 by x': a rule begins with"),
        ("top 0 by x", "at '0 by x': after 'top' a whole number from 1 on is needed, not '0'"),
        ("top 3 of x", "at 'of x': 'by SCORE' must follow"),
        ("all by", "at its end: a score's name after 'by' is missing"),
        ("all by max", "at 'max': a score's name after 'by' is needed here, not 'max'"),
        ("all by x at first", "at 'first': 'at first': write 'at best' or 'at last'"),
        ("all by x where lr < few", "at 'few': after < a number is needed, not 'few'"),
        ("all by x where lr ~ '['", "is no regular expression"),
        ("all by x where lr in 3", "at '3': 'in' needs a list in brackets: in (1, 3)"),
        ("all by x where (lr = 3", "at its end: ')' is missing"),
        ("all by x extra", "at 'extra': 'extra' is not expected here; the parts are:"),
        ('all by "x', "this quotation mark is not closed"),
        ("all by x where " + 60 * "not " + "a = 1", "at most 50 conditions stand in each other"),
        ("all by x" + 3000 * " ", "at most 2000 characters, found 3008"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(text, message):
    with pytest.raises(MlgymError, match=re.escape(message)):
        read_rule(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("top 2 by val/f1", [2, 1]),
        ("top 2 by val/f1 min", [1, 2]),
        ("all by val/f1 at last", [1, 0, 3, 2]),
        ("top 1 by val/loss", [2]),  # less of a loss is better
        ("all by val/f1 where lr < 0.5 or experiment_id = 3", [1, 0, 3]),
        ("all by val/f1 where not lr in (0.1, 0.5)", [3]),
        ("all by val/f1 where size = [64,32]", [1, 0]),
        ("all by val/f1 where size ~ ^\\[64", [1, 0]),
        ("all by val/f1 where size = none", [2, 3]),
        ('all by val/f1 where "best val/f1" >= 0.7', [2, 1]),
        ("top 1 by val/f1 per lr", [2, 1, 3]),
    ],
)
def test_experiments_are_chosen(text, wanted):
    view = run(
        (0.1, None, [0.2, 0.6], {"size": [64, 32]}),
        (0.1, None, [0.1, 0.7], {"size": [64, 32]}),
        (0.5, None, [0.9, 0.1], {"size": None}),
        (0.7, None, [0.1, 0.3], {"size": None}),
        (0.7, None, [math.nan], {"size": None}),
    )
    assert ids(text, view) == wanted


def test_candidates_are_ranked_by_their_mean_and_incomplete_ones_come_last():
    view = run((1, 0, [0.9]), (1, 1, [math.nan]), (2, 0, [0.2]), (2, 1, [0.2]), (3, 0, [0.8]))
    assert ids("all by val/f1 mean over fold", view) == [2, 3, 0, 4]
    assert ids("top 1 by val/f1 mean over fold", view) == [2, 3]


def test_refits_are_never_chosen_and_ties_go_to_the_smaller_id():
    view = run((1, None, [0.5]), (2, None, [0.5]), (1, None, [0.9]))
    view.experiments[2].refit = {"experiments": [0]}
    assert ids("all by val/f1", view) == [0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("all by val/f2", "rule: no score 'val/f2'; did you mean 'val/f1'? Scores: val/f1, val/loss"),
        ("all by val/f1 where rl = 1", "rule: no name 'rl'. Names: experiment_id"),
        ("all by val/f1 mean over sed", "rule: no name 'sed'"),
        (
            "all by val/f1 where lr > 2",
            "no experiment of those that the rule's condition holds for has a finite val/f1",
        ),
    ],
)
def test_what_chooses_nothing_is_said(text, message):
    with pytest.raises(MlgymError, match=re.escape(message)):
        ids(text, run((1, None, [0.5])))


@pytest.mark.parametrize("case", CASES["texts"], ids=str)
def test_a_value_has_the_texts_by_which_the_page_finds_it(case):
    assert texts_of(case["value"]) == tuple(case["texts"])


@pytest.mark.parametrize("case", CASES["rules"], ids=lambda case: case["where"])
def test_a_rule_chooses_what_it_chooses_on_the_page(case):
    view = run(*((one["lr"], None, [-number], one) for number, one in enumerate(CASES["experiments"])))
    try:
        found = ids(f"all by val/f1 max where {case['where']}", view)
    except MlgymError as error:
        found = [] if "chooses nothing" in str(error) else "an error"
    assert found == case.get("chosen", "an error")
