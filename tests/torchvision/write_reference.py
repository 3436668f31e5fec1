"""Writes what PyTorch's network has for weights, and what it answers. Runs where torch is.

    python write_reference.py NAME FOLDER

FOLDER then holds weights.pth, weights.th (the format before 1.6), weights.safetensors, and
reference.npz with inputs [B, H, W, 3] and the logits. Weights are random, batch norm's
statistics too; they are float32, and what is computed from them is float64.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

CLASSES = 7
FLATTENING = ("alexnet", "vgg")  # their first dense layer fits 224 pixels only


class CifarBlock(nn.Module):
    """As in akamaster/pytorch_resnet_cifar10, whose names these are: option A."""

    def __init__(self, channels: int, filters: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.stride, self.missing = stride, filters - channels

    def forward(self, x):
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        x = x[:, :, :: self.stride, :: self.stride]
        half = self.missing // 2
        return functional.relu(y + functional.pad(x, (0, 0, 0, 0, half, half)))


class CifarResNet(nn.Module):
    def __init__(self, blocks: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        for stage in range(3):
            filters = 16 * 2**stage
            parts = [CifarBlock(filters // 2 if stage else 16, filters, 2 if stage else 1)]
            parts += [CifarBlock(filters, filters, 1) for _ in range(blocks - 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*parts))
        self.linear = nn.Linear(64, CLASSES)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


CIFAR = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9, "resnet110": 18}


def build(name: str) -> tuple[nn.Module, int]:
    """The network, and the pixels of its input."""
    if name in CIFAR:
        return CifarResNet(CIFAR[name]), 32
    network = torchvision.models.get_model(name, weights=None, num_classes=CLASSES)
    return network, 224 if name.startswith(FLATTENING) else 96


def pictures(size: int) -> torch.Tensor:
    """Two, of coarse patches, so that what is averaged over them differs."""
    patches = torch.rand(2, 3, 4, 4) * 4 - 2
    return functional.interpolate(patches, (size, size)) + torch.randn(2, 3, size, size) / 10


def randomise(network: nn.Module, x: torch.Tensor) -> None:
    """Every weight, so that pictures that differ still differ after a hundred layers."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -0.2, 0.2)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            module.momentum = 1.0
    network.train()(x)  # the pictures' own statistics, which are then put off a little
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            deviation = module.running_var.sqrt()
            module.running_mean += deviation * torch.empty_like(deviation).uniform_(-0.2, 0.2)
            module.running_var *= torch.empty_like(deviation).uniform_(0.7, 1.4)


def main(name: str, folder: Path) -> None:
    torch.manual_seed(0)
    network, size = build(name)
    x = pictures(size)
    with torch.no_grad():
        randomise(network, x)
        state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        x = x.double()
        logits = network.eval().double()(x)
    inputs = np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())
    np.savez(folder / "reference.npz", inputs=inputs, logits=logits.numpy())
    torch.save(state, folder / "weights.pth")
    if sum(tensor.numel() for tensor in state.values()) < 2_000_000:
        checkpoint = {"state_dict": state, "epoch": 3, "best_prec1": 91.5}
        torch.save(checkpoint, folder / "weights.th", _use_new_zipfile_serialization=False)
        save_file(state, folder / "weights.safetensors")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
