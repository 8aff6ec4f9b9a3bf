//! Weights in the forms that the ops want, each once however many plans use it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{CpuStorage, Device};

use super::decode::{as_floats, bad, decode_all};
use super::executor::CpuMode;
use super::packed::{self, Packed};
use crate::formats::weights::{StorageDtype, TensorData, TensorKey};
use crate::graph::{ExecError, Graph, Interrupt, Op, WeightId};

/// The form in which an op wants a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kept {
    /// Floats, read where they lie if they are floats in the file already.
    Floats,
    /// As in the file, decoded row by row when used.
    File,
    /// Floats as candle's matrix.
    Matrix,
    /// Quantised blocks as candle's matrix.
    Quantised,
    /// Quantised blocks in tiles for our own kernels.
    Packed,
}

/// Floats, own or in a file.
pub(super) enum Floats {
    Own(Vec<f32>),
    File(TensorData),
}

impl Floats {
    pub(super) fn as_slice(&self) -> &[f32] {
        match self {
            Self::Own(values) => values,
            // Whether they can be read was asked when it was made.
            Self::File(tensor) => as_floats(tensor).unwrap_or_default(),
        }
    }
}

/// A weight in one of its forms.
pub(super) enum Loaded {
    Floats(Floats),
    File(TensorData),
    Matrix(CpuStorage),
    Quantised(QTensor, StorageDtype),
    Packed(Packed),
}

/// A loaded weight and the bytes that it takes.
pub(super) struct Weight {
    pub(super) loaded: Loaded,
    bytes: u64,
}

impl Weight {
    /// Whether it can be read as floats without decoding.
    pub(super) fn is_floats(&self) -> bool {
        matches!(self.loaded, Loaded::Floats(_))
    }

    fn load(tensor: &TensorData, kept: Kept) -> Result<Self, ExecError> {
        let loaded = match kept {
            Kept::Floats if as_floats(tensor).is_some() => {
                Loaded::Floats(Floats::File(tensor.clone()))
            }
            Kept::Floats => Loaded::Floats(Floats::Own(decode_all(tensor)?)),
            Kept::File => Loaded::File(tensor.clone()),
            Kept::Matrix => Loaded::Matrix(CpuStorage::F32(decode_all(tensor)?)),
            Kept::Packed => Loaded::Packed(Packed::new(tensor)?),
            Kept::Quantised => {
                let dtype = ggml_dtype(tensor.dtype())
                    .ok_or_else(|| bad(tensor, "candle has no such quantised type"))?;
                let storage = QStorage::from_data(tensor.bytes().into(), &Device::Cpu, dtype);
                let matrix = storage.and_then(|storage| QTensor::new(storage, tensor.shape()));
                Loaded::Quantised(
                    matrix.map_err(|error| bad(tensor, &error.to_string()))?,
                    tensor.dtype(),
                )
            }
        };
        Ok(Self {
            loaded,
            bytes: bytes(tensor, kept),
        })
    }
}

/// The types that candle multiplies fast; for processors without kernels of our own.
pub(super) fn ggml_dtype(dtype: StorageDtype) -> Option<GgmlDType> {
    match dtype {
        StorageDtype::Q8_0 => Some(GgmlDType::Q8_0),
        StorageDtype::Q4_0 => Some(GgmlDType::Q4_0),
        StorageDtype::Q4K => Some(GgmlDType::Q4K),
        StorageDtype::Q6K => Some(GgmlDType::Q6K),
        StorageDtype::Q2K => Some(GgmlDType::Q2K),
        StorageDtype::Q3K => Some(GgmlDType::Q3K),
        StorageDtype::Q5K => Some(GgmlDType::Q5K),
        _ => None,
    }
}

/// Bytes that a weight takes in a form. Bytes that are read in a mapped file count in full: they are in memory while in use. Of a weight that was converted
/// while it was loaded, what it is copied from stays in memory, too.
fn bytes(tensor: &TensorData, kept: Kept) -> u64 {
    let stored = tensor.byte_count() as u64;
    match kept {
        Kept::File => stored,
        Kept::Floats if as_floats(tensor).is_some() => stored,
        Kept::Floats | Kept::Matrix => 4 * tensor.elements() as u64 + tensor.made_bytes(),
        Kept::Quantised => stored + repacked_bytes(tensor) + tensor.made_bytes(),
        Kept::Packed => packed::bytes(tensor).unwrap_or(stored) + tensor.made_bytes(),
    }
}

