"""Unpacks drawings of other houses for the judge: `TO/STYLE/CODEPOINTS.png`, 64x64 RGBA.

    npm pack emoji-datasource-twitter@15.1.2 emojione@2.2.7 openmoji@15.0.0
    pip install resvg_py==0.5.0
    python others.py --packages . --to OTHERS

Twemoji and EmojiOne 2 are CC BY 4.0, OpenMoji is CC BY-SA 4.0. Only the judge sees them: neither they nor the judge are
part of the project, and sketch never learns from them.
"""

import argparse
import io
import re
import tarfile
from pathlib import Path

from PIL import Image

SIZE = 64
PACKAGES = {
    "twemoji": ("emoji-datasource-twitter-*.tgz", re.compile(r"package/img/twitter/64/([0-9a-f-]+)\.png")),
    "emojione": ("emojione-2*.tgz", re.compile(r"package/assets/png_128x128/([0-9a-f-]+)\.png")),
    "openmoji": ("openmoji-*.tgz", re.compile(r"package/color/svg/([0-9A-F-]+)\.svg")),
}


def rasterise(text):
    """An SVG as 128x128 RGBA."""
    import resvg_py

    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=text, width=128, height=128))))


def code(name):
    """The name as the training drawings have it: lower case, no leading zeros, no variation selectors."""
    return "-".join(part.lstrip("0") for part in name.lower().split("-") if part != "fe0f")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--codes", type=Path, help="a folder of drawings: only names that it has are taken")
    options = parser.parse_args()
    wanted = {path.stem for path in options.codes.glob("*.webp")} if options.codes else None
    for style, (package, pattern) in PACKAGES.items():
        folder, count = options.to / style, 0
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(next(options.packages.glob(package))) as files:
            for member in files:
                match = pattern.fullmatch(member.name)
                name = match and code(match[1])
                if not name or (wanted is not None and name not in wanted):
                    continue
                held = files.extractfile(member).read()
                picture = rasterise(held.decode()) if style == "openmoji" else Image.open(io.BytesIO(held))
                picture = picture.convert("RGBA").convert("RGBa").resize((SIZE, SIZE), Image.LANCZOS).convert("RGBA")
                picture.save(folder / f"{name}.png")
                count += 1
        print(f"{style}: {count} drawings", flush=True)


if __name__ == "__main__":
    main()
