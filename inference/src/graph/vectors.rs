//! Vectors that stay on a device between runs of plans: the latents of a picture, and what its sampler remembers.

use super::{ExecError, PlanId, Run};

/// A set of vectors of equal length on a device; it outlives plans. They lie one after the other, so that an element of the set has a number, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VectorsId(pub u64);

/// Sums of vectors with factors.
#[derive(Clone, Copy, Debug)]
pub struct Sums<'a> {
    /// Vectors that are read; where there is an answer, it counts as one more at their end.
    pub reads: &'a [usize],
    /// Vectors that are written. All is read before.
    pub writes: &'a [usize],
    /// `f0, f1, f2` for each read, for each written: an element is the sum of `(f0 + f1 m + f2 m^2) read`, where `m` is the mask's (0 without one).
    pub factors: &'a [[f32; 3]],
    /// The mask's vector.
    pub mask: Option<usize>,
    /// Rows of a network's answer, which are put together before anything else.
    pub answer: Option<Answer<'a>>,
}

/// Rows of a network's answer, put together by guidance: `row[0] + sum of weights[r] (row[r] - row[0])`.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The vector of the first row.
    pub first: usize,
    /// A weight for each row; that of the first is not used.
    pub weights: &'a [f32],
    /// What is made of the result's spread, if anything.
    pub rescale: Option<Rescale<'a>>,
    /// The number by which a result that is no number is known; rising.
    pub number: u32,
}

/// The spread is brought back to that of `sum of means[r] row[r]` by a share.
#[derive(Clone, Copy, Debug)]
pub struct Rescale<'a> {
    /// A weight for each row; that of the first is not used.
    pub means: &'a [f32],
    /// 0 changes nothing, 1 is the whole correction.
    pub share: f32,
}

/// A part of a set that is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First element in the set.
    pub from: usize,
    /// First element where it is copied to.
    pub to: usize,
    /// Elements.
    pub len: usize,
}

/// What a run takes from a set and leaves there.
#[derive(Clone, Copy, Debug)]
pub struct Fed<'a> {
    /// The set.
    pub set: VectorsId,
    /// The input that is made of pieces of the set, all of it.
    pub input: &'a str,
    /// The pieces.
    pub pieces: &'a [Piece],
    /// First element in the set of what the plan's first output is copied to.
    pub into: usize,
}

/// What was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Looked {
    /// The vectors, in the order in which they were asked for.
    pub vectors: Vec<Vec<f32>>,
    /// The first answer that held something that is no number: its number, where that was, and what. Only told where vectors were asked for.
    pub fault: Option<(u32, usize, f32)>,
}

/// Executors that keep vectors on their device. What they are told to do is done in that order, and nothing but [`DeviceVectors::looked`] waits for the
/// device; runs keep only as much of it waiting as runs without vectors do.
pub trait DeviceVectors {
    /// Whether there can be a set of so many vectors of a length; memory apart.
    fn can_hold(&self, vectors: usize, elements: usize) -> bool;

    /// Bytes that a set takes.
    fn bytes_of_vectors(&self, vectors: usize, elements: usize, seen: usize) -> u64;

    /// Makes a set. What is in it is not known until it is written. There is room at once for two looks at `seen` of its vectors, so that no memory is missing
    /// later.
    ///
    /// # Errors
    /// If memory runs out, or it is larger than the device allows.
    fn create_vectors(
        &mut self,
        vectors: usize,
        elements: usize,
        seen: usize,
    ) -> Result<VectorsId, ExecError>;

    /// Writes elements of a set from a place on.
    ///
    /// # Errors
    /// If there is no such place.
    fn write_vectors(
        &mut self,
        set: VectorsId,
        first: usize,
        values: &[f32],
    ) -> Result<(), ExecError>;

    /// Writes sums of vectors.
    ///
    /// # Errors
    /// If there are no such vectors, or too many.
    fn sum(&mut self, set: VectorsId, sums: &Sums<'_>) -> Result<(), ExecError>;

    /// Begins what [`DeviceVectors::run_fed`] does, so that the device has something to do; that goes on with it, if it is of the same plan, and nothing else
    /// was run on it meanwhile.
    ///
    /// # Errors
    /// As [`DeviceVectors::run_fed`].
    fn begin_fed(&mut self, plan: PlanId, run: Run<'_>, fed: &Fed<'_>) -> Result<(), ExecError>;

    /// Runs a plan whose one input is made of the set and whose first output goes there; the other inputs are given as for [`super::Executor::run`], and
    /// nothing is read back.
    ///
    /// # Errors
    /// As [`super::Executor::run`]; if pieces do not fit.
    fn run_fed(&mut self, plan: PlanId, run: Run<'_>, fed: &Fed<'_>) -> Result<(), ExecError>;

    /// Sends off all that was told, and asks for some vectors as they are then; the values come by [`DeviceVectors::looked`].
    ///
    /// # Errors
    /// If there are no such vectors; if memory runs out.
    fn look(&mut self, set: VectorsId, vectors: &[usize]) -> Result<(), ExecError>;

    /// Waits until the device is where the first of those looks was asked for that were not taken, and takes it.
    ///
    /// # Errors
    /// If the device is lost; if nothing was asked for.
    fn looked(&mut self, set: VectorsId) -> Result<Looked, ExecError>;

    /// Gives a set back.
    fn drop_vectors(&mut self, set: VectorsId);
}
