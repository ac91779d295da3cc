"""Layer-wise decay against one optimizer a layer; masks on Linen's and NNX's paths; clippings by their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.components.registry import lookup
from mlgym_jax.errors import ConfigError, MlgymError
from mlgym_jax.study.expand import prepare

pytestmark = pytest.mark.usefixtures("own_registry")

KERNEL = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
# path -> how many layers below the top: a ViT of 4 blocks as Google's names are, by BEiT's get_num_layer_for_vit.
VIT = {
    "cls": 5,
    "embedding/kernel": 5,
    "Transformer/posembed_input/pos_embedding": 5,
    "Transformer/encoderblock_0/MlpBlock/Dense_0/kernel": 4,
    "Transformer/encoderblock_1/LayerNorm_0/scale": 3,
    "Transformer/encoderblock_2/Dense_1/bias": 2,
    "Transformer/encoderblock_3/Dense_0/kernel": 1,
    "Transformer/encoder_norm/scale": 0,
    "head/kernel": 0,
}
OTHERS = [
    # NNX, and a list of layers; blocks that are numbered from 1; GPT-2's and BERT's names.
    {"layers/0/attn/kernel": 2, "layers/1/attn/kernel": 1, "norm/scale": 0, "head/kernel": 0, "patch_embed/kernel": 3},
    {"Block_1/Dense_0/kernel": 2, "Block_2/Dense_0/kernel": 1, "Dense_0/kernel": 0},
    {"h/0/mlp/kernel": 2, "h/1/mlp/kernel": 1, "wte/embedding": 3, "wpe/embedding": 3, "ln_f/scale": 0},
    {
        "embeddings/word_embeddings/embedding": 4,
        "encoder/layer/0/output/kernel": 3,
        "encoder/layer/2/output/kernel": 1,
        "encoder/layer/1/output/kernel": 2,
        "classifier/kernel": 0,
    },
]


def nested(paths):
    tree = {}
    for path in paths:
        *inside, last = path.split("/")
        node = tree
        for name in inside:
            node = node.setdefault(name, {})
        node[last] = jnp.asarray(KERNEL)
    return tree


def at(tree, path):
    for name in path.split("/"):
        tree = tree[name]
    return tree


def tx_of(optimizer, **parameters):
    return lookup("optimizer", "layerwise_decay").factory(optimizer=optimizer, **parameters)


def steps(transformation, params, number=3):
    state = transformation.init(params)
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(number):
            gradients = jax.tree.map(lambda leaf: jnp.sin(leaf) + 0.3, params)
            updates, state = transformation.update(gradients, state, params)
            params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("paths", [VIT, *OTHERS])
def test_each_layer_has_the_learning_rate_of_its_depth(paths):
    """AdamW with weight decay, against one AdamW a parameter with its own learning rate, by Optax alone."""
    found = steps(tx_of(optax.adamw(0.1, weight_decay=0.3), decay=0.65), nested(paths))
    for path, below in paths.items():
        alone = steps(optax.adamw(0.1 * 0.65**below, weight_decay=0.3), jnp.asarray(KERNEL))
        np.testing.assert_allclose(at(found, path), alone, rtol=1e-5, err_msg=path)


def test_a_user_s_own_layers():
    layers = (("^stem", 0), ("^stage_[01]", 1), ("^stage_", 2))
    params = nested(["stem/kernel", "stage_0/block_1/kernel", "stage_2/block_0/kernel", "head/kernel"])
    found = tx_of(optax.sgd(1.0), decay=0.5, layers=layers)
    updates, _ = found.update(params, found.init(params), params)
    expected = {"stem": 3, "stage_0": 2, "stage_2": 1, "head": 0}
    for name, below in expected.items():
        np.testing.assert_allclose(jax.tree.leaves(updates[name])[0], -KERNEL * 0.5**below, rtol=1e-6)


@pytest.mark.parametrize(
    ("paths", "parameters", "said"),
    [
        (["stage_0/block_1/kernel"], {}, "'stage_0/block_1/kernel' holds 2 numbers of blocks"),
        (["Dense_0/kernel", "Dense_1/kernel"], {}, "no path holds a numbered block, such as blocks_3; write layers="),
        (VIT, {"decay": 0.0}, r"optimizer\.decay: a number in \(0, 1\] is expected, found 0\.0"),
        (VIT, {"decay": 1.5}, "found 1.5"),
        (VIT, {"layers": ()}, r"optimizer\.layers: found none"),
        (VIT, {"layers": (("(", 1),)}, r"optimizer\.layers\.0\.0: found '\('"),
        (VIT, {"layers": (("head", -1),)}, r"optimizer\.layers\.0\.1: at least 0 is expected, found -1"),
        (VIT, {"embeddings": "["}, r"optimizer\.embeddings: found '\['"),
    ],
)
def test_what_has_no_depth_is_refused(paths, parameters, said):
    with pytest.raises(MlgymError, match=said):
        tx_of(optax.sgd(1.0), **parameters).init(nested(paths))


def test_optimizers_that_evaluate_other_parameters_stand_around():
    inner = lookup("optimizer", "lookahead").factory(fast_optimizer=optax.sgd(1.0), sync_period=2, slow_step_size=0.5)
    with pytest.raises(MlgymError, match="let it stand around"):
        tx_of(inner).init(nested(VIT))
    with pytest.raises(ConfigError, match=r"optimizer\.optimizer: a component is expected"):
        tx_of(0.1)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + nn.Dense(6)(nn.LayerNorm()(x))


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(6, name="embedding")(x)
        for number in range(2):
            x = Block(name=f"block_{number}")(x)
        return nn.Dense(3, name="head")(x)


class NnxBlock(nnx.Module):
    def __init__(self, rngs):
        self.norm, self.dense = nnx.LayerNorm(6, rngs=rngs), nnx.Linear(6, 6, rngs=rngs)

    def __call__(self, x):
        return x + self.dense(self.norm(x))


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.embedding, self.head = nnx.Linear(4, 6, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)
        self.blocks = nnx.List([NnxBlock(rngs) for _ in range(2)])

    def __call__(self, x):
        x = self.embedding(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def net(*, kind: str = "linen"):
    return Net() if kind == "linen" else lambda rngs: NnxNet(rngs)


def study(optimizer, kind="linen"):
    mg.register("model", "of_blocks")(net)
    return {
        "num_epochs": 2,
        "dataset": component("synthetic", num_examples=40, num_features=4, num_classes=3),
        "validation": None,
        "loader": component("in_memory", batch_size=10, shuffle=False),
        "model": component("of_blocks", kind=kind),
        "loss": component("softmax_cross_entropy"),
        "optimizer": optimizer,
    }


@pytest.mark.parametrize("kind", ["linen", "nnx"])
def test_decays_are_swept_in_one_program_of_either_kind_of_module(kind):
    sgd = component("sgd", learning_rate=0.1)
    [job] = prepare(study(component("layerwise_decay", optimizer=sgd, decay=grid(0.5, 1.0)), kind)).jobs
    assert job.group.dynamic == ("optimizer.decay",)
    init, step = jax.jit(job.program.init), jax.jit(job.program.train_step)
    moved = {}
    for decay in (0.5, 1.0):
        state = init(jax.random.key(0), job.sample, {"optimizer.decay": np.float32(decay)})
        after, _ = step(state, job.sample)
        before, after = jax.device_get((state.params, after.params))
        moved[decay] = jax.tree.map(lambda new, old: new - old, after, before)
    inside = ["block_0", "block_1"] if kind == "linen" else ["blocks"]
    names = ["embedding", *inside, "head"]
    half, whole = (
        [part for name in names for part in (tree[name].values() if name == "blocks" else [tree[name]])]
        for tree in (moved[0.5], moved[1.0])
    )
    for below, (one, other) in zip((3, 2, 1, 0), zip(half, whole, strict=True), strict=True):
        jax.tree.map(lambda a, b, k=below: np.testing.assert_allclose(a, 0.5**k * b, rtol=2e-3, atol=1e-7), one, other)


@pytest.mark.parametrize("plan", ["vmap+scan", "none+step"])
def test_a_study_goes_on_to_the_same_bits(tmp_path, plan):
    adamw = component("adamw", learning_rate=0.01, mask="kernel$")
    config = study(component("layerwise_decay", optimizer=adamw, decay=grid(0.5, 0.9)))
    whole = mg.run({**config, "num_epochs": 3}, tmp_path / "whole", plan=plan)
    half = mg.run(config, tmp_path / "half", plan=plan)
    for one, other in zip(mg.resume(half.run_dir, num_epochs=3).experiments, whole.experiments, strict=True):
        assert one.history == other.history
        jax.tree.map(np.testing.assert_array_equal, one.restore().params, other.restore().params)


@pytest.mark.parametrize("kind", ["linen", "nnx"])
def test_the_mask_for_kernels_leaves_biases_and_norms_of_either_kind_of_module(kind):
    """AdamW's decay alone: with the learning rate 0.1 and the decay 0.5 a step takes a twentieth of a kernel."""
    adamw = component("adamw", learning_rate=0.1, weight_decay=grid(0.0, 0.5), mask="kernel$")
    [job] = prepare(study(adamw, kind)).jobs
    init, step = jax.jit(job.program.init), jax.jit(job.program.train_step)
    plain, decayed = (
        init(jax.random.key(0), job.sample, {"optimizer.weight_decay": np.float32(decay)}) for decay in (0.0, 0.5)
    )
    one, two = (jax.device_get(step(state, job.sample)[0].params) for state in (plain, decayed))
    for (path, a), b, old in zip(
        jax.tree_util.tree_leaves_with_path(one),
        jax.tree.leaves(two),
        jax.device_get(jax.tree.leaves(plain.params)),
        strict=True,
    ):
        share = 0.05 if jax.tree_util.keystr(path, simple=True).endswith("kernel") else 0.0
        np.testing.assert_allclose(b, a - share * old, atol=1e-6)


