"""What holds for every layer of ours: shapes, counts, round trips, precision, a training step."""

import importlib
import pkgutil
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

import models
from models.audio.bc_resnet import BroadcastBlock
from models.audio.cnn14 import PooledConvs
from models.audio.ds_cnn import SeparableFilters
from models.audio.frequency_cnn import FrequencyBlock
from models.audio.tc_resnet import TemporalBlock
from models.image.densenet import DenseLayer, Transition
from models.image.resnet import ResidualBlock
from models.image.resnet_cifar import BasicBlock, IdentityShortcut
from models.image.resnet_v2 import PreActivationBlock
from models.image.separable_cnn import SeparableBlock
from models.image.squeezenet import Fire
from models.layers.blur_pool import BlurPool
from models.layers.causal import CausalResidual
from models.layers.conv import ConvNorm, DepthwiseNorm
from models.layers.frames import PadFrames
from models.layers.frequency import FrequencyConv, SubSpectralNorm
from models.layers.gated_conv import GatedConv2D
from models.layers.gating import GatedConv1D
from models.layers.global_pooling import AttentionPool, ConcatPool, GeneralizedMeanPool
from models.layers.grouped import GroupedConv2D
from models.layers.head import Head
from models.layers.local_response import LocalResponseNorm
from models.layers.pca_colour import PCAColour
from models.layers.pointwise import PointwiseConv2D
from models.layers.pooling import CeilMaxPool
from models.layers.shuffle import ChannelShuffle
from models.layers.squeeze_excite import SqueezeExcite
from models.layers.time_pooling import GlobalTimePooling, KMaxPooling, TimeMaxPool
from models.layers.weight_norm import WeightNormConv1D
from models.text.separable_text_cnn import SeparablePair
from models.text.vdcnn import ConvolutionalBlock


class Case(NamedTuple):
    layer: type[keras.layers.Layer]
    arguments: dict[str, Any]  # none of them a default
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    weights: int


