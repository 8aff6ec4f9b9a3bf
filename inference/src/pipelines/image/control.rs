//! ControlNets in a job: their pictures made ready, and what they add to the U-Net's skip connections at each evaluation.

use std::sync::Arc;

use super::{ImageJob, Stage};
use crate::engine::{ControlUse, Preprocessor};
use crate::formats::lora::family_of_width;
use crate::graph::HostTensor;
use crate::models::ControlNet;
use crate::models::unet::{AddedConfig, Residual, UNetConfig};
use crate::pipelines::batch::Rows;
use crate::pipelines::canny::canny;
use crate::pipelines::image_model::ImageModel;
use crate::pipelines::raster::Raster;
use crate::pipelines::store::PlanKey;
use crate::pipelines::{Context, JobError};

/// Beyond it a weight is a mistake.
const MOST_WEIGHT: f32 = 100.0;
/// Beyond it a threshold of edges is a mistake: no gradient is as large.
const MOST_GRADIENT: f32 = 2040.0;

/// A ControlNet with its picture.
pub(super) struct Guide {
    net: Arc<ControlNet>,
    given: ControlUse,
    hint: HostTensor,
}

/// What a U-Net is given beside its usual inputs.
pub(super) type Added = Vec<(String, HostTensor)>;

impl ImageJob {
    /// The request's ControlNets, loaded and checked against the model, with their pictures.
    pub(super) fn guides(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
    ) -> Result<Arc<Vec<Guide>>, JobError> {
        if let Some(guides) = &self.guides {
            return Ok(Arc::clone(guides));
        }
        let mut guides = Vec::new();
        for place in 0..self.request.controls.len() {
            let Some(given) = self.request.controls.get(place).cloned() else {
                continue;
            };
            check(&given)?;
            let name = given.model.name.clone();
            let Context {
                job, store, outbox, ..
            } = context;
            let job = *job;
            let mut loading = |bytes| {
                outbox.push(crate::engine::Event::Loading {
                    job,
                    model: name.clone(),
                    bytes,
                });
            };
            let (net, hash) = store.controlnet(&given.model, &mut loading)?;
            if let Some(wanted) = given.model.hash.as_ref().filter(|wanted| **wanted != hash) {
                context.warn(format!(
                    "the request was made with another '{name}' (hash {wanted}, here {hash}); the picture will differ"
                ));
            }
            fits(&name, &net, model)?;
            let hint = self.hint(context, model, &given, &net)?;
            if let Some(kept) = self.request.controls.get_mut(place) {
                kept.model.hash = Some(hash);
            }
            guides.push(Guide { net, given, hint });
        }
        let guides = Arc::new(guides);
        self.guides = Some(Arc::clone(&guides));
        Ok(guides)
    }

    /// A ControlNet's picture as it is to see it.
    fn hint(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
        given: &ControlUse,
        net: &ControlNet,
    ) -> Result<HostTensor, JobError> {
        let (width, height) = (self.request.width as usize, self.request.height as usize);
        let name = &given.model.name;
        let blob = context.store.blob(&given.picture)?;
        let mut picture = Raster::of_tensor(&blob, 3).ok_or_else(|| {
            JobError::Request(format!(
                "the picture for the ControlNet '{name}' has shape {:?}; it must be [3, height, width] of numbers",
                blob.shape
            ))
        })?;
        // Where only a part of a picture is drawn, its guide is that part too, if it is of the whole.
        if self.request.init.is_some()
            && let Some((area, whole)) = self.source(context, model)?.part()
            && whole == (picture.width, picture.height)
        {
            picture = picture.crop(area);
        }
        let picture = picture.resized(width, height);
        let mut picture = match given.preprocessor {
            Preprocessor::None => picture,
            Preprocessor::Canny { low, high } => canny(&picture, low, high),
            Preprocessor::Invert => Raster {
                values: picture.values.iter().map(|value| 1.0 - value).collect(),
                ..picture
            },
        };
        if net.config().blue_first {
            let plane = width * height;
            let planes: Vec<&[f32]> = picture.values.chunks_exact(plane.max(1)).rev().collect();
            picture.values = planes.concat();
        }
        Ok(HostTensor::f32([1, 3, height, width], picture.values))
    }

