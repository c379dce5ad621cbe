"""Train or evaluation mode. It lives in the learner room, because a loop without it would be wrong."""

from imagekit.learner.train_eval import TrainEvalCallback as TrainEvalCallback
