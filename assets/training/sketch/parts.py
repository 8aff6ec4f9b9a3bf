"""A run in files of less than 16 MiB, so that it can move between machines that pass on small files only.

    python parts.py split RUN PARTS
    python parts.py join PARTS RUN

Floating-point tensors of more than a thousand numbers are kept as bfloat16: a resumed run starts a rounding error away
from where it stopped. The autoencoder, the latent space and the tokenizer travel in the same files.
"""

import io
import json
import sys
import zlib
from pathlib import Path

import torch

LIMIT = 15 * 2**20
SMALL = ("latents.pt", "autoencoder.pt", "subjects.json", "tokenizer/vocab.json", "tokenizer/merges.txt",
         "tokenizer/tokenizer_config.json", "tokenizer/special_tokens_map.json")


def convert(value, from_kind, to_kind):
    """`value` with all large tensors of one kind made another kind, containers included."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().to(to_kind) if value.dtype == from_kind and value.numel() > 1000 else value.cpu()
    if isinstance(value, dict):
        return type(value)((key, convert(held, from_kind, to_kind)) for key, held in value.items())
    if isinstance(value, (list, tuple)):
        return type(value)(convert(held, from_kind, to_kind) for held in value)
    return value


def split(run, to):
    """Writes the parts and, last, `parts.json` with their sum."""
    run, to = Path(run), Path(to)
    to.mkdir(parents=True, exist_ok=True)
    held = {"checkpoint": convert(torch.load(run / "checkpoint.pt", map_location="cpu"), torch.float32, torch.bfloat16),
            "files": {name: (run / name).read_bytes() for name in SMALL if (run / name).exists()}}
    buffer = io.BytesIO()
    torch.save(held, buffer)
    whole = buffer.getvalue()
    names = []
    for start in range(0, len(whole), LIMIT):
        names.append(f"run.{len(names):02}.part")
        (to / names[-1]).write_bytes(whole[start:start + LIMIT])
    (to / "parts.json").write_text(json.dumps({"parts": names, "crc32": zlib.crc32(whole)}))
    print(f"{len(whole) / 2**20:.1f} MiB in {len(names)} parts")


def join(parts, run):
    """Writes the run that the parts hold."""
    parts, run = Path(parts), Path(run)
    listed = json.loads((parts / "parts.json").read_text())
    whole = b"".join((parts / name).read_bytes() for name in listed["parts"])
    if zlib.crc32(whole) != listed["crc32"]:
        sys.exit(f"{parts}: the parts do not make the file that was split; copy them again")
    held = torch.load(io.BytesIO(whole))
    for name, data in held["files"].items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(data)
    torch.save(convert(held["checkpoint"], torch.bfloat16, torch.float32), run / "checkpoint.pt")


if __name__ == "__main__":
    {"split": split, "join": join}[sys.argv[1]](sys.argv[2], sys.argv[3])
