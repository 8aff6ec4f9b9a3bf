"""Judges a sketch by a network that was trained on other drawings of the same things (`classifier.py`).

    python judge.py --model ../../models/sketch --packed PACKED --judge judge.pt --sheet judged.png

Printed are shares named right (of 64 subjects, so that chance is 1.6 %) for the real drawings and, beside them, for
sketch's pictures of plain prompts at 8, 12 and the default number of steps; the share of plain backgrounds of the
colour asked for, and of things in their own colours; the spread over seeds; where sketch's vocabulary has them, held-out
pairs, repainted things, counts and relations, each beside the same figure for pictures composed of real drawings. Plain
backgrounds are left out of the held-out pairs, since a run that began from one of single things has seen them. The sheet
shows `PROMPTS`, its last twenty from `SINGLE` for a sketch without relations, each with its place as its seed; nothing is
chosen.
"""

import argparse
import itertools
import json
import math
import random

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw

from classifier import load
from data import make_scenes
from scenes import PAINTED, Picture
from subjects import BACKGROUNDS, COUNTS, RELATIONS, STYLES, SUBJECTS, TINTS, article, held_out, plural

NOUNS = list(dict.fromkeys(SUBJECTS.values()))

# twenty single things, ten repainted ones, ten counts, twenty relations, most of them before something painted
PROMPTS = """
a fox, flat style | a cat, noto style, blue background | a rabbit, 3d style, pink background
a whale, noto style | an octopus, flat style, yellow background | a snail, noto style, white background
an owl, 3d style, purple background | a butterfly, noto style, white background | a mushroom, 3d style, green background
a doughnut, flat style, pink background | coffee, noto style, orange background
a castle, flat style, yellow background | a rocket, noto style, black background
a car, 3d style, grey background | a snowman, flat style, blue background
a key, noto style, white background | a guitar, color style, yellow background | a robot, 3d style, red background
a crown, noto style, purple background | a tree, flat style, meadow
a blue house, flat style, meadow | a purple cat, noto style | a green heart, 3d style, white background
a pink car, noto style, beach | a red octopus, flat style, sea | a yellow umbrella, noto style, blue sky
an orange star, 3d style, night sky | a blue mushroom, noto style, white background | a purple tent, flat style, snow
a brown guitar, noto style, grey background
two cats, flat style, blue background | three apples, noto style, white background | four stars, flat style, night sky
two mushrooms, 3d style, meadow | three fish, flat style, sea | four cacti, noto style, desert
two balloons, noto style, blue sky | three penguins, flat style, snow | four hearts, 3d style, pink background
two sailboats, noto style, sea
two mushrooms left of a blue house, flat style, night sky | a cat and a dog, flat style, green background
a sun above a house, noto style, blue sky | a rocket right of the moon, 3d style, night sky
an apple next to a banana, flat style, white background | a fox left of a tree, noto style, meadow
three fish below a sailboat, flat style, sea | a snowman beside a tree, noto style, snow
a star above a castle, flat style, night sky | a cactus right of a tent, noto style, desert
a red car left of a blue bus, 3d style, grey background | a bee above a sunflower, noto style, meadow
a cloud over a rainbow, flat style, blue sky | two owls and a tree, noto style, sunset
a penguin left of a snowman, 3d style, snow | a balloon above a gift, noto style, pink background
a whale below the sun, flat style, sea | a ghost left of a castle, noto style, night sky
a heart over a key, 3d style, white background | a sailboat left of the sun, noto style, sunset
"""

# as people type them in the first minute
SINGLE = """
a penguin in the snow | a cute dog on the beach | a cat at night | a red fox in the grass | an owl under a night sky
a rocket in space, 3d style | a whale in the sea | a cactus in the desert | a tree at sunset, flat style
a snowman in winter | a purple house | a yellow car on the beach, noto style | a green bear, flat style
a small blue house | a photo of a pizza | three pink hearts | two dogs on a meadow | four blue stars, night sky
a happy little ghost | the moon
"""


def prompts(relations=True):
    """The sixty of the sheet."""
    made = [[prompt.strip() for line in words.strip().splitlines() for prompt in line.split("|")]
            for words in (PROMPTS, SINGLE)]
    return made[0] if relations else made[0][:40] + made[1]


