//! The draw of a token from what is told of a row.

use diptych_shaders::Kernel;

use super::{Arg, ExecError, Lowering, Work, words};
use crate::graph::candidates::{PARTS, ROW_WORDS};
use crate::graph::draw::{DRAW_WORDS, MOST_DRAWN_FROM};

impl Lowering<'_, '_> {
    pub(super) fn draw(&mut self) -> Result<(), ExecError> {
        let [rows, _] = self.axes(0)?;
        let limits = *self.limits();
        let bands = self.bands(rows, 1, |begin, end| {
            limits.fits(begin * ROW_WORDS, (end - begin) * ROW_WORDS)
                && limits.fits(begin * DRAW_WORDS, (end - begin) * DRAW_WORDS)
        })?;
        for (begin, end) in bands {
            let band = end - begin;
            let x = limits.window(Arg::Operand(0), begin * ROW_WORDS, band * ROW_WORDS);
            let settings = limits.window(Arg::Operand(1), begin * DRAW_WORDS, band * DRAW_WORDS);
            let y = limits.window(Arg::Output, begin, band);
            let numbers = [band, x.base, settings.base, y.base];
            let work = Work {
                groups: band as u64,
                flops: (band * PARTS * MOST_DRAWN_FROM) as u64,
            };
            let bindings = vec![x.bound, settings.bound, y.bound];
            self.push(Kernel::Draw, &words(numbers)?, bindings, work)?;
        }
        Ok(())
    }
}
