//! Attacks on ICE and DTLS, and their required outcome.

use std::time::Duration;

use dimpl::DtlsCertificate;
use model::{CloseReason, DropReason, DtlsRole, Fingerprint};
use transport::ice::agent::{CONSENT_LIFETIME, MAX_PATHS};
use transport::{Consent, PeerEvent, demux, dtls};

use crate::disguise;
use crate::harness::{Options, Pair, check, credentials, path};

const MILLISECOND: Duration = Duration::from_millis(1);

/// A handshake message in a record of its own, in the clear.
fn record(sequence: u8, message: &[u8]) -> Vec<u8> {
    let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, sequence];
    record.extend_from_slice(&(message.len() as u16).to_be_bytes());
    record.extend_from_slice(message);
    record
}

/// A fragment of a ClientHello that claims to be `len` bytes long.
fn hello_fragment(len: u32, offset: u32, body: &[u8]) -> Vec<u8> {
    let mut message = vec![1];
    message.extend_from_slice(&len.to_be_bytes()[1..]);
    message.extend_from_slice(&[0, 0]);
    message.extend_from_slice(&offset.to_be_bytes()[1..]);
    message.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
    message.extend_from_slice(body);
    message
}

/// A ClientHello that offers these cipher suites and nothing else.
fn hello(suites: &[u16]) -> Vec<u8> {
    let mut body = vec![0xfe, 0xfd];
    body.extend_from_slice(&[0x5a; 32]);
    body.extend_from_slice(&[0, 0]);
    body.extend_from_slice(&(2 * suites.len() as u16).to_be_bytes());
    suites.iter().for_each(|suite| body.extend_from_slice(&suite.to_be_bytes()));
    // Compression: null. No extensions.
    body.extend_from_slice(&[1, 0, 0, 0]);
    record(0, &hello_fragment(body.len() as u32, 0, &body))
}

// Row 14.
#[test]
fn bad_integrity_or_an_unknown_ufrag_is_dropped_and_ends_nothing() {
    let mut pair = Pair::new();
    pair.connect();
    let mut wrong_password = credentials("node");
    wrong_password.local_pwd = "a guess, a guess, a guess".to_owned();
    let before = pair.events.len();
    for _ in 0..1000 {
        let forged = check(&wrong_password, true);
        let result = pair.server.handle_stun(pair.now, path(66), &forged);
        assert_eq!(result, Err(DropReason::StunBadIntegrity));
        let stranger = check(&credentials("other"), true);
        let result = pair.server.handle_stun(pair.now, path(66), &stranger);
        assert_eq!(result, Err(DropReason::StunUnknownUser));
    }
    assert_eq!(pair.server.poll_transmit(&mut Vec::new()), None, "no answer to strangers");
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.events.len(), before);
    assert!(pair.server.is_connected() && !pair.server.is_validated(&path(66)));
}

// Row 15.
#[test]
fn dtls_from_an_address_without_a_check_is_dropped_before_parsing() {
    let mut pair = Pair::new();
    for datagram in [hello(&[0xc02b]), Vec::new(), vec![22; 3000]] {
        let result = pair.server.handle_dtls(pair.now, path(66), &datagram);
        assert_eq!(result, Err(DropReason::UnknownPath));
    }
    assert!(!pair.server.is_handshaking(), "no state was made for it");
    pair.connect();
    let result = pair.server.handle_dtls(pair.now, path(66), &hello(&[0xc02b]));
    assert_eq!(result, Err(DropReason::UnknownPath));
    pair.run_for(Duration::from_secs(1));
    assert!(pair.server.is_connected());
}

// Row 16.
#[test]
fn a_second_hello_from_elsewhere_does_not_hinder_the_handshake() {
    let mut pair = Pair::new();
    for _ in 0..40 {
        pair.run_for(5 * MILLISECOND);
        let result = pair.server.handle_dtls(pair.now, path(66), &hello(&[0xc02b]));
        assert_eq!(result, Err(DropReason::UnknownPath));
    }
    assert!(pair.server.is_connected());
}