# fmt: off
CASES = [
    Case(ConvNorm, {"filters": 5, "kernel_size": 3, "stride": 2, "activation": "silu"},
         (2, 7, 6, 4), (2, 4, 3, 5), 3 * 3 * 4 * 5 + 4 * 5),
    Case(ConvNorm, {"filters": 6, "kernel_size": (3, 5), "stride": 2, "padding": "torch",
                    "groups": 2, "use_bias": True, "scale": False},
         (2, 8, 8, 4), (2, 4, 4, 6), 3 * 5 * 2 * 6 + 6 + 3 * 6),
    Case(PointwiseConv2D, {"filters": 5, "kernel_size": (1, 1), "strides": (2, 2)},
         (2, 7, 6, 4), (2, 4, 3, 5), 4 * 5 + 5),
    Case(DepthwiseNorm, {"kernel_size": 3, "stride": 2, "activation": "silu", "padding": "torch"},
         (2, 8, 7, 4), (2, 4, 4, 4), 3 * 3 * 4 + 4 * 4),
    Case(GroupedConv2D, {"filters": 6, "kernel_size": (3, 3), "groups": 2, "padding": "same"},
         (2, 8, 7, 4), (2, 8, 7, 6), 3 * 3 * 2 * 6 + 6),
    Case(Head, {"num_classes": 5, "pooling": "max", "dropout_rate": 0.2},
         (2, 4, 3, 6), (2, 5), 6 * 5 + 5),
    Case(Head, {"num_classes": 5, "pooling": None}, (2, 4, 3, 6), (2, 5), 4 * 3 * 6 * 5 + 5),
    Case(Head, {"num_classes": 5, "pooling": None, "include_top": False},
         (2, 4, 3, 6), (2, 4, 3, 6), 0),
    Case(FrequencyConv, {"filters": 5, "context": 4, "bands": 3, "context_stride": 2},
         (2, 7, 6, 2), (2, 4, 4, 5), 4 * 3 * 2 * 5),
    Case(FrequencyConv, {"filters": 5, "context": 4, "bands": 3, "band_stride": 2,
                         "padding": "valid", "sections": 2},
         (2, 7, 10, 2), (2, 4, 2, 5), 2 * 4 * 3 * 2 * 5),
    Case(SubSpectralNorm, {"groups": 3, "momentum": 0.5, "epsilon": 1e-3},
         (2, 5, 6, 4), (2, 5, 6, 4), 4 * 3 * 4),
    Case(PadFrames, {"frames": 8}, (2, 5, 6), (2, 8, 6), 0),
    Case(SeparableFilters, {"filters": 5, "strides": (2, 2)},
         (2, 7, 6, 4), (2, 4, 3, 5), 9 * 4 + 4 + 4 * 5 + 5 + 4 * (4 + 5)),
    Case(TemporalBlock, {"filters": 5, "widen": True},
         (2, 7, 1, 4), (2, 4, 1, 5), 4 * 5 + 9 * 4 * 5 + 9 * 5 * 5 + 3 * 4 * 5),
    Case(BroadcastBlock, {"filters": 6, "stride": 2, "dilation": 2, "transition": True},
         (2, 9, 20, 4), (2, 9, 10, 6),
         4 * 6 + 4 * 6 + 3 * 6 + 4 * 5 * 6 + 3 * 6 + 4 * 6 + 6 * 6),
    Case(PooledConvs, {"filters": 5, "pool": False},
         (2, 4, 6, 3), (2, 4, 6, 5), 9 * 3 * 5 + 9 * 5 * 5 + 2 * 4 * 5),
    Case(FrequencyBlock, {"filters": 5, "context": 3, "bands": 3, "pool": 2},
         (2, 7, 8, 2), (2, 7, 3, 5), 3 * 3 * 2 * 5 + 4 * 5),
    Case(FrequencyBlock, {"filters": 5, "context": 1, "bands": None},
         (2, 7, 8, 2), (2, 7, 1, 5), 8 * 2 * 5 + 4 * 5),
    Case(IdentityShortcut, {"filters": 6, "stride": 2}, (2, 7, 8, 3), (2, 4, 4, 6), 0),
    Case(BasicBlock, {"filters": 6, "stride": 2, "shortcut": "B", "project": True},
         (2, 8, 8, 3), (2, 4, 4, 6), 9 * 3 * 6 + 9 * 6 * 6 + 3 * 6 + 3 * 4 * 6),
    Case(SeparableBlock, {"filters": 6}, (2, 8, 7, 4), (2, 4, 4, 6),
         9 * 4 + 4 * 6 + 9 * 6 + 6 * 6 + 2 * 4 * 6),
    Case(SqueezeExcite, {"squeezed_filters": 2, "gate": "hard_sigmoid"},
         (2, 5, 4, 6), (2, 5, 4, 6), 6 * 2 + 2 + 2 * 6 + 6),
    Case(ResidualBlock, {"filters": 8, "inner": 4, "stride": 2, "project": True, "cardinality": 2,
                         "stride_on": "3x3", "reduction": 4, "epsilon": 1e-3},
         (2, 8, 7, 6), (2, 4, 4, 8),
         6 * 8 + 6 * 4 + 9 * 2 * 4 + 4 * 8 + 4 * (8 + 4 + 4 + 8) + 8 * 2 + 2 + 2 * 8 + 8),
    Case(PreActivationBlock, {"filters": 2, "stride": 2, "project": True},
         (2, 8, 7, 6), (2, 4, 4, 8),
         4 * 6 + 6 * 8 + 8 + 6 * 2 + 9 * 2 * 2 + 2 * 8 + 8 + 2 * 4 * 2),
    Case(DenseLayer, {"growth_rate": 3, "dropout_rate": 0.2},
         (2, 5, 4, 7), (2, 5, 4, 10), 4 * 7 + 7 * 12 + 4 * 12 + 9 * 12 * 3),
    Case(Transition, {}, (2, 7, 6, 9), (2, 3, 3, 4), 4 * 9 + 9 * 4),
    Case(ChannelShuffle, {"groups": 2}, (2, 3, 4, 6), (2, 3, 4, 6), 0),
    Case(CeilMaxPool, {"pool_size": 3, "stride": 2}, (2, 8, 7, 4), (2, 4, 3, 4), 0),
    Case(Fire, {"s1x1": 2, "e1x1": 3, "e3x3": 4, "bypass": "conv"},
         (2, 8, 7, 4), (2, 8, 7, 7), 130),
    Case(GatedConv2D, {"filters": 5, "kernel_size": (3, 2), "stride": 2, "gate": "gtu",
                       "padding": "valid"},
         (2, 7, 6, 4), (2, 3, 3, 5), 2 * (3 * 2 * 4 * 5 + 5)),
    Case(GatedConv2D, {"filters": 5, "kernel_size": 3, "dilation": 2},
         (2, 7, 6, 4), (2, 7, 6, 5), 2 * (3 * 3 * 4 * 5 + 5)),
    Case(BlurPool, {"kernel_size": 5, "stride": 3}, (2, 7, 6, 4), (2, 3, 2, 4), 0),
    Case(ConcatPool, {}, (2, 4, 3, 6), (2, 12), 0),
    Case(GeneralizedMeanPool, {"exponent": 2.0, "epsilon": 1e-3}, (2, 4, 3, 6), (2, 6), 1),
    Case(AttentionPool, {"units": 3}, (2, 4, 3, 6), (2, 6), 6 * 3 + 3 + 3),
    Case(AttentionPool, {"units": 3}, (2, 5, 6), (2, 6), 6 * 3 + 3 + 3),
    Case(LocalResponseNorm, {"depth_radius": 1, "bias": 1.0, "alpha": 0.1, "beta": 0.5},
         (2, 4, 3, 6), (2, 4, 3, 6), 0),
    Case(PCAColour, {"components": [[1.0, 2.0], [0.5, 0.0]], "deviation": 0.2, "seed": 3},
         (2, 4, 3, 2), (2, 4, 3, 2), 0),
    Case(WeightNormConv1D, {"filters": 5, "kernel_size": (3,), "gain": 1.5, "strides": (2,),
                            "padding": "same"},
         (2, 7, 4), (2, 4, 5), 3 * 4 * 5 + 5 + 5),
    Case(GatedConv1D, {"filters": 5, "kernel_size": 3, "gate": "gtu", "dilation": 2,
                       "padding": "same"},
         (2, 7, 4), (2, 7, 5), 2 * (3 * 4 * 5 + 5 + 5)),
    Case(CausalResidual, {"filters": 5, "kernel_size": 2, "dilation": 3, "dropout_rate": 0.1},
         (2, 7, 4), (2, 7, 5), 2 * 4 * 5 + 2 * 5 * 5 + 4 * 5 + 4 * 5 + 5),
    Case(ConvolutionalBlock, {"filters": 5, "shortcut": True},
         (2, 7, 4), (2, 7, 5), 3 * 4 * 5 + 3 * 5 * 5 + 4 * 5 + 3 * 4 * 5),
    Case(SeparablePair, {"filters": 5, "kernel_size": 5},
         (2, 7, 4), (2, 7, 5), 5 * 4 + 4 * 5 + 5 + 5 * 5 + 5 * 5 + 5),
    Case(KMaxPooling, {"k": 3}, (2, 7, 4), (2, 3, 4), 0),
    Case(TimeMaxPool, {"pool_size": 3, "stride": 2}, (2, 7, 4), (2, 4, 4), 0),
    Case(GlobalTimePooling, {"pooling": "last"}, (2, 7, 4), (2, 4), 0),
]
# fmt: on


