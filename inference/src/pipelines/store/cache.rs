//! In what form a chat model's keys and values are kept, settled when it is loaded.

use super::ModelStore;
use crate::graph::KvType;
use crate::pipelines::chat_model::ChatModel;

/// Rows of the largest plan that answers are written with: whose activations are the most.
const MOST_ROWS: usize = 256;

impl ModelStore {
    /// Settles a model's cache by what its weights leave of the memory. A whole conversation in 32 bits is worth more than room for others beside it; where
    /// it does not fit, and the person has not settled otherwise, it is kept in 16.
    pub(super) fn with_cache(&self, model: ChatModel) -> ChatModel {
        let settled = self.kv_choice.settled();
        let first = model.with_kv_type(settled.unwrap_or(KvType::F32));
        // What else is in memory makes way for it.
        let budget = self.executor.memory().budget;
        let Ok(graph) = first.choosing_graph(&first.shape(MOST_ROWS), false) else {
            return first;
        };
        let forecast = self.executor.forecast(&graph);
        let taken = (forecast.new_weights)
            .saturating_add(forecast.shared_weights)
            .saturating_add(forecast.activations);
        let left = budget.saturating_sub(taken);
        let (one, with_others) = first.cache_bytes();
        if with_others <= left {
            return first;
        }
        if one <= left || settled.is_some() {
            return first.without_room_for_others();
        }
        let narrow = first.with_kv_type(KvType::F16);
        tracing::info!(
            "a conversation of {} tokens in 32 bits takes {} MiB, and {} of {} MiB are left beside the model; it is kept in 16 bits",
            narrow.context_length(),
            one >> 20,
            left >> 20,
            budget >> 20,
        );
        match narrow.cache_bytes().1 <= left {
            true => narrow,
            false => narrow.without_room_for_others(),
        }
    }
}
