//! Chooses which of the sockets that share a port gets a datagram: a classic BPF program in place of the kernel's
//! hash.
//!
//! Only the instructions that such a program needs, and the calls that attach it. The caller writes the program. A
//! program may also take its choice from a [`Table`] of remote addresses, if the kernel allows that.

mod table;
mod translate;

use std::{io, os::fd::AsRawFd};

pub use table::Table;

use crate::{UdpSocket, bpf};

/// Where the IP header begins, for loads from before the payload (linux/filter.h, `SKF_NET_OFF`).
pub const NETWORK: u32 = 0xfff0_0000;

/// One instruction of a classic BPF program. It runs with the datagram's payload at offset 0; a load beyond the end of
/// the datagram ends the program with 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    code: u32,
    /// How many instructions to skip if a condition holds, and if it does not.
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

    /// The datagram goes to the socket with the number A, in the order in which the sockets were bound.
    pub const fn choose() -> Self {
        Self::new(libc::BPF_RET | libc::BPF_A, 0)
    }
}

impl UdpSocket {
    /// Lets a program choose among all sockets that share this one's address and port, including those that are bound
    /// later (SO_ATTACH_REUSEPORT_CBPF). A number that no socket has leaves the choice to the kernel's hash.
    ///
    /// # Errors
    /// `InvalidInput` for a program that is longer than 4,096 instructions; else the kernel's, `EINVAL` for an invalid
    /// program.
    pub fn steer(&self, program: &[Instruction]) -> io::Result<()> {
        if program.len() > libc::BPF_MAXINSNS as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut filters: Vec<libc::sock_filter> = program
            .iter()
            .map(|i| libc::sock_filter {
                code: i.code as u16,
                jt: i.skip.0,
                jf: i.skip.1,
                k: i.value,
            })
            .collect();
        let len = filters.len() as u16;
        let program = libc::sock_fprog { len, filter: filters.as_mut_ptr() };
        // SAFETY: the option takes a sock_fprog. It points at `len` instructions that live until the call returns; the
        // kernel copies them and writes nothing.
        unsafe { self.attach(libc::SO_ATTACH_REUSEPORT_CBPF, &program) }
    }

    /// As [`UdpSocket::steer`], with a table: for a remote address in `table`, A is its number there; for others,
    /// `pick` computes A. Then `rest` continues from A in both cases, and chooses. A value that `pick` leaves in X is
    /// there only if `pick` ran; else X is 0.
    ///
    /// The program sees changes of the table at once, and keeps it alive.
    ///
    /// # Errors
    /// `InvalidInput` for more than 4,096 instructions, or a jump out of them; else the kernel's: `EPERM` without
    /// CAP_BPF, `ENOSYS` if bpf(2) is missing or hidden, `EINVAL` for an invalid program.
    pub fn steer_with(
        &self,
        table: &Table,
        pick: &[Instruction],
        rest: &[Instruction],
    ) -> io::Result<()> {
        if pick.len() + rest.len() > libc::BPF_MAXINSNS as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let is_ipv4 = self.local_addr().is_ipv4();
        let program = translate::with_table(is_ipv4, table, pick, rest);
        let program = bpf::load(&program.ok_or(io::ErrorKind::InvalidInput)?)?;
        // SAFETY: the option takes the descriptor of a program, an int. The kernel keeps its own reference to the
        // program.
        unsafe { self.attach(libc::SO_ATTACH_REUSEPORT_EBPF, &program.as_raw_fd()) }
    }

