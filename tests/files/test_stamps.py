"""Stamps: one number a state of a file, the same one by one and for many."""

import os
from pathlib import Path

import pyarrow as pa

from imagekit.files.stamps import ABSENT, number_at, stat_all


def test_many_files_have_the_numbers_sizes_and_times_of_each(tmp_path: Path) -> None:
    names = [f"{i}.bin".encode() for i in range(300)] + [b"odd \xff\n", b"gone"]
    for i, name in enumerate(names[:-1]):
        path = os.fsencode(tmp_path) + b"/" + name
        with open(path, "wb") as file:  # noqa: PTH123 (bytes)
            file.write(b"x" * i)
        os.utime(path, ns=(i, 10**18 + i))
    (tmp_path / "link").symlink_to("0.bin")
    names.append(b"link")

    numbers, sizes, mtimes = stat_all(tmp_path, pa.array(names, pa.large_binary()))

    told = list(zip(numbers.tolist(), mtimes.tolist(), sizes.tolist(), strict=True))
    assert told == [number_at(tmp_path, name) for name in names]
    assert told[-2] == (ABSENT, 0, 0)
    assert len(set(numbers.tolist())) == len(names)


def test_no_names_have_no_numbers(tmp_path: Path) -> None:
    numbers, sizes, mtimes = stat_all(tmp_path, pa.array([], pa.large_binary()))

    assert len(numbers) == len(sizes) == len(mtimes) == 0