/// Bytes of the second copy that candle 0.11 makes at first use, in an order that suits its fast kernels.
fn repacked_bytes(tensor: &TensorData) -> u64 {
    let &[n, k] = tensor.shape() else { return 0 };
    let elements = tensor.elements() as u64;
    if cfg!(target_arch = "aarch64") {
        return tensor.byte_count() as u64;
    }
    #[cfg(target_arch = "x86_64")]
    {
        let vnni = is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni");
        if n.is_multiple_of(16) && k.is_multiple_of(256) && is_x86_feature_detected!("avx2") {
            // Bytes of candle's tiles for 4096 elements (512 for Q8_0).
            return match tensor.dtype() {
                StorageDtype::Q4K => elements / 4096 * 3072,
                StorageDtype::Q6K => elements / 4096 * 5120,
                StorageDtype::Q8_0 if vnni => elements / 512 * 544,
                _ => 0,
            };
        }
    }
    let _ = (n, k, elements);
    0
}

/// Quantised matrices of fewer elements are decoded to floats once: they fit the cache as floats, too, and the packed
/// product rounds activations to 8 bits, an error that small models feel most.
const PACKED_FROM: usize = 1 << 20;

/// Weights up to this size are kept before all others where not all fit.
const SMALL: u64 = 64 << 10;

/// The form of a weight in an op.
pub(super) fn kept(graph: &Graph, op: &Op, weight: WeightId, mode: CpuMode) -> Kept {
    let dtype = graph.weight(weight).dtype();
    let (is_oracle, packed_from) = match mode {
        CpuMode::Oracle => (true, PACKED_FROM),
        CpuMode::Fast => (false, PACKED_FROM),
        CpuMode::Packed => (false, 0),
    };
    match *op {
        Op::Embedding { .. } | Op::ExpertLinear { .. } => Kept::File,
        Op::Linear { weight: matrix, .. } if matrix == weight => match (is_oracle, dtype) {
            (true, _) => Kept::Matrix,
            (false, StorageDtype::F16 | StorageDtype::Bf16) => Kept::File,
            (false, _)
                if graph.weight(weight).elements() >= packed_from
                    && packed::bytes(graph.weight(weight)).is_some() =>
            {
                Kept::Packed
            }
            (false, _)
                if ggml_dtype(dtype).is_some()
                    && graph.weight(weight).elements() >= packed_from =>
            {
                Kept::Quantised
            }
            // Those that candle does not know, or multiplies slowly: as floats they would not fit many a memory.
            (false, _)
                if dtype != StorageDtype::F32 && graph.weight(weight).elements() >= packed_from =>
            {
                Kept::File
            }
            (false, _) => Kept::Floats,
        },
        Op::Conv2d { weight: kernel, .. } if kernel == weight => match (is_oracle, dtype) {
            (false, StorageDtype::F16 | StorageDtype::Bf16) => Kept::File,
            _ => Kept::Floats,
        },
        _ => Kept::Floats,
    }
}

/// A weight's identity in the cache.
type Key = (TensorKey, Kept);

struct Entry {
    weight: Arc<Weight>,
    plans: usize,
}

/// What a plan holds of the cache.
pub(super) struct PlanWeights {
    weights: HashMap<(WeightId, Kept), Arc<Weight>>,
    keys: Vec<Key>,
    /// Those that are loaded for each op that uses them, and given back after it.
    streamed: HashSet<(WeightId, Kept)>,
    /// Bytes of those.
    streamed_bytes: u64,
}

impl PlanWeights {
    /// Bytes of weights that are loaded anew in every run.
    pub(super) fn streamed_bytes(&self) -> u64 {
        self.streamed_bytes
    }

