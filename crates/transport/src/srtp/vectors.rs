//! The test vectors of RFC 3711 appendix B and RFC 7714 sections 16 and 17.

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};

use super::keys::{SessionKeys, Usage};
use super::{Profile, Receiver, Sender, SrtpError};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// RFC 3711 appendix B.2, over the primitive as `cm` uses it.
#[test]
fn aes_cm_keystream_of_rfc_3711() {
    let key = bytes("2B7E151628AED2A6ABF7158809CF4F3C");
    let cipher = EncryptingKey::ctr(UnboundCipherKey::new(&AES_128, &key).unwrap()).unwrap();
    let iv: [u8; 16] = bytes("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").try_into().unwrap();
    let mut keystream = vec![0; 1_044_512];
    cipher.less_safe_encrypt(&mut keystream, EncryptionContext::Iv128(iv.into())).unwrap();
    for (block, expected) in [
        (0x0000, "E03EAD0935C95E80E166B16DD92B4EB4"),
        (0x0001, "D23513162B02D0F72A43A2FE4A5F97AB"),
        (0x0002, "41E95B3BB0A2E8DD477901E4FCA894C0"),
        (0xfeff, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
        (0xff00, "362B7C3C6773516318A077D7FC5073AE"),
        (0xff01, "6A2CC3787889374FBEB4C81B17BA6C44"),
    ] {
        assert_eq!(keystream[block * 16..block * 16 + 16], bytes(expected), "block {block:#x}");
    }
}

/// The same vector through a whole packet: SSRC, sequence number and rollover counter 0, payload all 0.
#[test]
fn aes_cm_keystream_of_rfc_3711_lies_on_the_payload() {
    let profile = Profile::Aes128CmHmacSha1_80;
    let keys = SessionKeys::given(
        &bytes("2B7E151628AED2A6ABF7158809CF4F3C"),
        &bytes("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"),
    );
    let mut packet = vec![0; 12 + 48 + 10];
    packet[0] = 0x80;
    Sender::from_session_keys(profile, &keys).seal_rtp(&mut packet, 12, 60, 0).unwrap();
    let expected = bytes(
        "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB \
         41E95B3BB0A2E8DD477901E4FCA894C0",
    );
    assert_eq!(packet[12..60], expected);
}

/// RFC 3711 appendix B.3. Of its 94 bytes of authentication key 20 are derived here.
#[test]
fn key_derivation_of_rfc_3711() {
    let keys = SessionKeys::derive(
        Profile::Aes128CmHmacSha1_80,
        Usage::Rtp,
        &bytes("E1F97A0D3E018BE0D64FA32C06DE4139"),
        &bytes("0EC675AD498AFEEBB6960B3AABE6"),
    )
    .unwrap();
    assert_eq!(keys.cipher(), bytes("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(keys.salt()[..], bytes("30CBBC08863D8C85D49DB34A9AE1"));
    assert_eq!(keys.auth()[..], bytes("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
}

const KEY_128: &str = "000102030405060708090a0b0c0d0e0f";
const KEY_256: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SALT: &str = "517569642070726f2071756f";

const RTP: &str = "8040f17b 8041f8d3 5501a0b2 \
    47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573";

fn gcm_keys(key: &str) -> SessionKeys {
    SessionKeys::given(&bytes(key), &bytes(SALT))
}

fn seals_and_opens_rtp(profile: Profile, key: &str, expected: &str) {
    let (plain, expected) = (bytes(RTP), bytes(expected));
    let mut packet = plain.clone();
    packet.resize(plain.len() + 16, 0);
    let mut sender = Sender::from_session_keys(profile, &gcm_keys(key));
    assert_eq!(sender.seal_rtp(&mut packet, 12, plain.len(), 0), Ok(expected.len()));
    assert_eq!(packet, expected);

    let mut out = [0; 100];
    let mut receiver = Receiver::from_session_keys(profile, &gcm_keys(key));
    let opened = receiver.open_rtp(&expected, 12, &mut out).unwrap();
    assert_eq!(opened.index, 0xf17b);
    assert_eq!(out[..opened.len], plain);
}

#[test]
fn srtp_aead_aes_128_gcm_of_rfc_7714_section_16_1() {
    seals_and_opens_rtp(
        Profile::AeadAes128Gcm,
        KEY_128,
        "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a\
         51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
    );
}

#[test]
fn srtp_aead_aes_256_gcm_of_rfc_7714_section_16_2() {
    seals_and_opens_rtp(
        Profile::AeadAes256Gcm,
        KEY_256,
        "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a02\
         76ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
    );
}

/// The packet that the subsections of RFC 7714 section 17 use.
const RTCP: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61\
    deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";
const RTCP_INDEX: u32 = 0x5d4;

fn seals_and_opens_rtcp(profile: Profile, key: &str, expected: &str) {
    let (plain, expected) = (bytes(RTCP), bytes(expected));
    let mut packet = plain.clone();
    packet.resize(plain.len() + 20, 0);
    let mut sender = Sender::from_session_keys(profile, &gcm_keys(key)).aged(0, RTCP_INDEX);
    assert_eq!(sender.seal_rtcp(&mut packet, plain.len()), Ok(expected.len()));
    assert_eq!(packet, expected);

    let mut receiver = Receiver::from_session_keys(profile, &gcm_keys(key));
    let len = receiver.open_rtcp(&mut packet).unwrap();
    assert_eq!(packet[..len], plain);
}

#[test]
fn srtcp_aead_aes_128_gcm_of_rfc_7714_section_17_1() {
    seals_and_opens_rtcp(
        Profile::AeadAes128Gcm,
        KEY_128,
        "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda\
         4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
    );
}

#[test]
fn srtcp_aead_aes_256_gcm_of_rfc_7714_section_17_2() {
    seals_and_opens_rtcp(
        Profile::AeadAes256Gcm,
        KEY_256,
        "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be\
         8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
    );
}

/// The packet of RFC 7714 section 17.3: authentic, but in the clear, which no profile of DTLS-SRTP agrees to.
#[test]
fn srtcp_in_the_clear_is_refused() {
    let mut packet = bytes(
        "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61\
         deadbeefdeadbeefdeadbeefdeadbeefdeadbeef841dd9683dd78ec92ae58790125f62b3000005d4",
    );
    let mut receiver = Receiver::from_session_keys(Profile::AeadAes128Gcm, &gcm_keys(KEY_128));
    assert_eq!(receiver.open_rtcp(&mut packet), Err(SrtpError::Auth));
}
