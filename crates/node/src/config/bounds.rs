//! `[media]`, second part: the resources that one participant may use.

use worker::RateLimits;

use super::raw::{ConfigError, Raw, RawConfig};

const MIB: usize = 1 << 20;

/// Limits of the media side.
#[derive(Debug, Clone)]
pub(crate) struct MediaBounds {
    /// Bytes for the packets of all workers; `None`: derived from the machine's memory.
    pub(crate) packet_memory: Option<usize>,
    /// Bytes for the packets of one publisher.
    pub(crate) session_packet_memory: usize,
    /// The rates at which one session may send.
    pub(crate) rates: RateLimits,
}

impl Default for MediaBounds {
    fn default() -> Self {
        Self { packet_memory: None, session_packet_memory: 16 * MIB, rates: RateLimits::default() }
    }
}

impl MediaBounds {
    pub(super) fn resolve(raw: &mut RawConfig) -> Result<Self, ConfigError> {
        let mut bounds = Self::default();
        let allowed = "a size from 8MiB to 1TiB, as in 512MiB or 2GiB";
        bounds.packet_memory = raw.take("media.packet_memory", allowed, |raw| {
            size(raw).filter(|bytes| (8 * MIB..=MIB * MIB).contains(bytes))
        })?;
        let allowed = "a size from 1MiB to 1GiB, as in 16MiB";
        let memory = raw.take("media.session_packet_memory", allowed, |raw| {
            size(raw).filter(|bytes| (MIB..=1_024 * MIB).contains(bytes))
        })?;
        bounds.session_packet_memory = memory.unwrap_or(bounds.session_packet_memory);
        let rates = &mut bounds.rates;
        for (key, rate, max) in [
            ("media.session_bits_per_second", &mut rates.media_bits, 10_000_000_000),
            ("media.session_packets_per_second", &mut rates.media_packets, 1_000_000),
            ("media.session_rtcp_per_second", &mut rates.rtcp_packets, 1_000_000),
            ("media.session_nacks_per_second", &mut rates.nacks, 1_000_000),
        ] {
            let allowed = format!("a whole number from 0 (no limit) to {max}");
            let value = raw.take(key, &allowed, |raw| raw.parse().filter(|n| *n <= max))?;
            *rate = value.unwrap_or(*rate);
        }
        // A room takes no more than these of a member: what is read above them would be lost.
        for (key, rate, min, max) in [
            ("media.session_data_messages_per_second", &mut rates.data_messages, 1, 100),
            ("media.session_data_bits_per_second", &mut rates.data_bits, 8_000, 2_000_000),
        ] {
            let allowed = format!("a whole number from {min} to {max}");
            let fits = |n: &u64| (min..=max).contains(n);
            let value = raw.take(key, &allowed, |raw| raw.parse().filter(fits))?;
            *rate = value.unwrap_or(*rate);
        }
        Ok(bounds)
    }

    /// Sets the limits in the workers' configuration.
    pub(crate) fn apply(&self, workers: &mut worker::Config) {
        workers.packet_memory = self.packet_memory;
        workers.session_packet_memory = self.session_packet_memory;
        workers.rates = self.rates;
    }
}

/// A number of bytes: `64KiB`, `512MiB`, `2GiB`, `1TiB`, or a plain number.
fn size(raw: &Raw) -> Option<usize> {
    let Some(text) = raw.text() else { return raw.parse() };
    let text = text.trim();
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let unit = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
    let (number, shift) = unit.unwrap_or((text, 0));
    number.trim_end().parse::<usize>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let size = |text: &str| size(&Raw::Text(text.into()));
        assert_eq!(size("512MiB"), Some(512 * MIB));
        assert_eq!(size(" 2 GiB "), Some(2_048 * MIB));
        assert_eq!(size("64KiB"), Some(64 << 10));
        assert_eq!(size("1000"), Some(1_000));
        for wrong in ["512MB", "MiB", "-1MiB", "99999999999999999999TiB", "18446744073709551615KiB"]
        {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
