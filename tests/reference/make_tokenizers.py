"""Makes `tests/reference/text/tokenizers.json`: small tokenizers of every kind in `tokenizer.json`'s form, with what `tokenizers` makes of hard texts.

    python tests/reference/make_tokenizers.py

Needs `tokenizers`, `sentencepiece` and what `make_text.py` needs, whose corpus and texts are used. Also writes `text/charsmap.json`: SentencePiece's own Unigram with
compiled rules, as GGUF files of the kind `t5` hold them, and BERT's WordPiece as files of the kind `bert` do.
"""

import base64
import io
import json
import tempfile
from pathlib import Path

import sentencepiece
from make_text import CORPUS, OUT, TEXTS
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = [
    "<|im_start|>user\nhello<|im_end|>", "a <|im_end|> b", "<|im_end|><|im_end|>", " <s>hello</s> ", "[CLS] fox [SEP]", "a[MASK]b", "a [MASK] b", "<tool>call</tool>", "x<tool> y", "<TOOL>",
    "word wordy a word", "word", "sword word-word", "a  <strip>  b", "<strip>", " <strip> <strip> ", "naïve <tool>", "<unk>",
]
ALL = TEXTS + SPECIAL
LINES = [line for line in CORPUS.splitlines() if line.strip()]
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# A few of the rules of SentencePiece's nmt_nfkc: what, as code points, becomes what.
RULES = {"ﬁ": "fi", "½": "1⁄2", "㍿": "株式会社", "²": "2", "Ⅷ": "VIII", "\u00a0": " ", "\u3000": " ", "\t": " ", "\n": " ", "\u200b": "", "e\u0301": "é", "カ": "カ", "...": "…"}
RULES = {a: b for a, b in RULES.items() if a != b} | {chr(0xFF01 + i): chr(0x21 + i) for i in range(94)}


def train(tokenizer, trainer):
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def bpe_trainer(special=(), **kwargs):
    return trainers.BpeTrainer(vocab_size=420, show_progress=False, special_tokens=list(special), **kwargs)


def added(tokenizer):
    tokenizer.add_special_tokens([AddedToken("<|im_start|>"), AddedToken("<|im_end|>"), AddedToken("[MASK]", lstrip=True)])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=True), AddedToken("word", single_word=True), AddedToken("<strip>", lstrip=True, rstrip=True, normalized=False)])
    return tokenizer


def byte_level(prefix):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    train(t, bpe_trainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return added(t)


def llama3():
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    train(t, bpe_trainer(["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)])])
    return added(t)


def bytes_of():
    return [f"<0x{b:02X}>" for b in range(256)]


def with_bytes(t, **settings):
    """Puts the 256 byte tokens behind the special ones, and the settings that trainers do not know."""
    raw = json.loads(t.to_str())
    tokens = sorted(raw["model"]["vocab"], key=raw["model"]["vocab"].get)
    tokens = tokens[:3] + bytes_of() + tokens[3:]
    raw["model"]["vocab"] = {token: i for i, token in enumerate(tokens)}
    raw["model"].update(byte_fallback=True, **settings)
    return Tokenizer.from_str(json.dumps(raw))


def spm_decoder():
    return decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1, right=0)])


def llama2():
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    train(t, bpe_trainer(["<unk>", "<s>", "</s>"]))
    t = with_bytes(t, fuse_unk=True)
    raw = json.loads(t.to_str())
    raw["pre_tokenizer"] = None
    t = Tokenizer.from_str(json.dumps(raw))
    t.decoder = spm_decoder()
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    return added(t)


def metaspace(scheme):
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=scheme == "first"))
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=scheme != "first")
    t.decoder = decoders.Metaspace(replacement="▁", prepend_scheme=scheme)
    return added(train(t, bpe_trainer(["<unk>", "<s>", "</s>"], limit_alphabet=120)))


def gemma():
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    t.normalizer = normalizers.Replace(" ", "▁")
    t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    train(t, bpe_trainer(["<unk>", "<s>", "</s>"]))
    t = with_bytes(t, fuse_unk=True)
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return added(t)


def bert(lowercase, accents=None):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=40))
    t.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=lowercase, strip_accents=accents, lowercase=lowercase)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece(prefix="##", cleanup=lowercase)
    train(t, trainers.WordPieceTrainer(vocab_size=420, show_progress=False, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], limit_alphabet=150))
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return added(t)


def pieces():
    t = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Punctuation("contiguous")])
    return added(train(t, bpe_trainer(["<unk>"], continuing_subword_prefix="##", end_of_word_suffix="</w>", limit_alphabet=100)))