class Sketcher:
    """The model, drawn with by diffusers in f32, sixteen at a time."""

    def __init__(self, folder):
        self.pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
        self.pipe.set_progress_bar_config(disable=True)
        self.defaults = json.loads(open(f"{folder}/diptych.json").read())

    def __call__(self, words, steps=None, first=0):
        """Pictures `[n, 3, size, size]` in -1..1; the i-th has the seed `first + i`."""
        made = []
        for start in range(0, len(words), 16):
            part = words[start:start + 16]
            seeds = [torch.Generator().manual_seed(first + start + index) for index in range(len(part))]
            made.append(self.pipe(
                part, width=self.defaults["width"], height=self.defaults["height"], generator=seeds,
                num_inference_steps=steps or self.defaults["steps"], guidance_scale=self.defaults["guidance"],
                output_type="pt").images)
        return torch.cat(made) * 2 - 1


class Judge:
    """The network's opinion among the subjects; code points of one noun count as one."""

    def __init__(self, path):
        self.model, self.codes = load(path)

    @torch.no_grad()
    def features(self, pictures):
        return self.model.features(F.interpolate(pictures, (64, 64), mode="area"))

    @torch.no_grad()
    def names(self, pictures):
        scores = self.model(F.interpolate(pictures, (64, 64), mode="area"))[:, :len(SUBJECTS)]
        return [SUBJECTS[self.codes[index]] for index in scores.argmax(1).tolist()]

    def right(self, pictures, nouns):
        return [name == noun for name, noun in zip(self.names(pictures), nouns)]


def share(flags):
    """ "81.2% of 64", with the standard error. """
    flags = list(flags)
    if not flags:
        return "none"
    mean = sum(flags) / len(flags)
    return f"{mean:6.1%} of {len(flags)} (±{math.sqrt(mean * (1 - mean) / len(flags)):.1%})"


def plain(index, noun):
    """A background on which most things can be seen."""
    return ["white", "blue", "white", "yellow", "white", "pink"][(index + len(noun)) % 6]


