"""Composes training pictures: drawings on plain or painted backgrounds, with captions that say what is where.

A picture shows one thing, several of a kind, or two groups and how they stand to each other, all in one style:
"two mushrooms left of a blue house, flat style, night sky". Pairs that `subjects.held_out` names never occur.
"""

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFilter

from subjects import (BACKGROUNDS, COLOURS, COUNTS, PLACES, RELATIONS, TINTS, UNTINTED, article, aside, caption,
                      held_out, plural)

EDGE = 15 / 16  # side of a single drawing, as a share of the picture's
AGAIN = 4       # oversampling of painted backgrounds


def fade(size, *stops):
    """A vertical run of colours, oversampled: an image to paint on."""
    down = np.linspace(0, len(stops) - 1, size * AGAIN)
    rows = np.stack([np.interp(down, range(len(stops)), [stop[i] for stop in stops]) for i in range(3)], 1)
    return Image.fromarray(np.repeat(rows[:, None].astype(np.uint8), size * AGAIN, 1))


def dots(rng, image, count, low, high, top=1.0, **paint):
    """Discs or rings of radius `low` to `high`, shares of the side, in the upper `top` of the image."""
    side, draw = image.width, ImageDraw.Draw(image)
    for _ in range(count):
        x, y, r = rng.random() * side, rng.random() * side * top, rng.uniform(low, high) * side
        draw.ellipse((x - r, y - r, x + r, y + r), **paint)


def hill(rng, image, level, height, colour):
    """Ground with a wavy upper edge at `level` of the side."""
    side, phase, waves = image.width, rng.random() * 6.3, rng.uniform(0.5, 1.2)
    edge = [(x, side * (level + height * math.sin(phase + waves * 6.3 * x / side))) for x in range(0, side + 1, AGAIN)]
    ImageDraw.Draw(image).polygon([*edge, (side, side), (0, side)], fill=colour)


def night_sky(rng, size):
    image = fade(size, (14, 18, 52), (50, 54, 118))
    dots(rng, image, 22, 0.006, 0.016, fill=(255, 250, 214))
    return image


def blue_sky(rng, size):
    image = fade(size, (98, 172, 240), (204, 232, 252))
    clouds, side = Image.new("L", image.size, 0), image.width
    draw = ImageDraw.Draw(clouds)
    for _ in range(3):
        x, y = rng.random() * side, rng.random() * side
        for _ in range(4):
            dx, dy, r = rng.uniform(-0.12, 0.12) * side, rng.uniform(-0.03, 0.03) * side, rng.uniform(0.05, 0.09) * side
            draw.ellipse((x + dx - r, y + dy - r * 0.7, x + dx + r, y + dy + r * 0.7), fill=230)
    image.paste((255, 255, 255), mask=clouds.filter(ImageFilter.GaussianBlur(AGAIN)))
    return image


def sunset(rng, size):
    return fade(size, (84, 58, 140), (226, 100, 104), (255, 204, 116))


def meadow(rng, size):
    image = fade(size, (140, 204, 246), (214, 238, 252))
    hill(rng, image, 0.62, 0.03, (134, 200, 104))
    hill(rng, image, 0.78, 0.03, (104, 180, 84))
    return image


def beach(rng, size):
    image = fade(size, (150, 214, 250), (222, 244, 252))
    hill(rng, image, 0.45, 0.0, (60, 156, 208))
    hill(rng, image, 0.68, 0.015, (246, 220, 160))
    return image


def snow(rng, size):
    image = fade(size, (150, 186, 226), (206, 224, 244))
    hill(rng, image, 0.68, 0.03, (244, 248, 254))
    dots(rng, image, 26, 0.008, 0.018, fill=(255, 255, 255))
    return image


def sea(rng, size):
    image = fade(size, (76, 184, 216), (22, 76, 150))
    dots(rng, image, 12, 0.012, 0.03, outline=(190, 232, 246), width=AGAIN)
    return image


def desert(rng, size):
    image = fade(size, (252, 206, 140), (255, 238, 196))
    hill(rng, image, 0.6, 0.04, (232, 182, 108))
    hill(rng, image, 0.78, 0.04, (214, 156, 84))
    return image


PAINTED = {
    "night sky": night_sky, "blue sky": blue_sky, "sunset": sunset, "meadow": meadow, "beach": beach, "snow": snow,
    "sea": sea, "desert": desert,
}


def tensor(image, size):
    """An oversampled image as `[3, size, size]` in 0..1."""
    pixels = np.asarray(image.resize((size, size), Image.BOX), np.float32)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()) / 255


