"""What the command may set beside the recipe: what goes together, what does not, and what stands in the receipt."""

from typing import Any

import pytest
from subset.trees import recipe

from imagekit.errors import RecipeError, UsageError
from imagekit.subset.options import CHECKS, LINKS, SubsetOptions, options_of


def refused(**settings: Any) -> str:
    with pytest.raises(UsageError) as caught:
        SubsetOptions(**settings)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"link": "soft"},
            'link is "soft"\n  where: --link\n  fix: known: copy, hard, reflink',
        ),
        (
            {"link": "reflinc"},
            'link is "reflinc"\n  where: --link\n  fix: did you mean "reflink"? known: copy, hard, reflink',
        ),
        (
            {"check": "all"},
            'check is "all"\n  where: --check\n  fix: known: decode, header, none',
        ),
        (
            {"size": 160, "check": "none"},
            'check is "none", but an image that is resized is decoded whole\n  where: --check none --size 160\n'
            "  fix: leave --check out, or build --size full",
        ),
        (
            {"size": 160, "mode": "none"},
            'mode is "none", but the size is 160\n  where: --mode none --size 160\n'
            "  fix: leave --size out, or give another --mode",
        ),
        (
            {"mode": "fit"},
            'mode is "fit", but size full keeps every byte as it is\n  where: --mode fit\n'
            "  fix: leave --mode out, or give a size such as --size 160",
        ),
        (
            {"filter": "box"},
            'filter is "box", but size full keeps every byte as it is\n  where: --filter box\n'
            "  fix: leave --filter out, or give a size such as --size 160",
        ),
        (
            {"format": "png", "mode": "none"},
            'format is "png", but size full keeps every byte as it is\n  where: --format png\n'
            "  fix: leave --format out, or give a size such as --size 160",
        ),
        (
            {"quality": 50},
            "quality is 50, but size full keeps every byte as it is\n  where: --quality 50\n"
            "  fix: leave --quality out, or give a size such as --size 160",
        ),
    ],
    ids=[
        "no link",
        "nearly a link",
        "no check",
        "check of a size",
        "mode none of a size",
        "mode of full",
        "filter of full",
        "format of full",
        "quality of full",
    ],
)
def test_what_cannot_be_is_refused_with_what_can(settings: dict[str, Any], text: str) -> None:
    assert refused(**settings) == text


@pytest.mark.parametrize("link", [None, *LINKS])
def test_every_link_goes_with_every_size(link: str | None) -> None:
    assert SubsetOptions(link=link).to_dict() == {"size": "full", "link": link, "check": "decode"}
    assert SubsetOptions(size=4, link=link).to_dict() == {"size": 4, "link": link, "check": "decode"}


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_goes_with_full_and_mode_none_does_too(check: str) -> None:
    options = SubsetOptions(check=check, mode="none")

    assert options.to_dict() == {"size": "full", "link": None, "check": check}
    assert options.applied_to(recipe()) == recipe()


def test_a_recipe_that_never_resizes_needs_a_mode_for_a_size() -> None:
    still = recipe(sizes=("full",), resize={"mode": "none"})

    with pytest.raises(UsageError) as caught:
        SubsetOptions(size=4).applied_to(still)

    assert str(caught.value) == (
        'recipe tiny has resize.mode "none", but the size is 4\n  where: --size 4\n'
        "  fix: give a --mode such as shortest, or --size full"
    )
    assert SubsetOptions().applied_to(still) == still
    assert SubsetOptions(size=4, mode="fit").applied_to(still).resize.mode == "fit"


def test_what_is_given_takes_the_place_of_the_recipes_rule_and_the_rest_stays() -> None:
    given = SubsetOptions(size=4, mode="fill", filter="box", format="webp", quality=1)
    own = recipe(resize={"filter": "lanczos", "background": "#000000", "quality": 77})

    assert SubsetOptions(size=4).applied_to(own) == own
    rule = given.applied_to(own).resize
    assert (rule.mode, rule.filter, rule.format, rule.quality) == ("fill", "box", "webp", 1)
    assert rule.background == "#000000"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"mode": "crop"},
            'mode is "crop", which is not known\n  where: mode\n'
            "  fix: known: fill, fit, longest, none, shortest, stretch",
        ),
        (
            {"format": "gif"},
            'format is "gif", which is not known\n  where: format\n  fix: known: jpeg, keep, png, webp',
        ),
    ],
)
def test_a_word_that_no_rule_knows_is_refused_by_the_rule(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        SubsetOptions(size=4, **settings).applied_to(recipe())

    assert str(caught.value) == text


def test_options_that_an_early_receipt_does_not_tell_have_their_defaults() -> None:
    assert options_of({"size": 4}) == SubsetOptions(size=4).to_dict()
    assert options_of({"size": "full", "link": "hard", "check": "none"}) == {
        "size": "full",
        "link": "hard",
        "check": "none",
    }
