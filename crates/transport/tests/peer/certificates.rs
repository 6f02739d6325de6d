//! Which certificates of a peer are accepted, and which are refused.

use std::time::Duration;

use aws_lc_rs::rsa::KeySize::{Rsa2048, Rsa4096};
use model::{CloseReason, DtlsRole};

use crate::harness::{Options, Pair};
use crate::identity::{Identity, Signer};

fn pair(role: DtlsRole, identity: Identity) -> Pair {
    let (identity, provider) = identity.into_dimpl();
    let config = Options::default().config.with_crypto_provider(provider).max_queue_tx(20);
    Pair::with(Options { role, identity, config, ..Options::default() })
}

/// Runs a client with this certificate until it is connected or refused.
fn client(identity: Identity) -> Pair {
    let mut pair = pair(DtlsRole::Passive, identity);
    pair.run_for(Duration::from_secs(5));
    pair
}

#[track_caller]
fn assert_taken(identity: Identity) {
    let scheme = identity.scheme;
    let mut pair = client(identity);
    assert!(pair.server.is_connected(), "{scheme:x}: {:?}", pair.events);
    let (_, _, profile) = pair.take_keys().unwrap();
    assert_eq!(pair.client_keys().profile, profile);
}

#[track_caller]
fn assert_refused(identity: Identity, reason: CloseReason) {
    let mut pair = client(identity);
    assert_eq!(pair.closed(), Some(reason));
    assert!(pair.take_keys().is_none() && !pair.server.is_connected());
    assert!(pair.client.failed, "the client hears of it");
}

#[test]
fn clients_with_rsa_certificates_connect_with_pkcs1_and_pss() {
    for scheme in [0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806] {
        assert_taken(Identity::rsa(Rsa2048, scheme));
    }
}

#[test]
fn clients_with_long_rsa_keys_connect() {
    assert_taken(Identity::rsa(Rsa4096, 0x0401));
}

#[test]
fn clients_with_ecdsa_certificates_on_p256_and_p384_connect() {
    assert_taken(Identity::p256());
    assert_taken(Identity::p384());
}

#[test]
fn servers_with_a_certificate_on_p384_connect() {
    let mut pair = pair(DtlsRole::Active, Identity::p384());
    pair.connect();
}

#[test]
fn a_wrong_signature_is_refused() {
    for mut identity in [Identity::rsa(Rsa2048, 0x0401), Identity::rsa(Rsa2048, 0x0804)] {
        identity.spoiled = true;
        assert_refused(identity, CloseReason::DtlsFailed);
    }
    for mut identity in [Identity::p256(), Identity::p384()] {
        identity.spoiled = true;
        assert_refused(identity, CloseReason::DtlsFailed);
    }
}

#[test]
fn a_certificate_whose_key_the_peer_lacks_is_refused() {
    for [own, mut stolen] in
        [[(); 2].map(|()| Identity::rsa(Rsa2048, 0x0401)), [(); 2].map(|()| Identity::p256())]
    {
        stolen.signer = own.signer;
        assert_refused(stolen, CloseReason::DtlsFailed);
    }
}

#[test]
fn a_signature_that_is_not_of_the_scheme_it_names_is_refused() {
    for (scheme, true_scheme) in [(0x0401, 0x0804), (0x0804, 0x0401), (0x0401, 0x0501)] {
        let mut identity = Identity::rsa(Rsa2048, scheme);
        identity.true_scheme = true_scheme;
        assert_refused(identity, CloseReason::DtlsFailed);
    }
}

/// SHA-1 and MD5, whose collisions can be bought; DSA; a scheme that does not fit the key.
#[test]
fn signatures_of_schemes_that_were_not_asked_for_are_refused() {
    for scheme in [0x0201, 0x0101, 0x0301, 0x0402, 0x0403, 0x0809] {
        let mut identity = Identity::rsa(Rsa2048, 0x0401);
        identity.scheme = scheme;
        assert_refused(identity, CloseReason::CertificateUnsupported);
    }
    let mut identity = Identity::p256();
    identity.scheme = 0x0203;
    assert_refused(identity, CloseReason::CertificateUnsupported);
}

#[test]
fn rsa_keys_below_2048_bits_or_beyond_8192_are_refused() {
    for bits in [512, 1024, 2047, 8193, 16384] {
        assert_refused(Identity::rsa_of(bits), CloseReason::CertificateUnsupported);
    }
    // With an accepted length the signature is wrong instead.
    for bits in [2048, 2049, 8192] {
        assert_refused(Identity::rsa_of(bits), CloseReason::DtlsFailed);
    }
}

#[test]
fn keys_of_other_kinds_are_refused() {
    for algorithm in [&rcgen::PKCS_ECDSA_P521_SHA512, &rcgen::PKCS_ED25519] {
        let identity = Identity::of_another_kind(algorithm);
        assert!(matches!(identity.signer, Signer::Nobody));
        assert_refused(identity, CloseReason::CertificateUnsupported);
    }
}
