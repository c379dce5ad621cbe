"""Nothing of these tests may leave the machine or the folder that pytest gave it."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Set before the library is imported: it reads them once, when it is."""
    caches: Path = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "HF_HOME": str(caches / "hf"),
            "HF_DATASETS_CACHE": str(caches / "hf" / "datasets"),
            "CROISSANT_CACHE": str(caches / "croissant"),
        }.items():
            patch.setenv(name, value)
        yield
