//! Quantities as people write them: `30s`, `2m`, `1.5%`, `500k`. Parsed for flags and files alike.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de};

/// A time: `250us`, `20ms`, `1.5s`, `30` (seconds), `2m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct Time(pub Duration);

/// A share: `0.1%`, or `0.001`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Share(pub f64);

/// Bits per second: `500k`, `2.5M`, `64000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct Bitrate(pub u64);

/// A number of packets, or the bounds of one: `100`, `40-150`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The least, in it.
    pub low: u16,
    /// The most, in it.
    pub high: u16,
}

impl Span {
    /// The mean where all of them are as likely.
    pub(crate) fn mean(self) -> f64 {
        (f64::from(self.low) + f64::from(self.high)) / 2.0
    }

    /// The number at a share (0 up to 1, without 1) of the way from the least to the most.
    pub(crate) fn at(self, share: f64) -> u16 {
        let numbers = f64::from(self.high.saturating_sub(self.low)) + 1.0;
        self.low + ((share * numbers) as u16).min(self.high.saturating_sub(self.low))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.low == self.high {
            true => write!(f, "{}", self.low),
            false => write!(f, "{}-{}", self.low, self.high),
        }
    }
}

/// A text that is no such quantity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitError {
    text: String,
    allowed: &'static str,
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not allowed: {}", self.text, self.allowed)
    }
}

impl std::error::Error for UnitError {}

/// Number and unit, apart.
pub(crate) fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text.get(..end)?.parse().ok()?;
    Some((number, text.get(end..)?.trim()))
}

/// Seconds in a unit of time.
pub(crate) fn seconds_of(unit: &str) -> Option<f64> {
    Some(match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        _ => return None,
    })
}

impl FromStr for Time {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let allowed = "a time such as 500ms, 30s, 20m or 1h, at most 30 days";
        let seconds = split(text).and_then(|(n, unit)| Some(n * seconds_of(unit)?));
        seconds
            .filter(|seconds| *seconds <= 30.0 * 86_400.0)
            .map(|seconds| Time(Duration::from_secs_f64(seconds)))
            .ok_or_else(|| UnitError { text: text.to_owned(), allowed })
    }
}

impl FromStr for Share {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let allowed = "a share such as 0.5% or 0.005, from 0 to 1";
        let share = split(text).and_then(|(n, unit)| match unit {
            "%" => Some(n / 100.0),
            "" => Some(n),
            _ => None,
        });
        share
            .filter(|share| (0.0..=1.0).contains(share))
            .map(Share)
            .ok_or_else(|| UnitError { text: text.to_owned(), allowed })
    }
}

impl FromStr for Bitrate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let allowed = "bits per second such as 64000, 500k or 2.5M, at most 100G";
        let bits = split(text).and_then(|(n, unit)| {
            let factor = match unit {
                "" => 1.0,
                "k" | "K" => 1e3,
                "m" | "M" => 1e6,
                "g" | "G" => 1e9,
                _ => return None,
            };
            Some(n * factor)
        });
        bits.filter(|bits| *bits <= 1e11)
            .map(|bits| Bitrate(bits as u64))
            .ok_or_else(|| UnitError { text: text.to_owned(), allowed })
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let allowed = "a number such as 100, or two such as 40-150, the lower one first";
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.trim().parse::<u16>().ok();
        number(low)
            .zip(number(high))
            .filter(|(low, high)| low <= high)
            .map(|(low, high)| Span { low, high })
            .ok_or_else(|| UnitError { text: text.to_owned(), allowed })
    }
}

macro_rules! from_file {
    ($($name:ident),*) => {
        $(impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                /// Text, or a plain number.
                #[derive(Deserialize)]
                #[serde(untagged)]
                enum Written {
                    Text(String),
                    Number(f64),
                }
                let text = match Written::deserialize(deserializer)? {
                    Written::Text(text) => text,
                    Written::Number(number) => number.to_string(),
                };
                text.parse().map_err(de::Error::custom)
            }
        })*
    };
}

from_file!(Time, Share, Bitrate, Span);

/// A time for people: three digits and a unit.
pub(crate) fn show_time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 0.01 => format!("{:.2} ms", s * 1e3),
        s if s < 0.1 => format!("{:.1} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 100.0 => format!("{s:.2} s"),
        s => format!("{s:.0} s"),
    }
}

/// A number for people: thousands apart.
pub(crate) fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Bits per second for people.
pub(crate) fn show_bitrate(bits: f64) -> String {
    match bits {
        b if b >= 1e9 => format!("{:.2} Gbit/s", b / 1e9),
        b if b >= 1e6 => format!("{:.1} Mbit/s", b / 1e6),
        b => format!("{:.0} kbit/s", b / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_people_write_them() {
        let time = |text: &str| text.parse::<Time>().map(|t| t.0.as_micros());
        assert_eq!(time("250us"), Ok(250));
        assert_eq!(time("1.5s"), Ok(1_500_000));
        assert_eq!(time("30"), Ok(30_000_000));
        assert_eq!(time("2 m"), Ok(120_000_000));
        assert_eq!("0.1%".parse(), Ok(Share(0.001)));
        assert_eq!("0.25".parse(), Ok(Share(0.25)));
        assert_eq!("2.5M".parse(), Ok(Bitrate(2_500_000)));
        for wrong in ["", "s", "-1s", "1 day", "1e9h", "99999h", "1.2.3s"] {
            assert!(wrong.parse::<Time>().is_err(), "{wrong}");
        }
        assert_eq!("40-150".parse(), Ok(Span { low: 40, high: 150 }));
        assert_eq!("100".parse(), Ok(Span { low: 100, high: 100 }));
        for wrong in ["", "-5", "5-", "150-40", "a-b", "1.5", "70000"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
        let span = Span { low: 40, high: 150 };
        assert_eq!((span.at(0.0), span.at(0.999_999), span.mean()), (40, 150, 95.0));
        assert_eq!(span.to_string().parse(), Ok(span));
        assert!("101%".parse::<Share>().is_err());
        assert!("5x".parse::<Bitrate>().unwrap_err().to_string().contains("500k"));
    }

    #[test]
    fn numbers_are_shown_short() {
        assert_eq!(show_count(1_234_567), "1,234,567");
        assert_eq!(show_count(12), "12");
        assert_eq!(show_time(Duration::from_micros(4_321)), "4.32 ms");
        assert_eq!(show_time(Duration::from_micros(43_210)), "43.2 ms");
        assert_eq!(show_time(Duration::from_millis(2_500)), "2.50 s");
        assert_eq!(show_bitrate(2_400_000.0), "2.4 Mbit/s");
    }
}
