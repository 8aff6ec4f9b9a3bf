//! Noise schedules, samplers, guidance and noise generators.
