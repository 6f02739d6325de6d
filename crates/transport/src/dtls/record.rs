//! DTLS records (RFC 6347 section 4.1): reading a datagram as records, sealing and opening with AES-GCM (RFC 5288),
//! and the replay window.
//!
//! There are two epochs, since there is no renegotiation: 0 in the clear, 1 sealed.

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};

use super::MAX_DATAGRAM;

pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

/// Content type, version, epoch, sequence number, length.
pub(super) const HEADER_LEN: usize = 13;
/// DTLS 1.2 as written in records and hellos.
pub(super) const VERSION: [u8; 2] = [0xfe, 0xfd];
/// The part of the nonce that is sent with each record (RFC 5288 section 3).
const EXPLICIT_NONCE_LEN: usize = 8;
const TAG_LEN: usize = 16;
/// Bytes that sealing adds to a record.
pub(super) const SEALED_OVERHEAD: usize = EXPLICIT_NONCE_LEN + TAG_LEN;
/// Record numbers have 48 bits. They must not wrap within an epoch (RFC 6347 section 4.1), since they are part of the
/// nonce.
const MAX_SEQUENCE: u64 = (1 << 48) - 1;

/// One record of a datagram, still sealed if its epoch is 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) content_type: u8,
    pub(super) epoch: u16,
    /// Epoch and sequence number as in the record: the explicit part of the nonce of sent records, and a part of the
    /// additional data.
    number: [u8; 8],
    pub(super) body: &'a [u8],
    /// The record with its header.
    pub(super) raw: &'a [u8],
}

/// The records of a datagram for which [`is_admissible`] is true.
pub(super) fn records(datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let (record, tail) = split(rest)?;
        rest = tail;
        Some(record)
    })
}

fn split(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let &[content_type, _, _, e0, e1, s0, s1, s2, s3, s4, s5, l0, l1] = header;
    let (body, rest) = rest.split_at_checked(u16::from_be_bytes([l0, l1]).into())?;
    let epoch = u16::from_be_bytes([e0, e1]);
    let number = [e0, e1, s0, s1, s2, s3, s4, s5];
    let raw = &bytes[..HEADER_LEN + body.len()];
    Some((Record { content_type, epoch, number, body, raw }, rest))
}

/// Whether a datagram is a sequence of DTLS records that a peer may send. Unencrypted application data is not allowed,
/// since it is not authenticated.
pub(super) fn is_admissible(datagram: &[u8]) -> bool {
    if datagram.is_empty() || datagram.len() > MAX_DATAGRAM {
        return false;
    }
    let mut rest = datagram;
    // Bounded: each turn takes at least the length of a header.
    while !rest.is_empty() {
        match split(rest) {
            Some((record, tail)) => {
                let known = match record.content_type {
                    CHANGE_CIPHER_SPEC..=HANDSHAKE => true,
                    APPLICATION_DATA => record.epoch > 0,
                    _ => false,
                };
                if !known {
                    return false;
                }
                rest = tail;
            }
            None => return false,
        }
    }
    true
}

/// AES-GCM with the key of one direction.
pub(super) struct Cipher {
    key: LessSafeKey,
    /// The part of the nonce that both sides derive and that is never sent.
    salt: [u8; 4],
}

impl Cipher {
    pub(super) fn new(key: LessSafeKey, salt: [u8; 4]) -> Self {
        Self { key, salt }
    }

    /// RFC 5288 section 3. The explicit part is the record's number, which never repeats under a key.
    fn nonce(&self, explicit: [u8; 8]) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.salt);
        nonce[4..].copy_from_slice(&explicit);
        Nonce::assume_unique_for_key(nonce)
    }

    /// The content of a record; `None` if it is not authentic.
    pub(super) fn open(&self, record: &Record<'_>) -> Option<Vec<u8>> {
        let (explicit, sealed) = record.body.split_first_chunk::<EXPLICIT_NONCE_LEN>()?;
        let len = sealed.len().checked_sub(TAG_LEN)?;
        let aad = additional_data(record.number, record.content_type, len);
        let mut content = sealed.to_vec();
        self.key.open_in_place(self.nonce(*explicit), Aad::from(aad), &mut content).ok()?;
        content.truncate(len);
        Some(content)
    }
}

/// RFC 5246 section 6.2.3.3: number, type, version, and length of the content.
fn additional_data(number: [u8; 8], content_type: u8, len: usize) -> [u8; 13] {
    let mut data = [0; 13];
    data[..8].copy_from_slice(&number);
    data[8] = content_type;
    data[9..11].copy_from_slice(&VERSION);
    data[11..].copy_from_slice(&(len as u16).to_be_bytes());
    data
}

/// Numbers the records that are sent, and seals those of epoch 1.
#[derive(Default)]
pub(super) struct Writer {
    /// The next number in each epoch.
    next: [u64; 2],
    cipher: Option<Cipher>,
}

impl Writer {
    /// Seals records with this cipher from now on.
    pub(super) fn seal_with(&mut self, cipher: Cipher) {
        self.cipher = Some(cipher);
    }

    pub(super) fn can_seal(&self) -> bool {
        self.cipher.is_some()
    }

