"""A small phrase grammar: alternatives in brackets, slots in braces, and wordings kept apart for judging.

`"[make|draw] me {a_subject}[ please|]"` has six wordings. Brackets nest. A wording is *held out* when its template or
its expanded skeleton (slots still unfilled) falls into a fixed share of a hash, so that training never sees it and the
judge asks nothing else. The hash depends on the text alone: the split is the same on every machine and in every run.
"""

import hashlib
import random
import re

INNERMOST = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{(\w+)\}")
TEMPLATE_SHARE, SKELETON_SHARE = 7, 5  # percent
MIN_TEMPLATES = 8  # lists shorter than this keep all their templates for training; skeletons are still held out
MIN_WORDS = 5  # a bare "{it}", "again" or "until next time" is known or it is not: nothing longer teaches it
SURE = "!"  # begins templates that are sure to be said in the first minute; they are never held out


def percent(text: str) -> int:
    """A stable hash of the text in 0..99."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") % 100


def expand(template: str, rng: random.Random) -> str:
    """Replaces every bracket by one of its alternatives, innermost first."""
    while True:
        match = INNERMOST.search(template)
        if match is None:
            return template
        template = template[: match.start()] + rng.choice(match.group(1).split("|")) + template[match.end() :]


def fill(text: str, slots: dict) -> str:
    """Replaces `{name}` by `slots["name"]`."""
    return SLOT.sub(lambda match: slots[match.group(1)], text)


def is_held_out(template: str, skeleton: str, siblings: int) -> bool:
    if template.startswith(SURE) or len(skeleton.split()) < MIN_WORDS:
        return False
    whole = siblings >= MIN_TEMPLATES and percent("template " + template) < TEMPLATE_SHARE
    return whole or percent("skeleton " + skeleton) < SKELETON_SHARE


class Grammar:
    """Draws wordings for one split: "train" never yields a held-out wording, "judge" yields one wherever one exists."""

    def __init__(self, rng: random.Random, split: str):
        if split not in ("train", "judge"):
            raise ValueError(f"unknown split {split!r}: use 'train' or 'judge'")
        self.rng, self.split = rng, split

    def ask(self, templates, **slots) -> str:
        """A wording of the person's side, of this grammar's split."""
        for _ in range(300):
            template = self.rng.choice(templates)
            skeleton = expand(template, self.rng)
            if is_held_out(template, skeleton, len(templates)) == (self.split == "judge"):
                break
        return fill(skeleton.removeprefix(SURE), slots)

    def say(self, templates, **slots) -> str:
        """A wording of the assistant's side; nothing is held out there."""
        if isinstance(templates, str):
            templates = (templates,)
        return fill(expand(self.rng.choice(templates), self.rng), slots)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability


# Other ways to write the same, tried one by one on the person's side.
PARAPHRASES = [
    (re.compile(pattern), options.split("|"))
    for pattern, options in (
        (r"\bcolor", "colour"),
        (r"\bgrey\b", "gray"),
        (r"\bpicture\b", "image|drawing|pic|photo"),
        (r"\bpictures\b", "images|drawings|pics"),
        (r"\b[Ww]hat is\b", "what's|whats"),
        (r"\bI am\b", "I'm|im"),
        (r"\b(do|did|does|is|are|can)n't\b", r"\1nt|\1 not"),
        (r"\b(do|did|does|is|are) not\b", r"\1n't"),
        (r"\bplease\b", "pls|plz"),
        (r"\byou\b", "u|ya"),
        (r"\b[Gg]ive me\b", "gimme|show me|I need|let me have"),
        (r"\b[Ss]omething\b", "sth|anything"),
        (r"\b[Ii]dea\b", "suggestion|thought"),
        (r"\b[Mm]ake\b", "create|do"),
        (r"\b[Dd]raw\b", "paint|create|generate|make"),
        (r"\bI want\b", "I'd like|I wanna|I need"),
        (r"\b[Hh]ow do I\b", "how can I|how to|how could I|how would I"),
        (r"\bshould I\b", "shall I|do I|must I"),
        (r"\b[Ww]hy is\b", "why's|how come"),
        (r"\bCan you\b|\bcan you\b", "could you|would you|will you"),
        (r"\bversions\b", "variations|takes"),
        (r"\bvariants\b", "variations|versions"),
        (r"\bexplain\b", "tell me about|describe"),
        (r"\bgood\b", "great|nice|decent"),
        (r"\bbest\b", "ideal|right"),
    )
]


FILLERS = (
    "really just actually maybe now also kindly quickly then simply perhaps today exactly even still again ok honestly "
    "basically somehow quite very here there first"
).split() + [
    "right now",
    "for me",
    "by the way",
    "kind of",
    "you know",
    "if possible",
    "I think",
    "for a friend",
    "I guess",
]


def paraphrase(text: str, rng: random.Random) -> str:
    """Other words of the same meaning, and now and then a filler between two words."""
    if rng.random() < 0.1 and text.count(" ") > 1:
        parts = text.split(" ")
        parts.insert(rng.randrange(1, len(parts) + 1), rng.choice(FILLERS))
        text = " ".join(parts)
    for pattern, options in PARAPHRASES:
        if rng.random() < 0.16:
            text = pattern.sub(rng.choice(options), text)
    return text


def typo(word: str, rng: random.Random) -> str:
    """One slip of the fingers inside a word: two letters swapped, one lost or one doubled."""
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at] + word[at:]


def roughen(text: str, rng: random.Random, protected=frozenset()) -> str:
    """Writes a wording as people type: case, end marks and now and then a typo (never in a protected word)."""
    text = paraphrase(text, rng) if "\n" not in text and ":" not in text and "style" not in text else text
    if rng.random() < 0.02:
        text = text.upper()
    elif rng.random() < 0.5:
        text = text[0].lower() + text[1:] if rng.random() < 0.5 else text.lower()
    elif rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.08:
        words = text.split(" ")
        at = rng.randrange(len(words))
        words[at] = words[at][:1].upper() + words[at][1:]
        text = " ".join(words)
    if rng.random() < 0.45:
        text = text.rstrip(".?!")
    elif text[-1] not in ".?!" and rng.random() < 0.3:
        text += rng.choice((".", "!", "?"))
    if rng.random() < 0.07:
        text = text.replace("'", "")
    if rng.random() < 0.07:
        words = text.split(" ")
        places = [i for i, w in enumerate(words) if len(w) > 3 and w.isalpha() and w.lower() not in protected]
        if places:
            at = rng.choice(places)
            words[at] = typo(words[at], rng)
            text = " ".join(words)
    return text
