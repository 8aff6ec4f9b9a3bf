//! Decoders as GGUF: metadata and tensors as llama.cpp's converter writes them for the models that they are shaped after.

use super::vocabulary::Vocabulary;
use super::{Fill, Kind, Planned};
use crate::formats::gguf::write::GgufWriter;
use crate::formats::{StorageDtype, TensorSpec};

/// Which family's names and tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Llama,
    Qwen,
}

/// The shape of a decoder.
struct Shape {
    style: Style,
    title: &'static str,
    hidden: usize,
    layers: usize,
    intermediate: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    /// Tokens of text, and all rows of the table.
    vocabulary: [usize; 2],
    context: usize,
    /// Whether the table of embeddings is the output matrix too.
    tied: bool,
    /// Factor by which Llama 3 stretches its context.
    stretch: Option<f64>,
}

fn shape(kind: Kind) -> Shape {
    let qwen = Shape {
        style: Style::Qwen,
        title: "Qwen3 0.6B shape, random weights",
        hidden: 1024,
        layers: 28,
        intermediate: 3072,
        heads: 16,
        kv_heads: 8,
        head_dim: 128,
        vocabulary: [151_643, 151_936],
        context: 40_960,
        tied: true,
        stretch: None,
    };
    let llama = Shape {
        style: Style::Llama,
        title: "Llama 3.2 1B shape, random weights",
        hidden: 2048,
        layers: 16,
        intermediate: 8192,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        vocabulary: [128_000, 128_256],
        context: 131_072,
        tied: true,
        stretch: Some(32.0),
    };
    match kind {
        Kind::Qwen3Medium => Shape {
            title: "Qwen3 4B shape, random weights",
            hidden: 2560,
            layers: 36,
            intermediate: 9728,
            heads: 32,
            ..qwen
        },
        Kind::Llama32Small => llama,
        Kind::Llama31Medium => Shape {
            title: "Llama 3.1 8B shape, random weights",
            hidden: 4096,
            layers: 32,
            intermediate: 14_336,
            head_dim: 128,
            tied: false,
            stretch: Some(8.0),
            ..llama
        },
        Kind::LlamaTiny => Shape {
            title: "tiny Llama, random weights",
            hidden: 256,
            layers: 2,
            intermediate: 512,
            heads: 4,
            kv_heads: 2,
            vocabulary: [752, 768],
            context: 2048,
            tied: false,
            ..llama
        },
        Kind::QwenTiny => Shape {
            title: "tiny Qwen3, random weights",
            hidden: 256,
            layers: 2,
            intermediate: 512,
            heads: 4,
            kv_heads: 2,
            vocabulary: [752, 768],
            context: 2048,
            ..qwen
        },
        _ => qwen,
    }
}

/// Turns between marks, as Qwen has them.
const CHAT_ML: &str = r"{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%- endif %}";
/// Turns under headers, as Llama 3 has them.
const HEADERS: &str = r"{{- bos_token }}{%- for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{%- endfor %}{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}";

