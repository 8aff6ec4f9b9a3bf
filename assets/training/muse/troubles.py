"""Troubles with pictures and chats, and what helps, in the notation of `grammar.py`.

Each entry has the wordings of the question and the answers; `{prompt}` in an answer is a prompt by chance.
"""

TROUBLES = {
    "blurry": (
        [
            "why is my [picture|image] [so |]blurry?",
            "[my|the] [picture|image|result] [is|looks] [blurry|soft|unsharp|fuzzy|hazy|smeared]",
            "!how do I make [it|the picture] [sharper|crisper|clearer]?",
            "everything is blurry",
            "the [details|edges] are [soft|missing|smeared]",
            "it [looks|came out] [blurry|soft|foggy]",
            "[can I|how to] [fix|avoid] blur?",
            "sketch draws blurry pictures",
        ],
        [
            "Use more steps, about 30, and a simple prompt. sketch draws small pictures, so some softness stays.",
            "Blur often means too few steps or a subject the model hardly knows. Try 30 steps and one plain subject.",
        ],
    ),
    "noisy": (
        [
            "why is [my picture|it] [noisy|grainy|full of speckles|full of dots]?",
            "there is [noise|grain] [in|on] [my|the] picture",
            "![the picture|my image|it] [looks|is] [grainy|noisy|speckled]",
            "how do I get rid of [the noise|the grain|speckles]?",
            "[I see|there are] [dots|speckles|spots] everywhere",
            "the image is only noise",
            "it looks like [television snow|static]",
            "[the result|it] [looks|is] unfinished",
        ],
        [
            "Noise is left when there are too few steps. Go up to 25 or 30.",
            "Raise the steps; if it stays noisy, try another sampler such as Euler or DPM++ 2M.",
        ],
    ),
    "burnt": (
        [
            "the colors are [too strong|burnt|too bright|oversaturated|harsh]",
            "why [are|do] the colors [so strong|look burnt|so harsh]?",
            "[my picture|it] looks [burnt|fried|overcooked|oversaturated]",
            "[too much|there is too much] [contrast|color|saturation]",
            "how do I [soften|tone down|calm] the colors?",
            "everything is too [bright|colorful|saturated]",
            "the picture has [ugly|harsh] [edges|colors]",
            "colors look wrong",
        ],
        [
            "Lower the guidance scale, to about 3. High guidance burns colors.",
            "That is mostly too much guidance. Take it down a step or two and keep the seed to compare.",
        ],
    ),
    "ignores": (
        [
            "![it|the picture|sketch|the model] [ignores|does not follow] my [prompt|words]",
            "why [is|does] [the prompt ignored|it not follow my words]?",
            "[it|sketch] [drew|draws] [something else|the wrong thing|another animal]",
            "[that is|this is] not what I asked for",
            "the [subject|animal|object] is wrong",
            "the background has the wrong color",
            "[I asked for|I wanted] [something else|another color]",
            "why does it draw [something else|the wrong thing]?",
        ],
        [
            "Raise the guidance scale a little, keep the prompt short, and use words that sketch knows. Another seed may help, too.",
            "Put the subject first, drop extra words, and try guidance 5 and two or three seeds.",
        ],
    ),
    "same": (
        [
            "how do I get the same picture again?",
            "[can I|how do I|how can I] [repeat|reproduce|redo|recreate] [a picture|the picture|an image|it exactly]?",
            "I want the same [picture|image|result][ again|]",
            "how do I [make|draw] [it|this picture] again?",
            "[I lost|how do I get back] [a picture|my picture] [that I liked|from yesterday]",
            "how to keep [a|the] picture [the same|stable]?",
            "same picture, one change?",
            "how can I change only one [thing|detail]?",
        ],
        [
            "Use the same seed, prompt, size and settings. The picture file holds them all, so you can load them from it.",
            "Same seed, same words, same settings: then the picture is the same. Change one of them at a time to compare.",
        ],
    ),
    "different": (
        [
            "why is [every picture|the picture|it] different [every time|each time]?",
            "[I get|it gives] another picture [every time|each time]",
            "why do I get different [pictures|results|images]?",
            "the result changes every time",
            "how do I [stop|avoid] the changes?",
            "why [isn't it|is it never] the same?",
            "[can|could] it stay the same?",
            "each run gives [something else|another picture]",
        ],
        [
            "The seed changes with each run. Fix the seed and the picture stays.",
            "A new seed means new noise and so a new picture. Set a seed of your own to hold it.",
        ],
    ),
    "always_same": (
        [
            "why do I always get the same picture?",
            "[every|each] picture [is|looks] the same",
            "I want [other|more varied|different] pictures",
            "how do I get [more variety|another result|different results]?",
            "it [always|only] draws the same [thing|picture]",
            "can it look different?",
            "nothing changes",
            "the variants look [alike|the same]",
        ],
        [
            "Change the seed, or set it to random. You can also ask me for variants of the prompt.",
            "Your seed is probably fixed. Choose another one, or change style or background.",
        ],
    ),
    "slow": (
        [
            "why is it [so |]slow?",
            "[it|drawing|the picture] takes [too long|forever|ages]",
            "how do I make it faster?",
            "can I speed [it|this] up?",
            "[drawing|everything] is slow",
            "how to [draw|get pictures] [faster|more quickly]?",
            "it needs minutes",
            "my computer is slow",
        ],
        [
            "Use fewer steps and a smaller size. Without a graphics card the CPU does all the work.",
            "Fewer steps help most; 15 with DPM++ 2M is a good start. A guidance of 1 also halves the work, but weakens the prompt.",
        ],
    ),
    "memory": (
        [
            "[I am|it is|it ran] out of memory",
            "[not enough|too little] memory",
            "[it|the program] says [memory is full|out of memory]",
            "my [vram|graphics card|gpu] is full",
            "how do I save [memory|vram]?",
            "the model does not fit",
            "[the model|it] is too [big|large] for my [card|gpu|computer]",
            "can I use it with little memory?",
        ],
        [
            "Try a smaller picture, one picture at a time, or a more packed model such as Q4_K.",
            "Lower the size and the count first. Smaller quantized models need less memory, too.",
        ],
    ),
    "shapes": (
        [
            "[the|my] [animal|fox|cat|figure] has [two heads|too many legs|three eyes|no face|odd legs]",
            "the [shape|shapes|form|face] [is|are|looks] [wrong|odd|strange|broken]",
            "why [is it|does it look] so [strange|odd|deformed]?",
            "[it|the picture] [is|looks] [deformed|broken|odd|like a blob]",
            "I only get a blob",
            "[the result|it] is ugly",
            "sketch draws [strange|odd|funny] shapes",
            "the legs are wrong",
        ],
        [
            "Try a few other seeds; some come out better. sketch is small, and simple round subjects suit it best.",
            "That happens with a small model. Take another seed, 30 steps and flat style, which is the easiest.",
        ],
    ),
    "text": (
        [
            "[can it|can sketch|can you] [write|draw] [text|letters|words|my name] [in|on] the picture?",
            "how do I get [text|letters|a word] into the picture?",
            "I want [my name|a text|words|a sign] in the picture",
            "why is the text [wrong|garbled|unreadable]?",
            "put [a title|my name|hello] on it",
            "letters look wrong",
            "can I make a logo[ with text|]?",
            "write hello in the picture",
        ],
        [
            "sketch cannot write letters. Draw the picture first and set the text in another program.",
            "Letters are too hard for sketch, I am sorry. It draws things, not words.",
        ],
    ),
    "repeats": (
        [
            "why do you repeat yourself?",
            "you [already said that|say the same thing again|repeat yourself]",
            "the [chat|chat model] repeats itself",
            "[you keep|stop] [repeating|saying the same thing]",
            "how do I stop [repetition|the repeating]?",
            "always the same answer",
            "say something new",
            "you said that before",
        ],
        [
            "I am small and know few sentences, sorry. A higher temperature or a repetition penalty of 1.1 helps a little.",
            "Raise the temperature to about 0.8, or ask in other words. I know only so many answers.",
        ],
    ),
    "random": (
        [
            "your answers are [too random|strange|nonsense|confusing]",
            "why do you talk nonsense?",
            "[the chat|the model|it] writes [nonsense|gibberish]",
            "[you make|that makes] no sense",
            "how do I get [steadier|better|clearer] answers?",
            "can you be more [precise|careful|serious]?",
            "your answer is wrong",
            "that was nonsense",
        ],
        [
            "I am sorry. Lower the temperature to about 0.3 and ask one simple thing at a time.",
            "Sorry about that, I am small and get lost. Short questions and a lower temperature help.",
        ],
    ),
    "settings": (
        [
            "[which|what] settings [should I use|are good|do you recommend|are best][ for sketch|]?",
            "[give me|tell me] good settings[ for sketch|]",
            "how should I set [it|sketch] up?",
            "what are the best settings?",
            "how many steps [should I use|do I need|are good]?",
            "[which|what] sampler [should I use|is best|do you recommend]?",
            "what guidance [should I use|is good]?",
            "recommended settings[ please|]?",
            "what is a good start?",
        ],
        [
            "For sketch: 30 steps, Euler, guidance 4. Then change one thing at a time.",
            "Start with 30 steps, the Euler sampler and guidance about 4; keep the seed while you compare.",
        ],
    ),
    "begin": (
        [
            "how do I [draw|make|get] [a|my first] picture?",
            "how do I start[ drawing|]?",
            "!what do I have to do [to draw|for a picture]?",
            "[how do I|how to] write a [good |]prompt?",
            "[tips|any tips] for [good |]prompts?",
            "what makes a good prompt?",
            "teach me [prompting|how to write prompts]",
            "!what should I [type|write]?",
            "how are prompts built?",
        ],
        [
            "Write a subject, a style and a background, like this:\n{prompt}\nThen press draw. Short prompts work best.",
            "A good prompt for sketch is short: what, which style, which background. For example:\n{prompt}",
        ],
    ),
    "compare_how": (
        [
            "how do I compare [two pictures|pictures|two prompts|settings]?",
            "[can I|how can I] [see|lay] two pictures side by side?",
            "!how does the compare view work?",
            "which [setting|seed|prompt] is better?",
            "how do I find [the best seed|the best setting|out what a word does]?",
            "I cannot decide between two [pictures|prompts]",
            "how do I test a setting?",
            "what did [this|that] [word|setting] change?",
        ],
        [
            "Keep the seed, change one thing, and lay both pictures side by side in the compare view.",
            "Draw both with the same seed and look at them in the compare view. What differs comes from the one thing you changed.",
        ],
    ),
    "save": (
        [
            "how do I save [a|my|the] picture?",
            "where are my pictures?",
            "[can I|how do I] export [a|the] picture?",
            "is my picture saved?",
            "where do [my pictures|the files] go?",
            "I want to keep [this|the] picture",
            "can I print [it|them]?",
            "how do I share a picture?",
        ],
        [
            "Pictures are kept in the studio's library on your own computer, with their prompt and settings inside.",
            "The studio keeps every picture in its library; from there you can copy it anywhere.",
        ],
    ),
}

# What people add to a complaint.
PLEA = [
    "What can I do?",
    "How do I fix [that|it]?",
    "Help!",
    "Why?",
    "Any idea[ why|]?",
    "What should I change?",
    "What is wrong?",
    "Can you help[ me|]?",
    "What now?",
    "How can I [avoid|prevent] that?",
]
