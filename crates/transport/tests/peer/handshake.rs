//! The handshake with and without loss, and the end of a connection.

use std::time::Duration;

use model::{CloseReason, DropReason, DtlsRole};
use transport::{ICE_TIMEOUT, PeerEvent, demux, dtls, srtp};

use crate::harness::{Options, Pair, check, credentials, path};

/// An RTP packet that the client seals and the server opens, and the other way round.
fn assert_media_flows(pair: &mut Pair) {
    let (mut sender, mut receiver, _) = pair.take_keys().unwrap();
    let keys = pair.client_keys();
    let (mut their_sender, mut their_receiver) = (keys.sender().unwrap(), keys.receiver().unwrap());
    let plain = *b"\x80\x60\x00\x01\x00\x00\x00\x05\x00\x00\x00\x07media";
    for (sender, receiver) in
        [(&mut sender, &mut their_receiver), (&mut their_sender, &mut receiver)]
    {
        let mut packet = [0; 100];
        packet[..plain.len()].copy_from_slice(&plain);
        let sealed = sender.seal_rtp(&mut packet, 12, plain.len(), 0).unwrap();
        let mut out = [0; 100];
        let opened = receiver.open_rtp(&packet[..sealed], 12, &mut out).unwrap();
        assert_eq!(&out[..opened.len], plain);
    }
}

#[test]
fn connects_and_reports_its_events_in_order() {
    let mut pair = Pair::new();
    pair.connect();
    let [
        PeerEvent::PathValidated(validated),
        PeerEvent::Selected(selected),
        PeerEvent::Connected { profile, .. },
    ] = &pair.events[..]
    else {
        panic!("{:?}", pair.events);
    };
    assert_eq!((*validated, *selected), (path(1), path(1)));
    // The cheapest profile that both support, whatever the client's order is.
    assert_eq!(*profile, srtp::Profile::AeadAes128Gcm);
    assert_eq!(pair.server.selected(), Some(path(1)));
    assert!(pair.server.is_validated(&path(1)) && pair.server.has_consent(pair.now));
    assert!(!pair.server.is_handshaking());
    assert_media_flows(&mut pair);
}

#[test]
fn takes_two_round_trips_of_dtls_after_the_check() {
    let mut pair = Pair::new();
    // One round trip for the check and two for DTLS; the network takes 20 ms each way. A cookie would take one more.
    pair.run_for(Duration::from_millis(99));
    assert!(!pair.server.is_connected());
    pair.run_for(Duration::from_millis(2));
    assert!(pair.server.is_connected());
}

#[test]
fn begins_the_handshake_when_the_peer_is_passive() {
    let mut pair = Pair::with(Options { role: DtlsRole::Active, ..Options::default() });
    pair.connect();
    assert_media_flows(&mut pair);
}

#[test]
fn our_flights_fit_any_path() {
    for role in [DtlsRole::Passive, DtlsRole::Active] {
        let mut pair = Pair::with(Options { role, ..Options::default() });
        pair.connect();
        let longest = pair.log.iter().filter(|(to_server, ..)| !to_server).map(|sent| sent.2.len());
        assert!(longest.max().unwrap() <= 1200);
    }
}

#[test]
fn a_client_hello_in_several_datagrams_is_put_together() {
    for mtu in [110, 80] {
        let config = Options::default().config.mtu(mtu);
        let mut pair = Pair::with(Options { config, ..Options::default() });
        pair.connect();
        let hellos = pair.client_dtls();
        assert!(hellos[0].len() <= mtu && hellos[1].len() <= mtu);
        assert_eq!((hellos[0][13], hellos[1][13]), (1, 1), "two fragments of a ClientHello");
        assert_media_flows(&mut pair);
    }
}

#[test]
fn flights_that_arrive_backwards_make_a_handshake_without_delay() {
    for role in [DtlsRole::Passive, DtlsRole::Active] {
        let config = Options::default().config.mtu(120);
        let mut pair = Pair::with(Options { role, config, ..Options::default() });
        pair.reversed = true;
        // Without a retransmission by our side, which would be sent after 250 ms.
        pair.run_for(Duration::from_millis(220));
        assert!(pair.server.is_connected(), "{role:?}: {:?}", pair.events);
        assert!(pair.client_dtls().len() > 4, "so small that there was an order to turn around");
        pair.connect();
        assert_media_flows(&mut pair);
    }
}

#[test]
fn a_server_that_asks_for_a_cookie_gets_it() {
    let config = Options::default().config.use_server_cookie(true);
    let mut pair = Pair::with(Options { role: DtlsRole::Active, config, ..Options::default() });
    pair.connect();
    let hellos = pair.log.iter().filter(|(to_server, _, datagram)| {
        // A handshake record with a ClientHello.
        !to_server && datagram[0] == 22 && datagram[13] == 1
    });
    assert_eq!(hellos.count(), 2, "one without and one with the cookie");
    assert_media_flows(&mut pair);
}

/// The client's hello, with the profiles of its use_srtp extension changed into an unknown one.
fn without_known_profiles(hello: &[u8]) -> Vec<u8> {
    let mut hello = hello.to_vec();
    // Type of the extension, then its length and that of the list.
    let at = hello.windows(2).rposition(|pair| pair == [0, 14]).unwrap();
    let len = usize::from(hello[at + 5]);
    hello[at + 6..at + 6 + len].iter_mut().for_each(|byte| *byte = 0x0a);
    hello
}

