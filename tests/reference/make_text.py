"""Makes the fixtures in `tests/reference/text`: hard texts through reference tokenizers, conversations through reference templates.

    python tests/reference/make_text.py

Needs `tokenizers`, `transformers`, `sentencepiece` and `jinja2`. All vocabularies are trained here on the few lines below; only OpenAI's merge list comes
from `assets/tokenizers/clip`.
"""

import io
import json
import random
from pathlib import Path

import sentencepiece
import tokenizers
import transformers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = Path(__file__).parent
OUT = HERE / "text"
ROOT = HERE.parent.parent

CORPUS = """The quick brown fox jumps over the lazy dog. A red fox, flat style; a blue whale in the deep sea.
It's what they've said: we'll see, I'm sure, you're right, he'd go, don't you? IT'S WHAT THEY'VE SAID.
Numbers: 1 12 123 1234 12345 2024-11-22 3.14159 1,000,000 0x1F 50% $9.99 ½ ² Ⅷ ٣٤٥.
def main(args):\n    for i in range(10):\n\tprint(f"{i:>3}", end="\\n\\n")\n\n    return None  # done\n
Füße, café, naïve, coöperate, Ålesund, smörgåsbord; Grüße aus München. Ça va très bien, merci.
Привет, как дела? Быстрая коричневая лиса. Ελληνικά γράμματα. Ծառ. שלום עולם. مرحبا بالعالم.
我想在苹果工作，今天天气很好。東京タワーは高いです。カタカナ ひらがな。안녕하세요 세계. สวัสดีชาวโลก នមស្ការ
Emoji: 🦊🐳 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 ✅ ☃ and    many   spaces \t tabs \r\n windows lines.
HelloWorld camelCase snake_case SCREAMING_CASE kebab-case https://example.org/path?x=1&y=2#z user@example.com
"""

HARD = [
    "", " ", "  ", "   ", "\n", "\n\n", "\n\n\n", "\t", "\t\n", "\r\n", " \n", "\n ", " \n ", "\n \n", "   \n   \n   ", "a\n", "\na", "a \n b", "a  b", "a   b",
    "Hello world", " Hello world", "  Hello world", "Hello  world ", "Hello, y'all! How are you?", "Hello\n\n\nworld", "Hello \n\n world", "x\u00a0y", "x\u3000\u3000y",
    "\u2003em\u2003space", "a\u200bb", "\ufeffbom", "tab\tand\x0bvertical\x0cfeed\x85nel\u2028line",
    "it's IT'S It'S i'M we'LL they'Ve he'D 's 't ' s ''s '", "don’t", "I'll've", "'''", "'re're",
    "1", "12", "123", "1234", "12345", "123456", "1234567", " 1 22 333", "1.2.3", "1,000,000.50", "3½", "Ⅷ", "٣٤٥", "x1y2z3", "２０２４", "1a2b", "²³",
    "...", "?!?!", "!", "a!b", "(a) [b] {c}", "<|im_start|>", "<s>", "</s>", "<|endoftext|>", "<0x0A>", "a/b//c", "http://x.y/z?q=1", "#!$%", "--- ---", "/n/", "a!\n\nb", "a! \nb", "!\r\n",
    "Füße CAFÉ naïve", "cafe\u0301 nai\u0308ve", "e\u0301\u0302\u0303", "\u0301a", "Straße STRASSE", "İstanbul ıI", "ΟΔΟΣ ὈΔΥΣΣΕΎΣ", "ſ ﬁ ǅ Ǆ ǆ", "ΣΑΣ.", "ᏣᎳᎩ",
    "Привет мир", "שָׁלוֹם", "مرحبا", "हिन्दी में", "สวัสดี", "កាន់តែពិសេស", "我想在apple工作1314151天～", "東京タワー", "안녕하세요", "안", "ＦＵＬＬ　ｗｉｄｔｈ", "㍿",
    "🦊", "🦊🐳", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", " 🦊 ", "a🦊b", "✅ok", "☃️",
    "HelloWorld", "helloWORLDfoo", "XMLHttpRequest", "camelCaseABCdef", "snake_case_1", "A1B2", "aB", "AB", "Ab'S",
    "\x00", "a\x00b", "\x01\x02", "\x7f", "\u0080", "\U0010ffff", "\ue000", "\ufffd", "\u0378", "\u2581", "a\u2581b", "Ġ", "Ċa",
    "    def f(x):\n        return x\n\n\n    # end", "{\n  \"a\": [1, 2],\n\t\"b\": null\n}", "a" * 70, "=" * 50, " " * 40 + "x", "\n" * 20, "ab" * 40, "é" * 30, "🦊" * 12,
]