    /// What the request's ControlNets add at this step; nothing where there are none. `inputs` are those of the U-Net, `sample` among
    /// them; sizes are batch, height, width and length of the context.
    pub(super) fn controls(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
        inputs: &[(&str, HostTensor)],
        [batch, h, w, length]: [usize; 4],
    ) -> Result<Option<Added>, JobError> {
        if self.request.controls.is_empty() {
            context.store.hold(std::iter::empty());
            return Ok(None);
        }
        let guides = self.guides(context, model)?;
        let needed = guides.iter().map(|guide| guide.given.model.name.as_str());
        context
            .store
            .hold(needed.chain(std::iter::once(self.request.model.name.as_str())));
        let (step, steps) = match &self.stage {
            Stage::Denoise(denoising) => (denoising.step_index(), denoising.total_steps()),
            Stage::Start | Stage::Enlarge(_) => (0, 1),
        };
        let shapes = model.unet().control_shapes(batch, h, w);
        let mut sums: Vec<Vec<f32>> = shapes
            .iter()
            .map(|residual| vec![0.0; residual.shape.iter().product()])
            .collect();
        for guide in guides.iter() {
            let ControlUse {
                weight, start, end, ..
            } = guide.given;
            // As diffusers counts the steps of a ControlNet.
            let (before, after) = (step as f32 / steps as f32, (step + 1) as f32 / steps as f32);
            if weight == 0.0 || before < start || after > end {
                continue;
            }
            let name = &guide.given.model.name;
            let net = &guide.net;
            let channels = net.config().unet.in_channels;
            let mut inputs: Vec<(&str, HostTensor)> = inputs.to_vec();
            for (input, tensor) in &mut inputs {
                if *input == "sample" {
                    *tensor = first_channels(tensor, channels);
                }
            }
            inputs.push(("hint", guide.hint.clone()));
            let rows = Rows {
                name,
                changes: 0,
                count: batch,
                key: &|batch| PlanKey::Control(batch, h, w, length),
                build: &|batch| Ok(net.graph(batch, h, w, length)?),
            };
            let outputs = context.store.run_rows(&rows, &inputs, context.interrupt)?;
            for (sum, output) in sums.iter_mut().zip(outputs) {
                for (sum, value) in sum.iter_mut().zip(output.as_f32()) {
                    *sum += weight * value;
                }
            }
        }
        let named = |(residual, values): (Residual, Vec<f32>)| {
            (residual.name, HostTensor::f32(residual.shape, values))
        };
        Ok(Some(shapes.into_iter().zip(sums).map(named).collect()))
    }
}

/// Of `[batch, channels, height, width]` the first channels; a U-Net for inpainting sees more than its ControlNet.
fn first_channels(tensor: &HostTensor, channels: usize) -> HostTensor {
    let &[batch, all, h, w] = tensor.shape.as_slice() else {
        return tensor.clone();
    };
    if all <= channels {
        return tensor.clone();
    }
    let plane = h * w;
    let each = tensor.as_f32().chunks_exact((all * plane).max(1));
    let values = each
        .flat_map(|sample| sample.iter().take(channels * plane))
        .copied()
        .collect();
    HostTensor::f32([batch, channels, h, w], values)
}

/// Refuses settings that no ControlNet can be used with.
fn check(given: &ControlUse) -> Result<(), JobError> {
    let name = &given.model.name;
    if !given.weight.is_finite() || given.weight.abs() > MOST_WEIGHT {
        return Err(JobError::Request(format!(
            "the ControlNet '{name}' cannot be used {} times; its weight goes from -{MOST_WEIGHT} to {MOST_WEIGHT}",
            given.weight
        )));
    }
    let share = 0.0..=1.0;
    if !share.contains(&given.start) || !share.contains(&given.end) || given.start >= given.end {
        return Err(JobError::Request(format!(
            "the ControlNet '{name}' cannot be used from {} to {} of the steps; give two shares from 0 to 1, the smaller first",
            given.start, given.end
        )));
    }
    if let Preprocessor::Canny { low, high } = given.preprocessor {
        let fits = |value: f32| (0.0..=MOST_GRADIENT).contains(&value);
        if !fits(low) || !fits(high) || low > high {
            return Err(JobError::Request(format!(
                "edges cannot be found between {low} and {high}; give two thresholds from 0 to {MOST_GRADIENT}, the smaller first"
            )));
        }
    }
    Ok(())
}

/// Whether what a ControlNet adds fits the model.
fn fits(name: &str, net: &ControlNet, model: &ImageModel) -> Result<(), JobError> {
    let (theirs, ours) = (&net.config().unet, model.unet().config());
    let family = |config: &UNetConfig| {
        family_of_width(config.cross_attention_dim).map_or_else(
            || {
                format!(
                    "a model that reads texts {} wide",
                    config.cross_attention_dim
                )
            },
            str::to_owned,
        )
    };
    let pooled = |config: &UNetConfig| config.added.map(|added: AddedConfig| added.width);
    let refused = if theirs.cross_attention_dim != ours.cross_attention_dim
        || pooled(theirs) != pooled(ours)
    {
        format!(
            "this ControlNet is for {}; the loaded model is {}",
            family(theirs),
            family(ours)
        )
    } else if net.control_shapes(1, 64, 64) != model.unet().control_shapes(1, 64, 64) {
        "this ControlNet is for a U-Net of other layers than the loaded model's".to_owned()
    } else if theirs.time_features != ours.time_features
        || theirs.in_channels > ours.in_channels
        || net.config().picture_channels != 3
        || net.config().factor() != model.factor()
    {
        "this ControlNet takes other inputs than the loaded model".to_owned()
    } else {
        return Ok(());
    };
    Err(JobError::Request(format!("'{name}': {refused}")))
}
