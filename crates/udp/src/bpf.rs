//! bpf(2): maps, and programs that use them. Only what steering needs.
//!
//! The structs are the heads of `union bpf_attr` (linux/bpf.h): the kernel takes the missing fields behind them as
//! zero.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP: libc::c_int = 1;
const MAP_UPDATE: libc::c_int = 2;
const MAP_DELETE: libc::c_int = 3;
const PROGRAM_LOAD: libc::c_int = 5;

/// A hash map that forgets the entry that was used least recently when it is full (BPF_MAP_TYPE_LRU_HASH).
const LRU_HASH: u32 = 9;
/// BPF_PROG_TYPE_SOCKET_FILTER.
const SOCKET_FILTER: u32 = 1;

/// One instruction (`struct bpf_insn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Insn {
    pub(crate) code: u8,
    /// The two registers, of four bits each.
    registers: u8,
    pub(crate) offset: i16,
    pub(crate) value: i32,
}

impl Insn {
    /// `to` and `from` are register numbers, 0 to 10. `code` is an opcode, of which the low eight bits are used.
    pub(crate) const fn new(code: u32, to: u8, from: u8, offset: i16, value: i32) -> Insn {
        // C bit fields: the first one has the low bits on little-endian machines and the high bits on others.
        let registers =
            if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
        Insn { code: code as u8, registers, offset, value }
    }
}

/// Makes a least-recently-used hash map with keys and values of these sizes in bytes.
///
/// # Errors
/// The kernel's: `EPERM` without CAP_BPF, `ENOSYS` if bpf(2) is missing or a sandbox hides it, `E2BIG` or `EINVAL` for
/// sizes that it does not support.
pub(crate) fn lru_map(key: u32, value: u32, entries: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Create {
        kind: u32,
        key: u32,
        value: u32,
        entries: u32,
        flags: u32,
    }
    let create = Create { kind: LRU_HASH, key, value, entries, flags: 0 };
    // SAFETY: `Create` is the head of the attributes of this command, and holds no addresses.
    let fd = unsafe { call(MAP_CREATE, &create) }?;
    // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets the value of `key`. `K` and `V` must have the sizes that the map was made with.
///
/// # Errors
/// The kernel's, `ENOMEM` for instance.
pub(crate) fn update<const K: usize, const V: usize>(
    map: &OwnedFd,
    key: &[u8; K],
    value: &[u8; V],
) -> io::Result<()> {
    let element = Element::new(map, key, value.as_ptr() as u64);
    // SAFETY: `Element` is the head of the attributes of this command. The kernel reads a key and a value of the
    // sizes of the map, which are those of the arrays; both live until the call returns.
    unsafe { call(MAP_UPDATE, &element) }.map(drop)
}

/// The value of `key`. `K` and `V` must have the sizes that the map was made with.
///
/// # Errors
/// `NotFound` (`ENOENT`) if the map has no such key; else the kernel's.
pub(crate) fn lookup<const K: usize, const V: usize>(
    map: &OwnedFd,
    key: &[u8; K],
) -> io::Result<[u8; V]> {
    let mut value = [0; V];
    let element = Element::new(map, key, value.as_mut_ptr() as u64);
    // SAFETY: `Element` is the head of the attributes of this command. The kernel reads a key and writes a value of
    // the sizes of the map, which are those of the arrays; both live until the call returns.
    unsafe { call(MAP_LOOKUP, &element) }?;
    Ok(value)
}

/// Removes `key`, which must have the size that the map was made with.
///
/// # Errors
/// `NotFound` (`ENOENT`) if the map has no such key; else the kernel's.
pub(crate) fn delete<const K: usize>(map: &OwnedFd, key: &[u8; K]) -> io::Result<()> {
    let element = Element::new(map, key, 0);
    // SAFETY: `Element` is the head of the attributes of this command. The kernel reads a key of the size of the map,
    // which is that of the array; it lives until the call returns.
    unsafe { call(MAP_DELETE, &element) }.map(drop)
}

/// Key and value of a map.
#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Element {
    fn new<const K: usize>(map: &OwnedFd, key: &[u8; K], value: u64) -> Element {
        let map = map.as_raw_fd() as u32;
        Element { map, padding: 0, key: key.as_ptr() as u64, value, flags: 0 }
    }
}

/// Loads a socket filter. The kernel verifies it, and refuses a program that it cannot prove harmless.
///
/// # Errors
/// The kernel's: `EPERM`, `ENOSYS` as for [`lru_map`]; `EINVAL` or `EACCES` for a program that it cannot prove
/// harmless.
pub(crate) fn load(program: &[Insn]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        kind: u32,
        len: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
    }
    let load = Load {
        kind: SOCKET_FILTER,
        len: u32::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: program.as_ptr() as u64,
        // The licence decides only whether the program may call functions that the kernel reserves for GPL programs.
        // It calls none.
        license: c"MIT".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
    };
    // SAFETY: `Load` is the head of the attributes of this command. The kernel reads `len` instructions, whose layout
    // is that of `struct bpf_insn`, and the text of the licence up to its zero; both live until the call returns.
    let fd = unsafe { call(PROGRAM_LOAD, &load) }?;
    // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// One call of bpf(2); its result is a descriptor or 0.
///
/// # Safety
/// `A` is a head of the attributes of `command`. The memory that its addresses name can be read and written as the
/// command does, until this returns.
unsafe fn call<A>(command: libc::c_int, attributes: &A) -> io::Result<RawFd> {
    // SAFETY: address and size are those of `attributes`; the caller promised the rest.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<A>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as RawFd) }
}

/// For tests: measures how long a program takes.
#[cfg(test)]
pub(crate) mod measure {
    use super::*;

    /// Runs a program `times` times on a frame (BPF_PROG_TEST_RUN). Returns its last result and the nanoseconds of one
    /// run.
    pub(crate) fn run(program: &OwnedFd, frame: &[u8], times: u32) -> io::Result<(u32, u32)> {
        #[repr(C)]
        struct Run {
            program: u32,
            answer: u32,
            len_in: u32,
            len_out: u32,
            data_in: u64,
            data_out: u64,
            times: u32,
            nanoseconds: u32,
        }
        let mut run = Run {
            program: program.as_raw_fd() as u32,
            answer: 0,
            len_in: frame.len() as u32,
            len_out: 0,
            data_in: frame.as_ptr() as u64,
            data_out: 0,
            times,
            nanoseconds: 0,
        };
        // SAFETY: `Run` is the head of the attributes of command 10. The kernel reads `len_in` bytes of the frame, and
        // writes result and duration into the struct itself, which is borrowed mutably for that.
        let done = unsafe { libc::syscall(libc::SYS_bpf, 10, &raw mut run, size_of::<Run>()) };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((run.answer, run.nanoseconds))
    }
}
