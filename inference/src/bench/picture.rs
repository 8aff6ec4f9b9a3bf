//! A text-to-image model: steps of its U-Net with guidance, and decoding by its autoencoder.

use std::path::Path;
use std::time::{Duration, Instant};

use super::BenchError;
use super::session::{Naming, Session};
use crate::diffusion::NoiseSource;
use crate::formats::detect::ModelInfo;
use crate::graph::{Graph, HostTensor, Op};
use crate::pipelines::ImageModel;

/// Pictures with guidance are drawn twice: with and without the prompt.
const BATCH: usize = 2;
/// Somewhere in the middle of the thousand.
const TIMESTEP: f32 = 500.0;
/// Side in latent pixels of models that do not say what they were trained at.
const USUAL_SIDE: usize = 64;

/// Measures a model.
pub(super) fn measure(
    session: &mut Session<'_>,
    path: &Path,
    info: &ModelInfo,
) -> Result<(), BenchError> {
    let started = Instant::now();
    // Its hash is of no use here and takes long.
    let model = ImageModel::load(path, info, &session.options.assets, String::new())?;
    session.opened(started);
    let (unet, factor) = (model.unet(), model.factor());
    let [h, w] = match session.options.size {
        Some((width, height)) => [height, width].map(|side| (side as usize / factor).max(1)),
        None => unet
            .config()
            .sample_size
            .unwrap_or([USUAL_SIDE, USUAL_SIDE]),
    };
    let context = model.text_encoder().config().max_positions;
    let pixels = format!("{}x{}", w * factor, h * factor);

    let step = || -> Result<Graph, BenchError> { Ok(unet.graph(BATCH, h, w, context)?) };
    let decode = || -> Result<Graph, BenchError> { Ok(model.vae().decode_graph(h, w)?) };
    let together = session.forecast_apart(&[&step()?, &decode()?]);
    let quick = session.options.quick;
    let limits = match quick {
        true => (1, 5, Duration::from_secs(5)),
        false => (3, 20, Duration::from_secs(30)),
    };

    type Build<'a> = &'a dyn Fn() -> Result<Graph, BenchError>;
    let works: [(String, &str, Build<'_>); 2] = [
        (format!("step {pixels}"), "steps", &step),
        (format!("vae decode {pixels}"), "pictures", &decode),
    ];
    // Both are there before either runs where there is room, as they are when a picture is drawn.
    let mut plans = Vec::new();
    if together {
        for (.., build) in &works {
            plans.push(session.plan(build)?);
        }
    }
    let mut plans = plans.into_iter();
    for (name, unit, build) in works {
        let planned = match plans.next() {
            Some(planned) => planned,
            None => session.plan(build)?,
        };
        let inputs: Vec<(&'static str, HostTensor)> = planned
            .graph
            .nodes
            .iter()
            .filter_map(|node| match &node.op {
                Op::Input { name } => Some((known(name)?, node.shape.clone())),
                _ => None,
            })
            .map(|(name, shape)| {
                if name == "time" {
                    return (name, unet.time_features(&[TIMESTEP; BATCH]));
                }
                let noise = NoiseSource::Philox.draw(1, shape.iter().product());
                (name, HostTensor::f32(shape, noise))
            })
            .collect();
        let naming = Naming {
            name,
            unit,
            units: 1,
            context: 0.0,
        };
        session.measure(
            &planned,
            &[],
            naming,
            limits,
            (&mut |_, _| inputs.clone(), None),
        )?;
        if !together {
            session.drop_plan(&planned);
        }
    }
    Ok(())
}

/// The inputs of U-Net and decoder.
fn known(name: &str) -> Option<&'static str> {
    ["sample", "time", "context", "added", "latent"]
        .into_iter()
        .find(|known| *known == name)
}
