"""Draws the pictures in tests/image/data with Pillow, and what Pillow makes of them.

Run from the repository's root: .venv/bin/python tests/image/make_fixtures.py
NAME.ext is an input; NAME.rgb.png is Pillow's convert("RGB") of it after exif_transpose;
resize_MODE_WxH.png is Pillow's LANCZOS of resize_MODE.png, bicubic_MODE_WxH.png its BICUBIC.
"""

import io
import random
import struct
import zlib
from pathlib import Path

from PIL import Image, ImageOps, PngImagePlugin

DATA = Path(__file__).parent / "data"


def noise(mode: str, width: int, height: int, seed: int) -> Image.Image:
    bands = len(mode)
    return Image.frombytes(mode, (width, height), random.Random(seed).randbytes(width * height * bands))


def gradient(width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height))
    image.putdata([(255 * x // width, 255 * y // height, 255 - 255 * x // width) for y in range(height) for x in range(width)])
    return image


def save(name: str, image: Image.Image, **options) -> None:
    image.save(DATA / name, **options)
    keep(name)


def keep(name: str) -> None:
    with Image.open(DATA / name) as image:
        seen = ImageOps.exif_transpose(image).convert("RGB")
        seen.info.pop("transparency", None)
    seen.save(DATA / f"{Path(name).stem}.rgb.png")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def sixteen_bit() -> bytes:
    source = random.Random(5)
    return png(9, 7, 16, 2, b"".join(b"\0" + source.randbytes(9 * 6) for _ in range(7)))


def interlaced() -> bytes:
    """A 5x5 RGB picture in Adam7's seven passes, which Pillow reads but does not write."""
    picture = gradient(5, 5)
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for x0, y0, dx, dy in passes:
        for y in range(y0, 5, dy):
            line = b"".join(bytes(picture.getpixel((x, y))) for x in range(x0, 5, dx))
            if line:
                rows += b"\0" + line
    bytes_ = png(5, 5, 8, 2, rows)
    header = struct.pack(">IIBBBBB", 5, 5, 8, 2, 0, 0, 1)
    return bytes_[:8] + chunk(b"IHDR", header) + bytes_[8 + 25 :]


def bmp_565(width: int, height: int) -> bytes:
    """Sixteen bits by masks, the first row at the top, which Pillow reads but does not write."""
    row = (width * 2 + 3) // 4 * 4
    pixels = random.Random(9).randbytes(row * height)
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    header = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 16, 3, len(pixels), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 14 + 40 + 12 + len(pixels), 0, 0, 14 + 40 + 12) + header + masks + pixels


def save_read_only_formats() -> None:
    save("gif_palette.gif", gradient(16, 16).quantize(7))
    save("gif_interlaced.gif", gradient(13, 11).quantize(20), interlace=1)
    save("gif_transparent.gif", gradient(16, 16).quantize(7), transparency=3)
    frames = [noise("L", 8, 8, seed) for seed in range(3)]
    frames[0].save(DATA / "gif_animated.gif", save_all=True, append_images=frames[1:], duration=100)
    save("bmp_rgb.bmp", gradient(13, 8))
    save("bmp_grey.bmp", noise("L", 7, 5, 3))
    save("bmp_palette.bmp", gradient(16, 16).quantize(7))
    save("bmp_one_bit.bmp", noise("L", 11, 3, 5).convert("1"))
    save("bmp_rgba.bmp", noise("RGBA", 6, 5, 2))
    (DATA / "bmp_565.bmp").write_bytes(bmp_565(7, 3))
    keep("bmp_565.bmp")
    save("tiff_rgb.tiff", gradient(13, 8))
    save("tiff_lzw.tiff", gradient(24, 16), compression="tiff_lzw")
    save("tiff_jpeg.tiff", gradient(32, 32), compression="jpeg", quality=95)
    save("tiff_grey.tiff", noise("L", 6, 5, 3))
    save("tiff_palette.tiff", gradient(16, 16).quantize(7))
    save("tiff_opaque_alpha.tiff", gradient(6, 5).convert("RGBA"))
    for orientation in (3, 6, 7):
        save(f"tiff_turned_{orientation}.tiff", gradient(7, 4), tiffinfo={0x0112: orientation})
    gradient(5, 4).save(DATA / "tiff_pages.tiff", save_all=True, append_images=[gradient(3, 3)])
    keep("tiff_pages.tiff")


def save_texts() -> None:
    # As A1111 writes its parameters: EXIF's UserComment, UTF-16 with the high byte first.
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "Kätzchen 🐈\nSteps: 28, Seed: 7".encode("utf-16-be")
    gradient(4, 4).save(DATA / "jpeg_text.jpg", exif=exif)
    gradient(4, 4).save(DATA / "webp_text.webp", exif=exif)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + b"a kitten"
    gradient(4, 4).save(DATA / "jpeg_ascii_text.jpg", exif=exif)
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "a kitten".encode("utf-16-le")
    gradient(4, 4).save(DATA / "jpeg_low_byte_first.jpg", exif=exif)

def main() -> None:
    DATA.mkdir(exist_ok=True)
    for mode, width, height in [("RGB", 37, 23), ("L", 20, 31)]:
        source = noise(mode, width, height, 1)
        source.save(DATA / f"resize_{mode}.png")
        for size in [(16, 16), (64, 48), (37, 5), (9, 31), (1, 1), (111, 23)]:
            source.resize(size, Image.Resampling.LANCZOS).save(DATA / f"resize_{mode}_{size[0]}x{size[1]}.png")
        for size in [(64, 48), (37, 5), (9, 31)]:
            source.resize(size, Image.Resampling.BICUBIC).save(DATA / f"bicubic_{mode}_{size[0]}x{size[1]}.png")

    save("png_rgb.png", gradient(13, 8))
    save("png_rgba.png", noise("RGBA", 6, 5, 2))
    paper = Image.new("RGB", (6, 5), (255, 240, 7))
    paper.paste(noise("RGBA", 6, 5, 2), mask=noise("RGBA", 6, 5, 2))
    paper.save(DATA / "png_rgba.paper.png")
    save("png_grey.png", noise("L", 6, 5, 3))
    save("png_grey_alpha.png", noise("LA", 6, 5, 4))
    save("png_palette.png", gradient(16, 16).quantize(7))
    save("png_one_bit.png", noise("L", 11, 3, 5).convert("1"))
    (DATA / "png_sixteen_bit.png").write_bytes(sixteen_bit())
    keep("png_sixteen_bit.png")
    (DATA / "png_interlaced.png").write_bytes(interlaced())
    keep("png_interlaced.png")
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a kitten\nSteps: 28, Seed: 7")
    text.add_itxt("title", "Kätzchen 🐈")
    text.add_text("packed", "word " * 200, zip=True)
    gradient(4, 4).save(DATA / "png_text.png", pnginfo=text)

    save("jpeg_rgb.jpg", gradient(24, 16), quality=95)
    save("jpeg_grey.jpg", gradient(24, 16).convert("L"), quality=95)
    save("jpeg_progressive.jpg", gradient(24, 16), quality=95, progressive=True)
    save("jpeg_cmyk.jpg", gradient(24, 16).convert("CMYK"), quality=95)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(f"jpeg_exif_{orientation}.jpg", gradient(24, 16), quality=95, exif=exif)
    exif = Image.Exif()
    exif[0x0112] = 6
    save("png_exif.png", gradient(7, 4), exif=exif)
    save("webp_exif.webp", gradient(7, 4), lossless=True, exif=exif)

    save_texts()

    save("webp_lossless.webp", gradient(13, 8), lossless=True)
    save("webp_alpha.webp", noise("RGBA", 6, 5, 6), lossless=True, exact=True)
    save("webp_lossy.webp", gradient(32, 32), quality=90)
    frames = [noise("RGB", 8, 8, seed) for seed in range(3)]
    frames[0].save(DATA / "webp_animated.webp", save_all=True, append_images=frames[1:], duration=100)
    save_read_only_formats()

    (DATA / "bomb_pixels.png").write_bytes(png(50_000, 50_000, 8, 2, b"\0" * 64))
    profile = b"icc\0\0" + zlib.compress(b"\0" * 8_000_000, 9)
    (DATA / "bomb_profile.png").write_bytes(png(2, 1, 8, 2, b"\0" * 7, chunk(b"iCCP", profile)))
    words = b"words\0\0" + zlib.compress(b" " * 8_000_000, 9)
    (DATA / "bomb_text.png").write_bytes(png(2, 1, 8, 2, b"\0" * 7, chunk(b"zTXt", words)))

    # A progressive file whose last scan is repeated: each repetition costs the decoder a walk over the picture.
    stream = io.BytesIO()
    gradient(24, 16).save(stream, "JPEG", quality=95, progressive=True)
    whole = stream.getvalue()
    last = whole.rindex(b"\xff\xda")
    (DATA / "bomb_scans.jpg").write_bytes(whole[:last] + whole[last:-2] * 200 + whole[-2:])


if __name__ == "__main__":
    main()
