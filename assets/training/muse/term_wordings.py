"""How people ask about the terms of the glossary, in the notation of `grammar.py`.

Slots: `t` a term, `a` and `b` two terms to compare.
"""

WHAT_ASK = [
    "[what is|what's|what are] {t}?",
    "what does {t} [mean|do]?",
    "[explain|describe|define] {t}[ please| to me|]",
    "[tell me|I want to know|teach me] about {t}",
    "{t}?",
    "what do you know about {t}?",
    "[can you|could you|please] explain {t}[ to me|]?",
    "I [do not|don't] [understand|know] {t}",
    "what is [meant by|the meaning of|the point of] {t}?",
    "[what is|why is there] {t} for?",
    "how does {t} work?",
    "what is this {t}[ thing|]?",
    "[hi|hello|hey], what is {t}?",
    "meaning of {t}",
    "I keep reading {t}, what is it?",
    "what happens with {t}?",
    "why do I need {t}?",
]
TIP_ASK = [
    "[how should I|how do I] [set|use|choose] {t}?",
    "[what|which] {t} [should I use|is good|is best|do you recommend]?",
    "[what is|what's] a good [value for |setting for |]{t}?",
    "[any|give me] [advice|tips|a tip] [on|for|about] {t}[ please|]",
    "best {t}?",
    "when should I [use|change|touch] {t}?",
    "do I need [to change |to set |]{t}?",
    "[is there|what is] a rule for {t}?",
    "recommend [a |]{t}",
    "how much {t} [should I use|is good|do I need]?",
    "where do I [start|begin] with {t}?",
]
CHANGE_ASK = [
    "what happens if I [change|raise|lower|increase] {t}?",
    "what does [a higher|a lower|more|less] {t} do?",
    "should I [raise|lower|increase] {t}?",
    "why [change|does] {t}[ matter|]?",
    "is {t} important?",
    "what [difference does|effect has] {t} [make|on the picture]?",
    "[more|less|higher|lower] {t}?",
    "does {t} change the [picture|result]?",
    "does [my |the |]{t} [matter|count|make a difference]?",
    "what [does|would] [changing|raising|lowering] {t} do?",
]
SIMPLER_ASK = [
    "[simpler|easier|shorter|in plain words|in simple words][ please|]",
    "I [do not|don't] [get it|understand][ it| that|]",
    "[explain|say] it [more simply|like I am five|in other words|for a beginner]",
    "[that is|too] [complicated|hard to understand|technical]",
    "can you [say|explain] [that|it] [simpler|more simply|in plain words]?",
    "[what|huh]? [simpler please|I am a beginner]",
    "an example[ please|]?",
    "like what?",
]
MORE_ASK = [
    "[tell me|say] more[ about it| please|]",
    "[more|more about that|go on|and|continue][ please|]",
    "[anything|what] else[ about it| to know|]?",
    "[can you|could you] [tell me more|go on]?",
    "[and how do I use it|how do I use it|how do I set it|what should I choose]?",
    "any tips?",
    "[and|so] what should I do with it?",
    "[what is|what's] a good value?",
]
WHAT_AND_TIP_ASK = [
    "what is {t} and [why does it matter|how do I set it|what should I use|how do I use it|do I need it]?",
    "[explain|tell me about] {t} and how to [use|set] it",
    "[everything|all] about {t}",
    "{t}: what is it and how do I [use|set] it?",
    "[what does {t} do|how does {t} work] and [which value is good|what should I choose]?",
    "a short [lesson|introduction] to {t}",
    "[teach|show] me how to use {t}",
    "[help|help me] with {t}",
]
WHAT_SIMPLE_ASK = [
    "[explain|describe] {t} [in simple words|in simple terms|simply|to a beginner|to a child|like I am five|in plain words]",
    "what is {t} in [simple|plain|easy] words?",
    "{t} for [beginners|dummies|children]",
    "[simple|short|easy] explanation of {t}",
    "[can you|could you] explain {t} [simply|in simple words]?",
    "[I am a beginner|I am new], what is {t}?",
    "a picture for {t}, in words",
    "what is {t} like?",
]
COMPARE_ASK = [
    "[what is|what's] the difference between {a} and {b}?",
    "[compare|explain] {a} [and|with] {b}",
    "{a} [or|vs|versus] {b}?",
    "how do {a} and {b} differ?",
    "[is|are] {a} the same as {b}?",
    "{a} and {b}, [what is the difference|how do they differ]?",
    "[should I use|what is better,] {a} or {b}?",
    "difference between {a} and {b}",
]
