"""Packs drawings and their words into a few small files, so that training can move to another machine.

    python pack.py --drawings DRAWINGS --to PACKED                # the 64 subjects
    python pack.py --drawings DRAWINGS --to PACKED --more         # and the subjects of more.py

DRAWINGS is `DRAWINGS/STYLE/CODEPOINTS.webp`, 128x128 RGBA (Microsoft Fluent Emoji, MIT; Noto Emoji, Apache-2.0).
Written are sheets of 16x16 drawings as WebP and `index.json`, which says what is where: of subjects the noun and the
style; `--others` drawings of other things have no noun, since they serve the autoencoder alone.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from more import MORE
from subjects import STYLES, SUBJECTS

CELL, ROW = 128, 16


def gather(folder, more, others, seed):
    """`[(path, noun or None, style)]`; not every style has every drawing."""
    nouns = SUBJECTS | MORE if more else SUBJECTS
    known = set(SUBJECTS | MORE)
    found = [(Path(folder) / style / f"{code}.webp", noun, style) for code, noun in nouns.items() for style in STYLES]
    rest = sorted(path for style in STYLES for path in (Path(folder) / style).glob("*.webp") if path.stem not in known)
    sample = random.Random(seed).sample(rest, min(others, len(rest)))
    return [entry for entry in found if entry[0].exists()] + [(path, None, path.parent.name) for path in sample]


def write(entries, to, quality):
    """The sheets and the index; returns the bytes written."""
    to.mkdir(parents=True, exist_ok=True)
    cells = [{"noun": noun, "style": style} for _, noun, style in entries]
    sheets = []
    for start in range(0, len(entries), ROW * ROW):
        part = entries[start:start + ROW * ROW]
        sheet = Image.new("RGBA", (ROW * CELL, -(-len(part) // ROW) * CELL))
        for place, (path, _, _) in enumerate(part):
            sheet.paste(Image.open(path).convert("RGBA"), (place % ROW * CELL, place // ROW * CELL))
        name = f"sheet-{len(sheets):02}.webp"
        sheet.save(to / name, quality=quality, alpha_quality=100, method=6)
        sheets.append(name)
    (to / "index.json").write_text(json.dumps({"cell": CELL, "row": ROW, "sheets": sheets, "cells": cells}))
    return sum((to / name).stat().st_size for name in [*sheets, "index.json"])


def scale(cell, side):
    """A cell as premultiplied `[4, side, side]` in 0..1."""
    # colours of transparent pixels must not bleed in, so scale with premultiplied alpha
    pixels = np.asarray(cell, np.float32) / 255
    pixels[..., :3] *= pixels[..., 3:]
    planes = [Image.fromarray(np.ascontiguousarray(pixels[..., i])).resize((side, side), Image.LANCZOS)
              for i in range(4)]
    return torch.from_numpy(np.clip(np.stack([np.asarray(plane) for plane in planes]), 0, 1))


def read(folder, side):
    """Of a packed folder: subjects `[(noun, style, drawing)]` and drawings of other things."""
    index = json.loads((Path(folder) / "index.json").read_text())
    cell, row, per = index["cell"], index["row"], index["row"] ** 2
    subjects, others = [], []
    for number, name in enumerate(index["sheets"]):
        sheet = Image.open(Path(folder) / name).convert("RGBA")
        for place, entry in enumerate(index["cells"][number * per:(number + 1) * per]):
            x, y = place % row * cell, place // row * cell
            drawing = scale(sheet.crop((x, y, x + cell, y + cell)), side)
            if entry["noun"] is None:
                others.append(drawing)
            else:
                subjects.append((entry["noun"], entry["style"], drawing))
    return subjects, others


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--drawings", required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--more", action="store_true")
    parser.add_argument("--others", type=int, default=1200)
    parser.add_argument("--quality", type=int, default=90)
    parser.add_argument("--seed", type=int, default=2)
    options = parser.parse_args()
    entries = gather(options.drawings, options.more, options.others, options.seed)
    size = write(entries, options.to, options.quality)
    nouns = {noun for _, noun, _ in entries if noun}
    print(f"{len(entries)} drawings, {len(nouns)} subjects, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
