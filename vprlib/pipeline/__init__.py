"""How a stage runs: parameters, paths, artifacts, progress, errors, going on after a kill."""
