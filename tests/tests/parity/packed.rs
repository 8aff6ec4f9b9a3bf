//! The packed products of the CPU, whole models through them: quantised weights times activations that are rounded to 8 bits in blocks of 32.
//!
//! The reference has the same weights, dequantised, and activations in f32; so what is measured is the rounding of activations alone. It is no error of f32,
//! and has a bound of its own: a block of 32 values is rounded to steps of a 127th of its largest, an error of about 0.3 % of a typical value, which each
//! product averages over its terms and each of two dozen products adds to. These models of two layers have 16 to 64 features a row, where least is averaged;
//! in models of the usual widths it is several times smaller. Measured: 0.01 to 0.1 at worst, 0.001 to 0.008 on average.

use diptych_inference::cpu::{CpuExecutor, CpuMode};
use diptych_inference::formats::{StorageDtype, TensorData, WeightMap};
use diptych_inference::graph::HostTensor;
use diptych_inference::models::Llama;
use diptych_inference::models::llama::LlamaConfig;
use half::f16;

use crate::common::{Reference, Subject, config, tensors};
use crate::llama::{PAGES, all_logits, gguf, rows_of, run};

/// Largest error of any logit of any row, relative to the largest.
const ROUNDED: f32 = 0.2;
/// Largest mean error of the logits, in the same terms.
const ROUNDED_ON_AVERAGE: f32 = 0.02;
/// What is certainly more than the error of f32: below it nothing would have been rounded.
const NOTHING: f32 = 1e-5;

fn packed() -> Subject {
    Subject::new("cpu-packed", Box::new(CpuExecutor::new(CpuMode::Packed)))
}

fn oracle() -> Subject {
    Subject::new("cpu-oracle", Box::new(CpuExecutor::new(CpuMode::Oracle)))
}

/// The error of logits, which must be more than nothing and less than the bound; and the mean error in the same terms.
fn judge(what: &str, got: &[f32], wanted: &[f32]) {
    let scale = wanted.iter().fold(0f32, |m, v| m.max(v.abs()));
    let errors = || got.iter().zip(wanted).map(|(a, b)| (a - b).abs() / scale);
    let worst = errors().fold(0f32, f32::max);
    let mean = errors().sum::<f32>() / got.len() as f32;
    println!("parity {what:<34} cpu-packed worst {worst:.1e}, mean {mean:.1e}");
    assert!(got.iter().all(|v| v.is_finite()));
    assert!(
        worst <= ROUNDED,
        "{what}: {worst:.2e}, at most {ROUNDED:.0e}"
    );
    assert!(mean <= ROUNDED_ON_AVERAGE, "{what}: {mean:.2e} on average");
    assert!(worst > NOTHING, "{what}: nothing was rounded");
}

#[test]
fn files_in_blocks_of_8_and_4_bits_against_transformers() {
    for (name, kind) in [
        ("llama-gqa", "Q8_0"),
        ("llama-gqa", "Q4_0"),
        ("llama-kquants", "Q4_K_M"),
    ] {
        let model = gguf(name, kind);
        let reference = Reference::file(name, &format!("reference-{kind}.safetensors"));
        let vocab = model.vocab_size();
        let logits = all_logits(&mut packed(), &model, &reference.ids("ids"));
        let rows = reference.ids("rows");
        let chosen: Vec<f32> = rows
            .iter()
            .flat_map(|&row| logits[row as usize * vocab..][..vocab].to_vec())
            .collect();
        judge(
            &format!("{name} {kind}"),
            &chosen,
            reference.f32("logits").as_f32(),
        );
    }
}

/// A matrix in blocks of 32 8-bit integers with an f16 scale, as ggml's Q8_0; what is no matrix of whole blocks stays as it is.
fn in_blocks(name: &str, tensor: &TensorData) -> TensorData {
    let is_matrix = matches!(tensor.shape(), &[_, k] if k % 32 == 0);
    if !is_matrix {
        return tensor.clone();
    }
    let mut bytes = Vec::new();
    for block in tensor.to_f32().unwrap().chunks(32) {
        let largest = block.iter().fold(0f32, |m, v| m.max(v.abs()));
        let scale = f16::from_f32(largest / 127.0);
        bytes.extend(scale.to_le_bytes());
        let step = scale.to_f32();
        bytes.extend(block.iter().map(|value| {
            let code = if step > 0.0 {
                (value / step).round()
            } else {
                0.0
            };
            (code.clamp(-127.0, 127.0) as i8).to_le_bytes()[0]
        }));
    }
    TensorData::new_owned(name, tensor.shape(), StorageDtype::Q8_0, bytes).unwrap()
}

#[test]
fn every_architecture_in_blocks_of_8_bits_against_its_dequantised_weights() {
    for name in [
        "llama-gqa",
        "mistral",
        "qwen2",
        "qwen2-plain",
        "qwen3",
        "gemma2",
        "gemma3",
        "phi3",
        "phi3-long",
        "smollm3",
        "olmo2",
        "granite",
    ] {
        let (path, value) = config(name);
        let config = LlamaConfig::from_json(&path, &value).unwrap();
        let whole = tensors(name, "model.safetensors");
        let mut weights = WeightMap::new(name);
        let mut count = 0;
        for (key, tensor) in whole.iter() {
            let tensor = in_blocks(key, tensor);
            count += usize::from(tensor.dtype() == StorageDtype::Q8_0);
            weights.insert(key, tensor);
        }
        assert!(count >= 4, "{name}: {count} matrices");
        let model = Llama::new(config, weights).unwrap();
        let ids = Reference::of(name).ids("ids");
        let vocab = model.vocab_size();
        let wanted = all_logits(&mut oracle(), &model, &ids);
        let mut subject = packed();
        let got = all_logits(&mut subject, &model, &ids);
        judge(&format!("{name}, whole"), &got, &wanted);

        // Few rows have kernels of their own: token by token behind a prompt.
        let cache = subject.executor.create_kv(model.kv_shape(PAGES)).unwrap();
        run(
            &mut subject,
            &model,
            cache,
            &rows_of(0, &ids[..60], 0),
            0,
            &[],
        );
        let mut steps = Vec::new();
        for (position, &id) in ids.iter().enumerate().take(70).skip(60) {
            let rows = rows_of(0, &[id], position);
            steps.extend(run(&mut subject, &model, cache, &rows, position % 2, &[0]));
        }
        judge(
            &format!("{name}, in steps"),
            &steps,
            &wanted[60 * vocab..70 * vocab],
        );
        let tensor = |values: &[f32]| HostTensor::f32(vec![values.len()], values.to_vec());
        // The same rounding, so nearer to the whole than to the reference; a code here and there falls to the other side.
        let same = &got[60 * vocab..70 * vocab];
        subject.compare("in steps", &tensor(&steps), &tensor(same), ROUNDED);
    }
}
