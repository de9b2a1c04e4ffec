"""Human study as in Make-A-Video, section 4: raters compare videos without knowing which system made them."""

from .count import count_votes, krippendorff_alpha, to_report
from .key import Pair, Study, load_study
from .make import find_pairs, make_study
from .votes import Ballot, read_ballots

__all__ = [
    "Ballot",
    "Pair",
    "Study",
    "count_votes",
    "find_pairs",
    "krippendorff_alpha",
    "load_study",
    "make_study",
    "read_ballots",
    "to_report",
]
