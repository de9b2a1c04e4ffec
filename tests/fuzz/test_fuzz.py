"""Whatever is wrong with a file: no traceback, no hang, no crash, no false pixel, and memory within bounds.

A few damaged files of each kind in the ordinary suite, thousands by ``make test-slow``. One that breaks a law
is kept in ``outputs/fuzz``; ``python tests/fuzz/harness.py SUBJECT --seed N`` judges it again.
"""

from random import Random

import pytest
from harness import Outcome, Pool, Report, Summary, damaged, judge
from subjects import SUBJECTS, UNCHANGED

from lightning_mav.utils.threads import num_cores

FEW, MANY = 20, 2000
# Seeds that once were wrong, such as a damaged reference that is shown after what is made of it, or damage
# that the decoder only logs.
KNOWN = {
    "mp4": (708, 1461, 1535, 2387),
    "fragmented-mp4": (1046, 1289),
    "mov": (302,),
    "mkv": (1168, 2920),
    "avi": (20, 114, 429, 567, 653, 775, 822, 1000, 1073, 1107, 3237),
    "weights": (15,),
    "checkpoints": (6, 10, 18, 24, 186, 334, 380),
    "layers": (69, 664),
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_few_damaged_files(name):
    wholes, summary = SUBJECTS[name].make(), Summary()
    for seed in (*range(FEW if name != "layers" else 3), *KNOWN.get(name, ())):
        summary.add(seed, judge(name, wholes, seed))
    assert not summary.faults, summary.describe(name)


@pytest.fixture(scope="module")
def pool():
    pool = Pool(num_cores())
    yield pool
    pool.close()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SUBJECTS)
def test_many_damaged_files(name, pool, capsys):
    with capsys.disabled():
        summary = pool.fuzz(name, MANY, Report())
        print(summary.describe(name))  # noqa: T201
    assert not summary.faults, summary.describe(name)


@pytest.mark.parametrize("name", [name for name in SUBJECTS if name not in ("gif", "bmp", "tiff")])
def test_whole_files_are_read(name, tmp_path):
    """Else every damaged one would be refused for another reason."""
    for number, whole in enumerate(SUBJECTS[name].make()):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert SUBJECTS[name].judge(whole, whole, Random(0), folder) in (
            UNCHANGED,
            "read",
            "read with its index",
        )


@pytest.mark.parametrize("name", SUBJECTS)
def test_damage_is_the_same_each_time(name):
    """Files that are made anew, as in another process, are damaged in the same ways."""
    wholes = SUBJECTS[name].make()
    files = [damaged(name, wholes, seed)[0] for seed in range(30)]
    again = SUBJECTS[name].make()
    assert files == [damaged(name, again, seed)[0] for seed in range(30)]
    assert len(set(files)) > 20
    assert not set(files) & set(wholes)


def test_faults_are_told_from_refusals():
    summary = Summary()
    summary.add(0, Outcome("refused: damaged video"))
    summary.add(7, Outcome("KeyError at decode.py:1", "Traceback"))
    assert summary.faults == {"KeyError at decode.py:1": [7]}
    assert "1 refused" in summary.describe("mp4")
    assert "seeds [7]" in summary.describe("mp4")
