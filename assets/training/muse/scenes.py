"""Talk about scenes: several of a kind, colors, painted places and two groups, asked for at once or step by step."""

from dataclasses import replace

import scene_wordings as say
import wordings
import words
from pictures import Pictures
from words import Group, Prompt

COUNTED_AS = {2: ("two", "two", "two", "2", "a pair of", "a couple of"), 3: ("three", "three", "3"), 4: ("four", "four", "4")}
TOO_MANY = (
    "five", "five", "5", "six", "6", "seven", "7", "eight", "8", "nine", "ten", "10", "twelve", "a dozen", "twenty", "20", "50",
    "a hundred", "100", "many", "a lot of", "lots of", "a crowd of",
)  # fmt: skip
# What is said of the second thing when it is added, and how the first then stands to it.
ADDED = {
    "next to": ("next to it", "next to them"),
    "beside": ("beside it", "at its side"),
    "above": ("below it", "underneath"),
    "below": ("above it", "on top of it", "over it"),
    "left of": ("to the right of it", "on the right", "right of it"),
    "right of": ("to the left of it", "on the left", "left of it"),
}
# How people say where something is, and sketch's own word for it.
SPOKEN = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over", "on top of"),
    "below": ("below", "under", "underneath"),
    "beside": ("beside", "at the side of"),
    "next to": ("next to", "near", "close to", "by"),
    "and": ("and",),
}


