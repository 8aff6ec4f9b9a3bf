"""How people ask for scenes: several of a kind, colors, painted places, two groups; in the notation of `grammar.py`.

Slots: `many` a counted group, `n` a number, `it`, `a_it`, `its` a thing, `other` another group with its article, `rel` how
one stands to the other, `c` a color, `place` a wording of a painted background, `ground` its name.
"""

COUNTED = [
    "!{many}",
    "{many}[ please|]",
    "!draw {many}[ please| for me|]",
    "[make|paint|sketch|create|generate|show me] {many}[ please|]",
    "![I want|I would like|I'd like|I need|give me] {many}[ please|]",
    "[a prompt|prompt|a picture|an image|a drawing] [for|of|with] {many}[ please|]",
    "[make|write|word] a prompt [for|of|with|about] {many}",
    "[can you|could you] [draw|make|paint|do|create] {many}[ please|]?",
    "can [sketch|it] draw {many}?",
    "[expand|improve|complete|word]: {many}",
    "let us [draw|make|do] {many}",
    "what about {many}?",
    "how about {many}[ please|]?",
    "I am thinking of {many}",
    "now {many}",
    "could we have {many}?",
    "I want to [draw|see|make] {many}",
    "a nice prompt for {many}",
]
TINTED = [
    "!{a_it}[ please|]",
    "!draw {a_it}[ please| for me|]",
    "[make|paint|sketch|create|show me] {a_it}[ please|]",
    "[I want|I would like|I need|give me] {a_it}[ please|]",
    "[a prompt|a picture|an image] [for|of|with] {a_it}",
    "[can you|could you] [draw|make|paint] {a_it}?",
    "can [sketch|it] draw {a_it}?",
    "[expand|improve|complete|word]: {a_it}",
    "let us draw {a_it}",
    "how about {a_it}?",
    "is {a_it} possible?",
    "{it} in {c}[ please|]",
]
PLACED = [
    "!{many} {place}[ please|]",
    "!draw {many} {place}[ please|]",
    "[make|paint|sketch|create|show me] {many} {place}[ please|]",
    "[I want|I would like|I need|give me] {many} {place}",
    "[a prompt|a picture|an image] [for|of|with] {many} {place}[ please|]",
    "[can you|could you] [draw|make|paint] {many} {place}?",
    "can [sketch|it] draw {many} {place}?",
    "[expand|improve|complete|word]: {many} {place}",
    "{place} {many}",
    "{many} before a {ground}",
    "{many} with a {ground} [behind it|background]",
    "let us draw {many} {place}",
    "how about {many} {place}?",
]
PAIR = [
    "!{many} {rel} {other}[ please|]",
    "!draw {many} {rel} {other}[ please|]",
    "[make|paint|sketch|show me|create] {many} {rel} {other}[ please|]",
    "[I want|I would like|I need|give me] {many} {rel} {other}",
    "[a prompt|a picture|a scene|an image] [for|of|with] {many} {rel} {other}[ please|]",
    "[can you|could you] [draw|make|paint] {many} {rel} {other}?",
    "can [sketch|it] draw {many} {rel} {other}?",
    "[expand|improve|complete|word]: {many} {rel} {other}",
    "[put|place] {many} {rel} {other}",
    "let us draw {many} {rel} {other}",
    "how about {many} {rel} {other}?",
    "{many} that [is|stands] {rel} {other}",
]
TOGETHER = [
    "{many} and {other}[ together|]",
    "[a scene|a picture|a prompt] with {many} and {other}",
    "can sketch draw {many} with {other}?",
    "{many} with {other}",
    "both {many} and {other}",
    "{many} plus {other}",
]
DOING = [
    "[draw |a prompt for |make |I want |]{many} [riding|fighting|playing with|holding|chasing|eating|hugging|inside|wearing|carrying|kissing|looking at] {other}",
    "{many} that [holds|eats|wears|carries|chases|rides] {other}",
    "can sketch draw {many} [riding|holding|eating|hugging] {other}?",
    "{many} and {other} [dancing|playing|fighting|talking|kissing|running|jumping|playing cards|having tea|holding hands]",
    "[draw |a picture of |I want |make ]{many} [dancing|playing|talking|sitting|walking|flying] with {other}",
]
THREE_THINGS = [
    "{a_it}, {other} and {third}[ please|]",
    "[draw|make|I want|a picture with|a prompt for] {a_it}, {other} and {third}",
    "can sketch draw {a_it}, {other} and {third}?",
]
RECOUNT = [
    "!make it {n}[ please|]",
    "!{n} of [them|those|it][ please|]",
    "[draw|I want|now|give me] {n} of [them|those]",
    "[can you|could you] make it {n}?",
    "{n} {its}[ please| instead|]",
    "[but|now] {n} {its}",
    "with {n} {its}",
    "not one {it}, {n}",
    "[there should be|I need|let there be] {n} {its}",
    "change it to {n} {its}",
]
ONLY_ONE = [
    "only one[ please|]",
    "just one {it}[ please|]",
    "[make it|now] [only |]one",
    "one {it} [is enough|only]",
    "[I want|give me] just one",
    "a single {it}",
]
RECOLOR = [
    "!make it {c}[ please|]",
    "[paint|color] it {c}",
    "[can|could] [it|the {it}] be {c}?",
    "a {c} {it}[ please| instead|]",
    "!make the {it} {c}",
    "[I want|I would like] [it|the {it}] {c}",
    "[turn|change] the {it} [to |]{c}",
    "[the same|same] [in|but] {c}",
    "[a|the] {c} one[ please|]",
    "{c} instead",
    "the {it} should be {c}",
]
ADD = [
    "!add {other}[ please|]",
    "!add {other} {rel2}",
    "[put|place|draw] {other} {rel2}",
    "with {other}[ {rel2}|]",
    "and {other} {rel2}",
    "[I want|I need|give it] {other} {rel2}",
    "[can you|could you] [add|put] {other} {rel2}?",
    "now with {other}[ too|]",
    "there should be {other} {rel2}",
    "[and|also] {other}[ please|]",
]
ALONE = [
    "without the {other}[ please|]",
    "remove the {other}",
    "[take|leave] the {other} [away|out]",
    "only the {it}[ please|]",
    "no {other}[ please|]",
    "just the {it}",
]
REPLACE_GROUND = [
    "!put it {place}[ please|]",
    "!{place}[ please|]",
    "[now|and|and now] {place}",
    "[change|set|switch] the background to [a |]{ground}",
    "[make|turn] the background [a |]{ground}",
    "[the same|same|this] [but |]{place}",
    "[can you|could you] put it {place}?",
    "[I want|I would like] it {place}",
    "with a {ground} [background|behind it]",
    "{ground} background[ please| instead|]",
    "what about {place}?",
    "move it {place}",
]
ASK_COUNTS = [
    "how many [things|animals|cats|apples|subjects] can [it|sketch|you] draw [in one picture|at once|together]?",
    "can [it|sketch|you] draw [several|many|two|more than one|a group of] [things|animals|cats]?",
    "[is more than one thing possible|can there be two things in a picture]?",
    "can I have [several|more than one] [things|subjects] in [a|one] picture?",
    "does sketch understand numbers?",
    "can it count?",
    "how do I get [two|three|several] of [them|a thing]?",
]
ASK_TINTS = [
    "!what colors can I use?",
    "[which|what] colors [does sketch know|are there|can things have|can a thing have|work]?",
    "can I [change|choose] the color of [a thing|things|an animal]?",
    "how do I [change|set] the color of a thing?",
    "[list|tell me] the colors",
    "can things have other colors?",
]
ASK_RELATIONS = [
    "how do I put one thing [next to|above|beside|left of] another?",
    "can [sketch|it] [put|place] things [next to each other|beside each other|above each other]?",
    "how do I [say|word|describe] where things are?",
    "which [relations|positions|places] does sketch know?",
    "can two things stand side by side?",
    "how do I arrange two things?",
]
