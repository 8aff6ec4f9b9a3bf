"""Drawings as tensors, backgrounds, captions, and the tokenizer.

The drawings (Microsoft Fluent Emoji, MIT; Noto Emoji, Apache-2.0) are not part of the project; their folder is an
argument: `folder/STYLE/CODEPOINTS.webp`, 128x128 RGBA.
"""

import json
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from subjects import BACKGROUNDS, FRAMES, STYLES, SUBJECTS, caption

SIZE = 64
LENGTH = 77


def load_drawing(path):
    """Premultiplied `[4, 72, 72]` float32; a margin leaves room to shift the crop."""
    pixels = np.asarray(Image.open(path).convert("RGBA"), np.float32) / 255
    # colours of transparent pixels must not bleed in, so scale with premultiplied alpha
    pixels[..., :3] *= pixels[..., 3:]
    scaled = [
        Image.fromarray(np.ascontiguousarray(pixels[..., channel])).resize((60, 60), Image.LANCZOS)
        for channel in range(4)
    ]
    canvas = np.zeros((4, 72, 72), np.float32)
    canvas[:, 6:66, 6:66] = np.clip(np.stack([np.asarray(plane) for plane in scaled]), 0, 1)
    return torch.from_numpy(canvas)


def load_drawings(folder):
    """`[(noun, style, drawing)]` of all subjects; not every style has every drawing."""
    drawings = []
    for code, noun in SUBJECTS.items():
        for style in STYLES:
            path = Path(folder) / style / f"{code}.webp"
            if path.exists():
                drawings.append((noun, style, load_drawing(path)))
    return drawings


class Scenes:
    """Draws random training examples; drawings move by up to `shift` pixels.

    A shift within a patch makes other latents of the same drawing, so the U-Net learns sooner without.
    """

    def __init__(self, folder, seed, shift=0):
        self.drawings, self.shift = load_drawings(folder), shift
        self.rng = random.Random(seed)

    def picture(self, drawing, background):
        """One drawing on one background: `[3, 64, 64]` in -1..1."""
        rng = self.rng
        x, y = (4 + rng.randint(-self.shift, self.shift) for _ in range(2))
        rgba = drawing[:, y:y + SIZE, x:x + SIZE]
        colour = torch.tensor(BACKGROUNDS[background], dtype=torch.float32) / 255
        colour = (colour + torch.tensor([rng.uniform(-0.03, 0.03) for _ in range(3)])).clamp(0, 1)
        return (rgba[:3] + (1 - rgba[3:]) * colour[:, None, None]) * 2 - 1

    def batch(self, size):
        """Pictures `[size, 3, 64, 64]` and their captions."""
        pictures, captions = [], []
        for _ in range(size):
            noun, style, drawing = self.rng.choice(self.drawings)
            named = self.rng.random() < 0.7
            background = self.rng.choice(list(BACKGROUNDS)) if named else None
            pictures.append(self.picture(drawing, background or "white"))
            captions.append(caption(self.rng, noun, style, background))
        return torch.stack(pictures), captions


def all_words():
    """Every word that a caption can hold."""
    rng = random.Random(0)
    words = set("a an the on in of and with background style , .".split())
    words.update(word for frame in FRAMES for word in frame.split())
    for noun in SUBJECTS.values():
        for style in STYLES:
            for background in BACKGROUNDS:
                for _ in range(3):
                    words.update(caption(rng, noun, style, background).replace(",", " ").split())
    # CLIP's tokenizer parts digits from letters
    return sorted(words - {"3d"} | {"3", "d"})


def build_tokenizer(folder):
    """Writes a CLIP tokenizer whose vocabulary holds every word of the captions whole, and all bytes for the rest.

    A folder that holds one already is read.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    folder = Path(folder)
    if (folder / "vocab.json").exists():  # merges that tie come in any order, so the first ones are kept
        return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=LENGTH)
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=100_000, min_frequency=0, show_progress=False, initial_alphabet=alphabet, end_of_word_suffix="</w>"
    )
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator([word for word in all_words() for _ in range(3)], trainer)
    merges = [tuple(pair) if not isinstance(pair, str) else tuple(pair.split(" "))
              for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    # the order of OpenAI's vocabulary: bytes, bytes at a word's end, merges, the two special tokens
    names = alphabet + [byte + "</w>" for byte in alphabet]
    for left, right in merges:
        if left + right not in names:
            names.append(left + right)
    names += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}, ensure_ascii=False))
    lines = ["#version: 0.2"] + [f"{left} {right}" for left, right in merges]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
               "pad_token": "<|endoftext|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2))
    config = dict(special, tokenizer_class="CLIPTokenizer", model_max_length=LENGTH, do_lower_case=True)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
    made = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=LENGTH)
    for word in all_words():
        pieces = made.tokenize(word)
        assert len(pieces) == 1, f"{word} became {pieces}"
    return made