    /// Appends a record to a datagram. Appends nothing if the record is to be sealed and there is no key, or if the
    /// numbers of the epoch are used up.
    pub(super) fn put(
        &mut self,
        datagram: &mut Vec<u8>,
        content_type: u8,
        sealed: bool,
        body: &[u8],
    ) {
        let next = self.next[usize::from(sealed)];
        if next > MAX_SEQUENCE {
            return;
        }
        let mut number = next.to_be_bytes();
        number[1] = u8::from(sealed);
        let start = datagram.len();
        datagram.push(content_type);
        datagram.extend_from_slice(&VERSION);
        datagram.extend_from_slice(&number);
        let len = body.len() + if sealed { SEALED_OVERHEAD } else { 0 };
        datagram.extend_from_slice(&(len as u16).to_be_bytes());
        if sealed {
            datagram.extend_from_slice(&number);
            datagram.extend_from_slice(body);
            let aad = Aad::from(additional_data(number, content_type, body.len()));
            let content = &mut datagram[start + HEADER_LEN + EXPLICIT_NONCE_LEN..];
            let tag = self.cipher.as_ref().and_then(|cipher| {
                cipher.key.seal_in_place_separate_tag(cipher.nonce(number), aad, content).ok()
            });
            let Some(tag) = tag else {
                datagram.truncate(start);
                return;
            };
            datagram.extend_from_slice(tag.as_ref());
        } else {
            datagram.extend_from_slice(body);
        }
        self.next[usize::from(sealed)] += 1;
    }
}

/// Opens the records of epoch 1, each once (RFC 6347 section 4.1.2.6).
pub(super) struct Opener {
    cipher: Cipher,
    newest: u64,
    /// Bit n is set if the record n before the newest was opened.
    seen: u64,
}

impl Opener {
    pub(super) fn new(cipher: Cipher) -> Self {
        Self { cipher, newest: 0, seen: 0 }
    }

    /// The content of a record, if it is authentic and was not opened before.
    pub(super) fn open(&mut self, record: &Record<'_>) -> Option<Vec<u8>> {
        let sequence = u64::from_be_bytes(record.number) & MAX_SEQUENCE;
        let behind = self.newest.saturating_sub(sequence);
        if sequence <= self.newest && (behind >= 64 || self.seen >> behind & 1 == 1) {
            return None;
        }
        let content = self.cipher.open(record)?;
        if sequence > self.newest {
            let ahead = sequence - self.newest;
            self.seen = if ahead < 64 { self.seen << ahead } else { 0 } | 1;
            self.newest = sequence;
        } else {
            self.seen |= 1 << behind;
        }
        Some(content)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::aead::{AES_128_GCM, UnboundKey};

    use super::*;

    fn cipher() -> Cipher {
        let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).unwrap();
        Cipher::new(LessSafeKey::new(key), [1, 2, 3, 4])
    }

    fn sealed(count: usize) -> Vec<Vec<u8>> {
        let mut writer = Writer::default();
        writer.seal_with(cipher());
        let mut seal = |number: usize| {
            let mut datagram = Vec::new();
            writer.put(&mut datagram, APPLICATION_DATA, true, &[number as u8]);
            datagram
        };
        (0..count).map(&mut seal).collect()
    }

    fn open(opener: &mut Opener, datagram: &[u8]) -> Option<Vec<u8>> {
        opener.open(&records(datagram).next()?)
    }

    #[test]
    fn a_record_opens_once_and_not_when_it_is_older_than_the_window() {
        let datagrams = sealed(100);
        let mut opener = Opener::new(cipher());
        for number in [0, 1, 5, 3, 99, 36, 98] {
            assert_eq!(open(&mut opener, &datagrams[number]), Some(vec![number as u8]));
        }
        for number in [0, 1, 5, 3, 99, 36, 98, 35, 2] {
            assert_eq!(open(&mut opener, &datagrams[number]), None, "record {number}");
        }
    }

    #[test]
    fn a_changed_record_is_refused_and_changes_no_state() {
        let datagrams = sealed(2);
        let mut opener = Opener::new(cipher());
        for at in (0..datagrams[1].len()).filter(|at| !(1..3).contains(at)) {
            let mut forged = datagrams[1].clone();
            forged[at] ^= 1;
            assert_eq!(open(&mut opener, &forged), None, "byte {at}");
        }
        assert_eq!(open(&mut opener, &datagrams[0]), Some(vec![0]));
        assert_eq!(open(&mut opener, &datagrams[1]), Some(vec![1]));
    }

    #[test]
    fn nothing_is_sealed_without_a_key_or_past_the_last_number() {
        let mut writer = Writer::default();
        let mut datagram = vec![1];
        writer.put(&mut datagram, ALERT, true, b"x");
        assert_eq!(datagram, [1]);
        writer.next[0] = MAX_SEQUENCE;
        writer.put(&mut datagram, ALERT, false, b"x");
        assert_eq!(datagram.len(), 1 + HEADER_LEN + 1);
        writer.put(&mut datagram, ALERT, false, b"x");
        assert_eq!(datagram.len(), 1 + HEADER_LEN + 1);
    }
}
