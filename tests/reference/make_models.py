#!/usr/bin/env python3
"""Makes the tiny random-weight models of `models/` and what the reference programs compute with them.

Every model has a folder: its own files in the layout real models have, and `reference.safetensors` with the
inputs and outputs of `transformers` or `diffusers` in f32 on the CPU. Weights are rounded to the stored dtype *before* the reference
runs, so that a file holds exactly what was computed with. See README.md beside this script for how to remake them.

usage: make_models.py [NAME ...]     (no name: everything; a name picks folders whose name starts with it)
"""

import sys

from diffusion_fixtures import clips, unets, vaes
from fixture_tools import HERE
from folder_fixtures import folders
from language_fixtures import languages
from ldm_reference import checkpoints
from llama_fixtures import llamas
from picture_fixtures import pipelines


def main():
    wanted = sys.argv[1:]
    for group in (clips, unets, vaes, llamas, languages, folders, pipelines, checkpoints):
        for name, make in group():
            if not wanted or any(name.startswith(w) for w in wanted):
                make(name)
    size = sum(f.stat().st_size for f in HERE.rglob("*") if f.is_file())
    print(f"all fixtures: {size / 1e6:.2f} MB")
    assert size < 6_000_000, "the fixtures are to stay below 6 MB together"


if __name__ == "__main__":
    main()
