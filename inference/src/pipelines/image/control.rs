//! ControlNets in a job: their pictures made ready, and which of them count in a step. What they add to the U-Net's skip connections they add in one graph
//! with it, so that it never leaves the device.

use std::sync::{Arc, OnceLock};

use super::ImageJob;
use crate::engine::{ControlKind, ControlUse, Preprocessor};
use crate::formats::lora::family_of_width;
use crate::graph::HostTensor;
use crate::models::ControlNet;
use crate::models::unet::{AddedConfig, UNetConfig};
use crate::pipelines::canny::canny;
use crate::pipelines::image_model::ImageModel;
use crate::pipelines::raster::{Raster, View};
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
    /// The number of the picture's kind, for a net that is told.
    kind: Option<usize>,
    /// Its picture as it is to see it.
    picture: HostTensor,
    /// What it makes of it, once for all steps.
    hint: OnceLock<HostTensor>,
}

/// The ControlNets that count in a step.
#[derive(Default)]
pub(super) struct Active {
    pub nets: Vec<Arc<ControlNet>>,
    /// By what plans for them together are known.
    pub known_by: u64,
    /// What a U-Net under them is given beside its usual inputs.
    pub inputs: Vec<(String, HostTensor)>,
}

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
            let (store, mut loading) = context.loading(&name);
            let (net, hash) = store.controlnet(&given.model, &mut loading)?;
            if let Some(wanted) = given.model.hash.as_ref().filter(|wanted| **wanted != hash) {
                context.warn(format!(
                    "the request was made with another '{name}' (hash {wanted}, here {hash}); the picture will differ"
                ));
            }
            fits(&name, &net, model)?;
            let picture = self.control_picture(context, model, &given, &net)?;
            if let Some(kept) = self.request.controls.get_mut(place) {
                kept.model.hash = Some(hash);
            }
            let hint = OnceLock::new();
            let kind = kind(&given, &net)?;
            guides.push(Guide {
                net,
                kind,
                given,
                picture,
                hint,
            });
        }
        let guides = Arc::new(guides);
        self.guides = Some(Arc::clone(&guides));
        Ok(guides)
    }

    /// A ControlNet's picture as it is to see it.
    fn control_picture(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
        given: &ControlUse,
        net: &ControlNet,
    ) -> Result<HostTensor, JobError> {
        let (width, height) = (self.request.width as usize, self.request.height as usize);
        let name = &given.model.name;
        let blob = context.store.blob(&given.picture)?;
        let picture = View::of_tensor(&blob, 3).ok_or_else(|| {
            JobError::Request(format!(
                "the picture for the ControlNet '{name}' has shape {:?}; it must be [3, height, width] of numbers",
                blob.shape
            ))
        })?;
        let mut seen = picture.all();
        // Where only a part of a picture is drawn, its guide is that part too, if it is of the whole.
        if self.request.init.is_some()
            && let Some((area, whole)) = self.source(context, model)?.part()
            && whole == (seen.width, seen.height)
        {
            seen = area;
        }
        let picture = picture.crop(seen).into_resized(width, height);
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

    /// The ControlNets that count at this step, and the further inputs of a U-Net that is drawn under them.
    pub(super) fn active_guides(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
    ) -> Result<Active, JobError> {
        if self.request.controls.is_empty() {
            return Ok(Active::default());
        }
        let guides = self.guides(context, model)?;
        let (step, steps) =
            (self.present()).map_or((0, 1), |run| (run.step_index(), run.total_steps()));
        let active = guides.iter().filter(|guide| guide.counts(step, steps));
        let active: Vec<&Guide> = active.collect();
        let mut inputs = Vec::new();
        for (place, guide) in active.iter().enumerate() {
            inputs.push((format!("hint_{place}"), guide.hint(context)?));
            let strength = HostTensor::f32([1, 1, 1, 1], vec![guide.given.weight]);
            inputs.push((format!("strength_{place}"), strength));
            if let Some(kind) = guide.kind {
                inputs.extend(guide.net.kind_inputs(place, kind)?);
            }
        }
        let names = active.iter().map(|guide| guide.name());
        let nets = context.store.nets(names);
        Ok(Active {
            nets: active.iter().map(|guide| Arc::clone(&guide.net)).collect(),
            known_by: nets,
            inputs,
        })
    }
}

impl Guide {
    /// The net.
    pub fn net(&self) -> &ControlNet {
        &self.net
    }

    /// By what name it is loaded.
    pub fn name(&self) -> &str {
        &self.given.model.name
    }

    /// Whether it does anything in a step of so many; as diffusers counts the steps of a ControlNet.
    pub fn counts(&self, step: usize, steps: usize) -> bool {
        let share = |step: usize| step as f32 / steps as f32;
        let ControlUse {
            weight, start, end, ..
        } = self.given;
        weight != 0.0 && share(step) >= start && share(step + 1) <= end
    }

    /// Its picture in the size of the latents, made when it is first needed.
    fn hint(&self, context: &mut Context<'_>) -> Result<HostTensor, JobError> {
        if let Some(hint) = self.hint.get() {
            return Ok(hint.clone());
        }
        let factor = self.net.config().factor().max(1);
        let &[_, _, height, width] = self.picture.shape.as_slice() else {
            return Err(JobError::Request("the ControlNet has no picture".into()));
        };
        let (h, w) = (height / factor, width / factor);
        let key = PlanKey::Hint(h, w);
        let plan = context
            .store
            .plan_while(context.interrupt, self.name(), 0, key, || {
                Ok(self.net.hint_graph(h, w)?)
            })?;
        let inputs = [("picture", self.picture.clone())];
        let outputs = context.store.run(plan, &inputs, &[], context.interrupt)?;
        let hint = outputs.into_iter().next();
        let hint = hint.unwrap_or_else(|| HostTensor::f32([0], Vec::new()));
        Ok(self.hint.get_or_init(|| hint).clone())
    }
}

/// The number of the kind that a net for several kinds of pictures is to be told.
fn kind(given: &ControlUse, net: &ControlNet) -> Result<Option<usize>, JobError> {
    let name = &given.model.name;
    let Some(union) = net.config().union else {
        return match given.kind {
            None => Ok(None),
            Some(kind) => Err(JobError::Request(format!(
                "the ControlNet '{name}' is made for one kind of pictures and cannot be told that this is one of {}; leave that out",
                kind.name()
            ))),
        };
    };
    let known = || {
        let names: Vec<&str> = (ControlKind::ALL.iter().take(union.kinds))
            .map(|kind| kind.name())
            .collect();
        names.join(", ")
    };
    let found = match (given.kind, given.preprocessor) {
        (Some(kind), _) => kind,
        (None, Preprocessor::Canny { .. }) => ControlKind::Lines,
        (None, _) => {
            return Err(JobError::Request(format!(
                "the ControlNet '{name}' is made for several kinds of pictures; say which this is: {}",
                known()
            )));
        }
    };
    if found as usize >= union.kinds {
        return Err(JobError::Request(format!(
            "the ControlNet '{name}' does not know pictures of the kind {}; it knows {}",
            found.name(),
            known()
        )));
    }
    Ok(Some(found as usize))
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
