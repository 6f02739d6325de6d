//! Single-producer single-consumer rings and the wake-up of a sleeping worker, model-checked with loom.
