"""Architectures: published numbers of parameters, graphs by hand, what is refused, and training in every plan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from metric_cases import quick_jit
from reference_values import normal

from mlgym_jax.components.registry import lookup
from mlgym_jax.core.modules import adapt
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.sequences import packed
from mlgym_jax.errors import ConfigError, MlgymError
from mlgym_jax.models.attention import rotary_angles, turned

IMAGENET, CIFAR = (2, 224, 224, 3), (2, 32, 32, 3)
GPT2 = {"vocabulary_size": 50257}
CORA = {"nodes": (1, 2708, 1433), "adjacency": (1, 2708, 2708)}
PAPER = {"features": (64, 128, 256, 512, 1024)}

# model, parameters, inputs, classes -> the number of parameters, and who says so
PUBLISHED = [
    ("resnet", {"depth": 18, "stem": "imagenet"}, IMAGENET, 1000, 11_689_512),  # torchvision
    ("resnet", {"depth": 34, "stem": "imagenet"}, IMAGENET, 1000, 21_797_672),
    ("resnet", {"depth": 50, "stem": "imagenet"}, IMAGENET, 1000, 25_557_032),
    ("resnet", {"depth": 101, "stem": "imagenet"}, IMAGENET, 1000, 44_549_160),
    ("resnet", {"depth": 152, "stem": "imagenet"}, IMAGENET, 1000, 60_192_808),
    ("resnet", {}, CIFAR, 10, 11_173_962),  # kuangliu/pytorch-cifar
    ("wide_resnet", {"depth": 28, "widen_factor": 10}, CIFAR, 10, 36_479_194),  # 36.5M in the paper, table 4
    ("wide_resnet", {"depth": 40, "widen_factor": 4}, CIFAR, 100, 8_972_340),  # 8.9M
    ("wide_resnet", {"depth": 16, "widen_factor": 8}, CIFAR, 10, 10_961_370),  # 11.0M
    ("vit", {"size": "tiny", "patch_size": 16}, IMAGENET, 1000, 5_717_416),  # timm
    ("vit", {"size": "small", "patch_size": 16}, IMAGENET, 1000, 22_050_664),
    ("vit", {"size": "base", "patch_size": 16}, IMAGENET, 1000, 86_567_656),
    ("vit", {"size": "base", "patch_size": 32}, IMAGENET, 1000, 88_224_232),
    ("vit", {"size": "large", "patch_size": 16}, IMAGENET, 1000, 304_326_632),
    ("mlp_mixer", {"size": "small", "patch_size": 16}, IMAGENET, 1000, 18_528_264),  # timm
    ("mlp_mixer", {"size": "base", "patch_size": 16}, IMAGENET, 1000, 59_880_472),
    ("mlp_mixer", {"size": "large", "patch_size": 16}, IMAGENET, 1000, 208_196_168),
    ("convnext", {"size": "tiny"}, IMAGENET, 1000, 28_589_128),  # torchvision
    ("convnext", {"size": "small"}, IMAGENET, 1000, 50_223_688),
    ("convnext", {"size": "base"}, IMAGENET, 1000, 88_591_464),
    ("convnext", {"size": "large"}, IMAGENET, 1000, 197_767_336),
    ("unet", {**PAPER, "norm": None}, (2, 64, 64, 1), 1, 31_030_593),
    ("unet", PAPER, (2, 64, 64, 3), 1, 31_037_633),  # milesial/Pytorch-UNet
    ("transformer", {**GPT2, "width": 768, "depth": 12, "num_heads": 12}, (2, 1024), None, 124_439_808),  # GPT-2
    ("transformer", {**GPT2, "width": 1024, "depth": 24, "num_heads": 16}, (2, 1024), None, 354_823_168),
    ("vae", {}, (2, 784), None, 652_824),  # pytorch/examples
    ("gnn", {"features": (16,), "pool": None}, CORA, 7, 23_063),  # PyTorch Geometric, of Cora
]


def model_of(name, num_classes=None, **parameters):
    return adapt(lookup("model", name).factory(dataset=Dataset({}, num_classes), **parameters))


def shapes_of(inputs, kind):
    return jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, kind), inputs, is_leaf=lambda item: isinstance(item, tuple)
    )


@pytest.mark.parametrize(("name", "parameters", "inputs", "num_classes", "published"), PUBLISHED)
def test_the_number_of_parameters_is_the_published_one(name, parameters, inputs, num_classes, published):
    kind = jnp.int32 if name == "transformer" else jnp.float32
    module = lookup("model", name).factory(dataset=Dataset({}, num_classes), **parameters)
    shapes = shapes_of(inputs, kind)
    args, named = ((), shapes) if isinstance(shapes, dict) else ((shapes,), {})
    params = jax.eval_shape(module.init, jax.random.key(0), *args, **named)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == published


def applied(model, inputs, *more):
    """Return a model's outputs of each of the inputs, with parameters of its own, and these."""
    params, state = quick_jit(model.init)(jax.random.key(3), jax.tree.map(jnp.asarray, inputs))
    apply = quick_jit(lambda inputs: model.apply(params, state, inputs, jax.random.key(4), False)[0])
    return *(apply(jax.tree.map(jnp.asarray, each)) for each in (inputs, *more)), params