    /// The weights of one op; those that are streamed are loaded here, in the very form in which they would be kept.
    pub(super) fn of_node(
        &self,
        graph: &Graph,
        op: &Op,
        mode: CpuMode,
    ) -> Result<NodeWeights<'_>, ExecError> {
        let mut loaded = Vec::new();
        if !self.streamed.is_empty() {
            for id in op.weights() {
                let kept = kept(graph, op, id, mode);
                let there = loaded.iter().any(|(known, _)| *known == (id, kept));
                if self.streamed.contains(&(id, kept)) && !there {
                    loaded.push(((id, kept), Weight::load(graph.weight(id), kept)?));
                }
            }
        }
        Ok(NodeWeights { plan: self, loaded })
    }

    fn get(&self, id: WeightId, kept: Kept) -> Result<&Weight, ExecError> {
        self.weights
            .get(&(id, kept))
            .map(Arc::as_ref)
            .ok_or_else(|| ExecError::Backend {
                context: format!("weight {} of a plan", id.0),
                message: format!("is not there as {kept:?}"),
            })
    }

    /// The weight as floats, if it is not streamed.
    pub(super) fn floats(&self, id: WeightId) -> Result<&[f32], ExecError> {
        match &self.get(id, Kept::Floats)?.loaded {
            Loaded::Floats(floats) => Ok(floats.as_slice()),
            _ => Ok(&[]),
        }
    }
}

/// The weights of one op: the plan's, and those which were loaded for it.
pub(super) struct NodeWeights<'a> {
    plan: &'a PlanWeights,
    loaded: Vec<((WeightId, Kept), Weight)>,
}

impl NodeWeights<'_> {
    /// The weight in a form that the plan was made with.
    pub(super) fn get(&self, id: WeightId, kept: Kept) -> Result<&Weight, ExecError> {
        match self.loaded.iter().find(|(known, _)| *known == (id, kept)) {
            Some((_, weight)) => Ok(weight),
            None => self.plan.get(id, kept),
        }
    }

    /// The weight as floats.
    pub(super) fn floats(&self, id: WeightId) -> Result<&[f32], ExecError> {
        match &self.get(id, Kept::Floats)?.loaded {
            Loaded::Floats(floats) => Ok(floats.as_slice()),
            _ => Ok(&[]),
        }
    }
}

/// What of a graph's weights is kept, where not all fit.
pub(super) struct Split {
    streamed: HashSet<(WeightId, Kept)>,
    /// Bytes of weights that would newly be kept.
    pub(super) kept: u64,
    /// Bytes of the weights that are loaded anew in every run.
    pub(super) streamed_bytes: u64,
    /// Most bytes of such weights at once.
    pub(super) at_once: u64,
}

/// All weights of all plans.
#[derive(Default)]
pub(super) struct WeightCache {
    entries: HashMap<Key, Entry>,
    bytes: u64,
}

/// Each weight of a graph in each of the forms that its ops want, once.
fn wanted(graph: &Graph, mode: CpuMode) -> HashMap<(WeightId, Kept), Key> {
    let mut wanted = HashMap::new();
    for node in &graph.nodes {
        for id in node.op.weights() {
            let kept = kept(graph, &node.op, id, mode);
            wanted
                .entry((id, kept))
                .or_insert_with(|| (graph.weight(id).key(), kept));
        }
    }
    wanted
}

