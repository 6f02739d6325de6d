//! Bytes of an attacker: whatever they are and wherever the header is said to end, they are classified and refused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use sfumato_transport::demux::{Kind, classify};
use sfumato_transport::srtp::{Profile, Receiver, Sender};

fn receiver(profile: Profile) -> Receiver {
    Receiver::new(profile, &[7; 32][..profile.key_len()], &[9; 14][..profile.salt_len()]).unwrap()
}

fn sender(profile: Profile) -> Sender {
    Sender::new(profile, &[7; 32][..profile.key_len()], &[9; 14][..profile.salt_len()]).unwrap()
}

fn header_lens() -> impl Strategy<Value = usize> {
    prop_oneof![0usize..1600, Just(usize::MAX), Just(usize::MAX - 15)]
}

proptest! {
    #[test]
    fn nothing_forged_is_opened(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..1600),
        header_len in header_lens(),
        out_len in 0usize..1600,
    ) {
        let kind = classify(&bytes);
        prop_assert!(bytes.len() > 1 || kind == Kind::Unknown);
        let mut out = vec![0; out_len];
        for &profile in Profile::ALL {
            let mut receiver = receiver(profile);
            prop_assert!(receiver.open_rtp(&bytes, header_len, &mut out).is_err());
            prop_assert!(receiver.open_rtcp(&mut bytes).is_err());
        }
    }

    #[test]
    fn a_changed_byte_is_always_noticed_and_the_packet_itself_always_opened(
        payload in proptest::collection::vec(any::<u8>(), 0..1400),
        at in any::<proptest::sample::Index>(),
        change in 1u8..,
        roc in 0u32..2,
        sequence in 0u16..0x8000,
    ) {
        for &profile in Profile::ALL {
            let mut plain = vec![0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
            plain[2..4].copy_from_slice(&sequence.to_be_bytes());
            plain.extend_from_slice(&payload);
            let mut sealed = plain.clone();
            sealed.resize(plain.len() + profile.rtp_overhead(), 0);
            sender(profile).seal_rtp(&mut sealed, 12, plain.len(), roc).unwrap();

            let mut out = [0; 1500];
            let mut receiver = receiver(profile);
            let place = at.index(sealed.len());
            sealed[place] ^= change;
            prop_assert!(receiver.open_rtp(&sealed, 12, &mut out).is_err());
            sealed[place] ^= change;
            let opened = receiver.open_rtp(&sealed, 12, &mut out).unwrap();
            prop_assert_eq!(opened.index, u64::from(roc) << 16 | u64::from(sequence));
            prop_assert_eq!(&out[..opened.len], &plain[..]);
        }
    }
}
