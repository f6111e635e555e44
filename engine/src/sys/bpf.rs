//! The two kinds of classic BPF program of a node: one picks the socket of the group for a datagram by class and steer,
//! the others admit to a socket only what belongs there, so that junk never takes room in its queue.
//!
//! For a reuseport program offset 0 is the UDP payload; for a socket filter it is the UDP header, 8 bytes before.

use std::io;
use std::os::fd::BorrowedFd;

use super::option;
use crate::limits::{BPF_INSTRUCTIONS_MAX, STEERS};

/// First header byte of each class: version 1 in the high nibble.
const HELLO: u32 = 0x11;
const PAIR: u32 = 0x12;
const BULK: u32 = 0x13;
const FAN: u32 = 0x14;

const UDP_HEADER: u32 = 8;
const STEER_OFFSET: u32 = 3;
/// The index of PAIR and BULK is little-endian in bytes 4..8; its top 12 bits are bytes 6 (high nibble) and 7.
const INDEX_OFFSET: u32 = 4;

const LD_BYTE: u16 = 0x30;
const LD_HALF: u16 = 0x28;
const LD_IMM: u16 = 0x00;
const LDX_IMM: u16 = 0x01;
const ADD_X: u16 = 0x0c;
const AND_K: u16 = 0x54;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGE: u16 = 0x35;
const RET_K: u16 = 0x06;
const RET_A: u16 = 0x16;

/// A classic BPF program.
pub(crate) type Program = Vec<libc::sock_filter>;

fn op(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Where the datagrams of each steer value go: a shard index per value.
pub(crate) type SteerTable = [u8; STEERS];

/// Compiles the placement into the group's program. Sockets stand in bind order: control and data of shard 0, control and
/// data of shard 1, ..., hello last. What has no class of ours goes to the hello socket, whose filter drops it.
pub(crate) fn steering(table: &SteerTable, shards: usize) -> Program {
    let hello = 2 * shards as u32;
    let mut program = vec![
        op(LD_BYTE, 0),
        jump(JEQ, PAIR, 0, 2),
        op(LDX_IMM, 0),
        op(JA, 4),
        jump(JEQ, FAN, 2, 0),
        jump(JEQ, BULK, 1, 0),
        op(RET_K, hello),
        op(LDX_IMM, 1),
        op(LD_BYTE, STEER_OFFSET),
    ];
    program.extend(tree(&runs(table)));
    assert!(
        program.len() <= BPF_INSTRUCTIONS_MAX,
        "limits.rs sums up the worst case"
    );
    program
}

/// The table as runs of equal shards: (first steer value, shard).
fn runs(table: &SteerTable) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for (steer, &shard) in table.iter().enumerate() {
        if runs
            .last()
            .is_none_or(|&(_, last)| last != u32::from(shard))
        {
            runs.push((steer as u32, u32::from(shard)));
        }
    }
    runs
}

/// A binary decision tree over the runs. X holds 0 for control, 1 for data.
fn tree(runs: &[(u32, u32)]) -> Program {
    if let [(_, shard)] = runs {
        return vec![op(LD_IMM, 2 * shard), op(ADD_X, 0), op(RET_A, 0)];
    }
    let (low, high) = runs.split_at(runs.len() / 2);
    let left = tree(low);
    let mut program = match u8::try_from(left.len()) {
        Ok(skip) => vec![jump(JGE, high[0].0, skip, 0)],
        // A conditional jump reaches 255 instructions, an unconditional one any.
        Err(_) => vec![jump(JGE, high[0].0, 0, 1), op(JA, left.len() as u32)],
    };
    program.extend(left);
    program.extend(tree(high));
    program
}

/// Admits PAIR whose index carries this boot's tag, and nothing else.
pub(crate) fn control_filter(boot_tag: u16) -> Program {
    let mut program = vec![op(LD_BYTE, UDP_HEADER), jump(JEQ, PAIR, 1, 0), op(RET_K, 0)];
    program.extend(boot_tag_check(boot_tag));
    program
}

/// Admits FAN, and BULK whose index carries this boot's tag.
pub(crate) fn data_filter(boot_tag: u16) -> Program {
    let mut program = vec![
        op(LD_BYTE, UDP_HEADER),
        jump(JEQ, FAN, 0, 1),
        op(RET_K, u32::MAX),
        jump(JEQ, BULK, 1, 0),
        op(RET_K, 0),
    ];
    program.extend(boot_tag_check(boot_tag));
    program
}