def border(picture):
    """The mean colour of the four corners, in 0..255."""
    side = max(2, picture.shape[-1] // 16)
    ends = (slice(0, side), slice(-side, None))
    corners = [picture[:, y, x] for y, x in itertools.product(ends, ends)]
    return (torch.cat([corner.flatten(1) for corner in corners], 1).median(1).values + 1) * 127.5


def nearest_background(picture):
    colour = border(picture)
    return min(BACKGROUNDS, key=lambda name: (torch.tensor(BACKGROUNDS[name]) - colour).square().sum().item())


def blobs(picture):
    """How many separate things stand on a plain background."""
    picture = F.interpolate(picture[None], (64, 64), mode="area")[0]
    colour = border(picture) / 127.5 - 1
    left = {(y, x) for y, x in ((picture - colour[:, None, None]).abs().amax(0) > 0.35).nonzero().tolist()}
    count = 0
    while left:
        open_ends, area = [left.pop()], 0
        while open_ends:
            y, x = open_ends.pop()
            area += 1
            for near in ((y + j, x + i) for j in (-1, 0, 1) for i in (-1, 0, 1)):
                if near in left:
                    left.remove(near)
                    open_ends.append(near)
        count += area >= 60
    return count


def halves(picture, relation):
    """The two parts where the groups of a relation are, each made square."""
    side = picture.shape[-1] // 2
    if relation in ("above", "below"):
        parts = [picture[:, :side], picture[:, side:]]
    else:
        parts = [picture[:, :, :side], picture[:, :, side:]]
    if relation in ("right", "below"):
        parts.reverse()
    made = []
    for part in parts:
        height, width = part.shape[1:]
        colour = part.median(2).values.median(1).values[:, None, None].expand(3, 2 * side, 2 * side).clone()
        top, left = side - height // 2, side - width // 2
        colour[:, top:top + height, left:left + width] = part
        made.append(colour)
    return made


def tinted(picture, tint):
    """Whether the coloured part of a picture on white is of a tint's hue rather than another's."""
    inside = ((picture + 1) / 2).clamp(0, 1).flatten(1)
    vivid = inside[:, (inside.amax(0) - inside.amin(0)) > 0.2]
    if vivid.shape[1] < 20:
        return False
    mean = vivid.mean(1)
    pure = {name: torch.tensor(colour) * bright for name, (colour, bright) in TINTS.items()}
    return min(pure, key=lambda name: 1 - F.cosine_similarity(pure[name] - pure[name].mean(), mean - mean.mean(), 0)
               + 0.3 * (pure[name].mean() - mean.mean()).abs()) == tint


def own_colours(picture, real):
    """Whether the vivid parts of two pictures are of a like hue; those that have none are."""
    means = []
    for one in (picture, real):
        inside = ((one + 1) / 2).clamp(0, 1).flatten(1)
        vivid = inside[:, (inside.amax(0) - inside.amin(0)) > 0.25]
        if vivid.shape[1] < 40:
            return True
        means.append(vivid.mean(1) - vivid.mean())
    return F.cosine_similarity(*means, 0).item() > 0.5


def judge_composed(sketch, judge, scenes, rng, count, relations):
    """Held-out pairs, repainted things, counts and relations, sketch's beside composed ones."""
    def compare(label, made, texts, test, first):
        ways = [[scenes.render(what) for what in made], sketch(texts, first=first)]
        figures = [share(test(picture, what) for picture, what in zip(pictures, made)) for pictures in ways]
        print(f"{label:34} composed {figures[0]:28} sketch {figures[1]}", flush=True)

    things = scenes.things
    made = [Picture([(noun, 1, tint)], None, "flat", "white") for noun in NOUNS for tint in TINTS
            if noun in things["flat"] and held_out(noun, "tint", tint)]
    made = rng.sample(made, min(count, len(made)))
    texts = [f"{article(f'{what.groups[0][2]} {what.groups[0][0]}')}, flat style, white background" for what in made]

    def named(picture, what):
        return judge.right(picture[None], [what.groups[0][0]])[0]

    compare("held-out tints: the thing", made, texts, named, 5000)
    compare("held-out tints: the colour", made, texts, lambda p, w: tinted(p, w.groups[0][2]), 5000)
    made = [Picture([(noun, 1, None)], None, "noto", place) for noun in NOUNS for place in PAINTED
            if noun in things["noto"] and held_out(noun, "background", place)]
    made = rng.sample(made, min(count, len(made)))
    texts = [f"{article(what.groups[0][0])}, noto style, {what.background}" for what in made]
    compare("held-out backgrounds: the thing", made, texts, named, 6000)
    made = [Picture([(noun, number, None)], None, style, "white") for noun, number, style in
            ((rng.choice(NOUNS), rng.choice(list(COUNTS.values())), rng.choice(STYLES)) for _ in range(4 * count))
            if noun in things[style]][:count]
    number = {value: word for word, value in COUNTS.items()}
    texts = [f"{number[n]} {plural(noun)}, {what.style} style, white background"
             for what in made for noun, n, _ in what.groups]
    compare("counts", made, texts, lambda p, w: blobs(p) == w.groups[0][1], 7000)
    if not relations:
        return
    made = [Picture([(one, 1, None), (two, 1, None)], relation, style, "white") for one, two, relation, style in
            ((*rng.sample(NOUNS, 2), rng.choice([*RELATIONS]), rng.choice(STYLES)) for _ in range(4 * count))
            if one in things[style] and two in things[style]][:count]
    texts = [f"{article(what.groups[0][0])} {RELATIONS[what.relation][0]} {article(what.groups[1][0])}, "
             f"{what.style} style, white background" for what in made]

    def placed(picture, what):
        names = [group[0] for group in what.groups]
        return all(judge.right(torch.stack(halves(picture, what.relation)), names))

    compare("relations: both in their places", made, texts, placed, 8000)


def spread(judge, groups):
    """Mean distance of the pictures of one group: of features (1 - cosine) and of pixels (root mean square)."""
    far, apart = [], []
    for pictures in groups:
        features = judge.features(pictures)
        for i, j in itertools.combinations(range(len(pictures)), 2):
            far.append(1 - F.cosine_similarity(features[i], features[j], 0).item())
            apart.append((pictures[i] - pictures[j]).square().mean().sqrt().item() / 2)
    return f"features {sum(far) / len(far):.3f}, pixels {sum(apart) / len(apart):.3f}"


def pixels(picture):
    return Image.fromarray(((picture + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy())


def draw_sheet(pictures, columns=12):
    """Pictures in reading order."""
    side = pictures.shape[-1] + 2
    sheet = Image.new("RGB", (columns * side, -(-len(pictures) // columns) * side), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(pixels(picture), (index % columns * side + 1, index // columns * side + 1))
    return sheet.quantize(256, dither=Image.Dither.NONE)


def draw_large(pictures, texts):
    """Pictures enlarged, with their prompts beneath."""
    sheet = Image.new("RGB", (10 * 144, -(-len(pictures) // 10) * 172), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (picture, words) in enumerate(zip(pictures, texts)):
        x, y = index % 10 * 144, index // 10 * 172
        sheet.paste(pixels(picture).resize((140, 140), Image.BICUBIC), (x + 2, y + 2))
        for row in range(3):
            pen.text((x + 2, y + 142 + 10 * row), words[row * 24:row * 24 + 24], fill="black")
    return sheet


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--packed", required=True)
    parser.add_argument("--judge", required=True, help="what classifier.py wrote")
    parser.add_argument("--sheet", help="a PNG of the sixty prompts")
    parser.add_argument("--large", help="the same with the words beneath")
    parser.add_argument("--styles", type=int, default=2, help="how many of the four styles of each subject are drawn")
    parser.add_argument("--count", type=int, default=48, help="of each kind of composed prompt")
    parser.add_argument("--steps", type=int, nargs="*", default=[8, 12, 0], help="0 is the model's default")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rng = random.Random(options.seed)
    sketch, judge = Sketcher(options.model), Judge(options.judge)
    vocabulary = json.loads(open(f"{options.model}/vocabulary.json").read())
    scenes, _, _ = make_scenes(options.packed, sketch.defaults["width"], options.seed, all_styles=True)
    things = scenes.things

    print("named right, real drawings:")
    for style in STYLES:
        nouns = [noun for noun in NOUNS if noun in things[style]]
        pictures = torch.stack([scenes.render(Picture([(noun, 1, None)], None, style, plain(i, noun)))
                                for i, noun in enumerate(nouns)])
        print(f"  {style:6} {share(judge.right(pictures, nouns))}", flush=True)

    asked = [(noun, STYLES[(index + turn) % 4], plain(index, noun)) for turn in range(options.styles)
             for index, noun in enumerate(NOUNS)]
    for steps in options.steps:
        steps = steps or sketch.defaults["steps"]
        texts = [f"{article(noun)}, {style} style, {place} background" for noun, style, place in asked]
        pictures = sketch(texts, steps)
        right = judge.right(pictures, [noun for noun, _, _ in asked])
        print(f"named right, sketch at {steps} steps: {share(right)}")
        for style in STYLES:
            print(f"  {style:6} {share(flag for flag, (_, drawn, _) in zip(right, asked) if drawn == style)}")
        kept = [nearest_background(picture) == place for picture, (_, _, place) in zip(pictures, asked)]
        print(f"  background as asked {share(kept)}")
        kept = [own_colours(picture, scenes.render(Picture([(noun, 1, None)], None, style, place)))
                for picture, (noun, style, place) in zip(pictures, asked) if noun in things[style]]
        print(f"  colours as the drawings have them {share(kept)}")
        missed = sorted({noun for flag, (noun, _, _) in zip(right, asked) if not flag})
        print(f"  not always named right: {', '.join(missed)}", flush=True)

    some = NOUNS[::5]
    texts = [f"{article(noun)}, white background" for noun in some for _ in range(6)]
    drawn = sketch(texts, first=9000).split(6)
    real = [torch.stack([scenes.render(Picture([(noun, 1, None)], None, style, "white")) for style in STYLES
                         if noun in things[style]]) for noun in some]
    print(f"spread over six seeds, style not named: {spread(judge, drawn)}")
    print(f"spread over the four styles of real drawings: {spread(judge, real)}", flush=True)
    relations = bool(vocabulary.get("relations"))
    if "tints" in vocabulary:
        judge_composed(sketch, judge, scenes, rng, options.count, relations)
    if options.sheet or options.large:
        pictures = sketch(prompts(relations))
        if options.sheet:
            draw_sheet(pictures).save(options.sheet, optimize=True)
        if options.large:
            draw_large(pictures, prompts(relations)).save(options.large)


if __name__ == "__main__":
    main()
