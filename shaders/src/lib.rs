//! Every WGSL kernel of Diptych, and a typed registry of them.
