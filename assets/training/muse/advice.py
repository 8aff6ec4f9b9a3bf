"""Small advice: colors that go together, values of settings, opposites, describing words, negative prompts, favorites.

Functions take the grammar and return one exchange, a wording of the person and muse's answer.
"""

import words
from grammar import Grammar

PARTNERS = {
    "blue": ("orange", "white"),
    "orange": ("blue", "white"),
    "yellow": ("purple", "blue"),
    "purple": ("yellow", "pink"),
    "green": ("pink", "white"),
    "pink": ("green", "white"),
    "red": ("white", "green"),
    "white": ("blue", "green"),
    "grey": ("yellow", "pink"),
    "black": ("yellow", "white"),
    "brown": ("green", "blue"),
}
FEELINGS = {
    "calm": "blue, white and grey",
    "joyful": "yellow, orange and pink",
    "warm": "orange, yellow and red",
    "cool": "blue, green and grey",
    "mysterious": "purple and grey",
    "fresh": "green and white",
    "romantic": "pink, red and white",
    "serious": "grey and blue",
    "playful": "pink, yellow and green",
    "sad": "blue and grey",
    "sunny": "yellow and orange",
    "wintry": "white and blue",
    "scary": "purple, grey and green",
}
OPPOSITES = dict(
    pair.split("-")
    for pair in "hot-cold big-small light-dark fast-slow happy-sad old-new warm-cool calm-lively soft-hard high-low near-far "
    "rough-smooth full-empty loud-quiet early-late sharp-blurry simple-complex open-closed strong-weak bright-dim".split()
)
OPPOSITES |= {b: a for a, b in OPPOSITES.items()}
DESCRIBING = {
    "animal": ("furry", "gentle", "curious", "small", "wild", "quiet", "shy", "playful"),
    "plant": ("green", "fresh", "slender", "blooming", "leafy", "still"),
    "food": ("sweet", "fresh", "tasty", "round", "colorful", "tempting"),
    "place": ("old", "cozy", "tall", "quiet", "welcoming", "sturdy"),
    "vehicle": ("fast", "shiny", "sleek", "sturdy", "bright", "noisy"),
    "sky": ("bright", "distant", "glowing", "soft", "silent", "wide"),
    "thing": ("plain", "useful", "shiny", "handy", "small", "precious"),
    "character": ("friendly", "strange", "funny", "curious", "silent", "odd"),
}

PARTNER_ASK = [
    "[what|which color|which background] [goes|fits|looks good|works] with {c}?",
    "[what|which] [color|colors] [should I|can I] [combine|use|pair] with {c}?",
    "{c} and what?",
    "what matches {c}?",
    "[give me|tell me] a color that goes with {c}",
    "which color [stands out|shows up] on {c}?",
    "what is the [complement|opposite color|best partner] of {c}?",
    "does {c} go with {c2}?",
    "I have {c}, what else?",
]
FEELING_ASK = [
    "[what|which] colors are {f}?",
    "[what|which] color [is|feels|looks] {f}?",
    "[colors|a color] for a {f} [picture|mood|image]",
    "how do I make a {f} [picture|image]?",
    "[I want|I need] a {f} [mood|picture|feeling]",
    "which background feels {f}?",
    "{f} colors[ please|]?",
    "what makes a picture {f}?",
    "a {f} palette",
]
OPPOSITE_ASK = [
    "what is the opposite of {w}?",
    "[the |]opposite of {w}",
    "[give me|tell me] the opposite of {w}",
    "{w}, and the opposite?",
    "what is the contrary of {w}?",
    "antonym of {w}",
    "[a|the] word opposite to {w}",
    "not {w} but?",
]
DESCRIBE_ASK = [
    "[words|adjectives|some words] [for|that describe|to describe] {a_it}",
    "[how|how would you] describe {a_it}?",
    "what [words|adjectives] [fit|suit|go with] {a_it}?",
    "how can I describe {a_it} in words?",
    "what is {a_it} like?",
    "give me [adjectives|words] for {a_it}",
    "which words [describe|suit] {its}?",
    "describe {its}",
]
GROUND_FOR = [
    "which background [fits|suits|goes with|is good for] {a_it}?",
    "[what|which] background [should I use|is best] for {a_it}?",
    "what color behind {a_it}?",
    "{a_it} on which background?",
    "best background for {its}?",
    "on what color does {a_it} look good?",
    "what should be behind {a_it}?",
    "which color [suits|fits] {its}?",
]
NEGATIVE_ASK = [
    "[give me|suggest|write|I need] a [good |]negative prompt",
    "what [should I|can I|do I] [write|put] in the negative prompt?",
    "[a|an example of a] negative prompt[ please|]",
    "negative prompt for {a_it}",
    "which words belong in the negative prompt?",
    "[good|useful] negative prompts?",
    "do I need a negative prompt[ for sketch|]?",
    "what do people write in negative prompts?",
]
NEGATIVE_SAY = [
    "For larger models: blurry, text, watermark, extra limbs. sketch mostly needs none.",
    "Try: blurry, noisy, text. [Keep it short.|Leave it empty for sketch.]",
]
FAVORITE_ASK = [
    "what is your favorite {k}?",
    "which {k} do you like[ best| most|]?",
    "do you have a favorite {k}?",
    "your favorite {k}?",
    "tell me your favorite {k}",
    "what {k} do you [prefer|love]?",
    "[and |]what {k} do you like?",
    "if you could choose a {k}?",
]

