"""From a manifest to batches: the dataset, the order of an epoch, the loaders."""
