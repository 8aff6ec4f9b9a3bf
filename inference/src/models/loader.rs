//! A view of weights that is scoped by a prefix, so that model code reads like the module tree of the reference program.

use crate::formats::{FormatError, TensorData, WeightMap};
use crate::graph::{GraphBuilder, ScopeGuard};

use super::error::Result;

/// The weights below one prefix.
///
/// `Scope::new(&weights).scope("down_blocks.0").tensor("conv.weight", &[8, 8, 3, 3])` reads the tensor
/// `down_blocks.0.conv.weight` and checks its shape.
#[derive(Clone)]
pub struct Scope<'a> {
    weights: &'a WeightMap,
    prefix: String,
    name: String,
}

impl<'a> Scope<'a> {
    /// All weights of a map.
    #[must_use]
    pub fn new(weights: &'a WeightMap) -> Self {
        Self {
            weights,
            prefix: String::new(),
            name: String::new(),
        }
    }

    /// The weights below `name` (one or more names joined by dots).
    #[must_use]
    pub fn scope(&self, name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            weights: self.weights,
            prefix: format!("{}{name}.", self.prefix),
            name,
        }
    }

    /// Labels nodes with this scope's name until the guard is dropped.
    pub(super) fn enter<'g>(&self, g: &'g GraphBuilder) -> ScopeGuard<'g> {
        g.scope(self.name.clone())
    }

    /// Whether there is a tensor of that name in this scope.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.weights.contains(&format!("{}{name}", self.prefix))
    }

    /// The tensor of that name and exactly that shape.
    ///
    /// # Errors
    /// Named errors for a tensor that is missing, misshapen or of a type that cannot be computed with.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<TensorData> {
        let name = format!("{}{name}", self.prefix);
        Ok(self.weights.require(&name, shape)?)
    }

    /// The weight `[out, in]` of a linear layer, which some files store as a 1x1 convolution `[out, in, 1, 1]`.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn matrix(&self, name: &str, out: usize, inner: usize) -> Result<TensorData> {
        let full = format!("{}{name}", self.prefix);
        match self.weights.get(&full).map(TensorData::shape) {
            Some(&[_, _, 1, 1]) => {
                let tensor = self.tensor(name, &[out, inner, 1, 1])?;
                Ok(tensor.with_shape(&[out, inner])?)
            }
            _ => self.tensor(name, &[out, inner]),
        }
    }

    /// A table `[rows, width]` whose number of rows is the file's affair.
    ///
    /// # Errors
    /// As [`Self::tensor`]; an empty table is refused.
    pub fn table(&self, name: &str, width: usize) -> Result<TensorData> {
        let full = format!("{}{name}", self.prefix);
        let rows = match self.weights.get(&full).map(TensorData::shape) {
            Some(&[rows, _]) if rows > 0 => rows,
            _ => 1,
        };
        self.tensor(name, &[rows, width])
    }

    /// An error about the configuration that these weights came with.
    pub(super) fn misfit(&self, key: &str, reason: String) -> FormatError {
        FormatError::InvalidConfig {
            path: self.weights.source().into(),
            key: key.into(),
            reason,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn map() -> WeightMap {
        let mut map = WeightMap::new("model.safetensors");
        for (name, shape) in [
            ("mid.proj.weight", vec![4, 3, 1, 1]),
            ("mid.table", vec![5, 2]),
        ] {
            let n = shape.iter().product();
            let tensor = TensorData::from_f32(name, &shape, &vec![1.0; n]).unwrap();
            map.insert(name, tensor);
        }
        map
    }

    #[test]
    fn names_are_joined_and_shapes_checked() {
        let map = map();
        let mid = Scope::new(&map).scope("mid");
        assert!(mid.contains("proj.weight"));
        assert!(!mid.contains("weight"));
        assert_eq!(
            mid.scope("proj").matrix("weight", 4, 3).unwrap().shape(),
            [4, 3]
        );
        assert_eq!(mid.table("table", 2).unwrap().shape(), [5, 2]);
        let missing = mid.tensor("norm.weight", &[7]).unwrap_err().to_string();
        assert!(
            missing.contains("model.safetensors") && missing.contains("mid.norm.weight"),
            "{missing}"
        );
        let misshapen = mid
            .scope("proj")
            .matrix("weight", 3, 4)
            .unwrap_err()
            .to_string();
        assert!(misshapen.contains("mid.proj.weight"), "{misshapen}");
        assert!(mid.table("table", 3).is_err());
    }
}
