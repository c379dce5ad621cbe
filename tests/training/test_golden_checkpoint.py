"""A checkpoint of version 1 is read by every later version, and means what it meant."""

from pathlib import Path

import torch

from imagekit.runs.checkpoint import load_checkpoint
from imagekit.training.config import TrainConfig
from imagekit.training.trained import REQUIRED, load_model

GOLDEN = Path(__file__).parents[1] / "golden" / "checkpoint-v1.pt"
LOGITS = [-0.22115, -0.44869]  # of the picture below, when the file was written


def test_a_checkpoint_of_version_1_gives_the_logits_that_it_gave():
    state = load_checkpoint(GOLDEN, required=REQUIRED)
    model = load_model(state, where=GOLDEN).eval()
    x_1CHW = torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16)

    with torch.no_grad():
        logits = model(x_1CHW)[0].tolist()

    assert torch.allclose(torch.tensor(logits), torch.tensor(LOGITS), atol=1e-4)


def test_the_settings_of_a_checkpoint_of_version_1_are_still_settings():
    state = load_checkpoint(GOLDEN, required=REQUIRED)

    assert TrainConfig.from_dict(state["config"]).size == 16
    assert (state["vocab"], state["epochs_done"]) == (["cat", "dog"], 1)
