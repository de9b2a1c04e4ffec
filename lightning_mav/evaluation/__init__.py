"""All measuring: metrics, feature networks, protocols, worlds, ablations and reports."""
