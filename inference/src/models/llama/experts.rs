//! A mixture of experts in place of an MLP (Shazeer et al. 2017; Yang et al. 2025, "Qwen3").

use crate::formats::TensorData;
use crate::graph::Tensor;
use crate::models::error::Result;
use crate::models::layers::linear_no_bias;
use crate::models::loader::Scope;

use super::block::Block;
use super::config::Experts;

/// The matrices of a layer's experts.
enum Matrices {
    /// Gate, up, down.
    Three([Vec<TensorData>; 3]),
    /// Gate and up of each expert together, and down.
    Two([Vec<TensorData>; 2]),
}

/// A tensor `[experts, out, in]` as one matrix `[experts * out, in]`.
fn stacked(w: &Scope<'_>, name: &str, [count, out, inner]: [usize; 3]) -> Result<Vec<TensorData>> {
    let all = w.tensor(name, &[count, out, inner])?;
    Ok(vec![all.with_shape(&[count * out, inner])?])
}

impl Block<'_> {
    /// What the mixture adds to the residual stream `x [rows, hidden_size]`.
    pub(super) fn experts(&self, w: &Scope<'_>, x: &Tensor, experts: Experts) -> Result<Tensor> {
        let (g, c) = (self.g, self.config);
        let x = self.norm(w, self.names.mlp_norm, x)?;
        let Experts { count, width, .. } = experts;
        let logits = linear_no_bias(g, &w.scope(self.names.router), &x, count)?;
        let routes = g.route_experts(&logits, experts.used, experts.normalised)?;
        let (h, down) = match self.matrices(w, experts)? {
            Matrices::Three([gate, up, down]) => {
                let gate = g.expert_linear(&x, &routes, &gate, count)?;
                let up = g.expert_linear(&x, &routes, &up, count)?;
                (g.gated(&gate, &up, c.activation)?, down)
            }
            Matrices::Two([both, down]) => {
                let both = g.expert_linear(&x, &routes, &both, count)?;
                let gate = g.slice(&both, 1, 0, width)?;
                let up = g.slice(&both, 1, width, width)?;
                (g.gated(&gate, &up, c.activation)?, down)
            }
        };
        let y = g.expert_linear(&h, &routes, &down, count)?;
        let y = g.combine_experts(&y, &routes)?;
        self.norm(w, self.names.mlp_post_norm, &y)
    }

    fn matrices(&self, w: &Scope<'_>, experts: Experts) -> Result<Matrices> {
        let Experts { count, width, .. } = experts;
        let hidden = self.config.hidden_size;
        let names = &self.names.experts;
        if let Some([both, down]) = names.fused
            && w.contains(both)
        {
            return Ok(Matrices::Two([
                stacked(w, both, [count, 2 * width, hidden])?,
                stacked(w, down, [count, hidden, width])?,
            ]));
        }
        if let Some((scope, names)) = names.apart
            && !w.contains(self.names.experts.stacked[0])
        {
            let each = |name: &str, out: usize, inner: usize| -> Result<Vec<TensorData>> {
                (0..count)
                    .map(|expert| {
                        let w = w.scope(format!("{scope}.{expert}.{name}"));
                        w.tensor("weight", &[out, inner])
                    })
                    .collect()
            };
            let [gate, up, down] = names;
            return Ok(Matrices::Three([
                each(gate, width, hidden)?,
                each(up, width, hidden)?,
                each(down, hidden, width)?,
            ]));
        }
        let [gate, up, down] = names.stacked;
        Ok(Matrices::Three([
            stacked(w, gate, [count, width, hidden])?,
            stacked(w, up, [count, width, hidden])?,
            stacked(w, down, [count, hidden, width])?,
        ]))
    }
}
