"""The named moments of the loop, and the three exceptions that leave a part of it early.

What a cancel skips, wherever it is raised (what always runs stands in a `finally` of the loop):

| raised       | during                          | skipped                          | then                            |
|--------------|---------------------------------|----------------------------------|---------------------------------|
| cancel batch | begin_batch .. after_step       | the rest of the batch, zero_grad | after_cancel_batch, after_batch |
| cancel epoch | begin_epoch, any training batch | the other training batches       | after_cancel_epoch, validation  |
| cancel epoch | begin_validate, any valid batch | the other valid batches          | after_cancel_epoch, after_epoch |
| cancel train | begin_fit .. after_epoch        | everything left, validation too  | after_cancel_train, after_fit   |

`begin_epoch` comes once for each epoch of a fit. Where a fit goes on inside an epoch it comes with i_batch at the first
batch that is left, else with 0; where only validation is left, with i_batch at n_batches, and no batch follows.

A cancel raised where there is nothing to cancel (a batch at begin_epoch or after_batch, an epoch at after_epoch,
anything at after_fit) is a fault of the callback: it leaves `fit` like any other exception, after after_fit. What an
event handler returns is ignored, so a cancel is always an exception. Source: fast.ai part 2 (2019), lessons 9 to 11.
"""

from __future__ import annotations

EVENTS = (
    "begin_fit",
    "begin_epoch",
    "begin_batch",
    "after_pred",
    "after_loss",
    "after_backward",
    "after_step",
    "after_cancel_batch",
    "after_batch",
    "after_cancel_epoch",
    "begin_validate",
    "after_epoch",
    "after_cancel_train",
    "after_fit",
)


class CancelBatchException(Exception):
    """Leave this batch; gradients made so far stay, so that batches can be added up."""


class CancelEpochException(Exception):
    """Leave this pass over the batches, training or validation."""


class CancelTrainException(Exception):
    """Leave the fit, without an error."""
