"""What holds for every network, on one a domain; the others: test_every_architecture.py."""

import keras
import numpy as np
import pytest

import models

TINY = {
    "frequency_cnn": {"filters": 4},
    "kim_cnn": {"vocabulary_size": 50, "embedding_dim": 8, "widths": (2, 3), "filters": 4},
    "resnet20": {"filters": 4, "blocks": 1},
}


def example(domain: str, batch: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    if domain == "text":
        return rng.integers(0, 50, (batch, 8)).astype(np.int32)
    shape = (batch, 16, 16, 3) if domain == "image" else (batch, 12, 40)
    return rng.standard_normal(shape).astype(np.float32)


def build(name: str, classes: int = 3, **options: object) -> tuple[keras.Model, np.ndarray]:
    keras.utils.set_random_seed(0)  # or dropout closes all of a layer now and then
    model = models.create_model(name, classes, **{**TINY[name], **options})
    inputs = example(models.ARCHITECTURES[name].domain)
    model(inputs)
    return model, inputs


@pytest.mark.parametrize("name", TINY)
def test_round_trip_keeps_arguments_and_scores(name, tmp_path) -> None:
    model, inputs = build(name, classes=5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.get_config() == model.get_config()
    np.testing.assert_allclose(again(inputs), model(inputs), atol=1e-6)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("classes", [1, 2, 7])
def test_any_class_count(name: str, classes: int) -> None:
    model, inputs = build(name, classes)
    assert model(inputs).shape == (2, classes)


@pytest.mark.parametrize("name", TINY)
def test_a_training_step_changes_every_weight(name: str) -> None:
    model, inputs = build(name)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss)
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables]
    model.train_on_batch(inputs, np.array([0, 2]))
    # A ReLU may be closed for both examples: a bias of few filters can stay.
    after = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    changed = [not np.array_equal(b, a) for b, a in zip(before, after, strict=True)]
    assert sum(changed) >= 0.9 * len(changed)


@pytest.mark.parametrize("name", TINY)
def test_mixed_precision(name: str) -> None:
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model, inputs = build(name)
        assert np.isfinite(keras.ops.cast(model(inputs), "float32")).all()
    finally:
        keras.mixed_precision.set_global_policy("float32")


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match="resnet20"):
        models.create_model("resnet21", 10)


def test_list_models_by_domain() -> None:
    assert {"kim_cnn", "char_cnn_small", "tcn"} <= set(models.list_models("text"))
    assert {"frequency_cnn", "cnn14"} <= set(models.list_models("audio"))
    assert "resnet20" in models.list_models("image")
    assert sum(len(models.list_models(d)) for d in ("image", "audio", "text")) == len(
        models.list_models()
    )
