"""Config files and overrides: every load is fresh, what is wrong is said in one line, overrides fit in."""

import functools
import re
import subprocess
import sys
import textwrap

import pytest
from ml_collections import ConfigDict
from test_config import small_config

from mlgym_jax.command_line import parse_overrides, split_overrides
from mlgym_jax.config.file import load_config, override, source_file
from mlgym_jax.config.typed import parse_value
from mlgym_jax.config.words import component, grid, log_uniform, plain
from mlgym_jax.errors import ConfigError, MlgymError


def overridden(*words, config=None):
    """Return the plain form of the config, overridden as the command line does it."""
    config = small_config() if config is None else config
    rest, texts = split_overrides(words)
    assert rest == []
    for name, value in parse_overrides(config, texts).items():
        override(config, name, value)
    return plain(config)


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="config.py"):
        (tmp_path / name).write_text(textwrap.dedent(text), encoding="utf-8")
        return str(tmp_path / name)

    return write_file


# --- overrides -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, value",
    [
        ("3", 3),
        ("-3", -3),
        ("1e-3", 0.001),
        ("-.5", -0.5),
        ("true", True),
        ("False", False),
        ("None", None),
        ("adam", "adam"),
        ("'3'", "3"),
        ("val/accuracy", "val/accuracy"),
        (" 7 ", 7),
        ("(1, 2)", (1, 2)),
        ("[1, 2]", (1, 2)),
        ("0,1", (0, 1)),
        ("{'a': (1,)}", {"a": (1,)}),
        ("grid(0, 1)", plain(grid(0, 1))),
        ("grid((8,), (4, 4))", plain(grid((8,), (4, 4)))),
        ("log_uniform(1e-4, high=1e-1)", plain(log_uniform(1e-4, 1e-1))),
        ("component('sgd', learning_rate=grid(0.1))", plain(component("sgd", learning_rate=grid(0.1)))),
        ("grid(component('a', x=(component('b'),)), None)", plain(grid(component("a", x=(component("b"),)), None))),
        ("(component('b'),)", (plain(component("b")),)),
        ("dict(train='a.npy', test='b.npy')", {"train": "a.npy", "test": "b.npy"}),
        ("dict(f1=component('f1', average='macro'))", {"f1": plain(component("f1", average="macro"))}),
        ("grid(dict(a=(1,)), dict(a=(2,)))", plain(grid({"a": (1,)}, {"a": (2,)}))),
        ("dict()", {}),
        ("007", "007"),
        ("a b(", "a b("),
        ("print(1)", "print(1)"),
        ("-" * 3000 + "1", "-" * 3000 + "1"),  # at which Python's parser gives up
    ],
)
def test_command_line_values(text, value):
    assert plain(parse_value(text)) == value


@pytest.mark.parametrize(
    "text, value",
    [
        ("3", "3"),
        ("true", "true"),
        ("None", None),
        ("dict(a=1)", "dict(a=1)"),
        ("grid('a', 'b')", plain(grid("a", "b"))),
    ],
)
def test_a_string_field_takes_the_text_as_it_stands(text, value):
    assert plain(parse_value(text, current="now")) == value


def test_a_call_that_cannot_be_read_is_no_string():
    with pytest.raises(MlgymError, match=r"dict\(a=lr\): cannot be read; write literals, as in .* dict\(name=…\)"):
        parse_value("dict(a=lr)")
    for text in ("grid(lr, 1)", "component('sgd', **{'learning_rate': 0.1})"):
        with pytest.raises(MlgymError, match=f"{re.escape(text)}: cannot be read"):
            parse_value(text)


@pytest.mark.parametrize("holder", [lambda value: (value,), lambda value: {"a": value}, grid])
def test_values_that_stand_in_each_other_too_deeply_are_refused_in_words(holder):
    nested = functools.reduce(lambda value, _: holder(value), range(100), 1)
    with pytest.raises(ConfigError, match=r"config\.model.*: values stand in each other more than 64 deep there"):
        plain({"model": nested})


