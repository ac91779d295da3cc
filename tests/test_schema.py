"""The JSON Schema of configs: what runs keep is valid, what the engine refuses by name or type is not, and where."""

import ast
import copy
import json
import pathlib

import jsonschema_rs
import pytest
from conftest import ROOT
from study_files import here
from test_components_page import ENTRIES, generate

import mlgym_jax as mg
from mlgym_jax import component, grid, int_uniform, log_uniform, register, uniform
from mlgym_jax.components.json_schema import component_schema, config_schema
from mlgym_jax.components.json_types import documented_parameters, schema_of_type
from mlgym_jax.config.words import canonical_json, plain, validated
from mlgym_jax.study.expand import prepare

CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if not path.stem.startswith("_"))


@pytest.fixture(scope="module")
def schema():
    return config_schema()


@pytest.fixture(scope="module")
def validator(schema):
    return jsonschema_rs.Draft202012Validator(schema)


def resolved(config):
    return json.loads(canonical_json(validated(config)))


def problems(validator, config):
    """Return {the path: the message} of what is wrong."""
    found = validator.iter_errors(config)
    return {".".join(map(str, error.instance_path)): error.message for error in found}


def test_it_is_a_schema(schema):
    jsonschema_rs.meta.validate(schema)
    assert schema["$schema"].endswith("2020-12/schema")


@pytest.mark.parametrize("name", CONFIGS)
def test_published_configs_are_valid(name):
    config = resolved(mg.load_config(ROOT / f"configs/{name}.py"))  # registers its own components
    assert problems(jsonschema_rs.Draft202012Validator(config_schema()), config) == {}


def test_the_config_that_a_run_keeps_is_valid(validator, tmp_path):
    overrides = {"num_epochs": 1, "optimizer.learning_rate": 0.1, "seed": 0}
    result = mg.run(mg.load_config(ROOT / "configs/gs.py", overrides), tmp_path)
    kept = json.loads(pathlib.Path(result.run_dir, "config.json").read_text(encoding="utf-8"))
    assert problems(validator, kept) == {} and kept["optimizer"]["learning_rate"] == 0.1


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.kind}/{entry.name}")
def test_every_documented_example_is_valid(entry, validator, schema):
    section = json.loads(canonical_json(plain(eval(generate.example(entry), {"component": component}))))
    section["component"] = f"{entry.kind}/{entry.name}"
    config = {**resolved(mg.load_config(ROOT / "configs/gs.py")), "of_mine": section}
    assert problems(validator, config) == {}
    assert set(entry.parameters) <= set(schema["$defs"][f"{entry.kind}.{entry.name}"]["properties"])


WRONG = [
    ("optimizer.component", "adm", "optimizer.component", "adm"),
    ("optimizer.learning_rat", 0.1, "optimizer", "learning_rat"),
    ("optimizer.learning_rate", "fast", "optimizer.learning_rate", "fast"),
    ("optimizer.learning_rate", grid(0.1, "fast"), "optimizer.learning_rate.values.1", "fast"),
    ("optimizer.learning_rate", grid(), "optimizer.learning_rate.values", "[]"),
    ("optimizer.learning_rate", component("adam", learning_rate=0.1), "optimizer.learning_rate.component", "adam"),
    (
        "optimizer.learning_rate",
        component("cosine_decay_schedule", init_value=0.1, decay_step=3),
        "optimizer.learning_rate",
        "decay_step",
    ),
    ("num_epochs", 0, "num_epochs", "0"),
    ("num_epochs", "ten", "num_epochs", "ten"),
    ("seed", grid(0, -1), "seed.values.1", "-1"),
    ("strict", 1, "strict", "1"),
    ("los", 0.1, "los", "0.1"),
    ("model.features", (8, "9"), "model.features.1", "9"),
    ("metrics.f1.average", "marco", "metrics.f1.average", "marco"),
    ("metrics", {"component": "accuracy"}, "metrics", "component"),
    ("early_stopping.mode", "high", "early_stopping.mode", "high"),
    ("loader.component", "holdout", "loader.component", "holdout"),
    ("validation.val", {"sweep": "normal", "low": 0.1, "high": 0.2}, "validation.val.sweep", "normal"),
]


