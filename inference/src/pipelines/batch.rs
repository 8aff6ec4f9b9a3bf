//! Work on several rows at once where memory allows, else row after row.

use std::sync::Arc;

use super::error::JobError;
use super::store::{Form, ModelStore, PlanKey, Shortage};
use crate::graph::{
    ExecError, Fed, Graph, HostData, HostTensor, Interrupt, Piece, PlanId, VectorsId,
};

/// Work that can be done on any number of rows: what its plans are known by, and how their graphs are built.
pub struct Rows<'a> {
    /// Name of the loaded model.
    pub name: &'a str,
    /// By what the changed model's plans are known.
    pub changes: u64,
    /// Rows that there are: length of the first axis of every input and output.
    pub count: usize,
    /// Key of the plan of a number of rows.
    pub key: &'a dyn Fn(usize) -> PlanKey,
    /// Graph of a number of rows.
    pub build: &'a dyn Fn(usize) -> Result<Graph, JobError>,
}

/// Rows of which one input and the answer stay on the device.
pub struct FedRows<'a> {
    /// The vectors.
    pub set: VectorsId,
    /// Name of the input.
    pub input: &'a str,
    /// What a row of it is made of; `to` counts from the row's first element.
    pub row: Vec<Piece>,
    /// Where the answer to the first row is put; those to the others follow.
    pub into: usize,
    /// Elements of the answer to a row.
    pub answer: usize,
}

impl FedRows<'_> {
    /// The pieces of so many rows.
    fn pieces(&self, rows: usize) -> Vec<Piece> {
        let long: usize = self.row.iter().map(|piece| piece.len).sum();
        let all = (0..rows).flat_map(|row| {
            let moved = move |piece: &Piece| Piece {
                to: piece.to + row * long,
                ..*piece
            };
            self.row.iter().map(moved)
        });
        all.collect()
    }
}

impl ModelStore {
    /// Runs a network on all rows at once, or one by one where memory does not suffice for that. Activations for one row take a part
    /// of the memory, and rows do not see each other, so the results are equal but for rounding.
    ///
    /// # Errors
    /// From building, preparing or running the graphs.
    pub fn run_rows(
        &mut self,
        rows: &Rows<'_>,
        inputs: &[(&str, HostTensor)],
        interrupt: &mut dyn Interrupt,
    ) -> Result<Vec<HostTensor>, JobError> {
        self.in_sizes(
            rows,
            interrupt,
            |store, (plan, size), interrupt| match size {
                1 if rows.count > 1 => store.run_each(plan, rows.count, inputs, interrupt),
                _ => store.run(plan, inputs, &[], interrupt),
            },
        )
    }

    /// As [`Self::run_rows`], of rows that lie on the device; or only begins it, so that the device has something to do.
    ///
    /// # Errors
    /// As [`Self::run_rows`].
    pub fn run_rows_fed(
        &mut self,
        rows: &Rows<'_>,
        inputs: &[(&str, HostTensor)],
        (fed, only_begin): (&FedRows<'_>, bool),
        interrupt: &mut dyn Interrupt,
    ) -> Result<(), JobError> {
        self.in_sizes(rows, interrupt, |store, (plan, size), interrupt| {
            let pieces = fed.pieces(size);
            let once = |into: usize| Fed {
                set: fed.set,
                input: fed.input,
                pieces: &pieces,
                into,
            };
            if size == rows.count.max(1) {
                let once = once(fed.into);
                return store.run_fed(plan, inputs, (&once, only_begin), interrupt);
            }
            let begun = if only_begin { 1 } else { rows.count };
            for row in 0..begun {
                let part = part_of(inputs, row, rows.count);
                let into = fed.into + row * fed.answer;
                store.run_fed(plan, &part, (&once(into), only_begin), interrupt)?;
            }
            Ok(())
        })
    }

    /// Does something with the plan of all rows at once, or where memory does not suffice with that of one.
    fn in_sizes<T>(
        &mut self,
        rows: &Rows<'_>,
        interrupt: &mut dyn Interrupt,
        mut run: impl FnMut(&mut Self, (PlanId, usize), &mut dyn Interrupt) -> Result<T, JobError>,
    ) -> Result<T, JobError> {
        let mut sizes = match rows.count {
            0 | 1 => vec![1],
            count => vec![count, 1],
        };
        loop {
            let forms = sizes
                .iter()
                .map(|&size| Form::new((rows.key)(size), move || (rows.build)(size)))
                .collect();
            let owner = (rows.name, rows.changes);
            let (place, plan) = self.first_fitting(owner, forms, Shortage::Smaller, interrupt)?;
            let size = sizes.get(place).copied().unwrap_or(1);
            match run(self, (plan, size), interrupt) {
                Err(JobError::Exec(ExecError::OutOfMemory { .. })) if size > 1 => {
                    tracing::info!("'{}' goes on row by row: memory ran out", rows.name);
                    self.give_up(plan);
                    sizes.retain(|&other| other < size);
                }
                other => return other,
            }
        }
    }

    fn run_each(
        &mut self,
        plan: PlanId,
        count: usize,
        inputs: &[(&str, HostTensor)],
        interrupt: &mut dyn Interrupt,
    ) -> Result<Vec<HostTensor>, JobError> {
        let mut joined: Vec<HostTensor> = Vec::new();
        for row in 0..count {
            let part = part_of(inputs, row, count);
            let outputs = self.run(plan, &part, &[], interrupt)?;
            if joined.is_empty() {
                joined = outputs;
                continue;
            }
            for (all, one) in joined.iter_mut().zip(outputs) {
                append(all, one);
            }
        }
        Ok(joined)
    }
}

/// What one of `count` rows is given.
fn part_of<'a>(
    inputs: &[(&'a str, HostTensor)],
    row: usize,
    count: usize,
) -> Vec<(&'a str, HostTensor)> {
    let part = |(name, tensor): &(&'a str, HostTensor)| (*name, row_of(tensor, row, count));
    inputs.iter().map(part).collect()
}

/// One of `count` rows; a tensor of another first length is given to every row.
fn row_of(tensor: &HostTensor, row: usize, count: usize) -> HostTensor {
    if tensor.shape.first() != Some(&count) {
        return tensor.clone();
    }
    let mut shape = tensor.shape.clone();
    if let Some(first) = shape.first_mut() {
        *first = 1;
    }
    let len = tensor.len() / count.max(1);
    let range = row * len..(row + 1) * len;
    match &tensor.data {
        HostData::F32(data) => HostTensor::f32(shape, data.get(range).unwrap_or_default().to_vec()),
        HostData::U32(data) => HostTensor::u32(shape, data.get(range).unwrap_or_default().to_vec()),
    }
}

fn append(all: &mut HostTensor, one: HostTensor) {
    if let (Some(first), Some(more)) = (all.shape.first_mut(), one.shape.first()) {
        *first += more;
    }
    match (&mut all.data, one.data) {
        (HostData::F32(all), HostData::F32(one)) => Arc::make_mut(all).extend_from_slice(&one),
        (HostData::U32(all), HostData::U32(one)) => Arc::make_mut(all).extend_from_slice(&one),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_and_joined() {
        let whole = HostTensor::f32([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let mut joined = row_of(&whole, 0, 2);
        assert_eq!(joined, HostTensor::f32([1, 3], vec![1.0, 2.0, 3.0]));
        append(&mut joined, row_of(&whole, 1, 2));
        assert_eq!(joined, whole);
        let shared = HostTensor::u32([3], vec![7, 8, 9]);
        assert_eq!(row_of(&shared, 1, 2), shared);
    }
}
