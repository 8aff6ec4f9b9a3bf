//! Additions to models: LoRA (Hu et al. 2021), its form for convolutions (LoCon), and LoHa (Hyeon-Woo et al. 2022, "FedPara"), by the key
//! names of kohya-ss' scripts, LyCORIS, diffusers and peft.
//!
//! A file holds for each layer a few small factors; their product, times `alpha / rank`, is added to the layer's weight. Layers are named
//! by one convention here: kohya's, in which dots are underscores, after `lora_unet_` or `lora_te_`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{FormatError, brief};
use super::lokr::{self, Half};
use super::safetensors::read_any;
use super::weights::{TensorData, WeightMap};

/// What a layer's change is made of.
#[derive(Clone, Debug)]
enum Factors {
    /// `up * down`, for convolutions perhaps with a small convolution between.
    Low {
        up: TensorData,
        down: TensorData,
        mid: Option<TensorData>,
    },
    /// `(w1a * w1b) . (w2a * w2b)`, element by element, for convolutions perhaps with a core each.
    Hadamard {
        w1: [TensorData; 2],
        w2: [TensorData; 2],
        cores: Option<[TensorData; 2]>,
    },
    /// The change itself.
    Whole(TensorData),
    /// The Kronecker product of two.
    Kronecker(Half, Half),
}

/// One layer's change.
#[derive(Clone, Debug)]
pub struct LoraLayer {
    factors: Factors,
    alpha: Option<f32>,
    /// The length that each row (or column) of the changed weight is brought to, in a DoRA (Liu et al. 2024).
    lengths: Option<TensorData>,
}

/// A file of changes.
#[derive(Clone, Debug)]
pub struct Lora {
    path: PathBuf,
    layers: BTreeMap<String, LoraLayer>,
    /// How many tensors are of no known kind, and the name of one.
    unknown: Option<(usize, String)>,
}

/// What the name of a layer's bias ends with: layers' own names have no dots.
pub const BIAS: &str = ".bias";

/// Endings of what factors are called.
const KINDS: [(&str, &str); 36] = [
    (".lora_down.weight", "down"),
    (".lora_up.weight", "up"),
    (".lora_mid.weight", "mid"),
    (".lora_A.weight", "down"),
    (".lora_B.weight", "up"),
    (".lora_A.default.weight", "down"),
    (".lora_B.default.weight", "up"),
    (".lora.down.weight", "down"),
    (".lora.up.weight", "up"),
    (".lora_linear_layer.down.weight", "down"),
    (".lora_linear_layer.up.weight", "up"),
    ("_lora.down.weight", "down"),
    ("_lora.up.weight", "up"),
    (".hada_w1_a", "w1a"),
    (".hada_w1_b", "w1b"),
    (".hada_w2_a", "w2a"),
    (".hada_w2_b", "w2b"),
    (".hada_t1", "t1"),
    (".hada_t2", "t2"),
    (".diff", "whole"),
    (".diff_b", "bias"),
    // LyCORIS' changes of norms.
    (".w_norm", "whole"),
    (".b_norm", "bias"),
    (".alpha", "alpha"),
    (".network_alpha", "alpha"),
    (".dora_scale", "dora"),
    (".lora_magnitude_vector", "dora"),
    (".lora_magnitude_vector.weight", "dora"),
    (".lora_magnitude_vector.default.weight", "dora"),
    (".lokr_w1", "k1"),
    (".lokr_w1_a", "k1a"),
    (".lokr_w1_b", "k1b"),
    (".lokr_w2", "k2"),
    (".lokr_w2_a", "k2a"),
    (".lokr_w2_b", "k2b"),
    (".lokr_t2", "kt2"),
];