GRAPH = {
    "nodes": normal("nodes", (2, 5, 3)),
    "edges": np.array([[[0, 1], [1, 2], [2, 0], [2, 3]], [[1, 0], [0, 1], [-1, -1], [-1, -1]]], np.int32),
    "node_mask": np.arange(5) < np.array([[4], [2]]),
}


def adjacency_of(graph):
    found = np.zeros((2, 5, 5), np.float32)
    for number, edges in enumerate(graph["edges"]):
        for one, other in edges:
            if one >= 0:
                found[number, one, other] = found[number, other, one] = 1
    return found


def by_hand(graph, params, number, nodes):
    """Return the nodes of a graph without padding after one convolution: D^-1/2 (A + 1) D^-1/2 X W + b."""
    adjacency = adjacency_of(graph)[number, :nodes, :nodes] + np.eye(nodes)
    inverse_root = np.diag(adjacency.sum(axis=1) ** -0.5)
    x = graph["nodes"][number, :nodes] @ np.asarray(params["dense"]["kernel"])
    return inverse_root @ adjacency @ inverse_root @ x + np.asarray(params["bias"])


def test_a_graph_convolution_is_its_closed_form():
    outputs, params = applied(model_of("gnn", 4, features=(), pool=None), GRAPH)
    for number, nodes in ((0, 4), (1, 2)):
        expected = by_hand(GRAPH, params["convolution_0"], number, nodes)
        np.testing.assert_allclose(outputs[number, :nodes], expected, rtol=1e-5, atol=1e-6)
    assert (np.asarray(outputs)[~GRAPH["node_mask"]] == 0).all()


@pytest.mark.parametrize("pool", [None, "mean", "sum", "max"])
def test_padding_of_graphs_changes_nothing(pool):
    model = model_of("gnn", 4, features=(6,), pool=pool)
    nodes, adjacency = GRAPH["nodes"].copy(), adjacency_of(GRAPH)
    nodes[~GRAPH["node_mask"]] = np.nan
    both = GRAPH["node_mask"][:, :, None] & GRAPH["node_mask"][:, None]
    dense = {"nodes": nodes, "adjacency": np.where(both, adjacency, 7.0), "node_mask": GRAPH["node_mask"]}
    outputs, changed, of_dense, params = applied(model, GRAPH, {**GRAPH, "nodes": nodes}, dense)
    np.testing.assert_array_equal(changed, outputs)
    np.testing.assert_array_equal(of_dense, outputs)
    if pool is not None:
        for number, size in ((0, 4), (1, 2)):
            hidden = np.maximum(by_hand(GRAPH, params["convolution_0"], number, size), 0)
            head = jax.tree.map(np.asarray, params["head"])
            expected = getattr(hidden, pool)(axis=0) @ head["kernel"] + head["bias"]
            np.testing.assert_allclose(outputs[number], expected, rtol=1e-5, atol=1e-6)


