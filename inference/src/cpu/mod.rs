//! The executor on candle-core: the fallback where there is no GPU, and the oracle for every GPU kernel.
