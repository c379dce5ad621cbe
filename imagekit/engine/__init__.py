"""One function over many items in worker processes: a time limit, a crash costs one item, bounded in flight."""
