//! Up-tracks, down-tracks, packet cache, layer selection and rewriting, sans-IO.