    /// Sets a socket option that attaches a program.
    ///
    /// # Safety
    /// `value` is of the type that `option` takes, and the memory that it points at can be read until this returns.
    unsafe fn attach<V>(&self, option: libc::c_int, value: &V) -> io::Result<()> {
        // SAFETY: address and size are those of `value`; the caller promised the rest.
        let done = unsafe {
            libc::setsockopt(
                self.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                std::ptr::from_ref(value).cast(),
                size_of::<V>() as libc::socklen_t,
            )
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// For tests: a table, or `None` and a line on stderr if the kernel allows none.
#[cfg(test)]
fn table_or_skip(entries: u32) -> Option<Table> {
    match Table::new(entries) {
        Ok(table) => Some(table),
        Err(error) => {
            assert!(
                matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)),
                "a table was refused for another reason than missing rights: {error}"
            );
            eprintln!("skipped: the kernel allows no BPF tables here ({error})");
            None
        }
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
        // By the parity of the second byte, for any sender.
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
        // Too short for a second byte: socket 0.
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

    /// The first part of a program that, with `lane`, has each kind of instruction: A = a hash of the source.
    fn hash(is_ipv4: bool) -> Vec<Instruction> {
        use Instruction as I;
        let (address, port) = if is_ipv4 { (12..16, 20) } else { (8..24, 40) };
        let mut program = vec![I::half(NETWORK + port), I::times(0x9e37_79b1)];
        for word in address.step_by(4) {
            program.extend([I::keep(), I::word(NETWORK + word), I::mix(), I::times(0x85eb_ca6b)]);
        }
        program.extend([I::shift_right(16), I::modulo(2)]);
        program
    }

    /// Two sockets for each number: the second one if the payload's first byte is 200 or more, or is 100.
    fn lane() -> Vec<Instruction> {
        use Instruction as I;
        vec![
            I::times(2),
            I::keep(),
            I::byte(0),
            I::if_equal(50, 1, 0),
            // Both branches skip something.
            I::if_at_least(200, 4, 1),
            I::and(0xff),
            I::if_equal(100, 2, 0),
            I::recall(),
            I::choose(),
            I::recall(),
            I::plus(1),
            I::choose(),
        ]
    }

    fn four(ip: std::net::IpAddr) -> Option<Vec<UdpSocket>> {
        let first = UdpSocket::bind(&UdpConfig::new((ip, 0).into())).ok()?;
        let config = UdpConfig::new(first.local_addr());
        let others = (1..4).map(|_| UdpSocket::bind(&config).unwrap());
        Some(std::iter::once(first).chain(others).collect())
    }

    /// The socket at which a datagram arrives.
    fn arrival(sockets: &[UdpSocket], sender: &std::net::UdpSocket, payload: &[u8]) -> u32 {
        sender.send_to(payload, sockets[0].local_addr()).unwrap();
        let fds: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        let ready = wait(&fds, Some(Duration::from_secs(5))).unwrap();
        assert_eq!(ready.count_ones(), 1);
        let at = ready.trailing_zeros();
        RecvBatch::new(4, 2_048).recv(&sockets[at as usize]).unwrap();
        at
    }

    #[test]
    fn a_translated_program_chooses_as_the_classic_one_does() {
        let Some(table) = table_or_skip(64) else { return };
        for ip in
            [std::net::IpAddr::from(Ipv4Addr::LOCALHOST), std::net::Ipv6Addr::LOCALHOST.into()]
        {
            let (Some(classic), Some(extended)) = (four(ip), four(ip)) else { continue };
            let (pick, rest) = (hash(ip.is_ipv4()), lane());
            classic[0].steer(&[pick.clone(), rest.clone()].concat()).unwrap();
            extended[0].steer_with(&table, &pick, &rest).unwrap();
            for _ in 0..100 {
                let sender = std::net::UdpSocket::bind((ip, 0)).unwrap();
                for first in [0, 99, 100, 101, 199, 200, 201, 255] {
                    let expected = arrival(&classic, &sender, &[first]);
                    assert_eq!(arrival(&extended, &sender, &[first]), expected, "{first} {ip}");
                    assert_eq!(expected % 2 == 1, first >= 200 || first == 100);
                }
                // Too short for a first byte: socket 0 in both.
                assert_eq!(arrival(&classic, &sender, &[]), 0);
                assert_eq!(arrival(&extended, &sender, &[]), 0);
            }
        }
    }

    #[test]
    fn a_number_of_the_table_goes_before_what_the_program_picks() {
        let Some(table) = table_or_skip(64) else { return };
        for ip in
            [std::net::IpAddr::from(Ipv4Addr::LOCALHOST), std::net::Ipv6Addr::LOCALHOST.into()]
        {
            let Some(sockets) = four(ip) else { continue };
            sockets[0].steer_with(&table, &hash(ip.is_ipv4()), &lane()).unwrap();
            let sender = std::net::UdpSocket::bind((ip, 0)).unwrap();
            let neighbour = std::net::UdpSocket::bind((ip, 0)).unwrap();
            let own = arrival(&sockets, &sender, &[0]);
            let beside = arrival(&sockets, &neighbour, &[0]);
            for number in [1, 0, 1] {
                table.set(sender.local_addr().unwrap(), number).unwrap();
                assert_eq!(arrival(&sockets, &sender, &[0]), 2 * number);
                assert_eq!(arrival(&sockets, &sender, &[200]), 2 * number + 1);
                assert_eq!(
                    arrival(&sockets, &neighbour, &[0]),
                    beside,
                    "the table concerns one port"
                );
            }
            table.remove(sender.local_addr().unwrap()).unwrap();
            assert_eq!(arrival(&sockets, &sender, &[0]), own);
        }
    }

    #[test]
    fn programs_with_a_table_that_make_no_sense_are_refused() {
        let Some(table) = table_or_skip(64) else { return };
        let socket = UdpSocket::bind(&UdpConfig::new((Ipv4Addr::LOCALHOST, 0).into())).unwrap();
        let refused = |pick: &[Instruction], rest: &[Instruction]| {
            socket.steer_with(&table, pick, rest).unwrap_err().kind()
        };
        assert_eq!(refused(&[], &[]), io::ErrorKind::InvalidInput, "it never ends");
        assert_eq!(refused(&[], &[Instruction::byte(0)]), io::ErrorKind::InvalidInput);
        let out = [Instruction::if_equal(1, 1, 0), Instruction::choose()];
        assert_eq!(refused(&[], &out), io::ErrorKind::InvalidInput, "a jump behind the end");
        let endless = vec![Instruction::keep(); 4_097];
        assert_eq!(refused(&endless, &[]), io::ErrorKind::InvalidInput);
    }

    /// Tests only that the programs run; prints what they cost (`--nocapture`).
    #[test]
    fn what_a_datagram_costs() {
        let Some(table) = table_or_skip(65_536) else { return };
        for is_ipv4 in [true, false] {
            let (pick, rest) = (hash(is_ipv4), lane());
            let classic =
                bpf::load(&translate::alone(&[pick.clone(), rest.clone()].concat()).unwrap());
            let with = bpf::load(&translate::with_table(is_ipv4, &table, &pick, &rest).unwrap());
            let (classic, with) = (classic.unwrap(), with.unwrap());
            // An Ethernet frame with the source 7.7.7.7 (or 707:707:..) and port 1799.
            let mut frame = [7u8; 14 + 48];
            frame[12..14].copy_from_slice(if is_ipv4 { &[8, 0] } else { &[0x86, 0xdd] });
            let address: std::net::IpAddr = if is_ipv4 { [7; 4].into() } else { [7u8; 16].into() };
            let known = (address, 0x0707).into();
            for entries in [0u32, 20_000] {
                for number in 0..entries {
                    table.set((Ipv4Addr::from(number), 9).into(), 1).unwrap();
                }
                let run = |program| bpf::measure::run(program, &frame, 1_000_000).unwrap();
                table.remove(known).unwrap();
                let (plain, missed) = (run(&classic), run(&with));
                assert_eq!(plain.0, missed.0);
                table.set(known, 3).unwrap();
                let hit = run(&with);
                assert_eq!(hit.0, 6);
                println!(
                    "IPv{}, {entries} entries: classic {} ns, not in the table {} ns, in the table {} ns",
                    if is_ipv4 { 4 } else { 6 },
                    plain.1,
                    missed.1,
                    hit.1
                );
            }
        }
    }
}
