"""A paid answer comes back from its row as it was, however large it is."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.journal.entries import Entry, intact

SIZES = st.one_of(
    st.integers(0, 3_000), st.sampled_from([1_000, 1_001, 8_191, 8_192, 8_193, 70_000])
)


@given(
    piece=st.binary(min_size=1, max_size=200),
    size=SIZES,
    at=st.integers(1, 2**62),
    latency=st.floats(0, 1e6),
    cost=st.one_of(st.none(), st.decimals(0, 100, places=6).map(str)),
)
def test_an_entry_is_read_back_from_its_row(
    piece: bytes, size: int, at: int, latency: float, cost: str | None
) -> None:
    body = (piece * (size // len(piece) + 1))[:size]
    entry = Entry(
        key=b"k" * 20, run="r", body=body, max_tokens=9, latency=latency, model="m", cost=cost
    )
    row = entry.as_row(at)
    assert Entry.of_rows([row]) == [entry]
    assert intact(row)


@pytest.mark.parametrize("size", [0, 400, 1_000, 1_001, 8_192, 8_193, 1_000_000])
def test_a_stored_body_is_plain_zlib_that_any_version_reads(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    *_, stored, _ = Entry(key=b"k", run="r", body=body[:size], max_tokens=9).as_row(1)
    assert zlib.decompress(stored) == body[:size]


def test_a_row_that_is_not_as_it_was_written_is_not_read() -> None:
    row = list(Entry(key=b"k", run="r", body=b"{}", max_tokens=9).as_row(1))
    row[3] = "another run"
    assert not intact(row)
    with pytest.raises(ValueError, match="isn't as it was written"):
        Entry.of_rows([row])
