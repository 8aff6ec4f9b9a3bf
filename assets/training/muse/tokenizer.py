"""The tokenizer of muse: byte-level BPE with the pre-tokenizer of Llama 3, trained on muse's own dialogues.

The pattern below is the one that GGUF names `llama-bpe`; a tokenizer trained with it is cut in the same way by every
program that reads the file. Ids 0 to 3 are the special tokens.
"""

from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

BEGIN, START, END, PAD = SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train(texts, size: int) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIALS),
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != size:
        raise ValueError(f"the texts gave only {tokenizer.get_vocab_size()} of {size} tokens: use more dialogues")
    return tokenizer


def load(path: Path) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(path))


class Encoder:
    """Turns conversations into ids and loss weights, exactly as the chat template writes them."""

    def __init__(self, tokenizer: tokenizers.Tokenizer):
        self.tokenizer = tokenizer
        self.begin, self.start, self.end, self.pad = (tokenizer.token_to_id(t) for t in SPECIALS)

    def text(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def message(self, role: str, content: str) -> tuple[list[int], list[int]]:
        head, body = [self.start, *self.text(role + "\n")], self.text(content)
        return head, [*body, self.end]

    def conversation(self, messages, side_weight: float) -> tuple[list[int], list[float]]:
        """Ids, and for each id the weight of predicting it: 1 for what muse says, `side_weight` for the rest."""
        ids, weights = [], []
        newline = self.text("\n")
        for message in messages:
            head, body = self.message(message["role"], message["content"])
            own = message["role"] == "assistant"
            ids += head + body + newline
            weights += [0.0] * len(head) + [1.0 if own else side_weight] * len(body) + [0.0] * len(newline)
        return ids, weights

    def plain(self, text: str) -> tuple[list[int], list[float]]:
        """Ids and weights of a text without chat marks; every token but the first counts."""
        ids = [*self.text(text), self.end]
        return ids, [1.0] * len(ids)

    def question(self, messages) -> list[int]:
        """The ids of a conversation with the head of the answer that is asked for."""
        return self.conversation(messages, 0.0)[0] + [self.start, *self.text("assistant\n")]
