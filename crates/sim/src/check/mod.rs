//! The checks. Each has a file. A check asks the node itself only where there is no other way to know.

pub(crate) mod counters;
mod moment;
pub(crate) mod oracle;
pub(crate) mod witness;
