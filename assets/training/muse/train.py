"""Trains muse on the endless dialogues of its grammar.

    python train.py --run RUN_DIR --qna qna_chitchat_friendly.qna --steps 2500

The run folder receives the tokenizer, a checkpoint that a second call resumes from, and `log.jsonl`. Matrices inside
the blocks are trained with Muon (Jordan et al., 2024), embedding and norms with AdamW; the learning rate rises over
the first steps, stays, and falls linearly to zero over the last part of the run. Only what muse says counts fully in
the loss; the person's words count a little. One thread and bfloat16 autocast: made for a shared CPU.
"""

import argparse
import json
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import gguf_file
import tokenizer as tok
from dialogue import Dialogues
from model import Config, Muse

SIDE_WEIGHT = 0.1  # how much the person's tokens count in the loss
AVERAGE = 0.99  # per step, for the averaged weights that are judged and exported
PLAIN_SHARE = 0.08  # of the rows: text without chat marks, so that raw continuation makes sense, too
TOKENIZER_CONVERSATIONS = 30_000
JUDGE_CONVERSATIONS = 200


def tokenizer_of(run: Path, size: int, seed: int, qna) -> tok.Encoder:
    path = run / "tokenizer.json"
    if not path.exists():
        stream = Dialogues(seed, "train", qna)
        texts = (m["content"] for _ in range(TOKENIZER_CONVERSATIONS) for m in stream.conversation())
        tok.train(texts, size).save(str(path))
    return tok.Encoder(tok.load(path))


def pad_batch(rows, pad: int, length: int):
    """Rows of (ids, weights) to inputs, targets and the targets' weights, each [rows, length]."""
    ids = torch.full((len(rows), length + 1), pad)
    weights = torch.zeros(len(rows), length + 1)
    for i, (row, row_weights) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        weights[i, : len(row)] = torch.tensor(row_weights)
    return ids[:, :-1], ids[:, 1:], weights[:, 1:]


