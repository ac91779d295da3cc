"""Distillation from an earlier run: Hinton's formula by hand, swept, resumed, recorded, and what is refused."""

import json
import shutil

import jax
import numpy as np
import pytest
from flax import linen as nn
from ml_collections import ConfigDict
from scipy.special import log_softmax, softmax

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.checkpoint.teacher import teacher_of
from mlgym_jax.errors import ConfigError, MlgymError
from mlgym_jax.study.expand import prepare

pytestmark = pytest.mark.usefixtures("own_registry")


def config_of(**sections):
    config = ConfigDict()
    config.num_epochs = 2
    config.dataset = component("synthetic", num_examples=60, num_features=5, num_classes=3)
    config.validation = component("holdout", val=0.2)
    config.model = component("mlp", features=(8,))
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=1e-2)
    config.metrics = dict(accuracy=component("accuracy"))
    for name, value in sections.items():
        config[name] = value
    return config


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    return mg.run(
        config_of(model=component("mlp", features=(16,), dropout_rate=0.5), seed=grid(0, 1)),
        tmp_path_factory.mktemp("earlier"),
    )


def student(run, **parameters):
    given = {"monitor": "val/loss", "loss": component("softmax_cross_entropy"), **parameters}
    return component("distillation", run_dir=str(run.run_dir), **given)


def kl_by_hand(teacher, logits, temperature):
    """T^2 sum_c p_c (log p_c - log q_c), in float64 by SciPy."""
    teacher, logits = np.float64(teacher) / temperature, np.float64(logits) / temperature
    values = (softmax(teacher, -1) * (log_softmax(teacher, -1) - log_softmax(logits, -1))).sum(-1)
    return temperature**2 * values


def test_the_loss_is_hintons_swept_in_one_program(earlier):
    sweep = student(earlier, temperature=grid(1.0, 4.0), alpha=grid(0.0, 0.3, 1.0))
    [job] = prepare(config_of(loss=sweep)).jobs
    assert {*job.group.dynamic} == {"loss.temperature", "loss.alpha"}
    teacher = earlier.best("val/loss").predict(job.sample["inputs"])
    init, predict, eval_step = map(jax.jit, (job.program.init, job.program.predict, job.program.eval_step))
    for temperature, alpha in zip(job.hyperparams["loss.temperature"], job.hyperparams["loss.alpha"], strict=True):
        state = init(jax.random.key(0), job.sample, {"loss.temperature": temperature, "loss.alpha": alpha})
        logits = np.asarray(predict(state, job.sample))
        soft = kl_by_hand(teacher, logits, float(temperature)).mean()
        hard = -log_softmax(np.float64(logits), -1)[np.arange(len(logits)), job.sample["targets"]].mean()
        found = job.program.compute(eval_step(state, job.sample))
        np.testing.assert_allclose(found["loss/soft"], soft, rtol=1e-5)
        np.testing.assert_allclose(found["loss/hard"], hard, rtol=1e-5)
        np.testing.assert_allclose(found["loss"], alpha * soft + (1 - alpha) * hard, rtol=1e-5)


def test_its_gradient_is_that_of_the_paper(earlier):
    """Equation 2 of the paper: T^2 dC/dz = T (q - p)."""
    [job] = prepare(config_of(loss=student(earlier, temperature=3.0, loss=None))).jobs
    teacher = earlier.best("val/loss").predict(job.sample["inputs"])
    logits = np.random.default_rng(0).normal(size=teacher.shape).astype(np.float32)
    loss = job.components["loss"]
    gradient = jax.jit(jax.grad(lambda logits: loss(logits, job.sample).sum()))(logits)
    expected = 3.0 * (softmax(np.float64(logits) / 3, -1) - softmax(np.float64(teacher) / 3, -1))
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_a_teacher_s_dropout_is_not_the_student_s(earlier):
    [job] = prepare(config_of(loss=student(earlier))).jobs
    assert job.surprises == ()


def test_a_student_of_itself_pays_nothing(earlier):
    [job] = prepare(config_of(loss=student(earlier, loss=None))).jobs
    teacher = earlier.best("val/loss").predict(job.sample["inputs"])
    np.testing.assert_allclose(job.components["loss"](teacher, job.sample), np.zeros(len(teacher)), atol=1e-6)


@pytest.mark.parametrize("plan", ["vmap+scan", "none+step"])
def test_a_student_goes_on_to_the_same_bits(earlier, tmp_path, plan):
    config = config_of(loss=student(earlier, temperature=grid(1.0, 4.0)), checkpoint_interval_seconds=0.0, num_epochs=4)
    whole = mg.run(config, tmp_path / "whole", plan=plan)
    config.num_epochs = 2
    half = mg.run(config, tmp_path / "half", plan=plan)
    for one, other in zip(mg.resume(half.run_dir, num_epochs=4).experiments, whole.experiments, strict=True):
        assert one.history == other.history
    assert "train/loss/soft" in whole.scores
    record = json.loads((tmp_path / "half" / half.run_id / "run.json").read_text())["teachers"]
    best = earlier.best("val/loss")
    assert record["group_0.loss"]["experiment_id"] == best.experiment_id
    assert record["group_0.loss"]["epoch"] in best.checkpoints


