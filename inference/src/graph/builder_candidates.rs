//! The builder's method for choosing among logits.

use super::builder::{GraphBuilder, Result, Tensor};
use super::candidates::{EXTRAS, ROW_WORDS};
use super::draw::DRAW_WORDS;
use super::{Dtype, Op};

/// Most tokens: their numbers travel as floats.
const MOST_TOKENS: usize = 1 << 24;

impl GraphBuilder {
    /// What a device tells of each row of `logits [rows, width]`, of which the first `tokens` of a row are tokens; see [`Op::Candidates`].
    pub fn candidates(
        &self,
        logits: &Tensor,
        extras: &Tensor,
        inverse_temperatures: &Tensor,
        tokens: usize,
    ) -> Result<Tensor> {
        self.want_float("candidates", &[logits, inverse_temperatures])?;
        let rows = logits.dim(0);
        let fits = logits.shape().len() == 2
            && (1..=logits.dim(1).min(MOST_TOKENS)).contains(&tokens)
            && extras.dtype() == Dtype::U32
            && extras.shape() == [rows, EXTRAS]
            && inverse_temperatures.shape() == [rows];
        if !fits {
            let detail = format!(
                "{tokens} of {:?}, with {:?} and {:?}",
                logits.shape(),
                extras.shape(),
                inverse_temperatures.shape()
            );
            return Err(self.error("candidates", detail));
        }
        self.push(
            Op::Candidates { tokens },
            &[logits, extras, inverse_temperatures],
            vec![rows, ROW_WORDS],
            Dtype::F32,
        )
    }

    /// A token for each row of which `told [rows, ROW_WORDS]` tells, drawn by `settings [rows, DRAW_WORDS]`; see [`Op::Draw`].
    pub fn draw(&self, told: &Tensor, settings: &Tensor) -> Result<Tensor> {
        self.want_float("draw", &[told, settings])?;
        let rows = told.dim(0);
        if told.shape() != [rows, ROW_WORDS] || settings.shape() != [rows, DRAW_WORDS] {
            let detail = format!("{:?} with {:?}", told.shape(), settings.shape());
            return Err(self.error("draw", detail));
        }
        self.push(Op::Draw, &[told, settings], vec![rows], Dtype::U32)
    }

    /// Names a result that stays on the device: a run does not return it, and it can be read, row by row, until the plan's next run.
    pub fn keep(&self, name: &str, x: &Tensor) {
        self.push_kept(name, x);
    }
}
