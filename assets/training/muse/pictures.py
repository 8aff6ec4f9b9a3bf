"""Talk about prompts: ideas, expanding a word, variants, changes to the last prompt, and what sketch cannot draw.

Each method of `Pictures` makes one exchange, a wording of the person and the answer of muse, and keeps in `state`
what later turns refer to: the last prompt, the last numbered list, the last kind of answer.
"""

from dataclasses import dataclass, field, replace

import advice
import wordings
import words
from grammar import Grammar
from words import Prompt


@dataclass
class State:
    """What a conversation has in mind: the last prompt, the last list, the kind of the last answer, the term, jokes told."""

    prompt: Prompt | None = None
    options: list = field(default_factory=list)
    kind: str = ""
    term: object = None
    told: set = field(default_factory=set)


class Pictures:
    """Makes exchanges about prompts; `state` carries what they refer to."""

    def __init__(self, grammar: Grammar, state: State):
        self.g, self.rng, self.state = grammar, grammar.rng, state

    # -- pieces ---------------------------------------------------------------------------------------------------

    def prompt(self, name=None, **given) -> Prompt:
        """A full prompt with the given parts, the rest by chance."""
        name = name or self.rng.choice(words.SUBJECTS)
        ground = self.plain(name)
        if self.g.chance(0.16):
            ground = self.rng.choice(list(words.PLACES))
        color = given.get("color")
        if not color and words.COLORS_OF[name] and self.g.chance(0.12):
            color = self.rng.choice(words.COLORS_OF[name])
        return Prompt(
            name, given.get("style") or self.rng.choice(words.STYLES), given.get("background") or ground, color
        )

    def plain(self, name: str) -> str:
        """A plain background that suits a subject."""
        ground = words.SETS_OFF.get(name) if self.g.chance(0.45) else None
        return ground if ground in words.BACKGROUNDS else self.rng.choice(words.BACKGROUNDS)

    def show(self, prompt: Prompt, lead=wordings.LEAD, tail="", kind="prompt") -> str:
        self.state.prompt, self.state.options, self.state.kind = prompt, [], kind
        return f"{self.g.say(lead)}\n{prompt}" + (f"\n{self.g.say(tail)}" if tail else "")

    def show_list(self, prompts, lead, kind) -> str:
        self.state.options, self.state.kind = list(prompts), kind
        n = wordings.NUMBERS[len(prompts)]
        rows = "\n".join(f"{i}. {p}" for i, p in enumerate(prompts, 1))
        return f"{self.g.say(lead, n=n, N=n.capitalize())}\n{rows}"

    def count(self):
        n = self.rng.choice((2, 3, 3, 3, 4, 4, 5, 5, 6))
        return n, (str(n) if self.g.chance(0.5) else wordings.NUMBERS[n])

    def naming(self, name: str) -> dict:
        """The slots of a thing: bare, with article, many."""
        return {"it": name, "a_it": words.with_article(name), "its": words.plural(name)}

    def known(self):
        """A known subject as people may name it, and sketch's own word."""
        if self.g.chance(0.12):
            alias = self.rng.choice([a for a, n in words.ALIASES.items() if n in words.FAMILY_OF])
            return alias, words.ALIASES[alias]
        name = self.rng.choice(words.SUBJECTS)
        return name, name

    def turn(self, things, n: int, but=None) -> list:
        """`n` of `things` in their order from a place by chance, round and round.

        A small model cannot draw without repeating itself; it can learn what comes next in a row.
        """
        things = [thing for thing in things if thing != but]
        start = self.rng.randrange(len(things))
        return [things[(start + i) % len(things)] for i in range(n)]

    def variants(self, base: Prompt, n: int):
        rows = zip(self.turn(words.STYLES, n), self.turn(words.BACKGROUNDS, n, but=base.background))
        return [replace(base, style=style, background=background) for style, background in rows]

    def row(self, names, n: int):
        """Prompts of different subjects, each with the next style and background."""
        rows = zip(self.turn(names, n), self.turn(words.STYLES, n), self.turn(words.BACKGROUNDS, n))
        return [Prompt(name, style, background, None) for name, style, background in rows]

    # -- exchanges ------------------------------------------------------------------------------------------------

    def idea(self):
        return self.g.ask(wordings.IDEA), self.show(self.prompt(), kind="idea")

    def idea_theme(self):
        theme = self.rng.choice(list(words.THEMES))
        ask = wordings.IDEA_KIND if theme.startswith("something") else wordings.IDEA_THEME
        asked = self.g.ask(ask, theme=theme, kind=theme)
        ground = words.THEME_PLACES.get(theme) if self.g.chance(0.6) else None
        return asked, self.show(self.prompt(self.rng.choice(words.THEMES[theme]), background=ground), kind="idea")

    def idea_family(self):
        family = self.rng.choice(list(words.FAMILIES))
        one, many = words.FAMILY_WORDS[family]
        asked = self.g.ask(wordings.IDEA_FAMILY, family=many, family_one=one)
        names = self.rng.sample(words.FAMILIES[family], min(4, len(words.FAMILIES[family])))
        if asked.split()[0] in ("which", "what", "list"):
            self.state.kind = "family"
            listed = ", ".join(names[:-1]) + " and " + names[-1]
            return asked, self.g.say(
                f"[Among others|For example]: {listed}. [Shall I word one?|Which one shall it be?|Name one and I make a prompt.]"
            )
        return asked, self.show(self.prompt(names[0]), kind="idea")

    def ideas(self):
        n, spoken = self.count()
        asked = self.g.ask(wordings.IDEAS, n=spoken)
        if spoken not in asked:
            n = 3
        return asked, self.show_list(self.row(words.MIXED, n), wordings.LEAD_LIST, "ideas")

    def ideas_about(self):
        n, spoken = self.count()
        if self.g.chance(0.6):
            about, names = self.rng.choice([(t, s) for t, s in words.THEMES.items() if len(s) > 2])
        else:
            family = self.rng.choice([f for f in words.FAMILIES if len(words.FAMILIES[f]) > 2])
            about, names = words.FAMILY_WORDS[family][1], words.FAMILIES[family]
        asked = self.g.ask(wordings.IDEAS_ABOUT, n=spoken, about=about)
        if spoken not in asked:
            n = 3
        return asked, self.show_list(self.row(names, n), wordings.LEAD_LIST, "ideas")

    def expand(self):
        spoken, name = self.known()
        given, said, refused = {}, spoken, None
        if name not in words.NO_ARTICLE and self.g.chance(0.34):
            if self.g.chance(0.7):
                colors = words.COLORS_OF[name]
                color = self.rng.choice(colors) if colors and self.g.chance(0.66) else self.rng.choice(words.COLORS)
                said = f"{color} {spoken}"
                if words.takes(name, color):
                    given["color"] = color
                else:
                    refused = color
            else:  # adjectives that sketch does not know are left out of the prompt
                said = f"{self.rng.choice(words.ADJECTIVES)} {spoken}"
        asked = self.g.ask(wordings.EXPAND if self.g.chance(0.6) else wordings.BARE, **self.naming(said))
        if self.g.chance(0.4):  # some parts are already said, in any order
            parts = {"style": self.rng.choice(words.STYLES), "background": self.rng.choice(words.BACKGROUNDS)}
            parts = {
                key: value
                for key, value in sorted(parts.items(), key=lambda _: self.rng.random())
                if self.g.chance(0.65)
            }
            asked = asked.rstrip(".?!")
            for key, value in parts.items():
                short = value.removesuffix(" style") if self.g.chance(0.3) else value
                asked += self.g.say(wordings.WITH_STYLE if key == "style" else wordings.WITH_GROUND, v=short)
            given |= parts
        lead = wordings.LEAD if spoken == name else [f"sketch calls it {name}:", *wordings.LEAD]
        if refused:
            lead = self.own_color(name)
        return asked, self.show(self.prompt(name, **given), lead)

    def own_color(self, name):
        """Leads for a subject in a color that sketch cannot give it."""
        own = " or ".join(words.COLORS_OF[name])
        if name in words.UNTINTED or not own:
            return [f"sketch knows the {name} in its own color:", f"The {name} has a color of its own in sketch:"]
        return [f"sketch knows the {name} in {own}:", f"That color sketch cannot paint. By itself the {name} is {own}:"]

    def bare(self):
        """A subject alone, as people type it first: tokens at the start of a line are learnt nowhere else."""
        spoken, name = self.known()
        asked = self.rng.choice((spoken, spoken, spoken, spoken.capitalize(), words.with_article(spoken), words.plural(spoken)))
        lead = wordings.LEAD if spoken == name else [f"sketch calls it {name}:", *wordings.LEAD]
        return asked, self.show(self.prompt(name), lead)

    def color_of(self):
        """What color a subject has, or whether it can have one."""
        name = self.rng.choice([name for name in words.SUBJECTS if words.COLORS_OF[name]])
        own = words.COLORS_OF[name]
        color = self.rng.choice(own) if self.g.chance(0.3) else self.rng.choice(words.COLORS)
        asked = self.g.ask(wordings.COLOR_OF, it=name, a_it=words.with_article(name), c=color)
        listed = " or ".join(own)
        if color not in asked:
            lead = [f"By itself the {name} is {listed}:", f"In sketch the {name} is {listed} by itself:"]
            if name not in words.UNTINTED:
                lead = [f"By itself the {name} is {listed}; other colors can be asked for:", *lead]
            return asked, self.show(self.prompt(name, color=own[0]), lead)
        if color in own:
            return asked, self.show(self.prompt(name, color=color), [f"Yes, in sketch the {name} is {listed}:"])
        if words.takes(name, color):
            lead = [f"Yes, sketch can paint the {name} {color}:", f"It can[ be|]. In {color}, then:"]
            return asked, self.show(self.prompt(name, color=color), lead)
        return asked, self.show(self.prompt(name, color=own[0]), self.own_color(name))

    def ground_for(self):
        spoken, name = self.known()
        asked = self.g.ask(advice.GROUND_FOR, **self.naming(spoken))
        p = self.prompt(name, background=self.plain(name))
        return asked, self.show(
            p, [f"[I would take|Try] {p.background}:", f"{p.background.capitalize()} would be nice:"]
        )

    def can(self):
        spoken, name = self.known()
        asked = self.g.ask(wordings.CAN, **self.naming(spoken))
        return asked, self.show(
            self.prompt(name), ["Yes, [sketch knows that|that works|it can]:", "It can[ indeed|]. Try this:"]
        )

    def unknown(self):
        name = words.invented_word(self.rng) if self.g.chance(0.35) else self.rng.choice(list(words.UNKNOWN_FAMILY))
        asked = self.g.ask(wordings.CAN if self.g.chance(0.35) else wordings.EXPAND, **self.naming(name))
        return asked, self.show(self.near(name), wordings.NOT_LEARNT)

    def long(self):
        spoken, name = self.known()
        (q, q2), (adj, adj2) = self.rng.sample(words.QUALITY_WORDS, 2), self.rng.sample(words.ADJECTIVES, 2)
        asked = self.g.ask(wordings.LONG, q=q, q2=q2, adj=adj, adj2=adj2, **self.naming(spoken))
        return asked, self.show(
            self.prompt(name),
            [
                "sketch knows few words, so keep it short:",
                "Shorter works better here:",
                "Those extra words do nothing for sketch. Try this:",
            ],
        )

    def written(self) -> tuple[Prompt, str]:
        """A prompt as a person may paste it: some parts missing, a color, odd words around it, quotation marks."""
        base = self.prompt()
        if self.g.chance(0.25) and base.name not in words.NO_ARTICLE:
            colors = words.COLORS_OF[base.name] or [None]
            if base.name not in words.UNTINTED and self.g.chance(0.4):
                colors = words.TINTS
            base = replace(base, color=self.rng.choice(colors))
        if self.g.chance(0.2) and base.name not in words.ONLY_ONE and base.name not in words.NO_ARTICLE:
            base = replace(base, count=self.rng.choice(list(words.COUNTS)))
        if self.g.chance(0.15):
            other = self.rng.choice([n for n in words.SUBJECTS if n != base.name])
            base = replace(base, relation=self.rng.choice(words.OWN_RELATIONS), other=words.Group(other))
        if self.g.chance(0.3):
            base = replace(base, background=None)
        if self.g.chance(0.2):
            base = replace(base, style=None)
        text = str(base)
        if self.g.chance(0.12):
            text += ", " + self.rng.choice(words.QUALITY_WORDS)
        if self.g.chance(0.15):
            text = text.removeprefix("a ").removeprefix("an ").removeprefix("the ")
        return base, self.g.say(["{t}", "{t}", '"{t}"', "'{t}'"], t=text)

    def vary(self):
        (base, text), (n, spoken) = self.written(), self.count()
        asked = self.g.ask(wordings.VARY, p=text, n=spoken)
        n = n if spoken in asked.replace(text, "") else 3
        self.state.prompt = base
        return asked, self.show_list(self.variants(base, n), wordings.LEAD_VARIANTS, "variants")

    def vary_last(self):
        n, spoken = self.count()
        asked = self.g.ask(wordings.VARY_LAST, n=spoken)
        n = n if spoken in asked else 3
        return asked, self.show_list(self.variants(self.state.prompt, n), wordings.LEAD_VARIANTS, "variants")

    def restyle(self):
        style = self.rng.choice([s for s in words.STYLES if s != self.state.prompt.style])
        spoken = style if self.g.chance(0.7) else style.removesuffix(" style")
        return self.g.ask(wordings.STYLE_CHANGE, style=spoken), self.show(
            replace(self.state.prompt, style=style), wordings.LEAD_CHANGED
        )

    def reground(self):
        ground = self.rng.choice([b for b in words.BACKGROUNDS if b != self.state.prompt.background])
        return self.g.ask(wordings.GROUND_CHANGE, bg=ground), self.show(
            replace(self.state.prompt, background=ground), wordings.LEAD_CHANGED
        )

    def swap(self):
        spoken, name = self.known()
        p = self.state.prompt
        old = p.name if p.count == 1 else words.plural(p.name)
        a_old = words.with_article(old) if p.count == 1 else f"the {old}"
        asked = self.g.ask(wordings.SWAP, old=old, a_old=a_old, **self.naming(spoken))
        if p.other and p.other.name == name:
            p = replace(p, relation=None, other=None)
        return asked, self.show(replace(p, name=name, color=None, count=1), wordings.LEAD_CHANGED)

    def restyle_of(self):
        base, text = self.written()
        style = self.rng.choice([s for s in words.STYLES if s != base.style])
        return self.g.ask(wordings.STYLE_OF, style=style, p=text), self.show(
            replace(base, style=style), wordings.LEAD_CHANGED
        )

    def reground_of(self):
        base, text = self.written()
        ground = self.rng.choice([b for b in words.BACKGROUNDS if b != base.background])
        return self.g.ask(wordings.GROUND_OF, bg=ground, p=text), self.show(
            replace(base, background=ground), wordings.LEAD_CHANGED
        )

    def near(self, name: str) -> Prompt:
        family = words.UNKNOWN_FAMILY.get(name)
        return self.prompt(self.rng.choice(words.FAMILIES[family] if family else words.SUBJECTS))

    def moodier(self, base: Prompt, mood: str) -> str:
        styles, grounds = words.MOODS[mood]
        styles = [s for s in words.STYLES if s in styles]
        grounds = [b for b in words.BACKGROUNDS if b in grounds.split() and b != base.background] or [
            base.background or words.BACKGROUNDS[0]
        ]
        changed = replace(
            base,
            background=self.rng.choice(grounds),
            style=base.style if base.style in styles else self.rng.choice(styles),
        )
        reason = f"{changed.background.capitalize()} and {changed.style} make it {mood}."
        return self.show(
            changed,
            [f"A {mood} version:" if mood[0] not in "aeio" else f"An {mood} version:", "Like this:"],
            [reason, ""] if self.g.chance(0.5) else "",
        )

    def mood(self):
        mood = self.rng.choice(list(words.MOODS))
        return self.g.ask(wordings.MOOD, mood=mood), self.moodier(self.state.prompt, mood)

    def mood_of(self):
        mood, (base, text) = self.rng.choice(list(words.MOODS)), self.written()
        return self.g.ask(wordings.MOOD_OF, mood=mood, p=text), self.moodier(base, mood)

    def vary_unknown(self):
        name = self.rng.choice(list(words.UNKNOWN_FAMILY)) if self.g.chance(0.7) else words.invented_word(self.rng)
        family = words.UNKNOWN_FAMILY.get(name)
        n, spoken = self.count()
        asked = self.g.ask(
            wordings.VARY,
            p=self.g.say(
                ["{a}", "{a}, {s}", '"{a}, {s}"', "{a}, {s}, {b} background"],
                a=words.with_article(name),
                s=self.rng.choice(words.STYLES),
                b=self.rng.choice(words.BACKGROUNDS),
            ),
            n=spoken,
        )
        near = words.FAMILIES[family] if family else words.MIXED
        return asked, self.show_list(self.row(near, 3), wordings.NOT_LEARNT, "ideas")

    def improve(self):
        base, text = self.written()
        asked = self.g.ask(wordings.IMPROVE, p=text)
        full = replace(
            base,
            style=base.style or self.rng.choice(words.STYLES),
            background=base.background or self.rng.choice(words.BACKGROUNDS),
        )
        if str(full) == text.strip("\"'"):
            self.state.prompt, self.state.options, self.state.kind = full, [], "prompt"
            return asked, self.g.say(
                [
                    "That is a good prompt as it is. [Draw it, and keep the seed you like.|Shall I vary it?]",
                    "It has all it needs: subject, style and background. [Shall I change something?|]",
                ]
            )
        return asked, self.show(full, ["Clear and complete:", "A little fuller:", "Like this:"])

    def drop(self):
        part = self.rng.choice(("background", "style"))
        asked = self.g.ask(wordings.DROP, part=part)
        gone = {"background": None, "style": None} if part not in asked else {part: None}
        return asked, self.show(replace(self.state.prompt, **gone), wordings.LEAD_CHANGED)

    def pick(self):
        at = self.rng.randrange(len(self.state.options))
        spoken = str(at + 1) if self.g.chance(0.6) else wordings.NUMBERS.get(at + 1, "one")
        asked = self.g.ask(wordings.PICK, k=spoken, kth=("first", "second", "third", "fourth", "fifth", "sixth")[at])
        return asked, self.show(self.state.options[at], ["Good choice:", "That one, then:", "A fine one:"])

    def another(self):
        asked, state = self.g.ask(wordings.ANOTHER), self.state
        if state.kind == "ideas":
            return asked, self.show_list(
                self.row(words.MIXED, max(2, len(state.options))),
                wordings.LEAD_LIST,
                "ideas",
            )
        if state.kind == "variants":
            return asked, self.show_list(
                self.variants(state.prompt, max(2, len(state.options))), wordings.LEAD_VARIANTS, "variants"
            )
        if state.kind == "idea":
            return asked, self.show(
                self.prompt(self.rng.choice([n for n in words.SUBJECTS if n != state.prompt.name])), kind="idea"
            )
        return asked, self.show(self.variants(state.prompt, 1)[0])

    def why(self):
        p = self.state.prompt
        asked = self.g.ask(wordings.WHY, bg=p.background or "that")
        thing = p.name if p.count == 1 else words.plural(p.name)
        parts = [f"The {thing} {'stands' if p.count == 1 else 'stand'} alone and clear"]
        if p.background in words.PLACES:
            parts = [f"The {p.background} gives the {thing} a place to be"]
        elif p.background:
            parts = [f"{p.background.capitalize()} lets the {thing} stand out"]
        if p.style:
            parts.append(
                {
                    "3d style": "3d style gives it body",
                    "color style": "color style makes it lively",
                    "flat style": "flat style keeps it simple",
                    "noto style": "noto style gives it clean lines",
                }.get(p.style, f"{p.style} suits it")
            )
        return asked, ", and ".join(parts) + "."

    def means(self):
        p = self.state.prompt
        asked = self.g.ask(wordings.MEANS)
        where = f"on a plain {p.background} background" if p.background else "on a plain background"
        if p.background in words.PLACES:
            where = words.PLACES[p.background][0]
        shown = f"{p.group} {p.relation} {p.other}" if p.other else str(p.group)
        return asked, f"You will see {shown} {where}" + (
            f", drawn in {p.style}." if p.style else "."
        )

    def ask_styles(self):
        return self.g.ask(wordings.ASK_STYLES), self.g.say(
            [
                "sketch knows 3d style, color style, flat style and noto style. [Flat is the easiest.|3d looks round, flat is plain.]",
                "There are four: 3d style (round and shaded), color style (lively), flat style (plain areas) and noto style (clean, with soft shades).",
            ]
        )

    def ask_grounds(self):
        listed = ", ".join(words.BACKGROUNDS[:-1]) + " and " + words.BACKGROUNDS[-1]
        places = list(words.PLACES)
        painted = ", ".join(places[:-1]) + " and " + places[-1]
        return self.g.ask(wordings.ASK_GROUNDS), self.g.say(f"Plain colors: {listed}. Painted: {painted}.")

    def ask_all(self):
        families = self.rng.sample(
            [f for f in words.FAMILIES if f in ("animal", "plant", "food", "vehicle", "thing", "character")], 3
        )
        listed = ", ".join(
            f"{words.FAMILY_WORDS[f][1]} ({', '.join(self.rng.sample(words.FAMILIES[f], 3))})" for f in families
        )
        return self.g.ask(wordings.ASK_ALL), self.g.say(
            f"sketch draws 64 things: {listed} and more. [One or up to four of a kind, in eight colors, in four styles, before plain colors or painted places such as snow.|In four styles, alone or two kinds together, on a plain color or in a place such as the night sky.]"
        )

    def topic(self, asks, bare):
        """What a poem or story is about: (asked, name, lead). Muse tells of known things only and says so."""
        spoken, name = self.known()
        if self.g.chance(0.12):
            return self.g.ask(bare), name, ""
        if self.g.chance(0.25):
            other = self.rng.choice(list(words.UNKNOWN_FAMILY)) if self.g.chance(0.7) else words.invented_word(self.rng)
            name = self.near(other).name
            return (
                self.g.ask(asks, **self.naming(other)),
                name,
                self.g.say(wordings.OTHER_TOPIC, a=words.with_article(name)),
            )
        return self.g.ask(asks, **self.naming(spoken)), name, ""

    def tell(self, lead: str, text: str, tail: str, p: Prompt) -> str:
        self.state.prompt, self.state.options, self.state.kind = p, [], "poem"
        return lead + text + (f"\n{tail}\n{p}" if self.g.chance(0.5) else "")

    def poem(self):
        asked, thing, lead = self.topic(wordings.POEM, wordings.POEM_BARE)
        p = self.prompt(thing, background=self.plain(thing))
        color = p.background
        text = self.g.say(
            [
                f"A quiet {thing} on {color} ground,\n[it makes no noise, it makes no sound,|it looks at me and turns around,]\nand still a little joy is found.",
                f"[Small|Soft|Bright] {thing}, {color} light,\n[a line, a shade, a touch of white,|a shape that came to me at night,]\nand there you are, a [simple|pleasant|gentle] sight.",
                f"The {thing} is here, the page was bare,\n[a bit of {color} in the air,|some {color} paint was everywhere,]\nand now I see it sitting there.",
            ]
        )
        return asked, self.tell(lead, text, "To draw it:", p)

    def story(self):
        asked, name, lead = self.topic(wordings.STORY, wordings.STORY_BARE)
        p = self.prompt(name, background=self.plain(name))
        color = p.background
        friend = self.rng.choice([n for n in words.SUBJECTS if n != name and n not in words.NO_ARTICLE])
        a = words.with_article(name)
        verb = "were" if name == "cherries" else "was"
        text = self.g.say(
            [
                f"There {verb} once {a} that lived in {words.with_article(color)} picture. One day {words.with_article(friend)} came by, [and they shared the frame ever after|and the picture was never lonely again|and together they looked out at us].",
                f"One {{m}}, {a} met {words.with_article(friend)}. [They said little, but it was a good day.|They painted the sky {color}, and everybody smiled.]",
            ],
            m=self.rng.choice(("morning", "evening", "summer", "quiet night")),
        )
        return asked, self.tell(lead, text, "As a picture:", p)

    def synonyms(self):
        word = self.rng.choice(list(wordings.SYNONYMS))
        self.state.kind = "words"
        return self.g.ask(wordings.SYNONYM_ASK, w=word), self.g.say(
            f"[Try|You could say|For {word}]: {wordings.SYNONYMS[word]}."
        )
