//! One readable file per architecture: config, key map, graph builder.