// Row 16, with the victim's own address forged.
#[test]
fn a_hello_that_cannot_be_answered_does_not_keep_the_victim_out() {
    // Only NULL ciphers; a known cipher, but no extended master secret.
    for bad in [hello(&[0x0000, 0x0001, 0x0002]), hello(&[0xc02b, 0xc02c])] {
        let mut pair = Pair::new();
        // The check arrived, the true hello did not yet.
        pair.run_for(21 * MILLISECOND);
        for _ in 0..3 {
            let result = pair.server.handle_dtls(pair.now, path(1), &bad);
            assert_eq!(result, Err(DropReason::DtlsLimit));
        }
        pair.connect();
        // During the handshake, and afterwards, it is an old message.
        assert_eq!(pair.server.handle_dtls(pair.now, path(1), &bad), Ok(()));
        pair.run_for(Duration::from_secs(1));
        assert!(pair.server.is_connected());
    }
}

// Row 16, with the victim's own address forged.
#[test]
fn a_second_hello_in_mid_handshake_does_not_hinder_it() {
    let mut pair = Pair::new();
    while !pair.server.is_connected() {
        pair.run_for(5 * MILLISECOND);
        if pair.server.is_handshaking() {
            let _ = pair.server.handle_dtls(pair.now, path(1), &hello(&[0xc02b, 0xc02c]));
            let _ = pair.server.handle_dtls(pair.now, path(1), &hello(&[0]));
        }
        assert!(pair.closed().is_none());
    }
}

// Row 16.
#[test]
fn a_peer_that_never_sends_a_good_hello_is_given_up() {
    let mut pair = Pair::new();
    pair.client.checking = false;
    pair.server.adopt_path(pair.now, path(1), true).unwrap();
    // No extended master secret.
    let bad = hello(&[0xc02b]);
    let results: Vec<_> =
        (0..12).map(|_| pair.server.handle_dtls(pair.now, path(1), &bad)).collect();
    assert_eq!(results[0], Err(DropReason::DtlsLimit));
    assert_eq!(results[11], Err(DropReason::DtlsClosed));
    pair.flush();
    assert_eq!(pair.closed(), Some(CloseReason::DtlsFailed));
}

/// An alert in the clear.
fn alert(level: u8, description: u8) -> Vec<u8> {
    let mut record = record(99, &[level, description]);
    record[0] = 21;
    record
}

// Row 16, with the victim's own address forged.
#[test]
fn forged_alerts_neither_hinder_a_handshake_nor_end_a_connection() {
    for role in [DtlsRole::Passive, DtlsRole::Active] {
        let mut pair = Pair::with(Options { role, ..Options::default() });
        for _ in 0..200 {
            pair.run_for(5 * MILLISECOND);
            for forged in [alert(2, 40), alert(1, 0), alert(2, 0), alert(1, 90), alert(9, 9)] {
                if pair.server.is_handshaking() || pair.server.is_connected() {
                    assert_eq!(pair.server.handle_dtls(pair.now, path(1), &forged), Ok(()));
                }
            }
        }
        assert!(pair.server.is_connected(), "{role:?}: {:?}", pair.events);
        pair.run_for(Duration::from_secs(20));
        assert!(pair.server.is_connected());
    }
}

#[test]
fn an_alert_in_mid_handshake_is_believed_when_nothing_better_comes() {
    let mut pair = Pair::new();
    pair.run_for(70 * MILLISECOND);
    assert!(pair.server.is_handshaking());
    pair.client.mute = true;
    // The client's flight is lost, and then it sends an alert that the certificate is bad.
    pair.lose_all();
    assert_eq!(pair.server.handle_dtls(pair.now, path(1), &alert(2, 42)), Ok(()));
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.closed(), None);
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.closed(), Some(CloseReason::DtlsFailed));
}

// Row 17.
#[test]
fn fragments_that_never_make_a_message_are_bounded() {
    let mut pair = Pair::new();
    pair.client.checking = false;
    pair.server.adopt_path(pair.now, path(1), true).unwrap();
    // Every other byte of a message of 16 MB.
    let mut refused = 0;
    for turn in 0..10_000_u32 {
        let fragment = hello_fragment(0x00ff_ffff, turn * 1400, &[1; 700]);
        match pair.server.handle_dtls(pair.now, path(1), &record(turn as u8, &fragment)) {
            Ok(()) => {}
            Err(DropReason::DtlsLimit) => refused += 1,
            Err(reason) => {
                assert_eq!(reason, DropReason::DtlsClosed);
                break;
            }
        }
        // Each queue fills up to its bound, until the connection is given up.
        assert!(turn as usize <= 10 * (dtls::MAX_QUEUED_DATAGRAMS + 1));
    }
    assert!(refused > 0);
    pair.flush();
    assert_eq!(pair.closed(), Some(CloseReason::DtlsFailed));
}

