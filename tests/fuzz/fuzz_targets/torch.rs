//! Files of torch.
#![no_main]

use std::path::Path;

use diptych_inference::formats::torch::read_torch_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = read_torch_bytes(Path::new("fuzz.ckpt"), data.to_vec());
});
