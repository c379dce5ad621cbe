"""Names: what is shown stands for one name only, and no name leads out of the root."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import SourceError
from imagekit.files.names import display_name, is_plain, raw_name, to_path

TRICKY = st.one_of(
    st.binary(max_size=12),
    st.text(alphabet="\\nrtuxé0af \n\t\x85\u202e", max_size=10).map(lambda text: text.encode()),
    st.lists(st.sampled_from([b"\\", b"x", b"f", b"\xff", b"u", b"0", b"2", b"n", b"\n"])).map(b"".join),
)


def unescape(shown: str) -> bytes:
    """The rule of the module read backwards, without its code."""
    if not re.search(r"\\[\\nrtux]", shown):
        return shown.encode()
    out = b""
    for short, byte, point, other in re.findall(r"\\([\\nrt])|\\x(..)|\\u(....)|([^\\])", shown, re.DOTALL):
        if short:
            out += {"\\": b"\\", "n": b"\n", "r": b"\r", "t": b"\t"}[short]
        else:
            out += bytes([int(byte, 16)]) if byte else (chr(int(point, 16)) if point else other).encode()
    return out


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"n01/cat.jpg", "n01/cat.jpg"),
        ("été 日本 🐈.jpg".encode(), "été 日本 🐈.jpg"),
        (b"a\\b.jpg", "a\\b.jpg"),
        (b"a\\new.jpg", "a\\\\new.jpg"),
        (b"\xff.jpg", "\\xff.jpg"),
        (b"\\xff.jpg", "\\\\xff.jpg"),
        (b"\xff\\b.jpg", "\\xff\\\\b.jpg"),
        (b"a\nb\rc\td", "a\\nb\\rc\\td"),
        (b"\x1b[31mred\x7f", "\\x1b[31mred\\x7f"),
        ("\x85".encode(), "\\u0085"),
        ("\u202egpj.exe".encode(), "\\u202egpj.exe"),
        (b"", ""),
    ],
)
def test_names_are_shown_by_the_documented_rule(raw: bytes, shown: str) -> None:
    assert display_name(raw) == shown
    assert is_plain(raw) == (shown.encode() == raw)


@given(TRICKY)
@settings(deadline=None, max_examples=500)
def test_the_shown_name_gives_the_bytes_back_so_no_two_names_look_the_same(raw: bytes) -> None:
    assert unescape(display_name(raw)) == raw


@given(TRICKY)
@settings(deadline=None)
def test_shown_names_are_valid_utf8_without_control_characters(raw: bytes) -> None:
    shown = display_name(raw)

    assert shown.encode().decode() == shown
    assert not re.search("[\x00-\x1f\x7f-\x9f]", shown)


@given(TRICKY)
@settings(deadline=None)
def test_a_name_is_plain_exactly_when_it_is_shown_as_it_is(raw: bytes) -> None:
    assert is_plain(raw) == (display_name(raw).encode() == raw)


@pytest.mark.parametrize("raw", [b"a.jpg", b"train/n01/a.jpg", b"a..b/..c.jpg", b"\xff\n.jpg"])
def test_a_relative_name_becomes_a_path_below_the_root(raw: bytes) -> None:
    assert os.fsencode(to_path(Path("data"), raw)) == b"data/" + raw


@pytest.mark.parametrize("raw", [b"/etc/passwd", b"../a.jpg", b"a/../../b.jpg", b"..", b"", b"a\0b"])
def test_a_name_that_leads_out_of_the_root_is_refused(raw: bytes) -> None:
    with pytest.raises(SourceError) as caught:
        to_path(Path("data"), raw)

    assert str(caught.value) == (
        f'path-escape: "{display_name(raw)}" does not name a file below the root\n'
        '  where: data\n  fix: use relative paths without ".."'
    )


@given(raw=st.binary(min_size=1, max_size=40))
def test_a_shown_name_gives_its_bytes_back(raw: bytes) -> None:
    assert raw_name(display_name(raw)) == raw


@given(text=st.text(alphabet="ab\\nxu0f9\n\u2028é", min_size=1, max_size=12))
def test_a_shown_name_full_of_backslashes_gives_its_bytes_back(text: str) -> None:
    raw = text.encode()

    assert raw_name(display_name(raw)) == raw
