//! Batched UDP over Linux system calls: recvmmsg with GRO, sendmmsg with GSO, eventfd.
