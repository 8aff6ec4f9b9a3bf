"""The words that the image model sketch can draw, and the words around them.

`FAMILIES`, `STYLES` and `BACKGROUNDS` name what sketch was trained on; muse must not promise more. `UNKNOWN` holds
things that people ask for and sketch has not learnt, each with the known family or subjects that come nearest.
`Prompt` writes a prompt in the very form of sketch's captions.
"""

import hashlib
import random
import re
from dataclasses import dataclass

FAMILIES = {
    "animal": "fox cat dog rabbit bear panda frog owl penguin fish whale octopus butterfly bee ladybug snail turtle pig "
    "tiger lion koala".split(),
    "plant": "tree cactus mushroom sunflower rose tulip".split(),
    "food": "apple banana cherries strawberry watermelon lemon pear pizza burger cake doughnut coffee".split()
    + ["ice cream"],
    "place": "house castle tent".split(),
    "vehicle": "rocket car bus train sailboat".split(),
    "sky": "sun moon cloud rainbow star".split(),
    "thing": "balloon umbrella heart key guitar lamp gift crown".split(),
    "character": "robot ghost snowman".split(),
}
NO_ARTICLE = {"cherries", "coffee", "ice cream"}
ONLY_ONE = {"sun", "moon"}
STYLES = ("3d style", "color style", "flat style", "noto style")
BACKGROUNDS = ("white", "blue", "yellow", "pink", "green", "purple", "orange", "grey", "red", "black")
# Painted backgrounds, each with other wordings that people use for it.
PLACES = {
    "night sky": ("at night", "in the night sky", "under a night sky", "in space", "under the stars"),
    "blue sky": ("in the sky", "under a blue sky", "in the blue sky"),
    "sunset": ("at sunset", "in the sunset"),
    "meadow": ("on a meadow", "in a meadow", "on the grass", "in the grass"),
    "beach": ("on the beach", "at the beach"),
    "snow": ("in the snow", "in winter"),
    "sea": ("in the sea", "under water", "in the water"),
    "desert": ("in the desert",),
}
GROUNDS = (*BACKGROUNDS, *PLACES)
# Colors that sketch can paint a thing in, and things that have no others than their own.
TINTS = ("red", "blue", "yellow", "green", "purple", "pink", "orange", "brown")
UNTINTED = frozenset("rainbow panda penguin watermelon koala cloud rabbit ghost snowman robot coffee".split())
COUNTS = {2: "two", 3: "three", 4: "four"}
# How the first group stands to the second, as sketch's captions say it; the first wordings are muse's own.
RELATIONS = ("left of", "right of", "above", "below", "beside", "next to", "and", "over", "under", "to the left of", "to the right of")
OWN_RELATIONS = ("left of", "right of", "above", "below", "beside", "next to", "and")
SUBJECTS = [name for names in FAMILIES.values() for name in names]
# The same in an order that mixes the families, fixed for ever by a hash: lists of ideas follow it.
MIXED = sorted(SUBJECTS, key=lambda name: hashlib.blake2b(name.encode(), digest_size=8).digest())

# The colors that sketch's drawings have of themselves; a subject comes out best in one of them.
COLORS_OF = {
    "red": "fox ladybug mushroom rose apple cherries strawberry balloon heart car",
    "orange": "fox tiger",
    "green": "frog turtle tree cactus pear",
    "yellow": "cat bee sunflower banana lemon sun moon star",
    "brown": "dog bear",
    "white": "rabbit ghost",
    "black and white": "panda penguin",
    "blue": "whale",
    "pink": "pig",
    "grey": "koala",
    "golden": "crown",
}
COLORS_OF = {name: [c for c, names in COLORS_OF.items() if name in names.split()] for name in SUBJECTS}
COLORS = (
    "red",
    "blue",
    "yellow",
    "pink",
    "green",
    "purple",
    "orange",
    "white",
    "black",
    "brown",
    "golden",
    "grey",
    "silver",
)
# Backgrounds that set a subject off well; taken more often than the others.
SETS_OFF = {
    "blue": "fox dog bear cactus pumpkin sunflower banana pizza burger castle rocket sailboat sun star crown key balloon doughnut lion tiger orange chick duck",
    "yellow": "bee panda penguin ladybug grapes cherries book umbrella bus bicycle heart robot gift coffee octopus whale car",
    "pink": "frog cake rabbit turtle tree cat strawberry watermelon ice_cream butterfly unicorn pig gem",
    "green": "mushroom rose tulip apple owl snail house tent train pear guitar",
    "purple": "moon ghost alien rainbow lamp clock",
    "orange": "fish cloud snowman",
}
SETS_OFF = {name.replace("_", " "): ground for ground, names in SETS_OFF.items() for name in names.split()}

