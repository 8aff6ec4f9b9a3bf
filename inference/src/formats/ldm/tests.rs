use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::formats::safetensors::{read_safetensors, write_tensors};
use crate::formats::{StorageDtype, TensorData};

/// Made by `tests/reference/make_ldm.py`.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/reference/ldm")
        .join(name)
}

fn fingerprint(weights: &WeightMap) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut eat = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    };
    for (name, tensor) in weights.iter() {
        let dims: Vec<String> = tensor.shape().iter().map(usize::to_string).collect();
        eat(format!("{name} {} ", dims.join("x")).as_bytes());
        eat(tensor.bytes());
    }
    format!("{hash:016x}")
}

/// What the config of diffusers says must be what we inferred, for every key that we state.
fn compare_configs(part: &str, ours: &Value, theirs: &Value) {
    for (key, value) in ours.as_object().unwrap() {
        let stated = &theirs[key];
        // One number stands for a list of equal ones.
        let same = match (value, stated) {
            (Value::Array(list), Value::Number(_)) => list.iter().all(|v| v == stated),
            (Value::Number(_), Value::Array(list)) => list.iter().all(|v| v == value),
            (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
            _ => value == stated,
        };
        assert!(same, "{part}: {key} is {value}, diffusers says {stated}");
    }
}

#[test]
fn the_key_map_is_that_of_diffusers() {
    let expected: Value =
        serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap();
    for (name, family) in [("sd1", Family::Sd1), ("sd2", Family::Sd2)] {
        let model = open_checkpoint(&fixture(&format!("{name}.safetensors"))).unwrap();
        assert_eq!(model.family, Some(family));
        for (part, component) in [
            ("unet", &model.unet),
            ("vae", &model.vae),
            ("text_encoder", &model.text_encoder),
        ] {
            let theirs = &expected[name][part];
            let what = format!("{name} {part}");
            let names: Vec<&str> = component.weights.names().collect();
            assert_eq!(
                names.len() as u64,
                theirs["tensors"].as_u64().unwrap(),
                "{what}: {names:#?}"
            );
            assert_eq!(
                fingerprint(&component.weights),
                theirs["fnv1a"].as_str().unwrap(),
                "{what}: {names:#?}"
            );
            compare_configs(&what, &component.config, &theirs["config"]);
        }
        assert_eq!(model.scheduler["beta_schedule"], "scaled_linear");
    }
}

fn sd(name: &str) -> Safetensors {
    read_safetensors(&fixture(&format!("{name}.safetensors"))).unwrap()
}

fn convert(file: &Safetensors) -> Result<DiffusionModel, FormatError> {
    convert_checkpoint(Path::new("x.safetensors"), file)
}

/// Puts a tensor of zeros into a file.
fn put(file: &mut Safetensors, name: &str, shape: &[usize]) {
    let zeros = vec![0.0; shape.iter().product()];
    let tensor = TensorData::from_f32(name, shape, &zeros).unwrap();
    file.tensors.insert(name, tensor);
}

#[test]
fn prediction_type_follows_metadata_then_weights() {
    // The fixture's norms spread as those of v models do.
    assert_eq!(
        convert(&sd("sd2")).unwrap().prediction_type(),
        "v_prediction"
    );
    assert_eq!(convert(&sd("sd1")).unwrap().prediction_type(), "epsilon");
    let mut file = sd("sd2");
    file.metadata
        .insert("modelspec.prediction_type".into(), "epsilon".into());
    assert_eq!(convert(&file).unwrap().prediction_type(), "epsilon");
    let mut file = sd("sd1");
    file.metadata
        .insert("modelspec.prediction_type".into(), "v".into());
    assert_eq!(convert(&file).unwrap().prediction_type(), "v_prediction");
    let mut file = sd("sd1");
    put(&mut file, "v_pred", &[0]);
    assert_eq!(convert(&file).unwrap().prediction_type(), "v_prediction");
    let mut file = sd("sd2");
    let steps = 875_000i64.to_le_bytes().to_vec();
    let steps = TensorData::new_owned("global_step", &[], StorageDtype::I64, steps).unwrap();
    file.tensors.insert("global_step", steps);
    assert_eq!(convert(&file).unwrap().prediction_type(), "epsilon");
    let mut file = sd("sd2");
    let names: Vec<String> = file.tensors.names().map(str::to_owned).collect();
    for name in names
        .iter()
        .filter(|n| n.ends_with(".norm1.bias") && n.contains("transformer"))
    {
        let shape = file.tensors.get(name).unwrap().shape().to_vec();
        put(&mut file, name, &shape);
    }
    assert_eq!(convert(&file).unwrap().prediction_type(), "epsilon");
}

#[test]
fn other_models_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Safetensors), name: &str| {
        let mut file = sd("sd1");
        change(&mut file);
        let message = convert(&file).unwrap_err().to_string();
        assert!(message.contains(name), "wanted {name}: {message}");
    };
    refused(
        &|f| put(f, "conditioner.embedders.1.model.ln_final.weight", &[4]),
        "an SDXL model without one of its text encoders, which Diptych cannot run yet",
    );
    refused(
        &|f| {
            put(
                f,
                "model.diffusion_model.input_blocks.0.0.weight",
                &[8, 8, 3, 3],
            );
        },
        "InstructPix2Pix",
    );
    refused(
        &|f| put(f, "model.diffusion_model.joint_blocks.0.x", &[1]),
        "Stable Diffusion 3",
    );
    refused(
        &|f| put(f, "model.diffusion_model.label_emb.0.0.weight", &[4, 4]),
        "unCLIP",
    );
    refused(
        &|f| put(f, "model.diffusion_model.out.2.scale_weight", &[3]),
        "out.2.scale_weight",
    );
    refused(&|f| put(f, "a.lora_down.weight", &[1, 1]), "a LoRA only");
    refused(
        &|f| f.tensors = f.tensors.filter_prefix("first_stage_model."),
        "an autoencoder (VAE) only",
    );
    refused(
        &|f| f.tensors = f.tensors.filter_prefix("model.diffusion_model."),
        "the U-Net of a Stable Diffusion model only",
    );
    refused(&|f| f.tensors = WeightMap::new("x"), "unknown format");
    let without = |prefix: &'static str| {
        move |f: &mut Safetensors| {
            let names: Vec<String> = f.tensors.names().map(str::to_owned).collect();
            for name in names.iter().filter(|n| n.starts_with(prefix)) {
                f.tensors.remove(name);
            }
        }
    };
    refused(&without(VAE), "the autoencoder");
    refused(&without(CLIP), "the text encoder");
}