def random_texts(count, seed):
    rng = random.Random(seed)
    alphabet = (
        list("  \n\t'sStTdDlmrve.,!?()[]0123456789aAbBzZéßÉΣσς_-/")
        + ["\r\n", "  ", "   ", "'s", "'LL", "the", "fox", "Füße", "\u0301", "я", "中", "한", "🦊", "\u200d", "½", "\u00a0", "\u3000", "\x00", "</w>", "▁", "İ", "<|endoftext|>"]
    )
    return ["".join(rng.choice(alphabet) for _ in range(rng.randint(1, 24))) for _ in range(count)]


TEXTS = HARD + random_texts(90, 7)


def dump(name, value):
    OUT.mkdir(exist_ok=True)
    (OUT / name).write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


# The patterns as the model files have them.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
CASED = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
GPT4O = CASED % (CONTRACTION, CONTRACTION, "{1,3}")
TEKKEN = CASED % ("", "", "")


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), behavior="isolated")


FAMILIES = {
    "gpt-2": ([split(GPT2)], False),
    "llama-bpe": ([split(LLAMA3)], True),
    "qwen2": ([split(QWEN2)], False),
    "smollm": ([pre_tokenizers.Digits(individual_digits=True), split(GPT2)], False),
    "gpt-4o": ([split(GPT4O)], False),
    "tekken": ([split(TEKKEN)], True),
}


def byte_level():
    families = {}
    for name, (stages, whole_words) in FAMILIES.items():
        tok = Tokenizer(models.BPE())
        tok.pre_tokenizer = pre_tokenizers.Sequence(stages + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        tok.train_from_iterator(
            CORPUS.splitlines(keepends=True),
            trainers.BpeTrainer(vocab_size=256 + 330, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False),
        )
        model = json.loads(tok.to_str())["model"]
        vocab = sorted(model["vocab"], key=model["vocab"].get)
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        if whole_words:
            # Words that no merge makes, which only the look-up of whole words finds.
            extra = ["Ġjumps", "ĠHelloWorldly", "zzz", "123"]
            vocab += [w for w in extra if w not in model["vocab"]]
            tok.model = models.BPE(
                vocab={t: i for i, t in enumerate(vocab)}, merges=[tuple(m.split(" ")) for m in merges], ignore_merges=True
            )
        texts = TEXTS + [" jumps jumpsy", "zzz zzzz", " HelloWorldly", "1234123"]
        families[name] = {
            "tokens": vocab,
            "merges": merges,
            "ids": [tok.encode(text, add_special_tokens=False).ids for text in texts],
            "texts": texts[len(TEXTS):],
        }
    dump("bytelevel.json", {"texts": TEXTS, "families": families})


def sentencepieces():
    out = {"texts": [t for t in TEXTS if "\x00" not in t], "models": {}}
    lines = [line.strip() for line in CORPUS.splitlines() if line.strip()]
    for name, fallback, size in [("bytes", True, 520), ("plain", False, 330)]:
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=model, model_type="bpe", vocab_size=size, byte_fallback=fallback,
            normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=0.98,
            num_threads=1, minloglevel=2,
        )
        sp = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        ids = range(sp.get_piece_size())
        kind = lambda i: 2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1
        out["models"][name] = {
            "tokens": [sp.id_to_piece(i) for i in ids],
            "scores": [sp.get_score(i) for i in ids],
            "types": [kind(i) for i in ids],
            "ids": [sp.encode(text) for text in out["texts"]],
        }
    dump("sentencepiece.json", out)


