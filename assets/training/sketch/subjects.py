"""What sketch learns to draw: code points of drawings and the words for them."""

# code points -> noun; drawings with the same noun are variants of one subject
SUBJECTS = {
    "1f98a": "fox", "1f431": "cat", "1f436": "dog", "1f430": "rabbit", "1f43b": "bear", "1f43c": "panda",
    "1f438": "frog", "1f989": "owl", "1f427": "penguin", "1f41f": "fish", "1f433": "whale", "1f419": "octopus",
    "1f98b": "butterfly", "1f41d": "bee", "1f41e": "ladybug", "1f40c": "snail", "1f422": "turtle", "1f437": "pig",
    "1f42f": "tiger", "1f981": "lion", "1f428": "koala", "1f333": "tree", "1f335": "cactus", "1f344": "mushroom",
    "1f33b": "sunflower", "1f339": "rose", "1f337": "tulip", "1f34e": "apple", "1f34c": "banana", "1f352": "cherries",
    "1f353": "strawberry", "1f349": "watermelon", "1f34b": "lemon", "1f350": "pear", "1f355": "pizza",
    "1f354": "burger", "1f382": "cake", "1f369": "doughnut", "1f368": "ice cream", "2615": "coffee", "1f3e0": "house",
    "1f3f0": "castle", "26fa": "tent", "1f680": "rocket", "1f697": "car", "1f68c": "bus", "1f682": "train",
    "26f5": "sailboat", "1f388": "balloon", "2602": "umbrella", "2600": "sun", "1f319": "moon", "2601": "cloud",
    "1f308": "rainbow", "2b50": "star", "26c4": "snowman", "2764": "heart", "1f511": "key", "1f3b8": "guitar",
    "1f4a1": "lamp", "1f381": "gift", "1f916": "robot", "1f47b": "ghost", "1f451": "crown",
}

# colours that the drawings themselves have; others would be a promise that the model cannot keep
COLOURS = {
    "fox": ["red", "orange"], "cat": ["yellow"], "dog": ["brown"], "rabbit": ["white"], "bear": ["brown"],
    "panda": ["black and white"], "frog": ["green"], "penguin": ["black and white"], "whale": ["blue"],
    "bee": ["yellow"], "ladybug": ["red"], "turtle": ["green"], "pig": ["pink"], "tiger": ["orange"],
    "koala": ["grey"], "tree": ["green"], "cactus": ["green"], "mushroom": ["red"], "sunflower": ["yellow"],
    "rose": ["red"], "apple": ["red"], "banana": ["yellow"], "cherries": ["red"], "strawberry": ["red"],
    "lemon": ["yellow"], "pear": ["green"], "balloon": ["red"], "sun": ["yellow"], "moon": ["yellow"],
    "star": ["yellow"], "heart": ["red"], "ghost": ["white"], "crown": ["golden"], "car": ["red"],
}

STYLES = ["flat", "3d", "color", "noto"]

# background words -> RGB; a caption that names none means white
BACKGROUNDS = {
    "white": (255, 255, 255), "black": (24, 24, 28), "red": (196, 60, 56), "orange": (244, 160, 72),
    "yellow": (250, 222, 110), "green": (112, 180, 108), "blue": (88, 142, 214), "purple": (142, 106, 190),
    "pink": (246, 176, 200), "grey": (150, 154, 160),
}

PLURAL = {
    "cherries", "jeans", "glasses", "grapes", "scissors", "fries", "socks", "gloves", "pancakes", "headphones",
}

# colours that a drawing can be repainted in: the pure colour, and what its brightness is multiplied with
TINTS = {
    "red": ((1.0, 0.16, 0.14), 0.95), "orange": ((1.0, 0.55, 0.1), 1.0), "yellow": ((1.0, 0.85, 0.15), 1.0),
    "green": ((0.3, 0.85, 0.3), 0.9), "blue": ((0.2, 0.5, 1.0), 0.95), "purple": ((0.62, 0.3, 0.95), 0.9),
    "pink": ((1.0, 0.5, 0.75), 1.0), "brown": ((0.85, 0.55, 0.3), 0.7),
}
# what makes them is their colours, or they have none
UNTINTED = {
    "rainbow", "panda", "penguin", "watermelon", "koala", "cloud", "rabbit", "ghost", "snowman", "robot", "coffee",
}

