"""Pictures in forms that are valid and seldom, each of four fields: red, green, blue and white. Written with Pillow.

    python tests/reference/make_pictures.py
"""

import io
import pathlib
import struct
import zlib

from PIL import Image

OUT = pathlib.Path(__file__).parent / "pictures"
SIDE = 16
FIELDS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]


def fields(size=SIDE, shift=0):
    picture = Image.new("RGB", (size, size))
    for place in range(4):
        half = size // 2
        box = (place % 2 * half, place // 2 * half)
        picture.paste(FIELDS[(place + shift) % 4], (*box, box[0] + half, box[1] + half))
    return picture


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, interlace=0, between=()):
    """A PNG file of rows that are packed already, each without its filter's byte."""
    raw = b"".join(b"\0" + row for row in rows)
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + b"".join(chunk(*pair) for pair in between)
        + chunk(b"IDAT", zlib.compress(raw, 9))
        + chunk(b"IEND", b"")
    )


def sixteen(picture):
    rows = []
    for y in range(SIDE):
        row = b"".join(struct.pack(">3H", *(value * 257 for value in picture.getpixel((x, y)))) for x in range(SIDE))
        rows.append(row)
    return png(SIDE, SIDE, 16, 2, rows)


def interlaced(picture):
    """Adam7: seven pictures, each of fewer pixels."""
    rows = []
    for left, top, right, down in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
        for y in range(top, SIDE, down):
            rows.append(b"".join(bytes(picture.getpixel((x, y))) for x in range(left, SIDE, right)))
    return png(SIDE, SIDE, 8, 2, rows, interlace=1)


def palette(bits):
    """Four colours in so many bits."""
    rows = []
    for y in range(SIDE):
        line = [x // (SIDE // 2) + 2 * (y // (SIDE // 2)) for x in range(SIDE)]
        packed, per_byte = bytearray(), 8 // bits
        for start in range(0, SIDE, per_byte):
            byte = 0
            for value in line[start : start + per_byte]:
                byte = byte << bits | value
            packed.append(byte)
        rows.append(bytes(packed))
    table = b"".join(bytes(colour) for colour in FIELDS)
    return png(SIDE, SIDE, bits, 3, rows, between=[(b"PLTE", table)])


def jpeg(picture, **options):
    to = io.BytesIO()
    picture.save(to, "JPEG", quality=95, subsampling=0, **options)
    return to.getvalue()


def turned():
    """Upright only as its orientation says (6: turn by a quarter to the right)."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(fields().transpose(Image.Transpose.ROTATE_90), exif=exif)


def animated(form, **options):
    to = io.BytesIO()
    fields().save(to, form, save_all=True, append_images=[fields(shift=1), fields(shift=2)], duration=50, **options)
    return to.getvalue()


def main():
    OUT.mkdir(exist_ok=True)
    picture = fields()
    files = {
        "plain.jpg": jpeg(picture),
        "progressive.jpg": jpeg(picture, progressive=True),
        "cmyk.jpg": jpeg(picture.convert("CMYK")),
        "turned.jpg": turned(),
        "sixteen.png": sixteen(picture),
        "interlaced.png": interlaced(picture),
        "palette-2.png": palette(2),
        "palette-4.png": palette(4),
        "palette-8.png": palette(8),
        "animated.png": animated("PNG"),
        "animated.webp": animated("WEBP", lossless=True),
    }
    for form, options in [("plain.webp", {"quality": 95}), ("lossless.webp", {"lossless": True})]:
        to = io.BytesIO()
        picture.save(to, "WEBP", **options)
        files[form] = to.getvalue()
    for name, data in files.items():
        (OUT / name).write_bytes(data)
        shown = Image.open(io.BytesIO(data))
        print(f"{name:<18} {len(data):>5} bytes, {shown.format} {shown.mode} {shown.size}")


if __name__ == "__main__":
    main()
