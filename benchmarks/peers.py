"""The same workloads as people train them with other libraries; each prints its timings as JSON.

    python -m benchmarks.peers flax_loop|torch|lightning|keras|ray|sklearn --workload=digits64 --data=… --num_epochs=20

Every experiment is trained by itself, both splits are evaluated each epoch, nothing is recorded. Lightning and Keras do
not evaluate the training split apart: Keras measures it while it trains, as it does by default, Lightning not at all.
"""

import time

START = time.perf_counter()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks.workloads import WORKLOADS  # noqa: E402

CLASSES = 10


def flax_loop(workload, num_epochs, x, y, x_val, y_val):
    """A fresh TrainState and optimizer for each experiment: what the Flax examples show."""
    import jax
    import optax
    from flax.training.train_state import TrainState

    from benchmarks.networks import network

    model = network(workload, CLASSES)
    size = workload.batch_size

    @jax.jit
    def train_step(state, x, y):
        def loss(params):
            return optax.softmax_cross_entropy_with_integer_labels(state.apply_fn(params, x), y).mean()

        return state.apply_gradients(grads=jax.grad(loss)(state.params))

    @jax.jit
    def evaluate(state, x, y):
        logits = state.apply_fn(state.params, x)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        return loss, (logits.argmax(-1) == y).mean()

    for rate, seed in workload.experiments:
        params = model.init(jax.random.key(seed), x[:1])
        state = TrainState.create(apply_fn=model.apply, params=params, tx=optax.adam(rate))
        random = np.random.default_rng(seed)
        for _ in range(num_epochs):
            order = random.permutation(len(x))
            for start in range(0, len(x), size):
                rows = order[start : start + size]
                state = train_step(state, x[rows], y[rows])
            evaluate(state, x, y)
            yield float(evaluate(state, x_val, y_val)[1])


def torch_network(workload):
    from torch import nn

    layers, width = [], 64
    if workload.images:
        width = 1
        for features in workload.features:
            layers += [nn.Conv2d(width, features, 3, padding=0 if workload.valid else 1), nn.ReLU()]
            layers += [] if workload.valid else [nn.MaxPool2d(2)]
            width = features
        layers += (
            [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144 * width, 128), nn.ReLU()]
            if workload.valid
            else [nn.Flatten()]
        )
        width = 128 if workload.valid else 9 * width
    else:
        for features in workload.features:
            layers += [nn.Linear(width, features), nn.ReLU()]
            width = features
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def torch_arrays(*arrays):
    import torch

    arrays = [np.moveaxis(a, -1, 1) if a.ndim == 4 else a for a in arrays]
    return [
        torch.as_tensor(np.ascontiguousarray(a)).long() if a.ndim == 1 else torch.as_tensor(a.copy()) for a in arrays
    ]


def torch_one(workload, rate, seed, num_epochs, x, y, x_val, y_val):
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(seed)
    model = torch_network(workload)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(num_epochs):
        model.train()
        for rows in torch.randperm(len(x)).split(workload.batch_size):
            optimizer.zero_grad()
            cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            logits = model(x)
            cross_entropy(logits, y).item(), (logits.argmax(-1) == y).float().mean().item()
            logits = model(x_val)
            cross_entropy(logits, y_val).item()
            yield (logits.argmax(-1) == y_val).float().mean().item()


def torch(workload, num_epochs, *arrays):
    arrays = torch_arrays(*arrays)
    for rate, seed in workload.experiments:
        yield from torch_one(workload, rate, seed, num_epochs, *arrays)


def lightning(workload, num_epochs, *arrays):
    import logging
    import warnings

    import lightning
    import torch
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader, TensorDataset

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    x, y, x_val, y_val = torch_arrays(*arrays)
    found = []

    class Module(lightning.LightningModule):
        def __init__(self, rate):
            super().__init__()
            self.rate, self.model = rate, torch_network(workload)

        def training_step(self, batch, _):
            return cross_entropy(self.model(batch[0]), batch[1])

        def validation_step(self, batch, _):
            logits = self.model(batch[0])
            self.log("loss", cross_entropy(logits, batch[1]))
            self.log("accuracy", (logits.argmax(-1) == batch[1]).float().mean())

        def on_validation_epoch_end(self):
            found.append(float(self.trainer.callback_metrics["accuracy"]))

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), self.rate)

    for rate, seed in workload.experiments:
        torch.manual_seed(seed)
        found.clear()
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=num_epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        train = DataLoader(TensorDataset(x, y), workload.batch_size, shuffle=True)
        trainer.fit(Module(rate), train, DataLoader(TensorDataset(x_val, y_val), len(x_val)))
        yield from found