// Row 17.
#[test]
fn zero_length_fragments_end() {
    let mut pair = Pair::new();
    pair.run_for(21 * MILLISECOND);
    for sequence in 0..8 {
        let mut message = hello_fragment(100, 0, &[]);
        // Several in one record, too.
        message.extend_from_slice(&hello_fragment(100, 0, &[]));
        message.extend_from_slice(&hello_fragment(0, 0, &[]));
        let _ = pair.server.handle_dtls(pair.now, path(1), &record(sequence, &message));
    }
    pair.run_for(Duration::from_secs(16));
    // Whether or not the forger with the victim's address wins, the handshake ends.
    assert!(pair.server.is_connected() || pair.closed().is_some());
}

// Row 17.
#[test]
fn datagrams_that_are_not_sequences_of_records_are_refused() {
    let mut pair = Pair::new();
    pair.connect();
    let record_of_10 = record(9, &[0; 10]);
    let mut long = record(9, &[0; 1500]);
    let mut plain_data = record(9, b"data");
    plain_data[0] = 23;
    long.truncate(1501);
    for bad in [&record_of_10[..12], &record_of_10[..20], &long, &plain_data, &[], &[0x80; 100]] {
        let result = pair.server.handle_dtls(pair.now, path(1), bad);
        assert_eq!(result, Err(DropReason::DtlsLimit));
    }
    pair.run_for(Duration::from_secs(1));
    assert!(pair.server.is_connected());
}

// Row 17.
#[test]
fn garbage_between_the_flights_makes_nothing_panic_and_ends() {
    for role in [DtlsRole::Passive, DtlsRole::Active] {
        for seed in 1..=seeds(150) {
            let mut pair = Pair::with(Options { role, seed, ..Options::default() });
            pair.loss_percent = 10;
            pair.corrupt_percent = 60;
            pair.run_for(Duration::from_secs(31));
            let ended = pair.server.is_connected() || pair.closed().is_some();
            assert!(ended, "seed {seed}, {role:?}: {:?}", pair.events);
            if pair.server.is_connected() && pair.client.keys.is_some() {
                let (_, _, profile) = pair.take_keys().unwrap();
                assert_eq!(profile, pair.client_keys().profile, "seed {seed}, {role:?}");
            }
        }
    }
}