# component -> the clipped gradients by the formulas, in the place of [[3, 4], [0, 0]] of w and [12] of b
CLIPPINGS = {
    # The norm of all is 13.
    "by the norm of all": (component("clip_by_global_norm", max_norm=6.5), ([[1.5, 2.0], [0, 0]], [6.0])),
    "by the norm of each": (component("clip_by_block_rms", threshold=6.0), ([[3.0, 4.0], [0, 0]], [6.0])),
    "by value": (component("clip", max_delta=3.5), ([[3.0, 3.5], [0, 0]], [3.5])),
    # Brock et al., 2021, equation 3, unit-wise along the inputs of each output: |g| to 0.1 max(|w|, eps).
    "adaptively": (component("adaptive_grad_clip", clipping=0.1, eps=0.5), ([[0.05, 0.1], [0, 0]], [0.2])),
}


@pytest.mark.parametrize("how", CLIPPINGS)
def test_gradients_are_clipped_as_is_said(how):
    clipping, (w, b) = CLIPPINGS[how]
    built = mg.build(study(component("chain", transforms=(clipping, component("sgd", learning_rate=1.0)))))["optimizer"]
    params = {"w": jnp.float32([[0, 1], [0, 0]]), "b": jnp.float32([2])}
    updates, _ = built.update({"w": jnp.float32([[3, 4], [0, 0]]), "b": jnp.float32([12])}, built.init(params), params)
    np.testing.assert_allclose(updates["w"], -np.float32(w), rtol=1e-5)
    np.testing.assert_allclose(updates["b"], -np.float32(b), rtol=1e-5)
