//! What programs do with models, files and devices without the engine's thread: looking at a model, taking tokens and arrays out of files and writing
//! them, testing a device, measuring it, and making models of random weights for that. The studio knows [`crate::engine`], plain data, and this.

pub use crate::bench::{
    BenchError, ModelReport, OpReport, Options as BenchOptions, Report, Watcher, Workload,
    run as run_bench,
};
pub use crate::formats::gguf::read_gguf;
pub use crate::formats::lora::family_of_width;
pub use crate::formats::safetensors::{read_safetensors, write_safetensors, write_tensors};
pub use crate::formats::weights::DtypeCount;
pub use crate::formats::{StorageDtype, TensorData};
pub use crate::gpu::{AdapterReport, KernelCheck, adapters, self_test};
pub use crate::graph::{ExecError, TierReport, TierState};
pub use crate::models::check::{check, full_conversation, scan};
pub use crate::pipelines::open_executor;
pub use crate::synthesize::{
    Kind, Made, Options as MakeOptions, QUANTS, SynthesizeError, parse_quant, synthesize,
};
pub use crate::text::tokenizer::{
    ClipTokenizer, EncodeOptions, FolderTokenizer, GgufVocab, Tokenizer,
};
