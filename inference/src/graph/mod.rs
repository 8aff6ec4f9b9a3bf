//! The tensor graph: ops, shape inference, passes.