@pytest.mark.parametrize(
    "words, path, expected",
    [
        (["--config.num_epochs=3"], "num_epochs", 3),
        (["--config.num_epochs", "3"], "num_epochs", 3),
        (["-config.num_epochs=3"], "num_epochs", 3),
        (["--config.seed=5"], "seed", 5),
        (["--config.seed=grid(4, 5)"], "seed.values", (4, 5)),
        (["--config.seed=4,5,6"], "seed.values", (4, 5, 6)),
        (["--config.seed=(7,)"], "seed.values", (7,)),
        (["--config.num_epochs=grid(1, 2)"], "num_epochs.values", (1, 2)),
        (["--config.model.features=(16,)"], "model.features", (16,)),
        (["--config.model.features=((16,), (8,))"], "model.features.values", ((16,), (8,))),
        (["--config.model.activation=gelu"], "model.activation", "gelu"),
        (["--config.model.activation=grid('relu', 'gelu')"], "model.activation.values", ("relu", "gelu")),
        (["--config.model.dropout_rate=0.5"], "model.dropout_rate", 0.5),
        (["--config.optimizer.transforms.1.learning_rate=1"], "optimizer.transforms.1.learning_rate", 1),
        (["--config.optimizer.transforms.1.nesterov=true"], "optimizer.transforms.1.nesterov", True),
        (["--config.optimizer.transforms.0.max_delta=2"], "optimizer.transforms.0.max_delta", 2.0),
        (["--config.optimizer=sgd"], "optimizer", {"component": "sgd"}),
        (["--config.optimizer=sgd", "--config.optimizer.learning_rate=.1"], "optimizer.learning_rate", 0.1),
        (["--config.optimizer=component('sgd', learning_rate=1)"], "optimizer.learning_rate", 1),
        (["--config.optimizer=grid(component('a'), component('b'))"], "optimizer.values.1.component", "b"),
        (["--config.early_stopping=nan"], "early_stopping", {"component": "nan"}),
        (
            ["--config.early_stopping=nan", "--config.early_stopping.monitor=val/loss"],
            "early_stopping.monitor",
            "val/loss",
        ),
        (["--config.metrics.f1=f1"], "metrics.f1", {"component": "f1"}),
        (["--config.metrics.accuracy=None"], "metrics.accuracy", None),
        (["--config.metrics=dict(f1=component('f1'))"], "metrics", {"f1": {"component": "f1"}}),
        (["--config.metrics=dict()", "--config.metrics.f1=f1"], "metrics", {"f1": {"component": "f1"}}),
        (["--config.metrics=None", "--config.metrics.f1=f1"], "metrics", {"f1": {"component": "f1"}}),
        (["--config.post_processors.p=softmax"], "post_processors", {"p": {"component": "softmax"}}),
        (["--config.model.by_name=dict(a=1)", "--config.model.by_name=dict(b=2)"], "model.by_name", {"b": 2}),
        (["--config.name=3"], "name", "3"),
        (["--config.checkpoint_interval_seconds=0"], "checkpoint_interval_seconds", 0.0),
        (["--config.seed=1", "--config.seed=2"], "seed", 2),
    ],
)
def test_overrides_from_the_command_line(words, path, expected):
    found = overridden(*words)
    for key in path.split("."):
        found = found[int(key)] if isinstance(found, tuple) else found[key]
    assert found == expected
    assert type(found) is type(expected)


def test_a_component_in_place_of_a_grid_of_components_is_named_alone():
    config = small_config()
    config.model = grid(component("mlp"), component("linear"))
    assert overridden("--config.model=linear", config=config)["model"] == {"component": "linear"}


@pytest.mark.parametrize(
    "word, message",
    [
        ("--config.num_epoch=3", r"config\.num_epoch: no such field; did you mean 'num_epochs'\?"),
        ("--config.optimzer.x=3", r"config\.optimzer: no such field, so 'optimzer\.x' .*did you mean 'optimizer'\?"),
        (
            "--config.num_epochs=many",
            r"config\.num_epochs: wrong type: found 'many', an integer is expected, such as 2",
        ),
        ("--config.num_epochs=2.5", r"found 2\.5, an integer is expected"),
        ("--config.num_epochs=true", r"found True, an integer is expected"),
        ("--config.num_epochs=1,2", r"found \(1, 2\), .*to sweep it write grid\(1, 2\)"),
        ("--config.dataset.num_examples=x", r"config\.dataset\.num_examples: wrong type: found 'x'"),
        ("--config.optimizer.transforms.1=adam", r"an element of a list cannot be overridden by itself"),
        ("--config.optimizer.transforms.2.x=1", r"config\.optimizer\.transforms\.2: no such element.* 0 to 1"),
        ("--config.num_epochs.x=1", r"config\.num_epochs is 2 and has no fields"),
        ("--config.metrics.acuracy=None", r"config\.metrics\.acuracy: no such field; did you mean 'accuracy'\?"),
    ],
)
def test_overrides_that_do_not_fit(word, message):
    with pytest.raises(ConfigError, match=message):
        overridden(word)


@pytest.mark.parametrize(
    "words", [["--config.seed"], ["--config.seed", "--quiet"], ["--config.=3"], ["--config.a..b=1"]]
)
def test_overrides_without_field_or_value(words):
    with pytest.raises(MlgymError, match=r"(a value|a field) is missing; write --config\."):
        split_overrides(words)


def test_what_is_no_override_is_left_to_others():
    rest, texts = split_overrides(["--config=a.py", "--config.seed", "-1", "--quiet", "--config.x.y=a=b"])
    assert rest == ["--config=a.py", "--quiet"]
    assert texts == {"seed": "-1", "x.y": "a=b"}