FAMILY_OF = {name: family for family, names in FAMILIES.items() for name in names}

# How people name the families, singular and plural.
FAMILY_WORDS = {
    "animal": ("animal", "animals"),
    "plant": ("plant", "plants"),
    "food": ("food", "things to eat"),
    "place": ("building", "buildings"),
    "vehicle": ("vehicle", "vehicles"),
    "sky": ("sky thing", "things in the sky"),
    "thing": ("object", "objects"),
    "character": ("character", "characters"),
}
# Other names for a known subject. Muse answers with sketch's word.
ALIASES = {
    "bunny": "rabbit",
    "kitten": "cat",
    "kitty": "cat",
    "puppy": "dog",
    "hamburger": "burger",
    "donut": "doughnut",
    "present": "gift",
    "cherry": "cherries",
    "automobile": "car",
    "sailing boat": "sailboat",
    "spook": "ghost",
    "ladybird": "ladybug",
    "goldfish": "fish",
    "cup of coffee": "coffee",
    "ice-cream": "ice cream",
    "snow man": "snowman",
    "toadstool": "mushroom",
    "motorcar": "car",
    "lantern": "lamp",
    "home": "house",
    "light bulb": "lamp",
    "piglet": "pig",
    "spaceship": "rocket",
    "hare": "rabbit",
    "bumblebee": "bee",
    "tortoise": "turtle",
}
# Adjectives that people put before a subject and sketch does not know.
ADJECTIVES = (
    "cute beautiful happy sad tiny huge fluffy majestic sleepy angry old young magical shiny funny little big lovely "
    "elegant mysterious wild brave lonely fancy cozy golden realistic detailed cartoon smiling dancing epic"
).split()
QUALITY_WORDS = (
    "8k",
    "4k",
    "masterpiece",
    "highly detailed",
    "trending on artstation",
    "cinematic lighting",
    "ultra realistic",
    "best quality",
    "sharp focus",
    "award winning",
    "octane render",
    "hdr",
    "bokeh",
    "studio light",
    "hyperrealistic",
    "intricate",
    "professional photo",
    "unreal engine",
    "dramatic",
    "volumetric light",
)

# Things sketch has not learnt: name -> nearest family, or the nearest subjects themselves.
UNKNOWN = {
    "animal": "zebra kangaroo wolf deer moose hippo rhino camel llama otter beaver squirrel hedgehog bat swan flamingo "
    "parrot peacock eagle hawk dove crow ostrich lizard crocodile dinosaur jellyfish seahorse lobster prawn worm "
    "spider ant beetle wasp moth donkey goat cheetah leopard tiger lion elephant giraffe monkey gorilla sloth "
    "badger raccoon walrus seal dragon unicorn phoenix griffin mermaid horse cow pig sheep".split(),
    "plant": "daisy orchid lily violet fern moss bamboo ivy lavender daffodil poppy bush forest garden meadow jungle".split(),
    "food": "soup salad noodle pasta sushi sandwich burrito taco steak cheese bread pancake waffle cookie chocolate candy honey "
    "pie carrot potato tomato onion pepper broccoli corn peach mango pineapple grape lemon kiwi coconut tea juice".split(),
    "place": "bridge tower temple church mosque lighthouse windmill factory school hospital skyscraper city village street "
    "market museum library stadium cottage barn island beach mountain volcano desert waterfall river lake".split(),
    "vehicle": "tank truck tractor motorcycle scooter helicopter airplane submarine ferry canoe tram van ambulance taxi bicycle bike "
    "bulldozer ship skateboard sled carriage".split(),
    "sky": "comet planet galaxy storm lightning sunset sunrise snowflake tornado fog rain aurora eclipse nebula".split(),
    "thing": "book clock gem diamond jewel sword shield hammer camera phone laptop television chair table sofa bed mirror candle piano violin drum "
    "trumpet hat shoe dress glasses ring watch bottle cup knife spoon box bag flag map compass telescope ball "
    "kite doll puzzle pencil brush window door ladder rope anchor wheel".split(),
    "character": "alien wizard witch knight princess king queen pirate ninja astronaut doctor teacher chef dancer clown mummy vampire "
    "zombie fairy elf dwarf giant superhero angel baby woman man girl boy grandmother soldier person crowd".split(),
}
UNKNOWN = {family: [name for name in names if name not in SUBJECTS] for family, names in UNKNOWN.items()}
UNKNOWN_FAMILY = {name: family for family, names in UNKNOWN.items() for name in names}

