"""An input changed too little to see, and what the network takes it for; how many it stands."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.datasets import Example
from pipelines.explain.adversarial import fgsm, pgd, robustness_curve
from pipelines.explain.canvas import Canvas
from pipelines.explain.errors import ExplainError
from pipelines.explain.exhibits.exhibit import Exhibit
from pipelines.explain.exhibits.reading import read
from pipelines.explain.network import Network
from pipelines.explain.pictures.sheet import Cell, curves, sheet

LEVELS = 255  # of a range of 1: what a budget is counted in
BUDGET = 4.0
BUDGETS = (0, 0.5, 1, 2, 4, 8, 16)
ATTACKS = {"fgsm": fgsm, "pgd": pgd}


def with_fgsm(
    network: Network, item: bytes, *, epsilon: float = BUDGET, class_id: int | None = None
) -> Exhibit:
    """See `_attacked`."""
    return _attacked(network, item, "fgsm", epsilon, class_id)


def with_pgd(
    network: Network, item: bytes, *, epsilon: float = BUDGET, class_id: int | None = None
) -> Exhibit:
    """See `_attacked`."""
    return _attacked(network, item, "pgd", epsilon, class_id)


def _attacked(
    network: Network, item: bytes, attack: str, epsilon: float, target: int | None
) -> Exhibit:
    """The input, what was added, enlarged, and the sum.

    Args:    epsilon: grey levels of 255, or 1 / 255 of a sound's range from silence to full
             loudness; target: the class that it shall be taken for, or any other if None.
    """
    canvas = Canvas.of(network)
    example = network.example(item)
    size = example.shape[:2]
    model = canvas.model(size=size)
    clean = canvas.inputs(example)[None]
    before = _scores(model, clean)
    class_id = int(before.argmax()) if target is None else target
    attacked = ATTACKS[attack](
        model, clean, np.array([class_id]), epsilon / LEVELS, targeted=target is not None
    )
    after = _scores(model, attacked)
    first, last = (f"{network.labels[int(s.argmax())]} {s.max():.3f}" for s in (before, after))
    change = attacked[0] - clean[0]
    grey = np.clip(change * LEVELS / (2 * max(epsilon, 1e-6)) + 0.5, 0, 1).astype(np.float32)
    drawn = grey if network.domain == "audio" else (grey * 255).astype(np.uint8)
    cells = [
        Cell(canvas.picture(clean[0]), f"as it is:\n{first}"),
        Cell(
            drawn.T[::-1] if network.domain == "audio" else drawn, f"what {attack} added,\nenlarged"
        ),
        Cell(canvas.picture(attacked[0]), f"with it:\n{last}"),
    ]
    title = f"{network.name}: {attack} within {epsilon:g} of 255 levels"
    values = {"clean": clean[0], "attacked": attacked[0], "scores": np.stack([before, after])}
    facts = [f"{first} -> {last}, within {np.abs(change).max() * LEVELS:.2f} of 255 levels"]
    return Exhibit(sheet([cells], title, inches=2.2), values, facts)


def of_data(
    network: Network, examples: Sequence[Example], *, epsilons: Sequence[float] = BUDGETS
) -> Exhibit:
    """Accuracy over the budget, for both attacks."""
    canvas = Canvas.of(network)
    if list(epsilons) != sorted(epsilons):
        raise ExplainError(
            f"budgets go from small to large: epsilons={','.join(map(str, sorted(epsilons)))}"
        )
    found = read(network, examples)
    shapes = {each.example.shape for each in found}
    if len(shapes) > 1:
        raise ExplainError(
            "a robustness curve needs examples of one size, and these sounds are of several"
            " lengths: choose clips of one length"
        )
    model = canvas.model(size=shapes.pop()[:2])
    inputs = canvas.inputs(np.stack([each.example for each in found]))
    class_ids = np.array([each.class_id for each in found])
    budgets = [epsilon / LEVELS for epsilon in epsilons]
    lines = {
        name: robustness_curve(model, inputs, class_ids, budgets, attack)
        for name, attack in ATTACKS.items()
    }
    title = f"{network.name}: accuracy under attack, {len(found):,} inputs"
    picture = curves(epsilons, lines, title, ("budget: levels of 255", "accuracy"))
    facts = [
        f"{name}: " + ", ".join(f"{e:g}: {a:.3f}" for e, a in zip(epsilons, curve, strict=True))
        for name, curve in lines.items()
    ]
    return Exhibit(picture, {"epsilons": np.array(epsilons), **lines}, facts)


def _scores(model, inputs: np.ndarray) -> np.ndarray:
    return tf.nn.softmax(model(inputs, training=False)).numpy()[0]
