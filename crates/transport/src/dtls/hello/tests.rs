//! Hellos as browsers write them, and invalid ones.

use proptest::prelude::*;

use super::*;

/// Groups, schemes and suites as Chromium sends them: a reserved number, a post-quantum group, and then known ones.
const GROUPS: [u16; 4] = [0x4a4a, 4588, 29, 23];

/// A ClientHello in parts, so that a test can change one.
struct Hello {
    version: [u8; 2],
    suites: Vec<u16>,
    compressions: Vec<u8>,
    extensions: Vec<(u16, Vec<u8>)>,
}

impl Hello {
    fn new() -> Self {
        let list = |numbers: &[u16]| {
            let mut body = Vec::new();
            put_vector(&mut body, 2, |out| numbers.iter().for_each(|n| put_u16(out, *n)));
            body
        };
        // An X25519MLKEM768 share of 1,216 bytes, which is why the hello takes two datagrams.
        let mut share = Vec::new();
        put_vector(&mut share, 2, |out| {
            put_u16(out, 4588);
            put_vector(out, 2, |out| out.extend_from_slice(&[7; 1216]));
        });
        Self {
            version: VERSION,
            suites: vec![0x1301, 0x2a2a, 0xc02c, 0xc02b, 0xcca9, 0x009c],
            compressions: vec![0],
            extensions: vec![
                (0x6a6a, vec![]),
                (EXTENDED_MASTER_SECRET, vec![]),
                (RENEGOTIATION_INFO, vec![0]),
                (SUPPORTED_GROUPS, list(&GROUPS)),
                (EC_POINT_FORMATS, vec![1, 0]),
                (51, share),
                (43, vec![4, 0xfe, 0xfc, 0xfe, 0xfd]),
                (SIGNATURE_ALGORITHMS, list(&[0x0403, 0x0804, 0x0401])),
                (USE_SRTP, [&list(&[1, 7, 8])[..], &[0]].concat()),
                (35, vec![]),
            ],
        }
    }

    fn profiles(mut self, ids: &[u16]) -> Self {
        let mut body = Vec::new();
        put_vector(&mut body, 2, |out| ids.iter().for_each(|id| put_u16(out, *id)));
        body.push(0);
        self.set(USE_SRTP, Some(body));
        self
    }

    fn set(&mut self, kind: u16, body: Option<Vec<u8>>) {
        self.extensions.retain(|extension| extension.0 != kind);
        self.extensions.extend(body.map(|body| (kind, body)));
    }

    fn with(mut self, kind: u16, body: Option<Vec<u8>>) -> Self {
        self.set(kind, body);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = self.version.to_vec();
        out.extend_from_slice(&[9; 32]);
        out.extend_from_slice(&[0, 0]);
        put_vector(&mut out, 2, |out| self.suites.iter().for_each(|id| put_u16(out, *id)));
        put_vector(&mut out, 1, |out| out.extend_from_slice(&self.compressions));
        put_vector(&mut out, 2, |out| {
            for (kind, body) in &self.extensions {
                put_extension(out, *kind, |out| out.extend_from_slice(body));
            }
        });
        out
    }

    fn read(&self) -> Result<Offer, Failure> {
        Offer::read(&self.bytes())
    }
}

#[test]
fn a_post_quantum_hello_with_unknown_values_is_read() {
    let hello = Hello::new();
    assert!(hello.bytes().len() > 1300, "longer than a datagram of many clients");
    let offer = hello.read().unwrap();
    assert_eq!((offer.suite, offer.group), (SUITES[0], Group::X25519));
    assert_eq!(offer.profile, srtp::Profile::AeadAes128Gcm);
    assert_eq!(offer.random, [9; 32]);
}

#[test]
fn of_every_set_of_srtp_profiles_the_cheapest_is_taken_in_whatever_order_they_are_offered() {
    let ids = srtp::Profile::ALL.iter().map(|profile| profile.dtls_id()).collect::<Vec<_>>();
    assert_eq!(ids, [7, 8, 1]);
    // An unknown profile (AES-CM with a tag of 32 bits, double encryption, a reserved number) is between known ones.
    let known_or_not = [1, 2, 7, 8, 9, 0x0a0a];
    for set in 0..1_u32 << known_or_not.len() {
        let mut offered: Vec<u16> = known_or_not.to_vec();
        offered.retain(|id| set >> known_or_not.iter().position(|k| k == id).unwrap() & 1 == 1);
        let expected = ids.iter().find(|id| offered.contains(id)).copied();
        for _ in 0..offered.len().max(1) {
            let chosen = Hello::new().profiles(&offered).read();
            assert_eq!(chosen.as_ref().ok().map(|offer| offer.profile.dtls_id()), expected);
            if expected.is_none() {
                assert_eq!(chosen.unwrap_err(), Failure::NO_SRTP_PROFILE);
            }
            let by = offered.len().min(1);
            offered.rotate_left(by);
        }
        offered.reverse();
        let chosen = Hello::new().profiles(&offered).read();
        assert_eq!(chosen.ok().map(|offer| offer.profile.dtls_id()), expected);
    }
}

