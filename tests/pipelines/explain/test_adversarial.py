"""Attacks on networks whose margins are known."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from pipelines.explain.adversarial import fgsm, pgd, robustness_curve


@pytest.fixture(scope="module")
def linear():
    """Two classes and w·x, examples in the middle, and the budget that turns each."""
    rng = np.random.default_rng(0)
    image = keras.Input((4, 4, 1))
    dense = layers.Dense(2)
    model = keras.Model(image, dense(layers.Flatten()(image)))
    kernel = rng.normal(size=(16, 2)).astype(np.float32)
    direction = kernel[:, 0] - kernel[:, 1]
    dense.set_weights([kernel, np.array([-direction.sum() / 2, 0], np.float32)])
    inputs = rng.uniform(0.3, 0.7, (40, 4, 4, 1)).astype(np.float32)
    logits = model.predict_on_batch(inputs)
    class_ids = logits.argmax(axis=1)
    # The dual norm: within epsilon, w·x changes by epsilon * sum |w| at most (Goodfellow 2015).
    budgets = np.abs(logits[:, 0] - logits[:, 1]) / np.abs(direction).sum()
    return model, inputs, class_ids, budgets


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_a_linear_network_is_turned_by_exactly_its_margin(linear, attack) -> None:
    model, inputs, class_ids, budgets = linear
    for share, turned in ((0.99, False), (1.01, True)):
        for x, label, budget in zip(inputs[:8], class_ids, budgets, strict=False):
            attacked = attack(model, x[None], np.array([label]), float(share * budget))
            assert (model.predict_on_batch(attacked).argmax() != label) == turned


def test_the_curve_of_a_linear_network_is_the_share_of_larger_margins(linear) -> None:
    model, inputs, class_ids, budgets = linear
    epsilons = [0, *np.quantile(budgets, [0.21, 0.51, 0.81]), 0.25]
    wanted = [np.mean(budgets > epsilon) for epsilon in epsilons]
    np.testing.assert_allclose(robustness_curve(model, inputs, class_ids, epsilons), wanted)
    np.testing.assert_allclose(
        robustness_curve(model, inputs, class_ids, epsilons, attack=fgsm), wanted
    )


def test_who_was_fooled_stays_fooled(linear) -> None:
    model, inputs, class_ids, _ = linear

    def attack(model, x, ids, epsilon):
        return 1 - x if epsilon == 0.1 else x  # finds nothing with a larger budget

    low = robustness_curve(model, inputs, class_ids, [0, 0.1, 0.2], attack)
    assert low[0] == 1
    assert low[1] == low[2] < 1


def test_budgets_come_from_small_to_large(linear) -> None:
    model, inputs, class_ids, _ = linear
    with pytest.raises(ValueError, match="from small to large"):
        robustness_curve(model, inputs, class_ids, [0.1, 0.0])


@settings(max_examples=15, deadline=None)
@given(epsilon=st.floats(0, 0.5), attack=st.sampled_from([fgsm, pgd]), targeted=st.booleans())
def test_no_attack_leaves_its_budget_or_the_range(linear, epsilon, attack, targeted) -> None:
    model, inputs, class_ids, _ = linear
    attacked = attack(model, inputs[:4], class_ids[:4], epsilon, targeted)
    assert np.abs(attacked - inputs[:4]).max() <= epsilon + 1e-6
    assert 0 <= attacked.min() <= attacked.max() <= 1


def test_a_target_is_taken_for_what_was_asked(linear) -> None:
    model, inputs, class_ids, budgets = linear
    other = 1 - class_ids[:8]
    attacked = pgd(model, inputs[:8], other, float(budgets[:8].max() * 1.1), targeted=True)
    np.testing.assert_array_equal(model.predict_on_batch(attacked).argmax(axis=1), other)
