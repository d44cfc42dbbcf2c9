//! Sizes, rates and times as operators write them: `"64KiB"`, `"100/s burst 500"`, `"1h 30m"`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

/// Why a unit could not be read; the text says what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitError(String);

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnitError {}

/// A number of bytes, written with a binary (`KiB`, `MiB`, `GiB`) or decimal (`KB`, `MB`, `GB`) unit or `B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

const BYTE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// This many bytes.
    pub const fn bytes(count: u64) -> Self {
        Self(count)
    }

    /// This many times 1024 bytes.
    pub const fn kib(count: u32) -> Self {
        Self((count as u64) << 10)
    }

    /// This many times 1024 KiB.
    pub const fn mib(count: u32) -> Self {
        Self((count as u64) << 20)
    }

    /// The number of bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError(format!("`{text}` is not a size: write a whole number and a unit, such as \"64KiB\""));
        let (digits, factor) = BYTE_UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), *factor)))
            .ok_or_else(wrong)?;
        let count = whole_number(digits).ok_or_else(wrong)?;
        count.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = BYTE_UNITS
            .into_iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor))
            .unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0.checked_div(factor).unwrap_or(self.0))
    }
}

/// Events per period with a burst: `"100/s burst 500"`, `"6/m"`. Without `burst` the burst is the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Events that come back in every `period`.
    pub count: NonZeroU32,
    /// One second, one minute or one hour.
    pub period: Duration,
    /// Events that may come at once.
    pub burst: NonZeroU32,
}

/// Bytes per second with a burst: `"256KiB/s burst 1MiB"`. Without `burst` the burst is one second's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ByteRate {
    /// Bytes that come back every second; never zero.
    pub per_second: ByteSize,
    /// Bytes that may come at once; never zero.
    pub burst: ByteSize,
}

fn split_burst(text: &str) -> (&str, Option<&str>) {
    match text.split_once(" burst ") {
        Some((rate, burst)) => (rate.trim(), Some(burst.trim())),
        None => (text.trim(), None),
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError(format!("`{text}` is not a rate: write \"100/s burst 500\" (periods: s, m, h)"));
        let (rate, burst) = split_burst(text);
        let (count, period) = rate.split_once('/').ok_or_else(wrong)?;
        let period = Duration::from_secs(match period {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(wrong()),
        });
        let number = |digits: &str| {
            whole_number(digits).and_then(|n| u32::try_from(n).ok()).and_then(NonZeroU32::new).ok_or_else(wrong)
        };
        let count = number(count)?;
        Ok(Self { count, period, burst: burst.map_or(Ok(count), number)? })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = match self.period.as_secs() {
            60 => "m",
            3600 => "h",
            _ => "s",
        };
        write!(f, "{}/{period} burst {}", self.count, self.burst)
    }
}

impl FromStr for ByteRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError(format!("`{text}` is not a byte rate: write \"256KiB/s burst 1MiB\""));
        let (rate, burst) = split_burst(text);
        let size = |text: &str| text.parse::<ByteSize>().ok().filter(|size| size.as_u64() > 0).ok_or_else(wrong);
        let per_second = size(rate.strip_suffix("/s").ok_or_else(wrong)?)?;
        Ok(Self { per_second, burst: burst.map_or(Ok(per_second), size)? })
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s burst {}", self.per_second, self.burst)
    }
}

/// Reads a duration as people say it: `"30s"`, `"1m 30s"`, `"12h"`. A negative one is an error.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let wrong = || UnitError(format!("`{text}` is not a duration: write it as \"30s\", \"1m 30s\" or \"12h\""));
    let signed: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

/// Writes a duration as [`parse_duration`] reads it.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [("h", seconds / 3600), ("m", seconds / 60 % 60), ("s", seconds % 60)];
    let mut words: Vec<String> =
        parts.iter().filter(|(_, count)| *count > 0).map(|(unit, count)| format!("{count}{unit}")).collect();
    if duration.subsec_millis() > 0 {
        words.push(format!("{}ms", duration.subsec_millis()));
    }
    if words.is_empty() { String::from("0s") } else { words.join(" ") }
}

fn whole_number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Wall-clock time in whole seconds since 1970-01-01T00:00:00Z, as tokens carry it (RFC 7519 section 2, NumericDate).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub u64);

impl UnixSeconds {
    /// This time and `span` later, or the end of time.
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_secs()))
    }

    /// How long it is from `earlier` until this time; zero where `earlier` is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        let cases = [("0B", 0), ("64KiB", 65_536), ("16 MiB", 16 << 20), ("5KB", 5_000), ("2GiB", 2 << 30)];
        for (text, bytes) in cases {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.as_u64(), bytes, "{text}");
            assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size), "{text}");
        }
        for text in ["", "64", "KiB", "-1KiB", "1.5MiB", "64kib", "18446744073709551615GiB", "+1B"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn rates_read_and_print() {
        let rate: Rate = "100/s burst 500".parse().unwrap();
        assert_eq!((rate.count.get(), rate.period, rate.burst.get()), (100, Duration::from_secs(1), 500));
        let slow: Rate = "6/m".parse().unwrap();
        assert_eq!((slow.count.get(), slow.period, slow.burst.get()), (6, Duration::from_secs(60), 6));
        assert_eq!(rate.to_string(), "100/s burst 500");
        for text in ["", "100", "0/s", "1/s burst 0", "1/d", "1/s  burst", "/s", "1.5/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        let bytes: ByteRate = "256KiB/s burst 1MiB".parse().unwrap();
        assert_eq!((bytes.per_second, bytes.burst), (ByteSize::kib(256), ByteSize::mib(1)));
        assert_eq!(bytes.to_string(), "256KiB/s burst 1MiB");
        for text in ["256KiB", "0B/s", "1KiB/m", "1KiB/s burst 0B"] {
            assert!(text.parse::<ByteRate>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_read_and_print() {
        let cases = [("30s", 30, "30s"), ("1m 30s", 90, "1m 30s"), ("12h", 43_200, "12h"), ("24h", 86_400, "24h")];
        for (text, seconds, printed) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
            assert_eq!(format_duration(Duration::from_secs(seconds)), printed);
        }
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for text in ["", "30", "-5s", "5 parsecs"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