impl Lora {
    /// Reads a safetensors file. What is of no known kind beside layers that are is left out and told by [`Self::unknown`].
    ///
    /// # Errors
    /// Faults of the file; files without a layer of a known kind.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        Self::from_tensors(path, &read_any(path)?.tensors)
    }

    /// As [`Self::open`], of tensors that were read; `path` is named in messages.
    ///
    /// # Errors
    /// As [`Self::open`], without the faults of the file.
    pub fn from_tensors(path: &Path, tensors: &WeightMap) -> Result<Self, FormatError> {
        let mut parts: BTreeMap<String, BTreeMap<&str, TensorData>> = BTreeMap::new();
        let mut unknown: Option<(usize, String)> = None;
        for (name, tensor) in tensors.iter() {
            let found = KINDS
                .iter()
                .find_map(|(end, kind)| Some((name.strip_suffix(end)?, *kind)));
            let Some((layer, kind)) = found else {
                let (count, _) = unknown.get_or_insert_with(|| (0, brief(name)));
                *count += 1;
                continue;
            };
            parts
                .entry(plain_name(layer))
                .or_default()
                .insert(kind, tensor.clone());
        }
        let mut layers = BTreeMap::new();
        for (name, mut parts) in parts {
            let alpha = match parts.remove("alpha") {
                Some(alpha) => alpha.to_f32()?.first().copied(),
                None => None,
            };
            let mut take = |kind: &str| parts.remove(kind);
            if let Some(bias) = take("bias") {
                let layer = LoraLayer {
                    factors: Factors::Whole(bias),
                    alpha: None,
                    lengths: None,
                };
                layers.insert(format!("{name}{BIAS}"), layer);
            }
            let lengths = take("dora");
            let halves = (
                Half::new(take("k1"), take("k1a"), take("k1b"), None),
                Half::new(take("k2"), take("k2a"), take("k2b"), take("kt2")),
            );
            let factors = match (take("up"), take("down"), take("whole")) {
                (Some(up), Some(down), _) => Factors::Low {
                    up,
                    down,
                    mid: take("mid"),
                },
                (_, _, Some(whole)) => Factors::Whole(whole),
                _ if halves.0.is_some() && halves.1.is_some() => match halves {
                    (Some(one), Some(two)) => Factors::Kronecker(one, two),
                    _ => continue,
                },
                _ => match (take("w1a"), take("w1b"), take("w2a"), take("w2b")) {
                    (Some(w1a), Some(w1b), Some(w2a), Some(w2b)) => Factors::Hadamard {
                        w1: [w1a, w1b],
                        w2: [w2a, w2b],
                        cores: take("t1").zip(take("t2")).map(|(t1, t2)| [t1, t2]),
                    },
                    // A number alone, or half of a pair: what training left of a layer that was left out.
                    _ => continue,
                },
            };
            let layer = LoraLayer {
                factors,
                alpha,
                lengths,
            };
            layers.insert(name, layer);
        }
        if layers.is_empty() {
            return Err(FormatError::UnknownFormat {
                path: path.into(),
                reason: match unknown {
                    None => "no layer of a LoRA, LoCon, LoHa or LoKr was found in it".into(),
                    Some((count, name)) => format!(
                        "no layer of a LoRA, LoCon, LoHa or LoKr was found in it, but {count} tensors of another kind such as `{name}`"
                    ),
                },
            });
        }
        Ok(Self {
            path: path.into(),
            layers,
            unknown,
        })
    }

    /// How many of its tensors are of no known kind (learnt words, GLoRA, OFT, ...) and do nothing, and the name of one, if there are any.
    #[must_use]
    pub fn unknown(&self) -> Option<(usize, &str)> {
        let (count, name) = self.unknown.as_ref()?;
        Some((*count, name))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Layers by name, as [`plain_name`] has them.
    #[must_use]
    pub fn layers(&self) -> &BTreeMap<String, LoraLayer> {
        &self.layers
    }

    /// The model that it was made for, as far as the width of the text that its cross-attention reads tells.
    #[must_use]
    pub fn family(&self) -> Option<&'static str> {
        let width = self.layers.iter().find_map(|(name, layer)| {
            let reads_text = name.ends_with("attn2_to_k") || name.ends_with("attn2_to_v");
            if reads_text { layer.inner() } else { None }
        });
        match width {
            Some(width) => family_of_width(width),
            // Made for text encoders alone: SDXL has two.
            None => self
                .layers
                .keys()
                .any(|name| name.starts_with("lora_te2_"))
                .then_some("SDXL"),
        }
    }
}

/// The family whose U-Net reads text embeddings of a width.
#[must_use]
pub fn family_of_width(width: usize) -> Option<&'static str> {
    match width {
        768 => Some("SD 1.5"),
        1024 => Some("SD 2.x"),
        2048 => Some("SDXL"),
        1280 => Some("the SDXL refiner"),
        _ => None,
    }
}