NUMBER_ASK = {
    "steps": [
        "[is|are] {n} steps [enough|ok|too many|too few|good]?",
        "{n} steps?",
        "should I use {n} steps?",
        "what about {n} steps?",
        "[I use|I have|I set] {n} steps",
        "can I [use|set] {n} steps?",
        "how about {n} steps",
        "why not {n} steps?",
    ],
    "guidance": [
        "is [guidance|a guidance of|a cfg of|cfg] {n} [ok|too high|too low|good]?",
        "guidance {n}?",
        "should I [use|set] guidance {n}?",
        "what about [cfg|guidance] {n}?",
        "[I use|I have] [guidance|cfg] {n}",
        "can I set [the guidance|cfg] to {n}?",
        "cfg {n}?",
        "guidance scale of {n}?",
    ],
    "temperature": [
        "is [a temperature of|temperature] {n} [ok|too high|too low|good]?",
        "temperature {n}?",
        "should I [use|set] temperature {n}?",
        "what about temperature {n}?",
        "[I use|I have] temperature {n}",
        "can I set the temperature to {n}?",
        "what does temperature {n} do?",
        "temperature at {n}?",
    ],
}


def partner(g: Grammar):
    color = g.rng.choice(list(PARTNERS))
    first, second = PARTNERS[color]
    asked = g.ask(PARTNER_ASK, c=color, c2=first)
    if asked.startswith("does"):
        return asked, g.say(f"Yes, {color} and {first} [set each other off|go well together].")
    return asked, g.say(
        [
            f"{color.capitalize()} goes well with {first} or {second}.",
            f"Try {first} with {color}; {second} is [a quieter choice|fine, too].",
        ]
    )


def feeling(g: Grammar):
    name = g.rng.choice(list(FEELINGS))
    return g.ask(FEELING_ASK, f=name), g.say(
        [f"For a {name} picture, take {FEELINGS[name]}.", f"{FEELINGS[name].capitalize()} feel {name}."]
    )


def opposite(g: Grammar):
    word = g.rng.choice(list(OPPOSITES))
    return g.ask(OPPOSITE_ASK, w=word), g.say(
        [f"The opposite of {word} is {OPPOSITES[word]}.", f"{OPPOSITES[word].capitalize()}."]
    )


def describe(g: Grammar):
    name = g.rng.choice(words.SUBJECTS)
    chosen = g.rng.sample(DESCRIBING[words.FAMILY_OF[name]], 4)
    asked = g.ask(DESCRIBE_ASK, a_it=words.with_article(name), its=words.plural(name))
    return asked, g.say(
        [
            f"For {words.with_article(name)}: {', '.join(chosen)}.",
            f"You could say {', '.join(chosen[:3])} or {chosen[3]}.",
        ]
    ) + g.say(["", " sketch itself only needs the subject, style and background."])


def negative(g: Grammar):
    return g.ask(NEGATIVE_ASK, a_it=words.with_article(g.rng.choice(words.SUBJECTS))), g.say(NEGATIVE_SAY)


def favorite(g: Grammar):
    kind, values = g.rng.choice(
        [
            ("color", words.BACKGROUNDS),
            ("style", words.STYLES),
            *((k, tuple(words.FAMILIES[k])) for k in ("animal", "food", "plant", "thing") if k in words.FAMILIES),
        ]
    )
    value = g.rng.choice(values)
    shown = words.with_article(value) if kind not in ("color", "style") else value
    return g.ask(FAVORITE_ASK, k=kind), g.say(
        [f"I have no taste of my own, but I would say {shown}.", f"Let me say {shown}. [And yours?|What is yours?]"]
    )


def number(g: Grammar):
    setting = g.rng.choice(list(NUMBER_ASK))
    if setting == "steps":
        n = g.rng.choice(
            (
                1,
                2,
                3,
                4,
                5,
                6,
                8,
                10,
                12,
                15,
                18,
                20,
                25,
                28,
                30,
                35,
                40,
                45,
                50,
                60,
                70,
                75,
                80,
                90,
                100,
                120,
                150,
                200,
                500,
            )
        )
        if n < 10:
            said = [
                "That is too few, the picture stays noisy. Try 20 to 30.",
                f"{n} {'step is' if n == 1 else 'steps are'} only enough for a rough look. Take 20 or more.",
            ]
        elif n <= 45:
            said = [
                f"{n} steps are fine" + (" for a quick look." if n < 20 else "."),
                f"Yes, {n} is a good number" + (", though 25 is finer." if n < 20 else "."),
            ]
        else:
            said = ["More than you need: after about 30 little changes.", f"{n} steps only cost time. 30 are enough."]
    elif setting == "guidance":
        n = g.rng.choice((0.5, 1, 1.5, 2, 3, 3.5, 4, 4.5, 5, 6, 7, 7.5, 8, 9, 10, 12, 15, 18, 20, 25, 30))
        if n < 2:
            said = ["That is low: the prompt hardly counts. Try 4.", "Very free. For sketch 3 to 5 is better."]
        elif n <= 8:
            said = [f"{n} is fine" + (" for larger models; sketch likes about 4." if n > 5 else " for sketch.")]
        else:
            said = [
                "That is high, colors may burn. Try about 4 with sketch, 7 with larger models.",
                f"{n} is too strong. Go down to 4.",
            ]
    else:
        n = g.rng.choice((0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 1.8, 2, 3))
        if n < 0.3:
            said = ["That gives the safest and most repeated answers.", "Very steady, a bit dull. 0.5 is livelier."]
        elif n <= 0.8:
            said = [f"{n} is fine for me.", f"Yes, {n} is a good value."]
        else:
            said = ["That is high for a small model; I would talk nonsense. Try 0.5.", f"{n} makes me dreamy. Try 0.6."]
    return g.ask(NUMBER_ASK[setting], n=str(n)), g.rng.choice(said)


ALL = [(4, partner), (4, feeling), (2, opposite), (4, describe), (3, negative), (4, favorite), (6, number)]
