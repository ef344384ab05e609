"""The accelerator against FastAPI itself, on generated applications and requests.

`make fuzz-fastapi` sends 100,000 requests; here are a few thousand of them, with other checks of
the fuzzer's own worth.
"""

from __future__ import annotations

import pytest

from accelerator.fuzz import Fuzzer, report
from accelerator.generate import make_case
from accelerator.mutants import MUTANTS, mutated, source_of

REQUESTS = 3000
FIRST_SEED = 0


@pytest.mark.timeout(120)
def test_generated_applications_behave_the_same() -> None:
    with Fuzzer() as fuzzer:
        outcome = fuzzer.run(REQUESTS, FIRST_SEED)
    assert not outcome.differences, report(outcome.differences[0])
    # A fuzzer whose requests the accelerator leaves to FastAPI proves nothing.
    total = sum(outcome.tiers.values())
    assert outcome.tiers["compiled"] > 0.35 * total
    assert outcome.tiers["routed"] > 0.08 * total


def test_a_seed_always_makes_the_same_case() -> None:
    for seed in range(20):
        one, other = make_case(seed), make_case(seed)
        assert one.source == other.source
        assert one.actions == other.actions


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_fault_has_its_place_in_the_source(name: str) -> None:
    mutant = MUTANTS[name]
    source = source_of(mutant.module)
    assert compile(mutated(mutant, source), "mutant", "exec")
    assert mutated(mutant, source) != source


@pytest.mark.parametrize(
    "name",
    [
        "other-content-type",
        "endpoint-not-in-scope",
        # Nothing but a body that Pydantic's own validator has taken as text shows it.
        "bodies-of-invalid-requests-lost",
    ],
)
@pytest.mark.timeout(120)
def test_a_planted_fault_is_found(name: str) -> None:
    with Fuzzer(mutant=name) as fuzzer:
        assert fuzzer.run(500, FIRST_SEED, shrinks=False).differences
