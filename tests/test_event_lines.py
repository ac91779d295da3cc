"""Lines of a log, byte by byte: what other programs, older versions and replicas of a board rely on."""

# ruff: noqa: E501

import math

import msgspec
import pytest

from mlgym_jax import events as ev
from mlgym_jax.events import schema

NAN, INF = math.nan, math.inf
HEAD = '{"event_type":"%s","creation_ts":1795456750000,"payload":{"grid_search_id":"r",'

# Type, what its builder is given, and the rest of the line, copied from logs.
LINES = [
    (
        "run_started",
        dict(name="digits", config_hash="9f2c", num_experiments=2, num_groups=1, resumed=False),
        r""""name":"digits","config_hash":"9f2c","num_experiments":2,"num_groups":1,"resumed":false""",
    ),
    (
        "run_finished",
        dict(status="INTERRUPTED", num_failed=1, seconds=4.25),
        r""""status":"INTERRUPTED","num_failed":1,"seconds":4.25""",
    ),
    (
        "job_scheduled",
        dict(
            job_id="r",
            config={
                "name": "é",
                "model": {"component": "mlp", "features": (8, 4)},
                "clip": INF,
                "seed": {"sweep": "absolute", "values": [0, 1]},
                "refit": None,
            },
        ),
        r""""job_id":"r","config":{"name":"é","model":{"component":"mlp","features":[8,4]},"clip":"Infinity","seed":{"sweep":"absolute","values":[0,1]},"refit":null}""",
    ),
    (
        "job_status",
        dict(experiment_id=3, job_id="r-3", status="INIT"),
        r""""experiment_id":3,"job_id":"r-3","job_type":"CALC","status":"INIT","starting_time":null,"finishing_time":null,"error":null,"stacktrace":null,"device":null""",
    ),
    (
        "job_status",
        dict(
            experiment_id=3,
            job_id="r-3",
            status="DONE",
            starting_time=1,
            finishing_time=2,
            error='boom\n"x"',
            stacktrace="at \udcff",
            device="cpu:0",
        ),
        r'''"experiment_id":3,"job_id":"r-3","job_type":"CALC","status":"DONE","starting_time":1,"finishing_time":2,"error":"boom\n\"x\"","stacktrace":"at \\udcff","device":"cpu:0"''',
    ),
    (
        "job_status",
        dict(experiment_id=3, job_id="r-3", status="DONE", job_type="TERMINATE"),
        r""""experiment_id":3,"job_id":"r-3","job_type":"TERMINATE","status":"DONE","starting_time":null,"finishing_time":null,"error":null,"stacktrace":null,"device":null""",
    ),
    (
        "experiment_config",
        dict(
            experiment_id=3,
            job_id="r-3",
            config={"seed": 7},
            hyperparameters={"seed": 7, "optimizer.learning_rate": 1e-5},
        ),
        r""""experiment_id":3,"job_id":"r-3","config":{"seed":7},"hyperparameters":{"seed":7,"optimizer.learning_rate":0.00001},"fold":null,"round":0""",
    ),
    (
        "experiment_config",
        dict(
            experiment_id=3,
            job_id="r-3",
            config={},
            hyperparameters={"a": -INF},
            fold=2,
            round=1,
            refit={"monitor": "val/f1", "mode": "max", "experiments": [0, 1]},
        ),
        r""""experiment_id":3,"job_id":"r-3","config":{},"hyperparameters":{"a":"-Infinity"},"fold":2,"round":1,"refit":{"monitor":"val/f1","mode":"max","experiments":[0,1]}""",
    ),
    (
        "experiment_status",
        dict(
            experiment_id=3,
            status="TRAINING",
            num_epochs=3,
            current_epoch=1,
            splits=["train", "val"],
            current_split="val",
            num_batches=9,
            current_batch=4,
        ),
        r""""experiment_id":3,"status":"TRAINING","num_epochs":3,"current_epoch":1,"splits":["train","val"],"current_split":"val","num_batches":9,"current_batch":4""",
    ),
    (
        "evaluation_result",
        dict(
            experiment_id=3,
            epoch=7,
            scores={"train/loss": 0.1180339, "val/accuracy": 0.9444444, "val/recall_at_k/1": 1, "val/loss/aux": 1e-7},
            seconds=0.031,
        ),
        r""""experiment_id":3,"epoch":7,"metric_scores":[{"metric":"accuracy","split":"val","score":0.9444444},{"metric":"recall_at_k/1","split":"val","score":1.0}],"loss_scores":[{"loss":"loss","split":"train","score":0.1180339},{"loss":"loss/aux","split":"val","score":1e-7}],"seconds":0.031""",
    ),
    (
        "evaluation_result",
        dict(experiment_id=3, epoch=7, scores={"train/loss": NAN, "val/f1": INF, "val/loss": -INF}, seconds=NAN),
        r'''"experiment_id":3,"epoch":7,"metric_scores":[{"metric":"f1","split":"val","score":"Infinity"}],"loss_scores":[{"loss":"loss","split":"train","score":"NaN"},{"loss":"loss","split":"val","score":"-Infinity"}],"seconds":"NaN"''',
    ),
    (
        "evaluation_result",
        dict(experiment_id=0, epoch=1, scores={}, seconds=0),
        r""""experiment_id":0,"epoch":1,"metric_scores":[],"loss_scores":[],"seconds":0""",
    ),
    (
        "experiment_stopped",
        dict(experiment_id=3, epoch=15, reason="early stopping"),
        r'''"experiment_id":3,"epoch":15,"reason":"early stopping"''',
    ),
    (
        "experiment_failed",
        dict(experiment_id=3, epoch=4, error="train/loss is nan", stacktrace=None),
        r""""experiment_id":3,"epoch":4,"error":"train/loss is nan","stacktrace":null""",
    ),
    (
        "line_left_out",
        dict(reason="damaged", bytes=118, crc32=3735928559),
        r""""reason":"damaged","bytes":118,"crc32":3735928559""",
    ),
    (
        "resume_mismatch",
        dict(experiment_id=3, epoch=7, key="val/loss", logged=NAN, repeated=0.26),
        r""""experiment_id":3,"epoch":7,"key":"val/loss","logged":"NaN","repeated":0.26""",
    ),
    (
        "group_compiled",
        dict(group=0, experiments=[0, 1], plan="map+scanx2", reason="small", compile_seconds=2.9),
        r""""group":0,"experiments":[0,1],"plan":"map+scanx2","reason":"small","compile_seconds":2.9,"num_examples":null,"mesh":null,"flops_per_step":null,"bytes_per_device":null,"waited_seconds":null""",
    ),
    (
        "group_compiled",
        dict(
            group=0,
            experiments=[0, 1],
            plan="map+scanx2",
            reason="small",
            compile_seconds=2.9,
            num_examples=1438,
            mesh="experiment:2,data:1",
            flops_per_step=7373826,
            bytes_per_device=6747319,
        ),
        r""""group":0,"experiments":[0,1],"plan":"map+scanx2","reason":"small","compile_seconds":2.9,"num_examples":1438,"mesh":"experiment:2,data:1","flops_per_step":7373826,"bytes_per_device":6747319,"waited_seconds":null""",
    ),
    (
        "group_trained",
        dict(
            group=0,
            num_steps=1392,
            num_examples=68976,
            seconds=0.4,
            examples_per_second=172440.0,
            tokens_per_second=None,
            device_kind="NVIDIA H100 80GB HBM3",
            utilisation=0.25,
        ),
        r""""group":0,"num_steps":1392,"num_examples":68976,"seconds":0.4,"examples_per_second":172440.0,"tokens_per_second":null,"device_kind":"NVIDIA H100 80GB HBM3","utilisation":0.25""",
    ),
    (
        "model_evaluated",
        dict(
            experiment_id=3,
            epoch=7,
            split="test",
            dataset=None,
            num_examples=360,
            fingerprint="3f",
            scores={"test/loss": 0.25, "test/f1": "NaN"},
        ),
        r""""experiment_id":3,"epoch":7,"split":"test","dataset":null,"num_examples":360,"fingerprint":"3f","scores":{"test/loss":0.25,"test/f1":"NaN"}""",
    ),
    (
        "profile_saved",
        dict(group=0, first_epoch=2, last_epoch=5, num_steps=1392, folder="profile"),
        r'''"group":0,"first_epoch":2,"last_epoch":5,"num_steps":1392,"folder":"profile"''',
    ),
    (
        "warm_started",
        dict(
            group=0,
            experiments=[0, 1],
            source="there",
            loaded=["params/a"],
            left=[],
            mismatched={"params/b": "[10] there, [2] here"},
            checksum=305419896,
        ),
        r""""group":0,"experiments":[0,1],"source":"there","loaded":["params/a"],"left":[],"mismatched":{"params/b":"[10] there, [2] here"},"checksum":305419896""",
    ),
    ("group_compacted", dict(group=0, epoch=12, rows=[0]), r""""group":0,"epoch":12,"rows":[0]"""),
    (
        "checkpoint_saved",
        dict(group=0, epoch=20, kept=[[3, 10], (0, 20)], bytes=5242880, seconds=0.02),
        r""""group":0,"epoch":20,"kept":[[3,10],[0,20]],"bytes":5242880,"seconds":0.02""",
    ),
    ("checkpoint_skipped", dict(group=0, step=20, error="torn"), r'''"group":0,"step":20,"error":"torn"'''),
    (
        "evaluation_curves",
        dict(experiment_id=3, epoch=7, step=203, curves=[{"metric": "roc", "y": [0.1, NAN]}]),
        r""""experiment_id":3,"epoch":7,"step":203,"curves":[{"metric":"roc","y":[0.1,"NaN"]}]""",
    ),
    (
        "evaluation_curves",
        dict(experiment_id=3, epoch=7, step=None, curves=[], dataset={"component": "npz"}),
        r""""experiment_id":3,"epoch":7,"step":null,"curves":[],"dataset":{"component":"npz"}""",
    ),
    (
        "recorded",
        dict(experiment_id=3, epoch=7, step=1, name="a", split="val", kind="histogram", counts=[1], edges=[0.0, INF]),
        r""""experiment_id":3,"epoch":7,"step":1,"name":"a","split":"val","kind":"histogram","counts":[1],"edges":[0.0,"Infinity"]""",
    ),
    (
        "recorded",
        dict(
            experiment_id=3, epoch=7, step=1, name="a", split="val", kind="image", file="media/0.png", width=2, height=1
        ),
        r""""experiment_id":3,"epoch":7,"step":1,"name":"a","split":"val","kind":"image","file":"media/0.png","width":2,"height":1""",
    ),
    (
        "system",
        dict(
            host="h",
            seconds=15.0,
            process_cores=1.5,
            machine_cores=2,
            machine_busy=None,
            process_bytes=1,
            memory_total=2,
            memory_available=1,
            disk_free=None,
            disk_total=None,
        ),
        r""""host":"h","seconds":15.0,"process_cores":1.5,"machine_cores":2,"machine_busy":null,"process_bytes":1,"memory_total":2,"memory_available":1,"disk_free":null,"disk_total":null,"gpus":[]""",
    ),
    (
        "message",
        dict(level="warning", source="mlgym_jax", text="a <b>"),
        r'''"level":"warning","source":"mlgym_jax","text":"a <b>"''',
    ),
]


@pytest.mark.parametrize(("name", "told", "rest"), LINES)
def test_a_built_event_is_this_line(name, told, rest):
    event = getattr(ev, name)("r", **told, now_ms=1795456750000)
    assert ev.encode(event).decode() == HEAD % name + rest + "}}"


@pytest.mark.parametrize(("name", "told", "rest"), LINES)
def test_its_struct_reads_the_line_and_says_it_again(name, told, rest):
    line = (HEAD % name + rest + "}}").encode()
    said = msgspec.convert(ev.decode(line)["payload"], schema.TYPES[name])
    assert ev.decode(ev.encode(said.at(1795456750000))) == ev.decode(line)


def test_no_type_is_without_a_line():
    assert {name for name, *_ in LINES} == set(schema.TYPES) <= set(ev.__all__)


@pytest.mark.parametrize("told", [{"group": 0, "step": 1}, {"group": 0, "step": 1, "error": "torn", "colour": "blue"}])
def test_a_field_too_few_or_too_many_is_refused_by_name(told):
    with pytest.raises(TypeError, match="error" if len(told) == 2 else "colour"):
        ev.checkpoint_skipped("r", **told, now_ms=0)