#[test]
fn a_client_without_a_known_srtp_profile_gets_an_alert_and_the_session_says_why() {
    let mut pair = Pair::new();
    while pair.client_dtls().is_empty() {
        pair.run_for(Duration::from_millis(1));
    }
    let hello = without_known_profiles(&pair.client_dtls()[0]);
    // Only this hello arrives.
    pair.lose_all();
    pair.client.mute = true;
    let result = pair.server.handle_dtls(pair.now, path(1), &hello);
    assert_eq!(result, Err(DropReason::DtlsLimit));
    // The hello may be forged, so the session continues for a while.
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.closed(), None);
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.closed(), Some(CloseReason::NoSrtpProfile));
    let (_, _, alert) = pair.log.iter().rfind(|(to_server, ..)| !to_server).unwrap();
    assert_eq!((alert[0], &alert[13..]), (21, &[2, 40][..]), "handshake_failure");
}

/// The seed makes the losses the same in every run, but not the pauses before retransmissions, which DTLS jitters by a
/// secret of its own. Of 40,000 such handshakes 27 were not done after 14 s: six of 200 by chance would be seen once
/// in some 130 million runs.
#[test]
fn handshakes_survive_loss() {
    let mut unfinished = Vec::new();
    for role in [DtlsRole::Passive, DtlsRole::Active] {
        for seed in 1..=100 {
            let mut pair = Pair::with(Options { role, seed, ..Options::default() });
            pair.loss_percent = 15;
            pair.run_for(Duration::from_secs(14));
            if pair.server.is_connected() && pair.client.keys.is_some() {
                assert_media_flows(&mut pair);
            } else {
                unfinished.push((role, seed, pair.events));
            }
        }
    }
    assert!(unfinished.len() <= 5, "{unfinished:#?}");
}

#[test]
fn a_check_answered_elsewhere_can_be_adopted() {
    let mut pair = Pair::new();
    pair.client.checking = false;
    pair.server.adopt_path(pair.now, path(1), true).unwrap();
    let answer =
        transport::ice::respond(&check(&credentials("node"), true), &path(1), &credentials("node"));
    assert!(answer.unwrap().success);
    assert_eq!(pair.server.selected(), Some(path(1)));
    pair.client.checking = true;
    pair.connect();
}

#[test]
fn a_handshake_goes_on_over_a_path_that_is_not_nominated_yet() {
    let mut pair = Pair::new();
    pair.client.nominate = false;
    pair.server.adopt_path(pair.now, path(7), false).unwrap();
    pair.connect();
    // Replies are sent where the client's DTLS comes from; media is sent on the first path until one is nominated.
    let replies = pair.log.iter().filter(|(to_server, _, datagram)| {
        !to_server && demux::classify(datagram) == demux::Kind::Dtls
    });
    assert!(replies.map(|sent| sent.1).all(|to| to == path(1)));
    assert_eq!(pair.server.selected(), Some(path(7)));
    pair.client.nominate = true;
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.server.selected(), Some(path(1)));
}

#[test]
fn close_sends_close_notify() {
    let mut pair = Pair::new();
    pair.connect();
    pair.server.close(pair.now);
    assert_eq!(pair.server.selected(), None);
    pair.run_for(Duration::from_millis(100));
    assert!(pair.client.said_goodbye);
    assert_eq!(pair.closed(), Some(CloseReason::Requested));
    let closes = pair.events.iter().filter(|event| matches!(event, PeerEvent::Closed(_)));
    assert_eq!(closes.count(), 1);
    assert_eq!(pair.server.poll_timeout(), None);
    assert_eq!(pair.server.handle_dtls(pair.now, path(1), &[22; 20]), Err(DropReason::DtlsClosed));
    let check = check(&credentials("node"), true);
    assert_eq!(
        pair.server.handle_stun(pair.now, path(1), &check),
        Err(DropReason::StunUnknownUser)
    );
}

#[test]
fn close_notify_of_the_peer_is_answered() {
    let mut pair = Pair::new();
    pair.connect();
    pair.client.dtls.close().unwrap();
    let before = pair.log.len();
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.closed(), Some(CloseReason::PeerClosed));
    let answered =
        pair.log[before..].iter().any(|(to_server, _, datagram)| !to_server && datagram[0] == 21);
    assert!(answered, "RFC 5246 section 7.2.1 asks for a close_notify in return");
}

#[test]
fn a_session_without_checks_ends_after_15_seconds() {
    let mut pair = Pair::new();
    pair.client.checking = false;
    pair.run_for(ICE_TIMEOUT - Duration::from_millis(1));
    assert_eq!(pair.closed(), None);
    pair.run_for(Duration::from_millis(2));
    assert_eq!(pair.closed(), Some(CloseReason::NeverConnected));
}

#[test]
fn a_handshake_that_stops_half_way_ends_in_time() {
    for role in [DtlsRole::Passive, DtlsRole::Active] {
        let mut pair = Pair::with(Options { role, ..Options::default() });
        pair.run_for(Duration::from_millis(70));
        assert!(pair.server.is_handshaking());
        // Checks continue, but DTLS does not.
        pair.client.failed = true;
        pair.run_for(dtls::HANDSHAKE_TIMEOUT + Duration::from_secs(1));
        assert_eq!(pair.closed(), Some(CloseReason::NeverConnected));
        assert!(!pair.server.is_handshaking());
        let sent = pair.log.iter().filter(|(to_server, _, datagram)| {
            !to_server && demux::classify(datagram) == demux::Kind::Dtls
        });
        assert!(sent.count() <= 2 * 7, "each flight of at most two datagrams, sent seven times");
    }
}

#[test]
fn a_session_that_is_closed_before_it_connects_sends_nothing() {
    let mut pair = Pair::new();
    pair.server.close(pair.now);
    pair.flush();
    assert_eq!(pair.closed(), Some(CloseReason::Requested));
    assert!(pair.log.iter().all(|(to_server, ..)| *to_server));
}
