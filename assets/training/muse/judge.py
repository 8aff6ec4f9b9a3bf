"""Judges a finished muse.gguf on wordings that training never saw.

    python judge.py assets/models/muse/muse.gguf --qna qna_chitchat_friendly.qna --show 30

Prints the held-out loss of the dequantised weights; of greedy answers the share of the right kind, the share of what the
person named that is kept, and the share of prompts that lie inside sketch's words; the answers to questions written by
hand; and conversations to read, whose questions are held out and in which muse goes on from its own answers.
"""

import argparse
import collections
import json
import random
import re
from pathlib import Path

import torch

import tokenizer as tok
import words
from dialogue import SYSTEM, Dialogues
from gguf_file import read
from train import SIDE_WEIGHT, judge

REFUSAL = re.compile(
    r"has not learnt|does not know|too much for sketch|by itself comes|the \w+( \w+)? alone|of these sketch knows|counts to four"
    r"|four are the most|two kinds of things|cannot (draw|paint)|what they do",
    re.IGNORECASE,
)


def prompt_lines(text: str) -> list[str]:
    """The lines of an answer that are meant as prompts: with a style or background in them, or after a leading colon."""
    lines = text.split("\n")
    return [
        line
        for at, line in enumerate(lines)
        if line
        and not line.endswith((".", ":", "!"))
        and (
            re.search(r", (\w+ style|\w+ background)", line)
            or re.search(f", ({'|'.join(words.PLACES)})$", line)
            or re.match(r"\d\. ", line)
            or (at and lines[at - 1].endswith(":"))
        )
    ]


def inside(line: str) -> bool:
    """Whether a prompt has the form and only the words of sketch."""
    return words.read_prompt(re.sub(r"^\d\. ", "", line)) is not None


def same_kind(reply: str, want: str) -> bool:
    """Whether an answer is of the reference's kind: as many prompts and the same refusal, or else most of its words."""
    mine, theirs = prompt_lines(reply), prompt_lines(want)
    if mine or theirs:
        return len(mine) == len(theirs) and bool(REFUSAL.search(reply)) == bool(REFUSAL.search(want))
    found, sought = (set(re.findall(r"[a-z0-9-]{4,}", text.lower())) for text in (reply, want))
    return len(found & sought) >= min(2, len(sought))


def asked_parts(question: str, want: str) -> list[tuple[str, str]]:
    """What of the reference's only prompt the person named and must not be lost: each a kind, and the text that is sought."""
    lines = prompt_lines(want)
    if len(lines) != 1 or REFUSAL.search(want):
        return []
    named = [n for n in (*words.SUBJECTS, *words.STYLES, *words.BACKGROUNDS) if re.search(rf"\b{n}\b", lines[0])]
    question = question.lower()
    parts = [("part", n) for n in named if re.search(rf"\b{n}", question)]
    prompt = words.read_prompt(lines[0])
    if prompt is None:
        return parts
    if prompt.count > 1 and re.search(rf"\b({words.COUNTS[prompt.count]}|{prompt.count}|pair|couple)\b", question):
        parts.append(("count", f"{words.COUNTS[prompt.count]} "))
    if prompt.color and prompt.color not in words.COLORS_OF[prompt.name] and prompt.color in question:
        parts.append(("color", str(prompt.group)))
    if prompt.background in words.PLACES and any(w in question for w in (prompt.background, *words.PLACES[prompt.background])):
        parts.append(("place", prompt.background))
    if prompt.other and (prompt.name in question or words.plural(prompt.name) in question) and prompt.other.name in question:
        parts.append(("relation", f"{prompt.group} {prompt.relation} {prompt.other}"))
    return parts


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("model", type=Path)
    args.add_argument("--qna", type=Path)
    args.add_argument("--show", type=int, default=30)
    args.add_argument("--answers", type=int, default=400, help="held-out questions to answer greedily")
    args.add_argument("--temperature", type=float, default=0.0, help="for the conversations that are shown")
    args.add_argument("--seed", type=int, default=777)
    args.add_argument(
        "--ask",
        type=Path,
        default=Path(__file__).parent / "questions.txt",
        help="questions written by hand, one per line",
    )
    a = args.parse_args()
    torch.set_num_threads(1)
    model, tokenizer, _ = read(a.model)
    encoder = tok.Encoder(tokenizer)
    stop = {encoder.end, encoder.begin, encoder.start, encoder.pad}
    generator = torch.Generator().manual_seed(a.seed)

    def answer(messages, temperature=0.0):
        made = model.generate(encoder.question(messages), stop, 200, temperature, 0.9, 1.0, generator)
        return tokenizer.decode(made)

    stream = Dialogues(a.seed, "judge", a.qna)
    rows = sorted(
        (encoder.conversation(stream.conversation(), SIDE_WEIGHT) for _ in range(300)), key=lambda row: len(row[0])
    )
    report = {"held_out_loss": round(judge(model, [r for r in rows if len(r[0]) <= 1024], encoder.pad), 4)}

    right = prompts = within = 0
    parts, kept = collections.Counter(), collections.Counter()
    misses = []
    stream = Dialogues(a.seed + 1, "judge", a.qna)
    rng = random.Random(a.seed)
    for _ in range(a.answers):
        talk = stream.conversation()
        at = rng.choice([i for i, m in enumerate(talk) if m["role"] == "assistant"])
        question, want, reply = talk[at - 1]["content"], talk[at]["content"], answer(talk[:at])
        lines = prompt_lines(reply)
        prompts += len(lines)
        within += sum(map(inside, lines))
        asked = asked_parts(question, want)
        parts.update(kind for kind, _ in asked)
        kept.update(kind for kind, text in asked if text in reply)
        if same_kind(reply, want):
            right += 1
        else:
            misses.append((question, reply, want))
    report |= {
        "answers": a.answers,
        "answers_of_the_right_kind": round(right / a.answers, 3),
        "asked_parts_kept": {kind: f"{kept[kind]} of {parts[kind]}" for kind in sorted(parts)},
        "prompts": prompts,
        "prompts_inside_sketch_words": round(within / max(1, prompts), 4),
    }
    print(json.dumps(report))
    for question, reply, want in misses[:25]:
        print(f"\nMISS {question!r}\n  muse: {reply!r}\n  want: {want!r}")

    print("\n=== questions written by hand, each in a chat of its own")
    for question in a.ask.read_text(encoding="utf-8").splitlines():
        print(
            f"\nuser: {question}\nmuse: {answer([{'role': 'system', 'content': SYSTEM}, {'role': 'user', 'content': question}])}"
        )

    stream = Dialogues(a.seed + 2, "judge", a.qna)
    for number in range(a.show):
        print(f"\n=== conversation {number + 1}")
        talk = []
        for message in stream.conversation():
            if message["role"] == "assistant":
                message = {"role": "assistant", "content": answer(talk, a.temperature)}
            talk.append(message)
            print(f"{message['role']}: {message['content']}")


if __name__ == "__main__":
    main()