def test_rotary_positions_turn_complex_numbers_and_see_distances():
    x = normal("rotary", (2, 6, 3, 8))
    found = np.asarray(turned(jnp.asarray(x), rotary_angles(jnp.arange(6), 8)))
    pairs = x[..., :4] + 1j * x[..., 4:]
    angles = np.arange(6)[:, None] * 10000.0 ** (-np.arange(4) / 4)
    expected = pairs * np.exp(1j * angles)[None, :, None]
    np.testing.assert_allclose(found[..., :4] + 1j * found[..., 4:], expected, rtol=1e-5, atol=1e-6)


def test_rotary_models_take_sequences_of_any_length():
    model = model_of("transformer", vocabulary_size=9, width=16, depth=1, num_heads=2, positions="rotary")
    tokens = np.arange(12, dtype=np.int32).reshape(2, 6) % 9
    outputs, longer, _ = applied(model, tokens, np.concatenate([tokens, tokens], axis=1))
    np.testing.assert_allclose(longer[:, :6], outputs, rtol=1e-4, atol=1e-5)


IMAGES, TOKENS = np.zeros((2, 8, 8, 3), np.float32), np.zeros((2, 6), np.int32)
FACTORY_REFUSALS = [
    ("resnet", {"width": 0}, "model.width", "at least 1 is expected, found 0"),
    ("wide_resnet", {"depth": 20}, "model.depth", "found 20; try 22"),
    ("wide_resnet", {"depth": -3}, "model.depth", "try 10"),
    ("wide_resnet", {"dropout_rate": 1.0}, "model.dropout_rate", r"a number in \[0, 1\) is expected, found 1.0"),
    ("vit", {"width": 10, "num_heads": 4}, "model.num_heads", "cannot be divided among 4 heads; write num_heads=5"),
    ("vit", {"drop_path_rate": float("nan")}, "model.drop_path_rate", "found nan"),
    ("vit", {"depth": 0}, "model.depth", "found 0"),
    ("mlp_mixer", {"token_width": -1}, "model.token_width", "found -1"),
    ("convnext", {"features": (8, 16)}, "model.depths", "one number a stage is expected: 2 features"),
    ("convnext", {"features": (), "depths": ()}, "model.depths", "0 features"),
    ("unet", {"features": ()}, "model.features", "at least one number"),
    ("unet", {"features": (4, 0)}, "model.features", r"found \(4, 0\)"),
    ("transformer", {"width": 12, "num_heads": 4, "positions": "rotary"}, "model.positions", "heads have 3 numbers"),
    ("transformer", {"pool": "first"}, "model.pool", "write 'last', or kind='masked'"),
    ("transformer", {"pool": "mean", "kind": "encoder_decoder"}, "model.pool", "outputs at each position, not 'mean'"),
    ("transformer", {"vocabulary_size": 0}, "model.vocabulary_size", "found 0"),
    ("lstm", {"num_layers": 0}, "model.num_layers", "found 0"),
    ("gru", {"hidden": -2}, "model.hidden", "found -2"),
    ("vae", {"latent_size": 0}, "model.latent_size", "found 0"),
    ("gnn", {"features": (0,)}, "model.features", r"found \(0,\)"),
]


@pytest.mark.parametrize(("name", "parameters", "path", "message"), FACTORY_REFUSALS)
def test_sizes_that_make_no_model_are_refused(name, parameters, path, message):
    with pytest.raises(ConfigError, match=rf"^config\.{path}: .*{message}"):
        model_of(name, 3, **parameters)


