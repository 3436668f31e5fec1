"""Seeded splits of a list of examples: by class, or by groups that must stay together.

The random numbers come from `RandomState`, whose stream NumPy has frozen (NEP 19): a seed gives the
same split with every version.
"""

from collections.abc import Callable, Hashable

import numpy as np

from .dataset import Example
from .errors import DatasetError


def hold_out(
    examples: list[Example], fraction: float, seed: int
) -> tuple[list[Example], list[Example]]:
    """Splits off a part of each class: at least one example, and at least one stays.

    Returns: (rest, held out), each in the order of `examples`.
    Raises:  DatasetError if a class has one example only.
    """
    positions: dict[int, list[int]] = {}
    for position, example in enumerate(examples):
        positions.setdefault(example.class_id, []).append(position)
    held: set[int] = set()
    for class_id, of_class in positions.items():
        if len(of_class) < 2:
            raise DatasetError(
                f"class number {class_id} has one example: too few to split; add examples"
            )
        count = min(max(1, round(fraction * len(of_class))), len(of_class) - 1)
        order = np.random.RandomState([seed, class_id]).permutation(len(of_class))
        held.update(of_class[i] for i in order[:count])
    return _part(examples, held)


def hold_out_groups(
    examples: list[Example], group_of: Callable[[Example], Hashable], fraction: float, seed: int
) -> tuple[list[Example], list[Example]]:
    """Splits off whole groups (speakers, say) until they make up the fraction of the examples.

    Returns: (rest, held out), each in the order of `examples`.
    """
    groups: dict[Hashable, list[int]] = {}
    for position, example in enumerate(examples):
        groups.setdefault(group_of(example), []).append(position)
    members = list(groups.values())
    held: set[int] = set()
    for i in np.random.RandomState([seed]).permutation(len(members)):
        if len(held) >= fraction * len(examples):
            break
        held.update(members[i])
    return _part(examples, held)


def split_own(
    examples: list[Example], seed: int
) -> tuple[list[Example], list[Example], list[Example]]:
    """80 / 10 / 10 by class: (train, validation, test).  Each class is in each.

    Raises: DatasetError if a class has fewer than 3 examples.
    """
    rest, test = hold_out(examples, 1 / 10, seed)
    train, validation = hold_out(rest, 1 / 9, seed)
    return train, validation, test


def require_examples(
    examples: list[Example], labels: tuple[str, ...], at_least: int, name: str
) -> None:
    """Raises DatasetError if there are fewer than two classes, or too few examples of one."""
    if len(labels) < 2:
        found = f"one class ({labels[0]})" if labels else "no class"
        raise DatasetError(f"{name} has {found}: a classifier needs at least two")
    counts = np.bincount([e.class_id for e in examples], minlength=len(labels))
    few = [f"{label} ({n})" for label, n in zip(labels, counts, strict=True) if n < at_least]
    if few:
        listed = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
        raise DatasetError(
            f"{name}: every class needs at least {at_least} examples, these have fewer: {listed}; "
            "add examples or remove the class"
        )


def _part(examples: list[Example], held: set[int]) -> tuple[list[Example], list[Example]]:
    rest = [e for i, e in enumerate(examples) if i not in held]
    return rest, [e for i, e in enumerate(examples) if i in held]
