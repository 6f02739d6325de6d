//! The data channel section of offers: who gets it, what the answer says, and what a later offer may change.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;

use common::{CHROMIUM_DATA, CHROMIUM_WATCH, FIREFOX_DATA, lines, section};
use model::{Command, DataPlan, DtlsRole, Mid, SessionPlan};
use sfumato_room::{Entering, Roles, RoomError, Target};

type Plans = Vec<(Arc<SessionPlan>, String)>;

/// The plan and the answer of each offer of one session.
fn negotiate(roles: Roles, offers: &[&str]) -> Result<Plans, RoomError> {
    let mut node = common::Node::new();
    let admission = (roles == Roles::Both).then(Box::default);
    let participant = (roles != Roles::ToPeer).then(|| common::who("ann"));
    let entering = Entering { participant, identity: None, target: Target::any(), admission };
    let mut session = None;
    let mut all = Vec::new();
    for offer in offers {
        let answer = match session {
            None => {
                let id = common::room("r");
                let entered = node.rooms.enter(node.now, &id, entering.clone(), roles, offer)?;
                session = Some(entered.session);
                entered.answer
            }
            Some(session) => node.rooms.renegotiate(node.now, session, offer)?.answer,
        };
        let plan = node.commands().into_iter().find_map(|command| match command {
            Command::Open(plan) | Command::Update(plan) => Some(plan),
            _ => None,
        });
        // An offer that changes nothing of the plan may cause no command.
        let plan = plan.or_else(|| all.last().map(|(plan, _): &(Arc<_>, _)| Arc::clone(plan)));
        all.push((plan.unwrap(), answer));
    }
    Ok(all)
}

fn answer(offer: &str) -> (Arc<SessionPlan>, String) {
    negotiate(Roles::Both, &[offer]).unwrap().remove(0)
}

fn error(roles: Roles, offer: &str) -> String {
    negotiate(roles, &[offer]).map(|_| ()).unwrap_err().to_string()
}

fn planned(mid: &str, max_message_size: u32) -> Option<DataPlan> {
    Some(DataPlan { mid: Mid::parse(mid).unwrap(), sctp_port: 5_000, max_message_size })
}

#[test]
fn a_room_session_gets_data_channels_beside_its_media() {
    let (plan, answer) = answer(CHROMIUM_DATA);
    assert_eq!(plan.data, planned("1", 262_144));
    assert_eq!(plan.up.len(), 1);
    assert!(answer.contains("a=group:BUNDLE 0 1\r\n"));
    let text = section(&answer, 1);
    assert!(text.starts_with("m=application "), "{text}");
    assert!(text.contains(" UDP/DTLS/SCTP webrtc-datachannel\r\n") && !text.contains(" 0 UDP"));
    for line in ["a=mid:1", "a=sctp-port:5000", "a=max-message-size:65536", "a=setup:passive"] {
        assert!(text.contains(&format!("{line}\r\n")), "{line} in {text}");
    }
    assert!(text.contains("a=ice-ufrag:") && text.contains("a=fingerprint:sha-256 "));
    assert!(!text.contains("rtcp-mux") && !text.contains("a=candidate"), "{text}");
}

#[test]
fn a_session_may_consist_of_data_only() {
    let (plan, answer) = answer(FIREFOX_DATA);
    assert_eq!(plan.data, planned("0", 1_073_741_823));
    assert_eq!((plan.up.len(), plan.down.len(), plan.dtls_role), (0, 0, DtlsRole::Passive));
    assert!(answer.contains("a=group:BUNDLE 0\r\n"));
    assert!(!lines(&answer, "a=candidate:").is_empty(), "the only section carries the candidates");
    // Without a group, the only section needs none.
    let alone = FIREFOX_DATA.replace("a=group:BUNDLE 0\r\n", "").replace("a=group:BUNDLE 0\n", "");
    assert_eq!(self::answer(&alone).0.data, planned("0", 1_073_741_823));
}