# Moods and the prompts' words that serve them: (styles, backgrounds).
MOODS = {
    "calmer": ("flat style noto style", "blue white grey"),
    "softer": ("flat style noto style", "pink white"),
    "brighter": ("color style 3d style", "yellow orange"),
    "warmer": ("color style flat style", "orange yellow"),
    "cooler": ("flat style color style", "blue grey"),
    "more playful": ("3d style color style", "pink yellow"),
    "simpler": ("flat style", "white"),
    "more cheerful": ("color style 3d style", "yellow pink"),
    "more dreamy": ("3d style flat style", "purple pink"),
    "fresher": ("flat style color style", "green white"),
    "quieter": ("flat style noto style", "grey white"),
    "bolder": ("3d style color style", "orange purple red"),
    "more mysterious": ("3d style noto style", "purple black grey"),
    "cuter": ("3d style", "pink"),
    "cleaner": ("flat style", "white"),
    "more serious": ("noto style flat style", "grey"),
    "happier": ("color style 3d style", "yellow"),
    "more natural": ("noto style color style", "green"),
    "more colorful": ("color style", "purple orange pink"),
}
# Occasions and themes, each with subjects that serve it.
THEMES = {
    "a birthday": "cake balloon gift crown",
    "winter": "snowman penguin house tree star",
    "christmas": "gift snowman tree star",
    "halloween": "ghost alien owl moon castle",
    "summer": "sun ice_cream watermelon sailboat umbrella",
    "spring": "tulip bee butterfly rabbit ladybug",
    "autumn": "mushroom fox umbrella tree apple",
    "the sea": "whale octopus fish sailboat turtle",
    "space": "rocket alien moon star robot",
    "a children's room": "panda rocket rainbow balloon cat",
    "love": "heart rose gift strawberry",
    "breakfast": "coffee banana apple doughnut",
    "a party": "cake balloon pizza guitar",
    "music": "guitar heart star",
    "a garden": "sunflower snail bee rose",
    "a journey": "train bus bicycle tent sailboat",
    "camping": "tent moon bear tree",
    "a fairy tale": "castle crown frog key",
    "the forest": "fox owl mushroom bear tree",
    "the night": "moon owl star ghost lamp",
    "a rainy day": "umbrella cloud rainbow frog snail",
    "school": "book clock bus apple",
    "dessert": "cake ice_cream doughnut cherries",
    "a quiet evening": "lamp book moon cat coffee",
    "the desert": "cactus sun tent",
    "a treasure hunt": "key gem crown book",
    "valentine's day": "heart rose gift",
    "a fruit shop": "apple banana cherries strawberry watermelon",
    "science fiction": "robot rocket alien star",
    "a cafe": "coffee cake doughnut",
    "something cute": "panda cat rabbit penguin",
    "something scary": "ghost alien owl",
    "something funny": "frog robot banana octopus",
    "something sweet": "doughnut cake ice_cream cherries",
    "something warm": "sun coffee lamp",
    "something cold": "snowman penguin ice_cream",
    "something that flies": "rocket balloon bee butterfly owl",
    "something round": "moon balloon apple sun",
    "something precious": "gem crown key",
    "something small": "bee ladybug snail cherries",
    "something big": "whale castle bear",
    "something fast": "rocket car train",
    "something slow": "snail turtle",
    "a gift card": "gift heart rose",
    "the ocean": "whale octopus fish sailboat",
    "easter": "rabbit tulip butterfly",
    "new year": "star balloon clock",
    "a wedding": "heart rose cake",
    "mother's day": "rose tulip heart cake",
    "a farm": "apple tree sunflower dog",
    "a kitchen": "coffee pizza apple lamp",
    "the beach": "sun umbrella ice_cream sailboat turtle",
    "a picnic": "strawberry watermelon cherries apple",
    "the weather": "sun cloud umbrella rainbow snowman",
    "travel": "train bus bicycle tent car",
    "a baby": "panda rabbit moon star",
    "a sticker": "cat heart frog star",
    "a logo": "star gem fox rocket",
    "a book cover": "castle key moon owl",
    "a poster": "guitar rocket sunflower robot",
    "my daughter": "butterfly cat rainbow heart",
    "my son": "rocket robot car frog",
    "my mother": "rose tulip cake heart",
    "my father": "guitar car clock coffee",
    "my friend": "dog balloon gift pizza",
    "a good night": "moon star owl lamp",
    "good luck": "ladybug star key",
    "something magical": "rainbow castle star gem ghost",
    "something calm": "moon turtle whale cloud",
    "something happy": "sun balloon sunflower rainbow",
    "something green": "frog cactus turtle tree",
    "something red": "apple heart rose ladybug strawberry",
    "something yellow": "sun banana star bee",
    "something lonely": "moon snail ghost",
    "something old": "castle clock key book",
    "something modern": "robot rocket alien",
    "something tasty": "pizza burger doughnut cake",
    "something simple": "star heart apple moon",
    "something from nature": "tree mushroom butterfly tulip",
    "something strange": "alien octopus ghost",
    "something with wheels": "car bus train bicycle",
    "something for kids": "panda rocket balloon rabbit",
}
RELATIVES = "mother father sister brother son daughter grandmother grandfather friend uncle aunt teacher boss wife husband neighbor".split()
THEMES |= {f"my {relative}'s birthday": "cake balloon gift crown rose" for relative in RELATIVES}
THEMES |= {
    f"something {a}": THEMES[f"something {b}"]
    for a, b in (
        ("spooky", "scary"),
        ("creepy", "scary"),
        ("lovely", "cute"),
        ("sweet and small", "cute"),
        ("adorable", "cute"),
        ("delicious", "tasty"),
        ("silly", "funny"),
        ("weird", "strange"),
        ("peaceful", "calm"),
        ("quiet", "calm"),
        ("cheerful", "happy"),
        ("joyful", "happy"),
        ("futuristic", "modern"),
        ("valuable", "precious"),
        ("tiny", "small"),
        ("huge", "big"),
        ("icy", "cold"),
        ("easy", "simple"),
    )
}
THEMES = {
    theme: [n for n in (s.replace("_", " ") for s in names.split()) if n in FAMILY_OF]
    for theme, names in THEMES.items()
}
THEMES = {theme: names for theme, names in THEMES.items() if names}