/// Number of seeds to try: `SEEDS` in the environment, for a longer search.
fn seeds(usual: u64) -> u64 {
    std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

// Row 18.
#[test]
fn another_certificate_gets_no_keys() {
    for role in [DtlsRole::Passive, DtlsRole::Active] {
        let other = Fingerprint { algorithm: "sha-256".to_owned(), bytes: vec![1; 32] };
        let fingerprints = Some(vec![other]);
        let mut pair = Pair::with(Options { role, fingerprints, ..Options::default() });
        pair.run_for(Duration::from_secs(5));
        assert_eq!(pair.closed(), Some(CloseReason::FingerprintMismatch));
        assert!(pair.take_keys().is_none() && !pair.server.is_connected());
        // The client has no keys either, and gets an alert with the reason (RFC 8122 section 6.2).
        assert!(pair.client.keys.is_none());
        assert!(pair.client.failed, "bad_certificate");
    }
}

// Row 18.
#[test]
fn no_fingerprint_and_unknown_hashes_match_nothing() {
    for fingerprints in
        [vec![], vec![Fingerprint { algorithm: "md5".to_owned(), bytes: Vec::new() }]]
    {
        let fingerprints = Some(fingerprints);
        let mut pair = Pair::with(Options { fingerprints, ..Options::default() });
        pair.run_for(Duration::from_secs(5));
        assert_eq!(pair.closed(), Some(CloseReason::FingerprintMismatch));
        assert!(pair.take_keys().is_none());
    }
}

// Row 18.
#[test]
fn a_huge_certificate_does_no_harm() {
    let mut identity = dimpl::certificate::generate_self_signed_certificate().unwrap();
    identity.certificate.resize(12_000, 0);
    let bytes = dimpl::certificate::calculate_fingerprint(&identity.certificate);
    let fingerprint = Fingerprint { algorithm: "sha-256".to_owned(), bytes };
    for (fingerprints, reason) in [
        (None, CloseReason::CertificateUnsupported),
        (
            Some(vec![Fingerprint { bytes: vec![0; 32], ..fingerprint }]),
            CloseReason::FingerprintMismatch,
        ),
    ] {
        let identity = DtlsCertificate::clone(&identity);
        let config = Options::default().config.max_queue_tx(40).mtu(1400);
        let mut pair = Pair::with(Options { identity, config, fingerprints, ..Options::default() });
        pair.run_for(Duration::from_secs(5));
        assert_eq!(pair.closed(), Some(reason));
        assert!(pair.take_keys().is_none());
    }
}

// Row 20.
#[test]
fn renegotiation_in_the_clear_is_ignored() {
    let mut pair = Pair::new();
    pair.connect();
    let replayed = pair.client_dtls();
    let before = pair.log.len();
    for datagram in replayed.iter().chain([&hello(&[0xc02b])]) {
        for _ in 0..10 {
            let _ = pair.server.handle_dtls(pair.now, path(1), datagram);
        }
    }
    pair.flush();
    let amplified = pair.log[before..].iter().filter(|(to_server, ..)| !to_server);
    assert!(amplified.count() <= 2, "the last flight once, as RFC 6347 section 4.2.4 asks");
    pair.run_for(Duration::from_secs(10));
    assert!(pair.server.is_connected());
    let connected = pair.events.iter().filter(|e| matches!(e, PeerEvent::Connected { .. }));
    assert_eq!(connected.count(), 1, "keys are given out once");
}

// Row 20.
#[test]
fn renegotiation_over_the_encrypted_connection_is_refused() {
    let config = Options::default().config.with_crypto_provider(disguise::provider());
    let mut pair = Pair::with(Options { config, ..Options::default() });
    pair.connect();
    let mut second_hello = hello(&[0xc02b])[13..].to_vec();
    // The next message number.
    second_hello[5] = 5;
    pair.client.dtls.send_application_data(&second_hello).unwrap();
    let before = pair.log.len();
    pair.flush();
    let sealed = pair.log[before..].iter().find(|(to_server, _, d)| *to_server && d[0] == 23);
    let sealed = disguise::as_handshake(sealed.unwrap().2.clone());
    assert_eq!(pair.server.handle_dtls(pair.now, path(1), &sealed), Ok(()));
    pair.flush();
    // The message is authentic, so the peer itself violated the protocol: the session ends, without other keys.
    assert_eq!(pair.closed(), Some(CloseReason::DtlsFailed));
    let connected = pair.events.iter().filter(|e| matches!(e, PeerEvent::Connected { .. }));
    assert_eq!(connected.count(), 1);
}

// Row 21.
#[test]
fn without_consent_for_30_seconds_the_session_ends_and_sends_nothing_more() {
    let mut pair = Pair::new();
    pair.connect();
    pair.run_for(Duration::from_secs(60));
    assert!(pair.server.is_connected(), "checks renew consent");
    pair.client.checking = false;
    // The last check may be under way.
    pair.run_for(CONSENT_LIFETIME - Duration::from_secs(1));
    assert!(pair.server.is_connected() && pair.server.has_consent(pair.now));
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.closed(), Some(CloseReason::ConsentExpired));
    assert!(!pair.server.has_consent(pair.now) && pair.server.selected().is_none());
    let before = pair.log.len();
    pair.server.close(pair.now);
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.log.len(), before, "not even a goodbye");
}

// Row 21.
#[test]
fn a_peer_that_sends_media_and_no_checks_stays_unless_the_operator_wants_checks() {
    for (consent, stays) in [(Consent::ChecksOrMedia, true), (Consent::Checks, false)] {
        let mut pair = Pair::new();
        pair.server = pair.server.with_consent(consent);
        pair.connect();
        pair.client.checking = false;
        for _ in 0..120 {
            pair.run_for(Duration::from_secs(1));
            pair.server.heard(pair.now, &path(1));
            // Media from another address is not the peer's, and keeps nothing alive.
            pair.server.heard(pair.now, &path(9));
        }
        assert_eq!(pair.server.is_connected(), stays, "{consent:?}");
        assert_eq!(pair.server.is_live_on(pair.now, &path(1)), stays);
        assert!(!pair.server.is_live_on(pair.now, &path(9)));
        pair.run_for(CONSENT_LIFETIME + Duration::from_secs(1));
        assert_eq!(pair.closed(), Some(CloseReason::ConsentExpired), "media ended as well");
    }
}

