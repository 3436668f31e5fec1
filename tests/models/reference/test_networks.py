"""Networks of the reference: gradients, losses at the start, small sets learnt by heart."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.reference.losses import softmax_loss, svm_loss
from models.reference.networks import AffineNetwork, ThreeLayerConvNet
from models.reference.numeric import numeric_gradient, relative_error
from models.reference.optimisers import adam, momentum
from models.reference.solver import accuracy, solve
from tests.models.reference.checks import GRADIENT_ERROR, random

CLASSES = 10
LABELS = np.arange(50) % CLASSES
IMAGES = random(50, 8, 8, 3)  # noise: nothing to generalise, all to learn by heart


def assert_network_gradients(network, x: np.ndarray, labels: np.ndarray) -> None:
    """Of each weight; what is drawn anew each time has to be drawn the same."""
    for seed, weight in enumerate(network.weights.values()):
        weight += 0.1 * random(*weight.shape, seed=seed)  # no bias of 0 leaves a ReLU at its kink
    _, gradients = network.loss(x, labels)
    assert gradients.keys() == network.weights.keys()
    for name, weight in network.weights.items():

        def loss(value: np.ndarray, name: str = name) -> float:
            kept, network.weights[name] = network.weights[name], value
            result, _ = network.loss(x, labels)
            network.weights[name] = kept
            return result

        error = relative_error(gradients[name], numeric_gradient(loss, weight))
        if name.startswith("b") and name.strip("b") in network_norms(network):
            assert np.abs(gradients[name]).max() < 1e-10  # batch norm takes a bias away again
        else:
            assert error < GRADIENT_ERROR, name


def network_norms(network) -> set[str]:
    return {name.removeprefix("gamma") for name in network.weights if name.startswith("gamma")}


@pytest.mark.parametrize("hidden", [(), (7,), (7, 6), (5, 6, 5, 4)])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("loss", [softmax_loss, svm_loss])
def test_row_026_gradients_of_affine_networks(hidden, normalise: bool, loss) -> None:
    network = AffineNetwork(12, hidden, 3, decay=0.3, normalise=normalise, loss=loss)
    assert_network_gradients(network, random(5, 2, 2, 3), np.array([0, 1, 2, 2, 0]))


def test_row_026_gradients_with_dropout() -> None:
    """Through the mask of one draw: with the same seed before each call it is the same."""

    class Reseeded(AffineNetwork):
        def loss(self, x, labels):
            self.generator = np.random.default_rng(3)
            return super().loss(x, labels)

    network = Reseeded(6, (8, 8), 3, dropout_rate=0.4)
    x, labels = random(5, 6), np.array([0, 1, 2, 2, 0])
    assert_network_gradients(network, x, labels)
    np.testing.assert_array_equal(network.scores(x), network.scores(x))


def test_row_036_gradients_of_the_convolutional_network() -> None:
    network = ThreeLayerConvNet((4, 6, 2), 3, filters=2, kernel_size=3, hidden=5, decay=0.2)
    assert_network_gradients(network, random(3, 4, 6, 2), np.array([0, 2, 1]))


def test_row_026_weight_decay_counts_half_the_squares_of_matrices() -> None:
    x, labels = random(5, 6), np.array([0, 1, 2, 2, 0])
    plain, decayed = (AffineNetwork(6, (4,), 3, decay=decay) for decay in (0.0, 0.7))
    squares = sum(np.sum(plain.weights[name] ** 2) for name in ("w0", "w1"))
    difference = decayed.loss(x, labels)[0] - plain.loss(x, labels)[0]
    assert difference == pytest.approx(0.5 * 0.7 * squares)


@pytest.mark.parametrize("classes", [3, 10])
def test_row_020_losses_at_the_start(classes: int) -> None:
    """With small weights all scores are about 0: ln K and K - 1."""
    x, labels = random(20, 6), np.arange(20) % classes
    for loss, wanted in ((softmax_loss, np.log(classes)), (svm_loss, classes - 1)):
        network = AffineNetwork(6, (5,), classes, weight_scale=1e-3, loss=loss)
        assert network.loss(x, labels)[0] == pytest.approx(wanted, rel=1e-4)
    network = ThreeLayerConvNet((4, 4, 2), classes, 3, 3, 5, weight_scale=1e-3)
    start, _ = network.loss(random(20, 4, 4, 2), labels)
    assert start == pytest.approx(np.log(classes), rel=1e-4)


def test_row_017_three_layers_learn_50_images_by_heart() -> None:
    network = AffineNetwork(IMAGES[0].size, (100, 100), CLASSES)
    history = solve(network, IMAGES, LABELS, 20, learning_rate=1e-2, batch_size=5)
    assert history.accuracies[-1] == 1.0
    assert history.losses[-1] < history.losses[0]


class TestFiveLayers:
    """Much harder: the first layer's gradient has come through five matrices."""

    HIDDEN = (100, 100, 100, 100)

    def first_gradient(self, scale: float | None) -> float:
        network = AffineNetwork(IMAGES[0].size, self.HIDDEN, CLASSES, scale)
        _, gradients = network.loss(IMAGES, LABELS)
        return float(np.linalg.norm(gradients["w0"]))

    def test_row_018_with_weights_of_he_they_learn(self) -> None:
        network = AffineNetwork(IMAGES[0].size, self.HIDDEN, CLASSES)
        history = solve(network, IMAGES, LABELS, 20, 1e-2, momentum, batch_size=10)
        assert history.accuracies[-1] == 1.0

    def test_row_018_with_tiny_ones_the_gradient_vanishes(self) -> None:
        network = AffineNetwork(IMAGES[0].size, self.HIDDEN, CLASSES, weight_scale=1e-5)
        history = solve(network, IMAGES, LABELS, 20, 1e-2, momentum, batch_size=10)
        assert history.accuracies[-1] <= 0.2
        assert history.losses[-1] == pytest.approx(np.log(CLASSES), abs=0.01)
        assert self.first_gradient(1e-5) < 1e-12 * self.first_gradient(None)

    def test_row_031_batch_norm_makes_up_for_a_bad_start(self) -> None:
        losses = {}
        for normalise in (False, True):
            network = AffineNetwork(
                IMAGES[0].size, self.HIDDEN, CLASSES, weight_scale=1e-2, normalise=normalise
            )
            history = solve(network, IMAGES, LABELS, 20, 1e-2, momentum, batch_size=25)
            losses[normalise] = history.losses[-1]
        assert losses[False] == pytest.approx(np.log(CLASSES), abs=0.05)
        assert losses[True] < 0.2


