"""Losses of generative adversarial networks, on named outputs of one model that holds both networks.

Synopsis, of a model that returns {"fake": …, "real_logits": float[batch], "fake_logits": float[batch]}:

    config.loss = component(
        "sum",
        losses=dict(
            discriminator=component("gan_discriminator", form="hinge"),
            generator=component("gan_generator", form="hinge"),
        ),
    )

Which network lowers which of them is said by the training step `alternating`. Logits of several positions, as of a
discriminator of patches, are averaged over these. Examples count by a field `where` of one bool or number each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from mlgym_jax.components.registry import register
from mlgym_jax.core.outputs import one_array, pick
from mlgym_jax.core.state import Batch, Outputs
from mlgym_jax.core.weighted import LossValues, of_examples
from mlgym_jax.errors import ConfigError, MlgymError

Form = Literal["non_saturating", "minimax", "hinge", "least_squares", "wasserstein"]
Loss = Callable[[Outputs, Batch], LossValues]
# form -> (what the discriminator pays for a real logit and a fake one, what the generator pays for its fake one).
_PAID: dict[str, tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]] = {
    "non_saturating": (lambda d: jax.nn.softplus(-d), jax.nn.softplus, lambda d: jax.nn.softplus(-d)),
    "minimax": (lambda d: jax.nn.softplus(-d), jax.nn.softplus, lambda d: -jax.nn.softplus(d)),
    "hinge": (lambda d: jax.nn.relu(1 - d), lambda d: jax.nn.relu(1 + d), lambda d: -d),
    "least_squares": (lambda d: jnp.square(d - 1) / 2, lambda d: jnp.square(d) / 2, lambda d: jnp.square(d - 1) / 2),
    "wasserstein": (lambda d: -d, lambda d: d, lambda d: -d),
}


@register("loss", "gan_discriminator", dynamic=("label_smoothing",))
def gan_discriminator(
    *,
    form: Form = "non_saturating",
    real: str = "real_logits",
    fake: str = "fake_logits",
    label_smoothing: float = 0.0,
) -> Loss:
    """Teach a discriminator to tell real examples from made ones.

    Of its logits r and f: `non_saturating` and `minimax` softplus(-r) + softplus(f) (Goodfellow et al., 2014), `hinge`
    max(0, 1 - r) + max(0, 1 + f) (Lim and Ye, 2017), `least_squares` ((r - 1)^2 + f^2) / 2 (Mao et al., 2016),
    `wasserstein` f - r (Arjovsky et al., 2017), whose critic also needs `gradient_penalty` or clipped parameters.

    Args:
        real: path of the output that holds the logits of the batch, float[batch] or float[batch, …].
        fake: path of those of made examples.
        label_smoothing: share, in [0, 1), of real examples that are called fake, (1 - a) softplus(-r) + a softplus(r):
            one-sided smoothing (Salimans et al., 2016), of the forms with softplus alone.

    Raises:
        ConfigError: a share outside of [0, 1), or one of a form without softplus.
    """
    is_known = isinstance(label_smoothing, int | float)
    smooths = not (is_known and label_smoothing == 0)
    if is_known and not 0 <= label_smoothing < 1:
        raise ConfigError("loss.label_smoothing", f"a number in [0, 1) is expected, found {label_smoothing}")
    if smooths and form not in ("non_saturating", "minimax"):
        raise ConfigError(
            "loss.label_smoothing",
            f"the form {form!r} has no labels to smooth; leave it out, or take form='non_saturating'",
        )
    of_real, of_fake, _ = _PAID[form]

    def loss(outputs: Outputs, batch: Batch) -> LossValues:
        reals, fakes = (_logits(outputs, path, batch, "gan_discriminator") for path in (real, fake))
        paid = of_real(reals)
        if smooths:
            share = jnp.asarray(label_smoothing, reals.dtype)
            paid = (1 - share) * paid + share * jax.nn.softplus(reals)
        return of_examples(_mean_of_rest(paid) + _mean_of_rest(of_fake(fakes)), batch)

    return loss


@register("loss", "gan_generator")
def gan_generator(*, form: Form = "non_saturating", fake: str = "fake_logits") -> Loss:
    """Teach a generator to make examples that the discriminator takes for real.

    Of the discriminator's logits f: `non_saturating` softplus(-f), `minimax` log(1 - sigmoid(f)) (Goodfellow et al.,
    2014), `least_squares` (f - 1)^2 / 2, `hinge` and `wasserstein` -f.

    Args:
        fake: path of the output that holds the logits of made examples, float[batch] or float[batch, …].
    """
    paid = _PAID[form][2]

    def loss(outputs: Outputs, batch: Batch) -> LossValues:
        return of_examples(_mean_of_rest(paid(_logits(outputs, fake, batch, "gan_generator"))), batch)

    return loss


@register("loss", "gradient_penalty", dynamic=("norm",))
def gradient_penalty(*, gradient: str = "gradient", norm: float = 1.0) -> Loss:
    """Keep the norm of a critic's gradient near to a number: (||g|| - norm)^2 (Gulrajani et al., 2017).

    The model returns the gradient of its critic by the critic's inputs, at points between real and made examples, as
    one of its outputs, float[batch, …]. With `norm=0` at the real examples it is the penalty R1 of Mescheder et al.
    (2018), with weight gamma / 2.

    Args:
        gradient: path of that output.
        norm: what the Euclidean norm of an example's gradient is to be, at least 0.

    Raises:
        ConfigError: a negative norm.
    """
    if isinstance(norm, int | float) and norm < 0:
        raise ConfigError("loss.norm", f"at least 0 is expected, found {norm}")

    def loss(outputs: Outputs, batch: Batch) -> LossValues:
        found = _logits(outputs, gradient, batch, "gradient_penalty")
        squares = jnp.square(found).sum(axis=tuple(range(1, found.ndim)))
        if isinstance(norm, int | float) and norm == 0:
            return of_examples(squares, batch)
        # The root has no gradient at 0 that a sum would survive.
        length = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
        return of_examples(jnp.square(length - jnp.asarray(norm, found.dtype)), batch)

    return loss


def _logits(outputs: Outputs, path: str, batch: Batch, name: str) -> jax.Array:
    found = jnp.asarray(one_array(pick(outputs, path)))
    size = batch["mask"].shape[0]
    if found.ndim == 0 or found.shape[0] != size:
        raise MlgymError(
            f"loss {name!r}: output {path!r} is {found.dtype.name}[{', '.join(map(str, found.shape))}]; one row an "
            f"example is expected, {size} in this batch"
        )
    return found


def _mean_of_rest(values: jax.Array) -> jax.Array:
    return values.mean(axis=tuple(range(1, values.ndim)))
