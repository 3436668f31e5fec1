from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.version_policy import (
    LOADABLE,
    TRANSITIONS,
    IllegalTransition,
    Load,
    State,
    Unload,
    Version,
    latest,
    next_action,
    transition,
)

N, L, R, Q, U, D, F = State

LEGAL = {(N, L), (L, R), (L, F), (L, N), (R, Q), (Q, U), (U, D), (D, L), (F, N)}


@pytest.mark.parametrize("current", State)
@pytest.mark.parametrize("following", State)
def test_only_these_transitions_are_legal(current, following):
    if (current, following) in LEGAL:
        assert transition(current, following) is following
    else:
        with pytest.raises(IllegalTransition, match=f"{current.name} -> {following.name}"):
            transition(current, following)


def test_every_state_can_be_left_and_ready_is_reached_through_loading_only():
    assert all(TRANSITIONS[state] for state in State)
    assert [state for state in State if R in TRANSITIONS[state]] == [L]


# The cases of TensorFlow Serving's availability_preserving_policy_test.cc: versions by number
# from 1, which of them are aspired, and what its policy answers. Its kError is our FAILED.
# fmt: off
TENSORFLOW_SERVING = {
    "LoadsNewAspired":                       ([U, F, R, N, N], {3, 4, 5}, Load(5)),
    "UnloadsNonAspiredFirst":                ([U, F, R, R, N], {4, 5},    Unload(3)),
    "ReturnsNoActionWhenNone":               ([R, F, L, U, D], {1, 2, 3}, None),
    "DoesNotUnloadWhenOtherNotReady":        ([R, L],          {2},       None),
    "DoesNotUnloadWhenOtherInError":         ([R, F],          {2},       None),
    "UnloadIfOtherReadyEvenIfLoading":       ([R, L, R],       {2, 3},    Unload(1)),
    "UnloadIfOtherReadyEvenIfError":         ([R, F, R],       {2, 3},    Unload(1)),
    "UnloadIfNoAspiredVersionsReady":        ([R, R, F, L],    {3, 4},    Unload(1)),
}
# fmt: on


@pytest.mark.parametrize("case", TENSORFLOW_SERVING)
def test_decides_as_tensorflow_serving_does(case):
    states, aspired, action = TENSORFLOW_SERVING[case]
    versions = [Version(number, state) for number, state in enumerate(states, 1)]
    assert next_action(versions, aspired) == action


@pytest.mark.parametrize(("on_disk", "action"), [(False, Unload(2)), (True, None)])
def test_with_nothing_aspired_the_last_one_goes_only_with_its_model(on_disk, action):
    """Differs: TensorFlow Serving unloads in both cases (UnloadsFirstNonAspiredWhenNoAspired)."""
    versions = [Version(1, D, on_disk), Version(2, R, on_disk=False), Version(3, F, on_disk)]
    assert next_action(versions, aspired=set()) == action


def test_an_unload_that_was_interrupted_is_ended_first():
    assert next_action([Version(1, Q), Version(2, N)], aspired={2}) == Unload(1)


# fmt: off
LATEST = {
    "newest whole one":              ([Version(1, N), Version(2, N), Version(3, N, complete=False)],
                                      {2}),
    "the failed one is passed over": ([Version(1, R), Version(2, F)], {1}),
    "an unloaded one serves again":  ([Version(1, D), Version(2, R, on_disk=False)], {1}),
    "an unloaded one, now damaged":  ([Version(1, D, complete=False), Version(2, F)], set()),
    "loaded, and being rewritten":   ([Version(1, D), Version(2, R, complete=False)], {2}),
    "loading":                       ([Version(1, R), Version(2, L)], {2}),
    "on its way out":                ([Version(1, Q), Version(2, U)], set()),
    "no version":                    ([], set()),
}
# fmt: on


@pytest.mark.parametrize("case", LATEST)
def test_latest(case):
    versions, aspired = LATEST[case]
    assert latest(versions) == aspired


NUMBERS = range(1, 5)


class Repository:
    """Versions on disk that a test changes, and their states as a manager would keep them."""

    def __init__(self) -> None:
        self.versions: dict[int, Version] = {}

    def apply(self, event: str, number: int) -> None:
        known = self.versions.get(number)
        match event:
            case "delete" if known and known.state in {*LOADABLE, F}:
                del self.versions[number]
            case "delete" if known:
                self.versions[number] = replace(known, on_disk=False, complete=False)
            case "copy" | "finish":
                state = N if known is None or known.state is F else known.state
                self.versions[number] = Version(number, state, complete=event == "finish")

    def ask(self) -> Load | Unload | None:
        versions = list(self.versions.values())
        action = next_action(versions, latest(versions))
        assert action == next_action(versions[::-1], latest(versions[::-1]))
        return action

    def become(self, number: int, *states: State) -> None:
        for state in states:
            version = self.versions[number]
            self.versions[number] = replace(version, state=transition(version.state, state))

    @property
    def ready(self) -> list[int]:
        return [v.number for v in self.versions.values() if v.state is R]

    @property
    def on_disk(self) -> bool:
        return any(v.on_disk for v in self.versions.values())


events = st.lists(
    st.tuples(st.sampled_from(["copy", "finish", "finish", "delete"]), st.sampled_from([*NUMBERS])),
    max_size=12,
)


@given(events=events, fates=st.lists(st.booleans(), min_size=60, max_size=60))
def test_laws(events, fates):
    """Whatever comes on disk and whichever loads fail."""
    repository = Repository()
    fate = iter(fates)
    for event, number in events:
        repository.apply(event, number)
        served = bool(repository.ready)

        steps = 0
        while action := repository.ask():
            steps += 1
            assert steps <= 2 * len(NUMBERS), "no fixpoint"
            version = repository.versions[action.number]
            if isinstance(action, Load):
                assert version.on_disk
                assert version.complete
                repository.become(action.number, L)
                assert repository.ask() is None, "asked for a second load beside the first"
                repository.become(action.number, R if next(fate) else F)
            else:
                repository.become(action.number, Q)
                if repository.on_disk:
                    assert repository.ready, "no version was left to answer"
                repository.become(action.number, U, D)
                if not version.on_disk:
                    repository.apply("delete", action.number)

        if repository.on_disk:
            assert repository.ready or not served
            assert len(repository.ready) <= 1
            wanted = latest(list(repository.versions.values()))
            assert not wanted or wanted == set(repository.ready)
        else:
            assert repository.versions == {}