def test_a_teacher_that_went_on_is_not_learnt_from_any_more(tmp_path):
    teacher = mg.run(config_of(), tmp_path / "teacher")
    config = config_of(loss=student(teacher, experiment_id=0, monitor=None))
    run = mg.run(config, tmp_path / "student")
    mg.resume(teacher.run_dir, num_epochs=3)
    before = {path: path.read_bytes() for path in (tmp_path / "student").rglob("*") if path.is_file()}
    with pytest.raises(
        MlgymError, match=r"the teacher is not the one that was learnt from: of group_0\.loss it is epoch 3"
    ):
        mg.resume(run.run_dir, num_epochs=3)
    assert {path: path.read_bytes() for path in (tmp_path / "student").rglob("*") if path.is_file()} == before
    shutil.rmtree(teacher.run_dir)
    with pytest.raises(ConfigError, match=r"config\.loss: the teacher of .* no run"):
        mg.resume(run.run_dir, num_epochs=3)


class WithStatistics(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Dense(8)(x))
        return {"features": x, "logits": nn.Dense(3)(nn.relu(x))}


def with_statistics(width: int = 8):
    return WithStatistics()


@pytest.mark.parametrize(
    "changes",
    [
        {"averaging": component("ema", decay=0.9)},
        {
            "optimizer": component(
                "lookahead", fast_optimizer=component("sgd", learning_rate=0.1), sync_period=3, slow_step_size=0.5
            )
        },
        {"precision": component("mixed")},
    ],
    ids=["averaging", "lookahead", "precision"],
)
def test_a_teacher_says_what_its_run_predicts(tmp_path, changes):
    """With batch statistics, averages and slow parameters, which a prediction of that run is made with."""
    mg.register("model", "with_statistics")(with_statistics)
    losses = component("softmax_cross_entropy", output="logits")
    metrics = dict(accuracy=component("accuracy", output="logits"))
    run = mg.run(config_of(model=component("with_statistics"), loss=losses, metrics=metrics, **changes), tmp_path)
    inputs = prepare(config_of(loss=student(run, loss=None, teacher_output="logits"))).jobs[0].sample["inputs"]
    said = jax.jit(teacher_of(run.run_dir, None, None, "val/loss", None))({"inputs": inputs})["logits"]
    atol = 0.05 if "precision" in changes else 1e-6  # bfloat16, which another program rounds elsewhere
    np.testing.assert_allclose(said, run.best("val/loss").predict(inputs)["logits"], atol=atol)
    state = run.experiments[0].restore()
    variables = {"params": state.params, **state.model_state}
    trained = jax.jit(lambda inputs: WithStatistics().apply(variables, inputs, False))(inputs)
    assert "precision" in changes or not np.allclose(said, trained["logits"], atol=1e-3)
    config = config_of(loss=student(run, loss=None))
    with pytest.raises(ConfigError, match=r"loss\.teacher_output: the teacher has several outputs.*features, logits"):
        prepare(config)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"temperature": 0.0}, "loss.temperature: a number above 0 is expected, found 0.0"),
        ({"temperature": grid(1.0, -1.0)}, "loss.temperature: a number above 0 is expected, found -1.0"),
        ({"alpha": 1.5}, "loss.alpha: a number in [0, 1] is expected, found 1.5"),
        ({"alpha": True}, "loss.alpha: wrong type"),
        ({"monitor": None}, "say which experiment: experiment_id=…, or the best one by monitor='val/…'; it has 0, 1"),
        ({"monitor": "val/acuracy"}, "did you mean 'val/accuracy'?"),
        ({"experiment_id": 7}, "no experiment 7; it has 0, 1"),
        ({"experiment_id": 0, "epoch": 77}, "77"),
        ({"loss": 1.0}, "a component of kind 'loss' is expected, found 1.0"),
        ({"teacher_output": "logits"}, "no output 'logits'"),
    ],
)
def test_wrong_words_are_refused(earlier, parameters, said):
    with pytest.raises(ConfigError) as raised:
        prepare(config_of(loss=student(earlier, **parameters)))
    assert said in str(raised.value)
    assert str(raised.value).startswith("config.loss")


def test_what_does_not_fit_the_teacher_is_refused(earlier, tmp_path):
    with pytest.raises(
        ConfigError, match=r"config\.loss: the student's outputs are float32\[32, 4\], the teacher's fl"
    ):
        prepare(
            config_of(
                dataset=component("synthetic", num_examples=60, num_features=5, num_classes=4), loss=student(earlier)
            )
        )
    with pytest.raises(
        ConfigError, match=r"cannot compute these inputs: its checkpoint holds \[5, 16\] as params/Dense_0/kernel"
    ):
        prepare(
            config_of(
                dataset=component("synthetic", num_examples=60, num_features=6, num_classes=3), loss=student(earlier)
            )
        )
    with pytest.raises(ConfigError, match=r"config\.loss: the teacher of nowhere"):
        prepare(config_of(loss=component("distillation", run_dir="nowhere", monitor="val/loss")))
    log = shutil.copytree(earlier.run_dir, tmp_path / "other") / "event_storage.log"
    log.write_text(log.read_text().replace('"component":"mlp"', '"component":"gone"'))
    with pytest.raises(ConfigError, match=r"its model cannot be built here: .*'gone'.* import the module"):
        prepare(config_of(loss=component("distillation", run_dir=str(tmp_path / "other"), monitor="val/loss")))
