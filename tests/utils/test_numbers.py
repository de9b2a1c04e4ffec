"""Numbers that users give are finite and in a range, on every command and in every file of settings."""

import argparse
import json
import math

import pytest

from lightning_mav.cli.arguments import number_in
from lightning_mav.cli.data_arguments import make_parser
from lightning_mav.datamodules.clips import ClipSampler
from lightning_mav.datamodules.metadata_filter import Filtered, MetadataFilter
from lightning_mav.evaluation.protocols import load_settings
from lightning_mav.evaluation.worlds.settings import load_micro_settings
from lightning_mav.training.runs import config_folder
from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.numbers import MAX_SEED, check_number, in_range

HUGE = 10**400
BAD = [math.nan, math.inf, -1, HUGE, True, "", "many", 1e300, [1]]


def short_id(value):
    return str(value)[:20]


@pytest.mark.parametrize("value", [1, 1.0, 30, 29.999])
def test_numbers_in_the_range_pass(value):
    assert in_range(value, 1, 30)
    check_number("fps", value, 1, 30)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 0, 31, -1, HUGE, -HUGE, True, "5", None, [5]], ids=short_id
)
def test_others_do_not(value):
    assert not in_range(value, 1, 30)
    with pytest.raises(ValueError, match=r"^fps must be from 1 to 30, got .{1,70}$"):
        check_number("fps", value, 1, 30)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_without_an_upper_bound_only_finite_ones_pass(value):
    assert not in_range(value, 0)
    assert in_range(HUGE, 0)


GIVEN = [
    "",
    " ",
    "nan",
    "inf",
    "-inf",
    "-1",
    "9" * 400,
    "9" * 5000,
    "1e300",
    "1e999",
    "True",
    "0x10",
    "5\n6",
    "½",
]


@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize("text", GIVEN, ids=short_id)
def test_arguments_are_refused_in_one_short_line(kind, text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"^must be a .*number from 0 to 100, got .{1,70}$"):
        number_in(kind, 0, 100)(text)


@pytest.mark.parametrize("text", ["12", " 12 ", "1_2", "١٢"])
def test_what_python_reads_as_a_number_is_one(text):
    assert number_in(int, 0, 100)(text) == 12


@pytest.mark.parametrize(
    "option", ["--gop", "--size", "--min-frames", "--samples-per-shard", "--workers", "--part"]
)
@pytest.mark.parametrize("text", GIVEN, ids=short_id)
def test_options_of_data(option, text):
    with pytest.raises(UsageError) as error:
        make_parser().parse_args(["pack", "a", "b", f"{option}={text}"])
    assert len(str(error.value)) < 200


def settings(name, **changed):
    return load_settings(config_folder() / "eval" / f"{name}.yaml", **changed)


def micro(**changed):
    return load_micro_settings(config_folder() / "eval" / "micro.yaml", **changed)


@pytest.mark.parametrize(
    "name", ["seed", "fps", "guidance_scale", "steps", "num_samples", "batch_size", "num_videos"]
)
@pytest.mark.parametrize("value", [*BAD, {"a": 1}], ids=short_id)
def test_settings_of_protocols(name, value):
    with pytest.raises(UsageError, match=rf"ucf101\.yaml with other {name}: .*{name}") as error:
        settings("ucf101", **{name: value})
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("name", ["seed", "fps", "steps", "num_per_class", "batch_size", "num_noise_videos"])
@pytest.mark.parametrize("value", BAD, ids=short_id)
def test_settings_of_the_micro_world(name, value):
    with pytest.raises(UsageError, match=rf"micro\.yaml with other {name}: .*{name}"):
        micro(**{name: value})


@pytest.mark.parametrize("rates", [[math.nan], [], [10.0, math.inf], [0.5], [6.0]])
def test_rates_of_the_micro_world(rates):
    with pytest.raises(UsageError, match="speed_fps must be rates"):
        micro(speed_fps=rates)


def test_bounds_themselves_are_allowed():
    assert settings("ucf101", seed=MAX_SEED, guidance_scale=0, fps=30, steps=1000).seed == MAX_SEED
    assert micro(seed=MAX_SEED, steps=1).seed == MAX_SEED


@pytest.mark.parametrize("value", [math.nan, math.inf, 0, -1])
@pytest.mark.parametrize("name", ["fps_range", "beta"])
def test_clips_of_no_rate(name, value):
    with pytest.raises(ValueError, match=name):
        ClipSampler(16, **{name: (1.0, value)})


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1" + "0" * 400, '"nan"', "null", "[]", "{}", '"x"'])
def test_metadata_that_does_not_tell_is_not_wanted(value):
    data = f'{{"punsafe": {value}, "width": 100, "height": {value}}}'.encode()
    for keep in (MetadataFilter(max_unsafe=0.5), MetadataFilter(min_size=10), MetadataFilter(max_aspect=2.0)):
        with pytest.raises(Filtered, match="in the metadata"):
            keep(data)
    MetadataFilter(max_unsafe=0.5)(json.dumps({"punsafe": 0.1}).encode())


@pytest.mark.parametrize("data", [b"[" * 100_000, b"\xff", b"{", b"[]", b'{"punsafe": ' + b"1" * 5000 + b"}"])
def test_metadata_that_is_none_is_bad_json(data):
    with pytest.raises(ValueError, match="bad json"):
        MetadataFilter(max_unsafe=0.5)(data)