/// A layer's name with underscores for dots, after the network that it belongs to.
#[must_use]
pub fn plain_name(layer: &str) -> String {
    let layer = layer.strip_prefix("base_model.model.").unwrap_or(layer);
    // diffusers' first way to store them put them beside the attention that they change.
    let layer = layer
        .replace(".processor.", ".")
        .replace("to_out_lora", "to_out.0_lora");
    let layer = layer.strip_suffix("_lora").unwrap_or(&layer);
    let (network, rest) = match layer.split_once('.') {
        Some(("unet", rest)) => ("lora_unet_", rest),
        Some(("text_encoder" | "te1", rest)) => ("lora_te_", rest),
        Some(("text_encoder_2" | "te2", rest)) => ("lora_te2_", rest),
        _ => ("", layer),
    };
    let name = format!("{network}{}", rest.replace('.', "_"));
    // Where there are two text encoders, the first is counted.
    match name.strip_prefix("lora_te1_") {
        Some(rest) => format!("lora_te_{rest}"),
        None if name.ends_with("_to_out") => format!("{name}_0"),
        None => name,
    }
}

impl LoraLayer {
    /// Width of the layer's input, if it is linear.
    fn inner(&self) -> Option<usize> {
        let last = |tensor: &TensorData| tensor.shape().get(1).copied();
        match &self.factors {
            Factors::Low { down, .. } => last(down),
            Factors::Hadamard { w1, .. } => last(&w1[1]),
            Factors::Whole(whole) => last(whole),
            // The product's width is that of both factors.
            Factors::Kronecker(..) => None,
        }
    }

    /// Whether the change depends on the weight that it changes.
    #[must_use]
    pub fn needs_weight(&self) -> bool {
        self.lengths.is_some()
    }

