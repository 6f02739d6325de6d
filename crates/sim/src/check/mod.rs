//! What has to hold. Each check has a file; none of them asks the node about its own opinion where there is another way to know.

pub(crate) mod counters;
mod moment;
pub(crate) mod oracle;
pub(crate) mod witness;
