//! Both directions against an independent implementation of SRTP: what one seals, the other opens.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use rtc_srtp::context::Context;
use rtc_srtp::crypto::default_provider;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;
use sfumato_transport::srtp::{Keys, Profile};

const CASES: [(Profile, ProtectionProfile); 3] = [
    (Profile::AeadAes128Gcm, ProtectionProfile::AeadAes128Gcm),
    (Profile::AeadAes256Gcm, ProtectionProfile::AeadAes256Gcm),
    (Profile::Aes128CmHmacSha1_80, ProtectionProfile::Aes128CmHmacSha1_80),
];

/// Our keys as DTLS client, and the other implementation's as server.
fn keys(profile: Profile) -> Keys {
    let material: Vec<u8> =
        (0..profile.keying_material_len()).map(|i| (i * 37 + 11) as u8).collect();
    Keys::from_keying_material(profile, &material, true).unwrap()
}

fn theirs(profile: ProtectionProfile, key: &[u8], salt: &[u8]) -> Context {
    let provider = default_provider().unwrap();
    let (rtp, rtcp) = (srtp_replay_protection(1024), srtcp_replay_protection(1024));
    Context::new(key, salt, profile, Some(rtp), Some(rtcp), provider.crypto()).unwrap()
}

/// A packet with two CSRCs and an extension block or with neither, and where its payload begins.
fn rtp(index: u64, ssrc: u32) -> (Vec<u8>, usize) {
    let with_more = index.is_multiple_of(2);
    let mut packet = vec![
        if with_more { 0x92 } else { 0x80 },
        if index.is_multiple_of(3) { 0xe0 } else { 0x60 },
    ];
    packet.extend((index as u16).to_be_bytes());
    packet.extend((index as u32).wrapping_mul(3000).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    if with_more {
        packet.extend([0, 0, 0, 7, 0, 0, 0, 8]);
        // RFC 8285: one element of id 1 with three bytes.
        packet.extend([0xbe, 0xde, 0, 1, 0x12, 1, 2, 3]);
    }
    let header_len = packet.len();
    packet.extend((0..index % 1200).map(|i| (i ^ index) as u8));
    (packet, header_len)
}

/// Losses, reordering within the window and over two wraps of the sequence number.
fn indices() -> Vec<u64> {
    let mut indices: Vec<u64> = (65_400..65_536 + 100).collect();
    indices.swap(10, 30);
    // Around the wrap at position 136: the last packet before it arrives after the first three behind it.
    indices[133..140].rotate_left(3);
    indices.drain(50..60);
    indices.extend((65_536 + 200..2 * 65_536).step_by(997));
    indices.extend(2 * 65_536 - 5..2 * 65_536 + 50);
    let near_wrap = indices.len() - 52;
    indices[near_wrap..near_wrap + 6].reverse();
    indices
}

#[test]
fn the_other_implementation_opens_our_packets() {
    for (ours, other) in CASES {
        let keys = keys(ours);
        let mut sender = keys.sender().unwrap();
        let mut receiver = theirs(other, keys.local.key(), keys.local.salt());
        for ssrc in [0x1234_5678, 0xffff_ffff] {
            for index in indices() {
                let (plain, header_len) = rtp(index, ssrc);
                let mut buf = plain.clone();
                buf.resize(plain.len() + ours.rtp_overhead(), 0);
                let roc = (index >> 16) as u32;
                assert_eq!(sender.seal_rtp(&mut buf, header_len, plain.len(), roc), Ok(buf.len()));
                let opened = receiver.decrypt_rtp(&buf).unwrap();
                assert_eq!(opened[..], plain, "{ours:?}, index {index}");
            }
        }
    }
}

#[test]
fn packets_of_the_other_implementation_are_opened() {
    for (ours, other) in CASES {
        let keys = keys(ours);
        let mut receiver = keys.receiver().unwrap();
        let mut sender = theirs(other, keys.remote.key(), keys.remote.salt());
        for ssrc in [0x1234_5678, 0xffff_ffff] {
            // The other implementation seals in order, since it finds the rollover counter itself; the network
            // reorders.
            let order = indices();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            let sealed: std::collections::HashMap<u64, _> = sorted
                .iter()
                .map(|index| (*index, sender.encrypt_rtp(&rtp(*index, ssrc).0).unwrap()))
                .collect();
            for index in order {
                let (plain, header_len) = rtp(index, ssrc);
                let mut out = [0; 1500];
                let opened = receiver.open_rtp(&sealed[&index], header_len, &mut out).unwrap();
                assert_eq!(opened.index, index, "{ours:?}");
                assert_eq!(out[..opened.len], plain, "{ours:?}, index {index}");
            }
        }
    }
}

/// A receiver report with one block, and bytes that make it `words` longer.
fn rtcp(ssrc: u32, words: u8) -> Vec<u8> {
    let mut packet = vec![0x81, 201, 0, 7 + words];
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..24 + words * 4).map(|i| i.wrapping_mul(words)));
    packet
}

#[test]
fn rtcp_is_opened_in_both_directions() {
    for (ours, other) in CASES {
        let keys = keys(ours);
        let mut sender = keys.sender().unwrap();
        let mut receiver = keys.receiver().unwrap();
        let mut their_receiver = theirs(other, keys.local.key(), keys.local.salt());
        let mut their_sender = theirs(other, keys.remote.key(), keys.remote.salt());
        for words in 0..40 {
            for ssrc in [1, 0x8000_0001] {
                let plain = rtcp(ssrc, words);
                let mut buf = plain.clone();
                buf.resize(plain.len() + ours.rtcp_overhead(), 0);
                assert_eq!(sender.seal_rtcp(&mut buf, plain.len()), Ok(buf.len()));
                assert_eq!(their_receiver.decrypt_rtcp(&buf).unwrap()[..], plain, "{ours:?}");

                let mut sealed = their_sender.encrypt_rtcp(&plain).unwrap().to_vec();
                assert_eq!(receiver.open_rtcp(&mut sealed), Ok(plain.len()), "{ours:?}");
                assert_eq!(sealed[..plain.len()], plain);
            }
        }
    }
}