def repaint(drawing, tint):
    """A premultiplied drawing `[4, h, w]` in another colour: greys, whites and blacks stay what they are."""
    pure, brightness = TINTS[tint]
    alpha = drawing[3:].clamp_min(1e-4)
    colours = (drawing[:3] / alpha).clamp(0, 1)
    high, low = colours.max(0, keepdim=True)[0], colours.min(0, keepdim=True)[0]
    vivid = (high - low) / high.clamp_min(1e-4)
    strength = (vivid * 3).clamp(0, 1) * (0.55 + 0.45 * vivid)
    painted = high * (1 - strength + strength * torch.tensor(pure)[:, None, None])
    painted = painted * (1 - strength * (1 - brightness))
    return torch.cat([painted * drawing[3:], drawing[3:]])


def places(count, x, y, width, height):
    """Centres and side of `count` drawings in a region, all as shares of the picture's side."""
    if count == 1:
        return [(x, y)], min(width, height) * EDGE
    if count == 2 and width >= height * 0.8:
        return [(x - width / 4, y), (x + width / 4, y)], min(width / 2, height) * EDGE
    if count == 2:
        return [(x - width / 6, y - height / 5), (x + width / 6, y + height / 5)], min(width * 0.64, height / 2) * EDGE
    if count == 3 and width > height * 1.5:
        return [(x + step * width / 3, y) for step in (-1, 0, 1)], min(width / 3, height) * EDGE
    if count == 3:
        side = min(width, height)
        return [(x, y - side / 4), (x - side / 4, y + side / 4), (x + side / 4, y + side / 4)], side / 2 * EDGE
    return [(x + i * width / 4, y + j * height / 4) for j in (-1, 1) for i in (-1, 1)], min(width, height) / 2 * EDGE


REGIONS = {
    "left": ((0.26, 0.5, 0.52, 0.8), (0.74, 0.5, 0.52, 0.8)), "right": ((0.74, 0.5, 0.52, 0.8), (0.26, 0.5, 0.52, 0.8)),
    "above": ((0.5, 0.26, 0.9, 0.5), (0.5, 0.75, 0.9, 0.5)), "below": ((0.5, 0.75, 0.9, 0.5), (0.5, 0.26, 0.9, 0.5)),
    "beside": ((0.26, 0.5, 0.52, 0.8), (0.74, 0.5, 0.52, 0.8)),
}


def group_words(rng, noun, count, tint):
    """"a house", "a blue house", "two mushrooms"."""
    named = tint
    if not tint and noun in COLOURS and rng.random() < 0.3:
        named = rng.choice(COLOURS[noun])
    words = (plural(noun) if count > 1 else noun)
    if named:
        words = f"{named} {words}"
    words = aside(rng, words)
    if count > 1:
        return next(word for word, value in COUNTS.items() if value == count) + " " + words
    return article(words) if rng.random() < 0.85 or tint else words


@dataclass
class Picture:
    """What a picture shows; a relation where there are two groups."""

    groups: list
    relation: str | None
    style: str
    background: str | None


