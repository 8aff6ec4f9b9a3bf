//! The builder's methods for mixtures of experts.

use super::builder::{GraphBuilder, Result, Tensor};
use super::{Dtype, Op};
use crate::formats::weights::TensorData;

/// Most experts: their numbers travel as floats.
const MOST_EXPERTS: usize = 1 << 16;

impl GraphBuilder {
    /// Which experts a row uses, and by what weights; see [`Op::RouteExperts`].
    pub fn route_experts(&self, logits: &Tensor, used: usize, normalised: bool) -> Result<Tensor> {
        self.want_float("route_experts", &[logits])?;
        let experts = logits.dim(1);
        if logits.shape().len() != 2 || !(1..=experts).contains(&used) || experts > MOST_EXPERTS {
            let detail = format!("{used} of the experts of {:?}", logits.shape());
            return Err(self.error("route_experts", detail));
        }
        let op = Op::RouteExperts { used, normalised };
        self.push(op, &[logits], vec![logits.dim(0), 2 * used], Dtype::F32)
    }

    /// Each row through the matrices of its experts; see [`Op::ExpertLinear`]. `weights` is one matrix `[experts * N, K]`, or one `[N, K]` for each expert.
    pub fn expert_linear(
        &self,
        x: &Tensor,
        routes: &Tensor,
        weights: &[TensorData],
        experts: usize,
    ) -> Result<Tensor> {
        self.want_float("expert_linear", &[x, routes])?;
        let shapes: Vec<&[usize]> = weights.iter().map(TensorData::shape).collect();
        let (rows, used) = (routes.dim(0), routes.dim(1) / 2);
        let wrong = || {
            let detail = format!(
                "{:?} by {:?} through {} weights of shape {:?} for {experts} experts",
                x.shape(),
                routes.shape(),
                shapes.len(),
                shapes.first()
            );
            self.error("expert_linear", detail)
        };
        let Some(&&[stored, k]) = shapes.first() else {
            return Err(wrong());
        };
        let parts = if weights.len() == 1 { experts } else { 1 };
        let fits = routes.shape().len() == 2
            && routes.dim(1) == 2 * used
            && x.shape().len() == 2
            && x.dim(1) == k
            && (x.dim(0) == rows || x.dim(0) == rows * used)
            && (1..=MOST_EXPERTS).contains(&experts)
            && (weights.len() == 1 || weights.len() == experts)
            && stored.is_multiple_of(parts)
            && shapes.iter().all(|shape| *shape == [stored, k]);
        if !fits {
            return Err(wrong());
        }
        let op = Op::ExpertLinear {
            weights: weights.iter().map(|weight| self.weight(weight)).collect(),
            experts,
        };
        self.push(
            op,
            &[x, routes],
            vec![rows * used, stored / parts],
            Dtype::F32,
        )
    }

    /// What the experts of a row made, added up by their weights; see [`Op::CombineExperts`].
    pub fn combine_experts(&self, y: &Tensor, routes: &Tensor) -> Result<Tensor> {
        self.want_float("combine_experts", &[y, routes])?;
        let (rows, used) = (routes.dim(0), routes.dim(1) / 2);
        let fits = routes.shape() == [rows, 2 * used] && y.shape() == [rows * used, y.dim(1)];
        if !fits {
            let detail = format!("{:?} by {:?}", y.shape(), routes.shape());
            return Err(self.error("combine_experts", detail));
        }
        self.push(
            Op::CombineExperts,
            &[y, routes],
            vec![rows, y.dim(1)],
            Dtype::F32,
        )
    }
}
