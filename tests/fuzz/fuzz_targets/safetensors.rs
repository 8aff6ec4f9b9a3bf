//! A safetensors file.
#![no_main]

use std::path::Path;

use diptych_inference::formats::safetensors::read_safetensors_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(file) = read_safetensors_bytes(Path::new("fuzz.safetensors"), data.to_vec()) {
        for (_, tensor) in file.tensors.iter() {
            let _ = tensor.to_f32();
        }
    }
});