fn specials(style: Style, count: usize) -> Vec<String> {
    let (named, rest): (&[&str], &str) = match style {
        Style::Qwen => (
            &["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            "<|reserved_",
        ),
        Style::Llama => (
            &[
                "<|begin_of_text|>",
                "<|end_of_text|>",
                "<|reserved_special_token_0|>",
                "<|reserved_special_token_1|>",
                "<|finetune_right_pad_id|>",
                "<|reserved_special_token_2|>",
                "<|start_header_id|>",
                "<|end_header_id|>",
                "<|eom_id|>",
                "<|eot_id|>",
            ],
            "<|reserved_special_token_",
        ),
    };
    let mut all: Vec<String> = named.iter().map(|&name| name.to_owned()).collect();
    // The first three reserved ones of Llama have their places above.
    all.extend(
        (3..)
            .take(count.saturating_sub(named.len()))
            .map(|n| format!("{rest}{n}|>")),
    );
    all
}

/// llama.cpp's number for files that are mostly of a type.
fn file_type(dtype: StorageDtype) -> u32 {
    match dtype {
        StorageDtype::F32 => 0,
        StorageDtype::F16 => 1,
        StorageDtype::Q4_0 => 2,
        StorageDtype::Q4_1 => 3,
        StorageDtype::Q8_0 => 7,
        StorageDtype::Q5_0 => 8,
        StorageDtype::Q5_1 => 9,
        StorageDtype::Q2K => 10,
        StorageDtype::Q3K => 12,
        StorageDtype::Q4K => 15,
        StorageDtype::Q5K => 17,
        StorageDtype::Q6K => 18,
        StorageDtype::Iq4Nl => 25,
        StorageDtype::Iq4Xs => 30,
        StorageDtype::Bf16 => 32,
        // "Guessed" from the tensors.
        _ => 1024,
    }
}

fn put_tokenizer(shape: &Shape, header: &mut GgufWriter) {
    let [plain, total] = shape.vocabulary;
    let room = total.saturating_sub(plain);
    let named = match shape.style {
        Style::Qwen => room.min(26),
        Style::Llama => room,
    };
    let vocabulary = Vocabulary::new(plain, &specials(shape.style, named), total);
    let id = |text: &str| vocabulary.id(text).unwrap_or(0);
    let (pre, bos, eos, pad, eot, template) = match shape.style {
        Style::Qwen => {
            let (end, turn) = ("<|endoftext|>", "<|im_end|>");
            ("qwen2", id(end), id(turn), id(end), id(turn), CHAT_ML)
        }
        Style::Llama => (
            "llama-bpe",
            id("<|begin_of_text|>"),
            id("<|eot_id|>"),
            id("<|finetune_right_pad_id|>"),
            id("<|eot_id|>"),
            HEADERS,
        ),
    };
    header
        .set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", pre)
        .set("tokenizer.ggml.bos_token_id", bos)
        .set("tokenizer.ggml.eos_token_id", eos)
        .set("tokenizer.ggml.eot_token_id", eot)
        .set("tokenizer.ggml.padding_token_id", pad)
        .set("tokenizer.ggml.add_bos_token", shape.style == Style::Llama)
        .set("tokenizer.chat_template", template)
        .set("tokenizer.ggml.tokens", vocabulary.tokens)
        .set("tokenizer.ggml.token_type", vocabulary.types)
        .set("tokenizer.ggml.merges", vocabulary.merges);
}

/// Divisors of the rotation frequencies by which Llama 3.1 stretches its context: slow rotations are divided by `factor`, fast ones
/// kept, those between blended (transformers' `modeling_rope_utils.py`).
fn rope_divisors(theta: f64, head_dim: usize, factor: f64) -> Vec<f32> {
    const ORIGINAL: f64 = 8192.0;
    const LOW: f64 = 1.0;
    const HIGH: f64 = 4.0;
    (0..head_dim / 2)
        .map(|pair| {
            let frequency = theta.powf(-2.0 * pair as f64 / head_dim as f64);
            let turns = ORIGINAL * frequency / std::f64::consts::TAU;
            let kept = ((turns - LOW) / (HIGH - LOW)).clamp(0.0, 1.0);
            (kept + (1.0 - kept) / factor).recip() as f32
        })
        .collect()
}

/// Sets the metadata of a kind and lists its tensors.
pub(super) fn describe(kind: Kind, dtype: StorageDtype, header: &mut GgufWriter) -> Vec<Planned> {
    let shape = shape(kind);
    let (architecture, theta, eps) = match shape.style {
        Style::Llama => ("llama", 5e5, 1e-5f32),
        Style::Qwen => ("qwen3", 1e6, 1e-6),
    };
    let key = |name: &str| format!("{architecture}.{name}");
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    header
        .set("general.architecture", architecture)
        .set("general.type", "model")
        .set("general.name", shape.title)
        .set(
            "general.description",
            "Random weights for measuring; what it writes means nothing.",
        )
        .set("general.quantization_version", 2u32)
        .set("general.file_type", file_type(dtype))
        .set(&key("block_count"), number(shape.layers))
        .set(&key("context_length"), number(shape.context))
        .set(&key("embedding_length"), number(shape.hidden))
        .set(&key("feed_forward_length"), number(shape.intermediate))
        .set(&key("attention.head_count"), number(shape.heads))
        .set(&key("attention.head_count_kv"), number(shape.kv_heads))
        .set(&key("attention.key_length"), number(shape.head_dim))
        .set(&key("attention.value_length"), number(shape.head_dim))
        .set(&key("attention.layer_norm_rms_epsilon"), eps)
        .set(&key("rope.freq_base"), theta as f32)
        .set(&key("rope.dimension_count"), number(shape.head_dim))
        .set(&key("vocab_size"), number(shape.vocabulary[1]));
    put_tokenizer(&shape, header);

    let matrix = |name: &str, rows: usize, columns: usize| {
        Planned::weights(format!("{name}.weight"), &[rows, columns], dtype)
    };
    let gains = |name: &str, width: usize| Planned {
        spec: TensorSpec::new(format!("{name}.weight"), &[width], StorageDtype::F32),
        fill: Fill::Gains,
    };
    let (hidden, vocabulary) = (shape.hidden, shape.vocabulary[1]);
    let [queries, keys] = [shape.heads, shape.kv_heads].map(|heads| heads * shape.head_dim);
    let mut tensors = vec![matrix("token_embd", vocabulary, hidden)];
    if !shape.tied {
        tensors.push(matrix("output", vocabulary, hidden));
    }
    tensors.push(gains("output_norm", hidden));
    if let Some(factor) = shape.stretch {
        let divisors = rope_divisors(theta, shape.head_dim, factor);
        tensors.push(Planned {
            spec: TensorSpec::new("rope_freqs.weight", &[divisors.len()], StorageDtype::F32),
            fill: Fill::Floats(divisors),
        });
    }
    for layer in 0..shape.layers {
        let at = |name: &str| format!("blk.{layer}.{name}");
        tensors.push(gains(&at("attn_norm"), hidden));
        tensors.push(matrix(&at("attn_q"), queries, hidden));
        tensors.push(matrix(&at("attn_k"), keys, hidden));
        tensors.push(matrix(&at("attn_v"), keys, hidden));
        if shape.style == Style::Qwen {
            tensors.push(gains(&at("attn_q_norm"), shape.head_dim));
            tensors.push(gains(&at("attn_k_norm"), shape.head_dim));
        }
        tensors.push(matrix(&at("attn_output"), hidden, queries));
        tensors.push(gains(&at("ffn_norm"), hidden));
        tensors.push(matrix(&at("ffn_gate"), shape.intermediate, hidden));
        tensors.push(matrix(&at("ffn_up"), shape.intermediate, hidden));
        tensors.push(matrix(&at("ffn_down"), hidden, shape.intermediate));
    }
    tensors
}
