"""Whole conversations: exchanges from all parts of the grammar, joined so that later turns refer to earlier ones.

`Dialogues(seed, split, qna)` yields conversations as lists of {"role", "content"} messages, in the form that a chat
template takes. The same seed and split give the same conversations.
"""

import random
from pathlib import Path

import advice
import jokes
import smalltalk
import talk
import term_wordings
import terms
import troubles
import words
from grammar import Grammar, roughen
from pictures import State
from scenes import Scenes

SYSTEM = "You are muse, a small and friendly helper for pictures and words."
SYSTEMS = [
    SYSTEM,
    "You are muse.",
    "You are a helpful assistant.",
    "You help to write prompts for pictures.",
    "Be short and kind.",
    "You are muse, the chat model of a picture studio. Answer briefly.",
    "You are a friendly guide to an image studio.",
]

RELATED = [
    ("seed", "noise"),
    ("steps", "schedule"),
    ("sampler", "schedule"),
    ("prompt", "negative prompt"),
    ("latent", "vae"),
    ("temperature", "top-p"),
    ("top-p", "top-k"),
    ("top-p", "min-p"),
    ("gguf", "safetensors"),
    ("gpu", "cpu"),
    ("euler", "heun"),
    ("euler", "euler a"),
    ("euler", "dpm++ 2m"),
    ("ddim", "euler"),
    ("lora", "controlnet"),
    ("inpainting", "image to image"),
    ("token", "embedding"),
    ("u-net", "vae"),
    ("style", "background"),
    ("guidance scale", "steps"),
    ("seed", "steps"),
    ("training", "inference"),
    ("context", "kv cache"),
    ("vram", "gpu"),
    ("prompt", "system prompt"),
    ("upscaling", "resolution"),
    ("weights", "checkpoint"),
    ("temperature", "repetition penalty"),
    ("karras", "schedule"),
    ("guidance scale", "negative prompt"),
]
CAPITALS = {
    "vae": "VAE",
    "the vae": "the VAE",
    "u-net": "U-Net",
    "unet": "UNet",
    "gguf": "GGUF",
    "gguf file": "GGUF file",
    "gpu": "GPU",
    "vram": "VRAM",
    "gpu memory": "GPU memory",
    "cpu": "CPU",
    "lora": "LoRA",
    "a lora": "a LoRA",
    "loras": "LoRAs",
    "controlnet": "ControlNet",
    "kv cache": "KV cache",
    "dpm++ 2m": "DPM++ 2M",
    "dpm++": "DPM++",
    "dpm": "DPM",
    "ddim": "DDIM",
    "ddim sampler": "DDIM sampler",
    "cfg": "CFG",
    "cfg scale": "CFG scale",
    "clip": "CLIP",
    "clip text encoder": "CLIP text encoder",
    "karras": "Karras",
    "karras schedule": "Karras schedule",
    "euler": "Euler",
    "euler sampler": "Euler sampler",
    "euler a": "Euler a",
    "euler ancestral": "Euler Ancestral",
    "heun": "Heun",
    "heun sampler": "Heun sampler",
    "ai model": "AI model",
    "png metadata": "PNG metadata",
    "q8_0": "Q8_0",
}
POLITE = [
    "please, ",
    "hi, ",
    "hello, ",
    "hey muse, ",
    "ok, ",
    "so ",
    "muse, ",
    "and ",
    "hi muse, ",
    "well, ",
    "thanks, ",
]

CONTEXT = [
    "I am [new to this|a beginner|just starting]. ",
    "This is [my first picture|for fun|for a friend|fun]. ",
    "I am making [a card|a poster|a gift|a sticker|a book] for my [sister|mother|friend|son|daughter|class|team]. ",
    "I have [a question|another question|one more question]. ",
    "[Hi|Hello]! I [need some help|have a question]. ",
    "I [like|love] [pictures|this studio|drawing]. ",
    "I am [working on a project|in a hurry|not an artist]. ",
    "[Good morning|Good evening]! ",
    "Let us [try|do] something. ",
    "My [son|daughter|friend] asks: ",
]


def title(name: str) -> str:
    return CAPITALS.get(name, name[0].upper() + name[1:])


