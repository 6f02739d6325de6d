//! Batched UDP over Linux system calls: recvmmsg with GRO and sendmmsg with GSO. Also what a thread per core needs
//! besides: an eventfd that wakes it, a wait over several descriptors, pinning, and the addresses of the machine.
//!
//! Only system calls: no knowledge of media, no timers, no threads. Used by the workers, and not by the crates that do
//! no I/O.
//!
//! - [`socket`]: [`UdpSocket`], one per family and worker, all on one port by SO_REUSEPORT
//! - [`recv`]: [`RecvBatch`], up to some tens of messages per call, each a train of segments when GRO joined them
//! - [`send`]: [`SendBatch`], an arena of datagrams; neighbours of one path and size leave as one GSO message,
//!   and what a full socket does not take is kept
//! - [`steer`]: a program that chooses among the sockets of a port, and a table that it looks into
//! - [`wake`]: [`WakeFd`], [`wait`] and [`wait_both`]
//! - [`machine`]: cores, pinning, interface addresses
//! - [`memory`](mod@memory): how much memory the process may use
//!
//! All memory is allocated when a batch is made; receiving and sending allocate nothing.
#![allow(
    unsafe_code,
    reason = "batched system calls take raw pointers; this crate wraps them so that no other crate has to"
)]
#![cfg(target_os = "linux")]

mod address;
mod bpf;
mod control;
pub mod machine;
pub mod memory;
mod outgoing;
pub mod recv;
pub mod send;
pub mod socket;
pub mod steer;
mod train;
pub mod wake;

pub use machine::{InterfaceAddress, cores, interface_addresses, pin_to_core};
pub use memory::memory;
pub use recv::{Datagram, Datagrams, Message, RecvBatch, RecvStats};
pub use send::{FlushStats, MIN_SPACE, SendBatch};
pub use socket::{UdpConfig, UdpSocket};
pub use wake::{Ready, WakeFd, wait, wait_both};
