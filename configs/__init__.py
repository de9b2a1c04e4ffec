"""YAML layers of trainings, evaluations and ablations; a package so that they are installed."""
