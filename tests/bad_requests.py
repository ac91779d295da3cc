"""Bad command lines and config files for test_bad_input.py: what the message must say, and the request."""

import pytest

CONFIG = """
import jax, jax.numpy as jnp, numpy as np, optax
from flax import linen as nn
from ml_collections import ConfigDict
import mlgym_jax as mg
from mlgym_jax import component, grid, int_uniform, log_uniform, register, uniform

{top}

def get_config():
    config = ConfigDict(type_safe=False)
    config.num_epochs = 1
    config.dataset = component("synthetic", num_examples=40, num_features=4)
    config.validation = component("holdout", val=0.25)
    config.loader = component("in_memory", batch_size=10)
    config.model = component("linear")
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("sgd", learning_rate=0.1)
    config.metrics = dict(accuracy=component("accuracy"))
    {edit}
    return config
"""
# A component of the user's own: its kind, what follows its decorator.
OWN = "@register({kind!r}, 'own'{more})\n{body}"


def own(kind, body, more=""):
    return OWN.format(kind=kind, body=body, more=more)


def bad(name, message, *arguments, edit="", top="", text=None):
    """Describe a bad request: what the message must say, the arguments besides --config, and the config file."""
    text = CONFIG.replace("{edit}", edit).replace("{top}", top) if text is None else text
    return pytest.param(message, arguments, text, id=name)


FILES = [
    bad("wrong path", r"--config=\S+confg\.py: no such file; did you mean 'config\.py'\?", "--config={}/confg.py"),
    bad("a folder", r"--config=\S+: a folder; name a file in it\. There are: config\.py", "--config={}"),
    bad("no folder", r"There is no folder '\S+/none'", "--config={}/none/config.py"),
    bad("none given", r"--config=FILE is missing; for example: python -m mlgym_jax\.run --config=configs/gs\.py", "-"),
    bad(
        "raises",
        r"config\.py: line 3: ZeroDivisionError: division",
        text="def get_config():\n    a = 1\n    return a / 0\n",
    ),
    bad("syntax error", r"config\.py: line 1: SyntaxError: .*: def get_config\(:", text="def get_config(:\n"),
    bad(
        "no get_config",
        r"there is no function get_config\(\); did you mean 'get_confg'\?",
        text="def get_confg(): pass",
    ),
    bad("no ConfigDict", r"ConfigDict is expected, get_config\(\) returned 7", text="def get_config(): return 7"),
    bad("missing package", r"line 1: ModuleNotFoundError: No module named 'not_there'", text="import not_there"),
    bad("exits", r"config\.py: line 2: SystemExit: 3", text="import sys\nsys.exit(3)"),
    bad(
        "argument not taken",
        r"get_config does not fit: .*; it was given 'small', from FILE:ARG",
        "--config={}/config.py:small",
    ),
    bad(
        "component of a class",
        r"line \d+: component\(…\): the first argument is a registered name",
        edit="component(nn.Dense)",
    ),
    bad(
        "name taken",
        r"line \d+: @register\('model', 'mlp'\): the name is taken by mlgym_jax itself; .*'my_mlp'",
        top="@register('model', 'mlp')\ndef mlp(): pass",
    ),
    bad(
        "need is no parameter",
        r"needs=…\): 'data' is no parameter of f.* Parameters: dataset",
        top=own("model", "def f(dataset): pass", ", needs=('data',)"),
    ),
]