def keras(workload, num_epochs, x, y, x_val, y_val):
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    for rate, seed in workload.experiments:
        keras.utils.set_random_seed(seed)
        layers = []
        for features in workload.features:
            if workload.images:
                layers += [
                    keras.layers.Conv2D(features, 3, padding="same", activation="relu"),
                    keras.layers.MaxPool2D(),
                ]
            else:
                layers.append(keras.layers.Dense(features, activation="relu"))
        model = keras.Sequential(
            [keras.Input(x.shape[1:]), *layers, keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
        fitted = model.fit(x, y, workload.batch_size, epochs=num_epochs, validation_data=(x_val, y_val), verbose=0)
        yield from fitted.history["val_accuracy"]


def ray(workload, num_epochs, *arrays):
    """Ray Tune with a function that trains in PyTorch, one core a trial."""
    os.environ.update(RAY_AIR_NEW_OUTPUT="0", TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", RAY_CHDIR_TO_TRIAL_DIR="0")
    import tempfile

    import ray
    from ray import tune

    ray.init(num_cpus=len(os.sched_getaffinity(0)), include_dashboard=False, logging_level="ERROR", log_to_driver=True)
    tensors = ray.put(torch_arrays(*arrays))

    def train(config):
        import torch

        torch.set_num_threads(1)
        values = torch_one(workload, config["rate"], config["seed"], num_epochs, *ray.get(tensors))
        for accuracy in values:
            tune.report({"accuracy": accuracy})

    with tempfile.TemporaryDirectory() as folder:
        space = {"rate": tune.grid_search(workload.rates), "seed": tune.grid_search(list(range(workload.num_seeds)))}
        run_config = tune.RunConfig(storage_path=folder, verbose=0)
        results = tune.Tuner(train, param_space=space, run_config=run_config).fit()
        if results.errors:
            raise results.errors[0]
        yield from [result.metrics["accuracy"] for result in results]
    ray.shutdown()


def sklearn(workload, num_epochs, x, y, x_val, y_val):
    """MLPClassifier, an experiment a process at a time on each core, as GridSearchCV does."""
    if workload.images:
        raise ImportError("scikit-learn has no convolutions")
    from joblib import Parallel, delayed
    from sklearn.metrics import log_loss
    from sklearn.neural_network import MLPClassifier

    def one(rate, seed):
        model = MLPClassifier(
            workload.features, batch_size=workload.batch_size, learning_rate_init=rate, alpha=0.0, random_state=seed
        )
        found = []
        for _ in range(num_epochs):
            model.partial_fit(x, y, classes=np.arange(CLASSES))
            for inputs, targets in ((x, y), (x_val, y_val)):
                probabilities = model.predict_proba(inputs)
                log_loss(targets, probabilities, labels=np.arange(CLASSES))
                accuracy = (probabilities.argmax(-1) == targets).mean()
            found.append(float(accuracy))
        return found

    jobs = [delayed(one)(rate, seed) for rate, seed in workload.experiments]
    for found in Parallel(n_jobs=len(os.sched_getaffinity(0)))(jobs):
        yield from found


PEERS = {f.__name__: f for f in (flax_loop, torch, lightning, keras, ray, sklearn)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--workload", choices=WORKLOADS, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--num_epochs", type=int, required=True)
    options = parser.parse_args()
    with np.load(options.data) as archive:
        arrays = [archive[name] for name in ("x", "y", "x_val", "y_val")]
    workload = WORKLOADS[options.workload]
    times, best = [time.perf_counter()], 0.0
    try:
        for accuracy in PEERS[options.peer](workload, options.num_epochs, *arrays):
            times.append(time.perf_counter())
            best = max(best, accuracy)
    except ImportError as error:
        raise SystemExit(f"skipped: {error}") from None
    between = np.diff(times)
    # The typical epoch of one experiment, for all of them; where an experiment's epochs arrive at once, no such thing.
    typical = float(np.median(between)) * len(workload.experiments)
    together = options.peer in ("lightning", "keras", "ray", "sklearn")
    timings = {
        "epoch": None if together else typical,
        "wall": time.perf_counter() - START,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "best": best,
    }
    json.dump(timings, sys.stdout)


if __name__ == "__main__":
    main()
