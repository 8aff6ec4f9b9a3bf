"""Checks what muse makes of every thing and of changes, greedily, each in a chat of its own.

    python scene_checks.py assets/models/muse/muse.gguf

Wordings that it was taught, so this tells what it can do, not how far it goes beyond (that is `judge.py`): every subject
typed alone, in its own color, counted, painted, in a place and beside another; then changes of a first answer. Prints how
many of each came out as asked, and some that did not.
"""

import argparse
from pathlib import Path

import torch

import tokenizer as tok
import words
from dialogue import SYSTEM
from gguf_file import read
from words import with_article

CHANGED = "cat dog car house rose fish lamp star".split()


class Chat:
    """Answers of a file."""

    def __init__(self, path: Path):
        self.model, self.tokenizer, _ = read(path)
        self.encoder = tok.Encoder(self.tokenizer)

    def answers(self, *turns: str) -> list[str]:
        """What muse says to each of the turns of one conversation."""
        encoder, talk, said = self.encoder, [{"role": "system", "content": SYSTEM}], []
        for turn in turns:
            talk.append({"role": "user", "content": turn})
            stop = {encoder.end, encoder.begin, encoder.start, encoder.pad}
            said.append(self.tokenizer.decode(self.model.generate(encoder.question(talk), stop)))
            talk.append({"role": "assistant", "content": said[-1]})
        return said

    def prompts(self, *turns: str):
        """The prompts of those answers; `None` where the last line is none of sketch's."""
        return [words.read_prompt(answer.split("\n")[-1]) for answer in self.answers(*turns)]


def wishes():
    """Kinds of wishes: (kind, what is said, what must hold of the prompt)."""
    places = [(ground, spoken) for ground, ways in words.PLACES.items() for spoken in ways]
    for i, name in enumerate(words.SUBJECTS):
        yield "typed alone", name, lambda p, n=name: p.name == n
        for color in words.COLORS_OF[name][:1]:
            said = f"Expand: {with_article(f'{color} {name}')}"
            yield "own color", said, lambda p, n=name, c=color: (p.name, p.color) == (n, c)
        if name not in words.NO_ARTICLE | words.ONLY_ONE:
            said, k = f"{words.COUNTS[2 + i % 3]} {words.plural(name)}", 2 + i % 3
            yield "count", said, lambda p, n=name, k=k: (p.name, p.count) == (n, k)
            yield "too many", f"ten {words.plural(name)}", lambda p, n=name: (p.name, p.count) == (n, 4)
        tints = [c for c in words.TINTS if c not in words.COLORS_OF[name]]
        if name not in words.UNTINTED | words.NO_ARTICLE:
            color = tints[i % len(tints)]
            said = f"draw {with_article(f'{color} {name}')}"
            yield "other color", said, lambda p, n=name, c=color: (p.name, p.color) == (n, c)
        ground, spoken = places[i % len(places)]
        yield "place", f"{with_article(name)} {spoken}", lambda p, n=name, g=ground: (p.name, p.background) == (n, g)
        other, relation = words.SUBJECTS[(i * 7 + 5) % 64], words.OWN_RELATIONS[i % 7]
        if other != name:
            said = f"{with_article(name)} {relation} {with_article(other)}"
            yield (
                "relation",
                said,
                lambda p, n=name, r=relation, o=other: p.other and (p.name, p.relation, p.other.name) == (n, r, o),
            )


# What is said after "draw a cat", and what must hold of the prompt (p) after the one before (q).
CHANGES = {
    "number": (["make it three"], lambda p, q: p.count == 3 and p.name == q.name),
    "color": (["make it purple"], lambda p, q: p.color == "purple" and (p.name, p.background) == (q.name, q.background)),
    "place": (["put it in the snow"], lambda p, q: p.background == "snow" and (p.name, p.style) == (q.name, q.style)),
    "background": (["make the background green"], lambda p, q: p.background == "green" and p.name == q.name),
    "style": (["in flat style please"], lambda p, q: p.style == "flat style" and p.name == q.name),
    "second thing": (["add a tree next to it"], lambda p, q: p.other and (p.name, p.other.name) == (q.name, "tree")),
    "taken away": (["add a tree next to it", "without the tree"], lambda p, q: q.other and not p.other and p.name == q.name),
}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("model", type=Path)
    torch.set_num_threads(1)
    chat = Chat(args.parse_args().model)
    right, asked, wrong = {}, {}, []

    def count(kind, said, prompts, holds):
        good = all(prompts) and bool(holds(*prompts))
        asked[kind], right[kind] = asked.get(kind, 0) + 1, right.get(kind, 0) + good
        if not good:
            wrong.append((kind, said, [str(p) for p in prompts]))

    for kind, said, holds in wishes():
        count(kind, said, chat.prompts(said), holds)
    for kind, (changes, holds) in CHANGES.items():
        for name in CHANGED:
            turns = [f"draw {with_article(name)}", *changes]
            *_, before, after = chat.prompts(*turns)
            count(f"change of {kind}", turns, [after, before], holds)
    for kind, n in asked.items():
        print(f"{kind}: {right[kind]} of {n}")
    for case in wrong[:20]:
        print("not as asked:", case)


if __name__ == "__main__":
    main()
