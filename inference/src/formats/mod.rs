//! File formats that models and pictures come in. Every parser treats its input as hostile.