class Dialogues:
    """An endless stream of conversations of one split."""

    def __init__(self, seed: int, split: str, qna: Path | None = None):
        self.rng = random.Random(f"{seed} {split}")
        self.g = Grammar(self.rng, split)
        self.by_name = {t.names[0]: t for t in terms.TERMS}
        self.smalltalk = smalltalk.read_wordings(qna) if qna else []
        self.protected = frozenset(
            w for name in (*words.SUBJECTS, *words.STYLES, *words.GROUNDS, *words.TINTS, *words.ALIASES) for w in name.split()
        )
        self.loose = [
            (4, lambda: self.pair(talk.GREET)),
            (2, lambda: self.pair(talk.HOW_ARE_YOU)),
            (5, lambda: self.pair(talk.WHO)),
            (5, lambda: self.pair(talk.ABILITIES)),
            (2, lambda: self.pair(talk.MAKER)),
            (2, lambda: self.pair(talk.SIZE)),
            (3, lambda: self.pair(talk.PRIVACY)),
            (2, lambda: self.pair(talk.MEMORY)),
            (3, lambda: self.pair(talk.SEE)),
            (2, lambda: self.pair(talk.DRAW_SELF)),
            (2, lambda: self.pair(talk.STUDIO)),
            (9, lambda: self.pair(talk.THANKS)),
            (4, lambda: self.pair(talk.BYE)),
            (4, self.joke),
            (2, lambda: self.pair(talk.ACKNOWLEDGE)),
            (2, lambda: self.pair(talk.UNCLEAR)),
            (2, lambda: self.pair(talk.LANGUAGE)),
            (3, lambda: self.pair(talk.FEEL)),
            (1, lambda: self.pair(talk.INSULT)),
            (9, self.unknown_fact),
            (2, self.gibberish),
            (2, lambda: self.pair(talk.ADVICE)),
            (2, lambda: self.pair(talk.HARMFUL)),
            (16, self.trouble),
            (12 if self.smalltalk else 0, self.small),
        ]
        self.about_terms = [
            (14, self.what),
            (4, self.what_and_tip),
            (4, self.what_simple),
            (5, self.tip),
            (3, self.change),
            (6, self.compare),
        ]

    # -- exchanges without prompts --------------------------------------------------------------------------------

    def pair(self, intent):
        self.state.kind = "talk"
        return self.g.ask(intent[0]), self.g.say(intent[1])

    def small(self):
        wordings, answers = self.rng.choice(self.smalltalk)
        self.state.kind = "talk"
        return self.g.ask(wordings), self.rng.choice(answers)

    def joke(self, asked=None):
        left = [j for j in jokes.JOKES if j not in self.state.told] or jokes.JOKES
        joke = self.rng.choice(left)
        self.state.told.add(joke)
        self.state.kind = "joke"
        return asked or self.g.ask(jokes.JOKE_ASK), joke

    def unknown_fact(self):
        slots = {name: self.rng.choice(values) for name, values in talk.WORLD.items()}
        if self.g.chance(0.35):  # a name or thing that muse has never met is no fact it knows, either
            slots["thing"] = words.invented_word(self.rng)
        if self.g.chance(0.35):
            slots["person"] = (
                words.invented_word(self.rng).capitalize() + " " + words.invented_word(self.rng).capitalize()
            )
        if self.g.chance(0.3):
            slots["city"] = slots["country"] = words.invented_word(self.rng).capitalize()
        self.state.kind = "talk"
        return self.g.ask(talk.UNKNOWN_FACTS[0], **slots, number2=self.rng.choice(talk.WORLD["number"])), self.g.say(
            talk.UNKNOWN_FACTS[1]
        )

    def gibberish(self):
        """Words that make no sense."""
        small = "the a of to in my your is and for with not it this that very".split()
        row = [
            words.invented_word(self.rng) if self.g.chance(0.6) else self.rng.choice(small)
            for _ in range(self.rng.randrange(3, 8))
        ]
        self.state.kind = "talk"
        return " ".join(row), self.g.say(talk.UNCLEAR[1])

    def trouble(self):
        name = self.rng.choice(list(troubles.TROUBLES))
        wordings, answers = troubles.TROUBLES[name]
        self.state.kind = "talk"
        answer = self.rng.choice(answers)
        if "{prompt}" in answer:
            self.state.prompt = self.pictures.prompt()
            self.state.kind = "prompt"
        asked = self.g.ask(wordings)
        if not asked.endswith("?") and self.g.chance(0.4):
            asked += ". " + self.g.say(troubles.PLEA)
        return asked, answer.replace("{prompt}", str(self.state.prompt))

    # -- the glossary ---------------------------------------------------------------------------------------------

    def spoken(self, term) -> str:
        """A name of the term as people write it: small, or with its usual capitals."""
        name = self.rng.choice(term.names)
        if self.g.chance(0.5):
            return CAPITALS.get(name, name)
        return title(name) if self.g.chance(0.15) else name

    def what(self):
        term = self.rng.choice(terms.TERMS)
        self.state.kind, self.state.term = "term", term
        return self.g.ask(
            term_wordings.WHAT_ASK, t=self.spoken(term)
        ), f"{title(term.names[0])}: {term.short}. {self.rng.choice(term.more)}"

    def tip(self):
        term = self.rng.choice(terms.TERMS)
        self.state.kind, self.state.term = "term", term
        return self.g.ask(term_wordings.TIP_ASK, t=self.spoken(term)), term.tip

    def what_and_tip(self):
        term = self.rng.choice(terms.TERMS)
        self.state.kind, self.state.term = "term", term
        return self.g.ask(
            term_wordings.WHAT_AND_TIP_ASK, t=self.spoken(term)
        ), f"{title(term.names[0])}: {term.short}. {term.tip}"

    def what_simple(self):
        term = self.rng.choice(terms.TERMS)
        self.state.kind, self.state.term = "term", term
        return self.g.ask(
            term_wordings.WHAT_SIMPLE_ASK, t=self.spoken(term)
        ), f"{title(term.names[0])}: {term.short}. {term.simple}"

    def change(self):
        term = self.rng.choice(terms.TERMS)
        self.state.kind, self.state.term = "term", term
        return self.g.ask(term_wordings.CHANGE_ASK, t=self.spoken(term)), f"{term.more[0]} {term.tip}"

    def simpler(self):
        return self.g.ask(term_wordings.SIMPLER_ASK), self.state.term.simple

    def more(self):
        return self.g.ask(term_wordings.MORE_ASK), self.state.term.tip

    def compare(self):
        if self.g.chance(0.7):
            first, second = (self.by_name[n] for n in self.rng.choice(RELATED))
            if self.g.chance(0.5):
                first, second = second, first
        else:
            first, second = self.rng.sample(terms.TERMS, 2)
        self.state.kind = "talk"
        asked = self.g.ask(term_wordings.COMPARE_ASK, a=self.spoken(first), b=self.spoken(second))
        return asked, f"{title(first.names[0])}: {first.short}. {title(second.names[0])}: {second.short}."

    # -- joining ----------------------------------------------------------------------------------------------------

    def choose(self, weighted):
        weights, makers = zip(*weighted)
        return self.rng.choices(makers, weights)[0]()

    def exchange(self):
        """The next exchange, chosen by what the conversation holds so far."""
        p, state = self.pictures, self.state
        follow = []
        if state.kind == "joke":
            follow.append(
                (
                    30,
                    lambda: self.joke(self.g.ask(jokes.JOKE_AGAIN)),
                )
            )
        if state.kind == "term":
            follow += [(16, self.simpler), (14, self.more)]
        if state.prompt and state.kind in ("prompt", "idea", "poem", "story"):
            follow += [
                (14, p.restyle),
                (16, p.reground),
                (14, p.swap),
                (20, p.mood),
                (8, p.vary_last),
                (4, p.why),
                (4, p.means),
                (7, p.drop),
                (12, p.recount),
                (11, p.recolor),
                (13, p.add),
                (12, p.replace_ground),
            ]
            if state.prompt.other:
                follow += [(14, p.alone), (12, p.add)]
        if state.options and state.kind in ("ideas", "variants"):
            follow += [(36, p.pick), (5, p.another)]
        if state.prompt and state.kind in ("prompt", "idea"):
            follow.append((12, p.another))
        if follow and self.g.chance(0.62):
            return self.choose(follow)
        opening = [
            (6, p.idea),
            (6, p.idea_theme),
            (5, p.idea_family),
            (5, p.ideas),
            (5, p.ideas_about),
            (26, p.expand),
            (14, p.bare),
            (4, p.color_of),
            (6, p.can),
            (15, p.unknown),
            (22, p.counted),
            (9, p.too_many),
            (12, p.tinted),
            (16, p.placed),
            (20, p.pair),
            (5, p.doing),
            (6, p.with_unknown),
            (2, p.three_things),
            (5, p.scene_idea),
            (2, p.ask_counts),
            (2, p.ask_tints),
            (2, p.ask_relations),
            (6, p.long),
            (7, p.in_setting),
            (4, p.restyle_of),
            (4, p.reground_of),
            (9, p.vary),
            (3, p.vary_unknown),
            (6, p.improve),
            (7, p.mood_of),
            (3, p.ground_for),
            (2, p.ask_styles),
            (2, p.ask_grounds),
            (3, p.ask_all),
            (4, p.poem),
            (3, p.story),
            (4, p.synonyms),
        ]
        part = self.rng.random()
        if part < 0.44:
            return self.choose(opening)
        if part < 0.66:
            return self.choose(self.about_terms)
        if part < 0.73:
            self.state.kind = "talk"
            return self.g.rng.choices([f for _, f in advice.ALL], [w for w, _ in advice.ALL])[0](self.g)
        return self.choose(self.loose)

    def conversation(self) -> list[dict]:
        self.state = State()
        self.pictures = Scenes(self.g, self.state)
        messages = []
        if self.g.chance(0.6):
            messages.append({"role": "system", "content": SYSTEM if self.g.chance(0.65) else self.rng.choice(SYSTEMS)})
        turns = self.rng.choices((1, 2, 3, 4, 5, 6, 8, 12), (14, 20, 22, 18, 12, 8, 4, 2))[0]
        for turn in range(turns):
            if turn == 0 and turns > 1 and self.g.chance(0.15):
                asked, answer = self.pair(talk.GREET)
            elif turn == turns - 1 and turns > 2 and self.g.chance(0.2):
                asked, answer = self.pair(talk.BYE if self.g.chance(0.5) else talk.THANKS)
            else:
                asked, answer = self.exchange()
                if len(asked) > 12 and "\n" not in asked:
                    if self.g.chance(0.06):
                        asked = self.rng.choice(POLITE) + asked
                    elif self.g.chance(0.06):
                        asked = self.g.say(CONTEXT) + asked[0].upper() + asked[1:]
            messages.append({"role": "user", "content": roughen(asked, self.rng, self.protected)})
            messages.append({"role": "assistant", "content": answer.rstrip()})
        return messages

    def plain_text(self) -> str:
        """A few sentences without any roles: glossary, prompts, a story, as running text."""
        self.state = State()
        self.pictures = Scenes(self.g, self.state)
        parts = []
        for _ in range(self.rng.choice((1, 1, 2, 3))):
            kind, term = self.rng.random(), self.rng.choice(terms.TERMS)
            if kind < 0.3:
                parts.append(f"{title(term.names[0])}: {term.short}. {self.rng.choice(term.more)} {term.tip}")
            elif kind < 0.5:
                name = CAPITALS.get(term.names[0], term.names[0])
                verb = "are" if name.endswith("s") and name not in ("karras", "canvas") else "is"
                subject = f"The {name}" if verb == "is" and self.g.chance(0.5) else title(name)
                parts.append(f"{subject} {verb} {term.short}. {term.simple}")
            elif kind < 0.75:
                parts.append("\n".join(str(self.pictures.prompt()) for _ in range(self.rng.choice((1, 1, 3)))))
            else:
                parts.append(
                    self.choose(
                        [
                            (2, self.pictures.story),
                            (2, self.pictures.poem),
                            (1, self.joke),
                            (1, self.pictures.ask_all),
                            (1, self.pictures.ask_styles),
                        ]
                    )[1]
                )
        return "\n\n".join(parts)
