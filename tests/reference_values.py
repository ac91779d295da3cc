"""The tiny models that PyTorch computed, `reference_models.npz`, and the numbers that both sides fill them with."""

import zlib

import numpy as np

# name -> (registered model, its parameters, number of classes)
CASES = {
    "resnet_small": ("resnet", {"width": 4}, 5),
    "resnet_imagenet": ("resnet", {"width": 2, "depth": 50, "stem": "imagenet"}, 5),
    "wide_resnet": ("wide_resnet", {"depth": 10, "widen_factor": 1}, 5),
    "vit": ("vit", {"width": 16, "depth": 2, "num_heads": 2}, 5),
    "mlp_mixer": ("mlp_mixer", {"width": 16, "depth": 2, "token_width": 8, "channel_width": 24}, 5),
    "convnext": ("convnext", {"features": (8, 12), "depths": (1, 2)}, 5),
    "unet": ("unet", {"features": (4, 8)}, 3),
    "unet_plain": ("unet", {"features": (4, 6, 8), "norm": None}, 3),
    "causal": ("transformer", {"vocabulary_size": 11, "width": 16, "depth": 2, "num_heads": 2}, None),
    "masked": (
        "transformer",
        {"kind": "masked", "vocabulary_size": 11, "width": 16, "depth": 2, "num_heads": 4, "pool": "mean"},
        3,
    ),
    "encoder_decoder": (
        "transformer",
        {"kind": "encoder_decoder", "vocabulary_size": 11, "width": 16, "depth": 2, "num_heads": 2},
        None,
    ),
    "lstm": ("lstm", {"hidden": 6, "bidirectional": True}, 3),
    "gru": ("gru", {"hidden": 6, "bidirectional": True, "pool": None, "vocabulary_size": 11}, 3),
    "vae": ("vae", {"features": (8, 6), "latent_size": 3}, None),
}
TRAINED_TOO = ("resnet_small", "wide_resnet", "unet")  # batch normalisation is computed in training mode, too
LENGTHS, OTHER_LENGTHS = np.array([7, 3, 5]), np.array([2, 6, 4])


def inputs(name):
    """Return the inputs of a case, as its model takes them."""
    tokens = np.random.RandomState(0).randint(0, 11, size=(3, 7)).astype(np.int32)
    images = {"resnet_small": (4, 9, 9, 3), "resnet_imagenet": (2, 33, 33, 3), "wide_resnet": (4, 9, 9, 3)}
    if name in ("causal",):
        return tokens
    if name in ("masked", "gru"):
        return {"tokens": tokens, "lengths": LENGTHS}
    if name == "encoder_decoder":
        lengths = {"source_lengths": LENGTHS, "target_lengths": OTHER_LENGTHS}
        return {"source": tokens, "target": tokens[::-1, :6].copy(), **lengths}
    if name == "lstm":
        return {"tokens": normal("inputs", (3, 7, 4)), "lengths": LENGTHS}
    return normal("inputs", images.get(name, (2, 8, 8, 3)))


def normal(path, shape):
    return np.random.RandomState(zlib.crc32(path.encode())).normal(size=shape).astype(np.float32)


def fill(path, shape):
    """Return the numbers of a parameter or statistic, float32 of a shape, by its path `collection/module/…/name`."""
    values, kind = normal(path, shape), path.rpartition("/")[2]
    if kind in ("kernel", "recurrent_kernel"):
        return values / np.float32(np.prod(shape[:-1]) ** 0.5)
    return {"scale": 1 + values / 10, "var": np.exp(values / 10)}.get(kind, values / 10)


def filled(shapes, path=""):
    """Return what stands for a tree of parameters and statistics, nested dicts of what has a shape."""
    if hasattr(shapes, "shape"):
        return fill(path, shapes.shape)
    return {name: filled(inside, f"{path}/{name}" if path else name) for name, inside in shapes.items()}
