"""The tokenizer, and training examples by the batch."""

import json
import re
from pathlib import Path

import torch

from pack import read
from scenes import EDGE, Scenes, all_words

LENGTH = 77
# as CLIP's tokenizer parts a text: words, single digits, runs of other signs
PIECES = re.compile(r"[a-z]+|[0-9]|[^\sa-z0-9]+")


def byte_signs():
    """The signs that stand for the 256 bytes in vocabularies of GPT-2's and CLIP's kind."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return sorted([chr(byte) for byte in plain] + [chr(256 + index) for index in range(len(rest))])


def joined(word, merges):
    """What byte pair encoding makes of a word under `merges`, a dict of pair to rank."""
    parts = [*word[:-1], word[-1] + "</w>"]
    while len(parts) > 1:
        rank, index = min((merges.get(pair, len(merges)), index) for index, pair in enumerate(zip(parts, parts[1:])))
        if rank == len(merges):
            break
        parts[index:index + 2] = [parts[index] + parts[index + 1]]
    return parts


def write_tokenizer(folder, words, base=None):
    """Writes a CLIP tokenizer that holds every one of `words` whole, and all bytes for the rest; `base` is extended.

    New merges rank last, so that words of the base keep their tokens; their numbers are kept too, but for the two
    special tokens, which stand at the end.
    """
    folder = Path(folder)
    names, merges = [], {}
    if base:
        names = list(json.loads((Path(base) / "vocab.json").read_text()))[:-2]
        lines = (Path(base) / "merges.txt").read_text().splitlines()[1:]
        merges = {tuple(line.split(" ")): rank for rank, line in enumerate(lines)}
    else:
        # the order of OpenAI's vocabulary: bytes, bytes at a word's end, merges, the two special tokens
        names = byte_signs() + [sign + "</w>" for sign in byte_signs()]
    known = set(names)
    for word in words:
        parts = joined(word, merges)
        while len(parts) > 1:
            merges[parts[0], parts[1]] = len(merges)
            parts[:2] = [parts[0] + parts[1]]
            if parts[0] not in known:
                known.add(parts[0])
                names.append(parts[0])
    names += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
               "pad_token": "<|endoftext|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2))
    config = dict(special, tokenizer_class="CLIPTokenizer", model_max_length=LENGTH, do_lower_case=True)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))


class Words:
    """Reads captions of known words, as quickly as CLIP's tokenizer reads anything, and to the same numbers."""

    def __init__(self, folder):
        self.numbers = json.loads((Path(folder) / "vocab.json").read_text())
        self.start, self.end = self.numbers["<|startoftext|>"], self.numbers["<|endoftext|>"]

    def __len__(self):
        return len(self.numbers)

    def __call__(self, captions):
        """`[n, 77]`, padded with the end token as Stable Diffusion pads."""
        made = torch.full((len(captions), LENGTH), self.end)
        for row, caption in zip(made, captions):
            numbers = [self.start, *(self.numbers[piece + "</w>"] for piece in PIECES.findall(caption))]
            row[:len(numbers)] = torch.tensor(numbers[:LENGTH - 1])
        return made


def make_scenes(packed, size, seed, **options):
    """`Scenes` of a packed folder, the drawings of other things, and the words of all captions."""
    subjects, others = read(packed, round(EDGE * size))
    scenes = Scenes(subjects, size, seed, **options)
    return scenes, others, all_words(list(dict.fromkeys(noun for noun, _, _ in subjects)))


class Stream(torch.utils.data.IterableDataset):
    """Endless batches: pictures as bytes `[n, 3, size, size]`, token ids `[n, 77]`; one caption in ten is dropped."""

    def __init__(self, scenes, words, batch, seed):
        self.scenes, self.words, self.batch, self.seed = scenes, words, batch, seed

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        self.scenes.rng.seed(self.seed * 1000 + (worker.id if worker else 0))
        while True:
            pictures, captions = self.scenes.batch(self.batch)
            captions = ["" if self.scenes.rng.random() < 0.1 else caption for caption in captions]
            yield ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8), self.words(captions)


def batches(scenes, words, batch, seed, workers):
    """An iterator over `Stream`, made here or by processes beside."""
    if not workers:
        return iter(Stream(scenes, words, batch, seed))
    loader = torch.utils.data.DataLoader(Stream(scenes, words, batch, seed), batch_size=None, num_workers=workers,
                                         pin_memory=torch.cuda.is_available(), prefetch_factor=4,
                                         multiprocessing_context="fork",
                                         worker_init_fn=lambda _: torch.set_num_threads(1))
    return iter(loader)
