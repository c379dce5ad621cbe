"""Numbers as people read them."""

from imagekit.look.wording import number_text


def test_a_loss_that_rounds_to_nothing_has_no_sign():
    assert [number_text(value, 3) for value in (-0.00001, -0.5, 1234.5, None)] == ["0.000", "-0.500", "1,234.500", "–"]
