"""`--max-bad`: a count or a percentage, and the exit code that follows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import TooManyBadError, UsageError
from imagekit.rules.tolerance import Tolerance, exit_code_for


@pytest.mark.parametrize(
    ("text", "limit", "is_percent"),
    [("0", 0, False), ("12", 12, False), (" 3 ", 3, False), ("0%", 0, True), ("0.5%", 0.5, True), ("100%", 100, True)],
)
def test_a_count_or_a_percentage_is_read(text: str, limit: float, is_percent: bool) -> None:
    assert Tolerance.parse(text) == Tolerance(limit=limit, is_percent=is_percent)


@pytest.mark.parametrize("text", ["", "%", "-1", "1.5", "101%", "100.1%", "1e3", "some", "5 %", "½", "1.%", "0x1"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Tolerance.parse(text)

    assert str(caught.value) == (
        f'"{text}" is neither a count nor a percentage\n  where: --max-bad\n'
        "  fix: give a whole number such as 12, or a percentage such as 0.5%"
    )


@pytest.mark.parametrize(
    ("text", "n_bad", "n_total", "bears"),
    [
        ("0", 0, 5, True),
        ("0", 1, 5, False),
        ("2", 2, 5, True),
        ("2", 3, 5, False),
        ("10%", 1, 10, True),
        ("10%", 1, 9, False),
        ("0.1%", 1, 1000, True),
        ("0.1%", 1, 999, False),
        ("0%", 0, 0, True),
        ("100%", 5, 5, True),
    ],
)
def test_the_bound_itself_is_borne_and_one_more_is_not(text: str, n_bad: int, n_total: int, bears: bool) -> None:
    assert Tolerance.parse(text).bears(n_bad=n_bad, n_total=n_total) is bears


@given(n_bad=st.integers(0, 50), extra=st.integers(0, 50))
def test_without_a_bound_any_bad_file_is_exit_3(n_bad: int, extra: int) -> None:
    assert exit_code_for(None, n_bad=n_bad, n_total=n_bad + extra, where="src") == (3 if n_bad else 0)


@given(limit=st.integers(0, 50), n_bad=st.integers(0, 50))
def test_with_a_bound_it_is_exit_0_or_a_failure(limit: int, n_bad: int) -> None:
    tolerance = Tolerance(limit=limit)

    if n_bad <= limit:
        assert exit_code_for(tolerance, n_bad=n_bad, n_total=99, where="src") == 0
    else:
        with pytest.raises(TooManyBadError) as caught:
            exit_code_for(tolerance, n_bad=n_bad, n_total=99, where="src")
        assert caught.value.exit_code == 1


@pytest.mark.parametrize(("text", "shown"), [("1", "1"), ("0.50%", "0.5%"), ("3000", "3000")])
def test_too_many_says_how_many_of_how_many_and_what_was_allowed(text: str, shown: str) -> None:
    with pytest.raises(TooManyBadError) as caught:
        exit_code_for(Tolerance.parse(text), n_bad=4000, n_total=9000, where="src")

    assert str(caught.value) == (
        f"4000 of 9000 images are unusable, --max-bad allows {shown}\n  where: src\n"
        "  fix: mend or remove these files, or raise --max-bad; nothing was published"
    )


@given(limit=st.integers(0, 10**9))
def test_a_bound_is_shown_as_it_was_given(limit: int) -> None:
    assert str(Tolerance.parse(str(limit))) == str(limit)
