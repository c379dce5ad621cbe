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
_LONG = {short: sign.encode() for sign, short in _SHORT.items()}
_PAIR = re.compile(r"\\(?:x(?P<byte>[0-9a-f]{2})|u(?P<code>[0-9a-f]{4})|[\\nrt])")


def display_name(raw: bytes) -> str:
    """The name for people, by the rule of this module; different names never give the same text."""
    text = raw.decode("utf-8", "surrogateescape")
    return _ESCAPED.sub(_escape, text) if _NEEDS_ESCAPE.search(text) else text


def is_plain(raw: bytes) -> bool:
    """Whether the name is shown as it is, so that its text alone gives the bytes back."""
    return _NEEDS_ESCAPE.search(raw.decode("utf-8", "surrogateescape")) is None


def to_path(root: Path, raw: bytes) -> Path:
    """The path of a relative name below `root`. Raises SourceError as `path_in`."""
    return Path(path_in(os.fspath(root), raw))


def path_in(root: str, raw: bytes) -> str:
    """The path of a relative name below `root` as text: a tenth of the time that a Path takes, for every image.

    Raises SourceError (path-escape) for a name that is empty, absolute, holds a zero byte or steps up by "..".
    """
    # the parse costs ten times what the first tests do, and a name that holds ".." at all is rare
    is_odd = not raw or raw.startswith(b"/") or b"\0" in raw or b".." in raw
    if is_odd and _leaves_root(raw):
        raise SourceError(
            f'path-escape: "{display_name(raw)}" does not name a file below the root',
            where=root,
            fix='use relative paths without ".."',
        )
    return f"{root}/{os.fsdecode(raw)}"


def _leaves_root(raw: bytes) -> bool:
    path = PurePosixPath(os.fsdecode(raw))
    return not raw or b"\0" in raw or path.is_absolute() or ".." in path.parts


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


def raw_name(shown: str) -> bytes:
    """The name that `display_name` shows as this text: raw_name(display_name(raw)) == raw for every name."""
    if not _PAIR.search(shown):
        return shown.encode("utf-8", "surrogateescape")
    pieces, at = [], 0
    for pair in _PAIR.finditer(shown):
        pieces += [shown[at : pair.start()].encode(), _unescape(pair)]
        at = pair.end()
    return b"".join([*pieces, shown[at:].encode()])


def _unescape(pair: re.Match[str]) -> bytes:
    if pair["byte"]:
        return bytes.fromhex(pair["byte"])
    return chr(int(pair["code"], 16)).encode() if pair["code"] else _LONG[pair.group()]
