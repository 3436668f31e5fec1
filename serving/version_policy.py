"""How a version lives, and what to do next for the versions of one model. Pure.

Availability before all, as TensorFlow Serving's `AvailabilityPreservingPolicy`: what is served
is unloaded only once another version can answer. Stateless: `serving.manager` asks, does the
one action, and asks again until there is none. What is on disk is `serving.repository`'s matter.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto


class State(Enum):
    """Names as in `VersionStatus.State` of classifier.proto."""

    NEW = auto()  # seen on disk
    LOADING = auto()
    READY = auto()
    QUIESCING = auto()  # answers what it has, takes nothing new
    UNLOADING = auto()
    DISABLED = auto()  # unloaded
    FAILED = auto()  # refused


TRANSITIONS = {
    State.NEW: {State.LOADING},
    State.LOADING: {State.READY, State.FAILED, State.NEW},  # NEW: the load was cancelled
    State.READY: {State.QUIESCING},
    State.QUIESCING: {State.UNLOADING},
    State.UNLOADING: {State.DISABLED},
    State.DISABLED: {State.LOADING},  # wanted again, say after a newer one was deleted
    State.FAILED: {State.NEW},  # its folder was changed
}
LOADABLE = frozenset(state for state in State if State.LOADING in TRANSITIONS[state])


class IllegalTransition(RuntimeError):
    """A mistake in the code, not in a model."""


def transition(current: State, following: State) -> State:
    """`following`, if the table has it. Raises: IllegalTransition."""
    if following not in TRANSITIONS[current]:
        allowed = ", ".join(sorted(state.name for state in TRANSITIONS[current]))
        raise IllegalTransition(f"{current.name} -> {following.name}: only {allowed} may follow")
    return following


@dataclass(frozen=True)
class Version:
    """What the policy sees of a version.

    on_disk:  its folder is there.
    complete: and nothing in it is missing, so that it may be loaded.
    """

    number: int
    state: State
    on_disk: bool = True
    complete: bool = True


@dataclass(frozen=True)
class Load:
    number: int


@dataclass(frozen=True)
class Unload:
    number: int


@dataclass(frozen=True)
class Latest:
    """The newest `count`. One that failed is passed over, and an older one serves in its place."""

    count: int = 1


@dataclass(frozen=True)
class All:
    """Every version on disk."""


@dataclass(frozen=True)
class Specific:
    """These numbers and no others, whatever is newer."""

    numbers: frozenset[int]


Policy = Latest | All | Specific


def aspired(versions: Collection[Version], policy: Policy) -> set[int]:
    """The versions on disk that the policy asks for and that serve, or could.

    One that is loaded counts whatever became of its files, for it does not need them any more.
    """
    candidates = {
        version.number
        for version in versions
        if version.on_disk
        and (
            version.state in (State.LOADING, State.READY)
            or (version.state in LOADABLE and version.complete)
        )
    }
    match policy:
        case Latest(count):
            return set(sorted(candidates, reverse=True)[:count])
        case Specific(numbers):
            return candidates & numbers
        case All():
            return candidates


def next_action(
    versions: Collection[Version], aspired: Collection[int], *, keep_one: bool = True
) -> Load | Unload | None:
    """At most one step towards serving the aspired versions, and only those.

    1. An unload that was begun is ended.
    2. The lowest ready version that is not aspired is unloaded, if another one is ready, no
       version is on disk any more, or none is to be kept (`keep_one`).
    3. The highest aspired version that is not loaded is loaded.
    """
    quiescing = [v.number for v in versions if v.state is State.QUIESCING]
    if quiescing:
        return Unload(min(quiescing))

    ready = [v.number for v in versions if v.state is State.READY]
    unwanted = [number for number in ready if number not in aspired]
    withdrawn = not keep_one or not any(v.on_disk for v in versions)
    if unwanted and (len(ready) > 1 or withdrawn):
        return Unload(min(unwanted))

    waiting = [v.number for v in versions if v.number in aspired and v.state in LOADABLE]
    return Load(max(waiting)) if waiting else None
