"""Transforms of one image: their order, their draws (a counter hash), crops, flips and the step to a tensor."""