// Row 22.
#[test]
fn a_session_validates_at_most_eight_addresses() {
    let mut pair = Pair::new();
    pair.connect();
    for last in 2..=250 {
        let check = check(&credentials("node"), false);
        pair.server.handle_stun(pair.now, path(last), &check).unwrap();
        pair.now += MILLISECOND;
        pair.flush();
    }
    let valid = (1..=250).filter(|last| pair.server.is_validated(&path(*last)));
    assert_eq!(valid.count(), MAX_PATHS);
    assert!(pair.server.is_validated(&path(1)), "the selected one stays");
    let (mut added, mut removed) = (0, 0);
    for event in &pair.events {
        added += usize::from(matches!(event, PeerEvent::PathValidated(_)));
        removed += usize::from(matches!(event, PeerEvent::PathRemoved(_)));
    }
    assert_eq!(added - removed, MAX_PATHS, "the owner can keep count");
}

// Row 22.
#[test]
fn an_owner_that_takes_no_events_costs_no_memory() {
    let mut pair = Pair::new();
    let refused = (0..10_000_u32).filter(|turn| {
        let last = (turn % 250) as u8;
        let check = check(&credentials("node"), true);
        pair.server.handle_stun(pair.now, path(last), &check) == Err(DropReason::TooManyPaths)
    });
    assert!(refused.count() > 9_000);
    let mut out = Vec::new();
    assert!(std::iter::from_fn(|| pair.server.poll_transmit(&mut out)).count() <= 32);
    assert!(std::iter::from_fn(|| pair.server.poll_event()).count() <= 70);
}

// Row 23; the role conflict is tested beside the codec.
#[test]
fn a_restart_changes_the_credentials_and_the_old_ones_live_three_seconds() {
    let mut pair = Pair::new();
    pair.connect();
    pair.server.restart(pair.now, &credentials("again"));
    pair.run_for(Duration::from_secs(2));
    let old = check(&credentials("node"), true);
    assert_eq!(pair.server.handle_stun(pair.now, path(1), &old), Ok(()));
    pair.run_for(Duration::from_secs(1));
    let result = pair.server.handle_stun(pair.now, path(1), &old);
    assert_eq!(result, Err(DropReason::StunUnknownUser));
    // The browser comes back from another network; DTLS and its keys stay.
    pair.client.ice = credentials("again");
    pair.client.path = path(2);
    pair.run_for(Duration::from_secs(40));
    assert!(pair.server.is_connected());
    assert_eq!(pair.server.selected(), Some(path(2)));
    let connected = pair.events.iter().filter(|e| matches!(e, PeerEvent::Connected { .. }));
    assert_eq!(connected.count(), 1);
}

// Row 26.
#[test]
fn only_an_authenticated_check_moves_the_path() {
    let mut pair = Pair::new();
    pair.connect();
    // DTLS that the peer itself sealed, replayed from another address: it moves nothing.
    pair.client.dtls.send_application_data(b"hello").unwrap();
    let before = pair.log.len();
    pair.flush();
    let sealed = pair.log[before..]
        .iter()
        .find(|(_, _, datagram)| demux::classify(datagram) == demux::Kind::Dtls);
    let sealed = sealed.unwrap().2.clone();
    let result = pair.server.handle_dtls(pair.now, path(66), &sealed);
    assert_eq!(result, Err(DropReason::UnknownPath));
    assert_eq!(pair.server.selected(), Some(path(1)));
    // A path that is valid and not nominated does not move it either.
    let plain = check(&credentials("node"), false);
    pair.server.handle_stun(pair.now, path(2), &plain).unwrap();
    pair.server.handle_dtls(pair.now, path(2), &sealed).unwrap();
    assert_eq!(pair.server.selected(), Some(path(1)));
    let nominating = check(&credentials("node"), true);
    pair.server.handle_stun(pair.now, path(2), &nominating).unwrap();
    assert_eq!(pair.server.selected(), Some(path(2)));
    pair.flush();
    assert!(matches!(pair.events.last(), Some(PeerEvent::Selected(to)) if *to == path(2)));
}