@pytest.mark.parametrize("path, value, where, word", WRONG, ids=lambda one: str(one)[:40])
def test_what_is_wrong_is_found_at_its_place_and_the_engine_refuses_it_too(path, value, where, word, validator):
    config = resolved(mg.load_config(ROOT / "configs/gs.py"))
    changed = copy.deepcopy(config)
    *holders, last = path.split(".")
    inside = changed
    for name in holders:
        inside = inside[name]
    inside[last] = json.loads(canonical_json(plain(value)))
    found = problems(validator, changed)
    assert where in found and word in found[where], found
    with pytest.raises(mg.MlgymError):
        prepare(changed)


@pytest.mark.parametrize(
    "value",
    [
        grid(0.1, 0.2),
        uniform(0.1, 0.2),
        log_uniform(0.1, 0.2),
        component("cosine_decay_schedule", init_value=grid(0.1, 0.2), decay_steps=9),
    ],
)
def test_numbers_may_be_swept_and_follow_a_schedule(value, validator):
    config = resolved(mg.load_config(ROOT / "configs/gs.py"))
    config["optimizer"]["learning_rate"] = json.loads(canonical_json(plain(value)))
    config["model"]["features"] = [8, json.loads(canonical_json(plain(int_uniform(4, 9))))]
    assert problems(validator, config) == {}


def test_a_component_of_ones_own_is_in_it(own_registry):
    @register("model", "schema_net", needs=("dataset",))
    def schema_net(dataset, *, width: int = 4, kind: str):
        """Build a net.

        Args:
            width: how wide
                it is.
            kind: of what kind, as in: `a`.
        """

    found = component_schema("model", "schema_net")
    own = found["$defs"]["model.schema_net"]
    assert own["properties"]["width"]["default"] == 4
    assert own["properties"]["width"]["description"] == "how wide it is."
    assert own["properties"]["kind"]["description"] == "of what kind, as in: `a`."
    assert own["required"] == ["component", "kind"] and own["additionalProperties"] is False
    valid = jsonschema_rs.Draft202012Validator(found)
    assert valid.is_valid({"component": "model/schema_net", "kind": "a", "needs": {"dataset": "other"}})
    assert not valid.is_valid({"component": "model/schema_net", "kind": "a", "needs": {"data": "other"}})


@pytest.mark.parametrize(
    "annotation, good, bad",
    [
        (int, [1], [1.5, "1", True]),
        (float | None, [1, 0.5, None], ["1"]),
        (tuple[int, str], [[1, "a"]], [[1], [1, "a", 2], ["a", 1]]),
        (tuple[tuple[str, int | None], ...], [[], [["a", None]]], [[["a"]], [[1, 1]]]),
        (dict[str, int], [{"a": 1}], [{"a": "b"}, []]),
        (dict, [{"a": "b"}], [3]),
    ],
)
def test_types(annotation, good, bad):
    valid = jsonschema_rs.Draft202012Validator({**schema_of_type(annotation), "$defs": {"sweep": {}}})
    assert all(map(valid.is_valid, good)) and not any(map(valid.is_valid, bad))


def test_no_docstring_documents_nothing():
    assert documented_parameters(lambda: None) == {}


def test_the_command_writes_it(tmp_path):
    status, out, _ = here("schema", f"--out={tmp_path / 's.json'}", "--json")
    assert status == 0
    written = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    jsonschema_rs.meta.validate(written)
    assert json.loads(out)["num_components"] > 300
    status, out, _ = here("schema", "--component=optimizer/adam")
    assert status == 0 and json.loads(out)["$ref"] == "#/$defs/optimizer.adam"


@pytest.mark.parametrize(
    "words, message, nearest",
    [
        (["--component=optimizer/adm"], "unknown optimizer", "adam"),
        (["--component=optimiser/adam"], "unknown kind", "optimizer"),
        (["--component=adam"], "KIND/NAME", None),
        (["--out=/proc/none/s.json"], "cannot be written", None),
    ],
)
def test_wrong_requests_of_it(words, message, nearest):
    status, out, err = here("schema", *words, "--json")
    error = json.loads(out)["error"]
    assert status == 2 and message in error["message"] and error.get("nearest") == nearest and message in err


def test_the_example_of_the_page_is_the_schema_of_the_project():
    text = (ROOT / "docs/programs.md").read_text(encoding="utf-8")
    [settings] = [part for part in text.split("```json\n")[1:] if "json.schemas" in part]
    assert ast.literal_eval(settings.split("```")[0].strip())["json.schemas"][0]["url"].endswith(".schema.json")