    /// The change of a weight of `shape` with these values: that of [`Self::change`], and in a DoRA what brings the rows of the sum (or its columns,
    /// as the file has it) to their lengths.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub fn change_of(&self, weight: &[f32], shape: &[usize]) -> Result<Vec<f32>, FormatError> {
        let mut change = self.change(shape)?;
        let Some(lengths) = &self.lengths else {
            return Ok(change);
        };
        let out = shape.first().copied().unwrap_or(0);
        let channels = shape.get(1).copied().unwrap_or(1);
        let inner = weight.len() / out.max(1);
        let kernel = (inner / channels.max(1)).max(1);
        // Each value belongs to a row of the output, or to a channel of the input.
        let by_rows = lengths.elements() == out && lengths.shape().first() != Some(&1);
        let groups = if by_rows { out } else { channels };
        if lengths.elements() != groups || weight.len() != change.len() {
            return Err(misfit(lengths, shape));
        }
        let group = |place: usize| {
            if by_rows {
                place / inner.max(1)
            } else {
                place % inner.max(1) / kernel
            }
        };
        let mut squares = vec![0f64; groups];
        for (place, (weight, change)) in weight.iter().zip(&change).enumerate() {
            if let Some(sum) = squares.get_mut(group(place)) {
                *sum += f64::from(weight + change).powi(2);
            }
        }
        let factors: Vec<f32> = lengths
            .to_f32()?
            .iter()
            .zip(squares)
            .map(|(length, squares)| length / (squares.sqrt() as f32).max(f32::MIN_POSITIVE))
            .collect();
        for (place, (weight, change)) in weight.iter().zip(&mut change).enumerate() {
            let factor = factors.get(group(place)).copied().unwrap_or(1.0);
            *change = (weight + *change) * factor - weight;
        }
        Ok(change)
    }

    /// The change of a weight of `shape`, row-major, `alpha / rank` included.
    ///
    /// # Errors
    /// [`FormatError::WrongShape`] if it is for a weight of another shape.
    pub fn change(&self, shape: &[usize]) -> Result<Vec<f32>, FormatError> {
        let (&out, rest) = match shape.split_first() {
            Some(split) => split,
            None => return Err(misfit(self.first(), shape)),
        };
        let inner: usize = rest.iter().product();
        let kernel: usize = rest.iter().skip(1).product();
        let (mut change, rank) = match &self.factors {
            Factors::Low {
                up,
                down,
                mid: None,
            } => {
                let rank = fits(up, down, out, inner, shape)?;
                (
                    product(&up.to_f32()?, &down.to_f32()?, [out, rank, inner]),
                    rank,
                )
            }
            Factors::Low {
                up,
                down,
                mid: Some(mid),
            } => {
                let channels = rest.first().copied().unwrap_or(0);
                let rank = fits(up, down, out, channels, shape)?;
                let core = core(mid, rank, kernel, shape)?;
                let change = tucker(
                    &up.to_f32()?,
                    &down.to_f32()?,
                    &core,
                    [out, rank, channels, kernel],
                );
                (change, rank)
            }
            Factors::Hadamard {
                w1,
                w2,
                cores: None,
            } => {
                let rank = fits(&w1[0], &w1[1], out, inner, shape)?;
                let rank2 = fits(&w2[0], &w2[1], out, inner, shape)?;
                let one = product(&w1[0].to_f32()?, &w1[1].to_f32()?, [out, rank, inner]);
                let two = product(&w2[0].to_f32()?, &w2[1].to_f32()?, [out, rank2, inner]);
                (one.iter().zip(two).map(|(a, b)| a * b).collect(), rank)
            }
            Factors::Hadamard {
                w1,
                w2,
                cores: Some(cores),
            } => {
                let channels = rest.first().copied().unwrap_or(0);
                let mut halves = Vec::new();
                let mut ranks = 0;
                for (pair, mid) in [w1, w2].into_iter().zip(cores) {
                    // LyCORIS keeps both factors of these with the rank first.
                    let (a, b) = (&pair[0], &pair[1]);
                    let rank = match (a.shape(), b.shape()) {
                        (&[ra, o], &[rb, i]) if ra == rb && o == out && i == channels => ra,
                        _ => return Err(misfit(a, shape)),
                    };
                    let core = core(mid, rank, kernel, shape)?;
                    let a = transposed(&a.to_f32()?, rank, out);
                    halves.push(tucker(
                        &a,
                        &b.to_f32()?,
                        &core,
                        [out, rank, channels, kernel],
                    ));
                    ranks = rank;
                }
                let mut halves = halves.into_iter();
                let (one, two) = (
                    halves.next().unwrap_or_default(),
                    halves.next().unwrap_or_default(),
                );
                (one.iter().zip(two).map(|(a, b)| a * b).collect(), ranks)
            }
            Factors::Whole(whole) => {
                if whole.elements() != out * inner {
                    return Err(misfit(whole, shape));
                }
                return whole.to_f32();
            }
            Factors::Kronecker(one, two) => {
                match lokr::kronecker([one, two], out, inner)? {
                    // Of two whole factors `alpha` says nothing.
                    Some((values, None)) => return Ok(values),
                    Some((values, Some(rank))) => (values, rank),
                    None => return Err(misfit(self.first(), shape)),
                }
            }
        };
        let scale = self.alpha.map_or(1.0, |alpha| alpha / rank.max(1) as f32);
        if scale != 1.0 {
            change.iter_mut().for_each(|value| *value *= scale);
        }
        Ok(change)
    }

    fn first(&self) -> &TensorData {
        match &self.factors {
            Factors::Low { up, .. } => up,
            Factors::Hadamard { w1, .. } => &w1[0],
            Factors::Whole(whole) => whole,
            Factors::Kronecker(one, _) => one.first(),
        }
    }
}

fn misfit(tensor: &TensorData, shape: &[usize]) -> FormatError {
    FormatError::WrongShape {
        path: tensor.source().into(),
        tensor: brief(tensor.name()),
        found: tensor.shape().into(),
        wanted: shape.into(),
    }
}

/// The rank of two factors whose product has `out` rows of `inner`, whatever kernels they are written with.
fn fits(
    up: &TensorData,
    down: &TensorData,
    out: usize,
    inner: usize,
    shape: &[usize],
) -> Result<usize, FormatError> {
    let rank = down.shape().first().copied().unwrap_or(0);
    let right = up.shape().first() == Some(&out)
        && up.elements() == out.saturating_mul(rank)
        && down.elements() == rank.saturating_mul(inner)
        && rank > 0;
    if right {
        Ok(rank)
    } else {
        Err(misfit(up, shape))
    }
}

