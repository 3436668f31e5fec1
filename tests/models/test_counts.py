"""Every network's parameters, at the paper's classes and input size.

Counts are derived from the filters; where a paper prints another figure, a comment says so.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest

import models
from models.graph import shapes_only
from tests.models.priced_once import by_name


class Count(NamedTuple):
    total: int  # with batch norm's moving statistics, as Keras's count_params()
    trainable: int
    classes: int = 1000
    options: Mapping[str, Any] = MappingProxyType({})


MR, MR_WORDS = 300 * 18_765, {"vocabulary_size": 18_765}
WORDS = {"vocabulary_size": 5000}
# The embedding, the first convolution's biases, and the fully connected layers.
VDCNN = 69 * 16 + 64 + (4096 + 1) * 2048 + 2049 * 2048 + 2049 * 4
SEPARABLE = (
    5000 * 200
    + sum(
        3 * channels + channels * filters + filters
        for channels, filters in ((200, 64), (64, 64), (64, 128), (128, 128))
    )
    + 129 * 6
)
# fmt: off
COUNTS = {
    # LeCun 1998, section II.B: 156 + 12 + 1,516 + 32 + 48,120 + 10,164; the RBF's 840 are fixed.
    "lenet5": [Count(60_840, 60_000, 10), Count(61_706, 61_706, 10, {"modern": True})],
    # Krizhevsky 2012, section 3.5: "60 million".
    "alexnet": [Count(60_965_224, 60_965_224),
                Count(61_100_840, 61_100_840, options={"one_tower": True})],
    "zfnet": [Count(62_357_608, 62_357_608)],
    "nin": [Count(966_986, 966_986, 10)],
    # Simonyan & Zisserman 2015, table 2: 133, 133, 134 (C), 138, 144 million.
    "vgg11": [Count(132_863_336, 132_863_336)],
    "vgg13": [Count(133_047_848, 133_047_848)],
    "vgg16": [Count(138_357_544, 138_357_544)],
    "vgg16_c": [Count(133_638_952, 133_638_952)],
    "vgg19": [Count(143_667_240, 143_667_240)],
    # Two more numbers of batch norm a filter are trained, and two are not.
    "vgg11_bn": [Count(132_868_840 + 5_504, 132_868_840)],
    "vgg13_bn": [Count(133_053_736 + 5_888, 133_053_736)],
    "vgg16_bn": [Count(138_365_992 + 8_448, 138_365_992)],
    "vgg19_bn": [Count(143_678_248 + 11_008, 143_678_248)],
    # Szegedy 2015, table 1: its parameter column disagrees with its own filters.
    "googlenet": [Count(6_998_552, 6_998_552),
                  Count(13_378_280, 13_378_280, options={"auxiliary": True})],
    "inception_v3": [Count(23_851_784, 23_817_352)],
    "inception_resnet_v2": [Count(55_873_736, 55_813_192)],
    # Chollet 2017, table 3: 22,855,952.
    "xception": [Count(22_910_480, 22_855_952)],
    "resnet18": [Count(11_699_112, 11_689_512)],
    "resnet34": [Count(21_814_696, 21_797_672)],
    "resnet50": [Count(25_610_152, 25_557_032)],
    "resnet101": [Count(44_654_504, 44_549_160)],
    "resnet152": [Count(60_344_232, 60_192_808)],
    "resnet50v2": [Count(25_613_800, 25_568_360)],
    "resnet101v2": [Count(44_675_560, 44_577_896)],
    "resnet152v2": [Count(60_380_648, 60_236_904)],
    # He 2015, table 6: 0.27M, 0.46M, 0.66M, 0.85M, 1.7M.
    "resnet20": [Count(271_098, 269_722, 10),
                 Count(271_098 + 2_944, 269_722 + 2_752, 10, {"shortcut": "B"})],
    "resnet32": [Count(466_426, 464_154, 10)],
    "resnet44": [Count(661_754, 658_586, 10)],
    "resnet56": [Count(857_082, 853_018, 10)],
    "resnet110": [Count(1_736_058, 1_727_962, 10)],
    # Xie 2017, table 1: 25.0 million.
    "resnext50_32x4d": [Count(25_097_128, 25_028_904)],
    "densenet121": [Count(8_062_504, 7_978_856)],
    "densenet169": [Count(14_307_880, 14_149_480)],
    "densenet201": [Count(20_242_984, 20_013_928)],
    # Huang 2017, table 2: 0.8M.
    "densenet_bc_100_12": [Count(793_150, 769_162, 10)],
    # Iandola 2016, table 2: 50x fewer than AlexNet.
    "squeezenet1_0": [Count(1_248_424, 1_248_424),
                      Count(1_248_424, 1_248_424, options={"bypass": "simple"}),
                      Count(1_589_672, 1_589_672, options={"bypass": "complex"})],
    "squeezenet1_1": [Count(1_235_496, 1_235_496),
                      Count(1_572_648, 1_572_648, options={"bypass": "complex"})],
    # Howard 2017, table 8: 4.2 million; the others of table 6.
    "mobilenet": [Count(4_253_864, 4_231_976),
                  Count(2_601_976, 2_585_560, options={"width_multiplier": 0.75}),
                  Count(1_342_536, 1_331_592, options={"width_multiplier": 0.5}),
                  Count(475_544, 470_072, options={"width_multiplier": 0.25})],
    # Sandler 2018, table 4: 3.4 million.
    "mobilenet_v2": [Count(3_538_984, 3_504_872),
                     Count(1_987_224, 1_968_680, options={"width_multiplier": 0.5}),
                     Count(6_156_712, 6_108_776, options={"width_multiplier": 1.4})],
    # Howard 2019, table 3: 2.5 and 5.4 million.
    "mobilenet_v3_small": [Count(2_554_968, 2_542_856)],
    "mobilenet_v3_large": [Count(5_507_432, 5_483_032)],
    "shufflenet_v1": [Count(1_546_624, 1_531_936, options={"groups": 1}),
                      Count(1_754_248, 1_733_848, options={"groups": 2}),
                      Count(1_890_208, 1_865_728, options={"groups": 3}),
                      Count(1_996_088, 1_968_344, options={"groups": 4}),
                      Count(2_473_936, 2_434_768, options={"groups": 8})],
    # Ma 2018, table 8: 1.4, 2.3, 3.5, 7.4 million.
    "shufflenet_v2_x0_5": [Count(1_374_744, 1_366_792)],
    "shufflenet_v2_x1_0": [Count(2_294_784, 2_278_604)],
    "shufflenet_v2_x1_5": [Count(3_527_064, 3_503_624)],
    "shufflenet_v2_x2_0": [Count(7_427_712, 7_393_996)],
    # Hu 2018, table 2; 28,071,976 without the biases of its two small layers.
    "se_resnet50": [Count(28_141_144, 28_088_024)],
    # Sainath & Parada 2015: 244.2K, 53.8K, 122.2K, 160.8K; 4 classes.
    "cnn_trad_fpool3": [Count(244_224, 244_224, 4)],
    "cnn_one_fpool3": [Count(53_824, 53_824, 4)],
    "cnn_one_fstride4": [Count(122_176, 122_176, 4)],
    "cnn_one_fstride8": [Count(160_768, 160_768, 4)],
    # Zhang 2017: 22,604, 135,032, 410,700 once folded (audio/test_ds_cnn.py).
    "ds_cnn_s": [Count(24_908, 23_756, 12)],
    "ds_cnn_m": [Count(141_224, 138_128, 12)],
    "ds_cnn_l": [Count(422_844, 416_772, 12)],
    # Choi 2019: 66K, 137K, 145K, 305K.
    "tc_resnet8": [Count(65_824, 65_168, 12)],
    "tc_resnet14": [Count(136_928, 135_856, 12)],
    "tc_resnet8_1_5": [Count(145_248, 144_264, 12)],
    "tc_resnet14_1_5": [Count(304_608, 303_000, 12)],
    # Kim 2021: 9.2k, 321k for the first and last.
    "bc_resnet1": [Count(11_648, 9_232, 12)],
    "bc_resnet1_5": [Count(20_778, 17_154, 12)],
    "bc_resnet2": [Count(32_116, 27_284, 12)],
    "bc_resnet3": [Count(61_416, 54_168, 12)],
    "bc_resnet6": [Count(202_308, 187_812, 12)],
    "bc_resnet8": [Count(340_396, 321_068, 12)],
    # Kong 2020: 80.8 million, with AudioSet's 527 classes.
    "cnn14": [Count(80_769_871, 80_753_615, 527)],
    # Kim 2014 has no count. 360,902 of convolutions and classifier; the embedding beside it, with
    # as many words as MR has, without padding (table 1).
    "kim_cnn_rand": [Count(360_902 + MR, 360_902 + MR, 2, MR_WORDS),
                     Count(361_805 + MR, 361_805 + MR, 5, MR_WORDS),
                     Count(362_106 + MR, 362_106 + MR, 6, MR_WORDS)],
    "kim_cnn_static": [Count(360_902 + MR, 360_902, 2, MR_WORDS)],
    "kim_cnn_nonstatic": [Count(360_902 + MR, 360_902 + MR, 2, MR_WORDS)],
    "kim_cnn_multichannel": [Count(360_902 + 2 * MR, 360_902 + MR, 2, MR_WORDS)],
    "char_cnn_small": [Count(11_339_780, 11_339_780, 4)],
    "char_cnn_large": [Count(95_940_612, 95_940_612, 4)],
    # Conneau 2017, table 2, prints 2.2, 4.3, 4.6 and 7.8 million for the convolutions: its own
    # layers have the first numbers here. Batch norm has four numbers a map, two of them trained.
    "vdcnn_9": [Count(1_575_936 + 4 * 1920 + VDCNN, 1_575_936 + 2 * 1920 + VDCNN, 4)],
    "vdcnn_17": [Count(3_664_896 + 4 * 3840 + VDCNN, 3_664_896 + 2 * 3840 + VDCNN, 4)],
    "vdcnn_29": [Count(4_033_536 + 4 * 4992 + VDCNN, 4_033_536 + 2 * 4992 + VDCNN, 4)],
    "vdcnn_49": [Count(7_154_688 + 4 * 8704 + VDCNN, 7_154_688 + 2 * 8704 + VDCNN, 4)],
    # 5,000 words; filter lengths and biases beside the filters.
    "gated_cnn": [Count(5000 * 128 + 4 * (4 * 128 * 256 + 512) + 129 * 6,
                        5000 * 128 + 4 * (4 * 128 * 256 + 512) + 129 * 6, 6, WORDS)],
    "tcn": [Count(5000 * 128 + 8 * (3 * 128 * 128 + 256) + 129 * 6,
                  5000 * 128 + 8 * (3 * 128 * 128 + 256) + 129 * 6, 6, WORDS)],
    "separable_text_cnn": [Count(SEPARABLE, SEPARABLE, 6, WORDS)],
}
# fmt: on
ROWS = [(name, count) for name, counts in COUNTS.items() for count in counts]


@pytest.mark.parametrize(
    ("name", "count"), ROWS, ids=[f"{name}-{list(c.options.values())}" for name, c in ROWS]
)
def test_parameters(name: str, count: Count) -> None:
    assert counted(name, count) == (count.total, count.trainable)


def counted(name: str, count: Count) -> tuple[int, int]:
    """Total and trainable: of the paper's own form, where test_cost.py has built it already."""
    if not count.options and by_name(name).steps[-1].output == (count.classes,):
        return by_name(name).parameters, by_name(name).trainable
    architecture = models.ARCHITECTURES[name]
    dtype = "int32" if architecture.domain == "text" else "float32"
    with shapes_only():
        model = models.create_model(name, count.classes, **count.options)
        example = keras.KerasTensor((1, *architecture.input_shape), dtype)
        model.call(example, training=True)  # with heads that only training has
        total, trainable = (
            sum(int(np.prod(v.shape)) for v in weights)
            for weights in (model.weights, model.trainable_weights)
        )
    return total, trainable


def test_every_network_has_a_row() -> None:
    own = {"separable_cnn", "pattern_cnn", "frequency_cnn", "kim_cnn"}  # not a paper's
    assert set(models.list_models()) - own == set(COUNTS)
