"""Benchmarks against peers: ``make bench BENCH=train``, or ``python -m benchmarks train`` from the root.

A bench is a module here with ``run(args) -> Section``. It may have ``add_arguments(parser)``; ``TURNS``, the
default of ``--turns``; and ``PACKAGES``, the peers it cannot do without, by the names pip knows.
"""

# In the order of docs/benchmarks.md.
BENCHES = {
    "train": "a training step against the peers'",
    "sample": "sampling",
    "layers": "single layers against the usual way to write them",
    "memory": "peak memory of a training step against the peers'",
    "startup": "what a command costs before it starts",
    "contended": "generating, training and testing beside other programs",
    "decode": "decoding clips of videos against FFmpeg and PyAV",
    "loader": "reading batches with one and two processes, and going on in an epoch",
    "frechet": "the distance of FID and FVD against scipy's",
    "sensitivity": "how FVD answers to damage of known strength",
    "motion": "how much of the emoji's motion a decoder knows from a still",
    "scaling": "time against frames and pixels",
}
