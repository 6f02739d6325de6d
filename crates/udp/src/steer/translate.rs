//! Programs that read a [`Table`] first. Only extended BPF (eBPF) can do that, so a program of classic instructions is
//! translated, in the same way as the kernel translates every classic program before it runs.
//!
//! The program stays a socket filter and does not become an SK_REUSEPORT program: that kind cannot load by offset as
//! the classic one does, would need each socket entered into a map, and CAP_NET_ADMIN in addition to CAP_BPF.

use std::os::fd::AsRawFd;

use libc::{
    BPF_ABS, BPF_ALU, BPF_H, BPF_IMM, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_LDX,
    BPF_MEM, BPF_RET, BPF_ST, BPF_W, BPF_X,
};

use super::{
    Instruction, NETWORK, Table,
    table::{KEY_IPV4, KEY_PORT},
};
use crate::bpf::Insn;

// What linux/bpf.h adds to the classic classes, sizes and operations.
const ALU64: u32 = 0x07;
const JMP32: u32 = 0x06;
const DW: u32 = 0x18;
const MOV: u32 = 0xb0;
const JNE: u32 = 0x50;
const JLT: u32 = 0xa0;
const SWAP_TO_BIG_ENDIAN: u32 = 0xd8;
const CALL: u32 = 0x80;
const EXIT: u32 = 0x90;

/// The classic A; also the result of a function, and of the program.
const A: u8 = 0;
/// The classic X. Functions preserve registers 6 to 9.
const X: u8 = 7;
/// The register in which loads by offset expect the datagram.
const DATAGRAM: u8 = 6;
/// The end of the stack, which grows down.
const STACK: u8 = 10;
/// Offset of the key on the stack, a multiple of 8.
const KEY_AT: i32 = -24;

// Functions of the kernel, and their arguments (linux/bpf.h).
const MAP_LOOKUP_ELEM: i32 = 1;
const SKB_LOAD_BYTES_RELATIVE: i32 = 68;
const HDR_START_NET: i32 = 1;
const PSEUDO_MAP_FD: u8 = 1;

/// Bytes of the IP header, or of the header behind it, that go into the key: their offset there, and their place in
/// the key.
#[derive(Debug, Clone, Copy)]
struct Part {
    offset: u32,
    len: usize,
    at: usize,
}

/// RFC 791 section 3.1, RFC 8200 section 3: the source address; RFC 768: the source port comes first. With IP options
/// or extension headers other bytes are at this place, which the table does not contain.
const fn parts(is_ipv4: bool) -> [Part; 2] {
    let (address, port, at, len) = if is_ipv4 { (12, 20, KEY_IPV4, 4) } else { (8, 40, 0, 16) };
    [Part { offset: address, len, at }, Part { offset: port, len: 2, at: KEY_PORT }]
}

/// The program that takes A from the table if it contains the remote address and else from `pick`, and continues with
/// `rest`. `None` if a jump leads out of it or is too long.
pub(super) fn with_table(
    is_ipv4: bool,
    table: &Table,
    pick: &[Instruction],
    rest: &[Instruction],
) -> Option<Vec<Insn>> {
    let mut program = look_up(is_ipv4, table);
    let classic: Vec<Instruction> = [pick, rest].concat();
    let (translated, places) = translate(&classic, &parts(is_ipv4))?;
    // A is the address of the table's entry, or 0 if there is none. Then A begins as 0, as it does in a classic
    // program.
    let found = 2;
    program.push(Insn::new(BPF_JMP | BPF_JEQ | BPF_K, A, 0, found, 0));
    program.push(Insn::new(BPF_LDX | BPF_MEM | BPF_W, A, A, 0, 0));
    let over_pick = i16::try_from(*places.get(pick.len())?).ok()?;
    program.push(Insn::new(BPF_JMP | BPF_JA, 0, 0, over_pick, 0));
    program.extend(translated);
    Some(program)
}

/// For tests: the program without a table, as the kernel translates it.
#[cfg(test)]
pub(super) fn alone(classic: &[Instruction]) -> Option<Vec<Insn>> {
    let mut program = vec![
        Insn::new(ALU64 | MOV | BPF_X, DATAGRAM, 1, 0, 0),
        Insn::new(ALU64 | MOV | BPF_K, A, 0, 0, 0),
        Insn::new(ALU64 | MOV | BPF_K, X, 0, 0, 0),
    ];
    program.extend(translate(classic, &[])?.0);
    Some(program)
}

/// Builds the key of a datagram's source on the stack, and looks it up.
fn look_up(is_ipv4: bool, table: &Table) -> Vec<Insn> {
    let mut program = vec![
        Insn::new(ALU64 | MOV | BPF_X, DATAGRAM, 1, 0, 0),
        Insn::new(ALU64 | MOV | BPF_K, X, 0, 0, 0),
        store(BPF_W, KEY_PORT, 0),
    ];
    if is_ipv4 {
        program.push(store(DW, 0, 0));
        // An IPv4-mapped address: 80 bits of zero, 16 of one.
        program.push(store(BPF_W, 8, i32::from_ne_bytes([0, 0, 0xff, 0xff])));
    }
    program.extend(parts(is_ipv4).into_iter().flat_map(load));
    program.extend([
        // An address of 64 bits takes two instructions.
        Insn::new(BPF_LD | BPF_IMM | DW, 1, PSEUDO_MAP_FD, 0, table.map().as_raw_fd()),
        Insn::new(0, 0, 0, 0, 0),
        Insn::new(ALU64 | MOV | BPF_X, 2, STACK, 0, 0),
        Insn::new(ALU64 | libc::BPF_ADD | BPF_K, 2, 0, 0, KEY_AT),
        Insn::new(BPF_JMP | CALL, 0, 0, 0, MAP_LOOKUP_ELEM),
    ]);
    program
}