impl WeightCache {
    /// Chooses which weights to keep within `room` bytes, counting what the streamed ones take at once. Constants are kept in any
    /// case: their values outlive their op.
    ///
    /// # Errors
    /// With the bytes that would be needed at the least.
    pub(super) fn split(&self, graph: &Graph, mode: CpuMode, room: u64) -> Result<Split, u64> {
        let wanted = wanted(graph, mode);
        // What each op would load, were all streamed; by this the others are judged.
        let fixed: HashSet<(WeightId, Kept)> = graph
            .nodes
            .iter()
            .filter(|node| matches!(node.op, Op::Constant { .. }))
            .flat_map(|node| {
                let form = |id| (id, kept(graph, &node.op, id, mode));
                node.op.weights().into_iter().map(form)
            })
            .collect();
        let mut order: Vec<((WeightId, Kept), u64)> = wanted
            .keys()
            .map(|form| (*form, bytes(graph.weight(form.0), form.1)))
            .collect();
        // Small ones first. What is read where it lies in its file costs nothing to load, so it is kept last.
        order.sort_by_key(|((id, form), bytes)| {
            let fixed = fixed.contains(&(*id, *form));
            (!fixed, *form == Kept::File, *bytes > SMALL, *id)
        });
        let largest = |streamed: &HashSet<(WeightId, Kept)>| {
            let of_node = |op: &Op| -> u64 {
                // Of a table only the rows asked for are read.
                if matches!(op, Op::Embedding { .. }) {
                    return 0;
                }
                op.weights()
                    .into_iter()
                    .map(|id| (id, kept(graph, op, id, mode)))
                    .filter(|form| streamed.contains(form))
                    .map(|(id, form)| bytes(graph.weight(id), form))
                    .sum()
            };
            let each = graph.nodes.iter().map(|node| of_node(&node.op));
            each.max().unwrap_or(0)
        };
        let all: HashSet<_> = wanted
            .keys()
            .copied()
            .filter(|form| !fixed.contains(form))
            .collect();
        let most_at_once = largest(&all);
        let mut split = Split {
            streamed: HashSet::new(),
            kept: 0,
            streamed_bytes: 0,
            at_once: 0,
        };
        let mut counted: HashSet<Key> = HashSet::new();
        for (form, bytes) in order {
            let Some(key) = wanted.get(&form) else {
                continue;
            };
            if self.entries.contains_key(key) || counted.contains(key) {
                continue;
            }
            if fixed.contains(&form) || split.kept + bytes + most_at_once <= room {
                split.kept += bytes;
                counted.insert(key.clone());
            } else {
                split.streamed.insert(form);
                split.streamed_bytes += bytes;
            }
        }
        split.at_once = largest(&split.streamed);
        if split.kept + split.at_once > room {
            return Err(split.kept + split.at_once);
        }
        Ok(split)
    }

    /// Bytes in use.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of a graph's weights that are not there, and that are there.
    pub(super) fn forecast(&self, graph: &Graph, mode: CpuMode) -> (u64, u64) {
        let (mut new, mut shared) = (0, 0);
        let mut seen = std::collections::HashSet::new();
        for ((id, kept), key) in wanted(graph, mode) {
            if seen.contains(&key) {
                continue;
            }
            let bytes = bytes(graph.weight(id), kept);
            *(if self.entries.contains_key(&key) {
                &mut shared
            } else {
                &mut new
            }) += bytes;
            seen.insert(key);
        }
        (new, shared)
    }

    /// Loads what is not there yet, apart from what `split` leaves to be loaded when it is used. After an error, which an interruption is,
    /// nothing has changed.
    pub(super) fn acquire(
        &mut self,
        graph: &Graph,
        mode: CpuMode,
        split: Option<Split>,
        interrupt: &mut dyn Interrupt,
    ) -> Result<PlanWeights, ExecError> {
        let (streamed, streamed_bytes) = match split {
            Some(split) => (split.streamed, split.streamed_bytes),
            None => (HashSet::new(), 0),
        };
        let mut plan = PlanWeights {
            weights: HashMap::new(),
            keys: Vec::new(),
            streamed,
            streamed_bytes,
        };
        for ((id, kept), key) in wanted(graph, mode) {
            if plan.streamed.contains(&(id, kept)) {
                continue;
            }
            let held = match interrupt.poll() {
                true => Err(ExecError::Interrupted),
                false => self.hold(graph.weight(id), kept, &key),
            };
            match held {
                Ok(weight) => plan.weights.insert((id, kept), weight),
                Err(error) => {
                    self.release(&plan);
                    return Err(error);
                }
            };
            plan.keys.push(key);
        }
        Ok(plan)
    }

    fn hold(
        &mut self,
        tensor: &TensorData,
        kept: Kept,
        key: &Key,
    ) -> Result<Arc<Weight>, ExecError> {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.plans += 1;
            return Ok(Arc::clone(&entry.weight));
        }
        let weight = Arc::new(Weight::load(tensor, kept)?);
        self.bytes += weight.bytes;
        self.entries.insert(
            key.clone(),
            Entry {
                weight: Arc::clone(&weight),
                plans: 1,
            },
        );
        Ok(weight)
    }

    /// Gives back what a plan held.
    pub(super) fn release(&mut self, plan: &PlanWeights) {
        for key in &plan.keys {
            let Some(entry) = self.entries.get_mut(key) else {
                continue;
            };
            entry.plans -= 1;
            if entry.plans == 0 {
                self.bytes -= entry.weight.bytes;
                self.entries.remove(key);
            }
        }
    }
}