def made(case: Case) -> tuple[keras.layers.Layer, np.ndarray]:
    keras.utils.set_random_seed(0)  # else a squeezed layer of two units is at times all below zero
    x = np.random.default_rng(0).standard_normal(case.input_shape).astype(np.float32)
    return case.layer(**case.arguments), x


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.layer.__name__)
class TestEveryLayer:
    def test_shape_and_weight_count(self, case: Case) -> None:
        layer, x = made(case)
        assert layer(x).shape == case.output_shape
        assert layer.compute_output_shape(case.input_shape) == case.output_shape
        assert sum(int(np.prod(v.shape)) for v in layer.weights) == case.weights

    def test_round_trip(self, case: Case, tmp_path) -> None:
        layer, x = made(case)
        again = case.layer.from_config(layer.get_config())
        assert again.get_config() == layer.get_config()
        assert all(layer.get_config()[key] == value for key, value in case.arguments.items())
        inputs = keras.Input(case.input_shape[1:])
        model = keras.Model(inputs, layer(inputs))
        model.save(tmp_path / "layer.keras")
        loaded = keras.saving.load_model(tmp_path / "layer.keras")
        np.testing.assert_allclose(
            convert_to_numpy(loaded(x)), convert_to_numpy(model(x)), atol=1e-6
        )

    def test_mixed_precision(self, case: Case) -> None:
        _, x = made(case)
        layer = case.layer(**case.arguments, dtype="mixed_bfloat16")
        assert keras.backend.standardize_dtype(layer(x).dtype) == "bfloat16"
        assert all(v.dtype == "float32" for v in layer.weights)

    def test_a_training_step(self, case: Case) -> None:
        layer, x = made(case)
        inputs = keras.Input(case.input_shape[1:])
        model = keras.Model(inputs, layer(inputs))
        if not case.weights:
            assert not model.trainable_variables
            return
        model.compile("sgd", "mse")
        before = [convert_to_numpy(v).copy() for v in model.trainable_variables]
        model.train_on_batch(x, np.ones(case.output_shape, np.float32))
        for old, new in zip(before, model.trainable_variables, strict=True):
            assert not np.array_equal(old, convert_to_numpy(new)), new.path


def test_no_two_classes_are_saved_under_one_name() -> None:
    """Keras keeps the one that was imported last, and loads it for both."""
    for found in pkgutil.walk_packages(models.__path__, "models."):
        for thing in vars(importlib.import_module(found.name)).values():
            if isinstance(thing, type) and issubclass(thing, keras.layers.Layer):
                name = keras.saving.get_registered_name(thing)
                assert keras.saving.get_registered_object(name) in (thing, None), name
