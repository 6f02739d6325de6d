//! A cipher suite for the simulated browser that seals application data as if it were handshake messages, so that a
//! test can request renegotiation over the encrypted connection.

use dimpl::CryptoError;
use dimpl::crypto::{
    Aad, Buf, Cipher, CryptoProvider, Dtls12CipherSuite, HashAlgorithm, Nonce,
    SupportedDtls12CipherSuite, TmpBuf, aws_lc_rs,
};

const APPLICATION_DATA: u8 = 23;
const HANDSHAKE: u8 = 22;
/// Position of the content type in the additional data (RFC 5246 section 6.2.3.3).
const CONTENT_TYPE: usize = 8;

/// The default provider, with that suite alone.
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider { cipher_suites: &[&Disguise], ..aws_lc_rs::default_provider() }
}

/// Makes the record that the suite sealed look like the kind that it was sealed as.
pub(crate) fn as_handshake(mut datagram: Vec<u8>) -> Vec<u8> {
    assert_eq!(datagram[0], APPLICATION_DATA);
    datagram[0] = HANDSHAKE;
    datagram
}

#[derive(Debug)]
struct Disguise;

fn plain() -> &'static dyn SupportedDtls12CipherSuite {
    let wanted = Dtls12CipherSuite::ECDHE_ECDSA_AES128_GCM_SHA256;
    let suites = aws_lc_rs::default_provider().cipher_suites;
    *suites.iter().find(|suite| suite.suite() == wanted).unwrap()
}

impl SupportedDtls12CipherSuite for Disguise {
    fn suite(&self) -> Dtls12CipherSuite {
        plain().suite()
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        plain().hash_algorithm()
    }

    fn key_lengths(&self) -> (usize, usize, usize) {
        plain().key_lengths()
    }

    fn explicit_nonce_len(&self) -> usize {
        plain().explicit_nonce_len()
    }

    fn tag_len(&self) -> usize {
        plain().tag_len()
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        Ok(Box::new(DisguisedCipher(plain().create_cipher(key)?)))
    }
}

#[derive(Debug)]
struct DisguisedCipher(Box<dyn Cipher>);

impl Cipher for DisguisedCipher {
    fn encrypt(
        &mut self,
        plaintext: &mut Buf,
        mut aad: Aad,
        nonce: Nonce,
    ) -> Result<(), CryptoError> {
        if aad.0[CONTENT_TYPE] == APPLICATION_DATA {
            aad.0[CONTENT_TYPE] = HANDSHAKE;
        }
        self.0.encrypt(plaintext, aad, nonce)
    }

    fn decrypt(
        &mut self,
        ciphertext: &mut TmpBuf,
        aad: Aad,
        nonce: Nonce,
    ) -> Result<(), CryptoError> {
        self.0.decrypt(ciphertext, aad, nonce)
    }
}