def test_row_036_the_convolutional_network_learns_50_images_by_heart() -> None:
    network = ThreeLayerConvNet((8, 8, 3), CLASSES, filters=8, kernel_size=3, hidden=50)
    history = solve(network, IMAGES, LABELS, 20, 2e-3, adam, batch_size=10)
    assert history.accuracies[-1] == 1.0


def test_row_134_a_sum_lets_the_gradient_pass() -> None:
    """d(x + F(x)) / dx = 1 + dF / dx: of 40 small layers, plain and residual."""
    depth, width = 40, 16
    weights = 0.5 * random(depth, width, width) / np.sqrt(width)
    sizes = {}
    for kept in (0, 1):
        x, jacobian = random(width, seed=1), np.eye(width)
        for w in weights:
            a = w @ x
            jacobian = (kept * np.eye(width) + w * (a > 0)[:, np.newaxis]) @ jacobian
            x = kept * x + np.maximum(a, 0)
        sizes[kept] = np.linalg.norm(jacobian)
    assert sizes[0] < 1e-10
    assert sizes[1] > 1


CIFAR10 = os.environ.get("TRIPTYCH_CIFAR10", "")


def pictures(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """CLASS/*.jpg -> float32 [N, 32, 32, 3] from 0 to 255, class numbers."""
    images, labels = [], []
    for number, name in enumerate(sorted(path.name for path in folder.iterdir())):
        files = sorted((folder / name).iterdir())
        images += [np.asarray(Image.open(file), np.float32) for file in files]
        labels += [number] * len(files)
    return np.stack(images), np.array(labels)


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    not CIFAR10, reason="set TRIPTYCH_CIFAR10 to CIFAR-10 as files: {train,test}/CLASS/*.jpg"
)
def test_row_036_forty_of_a_hundred_cifar10_pictures_after_one_epoch() -> None:
    (x, labels), (test, test_labels) = (pictures(Path(CIFAR10, s)) for s in ("train", "test"))
    mean = x.mean(axis=0)
    x, test = (x - mean) / 64, (test - mean) / 64
    network = ThreeLayerConvNet((32, 32, 3), CLASSES, 16, 3, decay=1e-3, dtype=np.float32)
    solve(network, x, labels, 1, 1e-3, adam)
    reached = accuracy(network, test, test_labels)
    print(f"{100 * reached:.2f} % of {len(test):,} test pictures")
    assert reached > 0.4
