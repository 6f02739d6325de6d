//! Which of the sockets that share a port a datagram goes to: a classic BPF program in place of the kernel's hash.
//!
//! Only the instructions that such a program needs, and the call that attaches it. What it looks for is the caller's.

use std::{io, os::fd::AsRawFd};

use crate::UdpSocket;

/// Where the IP header begins, for loads that look before the payload (linux/filter.h, `SKF_NET_OFF`).
pub const NETWORK: u32 = 0xfff0_0000;

/// One instruction of a classic BPF program. It runs with the datagram's payload at offset 0; a load behind the end of
/// the datagram ends the program with 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    code: u32,
    /// How many instructions to skip when a condition holds, and when it does not.
    skip: (u8, u8),
    value: u32,
}

impl Instruction {
    const fn new(code: u32, value: u32) -> Self {
        Self { code, skip: (0, 0), value }
    }

    const fn jump(code: u32, value: u32, skip: (u8, u8)) -> Self {
        Self { code: libc::BPF_JMP | code | libc::BPF_K, skip, value }
    }

    /// A = the byte at an offset.
    pub const fn byte(offset: u32) -> Self {
        Self::new(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, offset)
    }

    /// A = the 16 bits at an offset, in network byte order.
    pub const fn half(offset: u32) -> Self {
        Self::new(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, offset)
    }

    /// A = the 32 bits at an offset, in network byte order.
    pub const fn word(offset: u32) -> Self {
        Self::new(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
    }

    /// X = A.
    pub const fn keep() -> Self {
        Self::new(libc::BPF_MISC | libc::BPF_TAX, 0)
    }

    /// A = X.
    pub const fn recall() -> Self {
        Self::new(libc::BPF_MISC | libc::BPF_TXA, 0)
    }

    /// A ^= X.
    pub const fn mix() -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0)
    }

    /// A *= a value, modulo 2^32.
    pub const fn times(value: u32) -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, value)
    }

    /// A += a value.
    pub const fn plus(value: u32) -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K, value)
    }

    /// A &= a value.
    pub const fn and(value: u32) -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, value)
    }

    /// A >>= a value.
    pub const fn shift_right(value: u32) -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, value)
    }

    /// A %= a value, which is not 0.
    pub const fn modulo(value: u32) -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, value)
    }

    /// Skips `then` instructions if A is at least a value, `otherwise` if not.
    pub const fn if_at_least(value: u32, then: u8, otherwise: u8) -> Self {
        Self::jump(libc::BPF_JGE, value, (then, otherwise))
    }

    /// Skips `then` instructions if A is a value, `otherwise` if not.
    pub const fn if_equal(value: u32, then: u8, otherwise: u8) -> Self {
        Self::jump(libc::BPF_JEQ, value, (then, otherwise))
    }

    /// The datagram goes to the socket whose number is A, in the order in which they were bound.
    pub const fn choose() -> Self {
        Self::new(libc::BPF_RET | libc::BPF_A, 0)
    }
}

impl UdpSocket {
    /// Lets a program choose among all sockets that share this one's address and port, those that are bound later too
    /// (SO_ATTACH_REUSEPORT_CBPF). A number that no socket has leaves the choice to the kernel's hash.
    ///
    /// # Errors
    /// `InvalidInput` for a program that is longer than 4,096 instructions; else what the kernel says, `EINVAL` for
    /// one that makes no sense.
    pub fn steer(&self, program: &[Instruction]) -> io::Result<()> {
        let mut filters: Vec<libc::sock_filter> = program
            .iter()
            .map(|i| libc::sock_filter {
                code: i.code as u16,
                jt: i.skip.0,
                jf: i.skip.1,
                k: i.value,
            })
            .collect();
        let too_long = filters.len() > libc::BPF_MAXINSNS as usize;
        let len = u16::try_from(filters.len()).ok().filter(|_| !too_long);
        let len = len.ok_or(io::ErrorKind::InvalidInput)?;
        let program = libc::sock_fprog { len, filter: filters.as_mut_ptr() };
        // SAFETY: the option's value is a sock_fprog, whose address and size are given. It points at `len` instructions
        // that live until the call returns; the kernel copies them and writes nothing.
        let done = unsafe {
            libc::setsockopt(
                self.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_REUSEPORT_CBPF,
                (&raw const program).cast(),
                size_of::<libc::sock_fprog>() as libc::socklen_t,
            )
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use super::*;
    use crate::{RecvBatch, UdpConfig, wait};

    #[test]
    fn a_program_chooses_the_socket() {
        let first = UdpSocket::bind(&UdpConfig::new((Ipv4Addr::LOCALHOST, 0).into())).unwrap();
        let second = UdpSocket::bind(&UdpConfig::new(first.local_addr())).unwrap();
        // By the parity of the second byte, whoever sends.
        let program = [Instruction::byte(1), Instruction::and(1), Instruction::choose()];
        first.steer(&program).unwrap();
        let sender = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut batch = RecvBatch::new(4, 2_048);
        for number in 0..20u8 {
            sender.send_to(&[7, number], first.local_addr()).unwrap();
            let chosen = if number % 2 == 0 { &first } else { &second };
            let ready = wait(&[chosen.as_raw_fd()], Some(Duration::from_secs(5))).unwrap();
            assert_eq!(ready, 1, "datagram {number}");
            batch.recv(chosen).unwrap();
            let came: Vec<Vec<u8>> = batch.datagrams().map(|d| d.data.to_vec()).collect();
            assert_eq!(came, [[7, number]]);
        }
        // Too short to look at the second byte: socket 0.
        sender.send_to(&[7], first.local_addr()).unwrap();
        assert_eq!(wait(&[first.as_raw_fd()], Some(Duration::from_secs(5))).unwrap(), 1);
    }

    #[test]
    fn programs_that_make_no_sense_are_refused() {
        let socket = UdpSocket::bind(&UdpConfig::new((Ipv4Addr::LOCALHOST, 0).into())).unwrap();
        assert!(socket.steer(&[]).is_err());
        assert!(socket.steer(&[Instruction::byte(0)]).is_err(), "it never ends");
        let endless = vec![Instruction::keep(); 5_000];
        assert_eq!(socket.steer(&endless).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