NODES = np.zeros((2, 5, 3), np.float32)
EDGES = np.zeros((2, 4, 2), np.int32)
CALL_REFUSALS = [
    ("resnet", {}, TOKENS, "config.model: resnet takes images .*found inputs of shape .batch, 6.; .*flat=False"),
    ("vit", {"patch_size": 3}, IMAGES, "config.model.patch_size: images of 8x8 .*write patch_size=2"),
    ("convnext", {"patch_size": 4}, IMAGES, "config.model.patch_size: .*at least 16x16 pixels, found 8x8"),
    ("unet", {"features": (4,) * 5}, IMAGES, "config.model.features: .*multiples of 16, found 8x8"),
    (
        "transformer",
        {},
        TOKENS.astype(np.float32),
        r"transformer takes tokens.* found float32\[batch, 6\]",
    ),
    ("transformer", {}, IMAGES, "config.model: transformer takes tokens"),
    ("transformer", {"max_length": 4, "vocabulary_size": 3}, TOKENS, "config.model.max_length: .* write max_length=6"),
    ("transformer", {"vocabulary_size": None}, TOKENS, "config.model.vocabulary_size: .*write vocabulary_size=…"),
    ("lstm", {}, IMAGES, r"config.model: lstm takes tokens .*found float32\[batch, 8, 8, 3\]"),
    (
        "lstm",
        {},
        {"tokens": TOKENS, "lengths": TOKENS},
        r"lengths are int\[batch\].* found \[batch, 6\]",
    ),
    ("gru", {}, {"tokens": TOKENS, "where": TOKENS[:, :4]}, r"where is bool\[batch, 6\].*found \[batch, 4\]"),
    ("vae", {}, {"a": IMAGES, "b": IMAGES}, "vae takes one array of inputs, the dataset has a, b"),
    ("gnn", {}, {"nodes": NODES}, "gnn takes edges.*found none of them"),
    ("gnn", {}, {"nodes": NODES, "edges": EDGES, "adjacency": EDGES}, "found both"),
    ("gnn", {}, {"nodes": NODES, "edges": EDGES[..., :1]}, r"pairs of nodes.*found \[batch, 4, 1\]"),
    ("gnn", {}, {"nodes": NODES, "adjacency": NODES}, r"adjacency is \[batch, 5, 5\], found \[batch, 5, 3\]"),
    ("gnn", {}, {"nodes": NODES, "edges": EDGES, "node_mask": TOKENS}, r"node_mask is bool\[batch, 5\]"),
    ("gnn", {}, {"nodes": TOKENS, "edges": EDGES}, r"gnn takes nodes float\[batch, nodes, features\]"),
]


@pytest.mark.parametrize(("name", "parameters", "inputs", "message"), CALL_REFUSALS)
def test_inputs_that_a_model_cannot_read_are_refused(name, parameters, inputs, message):
    tokens = {"vocabulary_size": 9} if name in ("transformer", "lstm", "gru") else {}
    classes = None if "vocabulary_size" in parameters else 3
    model = model_of(name, classes, **{**tokens, **parameters})
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), inputs)


@pytest.mark.parametrize(
    ("inputs", "given", "found"),
    [
        (np.array([[0, 6], [2, 1]]), None, 7),
        (np.array([[0, 6], [2, 1]]), 20, 20),
        ({"tokens": np.array([[0, 6], [2, -1]]), "lengths": np.array([1, 1])}, None, 5),  # of the classes
        ({"tokens": np.array([[0, 6], [2, -1]]), "where": np.array([[1, 1], [1, 0]])}, None, 7),
        ({"text": np.array([[0, 6], [2, 1]])}, None, None),  # of another name, which num_classes says nothing of
    ],
)
def test_a_vocabulary_is_what_the_dataset_holds(inputs, given, found):
    dataset = Dataset({"train": {"inputs": inputs, "targets": np.zeros((2, 2), int)}}, 5)
    module = lookup("model", "transformer").factory(dataset=dataset, vocabulary_size=given)
    assert module.vocabulary_size == found


@pytest.mark.parametrize(
    ("tokens", "given", "message"),
    [
        ([[0, 6]], 6, "config.model.vocabulary_size: found 6, for the tokens 0 … 5, but the dataset holds 6; write 7"),
        ([[0, -1]], None, "config.dataset: the tokens 'inputs' hold -1; .* lengths or where"),
    ],
)
def test_tokens_that_have_no_embedding_are_refused(tokens, given, message):
    dataset = Dataset({"train": {"inputs": np.array(tokens)}}, None)
    with pytest.raises(ConfigError, match=message):
        lookup("model", "gru").factory(dataset=dataset, vocabulary_size=given)


OUTPUTS = {name: np.zeros((2, 3), np.float32) for name in ("reconstruction", "mean", "log_variance")}


