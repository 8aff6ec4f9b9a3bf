//! Pictures with the trace of their way.

use std::sync::Arc;

use anyhow::{Result, bail};
use diptych_inference::engine::{Command, Event, ImageRequest, JobId, Outcome, Picture, Request};

use crate::Client;

/// What is kept of a step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Steps done, from 1.
    pub index: u32,
    /// The noise that is left.
    pub sigma: f32,
    /// Of the latents.
    pub sha256: [u8; 32],
    /// What a branch goes on from.
    pub bytes: Arc<[u8]>,
    /// The picture that was foreseen.
    pub preview: Option<Arc<Picture>>,
}

/// A picture, the request that made it, and its steps.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The last of it.
    pub picture: Arc<Picture>,
    /// As the engine settled it.
    pub request: ImageRequest,
    /// In order; none if no trace was asked for.
    pub steps: Vec<Step>,
}

/// Takes what a job made, and its trace.
///
/// # Errors
/// Jobs that fail or make something else.
pub fn drawn(client: &mut Client, job: JobId) -> Result<Drawn> {
    let Outcome::Image {
        picture, request, ..
    } = client.result(job)?
    else {
        bail!("no picture")
    };
    let Request::Image(request) = *request else {
        bail!("no request of a picture")
    };
    let steps = client.events.iter().filter_map(|event| match event {
        Event::TraceStep {
            job: of,
            index,
            sigma,
            sha256,
            bytes,
            preview,
            ..
        } if *of == job => Some(Step {
            index: *index,
            sigma: *sigma,
            sha256: *sha256,
            bytes: bytes.clone(),
            preview: preview.clone(),
        }),
        _ => None,
    });
    Ok(Drawn {
        steps: steps.collect(),
        picture,
        request,
    })
}

/// Draws.
///
/// # Errors
/// Jobs that fail.
pub fn draw(client: &mut Client, request: &ImageRequest) -> Result<Drawn> {
    let job = client.submit(Request::Image(request.clone()))?;
    drawn(client, job)
}

/// Asks for what goes on from a step.
///
/// # Errors
/// If the engine is gone.
pub fn submit_branch(client: &Client, state: &[u8], request: &ImageRequest) -> Result<JobId> {
    let job = client.next_job();
    client.send(Command::Branch {
        job,
        step_state: state.into(),
        request: Box::new(request.clone()),
    })?;
    Ok(job)
}

/// Goes on from a step.
///
/// # Errors
/// Jobs that fail.
pub fn branch(client: &mut Client, state: &[u8], request: &ImageRequest) -> Result<Drawn> {
    let job = submit_branch(client, state, request)?;
    drawn(client, job)
}