def bucket(row, context: int) -> int:
    """The input length that a row is padded to: few different shapes keep the matrix library's plans in its cache."""
    return min(context, -(-(len(row[0]) - 1) // 32) * 32)


def batches(stream: Dialogues, encoder: tok.Encoder, tokens: int, context: int, rng: random.Random):
    """Endless batches of about `tokens` tokens, conversations of like length together, no conversation cut or joined."""
    waiting = {}
    while True:
        groups = []
        for _ in range(400):
            if rng.random() < PLAIN_SHARE:
                ids, weights = encoder.plain(stream.plain_text())
            else:
                ids, weights = encoder.conversation(stream.conversation(), SIDE_WEIGHT)
            if rng.random() < 0.2:  # some begin with the begin-of-text token, as some programs add it
                ids, weights = [encoder.begin, *ids], [0.0, *weights]
            if len(ids) > context:
                continue
            length = bucket((ids, weights), context)
            group = waiting.setdefault(length, [])
            group.append((ids, weights))
            if len(group) == max(1, tokens // length):
                groups.append((waiting.pop(length), length))
        rng.shuffle(groups)
        yield from (pad_batch(group, encoder.pad, length) for group, length in groups)


def loss_of(model: Muse, batch):
    """The weighted mean negative log-likelihood, and the sum and count over muse's own tokens."""
    inputs, targets, weights = batch
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(inputs)
    losses = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    weights = weights.flatten()
    own = weights == 1.0
    return (losses * weights).sum() / weights.sum(), float(losses[own].detach().sum()), int(own.sum())


@torch.no_grad()
def judge(model: Muse, rows, pad: int) -> float:
    """Mean loss per token of muse's answers to held-out wordings, in nats."""
    total = count = 0
    for row in rows:
        _, part, n = loss_of(model, pad_batch([row], pad, bucket(row, model.config.max_position_embeddings)))
        total, count = total + part, count + n
    return total / count


def rate(step: int, steps: int, warmup: int, fall: float) -> float:
    """The share of the full learning rate: rise, plateau, linear fall over the last `fall` of the run."""
    return min(1.0, (step + 1) / warmup, max(0.0, (steps - step) / max(1.0, fall * steps)))


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--run", type=Path, required=True, help="folder of this run")
    args.add_argument("--qna", type=Path, help="qna_chitchat_friendly.qna (MIT); without it there is less small talk")
    args.add_argument("--init", type=Path, help="where to start from, weights only: a checkpoint of an earlier run, or a muse.gguf (with its tokenizer)")
    args.add_argument("--steps", type=int, default=2500)
    args.add_argument("--tokens", type=int, default=4096, help="tokens per batch")
    args.add_argument("--rate", type=float, default=4e-3, help="full learning rate of both optimizers")
    args.add_argument("--fall", type=float, default=0.4, help="share of the run over which the rate falls to zero")
    args.add_argument("--seed", type=int, default=20261)
    args.add_argument("--threads", type=int, default=1)
    args.add_argument("--minutes", type=float, default=1e9, help="stop (resumable) after this time")
    a = args.parse_args()

    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    a.run.mkdir(parents=True, exist_ok=True)
    config, finished = Config(), None
    if a.init and a.init.suffix == ".gguf":
        finished, tokenizer, _ = gguf_file.read(a.init)
        if not (a.run / "tokenizer.json").exists():
            tokenizer.save(str(a.run / "tokenizer.json"))
    encoder = tokenizer_of(a.run, config.vocab_size, a.seed, a.qna)
    model = Muse(config)
    average = Muse(config)
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    optimizers = [
        torch.optim.Muon(matrices, lr=a.rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=a.rate, betas=(0.9, 0.95), weight_decay=0.01),
    ]
    path, step = a.run / "checkpoint.pt", 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        step = state["step"]
    else:
        if finished:
            model.load_state_dict(finished.state_dict())
        elif a.init:
            model.load_state_dict(torch.load(a.init, weights_only=True)["average"])
        average.load_state_dict(model.state_dict())

    judged = Dialogues(a.seed, "judge", a.qna)
    held_out = sorted(
        (encoder.conversation(judged.conversation(), SIDE_WEIGHT) for _ in range(JUDGE_CONVERSATIONS)),
        key=lambda row: len(row[0]),
    )
    held_out = [row for row in held_out if len(row[0]) <= config.max_position_embeddings]
    rng = random.Random(a.seed + step)
    source = batches(
        Dialogues(a.seed * 100_003 + step, "train", a.qna), encoder, a.tokens, config.max_position_embeddings, rng
    )
    log = open(a.run / "log.jsonl", "a", encoding="utf-8")

    def save():
        part = path.with_suffix(".part")
        torch.save(
            {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizers": [o.state_dict() for o in optimizers],
                "step": step,
                "config": config.to_dict(),
            },
            part,
        )
        part.replace(path)

    began, mark, seen, total, count = time.time(), time.time(), 0, 0.0, 0
    while step < a.steps:
        batch = next(source)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = a.rate * rate(step, a.steps, 60, a.fall)
        loss, part, n = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        step += 1
        with torch.no_grad():
            decay = min(AVERAGE, step / (step + 10))
            for kept, new in zip(average.parameters(), model.parameters()):
                kept.lerp_(new, 1 - decay)
        seen, total, count = seen + batch[0].numel(), total + part, count + n
        if step % 25 == 0 or step == a.steps:
            row = {"step": step, "loss": round(total / count, 4), "tokens_per_s": round(seen / (time.time() - mark))}
            mark, seen, total, count = time.time(), 0, 0.0, 0
            if step % 250 == 0 or step == a.steps:
                row["held_out"] = round(judge(average, held_out, encoder.pad), 4)
                save()
                mark = time.time()
            print(json.dumps(row), flush=True)
            log.write(json.dumps(row) + "\n")
            log.flush()
            if time.time() - began > a.minutes * 60:
                break
    save()


if __name__ == "__main__":
    main()