#[test]
fn a_complete_checkpoint_may_lie_in_shards() {
    let folder = tempfile::tempdir().unwrap();
    let file = sd("sd1");
    let all: Vec<TensorData> = file.tensors.iter().map(|(_, t)| t.clone()).collect();
    let (one, two) = all.split_at(all.len() / 2);
    let mut map = serde_json::Map::new();
    for (name, part) in [("a.safetensors", one), ("b.safetensors", two)] {
        write_tensors(&folder.path().join(name), part, &Default::default()).unwrap();
        for tensor in part {
            map.insert(tensor.name().into(), name.into());
        }
    }
    let index = folder.path().join("x.safetensors.index.json");
    std::fs::write(&index, serde_json::json!({ "weight_map": map }).to_string()).unwrap();
    let whole = convert(&file).unwrap();
    let sharded = open_checkpoint(&index).unwrap();
    assert_eq!(
        fingerprint(&whole.unet.weights),
        fingerprint(&sharded.unet.weights)
    );
}

#[test]
fn mangled_checkpoints_never_panic() {
    use rand::{Rng as _, SeedableRng as _};
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    for base in ["sd1", "sd2"] {
        let original = sd(base);
        let names: Vec<String> = original.tensors.names().map(str::to_owned).collect();
        for _ in 0..150 {
            let mut file = original.clone();
            for _ in 0..rng.random_range(1..4) {
                let name = &names[rng.random_range(0..names.len())];
                match rng.random_range(0..3) {
                    0 => drop(file.tensors.remove(name)),
                    1 => {
                        let dims = rng.random_range(0..5);
                        let shape: Vec<usize> = (0..dims).map(|_| rng.random_range(0..4)).collect();
                        put(&mut file, name, &shape);
                    }
                    _ => {
                        let longer = name.replacen(".0.", ".7.", 1);
                        put(&mut file, &longer, &[2, 2]);
                    }
                }
            }
            let _ = convert(&file);
        }
    }
}