COUNTS = {"two": 2, "three": 3, "four": 4}
# plurals that follow no rule, and nouns that have no other form
PLURALS = {
    "cactus": "cacti", "wolf": "wolves", "mouse": "mice", "maple leaf": "maple leaves", "snowman": "snowmen",
    "scarf": "scarves", "potato": "potatoes", "tomato": "tomatoes", "mango": "mangoes", "die": "dice", "fish": "fish",
    "sheep": "sheep", "deer": "deer",
}

# wordings of where the first group is, seen from the second
RELATIONS = {
    "left": ["left of", "to the left of"], "right": ["right of", "to the right of"],
    "above": ["above", "over"], "below": ["below", "under"], "beside": ["and", "next to", "beside"],
}


def plural(noun):
    """Of a subject; compound nouns change their last word."""
    if noun in PLURALS or noun in PLURAL:
        return PLURALS.get(noun, noun)
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def held_out(noun, kind, value):
    """Whether training never shows `noun` with this style, tint or background; about one pair in seventeen."""
    import hashlib

    return hashlib.sha1(f"{noun}|{kind}|{value}".encode()).digest()[0] < 15


# ways of asking, and words before a noun, that change nothing in the picture
FRAMES = ["a drawing of", "a picture of", "an icon of", "draw", "a small picture of", "a cute drawing of",
          "an image of", "a photo of", "a painting of", "a sketch of"]
IDLE = ["cute", "little", "small", "big", "happy", "beautiful", "nice", "funny", "lovely", "tiny", "simple", "cartoon"]

# painted backgrounds, and other wordings for them than their names
PLACES = {
    "night sky": ["at night", "in the night sky", "under a night sky", "in space"],
    "blue sky": ["in the sky", "under a blue sky", "in the blue sky"], "sunset": ["at sunset", "in the sunset"],
    "meadow": ["on a meadow", "in a meadow", "on the grass", "in the grass"], "beach": ["on the beach", "at the beach"],
    "snow": ["in the snow", "in winter"], "sea": ["in the sea", "under water", "in the water"],
    "desert": ["in the desert"],
}


def aside(rng, words):
    """`words` for a thing, now and then with an adjective that changes nothing."""
    return f"{rng.choice(IDLE)} {words}" if rng.random() < 0.06 else words


def article(words):
    """`words` with the article that it needs."""
    if words.split()[-1] in PLURAL or words in ("coffee", "ice cream"):
        return words
    if words in ("sun", "moon"):
        return "the " + words
    return ("an " if words[0] in "aeiou" else "a ") + words


def caption(rng, noun, style, background):
    """One of many wordings for a drawing; style is left out now and then, and `background` where it is None."""
    words = noun
    if noun in COLOURS and rng.random() < 0.4:
        words = rng.choice(COLOURS[noun]) + " " + noun
    words = aside(rng, words)
    thing = article(words) if rng.random() < 0.8 else words
    if rng.random() < 0.1:
        thing = rng.choice(FRAMES) + " " + article(words)
    named_style = rng.random() < 0.85
    named_background = background is not None
    parts = [thing]
    if background in PLACES and rng.random() < 0.6:
        parts[0] += " " + rng.choice(PLACES[background])
        named_background = False
    elif named_background and background not in PLACES and rng.random() < 0.5:
        parts[0] += rng.choice([f" on a {background} background", f" on {background}", f" in front of {background}"])
        named_background = False
    if named_style:
        parts.append(rng.choice([f"{style} style", f"{style} style", f"in {style} style", style]))
    if named_background:
        parts.append(background if background in PLACES and rng.random() < 0.7 else f"{background} background")
    if len(parts) == 3 and rng.random() < 0.3:
        parts[1], parts[2] = parts[2], parts[1]
    if len(parts) > 1 and rng.random() < 0.1:
        parts = parts[1:] + parts[:1]
    return rng.choice([", ", ", ", " "]).join(parts)
