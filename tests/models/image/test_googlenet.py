"""GoogLeNet: table 1's shapes and counts; auxiliary heads that train and don't serve."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.ops import convert_to_numpy

from models.graph import shapes_only
from models.image.googlenet import STAGE3, STAGE4, STAGE5, AuxiliaryHead, GoogLeNet
from models.layers.local_response import LocalResponseNorm
from models.layers.pooling import CeilMaxPool

ROW = (4, 3, 4, 2, 3, 2)
TINY = {"stem_filters": (4, 4, 6), "rows": ((ROW,), (ROW, ROW, ROW), (ROW,))}


def built(size: int = 224, **options) -> GoogLeNet:
    network = GoogLeNet(**{"num_classes": 1000, **options})
    network(keras.KerasTensor((1, size, size, 3)))
    return network


def images(size: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, size, size, 3)).astype(np.float32)


def trained(network: keras.layers.Layer) -> int:
    return sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)


def size(layer: keras.layers.Layer) -> int:
    return sum(int(np.prod(weight.shape)) for weight in layer.weights)


def unvalued(**options) -> GoogLeNet:
    """Within `shapes_only`."""
    network = GoogLeNet(1000, **options)
    network.call(keras.KerasTensor((1, 224, 224, 3)), training=True)
    return network


class TestTheTable:
    def test_counts(self) -> None:
        """The paper's own column adds up to 6.8M: it doesn't follow from its filters."""
        with shapes_only():
            network = unvalued()
            assert size(network) == trained(network) == 6_998_552
            # 3a: every kernel's height * width * channels in * out, and a bias per filter
            assert size(network.stage3[0]) == (
                192 * (64 + 96 + 16 + 32)
                + (9 * 96 * 128 + 25 * 16 * 32)
                + (64 + 96 + 128 + 16 + 32 + 32)
            )
            assert network.stage3[0].branch5[1].kernel.shape == (5, 5, 16, 32)

    def test_counts_with_auxiliary_heads(self) -> None:
        """Each: 1x1 convolution to 128, 4 * 4 * 128 to 1024, 1024 to 1000."""
        dense = (4 * 4 * 128 * 1024 + 1024) + (1024 * 1000 + 1000)
        heads = (512 * 128 + 128 + dense) + (528 * 128 + 128 + dense)
        with shapes_only():
            assert size(unvalued(auxiliary=True)) == 6_998_552 + heads == 13_378_280

    def test_counts_with_batch_norm(self) -> None:
        """A bias becomes beta, and each filter gets gamma, a mean and a variance, too."""
        rows = sum(sum(row) for row in (*STAGE3, *STAGE4, *STAGE5))
        filters = 64 + 64 + 192 + rows
        with shapes_only():
            network = unvalued(batch_norm=True)
            assert trained(network) == 6_998_552 + filters == 7_005_832
            assert size(network) == 7_005_832 + 2 * filters
            head = AuxiliaryHead(1000, batch_norm=True)
            head(keras.KerasTensor((1, 14, 14, 512)))
            assert trained(head) == (512 * 128 + 2 * 128) + 2_098_176 + 1_025_000

    def test_sizes(self) -> None:
        network = GoogLeNet(10)
        x = keras.KerasTensor((1, 224, 224, 3))
        stem, shapes = [], []
        for layer in network.stem:
            x = layer(x)
            stem.append(x.shape[1::2])
        for layer in (*network.stage3, network.pool3, *network.stage4, network.pool4):
            x = layer(x)
            shapes.append(x.shape[1::2])
        # fmt: off
        assert stem == [(230, 3), (112, 64), (56, 64), (56, 64), (56, 64), (56, 192), (56, 192),
                        (28, 192)]
        assert shapes == [(28, 256), (28, 480), (14, 480), (14, 512), (14, 512), (14, 512),
                          (14, 528), (14, 832), (7, 832)]
        # fmt: on

    def test_the_5x5_branch_is_5x5(self) -> None:
        assert GoogLeNet(10).stage3[0].branch5[1].kernel_size == (5, 5)
        assert GoogLeNet(10, batch_norm=True).stage3[0].branch5[1].conv.kernel_size == (5, 5)

    def test_local_response_norm_after_the_first_pool_and_the_third_convolution(self) -> None:
        kinds = [type(layer) for layer in GoogLeNet(10).stem]
        conv = keras.layers.Conv2D
        assert kinds[1:] == [
            *(conv, CeilMaxPool, LocalResponseNorm),
            *(conv, conv, LocalResponseNorm, CeilMaxPool),
        ]
        norm = GoogLeNet(10).stem[3]
        values = (norm.depth_radius, norm.bias, norm.alpha, norm.beta)
        assert values == (2, 1.0, 2e-5, 0.75)  # Caffe's alpha is divided by n = 5, ours isn't
        assert LocalResponseNorm not in [type(x) for x in GoogLeNet(10, batch_norm=True).stem]

    def test_dropout_rates(self) -> None:
        network = GoogLeNet(10, auxiliary=True)
        assert network.head.dropout.rate == 0.4
        assert [side.dropout.rate for side in network.sides] == [0.7, 0.7]


class TestAuxiliaryHeads:
    SIZE = 32  # (4a) has 8x8, and a head 2x2

    def small(self, **options) -> GoogLeNet:
        network = GoogLeNet(3, **TINY, auxiliary=True, small_images=True, **options)
        network.compile(
            keras.optimizers.SGD(0.01),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
            jit_compile=False,
        )
        return network

    def test_three_outputs_in_training_and_one_at_inference(self) -> None:
        network = self.small()
        outputs = network(images(self.SIZE), training=True)
        assert [output.shape for output in outputs] == [(2, 3)] * 3
        assert network(images(self.SIZE)).shape == (2, 3)
        assert network(images(self.SIZE), training=False).shape == (2, 3)

    def test_they_hang_on_4a_and_4d(self) -> None:
        with shapes_only():
            sides = unvalued(auxiliary=True).sides
            assert [side.conv.kernel.shape[2] for side in sides] == [512, 528]

    @pytest.mark.parametrize("training", [False, True])
    def test_absent_from_the_graph_of_inference(self, training: bool) -> None:
        network = self.small()
        signature = tf.TensorSpec((None, self.SIZE, self.SIZE, 3))
        network(keras.KerasTensor(signature.shape))
        function = tf.function(lambda x: network(x, training=training))
        graph = function.get_concrete_function(signature).graph
        used = {id(variable) for variable in graph.variables}
        side = [id(w.value) for head in network.sides for w in head.weights]
        assert len(side) == 12
        assert all((variable in used) == training for variable in side)
        products = [op for op in graph.get_operations() if op.type == "MatMul"]
        assert len(products) == (5 if training else 1)

    def test_their_losses_count_three_tenths(self) -> None:
        network = self.small()
        logits = [np.random.default_rng(i).standard_normal((4, 3)) for i in range(3)]
        labels, weights = np.array([0, 1, 2, 1]), np.array([1.0, 2.0, 0.0, 1.0])

        def cross_entropy(z: np.ndarray) -> float:
            p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
            return float(np.mean(-np.log(p[np.arange(4), labels]) * weights))

        one, two, three = map(cross_entropy, logits)
        loss = network.compute_loss(y=labels, y_pred=tuple(logits), sample_weight=weights)
        assert float(loss) == pytest.approx(one + 0.3 * (two + three), rel=1e-5)
        alone = network.compute_loss(y=labels, y_pred=logits[0], sample_weight=weights)
        assert float(alone) == pytest.approx(one, rel=1e-5)

    def test_fit_trains_them_and_measures_the_main_head(self) -> None:
        network = self.small()
        x, y = images(self.SIZE, 4), np.array([0, 1, 2, 0])
        network(images(self.SIZE, 1))
        before = [convert_to_numpy(side.dense.kernel).copy() for side in network.sides]
        history = network.fit(x, y, epochs=1, batch_size=4, validation_data=(x, y), verbose=0)
        assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
        for old, side in zip(before, network.sides, strict=True):
            assert not np.array_equal(old, convert_to_numpy(side.dense.kernel))
        expected = np.mean(np.argmax(network.predict(x, verbose=0), axis=1) == y)
        assert network.evaluate(x, y, verbose=0)[1] == pytest.approx(expected)

    def test_they_need_a_top(self) -> None:
        with pytest.raises(ValueError, match="need include_top"):
            GoogLeNet(3, auxiliary=True, include_top=False)

    def test_round_trip(self, tmp_path) -> None:
        network = GoogLeNet(3, **TINY, auxiliary=True, small_images=True)
        network(images(self.SIZE))
        config = network.get_config()
        assert GoogLeNet.from_config(config).get_config() == config
        network.save(tmp_path / "network.keras")
        again = keras.saving.load_model(tmp_path / "network.keras")
        side = again.sides[1].hidden.kernel
        np.testing.assert_array_equal(
            convert_to_numpy(side), convert_to_numpy(network.sides[1].hidden.kernel)
        )
        x = images(self.SIZE)
        np.testing.assert_allclose(
            convert_to_numpy(again(x)), convert_to_numpy(network(x)), atol=1e-6
        )


def test_small_images() -> None:
    network = GoogLeNet(10, small_images=True, auxiliary=True)
    x = keras.KerasTensor((1, 32, 32, 3))
    assert network(x).shape == (1, 10)
    for layer in network.stem:
        x = layer(x)
    assert x.shape == (1, 16, 16, 192)
    logits = built(32, num_classes=10, **TINY, small_images=True)(images(32))
    assert np.isfinite(convert_to_numpy(logits)).all()


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"pooling": "max"}, (1, 5)),
        ({"pooling": None}, (1, 5)),
        ({"include_top": False}, (1, 13)),
        ({"include_top": False, "pooling": None}, (1, 2, 2, 13)),
    ],
)
def test_pooling_and_top(options: dict, shape: tuple) -> None:
    assert GoogLeNet(5, **TINY, **options)(images(64, 1)).shape == shape
