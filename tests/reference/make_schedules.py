"""Prompts over the steps as AUTOMATIC1111 reads them: tests/reference/text/schedules.json.

Needs `lark` and a folder with AUTOMATIC1111's own modules/prompt_parser.py (version 1.6 or later), which is imported and not copied:

    python make_schedules.py path/to/stable-diffusion-webui/modules
"""

import json
import pathlib
import random
import sys
import types

# Its end imports torch for what is not used here.
sys.modules.setdefault("torch", types.ModuleType("torch"))
sys.path.insert(0, sys.argv[1])
import prompt_parser  # noqa: E402

PROMPTS = [
    "test", "", " ", "a [b:3]", "a [b: 3]", "a [b:3 ]", "a [[[b]]:2]", "[(a:2):3]", "a [b : c : 1] d", "a[b:[c:d:2]:1]e",
    "a [unbalanced", "a [b:.5] c", "a [{b|d{:.5] c", "((a][:b:c [d:3]", "[a|(b:1.1)]", "[fe|]male", "[fe|||]male", "[|a]", "[|]",
    "a [b:1.5] c", "a [b:1.0]", "a [b:0]", "a [b:0.0]", "a [b:-3]", "a [b::4] c", "[a::0.3]", "[:a:3]", "[:3]", "[::3]", "[a:b:99]",
    "[a:b:0.25] [c:d:0.75][ e::0.6][ f:0.25] [g:h:0.5]", "[a:b:+2]", "[a:b:1e1]", "[a:b:2.]", "[a:b:two]", "[a:b:c:3]", "[a:1:2]",
    "[a|b|c] and [d|e]", "[a|b:3]", "[[a|b]:c:4]", "[a:[b|c]:4]", "a | b [c:3]", "(a|b)", "(a:b:c)", "(a:1.2) [b]", "((a))[[b]]",
    r"\[a:b:3\]", r"a\\[b:3]", "a\\", "a \\\nb", "a [b\nc:3]", "(a [b:3]", "a) [b:3]", "[a:b:3", "[a:b:3]]", "[[a:b:3]",
    "fox AND cat [b:3]", "<lora:x:0.5> [a:b:3]", "<lora:[x|y]:0.5>", "ü [é:日本:2] ß", "[a:b: 0.5 ] c", "[a:b:\t3]", "[a :b:3]",
    "[(a:[b:c:2]):5]", "[a|[b|c]|d]", "(x [a|b]:1.2)", "([a:b:3]:1.3)", "[a:(b:1.2):3]", "[a:b:3][c:d:3]", "[a:b:3:4]", "[1:2:3]",
    "[:]", "[]", "()", "[:", ":]", "a:b", "a: b [c:2]", "[a:b:5.5]", "[a:b:0.05]", "[a:b:0.999]", "[a:b:.1][c:.1]", "BREAK [a:b:3] BREAK c",
]


def main() -> None:
    rng = random.Random(7)
    prompts = list(PROMPTS)
    pieces = ["a", "b ", " c", "[", "]", "(", ")", ":", "|", "[", "]", ":", "0.5", "3", "7", ".2", " ", "\\(", "[x:y:2]", "[p|q]", "-1"]
    while len(prompts) < 700:
        prompts.append("".join(rng.choice(pieces) for _ in range(rng.randint(2, 12))))
    cases = []
    for prompt in prompts:
        for steps in (10, 3):
            (schedule,) = prompt_parser.get_learned_conditioning_prompt_schedules([prompt], steps)
            cases.append([prompt, steps, schedule])
    path = pathlib.Path(__file__).parent / "text" / "schedules.json"
    path.write_text(json.dumps(cases, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{len(cases)} cases, {path.stat().st_size} bytes")


main()