/// Writes a constant into the key.
const fn store(size: u32, at: usize, value: i32) -> Insn {
    Insn::new(BPF_ST | BPF_MEM | size, STACK, 0, (KEY_AT + at as i32) as i16, value)
}

/// Copies a part of the headers into the key; zeros if the datagram is too short.
fn load(part: Part) -> [Insn; 7] {
    [
        Insn::new(ALU64 | MOV | BPF_X, 1, DATAGRAM, 0, 0),
        Insn::new(ALU64 | MOV | BPF_K, 2, 0, 0, part.offset as i32),
        Insn::new(ALU64 | MOV | BPF_X, 3, STACK, 0, 0),
        Insn::new(ALU64 | libc::BPF_ADD | BPF_K, 3, 0, 0, KEY_AT + part.at as i32),
        Insn::new(ALU64 | MOV | BPF_K, 4, 0, 0, part.len as i32),
        Insn::new(ALU64 | MOV | BPF_K, 5, 0, 0, HDR_START_NET),
        Insn::new(BPF_JMP | CALL, 0, 0, 0, SKB_LOAD_BYTES_RELATIVE),
    ]
}

/// Classic instructions as extended ones, and where each of them begins (the last entry: the end). Loads of bytes that
/// are in the key are made from the key, because for each load from a header the kernel calls a function.
fn translate(classic: &[Instruction], key: &[Part]) -> Option<(Vec<Insn>, Vec<usize>)> {
    let mut places = Vec::with_capacity(classic.len() + 1);
    let mut len = 0;
    for instruction in classic {
        places.push(len);
        // A condition with two branches that skip takes two jumps.
        let two_jumps = instruction.skip.0 > 0 && instruction.skip.1 > 0;
        len += if two_jumps || from_key(*instruction, key).is_some() { 2 } else { 1 };
    }
    places.push(len);
    let mut program = Vec::with_capacity(len);
    for (index, instruction) in classic.iter().enumerate() {
        if instruction.code & 7 == BPF_JMP {
            // From a jump at `from` to the classic instruction that is `skip` instructions behind this one's
            // successor.
            let distance = |from: usize, skip: u8| -> Option<i16> {
                let target = places.get(index + 1 + usize::from(skip))?;
                i16::try_from(target - from - 1).ok()
            };
            let place = program.len();
            let (then, otherwise) = instruction.skip;
            if then > 0 || otherwise == 0 {
                program.push(branch(*instruction, false, distance(place, then)?)?);
                if otherwise > 0 {
                    let way = distance(place + 1, otherwise)?;
                    program.push(Insn::new(BPF_JMP | BPF_JA, 0, 0, way, 0));
                }
            } else {
                program.push(branch(*instruction, true, distance(place, otherwise)?)?);
            }
        } else if let Some(loaded) = from_key(*instruction, key) {
            program.extend(loaded);
        } else {
            program.push(plain(*instruction));
        }
    }
    Some((program, places))
}

/// For a load of 16 or 32 bits that are in the key: the load from the key.
fn from_key(instruction: Instruction, key: &[Part]) -> Option<[Insn; 2]> {
    let (size, len) = match instruction.code {
        code if code == BPF_LD | BPF_ABS | BPF_W => (BPF_W, 4),
        code if code == BPF_LD | BPF_ABS | BPF_H => (BPF_H, 2),
        _ => return None,
    };
    let offset = instruction.value.checked_sub(NETWORK)?;
    let at = key.iter().find_map(|part| {
        let within = offset.checked_sub(part.offset)? as usize;
        (within + len <= part.len).then_some(part.at + within)
    })?;
    Some([
        Insn::new(BPF_LDX | BPF_MEM | size, A, STACK, (KEY_AT + at as i32) as i16, 0),
        Insn::new(BPF_ALU | SWAP_TO_BIG_ENDIAN, A, 0, 0, 8 * len as i32),
    ])
}

/// A conditional jump over 32 bits, or the one on the opposite condition.
fn branch(instruction: Instruction, opposite: bool, way: i16) -> Option<Insn> {
    let condition = match (instruction.code & 0xf0, opposite) {
        (BPF_JGE, false) => BPF_JGE,
        (BPF_JGE, true) => JLT,
        (BPF_JEQ, false) => BPF_JEQ,
        (BPF_JEQ, true) => JNE,
        _ => return None,
    };
    Some(Insn::new(JMP32 | condition | BPF_K, A, 0, way, instruction.value as i32))
}

/// Any instruction except a jump.
fn plain(instruction: Instruction) -> Insn {
    let Instruction { code, value, .. } = instruction;
    match code & 7 {
        BPF_RET => Insn::new(BPF_JMP | EXIT, 0, 0, 0, 0),
        libc::BPF_MISC if code & 0xf8 == libc::BPF_TXA => {
            Insn::new(BPF_ALU | MOV | BPF_X, A, X, 0, 0)
        }
        libc::BPF_MISC => Insn::new(BPF_ALU | MOV | BPF_X, X, A, 0, 0),
        BPF_ALU if code & BPF_X != 0 => Insn::new(code, A, X, 0, 0),
        BPF_ALU => Insn::new(code, A, 0, 0, value as i32),
        // Loads by offset are the same in both; their result is in A.
        _ => Insn::new(code, 0, 0, 0, value as i32),
    }
}
