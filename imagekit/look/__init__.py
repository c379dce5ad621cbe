"""Look: what a person sees: the demo's drawn source, contact sheets, plots and the report of a run."""
