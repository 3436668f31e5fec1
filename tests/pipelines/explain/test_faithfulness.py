"""What is said of a map: that the network needs what it points at, that it knows the weights."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from scipy import stats

from pipelines.explain import METHODS
from pipelines.explain.faithfulness import curves
from pipelines.explain.network import Network
from pipelines.explain.sanity import rank_correlation, rank_correlations, shuffled
from tests.pipelines.explain.conftest import MODELS, Opened
from tests.pipelines.explain.test_methods import linear, network_of, picture, pooled  # noqa: F401

Open = Callable[[str], Opened]


@pytest.mark.parametrize("domain", MODELS)
def test_curves_begin_and_end_where_nothing_or_all_is_there(domain: str, opened: Open) -> None:
    network, _, example, class_id = opened(domain)
    values = METHODS["integrated-gradients"](network, example, class_id).values
    found = curves(network, example, class_id, values)
    score = network.scores(example[None])[0, class_id]
    assert found.shares[0] == 0
    assert found.shares[-1] == 1
    assert found.deletion[0] == pytest.approx(score, abs=1e-5)
    assert found.insertion[-1] == pytest.approx(score, abs=1e-5)
    assert found.deletion[-1] == pytest.approx(found.insertion[0], abs=1e-6)
    if domain == "text":  # a step a token, and none for padding
        assert len(found.shares) == np.count_nonzero(example) + 1


def test_on_a_linear_network_nothing_beats_w_x(linear: Network) -> None:  # noqa: F811
    """The best order is known there: by what each position adds to the class over the others."""
    x, class_id = picture(), 1
    kernel = linear.model.layers[-1].kernel.numpy().reshape(8, 8, 3, 3)
    two = kernel[..., class_id] - kernel[..., [0, 2]].mean(-1)
    best = curves(linear, x, class_id, (two * x).sum(-1))
    rng = np.random.default_rng(0)
    others = [curves(linear, x, class_id, rng.normal(size=(8, 8))) for _ in range(10)]
    assert best.deletion_area < min(each.deletion_area for each in others)
    assert best.insertion_area > max(each.insertion_area for each in others)
    worst = curves(linear, x, class_id, -(two * x).sum(-1))
    assert worst.deletion_area > best.deletion_area + 0.2


def test_areas_are_scipys(linear: Network) -> None:  # noqa: F811
    from scipy.integrate import trapezoid

    found = curves(linear, picture(), 0, np.arange(64.0).reshape(8, 8))
    assert found.deletion_area == pytest.approx(trapezoid(found.deletion, found.shares))


def test_shuffled_weights_are_other_ones_and_come_back(pooled: Network) -> None:  # noqa: F811
    before = [w.numpy() for w in pooled.model.weights]
    with suppress(KeyError), shuffled(pooled, 0.67):
        within = [w.numpy() for w in pooled.model.weights]
        raise KeyError
    changed = [not np.array_equal(one, other) for one, other in zip(before, within, strict=True)]
    assert changed == [False, False, True, False, True, True]  # biases of 0 stay that
    assert all(
        np.array_equal(np.sort(one, None), np.sort(other, None))
        for one, other in zip(before, within, strict=True)
    )
    assert all(
        np.array_equal(w.numpy(), own) for w, own in zip(pooled.model.weights, before, strict=True)
    )


def test_rank_correlation_is_spearmans() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 9, (2, 12, 5))  # with ties
    assert rank_correlation(one, other) == pytest.approx(
        stats.spearmanr(one, other, axis=None).statistic
    )
    assert rank_correlation(np.ones(4), np.arange(4)) == 0


def test_random_weights_destroy_the_maps_that_are_about_the_network(opened: Open) -> None:
    network, items, *_ = opened("image")
    found: dict[str, list[float]] = {}
    for item in items[:3]:
        example = network.example(item)
        class_id = int(network.scores(example[None])[0].argmax())
        for name in ("saliency", "grad-cam"):
            values = METHODS[name](network, example, class_id).values
            (last,) = rank_correlations(
                network, METHODS[name], example, class_id, values, shares=(1.0,)
            )
            found.setdefault(name, []).append(last)
    assert {name: abs(np.mean(each)) < 0.35 for name, each in found.items()} == dict.fromkeys(
        found, True
    ), found
    assert rank_correlations(
        network,
        METHODS["saliency"],
        example,
        class_id,
        METHODS["saliency"](network, example, class_id).values,
        shares=(0.0,),
    ) == [pytest.approx(1)]