def openai_vocab(merges):
    alphabet = [chr(c) for r in (range(33, 127), range(161, 173), range(174, 256)) for c in r]
    alphabet += [chr(256 + n) for n in range(256 - len(alphabet))]
    tokens = alphabet + [c + "</w>" for c in alphabet] + [m.replace(" ", "") for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    return {t: i for i, t in enumerate(tokens)}


def clip():
    lines = (ROOT / "assets/tokenizers/clip/merges.txt").read_text(encoding="utf-8").split("\n")[1:-1]
    full = transformers.CLIPTokenizer(vocab=openai_vocab(lines), merges=[tuple(m.split(" ")) for m in lines])
    assert len(full) == 49408
    # A tiny vocabulary, saved the way diffusers folders have it.
    trained = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    trained.normalizer = full.backend_tokenizer.normalizer
    trained.pre_tokenizer = full.backend_tokenizer.pre_tokenizer
    trained.train_from_iterator(
        CORPUS.splitlines(),
        trainers.BpeTrainer(vocab_size=420, special_tokens=["!"], end_of_word_suffix="</w>", show_progress=False),
    )
    model = json.loads(trained.to_str())["model"]
    vocab = sorted(model["vocab"], key=model["vocab"].get) + ["<|startoftext|>", "<|endoftext|>"]
    merges = [" ".join(pair) for pair in model["merges"]]
    tables = {t: i for i, t in enumerate(vocab)}
    pairs = [tuple(m.split(" ")) for m in merges]
    sd1 = transformers.CLIPTokenizer(vocab=tables, merges=pairs)
    sd2 = transformers.CLIPTokenizer(vocab=tables, merges=pairs, pad_token="!")
    for folder, pad in [("clip_sd1", "<|endoftext|>"), ("clip_sd2", "!")]:
        path = OUT / folder
        path.mkdir(parents=True, exist_ok=True)
        (path / "vocab.json").write_text(json.dumps(tables, ensure_ascii=False), encoding="utf-8")
        (path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
        special = {
            "bos_token": {"__type": "AddedToken", "content": "<|startoftext|>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False},
            "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": pad,
        }
        (path / "tokenizer_config.json").write_text(json.dumps({**special, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}, indent=1) + "\n")
    texts = TEXTS + ["a red fox, flat style", "A Red Fox!", "hello! world!!", "a photo of a cat " * 30, "<|STARTOFTEXT|> x", "x <|endoftext|> y"]
    pad = dict(padding="max_length", max_length=77, truncation=True)
    words = dict(add_special_tokens=False)
    dump("clip.json", {
        "texts": texts,
        "openai": [full(t, **words).input_ids for t in texts],
        "sd1": [sd1(t, **words).input_ids for t in texts],
        "sd2": [sd2(t, **words).input_ids for t in texts],
        "padded": {"texts": texts[-6:], "sd1": [sd1(t, **pad).input_ids for t in texts[-6:]], "sd2": [sd2(t, **pad).input_ids for t in texts[-6:]]},
    })


# Written after the templates that these families publish.
TEMPLATES = {
    "llama-3": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "llama-3.1": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The system message, if there is one, is pulled out so that it can be extended. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "mistral": "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
    "llama-2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "qwen2.5": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "qwen3": """{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system") %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}""",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
    "phi-3": "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
    "zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    # As these families tell of tools, and of what was called.
    "qwen-tools": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are a helpful assistant.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n\\nYou may call one or more functions.\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools>\\n\\n<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}\\n</tool_call><|im_end|>\\n" }}
{%- elif messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "llama-tools": """{{- bos_token }}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\nYou have access to the following functions.\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- "Today Date: " + strftime_now("%d %b %Y") + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n<|python_tag|>' + tool_call.name + ".call(" }}
        {%- for arg_name, arg_val in tool_call.arguments | items %}
            {{- arg_name + '=' + arg_val | string }}
            {%- if not loop.last %}
                {{- ", " }}
            {%- endif %}
        {%- endfor %}
        {{- ")<|eom_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "mistral-tools": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {{- ', "id": "' + ('00000000' ~ loop.index)[-9:] + '"}' }}
            {%- if not loop.last %}
                {{- ", " }}
            {%- else %}
                {{- "]" + eos_token }}
            {%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool_results" or message["role"] == "tool" %}
        {%- if message.content is defined and message.content.content is defined %}
            {%- set content = message.content.content %}
        {%- else %}
            {%- set content = message.content %}
        {%- endif %}
        {{- '[TOOL_RESULTS] {"content": ' + content|string + "}[/TOOL_RESULTS]" }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
""",
    "hermes-tools": """{%- macro json_to_python_type(json_spec) %}
{%- set basic_type_map = {
    "string": "str",
    "number": "float",
    "integer": "int",
    "boolean": "bool"
} %}
{%- if basic_type_map[json_spec.type] is defined %}
    {{- basic_type_map[json_spec.type] }}
{%- elif json_spec.type == "array" %}
    {{- "list[" + json_to_python_type(json_spec["items"]) + "]" }}
{%- elif json_spec.type == "object" %}
    {{- "dict" }}
{%- elif json_spec.type is iterable %}
    {{- "Union[" }}
    {%- for t in json_spec.type %}
        {{- json_to_python_type({"type": t}) }}
        {%- if not loop.last %}{{- "," }}{%- endif %}
    {%- endfor %}
    {{- "]" }}
{%- else %}
    {{- "Any" }}
{%- endif %}
{%- endmacro %}
{{- bos_token + "<|im_start|>system\\n" }}
{%- if tools is iterable and tools | length > 0 %}
    {{- "<tools> " }}
    {%- for tool in tools %}
        {%- if tool.function is defined %}
            {%- set tool = tool.function %}
        {%- endif %}
        {{- '{"type": "function", "function": ' }}
        {{- '{"name": "' + tool.name + '", ' }}
        {{- '"description": "' + tool.name + '(' }}
        {%- for param_name, param_fields in tool.parameters.properties|items %}
            {{- param_name + ": " + json_to_python_type(param_fields) }}
            {%- if not loop.last %}
                {{- ", " }}
            {%- endif %}
        {%- endfor %}
        {{- ")" }}
        {%- for param_name, param_fields in tool.parameters.properties|items %}
            {%- if loop.first %}
                {{- "\\n    Args:" }}
            {%- endif %}
            {{- "\\n        " + param_name + "(" + json_to_python_type(param_fields) + "): " + param_fields.get("description", "")|trim }}
        {%- endfor %}
        {{- '", "parameters": ' }}
        {%- if tool.parameters.properties | length == 0 %}
            {{- "{}" }}
        {%- else %}
            {{- tool.parameters|tojson }}
        {%- endif %}
        {{- "}" }}
        {%- if not loop.last %}
            {{- "\\n" }}
        {%- endif %}
    {%- endfor %}
    {{- " </tools>" }}
{%- endif %}
{{- "<|im_end|>\\n" }}
{%- for message in messages %}
    {%- if message.role == "user" or message.role == "system" or (message.role == "assistant" and message.tool_calls is not defined) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
    {%- for tool_call in message.tool_calls %}
       {{- '\\n<tool_call>\\n' }}
           {%- if tool_call.function is defined %}
               {%- set tool_call = tool_call.function %}
           {%- endif %}
            {{- '{' }}
            {{- '"name": "' }}
            {{- tool_call.name }}
            {{- '"' }}
            {%- if tool_call.arguments is defined %}
                {{- ', ' }}
                {{- '"arguments": ' }}
                {{- tool_call.arguments|tojson }}
            {%- endif %}
            {{- '}' }}
            {{- '\\n</tool_call>' }}
    {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.previtem and loop.previtem.role != "tool" %}
            {{- '<|im_start|>tool\\n' }}
        {%- endif %}
        {{- '<tool_response>\\n' }}
        {{- message.content }}
        {%- if not loop.last %}
            {{- '\\n</tool_response>\\n' }}
        {%- else %}
            {{- '\\n</tool_response>' }}
        {%- endif %}
        {%- if not loop.last and loop.nextitem.role != "tool" %}
            {{- '<|im_end|>' }}
        {%- elif loop.last %}
            {{- '<|im_end|>' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    # Whatever else templates use: macros, generation blocks, loop controls, filters, methods, Python's way of printing.
    "odds": """{%- macro turn(role, text='') -%}
<{{ role | upper }}>{{ text | trim }}</{{ role }}>
{%- endmacro -%}
{% for message in messages if message.content %}
  {% if loop.index > 3 %}{% break %}{% endif %}
  {% if message.role == 'assistant' %}{% generation %}{{ turn(message.role, message.content) }}{%- endgeneration %}
  {% else %}{{ turn(message.role, text=message.content) }}
  {% endif %}
{% else %}nothing{% endfor %}
{{ [1, 2.5, 'é"<', none, true, {'k': []}] | tojson }}
{{ {'a': 1, 'b': [1, 2]} | tojson(indent=2) }}
{{ true }} {{ none }} {{ 7 // 2 }} {{ -7 % 3 }} {{ 2 ** 5 }} {{ 7 / 2 }} {{ 'ab' * 3 }} {{ 1.0 }}
{{ ['x', 'y'] | join(', ') }} {{ 'a-b-c'.split('-') | last }} {{ 'a b'.replace('a', 'c').title() }} {{ ' x '.strip() ~ 1 ~ none }}
{{ messages | map(attribute='role') | list | join('/') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{{ 'yes' if messages is not string and messages is sequence else 'no' }} {{ messages[-1].content[:3] }} {{ 'abc'[::-1] }} {{ undefined_thing | default('d') }}
{% set x %}captured {{ 1 + 1 }}{% endset %}{{ x | length }} {{ range(3) | list }} {{ {'a': 1}.items() | list }} {{ {'q': 'z'}.get('w', 'none') }}
{{ "it's" }} {{ ['it', "it's"] }} {{ 'x' in 'xyz' and 'b' not in ['a'] }} {{ (1, 2) }} {{ 'tail\\n' }}""",
}

CONVERSATIONS = [
    [{"role": "user", "content": "Hello!"}],
    [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "What is 2+2?\nThink. "}],
    [{"role": "user", "content": "  spaces  "}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nFour."}, {"role": "user", "content": "Füße 🦊 \"quoted\" <b> & {{ braces }} {% raw %}"}],
    [{"role": "system", "content": "You draw."}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b\n"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}],
    [{"role": "assistant", "content": "I begin."}, {"role": "user", "content": ""}],
]


# Templates that tell of tools.
WITH_TOOLS = {name for name in TEMPLATES if name.endswith("-tools")}

# What a model may call, and a conversation in which it did.
TOOLS = [
    {"type": "function", "function": {"name": "draw", "description": "Draws a \"picture\" & <keeps> it. Füße 🦊", "parameters": {
        "type": "object", "properties": {"prompt": {"type": "string", "description": "What to draw."}, "steps": {"type": "integer", "default": 20}, "strength": {"type": "number", "maximum": 1.0}},
        "required": ["prompt"]}}},
    {"type": "function", "function": {"name": "time", "description": "Tells the time.", "parameters": {"type": "object", "properties": {}}}},
]

CALLS = [
    [{"role": "user", "content": "Draw a fox."},
     {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "draw", "arguments": {"prompt": "a fox", "steps": 4, "strength": 0.5, "deep": {"a": [1, None, True]}}}}]},
     {"role": "tool", "content": "{\"done\": true}"},
     {"role": "user", "content": "And the time?"},
     {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "time", "arguments": {}}}]},
     {"role": "tool", "content": "12:30"}],
    [{"role": "system", "content": "You draw."}, {"role": "user", "content": "Draw two."},
     {"role": "assistant", "content": "Two it is.", "tool_calls": [
         {"type": "function", "function": {"name": "draw", "arguments": {"prompt": "a fox"}}},
         {"type": "function", "function": {"name": "draw", "arguments": {"prompt": "a wolf"}}}]},
     {"role": "tool", "content": "one"}, {"role": "tool", "content": "two"}],
]


def templates():
    import datetime

    class Fixed(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 3, 5, 14, 7, 9)

    import transformers.utils.chat_template_utils as utils

    utils.datetime = Fixed
    cases = []
    for name, template in TEMPLATES.items():
        compiled = _compile_jinja_template(template)
        for number, messages in enumerate(CONVERSATIONS + CALLS):
            called = number >= len(CONVERSATIONS)
            if called and name not in WITH_TOOLS:
                continue
            for add, tools in [(True, False), (False, False), (True, True), (False, True)]:
                if tools and name not in WITH_TOOLS:
                    continue
                case = {"template": name, "conversation": number, "add_generation_prompt": add, "tools": tools}
                try:
                    # As `apply_chat_template` calls it.
                    given = TOOLS if tools else None
                    case["text"] = compiled.render(messages=messages, tools=given, documents=None, add_generation_prompt=add, bos_token="<s>", eos_token="</s>")
                except Exception as error:
                    case["refused"] = str(error)
                cases.append(case)
    dump("templates.json", {"now": 1772719629, "templates": TEMPLATES, "conversations": CONVERSATIONS + CALLS, "tools": TOOLS, "cases": cases})


if __name__ == "__main__":
    print("tokenizers", tokenizers.__version__, "transformers", transformers.__version__, "sentencepiece", sentencepiece.__version__)
    byte_level()
    sentencepieces()
    clip()
    templates()
