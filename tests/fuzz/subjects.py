"""What is fuzzed: small files of every kind that is read, how each is damaged, and what must hold then.

A judge reads a damaged file as the program would. It returns what became of it, in words that can be counted.
It raises ``Wrong`` where a law is broken, and lets every exception through that is not documented.
"""

import io
import json
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from random import Random

import av
import numpy as np
import torch
from mutations import Mutation, flip, mutate, mutate_text
from PIL import Image

from lightning_mav.data.codecs.decode import decode_image, decode_video
from lightning_mav.data.codecs.probe import frame_times, probe_image, probe_video, read_frames
from lightning_mav.utils.errors import UsageError, reason_of

ROOT = Path(__file__).parents[2]
UNCHANGED, OTHER = "read as it was", "read as something else"
# Of the undamaged video. FFmpeg, given all of the damaged one, does not show it, as what follows is damaged.
LOST = "whole where FFmpeg loses the frame"


class Wrong(Exception):  # noqa: N818 - it says what is wrong
    """A law does not hold."""


@dataclass(frozen=True)
class Subject:
    """One kind of file.

    Args:
        make: Makes whole files of it; called once.
        judge: Reads a damaged file: the bytes, the whole file, a random generator and an empty folder.
        damage: Damages a file.
    """

    make: Callable[[], list[bytes]]
    judge: Callable[[bytes, bytes, Random, Path], str]
    damage: Mutation = mutate


# Videos


