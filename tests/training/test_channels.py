"""Where a run's mean and std come from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import draw_tree

from imagekit.errors import ManifestError
from imagekit.manifest.build import ManifestOptions, build_manifest
from imagekit.manifest.read import read_manifest
from imagekit.training import channels
from imagekit.training.channels import RunStats, find_stats, sample_rows


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """12 train images of 40 x 32 pixels, and the manifests of them that were and were not decoded."""
    root = draw_tree(tmp_path_factory.mktemp("channels") / "pictures")
    return {
        check: read_manifest(
            build_manifest(
                root, output=root.parent / f"{check}.parquet", options=ManifestOptions(check=check), n_workers=1
            ).output
        )
        for check in ("none", "header", "decode")
    }


GOLDEN = [0, 1, 9, 19, 20]  # rows of 10,000 under seed 0


def find(manifest, *, seed=0, root=None, n_workers=0):
    said = []
    return find_stats(manifest, root=root, seed=seed, n_workers=n_workers, say=said.append), said


def test_the_manifests_own_statistics_are_taken_without_a_word(pictures):
    manifest = pictures["decode"]

    found, said = find(manifest)

    assert found == RunStats(channels=manifest.metadata.stats, source="manifest")
    assert said == []


@pytest.mark.parametrize("check", ["none", "header"])
def test_a_small_manifest_that_was_not_decoded_is_measured_whole_to_the_same_numbers(pictures, check):
    found, said = find(pictures[check])

    assert found == RunStats(channels=pictures["decode"].metadata.stats, source="all 12 train images")
    assert said == ["the manifest has no mean and std: measuring all 12 train images"]


def test_a_large_one_is_measured_by_a_sample_that_hangs_on_the_seed_alone(pictures, monkeypatch):
    monkeypatch.setattr(channels, "N_SAMPLED", 5)

    found, said = find(pictures["none"], seed=3)
    again, _ = find(pictures["header"], seed=3, n_workers=2)
    other, _ = find(pictures["none"], seed=4)

    assert found.to_dict() == {
        "n_images": 5, "n_pixels": 5 * 40 * 32, "source": "a sample of 5 train images, seed 3",
    }  # fmt: skip
    assert said == ["the manifest has no mean and std: measuring a sample of 5 train images, seed 3"]
    assert again == found
    assert other.channels.mean != found.channels.mean


@given(n_rows=st.integers(0, 6_000), seed=st.integers(0, 2**63 - 1))
def test_a_sample_is_2048_rows_each_once_in_order_or_all_of_fewer(n_rows, seed):
    rows_S = sample_rows(n_rows, seed=seed)

    assert len(rows_S) == min(n_rows, 2_048)
    assert (np.diff(rows_S) > 0).all()
    assert set(rows_S.tolist()) <= set(range(n_rows))


def test_the_sample_of_a_seed_never_changes():
    assert sample_rows(10_000, seed=0)[:5].tolist() == GOLDEN
    assert sample_rows(10_000, seed=1)[:5].tolist() != GOLDEN


def test_an_image_of_the_sample_that_cannot_be_decoded_is_named(tmp_path):
    root = draw_tree(tmp_path / "pictures")
    (root / "train/cat/4.JPEG").write_bytes(b"no picture")
    (root / "train/dog/1.JPEG").write_bytes(b"")
    manifest = read_manifest(build_manifest(root, options=ManifestOptions(check="none"), n_workers=1).output)

    with pytest.raises(ManifestError) as caught:
        find(manifest)

    assert str(caught.value) == (
        "2 of 12 train images that were measured cannot be used, train/cat/4.JPEG for one: "
        "unidentified: the content is no known image; it begins with b'no pictu'\n"
        f"  where: {root}, listed in {manifest.path} with --check none\n"
        "  fix: build the manifest again with --check decode, so that images that cannot be used are left out"
    )


def test_images_are_measured_under_another_root(tmp_path):
    root = draw_tree(tmp_path / "pictures")
    manifest = read_manifest(build_manifest(root, options=ManifestOptions(check="none"), n_workers=1).output)
    found, _ = find(manifest)

    moved, _ = find(manifest, root=root.rename(tmp_path / "moved"))

    assert moved == found