class Scenes:
    """Draws random training examples from `drawings`, a list of `(noun, style, [4, side, side])`.

    `share` of them are relations, counts and repainted things (of which `mix` gives the shares), the rest single things
    as they are. `jitter` moves and
    scales by up to that share of the side; without it the networks learn sooner, and draw the same places always.
    `all_styles` brings the held-out pairs of subject and style back, for the judge.
    """

    def __init__(self, drawings, size, seed, share=0.5, mix=(0.4, 0.3, 0.3), jitter=0.0, variants=4,
                 all_styles=False):
        self.size, self.share, self.mix, self.jitter = size, share, mix, jitter
        self.rng = random.Random(seed)
        self.things = {}
        for noun, style, drawing in drawings:
            if all_styles or not held_out(noun, "style", style):
                self.things.setdefault(style, {}).setdefault(noun, []).append(drawing)
        self.styles = list(self.things)
        self.places = list(PAINTED)
        paint = random.Random(0)
        self.painted = {name: [tensor(make(paint, size), size) for _ in range(variants)]
                        for name, make in PAINTED.items()}

    def background(self, name):
        """`[3, size, size]` in 0..1."""
        rng = self.rng
        if name in self.painted:
            return rng.choice(self.painted[name]).clone()
        colour = torch.tensor(BACKGROUNDS[name], dtype=torch.float32) / 255
        colour = (colour + torch.tensor([rng.uniform(-0.03, 0.03) for _ in range(3)])).clamp(0, 1)
        return colour[:, None, None].expand(3, self.size, self.size).clone()

    def put(self, picture, drawing, tint, x, y, side):
        """Lays a drawing on the picture, its centre at `x`, `y`."""
        if tint:
            drawing = repaint(drawing, tint)
        side *= 1 + self.rng.uniform(-2, 1) * self.jitter
        x, y = (value + self.rng.uniform(-1, 1) * self.jitter for value in (x, y))
        pixels = max(4, round(side * self.size))
        if pixels != drawing.shape[1]:
            drawing = F.interpolate(drawing[None], (pixels, pixels), mode="bilinear", antialias=True,
                                    align_corners=False)[0]
        left, top = round(x * self.size - pixels / 2), round(y * self.size - pixels / 2)
        inner = [max(0, -left), max(0, -top), min(pixels, self.size - left), min(pixels, self.size - top)]
        part = drawing[:, inner[1]:inner[3], inner[0]:inner[2]]
        where = picture[:, top + inner[1]:top + inner[3], left + inner[0]:left + inner[2]]
        where.mul_(1 - part[3:]).add_(part[:3])

    def choose_tint(self, noun, likely):
        """A tint that the pair allows, or none."""
        if noun in UNTINTED or self.rng.random() > likely:
            return None
        tint = self.rng.choice(list(TINTS))
        return None if tint in COLOURS.get(noun, ()) or held_out(noun, "tint", tint) else tint

    def choose(self):
        """What a random picture shows: groups of `(noun, count, tint)`, relation, style, background."""
        rng = self.rng
        style, kind = rng.choice(self.styles), rng.random()
        composed = kind < self.share
        pair = kind < self.share * self.mix[0]
        nouns = [rng.choice(list(self.things[style])) for _ in range(2 if pair else 1)]
        background = None
        if rng.random() < 0.72:
            background = rng.choice(self.places if self.places and rng.random() < 0.45 else [*BACKGROUNDS])
        if any(held_out(noun, "background", background or "white") for noun in nouns):
            return self.choose()
        several = composed and not pair and kind < self.share * (self.mix[0] + self.mix[1])
        counts = [rng.choice([1, 1, 1, 1, 2] if self.size <= 64 else [1, 1, 1, 2, 3]) if pair else rng.choice([2, 3, 4]) if several else 1 for _ in nouns]
        likely = 0.3 if pair or several else 0.9 if composed else 0.0
        groups = [(noun, count, self.choose_tint(noun, likely)) for noun, count in zip(nouns, counts)]
        return Picture(groups, rng.choice(list(RELATIONS)) if pair else None, style, background)

    def render(self, what):
        """The picture `[3, size, size]` in -1..1."""
        picture = self.background(what.background or "white")
        regions = REGIONS[what.relation] if what.relation else [(0.5, 0.5, 1.0, 1.0)]
        for (noun, count, tint), region in zip(what.groups, regions):
            drawing = self.rng.choice(self.things[what.style][noun])
            centres, side = places(count, *region)
            for x, y in centres:
                self.put(picture, drawing, tint, x, y, side)
        return picture * 2 - 1

    def words(self, what):
        """One of many captions for a picture."""
        rng, style, background = self.rng, what.style, what.background
        noun, count, tint = what.groups[0]
        if not what.relation and count == 1 and not tint:
            return caption(rng, noun, style, background)
        words = [group_words(rng, *group) for group in what.groups]
        parts = [f"{words[0]} {rng.choice(RELATIONS[what.relation])} {words[1]}" if what.relation else words[0]]
        if rng.random() < 0.85:
            parts.append(rng.choice([f"{style} style", f"{style} style", f"in {style} style", style]))
        if background in PAINTED and rng.random() < 0.5:
            parts[0] += " " + rng.choice(PLACES[background])
        elif background in PAINTED:
            parts.append(rng.choice([background, background, f"{background} background"]))
        elif background:
            parts.append(f"{background} background")
        return ", ".join(parts)

    def example(self):
        """A random picture and its caption."""
        what = self.choose()
        return self.render(what), self.words(what)

    def batch(self, size):
        """Pictures `[n, 3, size, size]` and their captions."""
        examples = [self.example() for _ in range(size)]
        return torch.stack([picture for picture, _ in examples]), [words for _, words in examples]


def all_words(nouns):
    """Every word that a caption can hold, in a fixed order."""
    from subjects import FRAMES, IDLE, STYLES

    texts = ["a an the on in of and with background style to", *FRAMES, *nouns, *map(plural, nouns), *BACKGROUNDS,
             *TINTS, *COUNTS, *PAINTED, *STYLES, "front"]
    texts += [wording for wordings in [*RELATIONS.values(), *PLACES.values()] for wording in wordings] + IDLE
    texts += [colour for colours in COLOURS.values() for colour in colours]
    words = dict.fromkeys(word for text in texts for word in text.replace("-", " ").split())
    # CLIP's tokenizer parts digits from letters
    return [word for word in words if word != "3d"] + ["3", "d", ",", "."]
