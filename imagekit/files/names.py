r"""File names are bytes; what people and text formats see is an escaped form that stands for one name only.

The rule. A name is shown as it is when it is valid UTF-8, holds no control character (C0, DEL, C1), no line or
paragraph separator, no sign that reorders text (a file name must not be able to disguise itself on a terminal), and no
backslash followed by one of \ n r t u x. Any other name is escaped: each backslash is doubled, a newline, return or tab
becomes \n, \r or \t, other signs below 128 and bytes that are not UTF-8 become \xNN, the rest \uNNNN.
An escaped name always holds one of these pairs and a plain one never does, so no two names look the same.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from imagekit.errors import SourceError

# a fixed set, not str.isprintable(): that one changes with Python's Unicode version, and manifests must not
_UNSAFE = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\udc80-\udcff"
_NEEDS_ESCAPE = re.compile(rf"[{_UNSAFE}]|\\[\\nrtux]")
_ESCAPED = re.compile(rf"[{_UNSAFE}\\]")
_SHORT = {"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


def display_name(raw: bytes) -> str:
    """The name for people, by the rule of this module; different names never give the same text."""
    text = raw.decode("utf-8", "surrogateescape")
    return _ESCAPED.sub(_escape, text) if _NEEDS_ESCAPE.search(text) else text


def is_plain(raw: bytes) -> bool:
    """Whether the name is shown as it is, so that its text alone gives the bytes back."""
    return _NEEDS_ESCAPE.search(raw.decode("utf-8", "surrogateescape")) is None


def to_path(root: Path, raw: bytes) -> Path:
    """The path of a relative name below `root`.

    Raises SourceError (path-escape) for a name that is empty, absolute, holds a zero byte or steps up by "..".
    """
    path = PurePosixPath(os.fsdecode(raw))
    if not raw or b"\0" in raw or path.is_absolute() or ".." in path.parts:
        raise SourceError(
            f'path-escape: "{display_name(raw)}" does not name a file below the root',
            where=str(root),
            fix='use relative paths without ".."',
        )
    return root / path


def _escape(match: re.Match[str]) -> str:
    sign = match.group()
    code = ord(sign)
    if sign in _SHORT:
        return _SHORT[sign]
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}"