# Painted places that suit a theme.
THEME_PLACES = {
    "winter": "snow", "christmas": "snow", "something cold": "snow", "the weather": "blue sky", "summer": "beach", "the beach": "beach",
    "the sea": "sea", "the ocean": "sea", "space": "night sky", "the night": "night sky", "a good night": "night sky",
    "halloween": "night sky", "science fiction": "night sky", "the desert": "desert", "spring": "meadow", "a garden": "meadow",
    "a picnic": "meadow", "a farm": "meadow", "easter": "meadow", "something from nature": "meadow", "camping": "meadow",
    "a quiet evening": "sunset", "love": "sunset", "something calm": "sunset", "something that flies": "blue sky", "new year": "night sky",
}  # fmt: skip


def with_article(name: str) -> str:
    """ "fox" -> "a fox", "owl" -> "an owl", "coffee" -> "coffee"."""
    if name.split(" ")[-1] in NO_ARTICLE or name in NO_ARTICLE:
        return name
    if name in ONLY_ONE:
        return "the " + name
    return ("an " if name[0] in "aeio" or name.startswith("umb") else "a ") + name


def takes(name: str, color: str) -> bool:
    """Whether sketch can draw a thing in a color: its own, or one that it can be painted in."""
    return color in COLORS_OF[name] or (color in TINTS and name not in UNTINTED)


