"""The recipes that ship, on a made ImageNet: a thousand classes, the real ids of the recipes among them."""

import os
from collections import Counter
from pathlib import Path

import pytest
from subset.trees import picture, settle, tree

from imagekit.errors import SourceError
from imagekit.recipes.load import load_recipes
from imagekit.subset.build import make_subset
from imagekit.subset.summary import SubsetReport

RECIPES = load_recipes()
NETTE, WOOF = RECIPES["imagenette"].classes, RECIPES["imagewoof"].classes
N_CLASSES, N_TRAIN, N_VALID = 1_000, 2, 1

pytestmark = pytest.mark.usefixtures("in_process")


def wordnet_ids() -> list[str]:
    """The twenty ids of the recipes and 980 made-up ones, close neighbours of the real ones among them."""
    real = [*NETTE, *WOOF]
    near = [f"n{int(one[1:]) + step:08}" for one in real for step in (1, -1)]
    made_up = [f"n{7_000_000 + 97 * i:08}" for i in range(N_CLASSES)]
    return sorted([*real, *[one for one in (*near, *made_up) if one not in real][: N_CLASSES - len(real)]])


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/<id>/<id>_0.JPEG and val/<id>/ILSVRC2012_val_0.JPEG, hard links of one picture; read only."""
    root = tmp_path_factory.mktemp("imagenet")
    one = root / "one"
    one.write_bytes(picture())
    settle(one)
    counts = {"train": N_TRAIN, "val": N_VALID}
    for split in counts:
        (root / "source" / split).mkdir(parents=True)
    for label in wordnet_ids():
        for split, n in counts.items():
            folder = root / "source" / split / label
            folder.mkdir()
            for i in range(n + (label in NETTE)):  # the real ones are a little larger
                name = f"{label}_{i}.JPEG" if split == "train" else f"ILSVRC2012_val_{label[1:]}{i}.JPEG"
                os.link(one, folder / name)
    return root / "source"


def build(name: str, source: Path, tmp_path: Path) -> SubsetReport:
    return make_subset(name, source, output=tmp_path / "out")


def folders_of(output: Path) -> dict[str, int]:
    return dict(Counter(name.rpartition("/")[0] for name in tree(output) if not name.startswith(".imagekit/")))


def test_imagenette_takes_its_ten_classes_of_a_thousand_and_every_image_of_them(imagenet: Path, tmp_path: Path) -> None:
    report = build("imagenette", imagenet, tmp_path)

    expected = {f"{split}/{label}": n + 1 for split, n in (("train", N_TRAIN), ("val", N_VALID)) for label in NETTE}
    assert folders_of(tmp_path / "out") == expected
    assert report.per_split == {"train": 30, "valid": 20}
    assert report.n_classes == 10
    assert report.outcomes.excluded == {"class-not-in-recipe": 990 * (N_TRAIN + N_VALID)}
    assert report.exit_code == 0


def test_imagenette_has_the_names_that_the_world_knows() -> None:
    assert dict(NETTE) == {
        "n01440764": "tench",
        "n02102040": "English springer",
        "n02979186": "cassette player",
        "n03000684": "chain saw",
        "n03028079": "church",
        "n03394916": "French horn",
        "n03417042": "garbage truck",
        "n03425413": "gas pump",
        "n03445777": "golf ball",
        "n03888257": "parachute",
    }


def test_imagewoof_takes_its_ten_breeds(imagenet: Path, tmp_path: Path) -> None:
    report = build("imagewoof", imagenet, tmp_path)

    expected = {f"{split}/{label}": n for split, n in (("train", N_TRAIN), ("val", N_VALID)) for label in WOOF}
    assert folders_of(tmp_path / "out") == expected
    assert (report.n_classes, report.outcomes.selected) == (10, 30)
    assert list(WOOF.values()) == [
        "Shih-Tzu", "Rhodesian ridgeback", "beagle", "English foxhound", "Border terrier", "Australian terrier",
        "golden retriever", "Old English sheepdog", "Samoyed", "dingo",
    ]  # fmt: skip


# images a class as the published archives of version 2 hold them, in the order of the recipes
PUBLISHED = {
    "imagenette": {
        "train": (963, 955, 993, 858, 941, 956, 961, 931, 951, 960),
        "val": (387, 395, 357, 386, 409, 394, 389, 419, 399, 390),
    },
    "imagewoof": {
        "train": (941, 942, 932, 580, 949, 943, 949, 928, 921, 940),
        "val": (409, 408, 418, 224, 401, 407, 401, 422, 429, 410),
    },
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many files a class as in the published archives, without content: a dry run reads none but a few."""
    root = tmp_path_factory.mktemp("published")
    for name, counts in PUBLISHED.items():
        for split, numbers in counts.items():
            for label, n in zip(RECIPES[name].classes, numbers, strict=True):
                folder = root / split / label
                folder.mkdir(parents=True)
                for i in range(n):
                    os.close(os.open(f"{folder}/{split}_{i}.JPEG", os.O_CREAT | os.O_WRONLY))
    return root