def make_video(container: str, codec: str, **muxing: str) -> list[bytes]:
    """A pattern that moves, 20 frames of 48 x 32 pixels with key frames and B-frames."""
    rng, data = np.random.default_rng(0), io.BytesIO()
    ground = np.kron(rng.integers(0, 256, (12, 16, 3)), np.ones((8, 8, 1)))
    # x264's code for AVX512 reads memory that it has not written: one video in ten would be another.
    options = {"libx264": {"x264-params": "no-asm=1:bframes=2"}, "mpeg4": {"bf": "2"}}.get(codec, {})
    options = options | ({"cpu-used": "8"} if codec.startswith("libvpx") else {})
    # Else Matroska has random numbers in it, and a seed would not give the same file again.
    muxing = {"fflags": "+bitexact", **muxing}
    with av.open(data, "w", format=container, options=muxing) as file:
        stream = file.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 48, 32, "yuv420p", 7
        stream.codec_context.thread_count = 1
        for index in range(20):
            part = ground[index : index + 32, 2 * index : 2 * index + 48]
            pixels = (part + rng.integers(-4, 5, part.shape)).clip(0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return [data.getvalue()]


def judge_video(suffix: str, data: bytes, whole: bytes, rng: Random, folder: Path) -> str:
    """Chosen frames must be those of decoding everything, which must be those that FFmpeg decodes."""
    try:
        times = frame_times(data, suffix)
        probe_video(data, suffix)
    except ValueError:
        times = torch.zeros(0)  # the same must be said below
    chosen = [rng.randrange(len(times)) for _ in range(min(6, len(times)))]
    few = read_or_reason(lambda: decode_video(data, suffix, None, lambda times: torch.tensor(chosen or [0])))
    every = read_or_reason(lambda: decode_video(data, suffix, None))
    one_by_one = read_or_reason(lambda: [*read_frames(data, suffix)])
    if isinstance(few, str) and isinstance(every, str):
        return f"refused: {few}"
    if not isinstance(few, str) and not isinstance(every, str):
        for place, index in enumerate(chosen or [0]):
            if not torch.equal(few[0][place], every[0][index]):
                raise Wrong("a chosen frame differs from decoding everything")
    if isinstance(every, str):
        # Damage in between: what was chosen does not depend on it.
        try:
            check_frames(few[0], chosen or [0], plain_frames(data, suffix), len(times))
        except Wrong:
            undamaged = whole_video(whole, suffix)
            if len(undamaged) == len(times) and torch.equal(few[0], undamaged[chosen or [0]]):
                return LOST
            raise
        return "chosen frames are whole"
    check_frames(every[0], range(len(every[0])), plain_frames(data, suffix), len(every[0]))
    if isinstance(one_by_one, str):
        return "read, and checks refuse it"
    same = torch.equal(every[0], whole_video(whole, suffix))
    return UNCHANGED if same else OTHER


def read_or_reason(read: Callable[[], object]) -> object:
    """Calls it; returns what it returns, or the reason of its ``ValueError``."""
    try:
        return read()
    except ValueError as error:
        return reason_of(error)


@cache
def whole_video(whole: bytes, suffix: str) -> torch.Tensor:
    """The frames of an undamaged video."""
    return decode_video(whole, suffix, None)[0]


def plain_frames(data: bytes, suffix: str) -> list[np.ndarray]:
    """The pixels of what FFmpeg decodes."""
    return [frame.to_ndarray(format="rgb24") for frame in decode_all(data, suffix)]


def decode_all(data: bytes, suffix: str) -> Iterator[av.VideoFrame]:
    """What FFmpeg decodes from the start to the end, over all that it complains of."""
    name = {"mp4": "mp4", "mov": "mp4", "avi": "avi"}.get(suffix, "matroska")
    with av.open(io.BytesIO(data), format=name, metadata_errors="ignore") as file:
        stream = file.streams.video[0]
        stream.thread_type = "NONE"
        packets = file.demux(stream)
        while True:
            try:
                packet = next(packets)
                decoded = packet.decode()
            except StopIteration:
                return
            except av.FFmpegError:
                continue
            yield from decoded


def check_frames(frames: torch.Tensor, indices: object, plain: list[np.ndarray], num: int) -> None:
    """Each frame is FFmpeg's of the same number; or, where it makes more or fewer, one of them."""
    for way in range(8):
        expected = [turn(frame, way) for frame in plain]
        if expected and expected[0].shape != (*frames.shape[2:], 3):
            continue
        given = [frame.permute(1, 2, 0).numpy() for frame in frames]
        if len(plain) == num:
            found = all(np.array_equal(a, expected[i]) for a, i in zip(given, indices, strict=True))
        else:
            found = all(any(np.array_equal(a, b) for b in expected) for a in given)
        if found:
            return
    if any(turn(f, w).shape[:2] == tuple(frames.shape[2:]) for f in plain[:1] for w in (0, 4)):
        raise Wrong("a frame differs from what FFmpeg decodes")


def turn(frame: np.ndarray, way: int) -> np.ndarray:
    """One of the eight ways to turn or mirror a picture."""
    frame = np.rot90(frame, way % 4)
    return frame[:, ::-1] if way >= 4 else frame


# Images


def make_image(kind: str, **options: object) -> list[bytes]:
    """A picture of 40 x 24 pixels."""
    rng, data = np.random.default_rng(0), io.BytesIO()
    pixels = np.kron(rng.integers(0, 256, (3, 5, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    Image.fromarray(pixels).save(data, kind, **options)
    return [data.getvalue()]


def judge_image(suffix: str, data: bytes, whole: bytes, rng: Random, folder: Path) -> str:
    """Pixels are those that Pillow decodes, as far as nothing beside them says how to show them."""
    image = read_or_reason(lambda: decode_image(data, suffix, None))
    probed = read_or_reason(lambda: probe_image(data, suffix))
    if isinstance(image, str):
        if probed != image:
            raise Wrong("decoding and probing disagree")
        return f"refused: {image}"
    if image.dtype != torch.uint8 or image.ndim != 3 or len(image) != 3:
        raise Wrong(f"pixels of shape {tuple(image.shape)}")
    if image.shape[1:] != (probed["height"], probed["width"]):
        raise Wrong("another size than probing says")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = Image.open(io.BytesIO(data))
        plain.load()
        told = {"icc_profile", "gamma", "transparency", "exif", "default_image"} & plain.info.keys()
        bare = plain.mode in ("RGB", "L") and not told and not plain.getexif()
    if bare and not np.array_equal(np.asarray(plain.convert("RGB")), image.permute(1, 2, 0).numpy()):
        raise Wrong("pixels differ from what Pillow decodes")
    original = read_or_reason(lambda: decode_image(whole, suffix, None))
    return UNCHANGED if not isinstance(original, str) and torch.equal(image, original) else OTHER


def damage_png(data: bytes, rng: Random) -> bytes:
    """As any file, half of the time with checksums that are right again, so that what lies behind is met."""
    changed = mutate(data, rng)
    if rng.random() < 0.5:
        return changed
    at, fixed = 8, bytearray(changed)
    while at + 12 <= len(fixed):
        size = int.from_bytes(fixed[at : at + 4])
        if at + 12 + size > len(fixed):
            break
        fixed[at + 8 + size : at + 12 + size] = zlib.crc32(fixed[at + 4 : at + 8 + size]).to_bytes(4)
        at += 12 + size
    return bytes(fixed) if fixed != data else changed


# Shards and their indexes


def make_shard() -> list[bytes]:
    """Three samples, one with a long name."""
    import tarfile

    data, rng = io.BytesIO(), Random(0)
    with tarfile.open(fileobj=data, mode="w") as tar:
        for key in ("0000", "0001", "a" * 120):
            for suffix, size in (("jpg", 700), ("txt", 20), ("json", 0)):
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = size
                tar.addfile(info, io.BytesIO(rng.randbytes(size)))
    return [data.getvalue()]


def make_index() -> list[bytes]:
    """The index of that shard."""
    import tempfile

    from lightning_mav.data.shards.index import scan_shard, write_index

    with tempfile.TemporaryDirectory() as folder:
        shard, index = Path(folder, "0.tar"), Path(folder, "0.index.json")
        shard.write_bytes(make_shard()[0])
        write_index(scan_shard(shard, checksums=True), index)
        return [index.read_bytes()]


def damage_shard(data: bytes, rng: Random) -> bytes:
    """As any file; or a field of a header, whose checksum is then made right again."""
    if rng.random() < 0.5:
        return mutate(data, rng)
    at = 512 * rng.randrange(len(data) // 512)
    header = mutate(data[at : at + 512], rng)[:512].ljust(512, b"\0")
    total = sum(header) - sum(header[148:156]) + 8 * 32
    header = header[:148] + f"{total:06o}\0 ".encode() + header[156:]
    changed = data[:at] + header + data[at + 512 :]
    return changed if changed != data else flip(data, rng)


def judge_shard(data: bytes, whole: bytes, rng: Random, folder: Path) -> str:
    """No changed byte is read with the index that was made before; without it, a shard is read or refused."""
    from lightning_mav.data.shards.index import ShardError, read_index, read_member, scan_shard

    path, index_path = folder / "0.tar", folder / "0.index.json"
    path.write_bytes(data)
    index_path.write_bytes(once(make_index)[0])
    original = shard_members(whole)
    with_index = "read with its index"
    try:
        index = read_index(index_path, path)
        for key, members in zip(index.keys, index.members, strict=True):
            for suffix, member in members.items():
                try:
                    if read_member(path, member) != original[key, suffix]:
                        raise Wrong("changed bytes are read")
                except ValueError:
                    with_index = "members refused"
    except ShardError as error:
        with_index = f"refused with its index: {generic(error)}"
    try:
        index = scan_shard(path, checksums=True)
        for members in index.members:
            for member in members.values():
                read_member(path, member)
    except ShardError as error:
        return f"refused: {generic(error)}"
    return with_index


@cache
def shard_members(whole: bytes) -> dict[tuple[str, str], bytes]:
    """Members by key and suffix, as Python's own module reads them."""
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        return {tuple(info.name.split(".")): tar.extractfile(info).read() for info in tar}


def judge_index(data: bytes, whole: bytes, rng: Random, folder: Path) -> str:
    """An index is read or refused; what it points to is a member with its checksum, or is refused."""
    from lightning_mav.data.shards.index import ShardError, count_samples, read_index, read_member

    path, index_path = folder / "0.tar", folder / "0.index.json"
    shard = once(make_shard)[0]
    path.write_bytes(shard)
    index_path.write_bytes(data)
    known, refused = {*shard_members(shard).values()}, False
    count_samples(index_path, len(shard))
    try:
        index = read_index(index_path, path)
        for members in index.members:
            for member in members.values():
                try:
                    content = read_member(path, member)
                except ValueError:
                    refused = True
                    continue
                if member.crc32 is not None and content not in known:
                    raise Wrong("an index makes a member of other bytes")
    except ShardError as error:
        return f"refused: {generic(error)}"
    return "members refused" if refused else UNCHANGED if same_json(data, whole) else OTHER


def same_json(one: bytes, two: bytes) -> bool:
    """Whether two files say the same."""
    try:
        return json.loads(one) == json.loads(two)
    except ValueError:
        return False


# Weights and checkpoints


def make_weights() -> list[bytes]:
    """The weights of a small network."""
    import tempfile

    from lightning_mav.nn import PriorTransformer
    from lightning_mav.weights import save_weights

    torch.manual_seed(0)
    network = PriorTransformer(8, text_width=8, width=8, num_layers=1, num_heads=2, context_length=4)
    with tempfile.TemporaryDirectory() as folder:
        return [save_weights(network, Path(folder, "prior.safetensors"), dtype="fp32").read_bytes()]


def damage_weights(data: bytes, rng: Random) -> bytes:
    """As any file; or words of its header, whose length is then made right again."""
    if rng.random() < 0.6:
        return mutate(data, rng)
    size = int.from_bytes(data[:8], "little")
    header = mutate_text(data[8 : 8 + size], rng)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def judge_weights(data: bytes, whole: bytes, rng: Random, folder: Path) -> str:
    """What is loaded is what was saved, to the last bit; all else is refused."""
    from lightning_mav.weights import load_weights, read_training

    path = folder / "prior.safetensors"
    path.write_bytes(data)
    reference = folder / "whole.safetensors"
    reference.write_bytes(whole)
    refused = ""
    try:
        state = load_weights(path).state_dict()
    except UsageError as error:
        refused = generic(error)
    with suppress(UsageError):
        read_training(path)
    if refused:
        return f"refused: {refused}"
    expected = load_weights(reference).state_dict()
    if state.keys() != expected.keys() or any(not torch.equal(state[name], expected[name]) for name in state):
        raise Wrong("other weights than those that were saved")
    return UNCHANGED


def make_checkpoint() -> list[bytes]:
    """What Lightning saves, in small."""
    torch.manual_seed(0)
    network = torch.nn.Linear(8, 8)
    adam = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 8)).sum().backward()
    adam.step()
    data = io.BytesIO()
    content = {"state_dict": network.state_dict(), "optimizer_states": [adam.state_dict()], "global_step": 5}
    torch.save({**content, "loops": {"fit_loop": {"epoch": 0}}, "pytorch-lightning_version": "2.6.1"}, data)
    return [data.getvalue()]


def damage_checkpoint(data: bytes, rng: Random) -> bytes:
    """As any file; or one of the files in it, all checksums being right again."""
    if rng.random() < 0.6:
        return mutate(data, rng)
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(changed, "w") as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, mutate(content, rng) if name == chosen and content else content)
    return changed.getvalue()


def judge_checkpoint(data: bytes, whole: bytes, rng: Random, folder: Path) -> str:
    """What is read is what was saved, unless all checksums have been made to fit; else the one before is."""
    from lightning_mav.training.checkpoints import read_newest

    (folder / "step=0000005.ckpt").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = read_newest(folder)
        except UsageError as error:
            return f"refused: {generic(error)}"
    if found is None:
        return "passed over"
    if not same(found[1], torch.load(io.BytesIO(whole), weights_only=True)):
        if zip_sums(data) == zip_sums(whole):
            raise Wrong("another checkpoint than the one that was saved")
        return OTHER
    return UNCHANGED


def same(one: object, two: object) -> bool:
    """Whether two nests of plain values and tensors are equal, to the last bit."""
    if type(one) is not type(two):
        return False
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    return one == two


def zip_sums(data: bytes) -> list[tuple[str, int]]:
    """Names and checksums of the files in a zip file."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return sorted((info.filename, info.CRC) for info in archive.infolist())


# YAML


def read_yaml(*names: str) -> list[bytes]:
    """Files of ``configs/``."""
    return [(ROOT / "configs" / f"{name}.yaml").read_bytes() for name in names]


def judge_settings(kind: str, data: bytes, whole: bytes, rng: Random, folder: Path) -> str:
    """Settings are read or refused in one line."""
    path = folder / "settings.yaml"
    path.write_bytes(data)
    try:
        if kind == "ablation":
            from lightning_mav.evaluation.ablations.design import load_ablation

            load_ablation(str(path))
        elif b"protocol" in whole:
            from lightning_mav.evaluation.protocols.settings import load_settings

            load_settings(path)
        else:
            from lightning_mav.evaluation.worlds.settings import load_micro_settings

            load_micro_settings(path)
    except UsageError as error:
        return f"refused: {one_line(error)}"
    return "read"


LAYERS = [f"--config={ROOT / 'configs' / name}.yaml" for name in ("base", "stage/prior", "scale/micro/prior")]


def judge_layer(data: bytes, whole: bytes, rng: Random, folder: Path) -> str:
    """A layer of a run's configuration is parsed, or refused in one line."""
    path = folder / "layer.yaml"
    path.write_bytes(data)
    try:
        once(layer_parser)([*LAYERS, f"--config={path}"])
    except UsageError as error:
        return f"refused: {one_line(error)}"
    return "read"


def layer_parser() -> Callable[[list[str]], None]:
    """What ``mav fit`` parses its arguments with, made once; nothing is built of them."""
    from lightning_mav.training.fit import MavCLI

    class Made(Exception):  # noqa: N818 - it is no error
        pass

    class Parser(MavCLI):
        def parse_arguments(self, parser: object, args: object) -> None:
            made.append(self)
            raise Made

    made: list[Parser] = []
    with suppress(Made):
        Parser(["fit"])
    return lambda arguments: MavCLI.parse_arguments(made[0], made[0].parser, ["fit", *arguments])


def one_line(error: UsageError) -> str:
    """Checks that a message is one line; returns that it was refused, as messages name what they found."""
    if len(str(error).splitlines()) != 1 or len(str(error)) > 2000:
        raise Wrong(f"no single line: {str(error)[:300]!r}")
    return "one line"


def generic(error: Exception) -> str:
    """A message without names, places and numbers: what can be counted."""
    one_line(error)
    text = str(error).partition(": ")[2] or str(error)
    text = text.partition("; ")[0].partition(" (")[0]
    return "".join("#" if c.isdigit() else c for c in text)[:60]


@cache
def once(make: Callable[[], object]) -> object:
    """Calls it once in a process."""
    return make()


JPEG = {"quality": 90}
SUBJECTS = {
    "mp4": Subject(lambda: make_video("mp4", "libx264"), partial(judge_video, "mp4")),
    "fragmented-mp4": Subject(
        lambda: make_video("mp4", "libx264", movflags="frag_keyframe+empty_moov+default_base_moof"),
        partial(judge_video, "mp4"),
    ),
    "mov": Subject(lambda: make_video("mov", "mpeg4"), partial(judge_video, "mov")),
    "mkv": Subject(lambda: make_video("matroska", "libx264"), partial(judge_video, "mkv")),
    "webm": Subject(lambda: make_video("webm", "libvpx-vp9"), partial(judge_video, "webm")),
    "avi": Subject(lambda: make_video("avi", "mpeg4"), partial(judge_video, "avi")),
    "png": Subject(lambda: make_image("PNG"), partial(judge_image, "png"), damage_png),
    "jpeg": Subject(lambda: make_image("JPEG", **JPEG), partial(judge_image, "jpg")),
    "webp": Subject(lambda: make_image("WEBP", lossless=True), partial(judge_image, "webp")),
    "gif": Subject(lambda: make_image("GIF"), partial(judge_image, "jpg")),
    "bmp": Subject(lambda: make_image("BMP"), partial(judge_image, "jpg")),
    "tiff": Subject(lambda: make_image("TIFF"), partial(judge_image, "png")),
    "shards": Subject(make_shard, judge_shard, damage_shard),
    "indexes": Subject(make_index, judge_index, mutate_text),
    "weights": Subject(make_weights, judge_weights, damage_weights),
    "checkpoints": Subject(make_checkpoint, judge_checkpoint, damage_checkpoint),
    "layers": Subject(
        lambda: read_yaml("scale/micro/prior", "scale/nano/prior", "base"), judge_layer, mutate_text
    ),
    "settings": Subject(
        lambda: read_yaml("eval/micro", "eval/ucf101", "eval/msrvtt"),
        partial(judge_settings, "settings"),
        mutate_text,
    ),
    "ablations": Subject(
        lambda: read_yaml("ablations/noise", "ablations/held_out"),
        partial(judge_settings, "ablation"),
        mutate_text,
    ),
}
