"""The next step of a model, case by case as TensorFlow Serving's, and the laws of all of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.version_policy import (
    LOADABLE,
    TRANSITIONS,
    All,
    IllegalTransition,
    Latest,
    Load,
    Policy,
    Specific,
    State,
    Unload,
    Version,
    aspired,
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
    versions, wanted = LATEST[case]
    assert aspired(versions, Latest()) == wanted


# fmt: off
POLICIES = {
    "two":                             ([Version(1, D), Version(2, R), Version(3, N)],
                                        Latest(2), {2, 3}),
    "two, and the failed one is not":  ([Version(1, N), Version(2, F), Version(3, R)],
                                        Latest(2), {1, 3}),
    "more than there are":             ([Version(1, N)], Latest(5), {1}),
    "all":                             ([Version(1, D), Version(2, R), Version(3, L)],
                                        All(), {1, 2, 3}),
    "all that can":                    ([Version(1, F), Version(2, N, complete=False),
                                         Version(3, R, on_disk=False), Version(4, Q)],
                                        All(), set()),
    "specific, with an older one":     ([Version(1, N), Version(2, R), Version(3, N)],
                                        Specific(frozenset({1, 3})), {1, 3}),
    "specific, half of it there":      ([Version(1, R), Version(2, F)],
                                        Specific(frozenset({1, 2, 7})), {1}),
    "specific, and nothing for it":    ([Version(1, R)], Specific(frozenset({7})), set()),
}
# fmt: on


@pytest.mark.parametrize("case", POLICIES)
def test_policies(case):
    versions, policy, wanted = POLICIES[case]
    assert aspired(versions, policy) == wanted


def test_a_policy_that_asks_for_what_is_not_there_leaves_what_serves():
    versions = [Version(1, R), Version(2, F)]
    assert next_action(versions, aspired(versions, Specific(frozenset({2, 3})))) is None


@pytest.mark.parametrize(("state", "action"), [(R, Unload(1)), (Q, Unload(1)), (N, None)])
def test_what_was_unloaded_on_request_goes_to_the_last_one(state, action):
    assert next_action([Version(1, state)], aspired=set(), keep_one=False) == action


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

    def ask(self, policy: Policy) -> Load | Unload | None:
        versions = list(self.versions.values())
        action = next_action(versions, aspired(versions, policy))
        assert action == next_action(versions[::-1], aspired(versions[::-1], policy))
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


policies = (
    st.builds(Latest, st.integers(1, 3))
    | st.just(All())
    | st.builds(Specific, st.frozensets(st.sampled_from([*NUMBERS]), min_size=1))
)


@given(
    events=events,
    fates=st.lists(st.booleans(), min_size=60, max_size=60),
    policies=st.lists(policies, min_size=12, max_size=12),
)
def test_laws(events, fates, policies):
    """Whatever comes on disk, whichever loads fail, and whoever edits the policy meanwhile."""
    repository = Repository()
    fate = iter(fates)
    for (event, number), policy in zip(events, policies, strict=False):
        repository.apply(event, number)
        served = bool(repository.ready)

        steps = 0
        while action := repository.ask(policy):
            steps += 1
            assert steps <= 2 * len(NUMBERS), "no fixpoint"
            version = repository.versions[action.number]
            if isinstance(action, Load):
                assert version.on_disk
                assert version.complete
                repository.become(action.number, L)
                meanwhile = repository.ask(policy)
                assert meanwhile != action, "asked for the same load again"
                if policy == Latest(1):
                    assert meanwhile is None, "asked for a second load beside the first"
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
            wanted = aspired(list(repository.versions.values()), policy)
            assert len(repository.ready) <= max(1, len(wanted))
            assert not wanted or wanted == set(repository.ready)
        else:
            assert repository.versions == {}
