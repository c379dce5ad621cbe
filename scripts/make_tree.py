"""Make a tree of empty image files, to measure discovery on.

python scripts/make_tree.py FOLDER --folders 1000 --files 1281     # as ImageNet: 1,281,000 files, half a minute
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Make FOLDER/train/n00000000/n00000000_0.JPEG and so on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--folders", type=int, default=100)
    parser.add_argument("--files", type=int, default=1000, help="in each folder")
    told = parser.parse_args()
    for number in range(told.folders):
        folder = told.folder / "train" / f"n{number:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        for file in range(told.files):
            (folder / f"n{number:08d}_{file}.JPEG").touch()
    print(f"{told.folders * told.files:,} files below {told.folder}")


if __name__ == "__main__":
    main()