COMMAND_LINES = [
    bad(
        "config twice",
        r"--config is given twice \(\S+ and \S+\); give it once",
        "--config=a.py",
        "--config={}/config.py",
    ),
    bad("unknown option", r"unknown option --pln; did you mean '--plan'\? Options: --help, --config", "--pln=auto"),
    bad("field as option", r"unknown option --num_epochs; .* is written --config\.num_epochs=VALUE", "--num_epochs=3"),
    bad("config by position", r"unexpected argument 'configs/gs\.py'; .* --config=configs/gs\.py", "configs/gs.py"),
    bad("word too many", r"unexpected argument 'now'; see python -m mlgym_jax\.run --help", "now"),
    bad("plan", r"--plan=fast: 'fast' is no plan\. Allowed: auto, tune, or one of vmap, map, none", "--plan=fast"),
    bad("plan twice", r"--plan=map\+map: 'map' is no plan\. Allowed: ", "--plan=map+map"),
    bad("plan with mesh", r"--plan=map\+data:2: 'data:2' is said elsewhere: devices by --mesh=", "--plan=map+data:2"),
    bad("no device", r"--devices=0: at least 1 is expected", "--devices=0"),
    bad("mesh", r"--mesh=model:2: 'model:2' is no axis .* as in --mesh=experiment:2,data:4", "--mesh=model:2"),
    bad("too large a mesh", r"--mesh=experiment:1,data:5: 5 devices .* this process has 4 \(cpu\)", "--mesh=data:5"),
    bad("too many devices", r"--devices=99: this process has 4 \(cpu\)", "--devices=99"),
    bad("devices in words", r"argument --devices: invalid int value: 'many'; see .*--help", "--devices=many"),
    bad("run_id leads out", r"--run_id=\.\./x: allowed are 1 to 128 of the characters", "--run_id=../x"),
    bad("run_id of dots", r"--run_id=\.\.: allowed are 1 to 128 of the characters", "--run_id=.."),
    bad("run_id with a space", r"--run_id=a b: allowed are 1 to 128 of the characters", "--run_id=a b"),
    bad("run_id empty", r"--run_id=: allowed are 1 to 128 of the characters", "--run_id="),
    bad(
        "storage is a file",
        r"--event_storage=\S+config\.py: .*File exists: .* can be written",
        "--event_storage={}/config.py",
    ),
    bad("storage below a file", r"--event_storage=\S+/x: .*Not a directory", "--event_storage={}/config.py/x"),
    bad(
        "storage not writable",
        r"--event_storage=/proc/none: it cannot hold a run's folder",
        "--event_storage=/proc/none",
    ),
    bad("storage no text", r"--event_storage=\S+: the folder's path has bytes", "--event_storage={}/\udcff"),
    bad("storage empty", r"--event_storage: a folder is missing", "--event_storage="),
    bad("board", r"--board=host:1: the scheme is missing; write http://host:1", "--board=host:1"),
    bad(
        "resume nothing",
        r"no run '2020-01-01--00-00-00' in '\S+'\. Runs there: none",
        "-",
        "--resume=2020-01-01--00-00-00",
    ),
    bad(
        "resume a path",
        r"no run 'b' in '\S+/a'\. Runs there: none",
        "-",
        "--resume=a/b",
    ),
    bad("resume above", r"--resume=\.\./\.\.: a run's id is missing", "-", "--resume=../.."),
    bad(
        "resume and run_id",
        r"--resume names the run already; leave --run_id and --resume_or_start out",
        "--resume=a",
        "--run_id=b",
    ),
    bad(
        "override without value",
        r"--config\.num_epochs: a value is missing; write --config\.num_epochs=VALUE",
        "--config.num_epochs",
    ),
    bad("override without field", r"--config\.=3: a field is missing; write --config\.FIELD=VALUE", "--config.=3"),
    bad("words of two lines", r"config\.a\\nb: no such field\. Fields here: ", "--config.a\nb=3"),
    bad("two lines without field", r"--config\.=3\\n\\x1b: a field is missing; write", "--config.=3\n\x1b"),
    bad(
        "unknown field",
        r"config\.num_epoch: no such field; did you mean 'num_epochs'\? Fields here: ",
        "--config.num_epoch=3",
    ),
    bad("unknown section", r"config\.optimzer: no such field, .* did you mean 'optimizer'\?", "--config.optimzer.b1=3"),
    bad(
        "unknown parameter",
        r"config\.optimizer\.momentm: unknown parameter of optimizer 'sgd'; did you mean 'momentum'\?",
        "--config.optimizer.momentm=3",
    ),
    bad(
        "override of type",
        r"config\.num_epochs: wrong type: found 'many', an integer is expected, such as 1",
        "--config.num_epochs=many",
    ),
    bad("override of value", r"config\.num_epochs: at least 1 is expected, found 0", "--config.num_epochs=0"),
    bad("override unreadable", r"grid\(lr\): cannot be read; write literals", "--config.seed=grid(lr)"),
    bad("override empties", r"config\.seed: empty sweep; write grid\(value, …\)", "--config.seed=grid()"),
    bad(
        "override by name",
        r"config\.optimizer: unknown optimizer 'adm'; did you mean 'adam'\?",
        "--config.optimizer=adm",
    ),
    bad(
        "override by a call",
        r"config\.optimizer: unknown optimizer 'adam\(b1=0\.5\)'.* Write component\('adam', …\) with its parameters\.",
        "--config.optimizer=adam(b1=0.5)",
    ),
    bad("override by none", r"config\.validation: .*\. To leave it out write None\.", "--config.validation=none"),
    bad(
        "override unreadable names its field",
        r"--config\.seed: grid\(lr\): cannot be read; write literals",
        "--config.seed=grid(lr)",
    ),
    bad(
        "override beyond floats",
        r"config\.validation\.val: found 10+…, a number below 1\.8e308 is expected",
        f"--config.validation.val={10**400}",
    ),
]
