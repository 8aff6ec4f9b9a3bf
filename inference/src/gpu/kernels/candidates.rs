//! The likeliest tokens of rows of logits.

use diptych_shaders::Kernel;

use super::{Arg, ExecError, Lowering, Work, words};
use crate::graph::candidates::{EXTRAS, PARTS, ROW_WORDS};

impl Lowering<'_, '_> {
    pub(super) fn candidates(&mut self, tokens: usize) -> Result<(), ExecError> {
        let [rows, width] = self.axes(0)?;
        let limits = *self.limits();
        let bands = self.bands(rows, 1, |begin, end| {
            limits.fits(begin * width, (end - begin) * width)
                && limits.fits(begin * EXTRAS, (end - begin) * EXTRAS)
                && limits.fits(begin * ROW_WORDS, (end - begin) * ROW_WORDS)
        })?;
        for (begin, end) in bands {
            let band = end - begin;
            let x = limits.window(Arg::Operand(0), begin * width, band * width);
            let extras = limits.window(Arg::Operand(1), begin * EXTRAS, band * EXTRAS);
            let temperatures = limits.window(Arg::Operand(2), begin, band);
            let y = limits.window(Arg::Output, begin * ROW_WORDS, band * ROW_WORDS);
            let numbers = [
                band,
                width,
                tokens,
                x.base,
                extras.base,
                temperatures.base,
                y.base,
            ];
            let work = Work {
                groups: (band * PARTS) as u64,
                flops: 20 * (band * tokens) as u64,
            };
            let bindings = vec![x.bound, extras.bound, temperatures.bound, y.bound];
            self.push(Kernel::Candidates, &words(numbers)?, bindings, work)?;
        }
        Ok(())
    }
}
