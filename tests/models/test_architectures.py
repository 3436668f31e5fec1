"""Each architecture: the paper's count, a round trip through .keras, any class count, a step."""

import keras
import numpy as np
import pytest

import models

TINY = {
    "frequency_cnn": {"filters": 4},
    "kim_cnn": {"vocabulary_size": 50, "embedding_dim": 8, "widths": (2, 3), "filters": 4},
    "separable_cnn": {"filters": 4, "blocks": 2},
    **{f"resnet{n}": {"filters": 4, "blocks": 1} for n in (20, 32, 44, 56, 110)},
}


def example(domain: str, batch: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    if domain == "text":
        return rng.integers(0, 50, (batch, 8)).astype(np.int32)
    shape = (batch, 16, 16, 3) if domain == "image" else (batch, 12, 40)
    return rng.standard_normal(shape).astype(np.float32)


def build(name: str, classes: int = 3, **options: object) -> tuple[keras.Model, np.ndarray]:
    model = models.create_model(name, classes, **{**TINY[name], **options})
    inputs = example(models.ARCHITECTURES[name].domain)
    model(inputs)
    return model, inputs


def trainable(model: keras.Model) -> int:
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


# He 2015, table 6, gives 0.27M, 0.46M, 0.66M, 0.85M and 1.7M. Derived: 3x3 convolutions without
# biases, two numbers of batch norm a filter, and 65 K of the last layer.
@pytest.mark.parametrize(
    ("name", "shortcut", "count"),
    [
        ("resnet20", "A", 269_722),
        ("resnet20", "B", 269_722 + 2_752),
        ("resnet32", "A", 464_154),
        ("resnet44", "A", 658_586),
        ("resnet56", "A", 853_018),
        ("resnet110", "A", 1_727_962),
    ],
)
def test_trainable_parameters(name: str, shortcut: str, count: int) -> None:
    model = models.create_model(name, 10, shortcut=shortcut)
    model(np.zeros((1, 32, 32, 3), np.float32))
    assert trainable(model) == count


@pytest.mark.parametrize("name", models.list_models())
def test_round_trip_keeps_arguments_and_scores(name, tmp_path) -> None:
    model, inputs = build(name, classes=5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.get_config() == model.get_config()
    np.testing.assert_allclose(again(inputs), model(inputs), atol=1e-6)


@pytest.mark.parametrize("name", models.list_models())
@pytest.mark.parametrize("classes", [1, 2, 7])
def test_any_class_count(name: str, classes: int) -> None:
    model, inputs = build(name, classes)
    assert model(inputs).shape == (2, classes)


@pytest.mark.parametrize("name", models.list_models())
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


@pytest.mark.parametrize("name", models.list_models())
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
    assert models.list_models("text") == ["kim_cnn"]
    assert models.list_models("audio") == ["frequency_cnn"]
    assert "resnet20" in models.list_models("image")
    assert sum(len(models.list_models(d)) for d in ("image", "audio", "text")) == len(
        models.list_models()
    )


def test_kim_scores_do_not_depend_on_padding() -> None:
    model, _ = build("kim_cnn")
    text = np.array([[5, 7, 9]], np.int32)
    padded = np.pad(text, ((0, 0), (0, 13)))
    np.testing.assert_allclose(model(padded), model(text), atol=1e-6)


def test_separable_blocks_have_no_activation_between_depthwise_and_pointwise() -> None:
    model, _ = build("separable_cnn")
    conv = model.stages[0].convs[0]
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 4)).astype(np.float32)
    depthwise = keras.ops.depthwise_conv(x, conv.depthwise_kernel, padding="same")
    pointwise = keras.ops.conv(depthwise, conv.pointwise_kernel)
    np.testing.assert_allclose(conv(x), pointwise, atol=1e-5)
