"""Numbers of bytes in words, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import ConfigError
from imagekit.files.sizes import display_bytes, parse_bytes


@pytest.mark.parametrize(
    ("n_bytes", "words"),
    [
        *((0, "0 KB"), (1, "0.001 KB"), (1_000, "1 KB"), (4_213_000, "4.21 MB"), (160_000_000, "160 MB")),
        *((999_499_999, "999 MB"), (999_500_000, "1 GB"), (1_500_000_000, "1.5 GB"), (20_000_000_000, "20 GB")),
        *((12_345_000_000_000, "12.3 TB"), (4_321_000_000_000_000, "4,321 TB")),
    ],
)
def test_a_number_of_bytes_is_told_in_three_digits(n_bytes, words):
    told = display_bytes(n_bytes)

    assert told == words


@given(st.integers(1, 10**14))
def test_what_is_told_can_be_typed_again_and_is_near(n_bytes):
    typed = parse_bytes(display_bytes(n_bytes), where="--cache-limit")

    assert typed == pytest.approx(n_bytes, rel=0.006)


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        *(("0", 0), ("1500000", 1_500_000), ("800MB", 800_000_000), ("1.5 GB", 1_500_000_000), (" 20gb ", 20 * 10**9)),
        *(("3k", 3000), ("2TB", 2 * 10**12), ("7B", 7)),
    ],
)
def test_bytes_are_told_with_or_without_a_unit(text: str, n_bytes: int):
    assert parse_bytes(text, where="--cache-limit") == n_bytes


@pytest.mark.parametrize("text", ["", "much", "-1", "1e9", "20GiB", "1,000", "GB", "1.GB"])
def test_what_is_no_number_of_bytes_is_refused(text: str):
    with pytest.raises(ConfigError) as caught:
        parse_bytes(text, where="--cache-limit")

    assert str(caught.value) == (
        f'"{text}" is no number of bytes\n  where: --cache-limit\n  fix: give 800MB or 20GB, say'
    )