#[test]
fn a_hello_without_srtp_or_without_anything_else_in_common_is_refused() {
    let list = |number: u16| Some([&[0, 2][..], &number.to_be_bytes()].concat());
    let refused = [
        (Hello::new().with(USE_SRTP, None), Failure::NO_SRTP_PROFILE),
        (Hello::new().with(EXTENDED_MASTER_SECRET, None), Failure::NOTHING_IN_COMMON),
        (Hello::new().with(SUPPORTED_GROUPS, list(4588)), Failure::NOTHING_IN_COMMON),
        // ECDSA with SHA-1, RSA alone, and none, which means SHA-1.
        (Hello::new().with(SIGNATURE_ALGORITHMS, list(0x0203)), Failure::NOTHING_IN_COMMON),
        (Hello::new().with(SIGNATURE_ALGORITHMS, list(0x0401)), Failure::NOTHING_IN_COMMON),
        (Hello::new().with(SIGNATURE_ALGORITHMS, None), Failure::NOTHING_IN_COMMON),
        (Hello::new().with(RENEGOTIATION_INFO, Some(vec![1, 5])), Failure::NOTHING_IN_COMMON),
        // DTLS 1.0, and a version that is not DTLS.
        (Hello { version: [0xfe, 0xff], ..Hello::new() }, Failure::NOTHING_IN_COMMON),
        (Hello { version: [0x03, 0x03], ..Hello::new() }, Failure::NOTHING_IN_COMMON),
        (Hello { compressions: vec![1], ..Hello::new() }, Failure::NOTHING_IN_COMMON),
        // CBC, RC4, plain RSA, and AES-GCM for a server with an RSA key.
        (
            Hello { suites: vec![0xc009, 0xc00a, 0xc007, 0x009c, 0xc02f], ..Hello::new() },
            Failure::NOTHING_IN_COMMON,
        ),
    ];
    for (hello, failure) in refused {
        assert_eq!(hello.read().unwrap_err(), failure);
    }
}

#[test]
fn a_later_version_and_a_missing_list_of_groups_are_accepted() {
    assert!(Hello { version: [0xfe, 0xfc], ..Hello::new() }.read().is_ok());
    let offer = Hello::new().with(SUPPORTED_GROUPS, None).read().unwrap();
    assert_eq!(offer.group, Group::P256);
    let only_256 = Hello { suites: vec![0xc02c], ..Hello::new() };
    assert_eq!(only_256.read().unwrap().suite, SUITES[1]);
}

#[test]
fn our_own_hello_and_its_answer_are_read_back() {
    let mut hello = Vec::new();
    put_client_hello(&mut hello, &[1; 32], b"cookie");
    let offer = Offer::read(&hello).unwrap();
    let mut answer = Vec::new();
    offer.put_answer(&mut answer, &[2; 32]);
    let choice = Choice::read(&answer).unwrap();
    assert_eq!((choice.suite, choice.profile), (offer.suite, offer.profile));
    assert_eq!((offer.random, choice.random), ([1; 32], [2; 32]));
    for len in 0..answer.len() {
        // Without extensions a ServerHello is complete, but unsafe.
        assert!(Choice::read(&answer[..len]).is_err());
    }
}

#[test]
fn the_answer_has_only_extensions_that_the_client_sent() {
    let kinds = |hello: &Hello| {
        let mut answer = Vec::new();
        hello.read().unwrap().put_answer(&mut answer, &[0; 32]);
        let mut list = Reader::new(&answer[38..]);
        let mut list = Reader::new(list.vector16().unwrap());
        std::iter::from_fn(|| list.u16().inspect(|_| _ = list.vector16())).collect::<Vec<_>>()
    };
    let all = [RENEGOTIATION_INFO, EXTENDED_MASTER_SECRET, EC_POINT_FORMATS, USE_SRTP];
    assert_eq!(kinds(&Hello::new()), all);
    let bare = Hello::new().with(RENEGOTIATION_INFO, None).with(EC_POINT_FORMATS, None);
    assert_eq!(kinds(&bare), [EXTENDED_MASTER_SECRET, USE_SRTP]);
    let signalled = Hello { suites: vec![RENEGOTIATION_SCSV, 0xc02b], ..bare };
    assert_eq!(kinds(&signalled), [RENEGOTIATION_INFO, EXTENDED_MASTER_SECRET, USE_SRTP]);
}

#[test]
fn a_choice_that_was_not_offered_is_refused() {
    let mut hello = Vec::new();
    put_client_hello(&mut hello, &[1; 32], &[]);
    let mut answer = Vec::new();
    Offer::read(&hello).unwrap().put_answer(&mut answer, &[2; 32]);
    let with = |at: usize, value: u8| {
        let mut changed = answer.clone();
        changed[at] = value;
        Choice::read(&changed).map(|choice| choice.suite.id).unwrap_err().reason
    };
    let (suite, compression, profile, mki) = (36, 37, answer.len() - 2, answer.len() - 1);
    for (at, value) in [(suite, 0x13), (compression, 1), (profile, 2), (1, 0xff), (mki, 1)] {
        assert_eq!(with(at, value), model::CloseReason::DtlsFailed, "byte {at}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_hello_panic(at in 0_usize..1600, bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let hello = Hello::new().bytes();
        let at = at.min(hello.len());
        let _ = Offer::read(&hello[..at]);
        let mut changed = hello.clone();
        changed.splice(at..(at + bytes.len()).min(hello.len()), bytes.iter().copied());
        let _ = Offer::read(&changed);
        let _ = Choice::read(&changed);
        let _ = Offer::read(&bytes);
        let _ = Choice::read(&bytes);
    }
}