@dataclass(frozen=True)
class Group:
    """One thing, or two to four of a kind, perhaps in a color."""

    name: str
    count: int = 1
    color: str | None = None

    def __str__(self) -> str:
        thing = self.name if self.count == 1 else plural(self.name)
        if self.color:
            thing = f"{self.color} {thing}"
        return with_article(thing) if self.count == 1 else f"{COUNTS[self.count]} {thing}"


@dataclass(frozen=True)
class Prompt:
    """One prompt of sketch, in the very form of its captions; parts that are None are left out of its text.

    `other` is a second group, and `relation` how the first stands to it.
    """

    name: str
    style: str | None = None
    background: str | None = None
    color: str | None = None
    count: int = 1
    relation: str | None = None
    other: Group | None = None

    @property
    def group(self) -> Group:
        """The first group."""
        return Group(self.name, self.count, self.color)

    def __str__(self) -> str:
        parts = [f"{self.group} {self.relation} {self.other}" if self.other else str(self.group)]
        if self.style:
            parts.append(self.style)
        if self.background:
            parts.append(self.background if self.background in PLACES else f"{self.background} background")
        return ", ".join(parts)


def group_of(text: str) -> Group | None:
    """The group that a text names, if it names just that in sketch's words."""
    count = 1
    for number, word in COUNTS.items():
        if text.startswith(word + " "):
            count, text = number, text.removeprefix(word + " ")
    if count == 1:
        text = re.sub(r"^(an?|the) ", "", text)
    for name in SUBJECTS:
        form = name if count == 1 else plural(name)
        if text == form:
            return Group(name, count)
        color = text.removesuffix(" " + form)
        if color != text and takes(name, color):
            return Group(name, count, color)
    return None


def read_prompt(text: str) -> Prompt | None:
    """What a prompt says, if it has the form and only the words of sketch."""
    scene, *rest = text.split(", ")
    style = background = None
    for part in rest:
        plain = part.removesuffix(" background")
        if part in STYLES and style is None:
            style = part
        elif (part in PLACES or (plain != part and plain in BACKGROUNDS)) and background is None:
            background = plain
        else:
            return None
    first = group_of(scene)
    if first:
        return Prompt(first.name, style, background, first.color, first.count)
    for relation in RELATIONS:
        # "a black and white panda and a fox": each place where it may stand.
        for found in re.finditer(f" {relation} ", scene):
            first, second = group_of(scene[: found.start()]), group_of(scene[found.end() :])
            if first and second:
                return Prompt(first.name, style, background, first.color, first.count, relation, second)
    return None


def plural(name: str) -> str:
    special = {
        "fish": "fish",
        "cherries": "cherries",
        "coffee": "coffee",
        "ice cream": "ice cream",
        "cactus": "cacti",
        "octopus": "octopuses",
        "strawberry": "strawberries",
        "butterfly": "butterflies",
        "snowman": "snowmen",
        "bus": "buses",
        "wolf": "wolves",
        "deer": "deer",
        "sheep": "sheep",
        "lily": "lilies",
        "daisy": "daisies",
        "man": "men",
        "woman": "women",
        "person": "people",
        "baby": "babies",
        "city": "cities",
        "fairy": "fairies",
        "elf": "elves",
        "glasses": "glasses",
    }
    if name in special:
        return special[name]
    return name + ("es" if name.endswith(("x", "ch", "sh", "s", "ss")) else "s")


def invented_word(rng: random.Random) -> str:
    """A made-up noun, so that muse learns to carry words it has never met into its answer."""
    starts = "b br bl c cl d dr f fl g gl gr h k l m n p pl r s sk sn st t tr v w z".split()
    middles = "a e i o u oo ee ai ou".split()
    ends = "b ck d ff g l m n nk p r rt sh st t x zz ble ter mon lin".split()
    word = rng.choice(starts) + rng.choice(middles) + rng.choice(ends)
    if rng.random() < 0.4:
        word = rng.choice(starts) + rng.choice("aeiou") + word
    return word