@pytest.mark.parametrize(("name", "train", "valid"), [("imagenette", 9_469, 3_925), ("imagewoof", 9_025, 3_929)])
def test_a_recipe_finds_the_counts_that_were_published(
    published: Path, tmp_path: Path, name: str, train: int, valid: int
) -> None:
    report = make_subset(name, published, output=tmp_path / "out", dry_run=True)

    assert report.per_split == {"train": train, "valid": valid}
    assert (report.n_classes, report.outcomes.selected) == (10, train + valid)
    assert report.outcomes.n_excluded == 26_348 - train - valid


def test_imagewang_finds_the_counts_of_its_rule(published: Path, tmp_path: Path) -> None:
    report = make_subset("imagewang", published, output=tmp_path / "out", dry_run=True)

    split = dict(report.per_split)
    assert split["valid"] == 3_929
    assert split["train"] + split["unsup"] == 13_394 + 9_025
    assert abs(split["train"] - 13_394 - 902) < 4 * (9_025 * 0.09) ** 0.5  # a tenth, within four standard deviations
    assert report.outcomes.excluded == {}


def test_imagewang_is_made_of_both(imagenet: Path, tmp_path: Path) -> None:
    report = build("imagewang", imagenet, tmp_path)

    folders = folders_of(tmp_path / "out")
    assert {name: n for name, n in folders.items() if name.startswith("valid/")} == {
        f"valid/{label}": N_VALID for label in WOOF
    }
    train = {name.partition("/")[2]: n for name, n in folders.items() if name.startswith("train/")}
    assert {label: train.pop(label) for label in NETTE} == dict.fromkeys(NETTE, N_TRAIN + N_VALID + 2)
    assert set(train) <= set(WOOF)
    assert sum(train.values()) + folders["unsup"] == 10 * N_TRAIN
    assert 0 <= sum(train.values()) < 8  # a tenth of twenty
    assert {name.split("/")[0] for name in folders} == {"valid", "train", "unsup"}
    assert report.exit_code == 0


def test_the_recipe_for_any_folder_tells_what_it_found_and_takes_everything(imagenet: Path, tmp_path: Path) -> None:
    report = make_subset("all", imagenet, output=tmp_path / "out", dry_run=True)

    assert report.said == ("detected layout split/class: train/ (2,010 images), val/ (1,010)",)
    assert report.summary().startswith(
        f"{report.said[0]}\nrecipe all, size full: 1000 classes, train 2,010, valid 1,010"
    )
    assert report.outcomes.selected == 3_020
    assert not (tmp_path / "out").exists()


def test_a_source_that_lacks_one_of_the_ten_is_another_data_set(imagenet: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for label in (one for one in wordnet_ids() if one != "n01440764"):
            folder = tmp_path / "source" / split / label
            folder.mkdir(parents=True)
            os.link(next((imagenet / split / label).iterdir()), folder / "0.JPEG")

    with pytest.raises(SourceError) as caught:
        build("imagenette", tmp_path / "source", tmp_path)

    assert str(caught.value).startswith("1 of the 10 classes of recipe imagenette have no image: n01440764 (tench)\n")
    assert 'did you mean "n0144076' in str(caught.value)
