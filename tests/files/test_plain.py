"""Text of strangers stays on its line."""

from hypothesis import given
from hypothesis import strategies as st

from imagekit.files.plain import plain


def test_control_signs_become_visible_and_plain_text_stays() -> None:
    assert plain("a\nb\tc\r\x1b[31m\x9b\u202e\udcff") == "a\\nb\\tc\\r\\x1b[31m\\x9b\\u202e\\udcff"
    assert plain("Käfer → 甲虫 \\n") == "Käfer → 甲虫 \\n"


def test_what_is_no_text_is_written_as_json() -> None:
    assert plain(None) == "none"
    assert plain({"b": [1, 2.5], "a": "x\ny"}) == '{"a": "x\\ny", "b": [1, 2.5]}'
    assert plain(b"raw") == "\"b'raw'\""


def test_long_text_is_cut() -> None:
    assert plain("x" * 200) == "x" * 200
    assert plain("x" * 201) == "x" * 197 + "..."
    assert plain("abcdefgh", max_signs=6) == "abc..."


@given(st.text(max_size=50))
def test_no_text_makes_a_second_line_or_a_control_sign(text: str) -> None:
    shown = plain(text)

    assert len(shown.splitlines()) <= 1
    assert all(ord(sign) >= 32 and not 0x7F <= ord(sign) <= 0x9F for sign in shown)
