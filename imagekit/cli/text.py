"""Text made safe to print: control characters become visible, signs a terminal cannot show become ASCII."""

from __future__ import annotations

import re

# C0 without tab and newline, DEL, C1, line separators, direction marks (they can disguise a name), lone surrogates
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_ASCII = str.maketrans(
    {"→": "->", "←": "<-", "…": "...", "×": "x", "–": "-", "—": "-", "±": "+-", "≥": ">=", "≤": "<=", "·": "*"}
    | dict.fromkeys("‘’", "'")
    | dict.fromkeys("“”", '"')
)


def visible(text: str) -> str:
    r"""Write every control character as its escape, so that a file name cannot steer the terminal.

    Newline and tab stay: they are ours. ESC becomes \x1b, a byte that was not UTF-8 becomes \xff.
    """
    return _UNSAFE.sub(_escape, text)


def fitting(text: str, encoding: str | None) -> str:
    r"""Replace what `encoding` cannot write: known signs by ASCII twins, the rest by \u escapes. None means ASCII."""
    name = encoding or "ascii"
    try:
        text.encode(name)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(name, "backslashreplace").decode(name)
    return text


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: the byte itself says more than the surrogate
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
