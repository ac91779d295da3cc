"""Compute `reference_models.npz`, what PyTorch's layers make of the cases of `reference_values.py`. Not run by pytest.

    python -m venv /tmp/torch && /tmp/torch/bin/pip install torch==2.13.0 numpy
    /tmp/torch/bin/python tests/reference_models.py

Every layer is PyTorch's own; their weights are filled by the paths that they have in this package.
"""

import math
import pathlib

import numpy as np
import torch
from reference_values import CASES, TRAINED_TOO, fill, inputs
from torch import nn
from torch.nn import functional as F


class Filled:
    """Makes layers of PyTorch that are filled by path, and keeps the paths and shapes."""

    def __init__(self, train):
        self.shapes, self.train = {}, train

    def values(self, path, *shape, collection="params"):
        self.shapes[f"{collection}/{path}"] = shape
        return torch.from_numpy(fill(f"{collection}/{path}", shape))

    def _kept(self, layer):
        return layer.train(self.train)

    @torch.no_grad()
    def dense(self, path, width, out):
        layer = self._kept(nn.Linear(width, out))
        layer.weight.copy_(self.values(f"{path}/kernel", width, out).T)
        layer.bias.copy_(self.values(f"{path}/bias", out))
        return layer

    @torch.no_grad()
    def conv(self, path, width, out, size, bias=False, groups=1, **given):
        layer = self._kept(nn.Conv2d(width, out, size, bias=bias, groups=groups, **given))
        kernel = self.values(f"{path}/kernel", size, size, width // groups, out)
        layer.weight.copy_(kernel.permute(3, 2, 0, 1))
        if bias:
            layer.bias.copy_(self.values(f"{path}/bias", out))
        return layer

    @torch.no_grad()
    def doubling(self, path, width, out):
        """Return a transposed convolution; PyTorch's kernels are those of Flax, turned by half a turn."""
        layer = self._kept(nn.ConvTranspose2d(width, out, 2, stride=2))
        layer.weight.copy_(self.values(f"{path}/kernel", 2, 2, width, out).flip(0, 1).permute(2, 3, 0, 1))
        layer.bias.copy_(self.values(f"{path}/bias", out))
        return layer

    @torch.no_grad()
    def norm(self, path, width, layer=None, epsilon=1e-6):
        layer = self._kept(nn.LayerNorm(width, eps=epsilon)) if layer is None else layer
        layer.weight.copy_(self.values(f"{path}/scale", width))
        layer.bias.copy_(self.values(f"{path}/bias", width))
        return layer

    @torch.no_grad()
    def batch_norm(self, path, width):
        layer = self._kept(nn.BatchNorm2d(width))
        self.norm(path, width, layer)
        layer.running_mean.copy_(self.values(f"{path}/mean", width, collection="batch_stats"))
        layer.running_var.copy_(self.values(f"{path}/var", width, collection="batch_stats"))
        return layer

    @torch.no_grad()
    def attention(self, path, layer):
        width = layer.embed_dim
        parts = {name: self.dense(f"{path}/{name}", width, width) for name in ("query", "key", "value")}
        layer.in_proj_weight.copy_(torch.cat([part.weight for part in parts.values()]))
        layer.in_proj_bias.copy_(torch.cat([part.bias for part in parts.values()]))
        out = self.dense(f"{path}/out", width, width)
        layer.out_proj.weight.copy_(out.weight)
        layer.out_proj.bias.copy_(out.bias)

    @torch.no_grad()
    def block(self, path, width, heads, activation, decoder=False, epsilon=1e-5):
        kind = nn.TransformerDecoderLayer if decoder else nn.TransformerEncoderLayer
        given = {"activation": activation, "layer_norm_eps": epsilon, "batch_first": True, "norm_first": True}
        layer = self._kept(kind(width, heads, 4 * width, dropout=0.0, **given))
        self.attention(f"{path}/attention", layer.self_attn)
        norms = ["attention_norm", "mlp_norm"]
        if decoder:
            self.attention(f"{path}/cross_attention", layer.multihead_attn)
            norms.insert(1, "cross_attention_norm")
        for number, name in enumerate(norms):
            self.norm(f"{path}/{name}", width, getattr(layer, f"norm{number + 1}"))
        layer.linear1.load_state_dict(self.dense(f"{path}/mlp/up", width, 4 * width).state_dict())
        layer.linear2.load_state_dict(self.dense(f"{path}/mlp/down", 4 * width, width).state_dict())
        return layer


def channels_first(x):
    return torch.from_numpy(x).permute(0, 3, 1, 2)


def resnet(made, x, width, depth=18, stem="small"):
    x = channels_first(x)
    size, stride = (7, 2) if stem == "imagenet" else (3, 1)
    x = made.conv("stem", 3, width, size, stride=stride, padding=size // 2)(x)
    x = F.relu(made.batch_norm("stem_norm", width)(x))
    if stem == "imagenet":
        x = F.max_pool2d(x, 3, stride=2, padding=1)
    for stage, number in enumerate({18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]):
        for place in range(number):
            path, inner, into = f"stage_{stage}_{place}", width * 2**stage, x.shape[1]
            stride, out = 2 if stage and not place else 1, inner * (1 if depth == 18 else 4)
            if depth == 18:
                shapes = [(into, inner, 3, stride), (inner, inner, 3, 1)]
            else:
                shapes = [(into, inner, 1, 1), (inner, inner, 3, stride), (inner, out, 1, 1)]
            y = x
            for layer, (a, b, size, step) in enumerate(shapes):
                y = made.conv(f"{path}/conv_{layer}", a, b, size, stride=step, padding=size // 2)(y)
                y = made.batch_norm(f"{path}/norm_{layer}", b)(y)
                y = F.relu(y) if layer < len(shapes) - 1 else y
            if stride != 1 or into != out:
                x = made.conv(f"{path}/projection", into, out, 1, stride=stride)(x)
                x = made.batch_norm(f"{path}/projection_norm", out)(x)
            x = F.relu(x + y)
    return made.dense("head", x.shape[1], 5)(x.mean(dim=(2, 3)))


def wide_resnet(made, x, depth, widen_factor):
    x = made.conv("stem", 3, 16, 3, padding=1)(channels_first(x))
    for stage in range(3):
        for place in range((depth - 4) // 6):
            path, width, into = f"stage_{stage}_{place}", 16 * 2**stage * widen_factor, x.shape[1]
            stride = 2 if stage and not place else 1
            y = F.relu(made.batch_norm(f"{path}/norm_0", into)(x))
            if into != width:
                x = made.conv(f"{path}/projection", into, width, 1, stride=stride)(y)
            y = made.conv(f"{path}/conv_0", into, width, 3, stride=stride, padding=1)(y)
            y = F.relu(made.batch_norm(f"{path}/norm_1", width)(y))
            x = x + made.conv(f"{path}/conv_1", width, width, 3, padding=1)(y)
    x = F.relu(made.batch_norm("norm", x.shape[1])(x))
    return made.dense("head", x.shape[1], 5)(x.mean(dim=(2, 3)))


def patches(made, x, size, width):
    x = made.conv("patches", 3, width, size, stride=size, bias=True)(channels_first(x))
    return x.flatten(2).transpose(1, 2)


def vit(made, x, width, depth, num_heads):
    x = patches(made, x, 4, width)
    token = made.values("class_token", 1, 1, width).expand(len(x), -1, -1)
    x = torch.cat([token, x], dim=1)
    x = x + made.values("positions", 1, x.shape[1], width)
    for number in range(depth):
        x = made.block(f"block_{number}", width, num_heads, "gelu", epsilon=1e-6)(x)
    return made.dense("head", width, 5)(made.norm("norm", width)(x)[:, 0])


def mlp_mixer(made, x, width, depth, token_width, channel_width):
    x = patches(made, x, 4, width)

    def feed(path, size, inner, y):
        return made.dense(f"{path}/down", inner, size)(F.gelu(made.dense(f"{path}/up", size, inner)(y)))

    for number in range(depth):
        path = f"block_{number}"
        y = made.norm(f"{path}/tokens_norm", width)(x).transpose(1, 2)
        x = x + feed(f"{path}/tokens", x.shape[1], token_width, y).transpose(1, 2)
        x = x + feed(f"{path}/channels", width, channel_width, made.norm(f"{path}/channels_norm", width)(x))
    return made.dense("head", width, 5)(made.norm("norm", width)(x).mean(dim=1))


def convnext(made, x, features, depths):
    x = channels_first(x)

    def normed(path, x):
        return made.norm(path, x.shape[1])(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    for stage, (width, depth) in enumerate(zip(features, depths, strict=True)):
        if stage:
            x = normed(f"halving_norm_{stage}", x)
        x = made.conv(f"halving_{stage}" if stage else "stem", x.shape[1], width, 2, stride=2, bias=True)(x)
        if not stage:
            x = normed("stem_norm", x)
        for place in range(depth):
            path = f"stage_{stage}_{place}"
            y = made.conv(f"{path}/depthwise", width, width, 7, bias=True, groups=width, padding=3)(x)
            y = made.norm(f"{path}/norm", width)(y.permute(0, 2, 3, 1))
            y = made.dense(f"{path}/down", 4 * width, width)(F.gelu(made.dense(f"{path}/up", width, 4 * width)(y)))
            x = x + (y * made.values(f"{path}/layer_scale", width)).permute(0, 3, 1, 2)
    return made.dense("head", x.shape[1], 5)(made.norm("norm", x.shape[1])(x.mean(dim=(2, 3))))


def unet(made, x, features, norm="batch"):
    x = channels_first(x)

    def double(path, x, width):
        for number in range(2):
            x = made.conv(f"{path}/conv_{number}", x.shape[1], width, 3, bias=norm is None, padding=1)(x)
            x = F.relu(x if norm is None else made.batch_norm(f"{path}/norm_{number}", width)(x))
        return x

    on_the_way = []
    for level, width in enumerate(features[:-1]):
        x = double(f"down_{level}", x, width)
        on_the_way.append(x)
        x = F.max_pool2d(x, 2)
    x = double("bottom", x, features[-1])
    for level in reversed(range(len(features) - 1)):
        x = made.doubling(f"doubled_{level}", x.shape[1], features[level])(x)
        x = double(f"up_{level}", torch.cat([on_the_way[level], x], dim=1), features[level])
    return made.conv("head", x.shape[1], 3, 1, bias=True)(x).permute(0, 2, 3, 1)


def gelu_tanh(x):
    return F.gelu(x, approximate="tanh")


def padding(lengths, length):
    return torch.arange(length)[None] >= torch.from_numpy(lengths)[:, None]


def unseen(length):
    return torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal=1)


def transformer(made, given, kind, vocabulary_size, width, depth, num_heads, pool=None):
    embedding = made.values("embedding/embedding", vocabulary_size, width)

    def embedded(tokens, positions):
        tokens = torch.from_numpy(tokens).long()
        return embedding[tokens] + made.values(positions, tokens.shape[1], width)

    def norm(path):
        return made.norm(path, width, epsilon=1e-5)

    if kind == "encoder_decoder":
        hidden, length = padding(given["source_lengths"], given["source"].shape[1]), given["target"].shape[1]
        memory = embedded(given["source"], "source_positions")
        for number in range(depth):
            block = made.block(f"encoder_{number}", width, num_heads, gelu_tanh)
            memory = block(memory, src_key_padding_mask=hidden)
        memory, x = norm("encoder_norm")(memory), embedded(given["target"], "target_positions")
        masks = {"tgt_mask": unseen(length), "memory_key_padding_mask": hidden}
        masks["tgt_key_padding_mask"] = padding(given["target_lengths"], length)
        for number in range(depth):
            x = made.block(f"decoder_{number}", width, num_heads, gelu_tanh, decoder=True)(x, memory, **masks)
        return norm("decoder_norm")(x) @ embedding.T
    tokens = given if kind == "causal" else given["tokens"]
    hidden = None if kind == "causal" else padding(given["lengths"], tokens.shape[1])
    x = embedded(tokens, "positions")
    mask = unseen(tokens.shape[1]) if kind == "causal" else None
    for number in range(depth):
        block = made.block(f"block_{number}", width, num_heads, gelu_tanh)
        x = block(x, src_mask=mask, src_key_padding_mask=hidden)
    x = norm("norm")(x)
    if kind == "causal":
        return x @ embedding.T
    x = torch.stack([row[:length].mean(dim=0) for row, length in zip(x, given["lengths"], strict=True)])
    return made.dense("head", width, 3)(x)


@torch.no_grad()
def recurrent(made, given, cell, hidden, bidirectional, pool="last", vocabulary_size=None):
    x, lengths = torch.from_numpy(given["tokens"]), torch.from_numpy(given["lengths"])
    if vocabulary_size is not None:
        x = made.values("embedding/embedding", vocabulary_size, hidden)[x.long()]
    kind, gates = (nn.LSTM, 4) if cell == "lstm" else (nn.GRU, 3)
    layer = kind(x.shape[2], hidden, num_layers=2, bidirectional=True, batch_first=True)
    for number in range(2):
        width = x.shape[2] if number == 0 else 2 * hidden
        for way, suffix in (("forwards", ""), ("backwards", "_reverse")):
            path, name = f"{way}_{number}", f"l{number}{suffix}"
            kernel = made.values(f"{path}/input/kernel", width, gates * hidden)
            getattr(layer, f"weight_ih_{name}").copy_(kernel.T)
            getattr(layer, f"bias_ih_{name}").copy_(made.values(f"{path}/input/bias", gates * hidden))
            getattr(layer, f"weight_hh_{name}").copy_(made.values(f"{path}/recurrent_kernel", hidden, gates * hidden).T)
            bias = torch.zeros(gates * hidden)  # PyTorch's second one adds up with the first, but for the GRU's last
            if cell == "gru":
                bias[2 * hidden :] = made.values(f"{path}/recurrent_bias", hidden)
            getattr(layer, f"bias_hh_{name}").copy_(bias)
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    states, last = layer(packed)
    head = made.dense("head", 2 * hidden, 3)
    if pool == "last":
        return head(torch.cat([last[0][2], last[0][3]], dim=1))
    return head(nn.utils.rnn.pad_packed_sequence(states, batch_first=True)[0])


def vae(made, x, features, latent_size):
    pixels = torch.sigmoid(torch.from_numpy(x))
    flat = y = torch.from_numpy(x).flatten(1)

    def layers(path, y, widths):
        for number, width in enumerate(widths):
            y = F.relu(made.dense(f"{path}/Dense_{number}", y.shape[1], width)(y))
        return y

    y = layers("encoder", y, features)
    mean, log_variance = (made.dense(name, y.shape[1], latent_size)(y) for name in ("mean", "log_variance"))
    y = layers("decoder", mean, features[::-1])
    found = made.dense("reconstruction", y.shape[1], flat.shape[1])(y).view(x.shape)
    latent = torch.distributions.Normal(mean, torch.exp(log_variance / 2))
    divergence = torch.distributions.kl_divergence(latent, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    of_bits = -torch.distributions.Bernoulli(logits=found, validate_args=False).log_prob(pixels).flatten(1).sum(dim=1)
    of_numbers = -torch.distributions.Normal(found, 1.0).log_prob(torch.from_numpy(x)).flatten(1).sum(dim=1)
    of_numbers = of_numbers - flat.shape[1] * math.log(2 * math.pi) / 2
    losses = {"bernoulli": of_bits + 2 * divergence, "gaussian": of_numbers + 2 * divergence}
    return {"reconstruction": found, "mean": mean, "log_variance": log_variance, **losses}


MODELS = {
    "resnet": resnet,
    "wide_resnet": wide_resnet,
    "vit": vit,
    "mlp_mixer": mlp_mixer,
    "convnext": convnext,
    "unet": unet,
    "transformer": lambda made, x, kind="causal", **given: transformer(made, x, kind, **given),
    "lstm": lambda made, x, **given: recurrent(made, x, "lstm", **given),
    "gru": lambda made, x, **given: recurrent(made, x, "gru", **given),
    "vae": vae,
}


def main():
    torch.backends.mha.set_fastpath_enabled(False)
    found = {}
    for name, (model, parameters, _) in CASES.items():
        for mode in ("", "/train")[: 2 if name in TRAINED_TOO else 1]:
            made = Filled(bool(mode))
            with torch.no_grad():
                outputs = MODELS[model](made, inputs(name), **parameters)
            parts = outputs if isinstance(outputs, dict) else {"outputs": outputs}
            found |= {f"{name}{mode}/{part}": array.numpy() for part, array in parts.items()}
            found[f"{name}/paths"] = np.array([f"{path} {shape}" for path, shape in sorted(made.shapes.items())])
    np.savez_compressed(pathlib.Path(__file__).with_suffix(".npz"), **found)


if __name__ == "__main__":
    main()