/// Admits HELLO.
pub(crate) fn hello_filter() -> Program {
    vec![
        op(LD_BYTE, UDP_HEADER),
        jump(JEQ, HELLO, 1, 0),
        op(RET_K, 0),
        op(RET_K, u32::MAX),
    ]
}

fn boot_tag_check(boot_tag: u16) -> [libc::sock_filter; 5] {
    // LD_HALF reads big-endian: byte 6 is the high half, its high nibble holds the tag's low four bits.
    let tag = u32::from(boot_tag & 0xfff);
    let wanted = (tag & 0xf) << 12 | tag >> 4;
    [
        op(LD_HALF, UDP_HEADER + INDEX_OFFSET + 2),
        op(AND_K, 0xf0ff),
        jump(JEQ, wanted, 0, 1),
        op(RET_K, u32::MAX),
        op(RET_K, 0),
    ]
}

/// Attaches a steering program to the whole group through any of its sockets; it replaces the one before at once.
pub(crate) fn attach_steering(fd: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    attach(fd, option::SO_ATTACH_REUSEPORT_CBPF, program)
}

/// Attaches a filter to one socket.
pub(crate) fn attach_filter(fd: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    attach(fd, libc::SO_ATTACH_FILTER, program)
}

fn attach(fd: BorrowedFd<'_>, name: libc::c_int, program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // The kernel only reads the program; the pointer is mutable for history's sake.
    let program = libc::sock_fprog {
        len,
        filter: program.as_ptr().cast_mut(),
    };
    option::set(fd, libc::SOL_SOCKET, name, &program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small interpreter of the instructions used here, so that programs are checked for every input.
    fn run(program: &[libc::sock_filter], packet: &[u8]) -> u32 {
        let (mut a, mut x, mut pc) = (0u32, 0u32, 0usize);
        loop {
            let i = program[pc];
            pc += 1;
            match i.code {
                LD_BYTE | LD_HALF => {
                    let at = i.k as usize;
                    let len = if i.code == LD_BYTE { 1 } else { 2 };
                    let Some(bytes) = packet.get(at..at + len) else {
                        return 0;
                    };
                    a = bytes.iter().fold(0, |a, &b| a << 8 | u32::from(b));
                }
                LD_IMM => a = i.k,
                LDX_IMM => x = i.k,
                ADD_X => a += x,
                AND_K => a &= i.k,
                JA => pc += i.k as usize,
                JEQ => pc += usize::from(if a == i.k { i.jt } else { i.jf }),
                JGE => pc += usize::from(if a >= i.k { i.jt } else { i.jf }),
                RET_K => return i.k,
                RET_A => return a,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    fn tables() -> Vec<(SteerTable, usize)> {
        let mut alternating = [0u8; STEERS];
        let mut halves = [0u8; STEERS];
        for steer in 0..STEERS {
            alternating[steer] = (steer % 7) as u8;
            halves[steer] = (steer / 128) as u8;
        }
        vec![([0; STEERS], 1), (halves, 2), (alternating, 7)]
    }

    #[test]
    fn the_steering_program_agrees_with_the_table_for_every_class_and_steer() {
        for (table, shards) in tables() {
            let program = steering(&table, shards);
            for steer in 0..=255u8 {
                let shard = u32::from(table[usize::from(steer)]);
                assert_eq!(run(&program, &[0x12, 0, 0, steer]), 2 * shard);
                assert_eq!(run(&program, &[0x13, 0, 0, steer]), 2 * shard + 1);
                assert_eq!(run(&program, &[0x14, 0, 0, steer]), 2 * shard + 1);
                assert_eq!(run(&program, &[0x11, 0, 0, steer]), 2 * shards as u32);
                assert_eq!(run(&program, &[0x99, 0, 0, steer]), 2 * shards as u32);
            }
        }
    }

    #[test]
    fn the_control_filter_admits_only_pair_with_the_tag_of_this_boot() {
        for tag in [0u16, 1, 0xabc, 0xfff] {
            let program = control_filter(tag);
            let mut packet = [0u8; 24];
            packet[8] = 0x12;
            packet[12..16].copy_from_slice(&(u32::from(tag) << 20 | 0x000f_1234).to_le_bytes());
            assert_eq!(run(&program, &packet), u32::MAX);
            packet[12..16].copy_from_slice(&(u32::from(tag ^ 0x010) << 20).to_le_bytes());
            assert_eq!(run(&program, &packet), 0);
            packet[8] = 0x14;
            assert_eq!(run(&program, &packet), 0);
            assert_eq!(run(&data_filter(tag), &packet), u32::MAX);
            assert_eq!(
                run(&program, &packet[..10]),
                0,
                "a short datagram is dropped"
            );
        }
    }
}
