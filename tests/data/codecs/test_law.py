"""Frames are those of decoding the whole file, whatever its codec, container and structure."""

import numpy as np
import pytest

from helpers.coded import RATE, X265, encode
from helpers.law import OPEN, OPEN_HEVC, X264, check_law
from helpers.places import ROOT
from lightning_mav.data.codecs import packets
from lightning_mav.data.codecs.decode import decode_video

CLIPS = ROOT.parent / "shared" / "clips"
pytestmark = pytest.mark.usefixtures("pixels_as_stored")


def x264(suffix="mp4", params="", **kwargs):
    return suffix, "libx264", {"options": {"x264-params": f"{X264}{params}"}, **kwargs}


def x265(suffix="mp4", params="", **kwargs):
    return suffix, "libx265", {"options": {"preset": "ultrafast", "x265-params": X265 + params}, **kwargs}


VPX = {"cpu-used": "8", "lag-in-frames": "16", "auto-alt-ref": "1", "g": "10", "deadline": "good"}
SVT = {"preset": "12", "svtav1-params": "lp=1:keyint=10"}
B2 = {"bf": "2", "g": "12"}
SEEKABLE = {
    "H.264": x264(params=":keyint=10"),
    "H.264 in MOV": x264("mov", ":keyint=10"),
    "H.264 in Matroska": x264("mkv", ":keyint=10"),
    "H.264 in AVI": x264("avi", ":keyint=10"),
    "H.264, open GOP": ("mp4", "libx264", {"options": {"x264-params": OPEN}}),
    "H.264, intra refresh": x264(params=":intra-refresh=1:keyint=10"),
    "H.264, pyramid and slices": x264("mkv", ":bframes=8:b-adapt=0:b-pyramid=normal:slices=3:keyint=20"),
    "H.264, interlaced": x264("mkv", ":interlaced=1:keyint=10"),
    "H.264, bottom field first": x264("mkv", ":bff=1:keyint=10"),
    "H.264, constant QP": x264(params=":qp=0:keyint=10", pix_fmt="yuv444p"),
    "H.264, 10 bit 4:2:2": x264("mkv", ":keyint=10", pix_fmt="yuv422p10le"),
    "H.264, grey": x264("mp4", ":keyint=10", pix_fmt="gray"),
    "H.264, parameter sets in band": x264("mp4", ":keyint=10:repeat-headers=1"),
    "HEVC": x265(params=":keyint=10"),
    "HEVC, open GOP": ("mkv", "libx265", {"options": {"preset": "fast", "x265-params": OPEN_HEVC}}),
    "HEVC, pyramid": x265("mov", ":keyint=20:bframes=5:b-pyramid=1:b-adapt=0:rc-lookahead=20"),
    "HEVC, 10 bit 4:4:4": x265("mp4", ":keyint=10", pix_fmt="yuv444p10le"),
    "HEVC, layers in time": x265("mp4", ":keyint=10:temporal-layers=1:bframes=3"),
    "VP8": ("webm", "libvpx", {"options": VPX}),
    "VP9": ("webm", "libvpx-vp9", {"options": VPX}),
    "VP9 in MP4": ("mp4", "libvpx-vp9", {"options": VPX}),
    "VP9, 4:4:4": ("mkv", "libvpx-vp9", {"options": VPX, "pix_fmt": "yuv444p"}),
    "AV1": ("mp4", "libsvtav1", {"options": SVT, "size": (64, 64)}),
    "AV1 in Matroska": ("mkv", "libsvtav1", {"options": SVT, "size": (64, 64)}),
    **{
        f"{name} in {suffix}": (suffix, codec, {"options": B2})
        for name, codec in (("MPEG-4", "mpeg4"), ("MPEG-2", "mpeg2video"), ("MPEG-1", "mpeg1video"))
        for suffix in ("mp4", "mov", "mkv", "avi")
        if (codec, suffix) not in {("mpeg1video", "mov"), ("mpeg1video", "mp4")}
    },
    "MPEG-4, quarter pixels": ("avi", "mpeg4", {"options": B2 | {"flags": "+qpel+mv4+aic"}}),
    "MPEG-4, interlaced": ("mp4", "mpeg4", {"options": B2 | {"flags": "+ildct+ilme"}}),
    "MPEG-2, interlaced": ("mkv", "mpeg2video", {"options": B2 | {"flags": "+ildct+ilme"}}),
    "MPEG-2, closed GOP": (
        "mkv",
        "mpeg2video",
        {"options": B2 | {"flags": "+cgop", "sc_threshold": "1000000000"}},
    ),
    "MPEG-2, matrices": ("mov", "mpeg2video", {"options": B2 | {"intra_matrix": ",".join(["9"] * 64)}}),
    "FFV1": ("mkv", "ffv1", {"options": {"g": "8", "level": "3"}}),
    "FFV1, RGB": ("avi", "ffv1", {"options": {"g": "1"}, "pix_fmt": "bgr0"}),
    "Motion JPEG": ("avi", "mjpeg", {"pix_fmt": "yuvj420p"}),
    "Motion JPEG in MOV": ("mov", "mjpeg", {"pix_fmt": "yuvj422p"}),
    "HuffYUV": ("avi", "huffyuv", {"pix_fmt": "yuv422p"}),
    "ffvhuff": ("avi", "ffvhuff", {"options": {"context": "1"}}),
    "UT video": ("avi", "utvideo", {"pix_fmt": "yuv420p"}),
    "ProRes": ("mov", "prores_ks", {"pix_fmt": "yuv422p10le"}),
    "DNxHR": ("mov", "dnxhd", {"pix_fmt": "yuv422p", "options": {"profile": "dnxhr_lb"}, "size": (128, 256)}),
    "PNG": ("mov", "png", {"pix_fmt": "rgb24"}),
    "raw": ("avi", "rawvideo", {"pix_fmt": "yuv420p"}),
    "MagicYUV": ("avi", "magicyuv", {"pix_fmt": "yuv420p"}),
    "JPEG 2000": ("mov", "jpeg2000", {"pix_fmt": "yuv420p", "num_frames": 12}),
}
OTHERS = {
    "MS-MPEG-4 v2": ("avi", "msmpeg4v2", {"options": {"g": "10"}}),
    "MS-MPEG-4 v3": ("avi", "msmpeg4", {"options": {"g": "10"}}),
    "WMV 1": ("avi", "wmv1", {"options": {"g": "10"}}),
    "WMV 2": ("avi", "wmv2", {"options": {"g": "10"}}),
    "H.263": ("mov", "h263", {"size": (96, 128)}),
    "Sorenson": ("mov", "svq1", {"pix_fmt": "yuv410p", "num_frames": 12}),
    "Flash": ("avi", "flv", {"options": {"g": "10"}}),
    "animation": ("mov", "qtrle", {"pix_fmt": "rgb24"}),
    "Cinepak": ("avi", "cinepak", {"pix_fmt": "rgb24", "num_frames": 8}),
    "ZMBV": ("avi", "zmbv", {"pix_fmt": "bgr0"}),
    "Snow": ("avi", "snow", {"options": {"strict": "-2"}, "num_frames": 12}),
}


@pytest.mark.parametrize("kind", [*SEEKABLE, *OTHERS])
def test_frames_are_those_of_full_decoding(kind, monkeypatch):
    suffix, codec, kwargs = (SEEKABLE | OTHERS)[kind]
    data = encode(suffix, codec, **kwargs)
    if kind in SEEKABLE:  # and a clip takes no more than it depends on
        monkeypatch.setattr(packets.Packets, "frames", None)
    num_frames = check_law(data, suffix)
    _, times = decode_video(data, suffix, None)
    np.testing.assert_allclose(times, np.arange(num_frames) / RATE, atol=2e-3)
