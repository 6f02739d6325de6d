//! The binary `sfumato`.
fn main() {}
