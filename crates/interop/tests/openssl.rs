//! DTLS against OpenSSL, in both roles, over loopback: `openssl s_client` and `openssl s_server` with certificates of
//! all kinds that are taken, and some that are not. Both sides must come to the same keys.
//!
//! Needs openssl(1) of version 3, and so is run by hand: `cargo test -p sfumato-interop --test openssl -- --ignored`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Write as _;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{CloseReason, DtlsRole, Fingerprint};
use transport::dtls::{Certificate, DtlsEvent, Endpoint};
use transport::srtp::{Keys, Profile};

/// Until a handshake has failed; one over loopback takes some milliseconds.
const FAILS_WITHIN: Duration = Duration::from_secs(20);
/// All profiles that both know, the dear one first.
const PROFILES: &str = "SRTP_AEAD_AES_256_GCM:SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM";
/// The same, the cheap one first.
const CHEAP_FIRST: &str = "SRTP_AEAD_AES_128_GCM:SRTP_AEAD_AES_256_GCM";

/// A key and a certificate that OpenSSL made.
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    fingerprint: Fingerprint,
}

impl Identity {
    fn new(name: &str, kind: &[&str]) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let file = |ending: &str| dir.join(format!("{name}.{ending}"));
        let (certificate, key) = (file("pem"), file("key"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-subj", "/CN=peer", "-newkey"])
            .args(kind)
            .args([Path::new("-keyout"), &key, Path::new("-out"), &certificate])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let printed = Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
            .arg(&certificate)
            .output()
            .unwrap();
        let printed = String::from_utf8(printed.stdout).unwrap();
        let (_, hex) = printed.trim().split_once('=').unwrap();
        let bytes = hex.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let fingerprint = Fingerprint { algorithm: "sha-256".to_owned(), bytes };
        Self { certificate, key, fingerprint }
    }
}

/// A running openssl(1). It stays for a second after its input has ended, so that it can be asked for its keys.
fn openssl(command: &str, identity: &Identity, profiles: &str, more: &[&str]) -> Child {
    Command::new("openssl")
        .args([command, "-dtls1_2", "-use_srtp", profiles, "-cert"])
        .arg(&identity.certificate)
        .arg("-key")
        .arg(&identity.key)
        .args(["-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", "56"])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What came of a handshake of ours.
fn shake_hands(socket: &UdpSocket, mut endpoint: Endpoint) -> Result<Keys, CloseReason> {
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let (begin, mut datagram, mut buffer) = (Instant::now(), Vec::new(), [0; 2048]);
    let mut result = None;
    while begin.elapsed() < FAILS_WITHIN {
        while endpoint.poll_transmit(&mut datagram) {
            let _ = socket.send(&datagram);
        }
        match endpoint.poll_event() {
            Some(DtlsEvent::Connected(keys)) => result = Some(keys),
            Some(DtlsEvent::Closed(reason)) if result.is_none() => return Err(reason),
            _ => {}
        }
        if let Some(keys) = result {
            return Ok(keys);
        }
        if let Ok((len, from)) = socket.recv_from(&mut buffer) {
            socket.connect(from).unwrap();
            let _ = endpoint.handle(Instant::now(), &buffer[..len]);
        }
        endpoint.handle_timeout(Instant::now());
    }
    panic!("neither connected nor closed");
}

/// Ends openssl(1) and compares its keys with ours, if it came to some.
fn assert_same_keys(mut peer: Child, keys: &Keys, we_are_client: bool) {
    let _ = peer.stdin.take().unwrap().write_all(b"Q\n");
    let output = peer.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let material = text.lines().find_map(|line| line.trim().strip_prefix("Keying material: "));
    let (ours, theirs) = (&keys.local, &keys.remote);
    let (client, server) = if we_are_client { (ours, theirs) } else { (theirs, ours) };
    let all = [client.key(), server.key(), client.salt(), server.salt()].concat();
    let hex: String = all.iter().map(|byte| format!("{byte:02X}")).collect();
    let material = material.unwrap_or_else(|| {
        panic!("no keys: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    });
    assert_eq!(hex[..112], *material);
}

fn endpoint(role: DtlsRole, identity: &Identity) -> Endpoint {
    let certificate = Arc::new(Certificate::generate().unwrap());
    Endpoint::new(Instant::now(), role, certificate, vec![identity.fingerprint.clone()])
}

fn client(
    identity: &Identity,
    profiles: &str,
    more: &[&str],
) -> (Child, Result<Keys, CloseReason>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let more = [&["-connect", &address], more].concat();
    let peer = openssl("s_client", identity, profiles, &more);
    let result = shake_hands(&socket, endpoint(DtlsRole::Passive, identity));
    (peer, result)
}

#[track_caller]
fn assert_client_connects(identity: &Identity, more: &[&str]) {
    let (peer, result) = client(identity, PROFILES, more);
    let keys = result.unwrap();
    assert_eq!(keys.profile, Profile::AeadAes128Gcm);
    assert_same_keys(peer, &keys, false);
}

#[track_caller]
fn assert_client_is_refused(identity: &Identity, reason: CloseReason, more: &[&str]) {
    let (mut peer, result) = client(identity, PROFILES, more);
    let _ = peer.kill();
    let _ = peer.wait();
    assert_eq!(result.unwrap_err(), reason);
}

fn all_kinds() -> [Identity; 4] {
    [
        Identity::new("rsa2048", &["rsa:2048"]),
        Identity::new("rsa4096", &["rsa:4096"]),
        Identity::new("p256", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        Identity::new("p384", &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"]),
    ]
}

#[test]
#[ignore = "needs openssl(1)"]
fn clients_of_openssl_connect_with_every_kind_of_certificate() {
    for identity in all_kinds() {
        assert_client_connects(&identity, &[]);
        // A hello in two datagrams, and a choice of ciphers and groups.
        assert_client_connects(&identity, &["-mtu", "256"]);
        assert_client_connects(&identity, &["-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"]);
        assert_client_connects(&identity, &["-groups", "P-256"]);
    }
    let rsa = &all_kinds()[0];
    for scheme in ["RSA+SHA256", "RSA+SHA384", "RSA+SHA512", "RSA-PSS+SHA256", "RSA-PSS+SHA512"] {
        assert_client_connects(rsa, &["-client_sigalgs", scheme]);
    }
}

#[test]
#[ignore = "needs openssl(1)"]
fn servers_of_openssl_connect_with_every_kind_of_certificate() {
    for identity in all_kinds() {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let peer =
            openssl("s_server", &identity, CHEAP_FIRST, &["-4", "-accept", &port, "-Verify", "1"]);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(format!("127.0.0.1:{port}")).unwrap();
        let keys = shake_hands(&socket, endpoint(DtlsRole::Active, &identity)).unwrap();
        // OpenSSL goes by its own order.
        assert_eq!(keys.profile, Profile::AeadAes128Gcm);
        assert_same_keys(peer, &keys, true);
    }
}

#[test]
#[ignore = "needs openssl(1)"]
fn clients_of_openssl_are_refused_for_what_their_certificate_is() {
    let weak = ["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256:@SECLEVEL=0"];
    for (identity, more) in [
        (Identity::new("rsa1024", &["rsa:1024"]), &weak[..]),
        (Identity::new("p521", &["ec", "-pkeyopt", "ec_paramgen_curve:P-521"]), &[]),
    ] {
        assert_client_is_refused(&identity, CloseReason::CertificateUnsupported, more);
    }
    // RSA with a key for PSS alone: it has no scheme in our list, so the client shows no certificate.
    let pss = Identity::new("pss", &["rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"]);
    assert_client_is_refused(&pss, CloseReason::DtlsFailed, &[]);
    let known = &all_kinds()[2];
    // SHA-1 alone: nothing in common.
    let sha1 =
        ["-client_sigalgs", "ECDSA+SHA1", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256:@SECLEVEL=0"];
    assert_client_is_refused(known, CloseReason::DtlsFailed, &sha1);
    let (mut peer, result) = client(known, "SRTP_AES128_CM_SHA1_32", &[]);
    let _ = peer.kill();
    let _ = peer.wait();
    assert_eq!(result.unwrap_err(), CloseReason::NoSrtpProfile);
}
