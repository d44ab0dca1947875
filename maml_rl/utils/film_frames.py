"""Frames of a film: panels under captions in a grid, and the file they are written to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from maml_rl.utils.files import write_atomically

_PANEL_WIDTH = 320
_CAPTION_HEIGHT = 44
_LAST_FRAME_SECONDS = 1.5


def shrink(picture: Image.Image) -> Image.Image:
    """A picture at most as wide as a panel, with the same proportions."""
    if picture.width <= _PANEL_WIDTH:
        return picture
    return picture.resize((_PANEL_WIDTH, max(1, round(picture.height * _PANEL_WIDTH / picture.width))))


def panel(picture: Image.Image, caption: tuple[str, str], total: float) -> Image.Image:
    """A picture under two words, "task: stage", the first of them shortened to fit, and the return `total` so far."""
    captioned = Image.new("RGB", (_PANEL_WIDTH, picture.height + _CAPTION_HEIGHT), "#ffffff")
    captioned.paste(picture, ((_PANEL_WIDTH - picture.width) // 2, _CAPTION_HEIGHT))
    draw, font = ImageDraw.Draw(captioned), ImageFont.load_default(size=15)
    task, stage = caption
    while task and draw.textlength(f"{task}: {stage}", font=font) > _PANEL_WIDTH - 12:
        task = task.removesuffix("…")[:-1] + "…" if len(task) > 1 else ""
    draw.text((6, 3), f"{task}: {stage}" if task else stage, fill="#000000", font=font)
    draw.text((6, 22), f"return so far {total:.1f}", fill="#0072b2", font=font)
    return captioned


def grid(panels: Sequence[Image.Image], num_columns: int) -> Image.Image:
    """Panels of one size in rows of `num_columns`."""
    width, height = panels[0].size
    whole = Image.new("RGB", (width * num_columns, height * (len(panels) // num_columns)))
    for index, picture in enumerate(panels):
        whole.paste(picture, (index % num_columns * width, index // num_columns * height))
    return whole


def save_film(path: Path, frames: Sequence[Image.Image], *, frames_per_second: float) -> None:
    """Write frames of one size as ``.gif`` (repeats for ever) or ``.mp4``, in one motion."""
    if path.suffix.lower() == ".mp4":
        write_atomically(path, lambda file: _write_mp4(file, frames, frames_per_second))
    else:
        write_atomically(path, lambda file: _write_gif(file, frames, frames_per_second))


def _write_gif(path: Path, frames: Sequence[Image.Image], frames_per_second: float) -> None:
    sample = grid([frames[0], frames[len(frames) // 2], frames[-1]], 3)
    palette = sample.quantize(256)  # one for all frames: small, and colours do not flicker
    coded = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [max(20, round(1000 / frames_per_second))] * len(coded)  # milliseconds
    durations[-1] = round(1000 * _LAST_FRAME_SECONDS)
    coded[0].save(path, format="GIF", save_all=True, append_images=coded[1:], duration=durations, loop=0)


def _write_mp4(path: Path, frames: Sequence[Image.Image], frames_per_second: float) -> None:
    import imageio_ffmpeg

    writer = imageio_ffmpeg.write_frames(
        str(path), frames[0].size, fps=frames_per_second, macro_block_size=2, ffmpeg_log_level="error"
    )
    writer.send(None)  # starts the encoder
    try:
        for frame in frames:
            writer.send(frame.tobytes())
    finally:
        writer.close()
