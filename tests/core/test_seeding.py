"""Draws depend on the place in the run, and on nothing that happened before."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from decoct.core.seeding import derive, generator, seeded

words = st.text("abcdefgh-", min_size=1, max_size=8)
places = st.tuples(words, st.integers(0, 10**6), st.integers(0, 10**6))


@given(st.integers(), places)
def test_seeds_fit_torch_and_repeat(seed: int, place: tuple[str, int, int]) -> None:
    value = derive(seed, *place)
    assert 0 <= value < 2**63
    assert value == derive(seed, *place)
    torch.Generator().manual_seed(value)


@given(st.integers(), places, st.integers(), places)
def test_different_places_have_different_seeds(
    a: int, place: tuple[str, int, int], b: int, other: tuple[str, int, int]
) -> None:
    assert (derive(a, *place) == derive(b, *other)) == ((a, place) == (b, other))


def test_seeds_are_the_same_in_every_process_and_version() -> None:
    # sha256("0/experts/3"): the first eight bytes, little-endian, halved. A change here would
    # silently change every run.
    import hashlib

    first = hashlib.sha256(b"0/experts/3").digest()[:8]
    assert derive(0, "experts", 3) == int.from_bytes(first, "little") // 2


def test_generators_do_not_depend_on_the_global_ones() -> None:
    torch.manual_seed(0)
    first = torch.rand(5, generator=generator(1, "x"))
    torch.rand(100)
    assert torch.equal(torch.rand(5, generator=generator(1, "x")), first)
    assert not torch.equal(torch.rand(5, generator=generator(2, "x")), first)


def test_a_seeded_block_leaves_the_global_generator_as_it_was() -> None:
    torch.manual_seed(7)
    expected = torch.rand(4)
    torch.manual_seed(7)
    with seeded(0, "block"):
        inside = torch.rand(4)
    assert torch.equal(torch.rand(4), expected)
    with seeded(0, "block"):
        assert torch.equal(torch.rand(4), inside)


def test_a_seeded_block_that_fails_leaves_the_global_generator_as_it_was() -> None:
    torch.manual_seed(7)
    expected = torch.rand(4)
    torch.manual_seed(7)
    try:
        with seeded(0, "block"):
            torch.rand(4)
            raise KeyError
    except KeyError:
        pass
    assert torch.equal(torch.rand(4), expected)


def test_blocks_nest() -> None:
    with seeded(0, "outer"):
        expected = torch.rand(4)
    with seeded(0, "outer"):
        with seeded(0, "inner"):
            torch.rand(1)
        assert torch.equal(torch.rand(4), expected)
