"""expand_entries: an "@FILE" stands for the lines of that file, which lies beside the recipes file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagekit.errors import RecipeError
from imagekit.recipes.entries import expand_entries
from imagekit.recipes.load import load_recipes


def error_text(tmp_path, *entries):
    with pytest.raises(RecipeError) as caught:
        expand_entries("deny", entries, folder=tmp_path)
    return str(caught.value)


def test_a_file_stands_for_its_lines_without_blanks_and_comments(tmp_path):
    (tmp_path / "lists").mkdir()
    text = "\ufeff# ten dogs\r\n\r\nn02086240\r\n  n02087394 \nn0208\u2028x\n\n#n1\nlast"
    (tmp_path / "lists" / "ids.txt").write_text(text, encoding="utf-8", newline="")

    entries = expand_entries("classes", ["first", "@lists/ids.txt", "n*"], folder=tmp_path)

    assert entries == ("first", "n02086240", "n02087394", "n0208\u2028x", "last", "n*")


def test_without_a_folder_nothing_is_read():
    assert expand_entries("deny", ["@ids.txt"], folder=None) == ("@ids.txt",)


def test_a_recipes_file_finds_its_lists_beside_itself_wherever_it_is_read_from(tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text('[tiny.choose]\nclasses = ["@ids.txt"]\n', encoding="utf-8")
    (tmp_path / "ids.txt").write_text("n1\nn2\n", encoding="utf-8")
    monkeypatch.chdir("/")

    assert load_recipes(tmp_path / "mine.toml")["tiny"].choose.classes == ("n1", "n2")


def test_an_error_in_a_list_names_recipes_file_key_list_and_line(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[tiny.choose]\ndeny = ["a.jpg", "@bad.txt"]\n', encoding="utf-8")
    (tmp_path / "bad.txt").write_text("# broken\n../x\n", encoding="utf-8")

    with pytest.raises(RecipeError) as caught:
        load_recipes(path)

    assert str(caught.value) == (
        'the entry is "../x", must be a relative path that stays inside\n'
        f"  where: {path}: [tiny] choose.deny[1]: bad.txt, line 2\n"
        '  fix: give a path without "..", from the root on, with no slash in front, as in "train/cats/1.jpg"'
    )


def test_a_list_cannot_name_another_list(tmp_path):
    (tmp_path / "a.txt").write_text("@b.txt\n", encoding="utf-8")

    assert error_text(tmp_path, "@a.txt") == (
        'the entry is "@b.txt", but only a recipes file can name a file of entries\n'
        "  where: deny[0]: a.txt, line 1\n"
        '  fix: list the entries themselves; where a name begins with @, write "[@]" for it'
    )


@pytest.mark.parametrize("file", ["../x", "/etc/passwd", "a/../../b", ""])
def test_a_list_outside_the_folder_of_the_recipes_file_is_refused(tmp_path, file):
    assert error_text(tmp_path, "@" + file) == (
        f'the file of deny[0] is "{file}", must be a relative path that stays inside\n  where: deny[0]\n'
        '  fix: give a path without "..", from the root on, with no slash in front, as in "train/cats/1.jpg"'
    )


def test_a_missing_list_is_named(tmp_path):
    assert error_text(tmp_path, "a.jpg", "@gone.txt") == (
        "the file of entries does not exist\n  where: deny[1]: gone.txt\n"
        "  fix: give its path from the folder of the recipes file on"
    )


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe\n")

    assert error_text(tmp_path, "@pipe\n") == (
        'the file of entries is not a regular file\n  where: deny[0]: "pipe\\n"\n'
        "  fix: give its path from the folder of the recipes file on"
    )


def test_a_list_without_an_entry_is_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("\n# nothing yet\n", encoding="utf-8")

    assert error_text(tmp_path, "@empty.txt") == (
        "the file of entries lists nothing\n  where: deny[0]: empty.txt\n"
        "  fix: write one entry a line, or take the file out of the recipe"
    )


def test_a_list_that_is_not_utf8_says_where(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9.jpg\n")

    assert error_text(tmp_path, "@latin.txt") == (
        "the file of entries is not UTF-8 text: byte 3 is 0xe9\n  where: deny[0]: latin.txt\n"
        "  fix: save the file as UTF-8; write ? for a byte of a file name that is not UTF-8"
    )


def test_a_list_that_cannot_be_read_says_what_the_system_says(tmp_path, monkeypatch):
    (tmp_path / "ids.txt").write_text("n1\n", encoding="utf-8")

    def refuse(self, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)

    assert error_text(tmp_path, "@ids.txt") == (
        "the file of entries cannot be read: Permission denied\n  where: deny[0]: ids.txt\n"
        "  fix: check the path and its permissions"
    )