def splits():
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.NFC()])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.CharDelimiterSplit("-"), pre_tokenizers.Digits(), pre_tokenizers.Split(Regex(r"(?=[A-Z])"), "isolated"),
        pre_tokenizers.Split(Regex(r"[aeiou]+"), "merged_with_previous"), pre_tokenizers.Split(".", "removed"), pre_tokenizers.Split(Regex("[^!]+"), "contiguous", invert=True),
    ])
    t.decoder = decoders.BPEDecoder(suffix="</w>")
    return added(train(t, bpe_trainer(["<unk>"], limit_alphabet=100)))


def unigram(normalizer, fallback=False):
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    t.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    train(t, trainers.UnigramTrainer(vocab_size=300, show_progress=False, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", initial_alphabet=[]))
    if fallback:
        raw = json.loads(t.to_str())
        raw["model"]["vocab"][3:3] = [[b, 0.0] for b in bytes_of()]
        raw["model"]["byte_fallback"] = True
        t = Tokenizer.from_str(json.dumps(raw))
        t.decoder = spm_decoder()
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return added(t)


def sentencepiece_unigram():
    """SentencePiece's own, with few compiled rules."""
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "rules.tsv"
        rules.write_text("".join(f"{' '.join(f'{ord(c):X}' for c in a)}\t{' '.join(f'{ord(c):X}' for c in b)}\n" for a, b in RULES.items()))
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(LINES), model_writer=model, vocab_size=260, model_type="unigram", normalization_rule_tsv=str(rules), minloglevel=2, num_threads=1,
            pad_id=0, eos_id=1, unk_id=2, bos_id=-1, character_coverage=0.98, hard_vocab_limit=False,
        )
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    return proto, sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def converted(proto):
    t = Tokenizer(models.Unigram([(p.piece, p.score) for p in proto.pieces], unk_id=2))
    t.normalizer = normalizers.Sequence([normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    t.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    return added(t)


def main():
    proto, processor = sentencepiece_unigram()
    made = {
        "byte-level": byte_level(False),
        "byte-level-prefix": byte_level(True),
        "llama3": llama3(),
        "llama2": llama2(),
        "metaspace-first": metaspace("first"),
        "metaspace-always": metaspace("always"),
        "metaspace-never": metaspace("never"),
        "gemma": gemma(),
        "bert-uncased": bert(True),
        "bert-cased": bert(False, True),
        "pieces": pieces(),
        "splits": splits(),
        "unigram": unigram(normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])),
        "unigram-bytes": unigram(normalizers.NFC(), fallback=True),
        "unigram-precompiled": converted(proto),
    }
    cases = {}
    for name, t in made.items():
        plain = [t.encode(text, add_special_tokens=False).ids for text in ALL]
        cases[name] = {
            "tokenizer": json.loads(t.to_str()),
            "ids": plain,
            "with_special": [t.encode(text).ids for text in ALL[:20]],
            "decoded": [t.decode(ids, skip_special_tokens=False) for ids in plain],
        }
    (OUT / "tokenizers.json").write_text(json.dumps({"texts": ALL, "tokenizers": cases}, ensure_ascii=False, separators=(",", ":")) + "\n")

    # The forms that GGUF files have.
    kinds = {sentencepiece_model_pb2.ModelProto.SentencePiece.Type.Value(name): code for name, code in (("NORMAL", 1), ("UNKNOWN", 2), ("CONTROL", 3), ("USER_DEFINED", 4), ("UNUSED", 5), ("BYTE", 6))}
    uncased = made["bert-uncased"]
    vocab = sorted(uncased.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
    phantom = [t if t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") else t[2:] if t.startswith("##") else "▁" + t for t, _ in vocab]
    clean = Tokenizer(models.WordPiece(dict(vocab), unk_token="[UNK]", max_input_chars_per_word=4000))
    clean.normalizer = uncased.normalizer
    clean.pre_tokenizer = uncased.pre_tokenizer
    spec = proto.normalizer_spec
    gguf = {
        "texts": TEXTS,
        "t5": {
            "tokens": [p.piece for p in proto.pieces],
            "scores": [p.score for p in proto.pieces],
            "types": [kinds[p.type] for p in proto.pieces],
            "charsmap": base64.b64encode(spec.precompiled_charsmap).decode(),
            "add_space_prefix": spec.add_dummy_prefix,
            "remove_extra_whitespaces": spec.remove_extra_whitespaces,
            "ids": [processor.encode(text.replace("\0", "")) for text in TEXTS],
        },
        "bert": {"tokens": phantom, "ids": [clean.encode(text, add_special_tokens=False).ids for text in TEXTS]},
    }
    (OUT / "gguf_tokenizers.json").write_text(json.dumps(gguf, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
