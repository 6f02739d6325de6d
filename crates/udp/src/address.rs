//! Socket addresses as the kernel lays them out.
