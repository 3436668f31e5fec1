"""DS-CNN, with batch norm folded in: what Zhang 2017 counts, and what runs on a microcontroller."""

import pytest

import models
from models.surgery import fold_batch_norm


@pytest.mark.parametrize(
    ("name", "folded"), [("ds_cnn_s", 22_604), ("ds_cnn_m", 135_032), ("ds_cnn_l", 410_700)]
)
def test_folded_parameters(name: str, folded: int) -> None:
    shape = models.ARCHITECTURES[name].input_shape
    assert fold_batch_norm(models.create_model(name, 12), shape).count_params() == folded


def test_the_wider_two_stride_in_frequency_only_at_their_second_layer() -> None:
    for name, frames, coefficients in (("ds_cnn_s", 25, 5), ("ds_cnn_m", 25, 10)):
        network = models.create_model(name, 12)
        assert network.stem.compute_output_shape((1, 49, 10, 1))[1:3] == (frames, coefficients)
