"""Discovery: every entry is accounted for, in byte order, and only folders are ever opened."""

import errno
import json
import mimetypes
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import SourceError, UsageError
from imagekit.files import walk
from imagekit.files.discover import Discovery, discover, image_extensions

AS_NOBODY = """
import json, os, sys
from imagekit.errors import SourceError
from imagekit.files.discover import discover
if os.getuid() == 0:
    os.setuid(65534)
try:
    found = discover(sys.argv[1])
    print(json.dumps([[name.decode() for name in found.names.to_pylist()], found.unreadable]))
except SourceError as error:
    print(error)
"""


def make(root: Path, *names: str | bytes) -> Path:
    """Empty files below root; a name that ends with a slash is a folder."""
    for name in names:
        path = os.fsencode(root) + b"/" + os.fsencode(name)
        os.makedirs(path if path.endswith(b"/") else os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        if not path.endswith(b"/"):
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    return root


def names(found: Discovery) -> list[bytes]:
    result: list[bytes] = found.names.to_pylist()
    return result


def others(found: Discovery) -> dict[bytes, str]:
    return dict(zip(found.others.to_pylist(), found.other_kinds.to_pylist(), strict=True))


def run_as_nobody(root: Path) -> str:
    for parent in (root, *list(root.parents)[:3]):
        parent.chmod(parent.stat().st_mode | 0o055)
    command = [sys.executable, "-c", AS_NOBODY, root]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_images_are_found_by_extension_whatever_its_case(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b/A.JPEG", "b/c.PnG", "b/d.txt", "e")

    found = discover(tmp_path)

    assert names(found) == [b"a.jpg", b"b/A.JPEG", b"b/c.PnG"]
    assert others(found) == {b"b/d.txt": "not-image", b"e": "not-image"}
    assert len(found) == 3
    assert found.root == tmp_path
    assert (found.unreadable, found.n_hidden) == ((), 0)


def test_the_result_is_arrow_buffers_and_valid(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b.txt")
    os.mkfifo(tmp_path / "pipe")

    found = discover(str(tmp_path))
    for array in (found.names, found.others, found.other_kinds):
        array.validate(full=True)

    assert str(found.names.type) == str(found.others.type) == "large_binary"
    assert str(found.other_kinds.type) == "dictionary<values=string, indices=int8, ordered=0>"


def test_an_empty_folder_gives_an_empty_result(tmp_path: Path) -> None:
    found = discover(tmp_path)

    assert (len(found), names(found), others(found)) == (0, [], {})


@pytest.mark.parametrize("name", ["jpg", "jpeg", "x.jpg.", "x.", "xjpg", "x.jpg~", "x.jpgg", "x.\x0ejpg", "x. jpg"])
def test_names_that_only_look_like_images_are_not_taken(tmp_path: Path, name: str) -> None:
    make(tmp_path, name, "real.jpg")

    found = discover(tmp_path)

    assert names(found) == [b"real.jpg"]
    assert others(found) == {name.encode(): "not-image"}


def test_extensions_do_not_reach_over_the_end_of_the_name_before(tmp_path: Path) -> None:
    make(tmp_path, "a.j", "pg", "z/a.jp", "z/eg")

    assert names(discover(tmp_path)) == []


def test_a_name_shorter_than_the_extension_is_not_an_image(tmp_path: Path) -> None:
    make(tmp_path, "g", "pg", "b/x")

    assert len(discover(tmp_path)) == 0


def test_own_extensions_replace_the_usual_ones(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b.NPY", "c.longextension", "d.ongextension", "e.xlongextension", "f.9_-")

    found = discover(tmp_path, extensions=[".npy", ".LongExtension", ".9_-"])

    assert names(found) == [b"b.NPY", b"c.longextension", b"f.9_-"]


def test_no_extension_at_all_finds_nothing_but_lists_everything(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")

    assert others(discover(tmp_path, extensions=[])) == {b"a.jpg": "not-image"}


@pytest.mark.parametrize("extension", ["jpg", ".", "", ".tar.gz", ".é", "./x", ".\0"])
def test_an_extension_that_matches_no_file_is_refused(tmp_path: Path, extension: str) -> None:
    with pytest.raises(UsageError) as caught:
        discover(tmp_path, extensions=[extension])

    assert str(caught.value) == (
        f'the extension "{extension}" can match no file\n  where: extensions\n'
        '  fix: write a dot and the ASCII letters after the last dot of the name, such as ".jpg"'
    )


@pytest.mark.parametrize("option", ["extensions", "include"])
def test_one_text_in_place_of_a_list_is_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(UsageError) as caught:
        discover(tmp_path, **{option: "train"})  # type: ignore[arg-type]

    assert (
        str(caught.value) == f'{option} is the text "train", must be a list\n  where: {option}\n  fix: write ["train"]'
    )


def test_hidden_files_and_folders_are_counted_and_never_entered(tmp_path: Path) -> None:
    make(tmp_path, ".x.jpg", ".cache/a.jpg", "a/.DS_Store", "a/b.jpg", "..jpg", "...", ".jpg")
    (tmp_path / ".link").symlink_to("a")

    found = discover(tmp_path)

    assert names(found) == [b"a/b.jpg"]
    assert others(found) == {}
    assert found.n_hidden == 7


def test_a_folder_with_the_name_of_an_image_is_a_folder(tmp_path: Path) -> None:
    make(tmp_path, "x.jpg/y.jpg", "empty.jpg/")

    found = discover(tmp_path)

    assert names(found) == [b"x.jpg/y.jpg"]
    assert others(found) == {}


def test_the_order_is_that_of_the_bytes_of_whole_paths(tmp_path: Path) -> None:
    made = [
        *("a/z.jpg", "a-b.jpg", "a.jpg", "a0.jpg", "a-b/x.jpg", "a/b/c.jpg", "a/b.jpg", "a/b-c.jpg", "Z.jpg", "b.jpg"),
        *("é.jpg", "～.jpg", "🐈.jpg", "\ue000.jpg", b"\xff.jpg", b"\xe9.jpg", b"a/\xff/\xc3.jpg", b"a/\xc3\xa9.jpg"),
    ]
    make(tmp_path, *made)

    assert names(discover(tmp_path)) == sorted(os.fsencode(name) for name in made)


def test_without_recursion_only_the_files_of_the_root_are_listed(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b/c.jpg", "d.txt", ".h/")

    found = discover(tmp_path, recurse=False)

    assert names(found) == [b"a.jpg"]
    assert others(found) == {b"d.txt": "not-image"}


def test_include_lists_the_named_top_folders_only(tmp_path: Path) -> None:
    make(tmp_path, "train/a/train.jpg", "train/b.jpg", "val/val/c.jpg", "test/d.jpg", "root.jpg")
    (tmp_path / "link").symlink_to("train")

    assert names(discover(tmp_path, include=["val", "train"])) == [
        b"train/a/train.jpg",
        b"train/b.jpg",
        b"val/val/c.jpg",
    ]
    assert others(discover(tmp_path, include=["val"])) == {}


def test_include_does_not_bring_hidden_folders_back(tmp_path: Path) -> None:
    make(tmp_path, ".cache/a.jpg", "train/b.jpg")

    found = discover(tmp_path, include=[".cache", "train"])

    assert names(found) == [b"train/b.jpg"]
    assert found.n_hidden == 1


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_an_included_folder_that_is_not_there_is_an_error(tmp_path: Path, kind: str) -> None:
    make(tmp_path, "train/", "val/")
    if kind == "file":
        make(tmp_path, "trian")

    with pytest.raises(SourceError) as caught:
        discover(tmp_path, include=["val", "trian"])

    assert str(caught.value) == (
        f'there is no folder "trian" to include\n  where: {tmp_path}\n  fix: did you mean "train"? known: train, val'
    )


def test_include_without_recursion_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "train/")

    with pytest.raises(UsageError) as caught:
        discover(tmp_path, include=["train"], recurse=False)

    assert str(caught.value) == (
        "include names folders, and recurse=False enters none\n  fix: leave out one of the two"
    )


def test_special_files_are_listed_and_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    monkeypatch.chdir(tmp_path)  # the path of a socket may have 108 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")

    found = discover(tmp_path)

    assert names(found) == [b"a.jpg"]
    assert others(found) == {b"pipe.jpg": "special-file", b"socket.jpg": "special-file"}


def test_links_are_listed_and_not_followed_by_default(tmp_path: Path) -> None:
    make(tmp_path, "a/b.jpg")
    (tmp_path / "file.jpg").symlink_to("a/b.jpg")
    (tmp_path / "folder").symlink_to("a")
    (tmp_path / "dangling.jpg").symlink_to("nowhere")
    (tmp_path / "a" / "self").symlink_to("self")

    found = discover(tmp_path)

    assert names(found) == [b"a/b.jpg"]
    assert others(found) == dict.fromkeys((b"a/self", b"dangling.jpg", b"file.jpg", b"folder"), "symlink")


def test_a_root_that_is_a_link_is_followed(tmp_path: Path) -> None:
    make(tmp_path, "real/a.jpg")
    (tmp_path / "root").symlink_to("real")

    assert names(discover(tmp_path / "root")) == [b"a.jpg"]
    assert names(discover(tmp_path / "root", follow_symlinks=True)) == [b"a.jpg"]


def test_followed_links_are_listed_in_order_under_their_own_names(tmp_path: Path) -> None:
    make(tmp_path, "a/b.jpg", "a/c.txt", "z.jpg", "m.jpg")
    (tmp_path / "file.jpg").symlink_to("a/b.jpg")
    (tmp_path / "text.txt").symlink_to("a/c.txt")
    (tmp_path / "k").symlink_to(tmp_path / "a")
    (tmp_path / "dangling.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "a" / "pipe")
    (tmp_path / "link to pipe").symlink_to("a/pipe")

    found = discover(tmp_path, follow_symlinks=True)

    assert names(found) == [b"a/b.jpg", b"file.jpg", b"k/b.jpg", b"m.jpg", b"z.jpg"]
    assert others(found) == {
        b"a/c.txt": "not-image",
        b"a/pipe": "special-file",
        b"dangling.jpg": "symlink",
        b"k/c.txt": "not-image",
        b"k/pipe": "special-file",
        b"link to pipe": "special-file",
        b"text.txt": "not-image",
    }


def test_loops_of_links_are_found_and_not_entered(tmp_path: Path) -> None:
    make(tmp_path, "a/b/x.jpg", "c/y.jpg")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "here").symlink_to(".")
    (tmp_path / "a" / "b" / "up").symlink_to("..")
    (tmp_path / "a" / "b" / "top").symlink_to(tmp_path)
    (tmp_path / "a" / "to_c").symlink_to("../c")
    (tmp_path / "c" / "to_a").symlink_to("../a")

    found = discover(tmp_path, follow_symlinks=True)

    assert names(found) == [b"a/b/x.jpg", b"a/to_c/y.jpg", b"c/to_a/b/x.jpg", b"c/y.jpg"]
    assert others(found) == {
        b"a/b/top": "symlink-loop",
        b"a/b/up": "symlink-loop",
        b"a/to_c/to_a": "symlink-loop",
        b"c/to_a/b/top": "symlink-loop",
        b"c/to_a/b/up": "symlink-loop",
        b"c/to_a/to_c": "symlink-loop",
        b"here": "symlink-loop",
        b"self": "symlink-loop",
    }


def test_links_out_of_the_root_are_never_followed(tmp_path: Path) -> None:
    root = make(tmp_path, "root/a.jpg", "rootless/b.jpg", "c.jpg") / "root"
    (root / "folder").symlink_to("../rootless")
    (root / "file.jpg").symlink_to(tmp_path / "c.jpg")
    (root / "up").symlink_to("..")
    (tmp_path / "back").symlink_to("root/a.jpg")
    (root / "out and back.jpg").symlink_to("../back")

    found = discover(root, follow_symlinks=True)

    assert names(found) == [b"a.jpg", b"out and back.jpg"]
    assert others(found) == dict.fromkeys((b"file.jpg", b"folder", b"up"), "symlink-outside")


def test_the_bytes_of_odd_names_come_back_exactly(tmp_path: Path) -> None:
    odd = [
        b"\xff\xfe.jpg",
        b"a\nb.jpg",
        b"\x1b[31m.jpg",
        b"=cmd.jpg",
        b"-rf.jpg",
        b"<b>.jpg",
        b"x" * 251 + b".jpg",
        b" .jpg",
    ]
    make(tmp_path, *odd, *(b"\xfed\n/" + name for name in odd))

    assert names(discover(tmp_path)) == sorted([*odd, *(b"\xfed\n/" + name for name in odd)])


def test_folders_deeper_than_pythons_recursion_are_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    depth = sys.getrecursionlimit() + 100
    for _ in range(depth):
        os.mkdir("d")  # noqa: PTH102
        os.chdir("d")
    make(Path(), "a.jpg")

    found = names(discover(tmp_path))

    Path("a.jpg").unlink()  # by hand: shutil.rmtree recurses
    for _ in range(depth):
        os.chdir("..")
        Path("d").rmdir()
    assert found == [b"d/" * depth + b"a.jpg"]


def test_a_path_longer_than_the_system_takes_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "d" * 250
    for _ in range(18):
        os.mkdir(name)  # noqa: PTH102
        os.chdir(name)

    found = discover(tmp_path)

    ((folder, words),) = found.unreadable
    assert folder.startswith(f"{name}/{name}/")
    assert words == os.strerror(errno.ENAMETOOLONG)


def test_unreadable_folders_are_recorded_with_their_reason(tmp_path: Path) -> None:
    make(tmp_path, "a/x.jpg", "b\n/y.jpg", "c.jpg")
    (tmp_path / "b\n").chmod(0)

    shown = run_as_nobody(tmp_path)
    (tmp_path / "b\n").chmod(0o755)

    assert json.loads(shown) == [["a/x.jpg", "c.jpg"], [["b\\n", "Permission denied"]]]


def test_an_unreadable_root_is_an_error(tmp_path: Path) -> None:
    root = make(tmp_path / "root", "a.jpg")
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        parent.chmod(parent.stat().st_mode | 0o055)
    root.chmod(0)

    command = [sys.executable, "-c", AS_NOBODY, root]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    root.chmod(0o755)

    assert shown == (
        f"the source folder cannot be read: Permission denied\n  where: {root}\n"
        "  fix: check its permissions, or copy it\n"
    )


def test_a_missing_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        discover(tmp_path / "missing")

    assert str(caught.value) == (
        f"the source folder does not exist\n  where: {tmp_path / 'missing'}\n  fix: check the path for a typing error"
    )


def test_a_root_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")

    with pytest.raises(SourceError) as caught:
        discover(tmp_path / "a.jpg")

    assert str(caught.value) == (
        f"the source is not a folder\n  where: {tmp_path / 'a.jpg'}\n  fix: give the folder that holds the images"
    )


@pytest.mark.parametrize("swap", ["gone", "link", "file"])
def test_a_folder_that_is_swapped_before_it_is_entered_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: str
) -> None:
    make(tmp_path, "root/a/x.jpg", "root/b.jpg", "outside/secret.jpg")
    open_folder = walk.Walk._open

    def swap_then_open(self: walk.Walk, prefix: str) -> int:
        if prefix == "a/":
            (tmp_path / "root" / "a" / "x.jpg").unlink()
            (tmp_path / "root" / "a").rmdir()
            if swap == "link":
                (tmp_path / "root" / "a").symlink_to("../outside")
            elif swap == "file":
                make(tmp_path, "root/a")
        return open_folder(self, prefix)

    monkeypatch.setattr(walk.Walk, "_open", swap_then_open)

    found = discover(tmp_path / "root")

    assert names(found) == [b"b.jpg"]
    words = "No such file or directory" if swap == "gone" else "Not a directory"
    assert found.unreadable == (("a", words),)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    make(tmp_path, "a/b/c.jpg", "d/e.jpg")
    with (tmp_path / "d" / "e.jpg").open() as probe:
        lowest = probe.fileno()

    discover(tmp_path, follow_symlinks=True)

    with (tmp_path / "d" / "e.jpg").open() as probe:
        assert probe.fileno() == lowest


@pytest.mark.parametrize("run", [1, 2, 3])
def test_folders_larger_than_a_block_are_cut_without_a_seam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: int
) -> None:
    monkeypatch.setattr(walk, "MAX_RUN", run)
    monkeypatch.setattr("imagekit.files.listing._BLOCK_BYTES", 7 * run)
    made = [f"{folder}{i}.{ext}" for folder in ("", "a/", "b/c/") for i in range(5) for ext in ("jpg", "txt")]
    make(tmp_path, *made)

    found = discover(tmp_path)

    assert names(found) == sorted(name.encode() for name in made if name.endswith("jpg"))
    assert list(others(found)) == sorted(name.encode() for name in made if name.endswith("txt"))


def test_image_extensions_are_lower_case_with_dot_and_know_the_usual_ones() -> None:
    found = image_extensions()

    assert {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp"} <= found
    assert all(ext.startswith(".") and ext == ext.lower() for ext in found)
    assert not {".txt", ".mp4", ".pdf"} & found


def test_image_extensions_do_not_depend_on_what_the_process_has_added(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image_extensions()
    mimetypes.init()
    monkeypatch.setitem(mimetypes.types_map, ".imagekit-test", "image/x-test")

    assert image_extensions() == before


# small alphabets make clashes of order and extension likely
NAME = st.one_of(
    st.text(alphabet="ab-./0A é\n", min_size=1, max_size=4).map(lambda text: text.replace("/", "0").encode()),
    st.binary(min_size=1, max_size=4).map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_")),
)
FILE_NAME = st.tuples(NAME, st.sampled_from([b"", b".jpg", b".JPeG", b".txt", b".png", b"."])).map(b"".join)
TREE = st.recursive(st.none(), lambda inner: st.dictionaries(FILE_NAME, inner, max_size=6), max_leaves=25)


def build(tree: dict[bytes, object], folder: bytes) -> None:
    os.mkdir(folder)  # noqa: PTH102
    for name, inner in tree.items():
        path = folder + b"/" + name
        if name in (b".", b".."):
            continue
        if isinstance(inner, dict):
            build(inner, path)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))


def plain_walk(root: bytes) -> tuple[list[bytes], list[bytes], int]:
    """The same answer from os.walk and os.path.splitext, one name at a time."""
    images, rest, n_hidden = [], [], 0
    for parent, folders, files in os.walk(root):
        n_hidden += sum(name.startswith(b".") for name in [*folders, *files])
        folders[:] = [name for name in folders if not name.startswith(b".")]
        for name in files:
            path = os.path.relpath(os.path.join(parent, name), root)  # noqa: PTH118
            if not name.startswith(b"."):
                is_image = os.path.splitext(name)[1].lower().decode("latin-1") in image_extensions()  # noqa: PTH122
                (images if is_image else rest).append(path)
    return sorted(images), sorted(rest), n_hidden


@pytest.mark.slow
@given(TREE.filter(lambda tree: isinstance(tree, dict)))
@settings(deadline=None, max_examples=150)
def test_discover_agrees_with_a_plain_walk_on_any_tree(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, object]
) -> None:
    root = tmp_path_factory.mktemp("tree") / "root"
    build(tree, os.fsencode(root))

    found = discover(root)

    assert (names(found), found.others.to_pylist(), found.n_hidden) == plain_walk(os.fsencode(root))
    assert set(found.other_kinds.to_pylist()) <= {"not-image"}