fn core(
    mid: &TensorData,
    rank: usize,
    kernel: usize,
    shape: &[usize],
) -> Result<Vec<f32>, FormatError> {
    if mid.shape().get(..2) != Some(&[rank, rank]) || mid.elements() != rank * rank * kernel {
        return Err(misfit(mid, shape));
    }
    mid.to_f32()
}

pub(super) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let at = |row: usize, column: usize| values.get(row * columns + column).copied().unwrap_or(0.0);
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| at(row, column)))
        .collect()
}

/// `[out, rank] * [rank, inner]`, rows spread over the processor's cores.
pub(super) fn product(up: &[f32], down: &[f32], [out, rank, inner]: [usize; 3]) -> Vec<f32> {
    let mut result = vec![0.0f32; out * inner];
    if inner == 0 || rank == 0 || out == 0 {
        return result;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Small products are done sooner than threads begin.
    let rows = if out * rank * inner < 1 << 20 {
        out
    } else {
        out.div_ceil(cores)
    };
    std::thread::scope(|scope| {
        for (part, ups) in result.chunks_mut(rows * inner).zip(up.chunks(rows * rank)) {
            let mut work = move || {
                for (row, factors) in part.chunks_exact_mut(inner).zip(ups.chunks_exact(rank)) {
                    for (factor, line) in factors.iter().zip(down.chunks_exact(inner)) {
                        for (value, other) in row.iter_mut().zip(line) {
                            *value += factor * other;
                        }
                    }
                }
            };
            if rows == out {
                work();
            } else {
                scope.spawn(work);
            }
        }
    });
    result
}

/// `sum over p and q of up[o, p] core[p, q, k] down[q, i]`, as `[out, channels, kernel]`.
pub(super) fn tucker(
    up: &[f32],
    down: &[f32],
    core: &[f32],
    [out, rank, channels, kernel]: [usize; 4],
) -> Vec<f32> {
    // core[p, q, k] down[q, i] as [p, i, k], then one product over p.
    let mut middle = vec![0.0f32; rank * channels * kernel];
    for p in 0..rank {
        for q in 0..rank {
            for i in 0..channels {
                let factor = down.get(q * channels + i).copied().unwrap_or(0.0);
                let from = core.iter().skip((p * rank + q) * kernel).take(kernel);
                let to = middle.iter_mut().skip((p * channels + i) * kernel);
                for (to, from) in to.zip(from) {
                    *to += factor * from;
                }
            }
        }
    }
    product(up, &middle, [out, rank, channels * kernel])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize], values: &[f32]) -> TensorData {
        TensorData::from_f32(name, shape, values).unwrap()
    }

    fn file(tensors: &[(&str, &[usize], &[f32])]) -> WeightMap {
        let mut map = WeightMap::new("style.safetensors");
        for (name, shape, values) in tensors {
            map.insert(*name, tensor(name, shape, values));
        }
        map
    }

    fn open(tensors: &[(&str, &[usize], &[f32])]) -> Result<Lora, FormatError> {
        Lora::from_tensors(Path::new("style.safetensors"), &file(tensors))
    }

    #[test]
    fn names_of_all_programs_are_one() {
        let want = "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_out_0";
        for name in [
            "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_out_0",
            "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0",
            "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.processor.to_out_lora",
            "base_model.model.unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0",
        ] {
            assert_eq!(plain_name(name), want, "{name}");
        }
        assert_eq!(
            plain_name("text_encoder.text_model.encoder.layers.0.mlp.fc1"),
            plain_name("lora_te1_text_model_encoder_layers_0_mlp_fc1")
        );
    }

    #[test]
    fn changes_are_products_scaled_by_alpha() {
        let lora = open(&[
            ("lora_unet_a.lora_up.weight", &[2, 2], &[1.0, 0.0, 2.0, 1.0]),
            (
                "lora_unet_a.lora_down.weight",
                &[2, 3],
                &[1.0, 2.0, 3.0, 0.0, 1.0, 0.0],
            ),
            ("lora_unet_a.alpha", &[], &[1.0]),
            ("lora_unet_b.alpha", &[], &[1.0]),
        ])
        .unwrap();
        assert_eq!(lora.layers().len(), 1);
        let layer = &lora.layers()["lora_unet_a"];
        assert_eq!(
            layer.change(&[2, 3]).unwrap(),
            [0.5, 1.0, 1.5, 1.0, 2.5, 3.0]
        );
        let error = layer.change(&[3, 2]).unwrap_err().to_string();
        assert!(
            error.contains("lora_unet_a") && error.contains("[3, 2]"),
            "{error}"
        );
        assert!(layer.change(&[]).is_err());
    }

    #[test]
    fn families_are_told_by_the_text_that_they_read() {
        for (width, family) in [(768, "SD 1.5"), (2048, "SDXL")] {
            let values = vec![0.0; width];
            let name = "lora_unet_x_attn2_to_k";
            let lora = open(&[
                (&format!("{name}.lora_up.weight"), &[1, 1], &[1.0]),
                (&format!("{name}.lora_down.weight"), &[1, width], &values),
            ])
            .unwrap();
            assert_eq!(lora.family(), Some(family));
        }
    }

    #[test]
    fn what_is_no_change_is_refused() {
        let half: [(&str, &[usize], &[f32]); 1] = [("a.lora_up.weight", &[1, 1], &[1.0])];
        assert!(open(&[("conv_in.weight", &[1], &[1.0])]).is_err());
        assert!(open(&half).is_err());
        let kron = open(&[
            ("a.lokr_w1", &[2, 1], &[1.0, 2.0]),
            ("a.lokr_w2", &[1, 2], &[3.0, 4.0]),
        ])
        .unwrap();
        let layer = &kron.layers()["a"];
        assert_eq!(layer.change(&[2, 2]).unwrap(), [3.0, 4.0, 6.0, 8.0]);
        let error = layer.change(&[3, 2]).unwrap_err().to_string();
        assert!(error.contains("[3, 2]"), "{error}");
    }

    /// kohya's and LyCORIS' changes of biases and norms, beside what is not known.
    #[test]
    fn biases_and_norms_change_too_and_what_is_unknown_is_told() {
        let lora = open(&[
            ("a.diff", &[2, 1], &[1.0, 2.0]),
            ("a.diff_b", &[2], &[3.0, 4.0]),
            ("n.w_norm", &[2], &[5.0, 6.0]),
            ("n.b_norm", &[2], &[7.0, 8.0]),
            ("bundle_emb.word.clip_l", &[1, 2], &[0.0, 0.0]),
            ("b.oft_blocks", &[1], &[0.0]),
        ])
        .unwrap();
        let change = |name: &str, shape: &[usize]| lora.layers()[name].change(shape).unwrap();
        assert_eq!(change("a", &[2, 1]), [1.0, 2.0]);
        assert_eq!(change("a.bias", &[2]), [3.0, 4.0]);
        assert_eq!(change("n", &[2]), [5.0, 6.0]);
        assert_eq!(change("n.bias", &[2]), [7.0, 8.0]);
        assert!(lora.layers()["n.bias"].change(&[3]).is_err());
        assert_eq!(lora.layers().len(), 4);
        assert_eq!(lora.unknown(), Some((2, "b.oft_blocks")));
        let error = open(&[("a.a1.weight", &[1, 1], &[1.0])]).unwrap_err();
        assert!(error.to_string().contains("a.a1.weight"), "{error}");
    }

    /// Rows of 3 and 4, and of 0 and 2, brought to lengths 10 and 1.
    #[test]
    fn a_dora_brings_rows_to_their_lengths() {
        let lora = open(&[
            ("a.lora_up.weight", &[2, 1], &[1.0, 0.0]),
            ("a.lora_down.weight", &[1, 2], &[1.0, 1.0]),
            ("a.dora_scale", &[2, 1], &[10.0, 1.0]),
        ])
        .unwrap();
        let layer = &lora.layers()["a"];
        assert!(layer.needs_weight());
        let change = layer.change_of(&[2.0, 3.0, 0.0, 2.0], &[2, 2]).unwrap();
        for (got, want) in change.iter().zip([4.0, 5.0, 0.0, -1.0]) {
            assert!((got - want).abs() < 1e-5, "{change:?}");
        }
        assert!(layer.change_of(&[0.0; 6], &[3, 2]).is_err());
    }
}