# --- files -----------------------------------------------------------------------------------------------------------

FILE = """
    from ml_collections import ConfigDict
    def get_config(argument="none"):
        return ConfigDict({"argument": argument, "number": 1})
"""


def test_a_file_and_its_argument(write):
    path = write(FILE)
    assert load_config(path).argument == "none"
    assert load_config(f"{path}:a=1:b").argument == "a=1:b"
    assert load_config(f"{path}:").argument == ""
    config = load_config(path, overrides={"number": 2})
    assert (config.number, source_file(config)) == (2, path)
    assert source_file(ConfigDict()) is None


def test_a_relative_path_and_a_module_beside_the_file(write, tmp_path, monkeypatch):
    write("from ml_collections import ConfigDict\nBASE = ConfigDict({'number': 5})", "beside_a_config.py")
    write("from beside_a_config import BASE\ndef get_config():\n    return BASE\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert load_config("config.py").number == 5


def test_every_load_executes_the_file_anew_and_alone(write):
    path = write(
        "from ml_collections import ConfigDict\nleft = 1\ndef get_config():\n    return ConfigDict({'number': 1})"
    )
    first = load_config(path)
    write(
        """
        from ml_collections import ConfigDict
        def get_config():
            return ConfigDict(dict(number=2, has="left" in globals()))
        """
    )
    second = load_config(path)
    assert (first.number, second.number, second.has) == (1, 2, False)
    with pytest.raises(MlgymError, match=r"there is no function get_config\(\)"):
        load_config(write("x = 1", "other.py"))


def test_classes_of_a_file_can_resolve_their_annotations(write):
    path = write(
        """
        from __future__ import annotations
        import dataclasses, typing
        from ml_collections import ConfigDict
        Number = int
        @dataclasses.dataclass
        class Options:
            number: Number = 3
        def get_config():
            return ConfigDict({"name": typing.get_type_hints(Options)["number"].__name__})
        """
    )
    assert load_config(path).name == "int"


@pytest.mark.parametrize(
    "text, argument, message",
    [
        ("x = 1\n\ndef get_config():\n    return 1 / 0", "", r"line 4: ZeroDivisionError: division by zero"),
        ("raise RuntimeError('two\\nlines')", "", r"line 1: RuntimeError: two lines"),
        ("raise KeyError", "", r"line 1: KeyError"),
        ("x = 1\ndef get_config(:\n  pass", "", r"line 2: SyntaxError: .*: def get_config\(:"),
        ("import sys\nsys.exit(3)", "", r"line 2: SystemExit: 3"),
        ("import not_installed_anywhere", "", r"line 1: ModuleNotFoundError: No module named 'not_installed_anywhere'"),
        ("open('/no/such/file')", "", r"line 1: FileNotFoundError: .*/no/such/file"),
        ("def get_confg(): pass", "", r"there is no function get_config\(\); did you mean 'get_confg'\?"),
        ("get_config = 3", "", r"get_config is 3, not a function"),
        ("def get_config(): return 7", "", r"ConfigDict is expected, get_config\(\) returned 7"),
        ("def get_config(): return {'a': 1}", "", r"returned {'a': 1}; return ConfigDict\(…\)"),
        ("def get_config(): x = 1", "", r"returned None; end it with `return config`"),
        ("def get_config(): pass", ":a", r"get_config does not fit: too many .*; it was given 'a'"),
        ("def get_config(size): pass", "", r"missing a required argument: 'size'; hand it one: --config=FILE:ARG"),
        (
            "from ml_collections import ConfigDict\ndef get_config():\n    c = ConfigDict({'a': 1})\n    c.a = 'x'",
            "",
            r"line 4: TypeError: Could not override field 'a'.*ConfigDict\(type_safe=False\)",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(write, text, argument, message):
    path = write(text) + argument
    with pytest.raises(MlgymError, match=message) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"--config={path}: ")
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_path_that_is_no_file(write, tmp_path):
    write(FILE, "first_one.py")
    with pytest.raises(MlgymError, match=r"first_on\.py: no such file; did you mean 'first_one\.py'\?"):
        load_config(tmp_path / "first_on.py")
    with pytest.raises(MlgymError, match=r"a folder; name a file in it\. There are: first_one\.py"):
        load_config(tmp_path)
    with pytest.raises(MlgymError, match=r"no such file\. There is no folder"):
        load_config(tmp_path / "none" / "a.py")


def test_an_example_of_the_package_that_is_not_here_is_copied_by_what_the_error_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MlgymError, match=r"^--config=configs/gs\.py: no such file\.") as caught:
        load_config("configs/gs.py")
    subprocess.run(str(caught.value).splitlines()[-1], shell=True, check=True)
    assert load_config("configs/gs.py").name == "digits-mlp"
