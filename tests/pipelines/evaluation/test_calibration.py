"""Calibration against closed forms, against laws, and against scikit-learn's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator

from pipelines.evaluation.calibration import (
    BINS,
    at_temperature,
    calibrate,
    find_temperature,
    reliability,
)


def sure(confidence: float, right: int, examples: int) -> tuple[np.ndarray, np.ndarray]:
    """All answers are class 0 with this confidence, and so many are right."""
    scores = np.tile(np.array([confidence, 1 - confidence], np.float32), (examples, 1))
    return (np.arange(examples) >= right).astype(int), scores


def drawn(seed: int, examples: int = 400, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Classes that are drawn by their scores: as calibrated as can be."""
    rng = np.random.default_rng(seed)
    scores = softmax(rng.normal(0, 2, (examples, classes)), axis=-1)
    true = (rng.random((examples, 1)) > scores.cumsum(axis=-1)).sum(axis=-1)
    return np.minimum(true, classes - 1), scores.astype(np.float32)


seeds = st.integers(0, 2**32 - 1)


@given(st.floats(0.51, 1), st.integers(1, 50), st.data())
def test_of_one_confidence_the_error_is_its_gap_to_the_accuracy(confidence, examples, data):
    right = data.draw(st.integers(0, examples))
    found = reliability(*sure(confidence, right, examples))
    gap = abs(np.float32(confidence) - right / examples)
    assert found.ece == pytest.approx(gap, abs=1e-6)
    assert found.mce == pytest.approx(gap, abs=1e-6)


def test_bins_are_weighted_by_their_examples():
    parts = [sure(0.9, 2, 4), sure(0.6, 3, 6)]  # gaps of 0.4 and 0.1
    found = reliability(*(np.concatenate(both) for both in zip(*parts, strict=True)))
    assert found.ece == pytest.approx((4 * 0.4 + 6 * 0.1) / 10, abs=1e-6)
    assert found.mce == pytest.approx(0.4, abs=1e-6)


def test_right_as_often_as_it_says_is_no_error():
    assert reliability(*sure(0.8, 8, 10)).ece == pytest.approx(0, abs=1e-7)
    true, scores = drawn(0, examples=50_000)
    found = calibrate(true, scores)
    assert found.before.ece < 0.01
    assert found.temperature == pytest.approx(1, abs=0.03)


@given(seeds)
@settings(max_examples=20)
def test_the_bins_are_scikit_learns(seed):
    true, scores = drawn(seed)
    bins = [b for b in reliability(true, scores).bins if b.examples]
    right, confidence = scores.argmax(axis=-1) == true, scores.max(axis=-1)
    accuracies, confidences = calibration_curve(right, confidence, n_bins=BINS)
    assert [b.accuracy for b in bins] == pytest.approx(accuracies)
    assert [b.confidence for b in bins] == pytest.approx(confidences)
    assert sum(b.examples for b in bins) == len(true)


@given(seeds, st.floats(0.3, 4))
@settings(max_examples=30)
def test_the_temperature_of_sharpened_scores_is_found_again(seed, temperature):
    true, scores = drawn(seed)
    sharpened = at_temperature(scores, 1 / temperature)
    assert find_temperature(true, sharpened) == pytest.approx(
        temperature * find_temperature(true, scores), rel=1e-4
    )


@given(seeds, st.floats(0.05, 20))
@settings(max_examples=30)
def test_no_temperature_changes_an_answer(seed, temperature):
    _, scores = drawn(seed)
    scaled = at_temperature(scores, temperature)
    assert np.array_equal(scaled.argmax(axis=-1), scores.argmax(axis=-1))
    np.testing.assert_allclose(scaled.sum(axis=-1), 1)


class Logits(ClassifierMixin, BaseEstimator):
    """Gives the logits that it is given."""

    def fit(self, inputs, true):
        self.classes_ = np.unique(true)
        return self

    def decision_function(self, inputs):
        return inputs

    def predict(self, inputs):
        return self.classes_[inputs.argmax(axis=-1)]


def test_the_temperature_is_scikit_learns():
    true, scores = drawn(7)
    logits = 2.5 * np.log(scores.astype(np.float64))
    theirs = CalibratedClassifierCV(
        FrozenEstimator(Logits().fit(logits, true)), method="temperature"
    )
    theirs.fit(logits, true)
    sharpened = softmax(logits, axis=-1)
    ours = at_temperature(sharpened, find_temperature(true, sharpened))
    np.testing.assert_allclose(ours, theirs.predict_proba(logits), atol=1e-3)


def test_the_temperature_lowers_the_log_loss_and_mends_what_was_too_sure():
    true, scores = drawn(1, examples=5000)
    found = calibrate(true, at_temperature(scores, 1 / 3))
    assert found.temperature == pytest.approx(3, rel=0.1)
    assert found.after.log_loss < found.before.log_loss
    assert found.after.ece < 0.02 < 0.1 < found.before.ece


@pytest.mark.parametrize(
    ("right", "said"), [(10, "surer still would only help"), (0, "no better than chance")]
)
def test_where_no_temperature_is_the_best_there_is_none(right, said):
    found = calibrate(*sure(0.8, right, 10))
    assert found.temperature is None
    assert found.after is None
    assert said in found.reason


def test_scores_that_are_too_small_for_their_type_are_no_infinities():
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], np.float32)
    found = calibrate(np.array([0, 1, 1]), scores)
    assert np.isfinite(found.before.log_loss)
    assert found.temperature > 1