@pytest.mark.parametrize(
    ("parameters", "outputs", "inputs", "message"),
    [
        ({}, OUTPUTS["mean"], OUTPUTS["mean"], "needs the output 'reconstruction'.*component..vae"),
        (
            {},
            tuple(OUTPUTS.values()),
            np.zeros((2, 3)),
            r"'negative_elbo', reconstruction='0', mean='1', log_variance='2'",
        ),
        ({}, OUTPUTS, np.zeros((2, 4)), r"reconstruction \[2, 3\] and 'inputs' \[2, 4\] do not match"),
        ({}, OUTPUTS, np.full((2, 3), 1.5), r"takes values in \[0, 1\], 'inputs' hold 1.5 … 1.5; .*min_max"),
        ({"target": "pixels"}, OUTPUTS, np.zeros((2, 3)), "no field 'pixels' in the data"),
        ({"beta": -1.0}, OUTPUTS, np.zeros((2, 3)), "config.loss.beta: .*at least 0 is expected, found -1"),
        ({"beta": float("nan")}, OUTPUTS, np.zeros((2, 3)), "config.loss.beta: .*found nan"),
    ],
)
def test_what_has_no_bound_is_refused(parameters, outputs, inputs, message):
    with pytest.raises(MlgymError, match=message):
        lookup("loss", "negative_elbo").factory(**parameters)(outputs, {"inputs": inputs})


def test_a_vae_draws_in_training_alone_unless_told_otherwise():
    x = np.asarray(normal("x", (4, 6)))
    for draws in (False, True):
        model = model_of("vae", features=(5,), latent_size=2, draws_in_evaluation=draws)
        params, state = quick_jit(model.init)(jax.random.key(0), jnp.asarray(x))
        found = {}
        for train in (False, True):
            apply = quick_jit(lambda key, train=train: model.apply(params, state, jnp.asarray(x), key, train)[0])  # noqa: B023
            found |= {(seed, train): apply(jax.random.key(seed))["reconstruction"] for seed in (0, 1)}
        assert not np.array_equal(found[0, True], found[1, True])
        assert np.array_equal(found[0, False], found[1, False]) is not draws


@pytest.mark.parametrize("pool", ["last", "mean"])
@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_a_padded_sequence_is_read_as_it_is_alone(name, pool):
    sizes = {"hidden": 5} if name == "lstm" else {"width": 8, "depth": 1, "num_heads": 2, "positions": "rotary"}
    model = model_of(name, 3, vocabulary_size=9, pool=pool, **sizes)
    tokens, lengths = np.arange(12, dtype=np.int32).reshape(2, 6) ** 2 % 9, np.array([2, 5])
    each = [tokens[row : row + 1, :length] for row, length in enumerate(lengths)]
    outputs, *alone, _ = applied(model, {"tokens": tokens, "lengths": lengths}, *each)
    np.testing.assert_allclose(outputs, np.concatenate(alone), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_sequences_that_share_a_row_are_read_as_they_are_alone(kind, positions):
    sizes = {"width": 8, "depth": 2, "num_heads": 2, "positions": positions, "kind": kind}
    model = model_of("transformer", 9, vocabulary_size=9, max_length=7, **sizes)
    sequences = [np.array([7, 8, 1], np.int32), np.array([2, 5, 6], np.int32), np.array([4, 4, 3, 6], np.int32)]
    rows = packed({"tokens": sequences}, 7, fill=0)
    together = {name: rows[name] for name in ("tokens", "where", "segments", "positions")}
    found, *alone, _ = applied(model, together, *(sequence[None] for sequence in sequences))
    assert rows["tokens"].shape == (2, 7)
    places = [(0, 0), (0, 3), (1, 0)]
    for (row, start), expected in zip(places, alone, strict=True):
        np.testing.assert_allclose(found[row, start : start + expected.shape[1]], expected[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(ConfigError, match=r"transformer: segments are int\[batch, 7\], as the tokens; found float32"):
        applied(model, {"tokens": rows["tokens"], "segments": rows["where"].astype(np.float32)})