class Scenes(Pictures):
    """Makes exchanges about scenes, besides those of `Pictures`."""

    # -- pieces ---------------------------------------------------------------------------------------------------

    def countable(self) -> str:
        return self.rng.choice([n for n in words.SUBJECTS if n not in words.NO_ARTICLE and n not in words.ONLY_ONE])

    def tint(self, name: str) -> str | None:
        """A color that a thing can be painted in and does not have by itself."""
        colors = [c for c in words.TINTS if words.takes(name, c) and c not in words.COLORS_OF[name]]
        return self.rng.choice(colors) if colors else None

    def several(self, likely=0.25) -> tuple[Group, str]:
        """Two to four of a kind, now and then in a color, and as people say it."""
        name, count = self.countable(), self.rng.choice((2, 2, 2, 3, 3, 4))
        color = self.tint(name) if self.g.chance(likely) else None
        thing = f"{color} {words.plural(name)}" if color else words.plural(name)
        if self.g.chance(0.06):
            thing = f"{self.rng.choice(words.ADJECTIVES)} {thing}"
        return Group(name, count, color), f"{self.rng.choice(COUNTED_AS[count])} {thing}"

    def single(self, likely=0.2) -> tuple[Group, str]:
        """One thing, now and then in a color, and as people say it."""
        spoken, name = self.known()
        color = self.tint(name) if self.g.chance(likely) else None
        return Group(name, 1, color), words.with_article(f"{color} {spoken}" if color else spoken)

    def group(self, many=0.25) -> tuple[Group, str]:
        return self.several() if self.g.chance(many) else self.single()

    def of(self, group: Group, **given) -> Prompt:
        """A full prompt of a group, its style and background by chance where they are not given."""
        base = self.prompt(group.name, **{k: v for k, v in given.items() if k in ("style", "background")})
        base = replace(base, color=group.color, count=group.count)
        return replace(base, **given)

    def place(self) -> tuple[str, str]:
        ground = self.rng.choice(list(words.PLACES))
        return ground, self.rng.choice(words.PLACES[ground])

    def named(self, asked: str) -> tuple[str, dict]:
        """A style added to what is asked, now and then."""
        if not self.g.chance(0.2):
            return asked, {}
        style = self.rng.choice(words.STYLES)
        short = style.removesuffix(" style") if self.g.chance(0.3) else style
        return asked.rstrip(".?!") + self.g.say(wordings.WITH_STYLE, v=short), {"style": style}

    # -- asked for at once ------------------------------------------------------------------------------------------

    def counted(self):
        group, spoken = self.several()
        asked, given = self.named(self.g.ask(say.COUNTED, many=spoken))
        return asked, self.show(self.of(group, **given))

    def too_many(self):
        name = self.countable()
        wanted = say.COUNTED[:2] if self.g.chance(0.4) else say.COUNTED
        asked = self.g.ask(wanted, many=f"{self.rng.choice(TOO_MANY)} {words.plural(name)}")
        lead = ["sketch counts to four. Four of them, then:", "Four are the most that sketch draws:"]
        return asked, self.show(self.of(Group(name, 4)), lead)

    def tinted(self):
        if self.g.chance(0.35):  # some have their own color and no other, and some colors are no tints
            name = self.rng.choice(sorted(words.UNTINTED - words.NO_ARTICLE))
            if words.COLORS_OF[name] and self.g.chance(0.6):
                color = self.rng.choice(words.COLORS_OF[name])
                asked = self.g.ask(say.TINTED, it=name, a_it=words.with_article(f"{color} {name}"), c=color)
                return asked, self.show(self.of(Group(name, 1, color)))
            color = self.rng.choice([c for c in words.COLORS if not words.takes(name, c)])
            asked = self.g.ask(say.TINTED, it=name, a_it=words.with_article(f"{color} {name}"), c=color)
            return asked, self.show(self.of(Group(name)), self.own_color(name))
        name = self.rng.choice([n for n in words.SUBJECTS if n not in words.UNTINTED and n not in words.NO_ARTICLE])
        color = self.tint(name)
        asked = self.g.ask(say.TINTED, it=name, a_it=words.with_article(f"{color} {name}"), c=color)
        asked, given = self.named(asked)
        return asked, self.show(self.of(Group(name, 1, color), **given))

    def placed(self):
        group, spoken = self.group()
        ground, place = self.place()
        asked, given = self.named(self.g.ask(say.PLACED, many=spoken, place=place, ground=ground))
        return asked, self.show(self.of(group, background=ground, **given))

    def pair(self):
        (first, a), (second, b) = self.group(), self.group()
        if first.name == second.name:
            return self.counted()
        relation = self.rng.choice(words.OWN_RELATIONS)
        spoken = self.rng.choice(SPOKEN[relation])
        if relation == "and" or self.g.chance(0.12):
            relation, asked = "and", self.g.ask(say.TOGETHER, many=a, other=b)
        else:
            asked = self.g.ask(say.PAIR, many=a, rel=spoken, other=b)
        given = {}
        if self.g.chance(0.25):
            given["background"], place = self.place()
            asked = asked.rstrip(".?!") + " " + place
        asked, style = self.named(asked)
        return asked, self.show(self.of(first, relation=relation, other=second, **given, **style))

    def doing(self):
        """Two things of which one does something to the other: sketch can only set them side by side."""
        (first, a), (second, b) = self.single(), self.single()
        if first.name == second.name:
            return self.pair()
        asked = self.g.ask(say.DOING, many=a, other=b)
        lead = ["sketch cannot draw doings. Side by side it can:", "What they do sketch cannot draw. Both of them it can:"]
        return asked, self.show(self.of(first, relation="and", other=second), lead)

    def with_unknown(self):
        """Two things of which sketch knows one."""
        first, a = self.single()
        name = self.rng.choice(list(words.UNKNOWN_FAMILY)) if self.g.chance(0.7) else words.invented_word(self.rng)
        said = [a, words.with_article(name)]
        if self.g.chance(0.5):
            said.reverse()
        rel = self.rng.choice([w for r in SPOKEN.values() for w in r])
        asked = self.g.ask(say.PAIR, many=said[0], rel=rel, other=said[1])
        known = words.with_article(first.name).replace("a ", "the ", 1).replace("an ", "the ", 1)
        lead = [f"sketch has not learnt the other thing. {known.capitalize()} it knows:", f"Of these sketch knows {known}:"]
        return asked, self.show(self.of(first), lead)

    def three_things(self):
        first, second, third = self.rng.sample(words.SUBJECTS, 3)
        asked = self.g.ask(
            say.THREE_THINGS, a_it=words.with_article(first), other=words.with_article(second), third=words.with_article(third)
        )
        lead = ["Two kinds of things are the most for sketch:", "sketch draws two kinds of things at most. Two of yours:"]
        return asked, self.show(self.of(Group(first), relation="and", other=Group(second)), lead)

    def in_setting(self):
        """A subject with surroundings or doings that sketch cannot draw."""
        where = self.rng.choice(wordings.SETTINGS)
        if self.g.chance(0.6):
            spoken, name = self.known()
            if self.g.chance(0.3):
                spoken = f"{self.rng.choice(words.ADJECTIVES)} {spoken}"
            asked = self.g.ask(wordings.EXPAND_FULL, a_it=f"{words.with_article(spoken)} {where}")
            return asked, self.show(
                self.of(Group(name)), [f"sketch draws the {name} alone best:", f"The {name} by itself comes out clearest:"]
            )
        name = self.rng.choice(list(words.UNKNOWN_FAMILY))
        spoken = f"{self.rng.choice(words.ADJECTIVES)} {name}" if self.g.chance(0.3) else name
        asked = self.g.ask(wordings.EXPAND_FULL, a_it=f"{words.with_article(spoken)} {where}")
        return asked, self.show(self.near(name), wordings.NOT_LEARNT)

    def scene_idea(self):
        """An idea that is a scene."""
        first, second = self.group()[0], self.group()[0]
        ground = self.place()[0] if self.g.chance(0.7) else None
        given = {"background": ground} if ground else {}
        if first.name != second.name and self.g.chance(0.45):
            given |= {"relation": self.rng.choice(words.OWN_RELATIONS), "other": second}
        asked = self.g.ask(wordings.SCENE_IDEA)
        return asked, self.show(self.of(first, **given), kind="idea")

    # -- changes of the last prompt -----------------------------------------------------------------------------------

    def recount(self):
        p = self.state.prompt
        if p.name in words.ONLY_ONE:
            return self.replace_ground()
        if p.count > 1 and self.g.chance(0.4):
            asked = self.g.ask(say.ONLY_ONE, it=p.name)
            return asked, self.show(replace(p, count=1), wordings.LEAD_CHANGED)
        count = self.rng.choice([n for n in words.COUNTS if n != p.count])
        spoken = words.COUNTS[count] if self.g.chance(0.75) else str(count)
        asked = self.g.ask(say.RECOUNT, n=spoken, it=p.name, its=words.plural(p.name))
        return asked, self.show(replace(p, count=count), wordings.LEAD_CHANGED)

    def recolor(self):
        p = self.state.prompt
        colors = [c for c in words.TINTS if words.takes(p.name, c) and c != p.color]
        if colors and self.g.chance(0.85):
            color = self.rng.choice(colors)
            asked = self.g.ask(say.RECOLOR, c=color, it=p.name)
            return asked, self.show(replace(p, color=color), wordings.LEAD_CHANGED)
        color = self.rng.choice([c for c in words.COLORS if not words.takes(p.name, c)])
        asked = self.g.ask(say.RECOLOR, c=color, it=p.name)
        return asked, self.show(replace(p, color=None), self.own_color(p.name))

    def add(self):
        p = self.state.prompt
        second, spoken = self.group(0.2)
        if p.other or second.name == p.name:
            if not p.other:
                return self.recount()
            asked = self.g.ask(say.ADD, other=spoken, rel2=self.rng.choice([w for r in ADDED.values() for w in r]))
            lead = ["Two kinds of things are the most for sketch. Instead of the other:", "It takes the place of the other:"]
            return asked, self.show(replace(p, other=second), lead)
        relation = self.rng.choice(list(ADDED))
        asked = self.g.ask(say.ADD, other=spoken, rel2=self.rng.choice(ADDED[relation]))
        said = next((r for r, ways in ADDED.items() if any(w in asked for w in ways)), "and")
        return asked, self.show(replace(p, relation=said, other=second), wordings.LEAD_CHANGED)

    def alone(self):
        p = self.state.prompt
        if not p.other:
            return self.add()
        other = p.other.name if p.other.count == 1 else words.plural(p.other.name)
        mine = p.name if p.count == 1 else words.plural(p.name)
        asked = self.g.ask(say.ALONE, it=mine, other=other)
        return asked, self.show(replace(p, relation=None, other=None), wordings.LEAD_CHANGED)

    def replace_ground(self):
        p = self.state.prompt
        ground = self.rng.choice([b for b in words.PLACES if b != p.background])
        asked = self.g.ask(say.REPLACE_GROUND, place=self.rng.choice(words.PLACES[ground]), ground=ground)
        return asked, self.show(replace(p, background=ground), wordings.LEAD_CHANGED)

    # -- what sketch can do ---------------------------------------------------------------------------------------------

    def ask_counts(self):
        group = self.several()[0]
        self.state.kind = "prompt"
        self.state.prompt, self.state.options = self.of(group), []
        return self.g.ask(say.ASK_COUNTS), self.g.say(
            "[Two, three or four of a kind|Up to four of a kind], and two kinds of things at once. For example:\n"
        ) + str(self.state.prompt)

    def ask_tints(self):
        listed = ", ".join(words.TINTS[:-1]) + " and " + words.TINTS[-1]
        return self.g.ask(say.ASK_TINTS), self.g.say(
            f"Most things can be {listed}. [Put the color before the thing|Say the color first], as in a purple cat."
        )

    def ask_relations(self):
        return self.g.ask(say.ASK_RELATIONS), self.g.say(
            "[Say|Write] left of, right of, above, below, beside, next to or and between the two, as in [a fox left of a house|a star above a castle|two cats beside a tree]."
        )
