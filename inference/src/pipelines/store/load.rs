//! Models are loaded when they are first needed, and again when their files were replaced.

use std::sync::Arc;

use super::hashes::Stamp;
use super::{Loaded, Model, ModelStore};
use crate::engine::ModelRef;
use crate::formats::detect::ModelKind;
use crate::formats::ldm::open_controlnet;
use crate::models::ControlNet;
use crate::models::controlnet::ControlNetConfig;
use crate::pipelines::chat_model::ChatModel;
use crate::pipelines::image_model::ImageModel;
use crate::pipelines::upscale::Upscaler;
use crate::pipelines::{JobError, Loading};

impl ModelStore {
    /// Loads a model if need be and puts it at the end of `loaded`.
    pub(super) fn load(
        &mut self,
        model: &ModelRef,
        loading: &mut dyn Loading,
        needed: &'static str,
    ) -> Result<(), JobError> {
        self.clock += 1;
        self.forget_replaced(model)?;
        let position = self
            .loaded
            .iter()
            .position(|loaded| loaded.name == model.name);
        let mut loaded = match position {
            Some(index) => self.loaded.remove(index),
            None => {
                let (path, info) = self.registry.find(model)?;
                loading.begins(info.file_bytes());
                // Before anything is read: what is replaced meanwhile is loaded again the next time.
                let stamp = Stamp::of(info);
                let mut stop = || loading.stop();
                let made = if info.is_chat() {
                    let chat = ChatModel::load(path, info)?;
                    let chat = chat.with_longest_context(self.longest_context);
                    Model::Chat(Arc::new(self.with_cache(chat)))
                } else if info.is_text_to_image() {
                    // The files of parts are all of them part of the stamp.
                    let hash = self.hashes.of(info, &mut stop)?;
                    Model::Image(Arc::new(ImageModel::load(path, info, &self.assets, hash)?))
                } else if info.kind() == ModelKind::ControlNet {
                    let hash = self.hashes.of(info, &mut stop)?;
                    let part = open_controlnet(path)?;
                    let config = ControlNetConfig::from_json(&part.config_path, &part.config)?;
                    Model::Control(Arc::new(ControlNet::new(config, part.weights)?), hash)
                } else if info.kind() == ModelKind::Upscaler {
                    let hash = self.hashes.of(info, &mut stop)?;
                    Model::Upscaler(Arc::new(Upscaler::open(path, hash)?))
                } else {
                    return Err(JobError::WrongModel {
                        model: model.name.clone(),
                        is: info.describe(),
                        needed,
                    });
                };
                Loaded {
                    name: model.name.clone(),
                    number: self.clock,
                    stamp,
                    model: made,
                    plans: Vec::new(),
                    too_large: Vec::new(),
                    changed: None,
                    chat: None,
                    beside: Default::default(),
                    last_used: 0,
                }
            }
        };
        loaded.last_used = self.clock;
        self.loaded.push(loaded);
        Ok(())
    }

    /// Forgets a model whose files are not those that were loaded, unless a job is at work with it: that goes on with what it began with.
    fn forget_replaced(&mut self, model: &ModelRef) -> Result<(), JobError> {
        let Some(loaded) = self.loaded.iter().find(|known| known.name == model.name) else {
            return Ok(());
        };
        let Ok((path, info)) = self.registry.find(model) else {
            return Ok(());
        };
        if loaded.stamp == Stamp::of(info) || loaded.model.is_in_use() {
            return Ok(());
        }
        tracing::info!("'{}' was replaced and is loaded again", model.name);
        let path = path.to_owned();
        self.unload(model);
        Ok(self.registry.look_again(model, &path)?)
    }
}
