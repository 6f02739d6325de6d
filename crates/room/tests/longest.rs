//! The longest offers that are accepted: what is stored of them, what they cost a room, and that each table is
//! computed once. Work is counted, not timed; `cargo xtask bench --only room` has the times.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fmt::Write;

use common::*;
use model::{Command, SessionId};
use sfumato_room::{Room, Target};

const SECTIONS: usize = 64;

/// An offer with as many sections and codecs as a description may have, all codecs with different meanings: unknown
/// H.264 profiles. `turned` makes another list of the same codecs; lists of different packetization modes have nothing
/// in common.
fn longest(direction: &str, turned: usize, mode: u8) -> String {
    let head = CHROMIUM_WATCH.split("m=").next().unwrap();
    let mids: Vec<String> = (0..SECTIONS).map(|i| i.to_string()).collect();
    let mut offer = head.replace("BUNDLE 0 1", &format!("BUNDLE {}", mids.join(" ")));
    let credentials: String = section(CHROMIUM_WATCH, 0)
        .lines()
        .filter(|l| ["a=ice-", "a=fingerprint", "a=setup"].iter().any(|p| l.starts_with(p)))
        .map(|l| format!("{l}\r\n"))
        .collect();
    let mut types: Vec<u8> = (0..8).chain(96..128).collect();
    types.rotate_left(turned % 40);
    for section in 0..SECTIONS {
        let list: Vec<String> = types.iter().map(u8::to_string).collect();
        write!(
            offer,
            "m=video 9 UDP/TLS/RTP/SAVPF {}\r\nc=IN IP4 0.0.0.0\r\na=mid:{section}\r\n{}a={direction}\r\na=rtcp-mux\r\n",
            list.join(" "),
            if section == 0 { &credentials } else { "" },
        )
        .unwrap();
        for &pt in &types {
            let idc = (usize::from(pt) + section) % 128 + 0x70;
            write!(offer, "a=rtpmap:{pt} H264/90000\r\na=fmtp:{pt} packetization-mode={mode};profile-level-id={:02x}001f\r\n", idc)
                .unwrap();
        }
    }
    assert!(offer.len() < 256 * 1024 && offer.lines().count() < 8_192, "{}", offer.len());
    offer
}

/// Payload type tables that the room computed so far.
fn tables(node: &mut Node) -> u64 {
    node.rooms.turn(&room("r"), |room: &mut Room, _| room.tables_worked_out())
}

#[test]
fn thirty_two_codecs_of_a_section_are_kept_and_each_means_something_else() {
    let (plan, _) = Node::negotiate_down(&longest("recvonly", 0, 1));
    assert_eq!(plan.down.len(), SECTIONS);
    assert!(plan.down.iter().all(|d| d.codecs.len() == 32));
    // One codec under many payload types is stored once.
    let same = longest("recvonly", 0, 1);
    let mut lines = Vec::new();
    for line in same.lines() {
        let text = line.split_once(";profile-level-id").map_or(line, |(head, _)| head);
        lines.push(format!("{text}\r\n"));
    }
    let (plan, _) = Node::negotiate_down(&lines.concat());
    assert!(plan.down.iter().all(|d| d.codecs.len() == 1), "{}", plan.down[0].codecs.len());
}

#[test]
fn the_longest_offers_need_one_table_for_each_bound_slot() {
    let mut node = Node::new();
    node.watch(Target::any(), &longest("recvonly", 0, 1)).unwrap();
    node.publish("p", &longest("sendonly", 7, 1)).unwrap();
    let bound = node.log().iter().filter(|line| line.starts_with("bind")).count();
    assert_eq!(bound, SECTIONS);
    assert!(tables(&mut node) <= SECTIONS as u64, "{} tables", tables(&mut node));
    // The next session with the same lists computes no table.
    let before = tables(&mut node);
    node.watch(Target::any(), &longest("recvonly", 0, 1)).unwrap();
    let commands = node.commands();
    let next = SessionId(3);
    assert!(
        commands.iter().any(|c| matches!(c, Command::Bind { session, .. } if *session == next))
    );
    assert_eq!(tables(&mut node), before);
}

#[test]
fn the_longest_offers_that_do_not_fit_need_no_table() {
    let mut node = Node::new();
    node.watch(Target::any(), &longest("recvonly", 0, 0)).unwrap();
    node.publish("p", &longest("sendonly", 7, 1)).unwrap();
    assert!(!node.log().iter().any(|line| line.starts_with("bind")));
    assert_eq!(tables(&mut node), 0);
}
