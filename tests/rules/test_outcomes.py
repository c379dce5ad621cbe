"""The law that no file is lost: found = selected + excluded + quarantined + not an image."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import ImagekitError
from imagekit.rules.outcomes import (
    BadFile,
    Outcomes,
    bad_others,
    count_outcomes,
    counted,
    group_by_reason,
    unreadable_folders,
)

COUNTS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(0, 50))


def bad(name: str, reason: str = "truncated") -> BadFile:
    return BadFile(file_name=name, reason=reason, detail="cut")


@given(selected=st.integers(0, 99), excluded=COUNTS, quarantined=COUNTS, not_image=st.integers(0, 9))
def test_outcomes_that_add_up_can_be_made_and_no_others(
    selected: int, excluded: dict[str, int], quarantined: dict[str, int], not_image: int
) -> None:
    found = selected + sum(excluded.values()) + sum(quarantined.values()) + not_image
    parts = {"selected": selected, "excluded": excluded, "quarantined": quarantined, "not_image": not_image}

    assert Outcomes(found=found, **parts).found == found  # type: ignore[arg-type]
    for wrong in (found + 1, found - 1):
        with pytest.raises(ImagekitError):
            Outcomes(found=wrong, **parts)  # type: ignore[arg-type]


def test_counts_that_do_not_add_up_say_which() -> None:
    with pytest.raises(ImagekitError) as caught:
        Outcomes(found=5000, selected=4000, excluded={"rule": 2}, quarantined={"bomb": 3}, not_image=1)

    assert str(caught.value) == (
        "5000 files were found but 4006 are accounted for: found 5,000 = selected 4,000 + excluded by rule 2"
        " + quarantined 3 + not an image 1\n"
        "  fix: the source may be changing while it is read: run the same command again"
    )
    assert Outcomes(found=1, selected=1).line() == (
        "found 1 = selected 1 + excluded by rule 0 + quarantined 0 + not an image 0"
    )


KINDS = ["not-image", "symlink", "special-file", "symlink-loop", "symlink-outside"]


@given(
    n_selected=st.integers(0, 30),
    excluded=COUNTS,
    reasons=st.lists(st.sampled_from(["truncated", "bomb", "special-file"])),
    kinds=st.lists(st.sampled_from(KINDS)),
)
def test_every_image_and_every_other_entry_is_counted_once(
    n_selected: int, excluded: dict[str, int], reasons: list[str], kinds: list[str]
) -> None:
    outcomes = count_outcomes(
        n_images=n_selected + sum(excluded.values()) + len(reasons),
        n_selected=n_selected,
        excluded=excluded,
        bad_images=[bad(str(i), reason) for i, reason in enumerate(reasons)],
        other_kinds=kinds,
    )

    assert outcomes.found == n_selected + sum(excluded.values()) + len(reasons) + len(kinds)
    assert outcomes.not_image == kinds.count("not-image")
    assert outcomes.n_excluded == sum(excluded.values()) + kinds.count("symlink")
    assert outcomes.n_quarantined == len(reasons) + len(bad_others((kind, kind) for kind in kinds))
    assert 0 not in outcomes.excluded.values()


def test_an_image_that_nobody_accounts_for_is_an_error() -> None:
    with pytest.raises(ImagekitError, match="3 files were found but 2 are accounted for"):
        count_outcomes(n_images=3, n_selected=2, excluded={}, bad_images=[], other_kinds=[])


def test_the_counts_as_plain_types_are_sorted() -> None:
    outcomes = Outcomes(found=4, selected=1, excluded={"z": 1, "a": 1}, quarantined={"bomb": 1})

    assert outcomes.to_dict() == {
        "found": 4,
        "selected": 1,
        "excluded": {"a": 1, "z": 1},
        "quarantined": {"bomb": 1},
        "not_image": 0,
    }
    assert list(outcomes.to_dict()["excluded"]) == ["a", "z"]  # type: ignore[call-overload]


def test_entries_that_led_astray_are_bad_and_plain_links_and_other_files_are_not() -> None:
    found = bad_others(zip("abcde", KINDS, strict=True))

    assert [(file.file_name, file.reason, file.detail) for file in found] == [
        ("c", "special-file", "not a plain file inside the source"),
        ("d", "symlink-loop", "not a plain file inside the source"),
        ("e", "symlink-outside", "not a plain file inside the source"),
    ]


def test_folders_that_cannot_be_listed_are_bad_files() -> None:
    assert unreadable_folders([("train/a", "Permission denied")]) == [
        BadFile(file_name="train/a", reason="unreadable", detail="Permission denied")
    ]


def test_a_bad_file_as_plain_types_has_every_key() -> None:
    assert bad("a").to_dict() == {
        "file_name": "a",
        "reason": "truncated",
        "detail": "cut",
        "size_bytes": None,
        "sha256": None,
        "format": None,
    }


def test_reasons_come_most_frequent_first_with_three_names_each() -> None:
    files = [bad("x", "bomb"), *(bad(f"{i}.jpg") for i in range(4)), bad("y", "leak"), bad("z", "leak")]

    assert group_by_reason(files, listed_in="list.jsonl") == [
        "4 files truncated: 0.jpg, 1.jpg, 2.jpg; all in list.jsonl",
        "2 files leak: y, z",
        "1 file bomb: x",
    ]
    assert group_by_reason([], listed_in="list.jsonl") == []


def test_items_are_counted_in_order() -> None:
    assert list(counted(["b", "a", "b"]).items()) == [("a", 1), ("b", 2)]
