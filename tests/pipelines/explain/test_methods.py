"""Class evidence, on networks where the right answer is known, and on those that are shipped."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pipelines.explain import METHODS, OF_A_LAYER
from pipelines.explain.errors import ExplainError
from pipelines.explain.gradients import logits
from pipelines.explain.network import Network
from serving.runtime.explanation import METHODS as SERVED
from tests.pipelines.explain.conftest import MODELS, SHIPPED, Opened

Open = Callable[[str], Opened]
RNG = np.random.default_rng(0)
NO_CAM = ("text",)  # its network ends in a maximum over time


def picture(height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(height, width, channels)).astype(np.float32)


def network_of(*stack: layers.Layer, shape: tuple[int, ...] = (8, 8, 3)) -> Network:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input(shape)
    for layer in stack:
        x = layer(x)
    model = keras.Model(inputs, x)
    for number, layer in enumerate(stack):
        setattr(model, f"layer{number}", layer)  # by which it has a name
    return Network(model, [str(n) for n in range(x.shape[-1])], shape)


@pytest.fixture(scope="module")
def linear() -> Network:
    return network_of(layers.Flatten(), layers.Dense(3, bias_initializer="random_normal"))


@pytest.fixture(scope="module")
def pooled() -> Network:
    """A convolution, its mean, one fully connected layer."""
    return network_of(
        layers.Conv2D(6, 3, activation="relu"),
        layers.Conv2D(5, 3, strides=2, padding="same", activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, bias_initializer="random_normal"),
    )


def weights_of(linear: Network, class_id: int) -> np.ndarray:
    return linear.model.layers[-1].kernel.numpy()[:, class_id].reshape(8, 8, 3)


def test_saliency_of_a_linear_network_is_its_weights(linear: Network) -> None:
    explained = METHODS["saliency"](linear, picture(), 1)
    np.testing.assert_allclose(explained.values, np.abs(weights_of(linear, 1)).max(-1), rtol=1e-5)
    smooth = METHODS["smoothgrad"](linear, picture(), 1)
    np.testing.assert_allclose(smooth.values, explained.values, rtol=1e-4)


def test_integrated_gradients_and_occlusion_of_a_linear_network_are_w_x(linear: Network) -> None:
    x, class_id = picture(), 2
    each = (weights_of(linear, class_id) * x).sum(-1)
    integrated = METHODS["integrated-gradients"](linear, x, class_id)
    np.testing.assert_allclose(integrated.values, each, atol=1e-5)
    one = METHODS["occlusion"](linear, x, class_id, window=(1, 1), stride=(1, 1))
    np.testing.assert_allclose(one.values, each, atol=1e-5)

    windows = METHODS["occlusion"](linear, x, class_id, window=(2, 4), stride=(2, 4))
    whole = each.reshape(4, 2, 2, 4).sum(axis=(1, 3))
    np.testing.assert_allclose(windows.values, np.kron(whole, np.ones((2, 4))), atol=1e-5)


def test_occlusion_covers_all_of_an_input_that_its_stride_does_not_divide(linear: Network) -> None:
    x = picture()
    explained = METHODS["occlusion"](linear, x, 0, window=(3, 3), stride=(3, 3))
    each = (weights_of(linear, 0) * x).sum(-1)
    assert explained.values[7, 7] == pytest.approx(each[5:, 5:].sum(), abs=1e-5)
    four = [each[row : row + 3, column : column + 3].sum() for row in (3, 5) for column in (3, 5)]
    assert explained.values[5, 5] == pytest.approx(np.mean(four), abs=1e-5)


def test_guided_backprop_lets_only_what_excites_through() -> None:
    network = network_of(
        layers.Flatten(), layers.Dense(9, activation="relu"), layers.ReLU(), layers.Dense(2)
    )
    x, class_id = picture(), 1
    hidden, out = network.model.layers[-3].kernel.numpy(), network.model.layers[-1].kernel.numpy()
    active = x.reshape(-1) @ hidden > 0
    assert 0 < active.sum() < 9
    by_hand = hidden @ np.where(active, np.maximum(out[:, class_id], 0), 0)
    explained = METHODS["guided-backprop"](network, x, class_id)
    expected = np.abs(by_hand.reshape(8, 8, 3)).max(-1)
    np.testing.assert_allclose(explained.values, expected, rtol=1e-4)
    assert not np.allclose(METHODS["saliency"](network, x, class_id).values, expected)


def test_guided_backprop_needs_a_relu(linear: Network) -> None:
    with pytest.raises(ExplainError, match=r"has no ReLU.*take saliency"):
        METHODS["guided-backprop"](linear, picture(), 0)


def test_grad_cam_of_a_mean_and_a_dense_layer_is_cam_over_its_positions(pooled: Network) -> None:
    for class_id in range(3):
        cam = METHODS["cam"](pooled, picture(), class_id)
        grad_cam = METHODS["grad-cam"](pooled, picture(), class_id)
        assert cam.coarse.shape == (3, 3)
        np.testing.assert_allclose(grad_cam.coarse, np.maximum(cam.coarse, 0) / 9, atol=1e-6)


def test_cam_adds_up_to_the_logit(pooled: Network) -> None:
    head = pooled.model.layers[-1]
    found = pooled.model(picture()[None])[0].numpy()
    bias = head.bias.numpy()
    for class_id in range(3):
        cam = METHODS["cam"](pooled, picture(), class_id)
        assert cam.coarse.mean() + bias[class_id] == pytest.approx(found[class_id], abs=1e-5)


@pytest.mark.parametrize("domain", ["image", "audio"])
def test_grad_cam_is_cam_on_the_shipped_networks(domain: str, opened: Open) -> None:
    network, _, example, class_id = opened(domain)
    cam = METHODS["cam"](network, example, class_id)
    grad_cam = METHODS["grad-cam"](network, example, class_id, layer=cam.layer)
    np.testing.assert_allclose(
        grad_cam.coarse, np.maximum(cam.coarse, 0) / cam.coarse.size, atol=1e-5
    )
    assert cam.coarse.max() > 0


@pytest.mark.parametrize("domain", ["audio", "text"])
def test_the_maps_of_shipped_networks_are_the_servers(domain: str, opened: Open) -> None:
    """The same layer, so the same Grad-CAM before either enlarges it in its own way."""
    network, _, example, class_id = opened(domain)
    endpoint = tf.saved_model.load(str(SHIPPED / MODELS[domain] / "1")).signatures["explain"]
    answer = endpoint(examples=tf.constant(example[None]), class_ids=tf.constant([class_id]))
    outputs = {name: value.numpy() for name, value in answer.items()}
    for method in ("grad-cam", "grad-cam++"):
        ours = METHODS[method](network, example, class_id).coarse
        np.testing.assert_allclose(
            ours, SERVED[method](outputs), atol=1e-4 * float(np.abs(ours).max())
        )


def test_grad_cam_plus_plus_by_its_equation(pooled: Network) -> None:
    """Equations 10 and 19, term by term."""
    x, class_id = picture(), 1
    maps, _ = pooled.features("layer1")(x[None])
    a = maps.numpy()[0].astype(float)
    g = np.broadcast_to(pooled.model.layers[-1].kernel.numpy()[:, class_id] / 9, a.shape)
    expected = np.zeros((3, 3))
    for k in range(5):
        below = 2 * g[..., k] ** 2 + a[..., k].sum() * g[..., k] ** 3
        alpha = np.where(below == 0, 0, g[..., k] ** 2 / np.where(below == 0, 1, below))
        expected += (alpha * np.maximum(g[..., k], 0)).sum() * a[..., k]
    explained = METHODS["grad-cam++"](pooled, x, class_id)
    np.testing.assert_allclose(explained.coarse, expected, rtol=1e-4, atol=1e-7)


def test_score_cam_asks_what_is_said_of_each_map_s_part() -> None:
    """Two maps, of the left and the right half; only the right one makes the class."""
    halves = np.zeros((1, 1, 2, 2), np.float32)
    halves[0, 0, 0, 0] = halves[0, 0, 1, 1] = 1
    network = network_of(
        layers.Conv2D(2, 1, use_bias=False), layers.Flatten(), layers.Dense(2), shape=(8, 8, 2)
    )
    network.model.layers[1].set_weights([halves])
    kernel = np.zeros((8, 8, 2, 2), np.float32)
    kernel[..., 1, 1] = 1
    network.model.layers[-1].set_weights([kernel.reshape(-1, 2), np.zeros(2)])
    x = np.zeros((8, 8, 2), np.float32)
    x[:, :4, 0] = x[:, 4:, 1] = 1
    explained = METHODS["score-cam"](network, x, 1)
    np.testing.assert_allclose(explained.values[:, 4:], 1, atol=1e-5)
    np.testing.assert_allclose(explained.values[:, :4], 0, atol=1e-5)


@pytest.mark.parametrize("domain", MODELS)
def test_integrated_gradients_add_up(domain: str, opened: Open) -> None:
    """Completeness: to the logit's rise over the baseline's, within 1 %."""
    network, _, example, class_id = opened(domain)
    explained = METHODS["integrated-gradients"](network, example, class_id)
    x = network.embed(example[None]).numpy()
    before, after = logits(network, np.concatenate([np.zeros_like(x), x]), example, class_id)
    assert explained.values.sum() == pytest.approx(after - before, rel=0.0101)
    assert explained.delta == pytest.approx(
        explained.values.sum() - (after - before), abs=1e-3 * float(abs(after - before))
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("domain", MODELS)
def test_each_method_in_each_domain(domain: str, method: str, opened: Open) -> None:
    network, _, example, class_id = opened(domain)
    if method == "cam" and domain in NO_CAM:
        with pytest.raises(ExplainError, match=r"cam needs .*questions does not: take grad-cam"):
            METHODS[method](network, example, class_id)
        return
    explained = METHODS[method](network, example, class_id)
    assert explained.values.shape == (example.shape if domain == "text" else example.shape[:2])
    assert explained.values.dtype == np.float32
    assert np.isfinite(explained.values).all()
    assert explained.values.max() > 0
    assert (explained.method, explained.class_id) == (method, class_id)
    assert explained.label == network.labels[class_id]
    assert explained.score == pytest.approx(network.scores(example[None])[0, class_id], abs=1e-6)
    if domain == "text":  # padding is nothing
        assert np.abs(explained.values[example == 0]).max(initial=0) <= explained.values.max()


@pytest.mark.parametrize("method", OF_A_LAYER)
def test_a_layer_can_be_chosen(method: str, pooled: Network) -> None:
    first = METHODS[method](pooled, picture(), 0, layer="layer0")
    assert first.layer == "layer0"
    assert not np.allclose(first.values, METHODS[method](pooled, picture(), 0).values)
    with pytest.raises(ExplainError, match=r"no layer 'conv9'; it has layer0, layer1"):
        METHODS[method](pooled, picture(), 0, layer="conv9")
    with pytest.raises(ExplainError, match=r"'layer3' .* has no positions left.*'layer1'"):
        METHODS[method](pooled, picture(), 0, layer="layer3")


def test_a_map_is_enlarged_around_what_it_saw() -> None:
    """Without padding, a map's corner is not the picture's: TensorFlow's resize says it is."""
    network = network_of(
        layers.Conv2D(1, 5, kernel_initializer="ones"), layers.Flatten(), layers.Dense(2)
    )
    from pipelines.explain.enlarge import enlarger

    coarse = np.zeros((4, 4))
    coarse[0, 3] = 1.0
    values = enlarger(network, "layer0", (8, 8, 3))(coarse)
    assert np.unravel_index(values.argmax(), values.shape) == (0, 5)
    assert values[2, 5] == pytest.approx(1)
    assert values[2, 4] == values[3, 5] == pytest.approx(0)


def test_a_map_of_padded_halves_is_enlarged_as_tensorflow_does_it() -> None:
    network = network_of(
        layers.AveragePooling2D(2), layers.Conv2D(2, 1), layers.Flatten(), layers.Dense(2)
    )
    from pipelines.explain.enlarge import enlarger

    maps = RNG.normal(size=(4, 4)).astype(np.float32)
    theirs = tf.image.resize(maps[..., None], (8, 8))[..., 0]
    ours = enlarger(network, "layer1", (8, 8, 3))(maps)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
