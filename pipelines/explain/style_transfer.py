"""Style transfer: the content of one picture in the style of another, by descent on the pixels.

Content is what a layer's filters give, place by place. Style is which filters go together,
wherever that is: the Gram matrix. Both differences are made small.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy.optimize import minimize

from pipelines.explain.regularizers import TotalVariation2D

ALPHA, BETA = 1.0, 1e3  # the paper's ratios are 1e-3 and 1e-4
ADAM_RATE = 0.02
OPTIMIZERS = ("l-bfgs", "adam")

# [1, H, W, C] within [0, 1] -> {layer: output}
Features = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]


class Transfer(NamedTuple):
    picture: np.ndarray  # [H, W, C] within [0, 1]
    losses: np.ndarray  # of each evaluation, as it came


def gram_matrix(output: tf.Tensor) -> tf.Tensor:
    """How strongly filters go together, summed over all places.  [1, ..., N] -> [N, N]"""
    flat = tf.reshape(output, [-1, output.shape[-1]])
    return tf.matmul(flat, flat, transpose_a=True)


def content_loss(output: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Equation 1."""
    return tf.reduce_sum(tf.square(output - wanted)) / 2


def style_loss(output: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """E of one layer (equation 4): each Gram matrix over the places that it is of.

    Differs: so pictures of two sizes compare; of one size, it is the paper's 1 / (4 N² M²).
    """
    difference = _over_places(output) - _over_places(wanted)
    return tf.reduce_sum(tf.square(difference)) / (4 * output.shape[-1] ** 2)


def _over_places(output: tf.Tensor) -> tf.Tensor:
    places = tf.size(output) // output.shape[-1]  # M
    return gram_matrix(output) / tf.cast(places, output.dtype)


def style_transfer(
    features: Features,
    content: np.ndarray,
    style: np.ndarray,
    content_layers: Sequence[str],
    style_layers: Sequence[str],
    *,
    alpha: float = ALPHA,
    beta: float = BETA,
    total_variation: float = 0.0,
    optimizer: Literal["l-bfgs", "adam"] = "l-bfgs",
    steps: int = 200,
    start: np.ndarray | None = None,
) -> Transfer:
    """Minimises alpha content + beta style + total variation over pictures within [0, 1].

    Args:    content, style: [H, W, C], of any two sizes; steps: evaluations of the loss at most;
             start: a picture like `content`, or else that itself.
    Raises:  ValueError if no layer is named, or the optimizer is another.
    Source:  Gatys 2016, section 2, doi 10.1109/CVPR.2016.265. Layers of a kind count alike, as
             there.
    Differs: starts from the content, as the authors' code does; the paper has noise.
    """
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be 'l-bfgs' or 'adam', not {optimizer!r}")
    if not content_layers or not style_layers:
        raise ValueError("style transfer needs at least one layer for content and one for style")
    contents = _outputs(features, content, content_layers)
    styles = _outputs(features, style, style_layers)
    penalty = TotalVariation2D(total_variation)

    @tf.function
    def loss_and_gradient(picture: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(picture)
            outputs = features(picture)
            kept = [content_loss(outputs[name], contents[name]) for name in content_layers]
            drawn = [style_loss(outputs[name], styles[name]) for name in style_layers]
            loss = alpha * sum(kept) / len(kept) + beta * sum(drawn) / len(drawn)
            loss += tf.reduce_sum(penalty(picture))
        return loss, tape.gradient(loss, picture)

    begin = (content if start is None else start)[np.newaxis].astype(np.float32)
    losses: list[float] = []

    def evaluate(picture: np.ndarray) -> tuple[float, np.ndarray]:
        shaped = tf.constant(picture.reshape(begin.shape), tf.float32)
        loss, gradient = loss_and_gradient(shaped)
        losses.append(float(loss))
        return float(loss), gradient.numpy().astype(np.float64).ravel()

    if optimizer == "l-bfgs":
        options = {"maxfun": steps, "maxiter": steps}
        bounds = [(0.0, 1.0)] * begin.size
        flat = begin.astype(np.float64).ravel()
        found = minimize(
            evaluate, flat, method="L-BFGS-B", jac=True, bounds=bounds, options=options
        )
        picture = found.x.reshape(begin.shape)
    else:
        variable, adam = keras.Variable(begin), keras.optimizers.Adam(ADAM_RATE)
        adam.build([variable])
        for _ in range(steps):
            _, gradient = evaluate(keras.ops.convert_to_numpy(variable))
            adam.apply([tf.constant(gradient.reshape(begin.shape), tf.float32)], [variable])
            variable.assign(keras.ops.clip(variable, 0.0, 1.0))
        picture = keras.ops.convert_to_numpy(variable)
        losses.append(float(loss_and_gradient(tf.constant(picture))[0]))
    return Transfer(picture[0].astype(np.float32), np.array(losses))


def _outputs(features: Features, picture: np.ndarray, names: Sequence[str]) -> dict[str, tf.Tensor]:
    outputs = features(tf.constant(picture[np.newaxis], tf.float32))
    return {name: outputs[name] for name in names}