#[test]
fn whip_and_whep_have_no_data_channels() {
    let agreed = negotiate(Roles::FromPeer, &[CHROMIUM_DATA]).unwrap();
    assert_eq!(agreed[0].0.data, None);
    assert!(agreed[0].1.contains("m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
    for roles in [Roles::FromPeer, Roles::ToPeer] {
        assert!(error(roles, FIREFOX_DATA).contains("no section"));
    }
}

#[test]
fn sections_of_another_form_are_rejected_and_the_rest_is_not() {
    for (from, to) in [
        ("UDP/DTLS/SCTP", "UDP/SCTP"),
        ("UDP/DTLS/SCTP webrtc-datachannel", "DTLS/SCTP 5000"),
        ("webrtc-datachannel", "something-else"),
        ("a=sctp-port:5000", "a=sctp-port:0"),
        ("m=application 9 ", "m=application 0 "),
    ] {
        let (plan, answer) = answer(&CHROMIUM_DATA.replace(from, to));
        assert_eq!((plan.data, plan.up.len()), (None, 1), "{to}");
        assert!(section(&answer, 1).starts_with("m=application 0 "), "{to}");
    }
    // A second one.
    let two = CHROMIUM_DATA.replace("BUNDLE 0 1", "BUNDLE 0 1 2")
        + &section(CHROMIUM_DATA, 1).replace("a=mid:1", "a=mid:2");
    let (plan, answer) = answer(&two);
    assert_eq!(plan.data, planned("1", 262_144));
    assert!(section(&answer, 2).starts_with("m=application 0 "));
    let without = CHROMIUM_DATA.replace("a=sctp-port:5000", "a=x").replace("a=max-message", "a=y");
    assert_eq!(self::answer(&without).0.data, planned("1", 65_536), "the defaults of RFC 8841");
    let endless = CHROMIUM_DATA.replace("size:262144", "size:99999999999");
    assert_eq!(self::answer(&endless).0.data, planned("1", u32::MAX));
}

#[test]
fn values_that_cannot_be_are_refused_by_name() {
    for (from, to, named) in [
        ("a=sctp-port:5000", "a=sctp-port:70000", "a=sctp-port:70000; 0 to 65535"),
        ("size:262144", "size:-1", "a=max-message-size:-1; a number of bytes"),
        ("size:262144", "size:", "a=max-message-size:; a number of bytes"),
        ("BUNDLE 0 1", "BUNDLE 0", "media section 2 (application, mid 1): it is outside"),
    ] {
        let text = error(Roles::Both, &CHROMIUM_DATA.replace(from, to));
        assert!(text.contains(named), "{text}");
    }
}

#[test]
fn a_later_offer_adds_data_channels_keeps_them_or_gives_them_up() {
    let audio = section(CHROMIUM_WATCH, 0);
    let head = CHROMIUM_WATCH.split("m=").next().unwrap();
    let with = |data: &str, group: &str| {
        let head = head.replace("BUNDLE 0 1", group);
        format!("{head}{audio}{data}")
    };
    let (ufrag, fingerprint) = (lines(&audio, "a=ice-"), lines(CHROMIUM_WATCH, "a=fingerprint:"));
    let data = section(CHROMIUM_DATA, 1);
    let data: String = data
        .lines()
        .filter(|line| !line.starts_with("a=ice-") && !line.starts_with("a=fingerprint"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let data = data + &ufrag.join("\r\n") + "\r\n" + fingerprint[0] + "\r\n";
    let gone = data.replace("m=application 9 ", "m=application 0 ");
    let offers = [
        with("", "BUNDLE 0"),
        with(&data, "BUNDLE 0 1"),
        with(&data, "BUNDLE 0 1"),
        with(&gone, "BUNDLE 0"),
        with(&data, "BUNDLE 0 1"),
    ];
    let offers: Vec<&str> = offers.iter().map(String::as_str).collect();
    let agreed = negotiate(Roles::Both, &offers).unwrap();
    let plans: Vec<bool> = agreed.iter().map(|(plan, _)| plan.data.is_some()).collect();
    assert_eq!(plans, [false, true, true, false, true]);
    // Its place belongs to it: another kind cannot take it while it is there.
    let video = section(CHROMIUM_WATCH, 1);
    let other = with(&video, "BUNDLE 0 1");
    let refused = negotiate(Roles::Both, &[offers[1], &other]).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("the last offer had m=application"), "{refused}");
}
