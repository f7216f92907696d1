//! Numbers, durations, sizes, rates, shares and dates.
//!
//! Imports `document` and `model`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Form, Wrong, parsed, str_of};
use crate::config::document::Value;
use crate::config::model::{Rate, TierRate};

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Longer durations are slips, and would overflow the clock.
const LONGEST: u64 = 365 * DAY;

/// A duration, `"0s"` to `"365d"`.
pub(in crate::config) fn duration(value: &Value) -> Result<Duration, Wrong> {
    const EXPECTED: &str = "a duration such as \"250ms\", \"30s\", \"5m\", \"1h\" or \"1d\", of 365 days at most";
    parsed(value, EXPECTED, |text| {
        let (count, unit) = number_and_unit(text)?;
        let unit = match unit {
            "ms" => 1,
            "s" => SECOND,
            "m" => MINUTE,
            "h" => HOUR,
            "d" => DAY,
            _ => return None,
        };
        let milliseconds = count.checked_mul(unit).filter(|ms| *ms <= LONGEST)?;
        Some(Duration::from_millis(milliseconds))
    })
    .map_err(|wrong| wrong.form(Form::Pattern(r"\d+(ms|s|m|h|d)")))
}

/// A duration where none makes no sense.
pub(in crate::config) fn some_duration(value: &Value) -> Result<Duration, Wrong> {
    let duration = duration(value)?;
    if duration.is_zero() {
        return Err(Wrong::expected(
            "a duration of \"1ms\" to \"365d\"; zero would leave no time at all",
        ));
    }
    Ok(duration)
}

/// A duration that may be left unset with `""`.
pub(in crate::config) fn duration_or_unset(value: &Value) -> Result<Option<Duration>, Wrong> {
    match str_of(value) {
        Some("") => Ok(None),
        _ => duration(value).map(Some),
    }
}

/// Bytes: binary units (`KiB`) by 1024, decimal ones (`KB`) by 1000.
pub(in crate::config) fn size(value: &Value) -> Result<u64, Wrong> {
    const EXPECTED: &str = "a size such as \"0B\", \"64KiB\", \"512KB\", \"1MiB\" or \"1GiB\"";
    parsed(value, EXPECTED, |text| {
        let (count, unit) = number_and_unit(text)?;
        let unit = match unit {
            "B" => 1,
            "KB" => 1_000,
            "KiB" => 1 << 10,
            "MB" => 1_000_000,
            "MiB" => 1 << 20,
            "GB" => 1_000_000_000,
            "GiB" => 1 << 30,
            "TB" => 1_000_000_000_000,
            "TiB" => 1 << 40,
            _ => return None,
        };
        count.checked_mul(unit)
    })
    .map_err(|wrong| wrong.form(Form::Pattern(r"\d+([KMGT]i?)?B")))
}

/// A size of a request head: 1 KiB to 1 MiB.
pub(in crate::config) fn head_size(value: &Value) -> Result<usize, Wrong> {
    let bytes = size(value)?;
    let fitting = usize::try_from(bytes)
        .ok()
        .filter(|bytes| (1 << 10..=1 << 20).contains(bytes));
    fitting.ok_or_else(|| Wrong::expected("a size from \"1KiB\" to \"1MiB\""))
}

/// A rate; its count is 1 at least.
pub(in crate::config) fn rate(value: &Value) -> Result<Rate, Wrong> {
    const EXPECTED: &str = "a rate such as \"100/s\", \"5/min\", \"3/hour\" or \"10000/day\", of 1 to 4294967295";
    parsed(value, EXPECTED, |text| {
        let (count, per) = text.split_once('/')?;
        let per = match per {
            "s" | "sec" | "second" => SECOND,
            "m" | "min" | "minute" => MINUTE,
            "h" | "hour" => HOUR,
            "d" | "day" => DAY,
            _ => return None,
        };
        Some(Rate {
            count: digits(count)?.try_into().ok().filter(|count| *count > 0)?,
            per: Duration::from_millis(per),
        })
    })
    .map_err(|wrong| wrong.form(Form::Pattern(r"\d+/(s|sec|second|m|min|minute|h|hour|d|day)")))
}

/// A rate, or `"unlimited"`.
pub(in crate::config) fn tier_rate(value: &Value) -> Result<TierRate, Wrong> {
    match str_of(value) {
        Some("unlimited") => Ok(TierRate::Unlimited),
        _ => rate(value)
            .map(TierRate::Rate)
            .map_err(|_| Wrong::expected("a rate such as \"60/min\", or \"unlimited\"")),
    }
}

/// A whole number within a range.
pub(in crate::config) fn integer<T: TryFrom<i64>>(range: RangeInclusive<i64>) -> impl Fn(&Value) -> Result<T, Wrong> {
    move |value| {
        let integer = match value {
            Value::Integer(integer) => Some(*integer),
            Value::Outside(text) => text.parse().ok(),
            _ => None,
        };
        let fitting = integer.filter(|integer| range.contains(integer));
        fitting.and_then(|integer| T::try_from(integer).ok()).ok_or_else(|| {
            let (least, most) = (*range.start(), *range.end());
            Wrong::expected(format!("a whole number from {least} to {most}")).form(Form::Integer(least, most))
        })
    }
}

/// Worker threads: a number, or `"auto"`.
pub(in crate::config) fn workers(value: &Value) -> Result<Option<usize>, Wrong> {
    match str_of(value) {
        Some("auto") => Ok(None),
        _ => integer(1..=1024)(value)
            .map(Some)
            .map_err(|_| Wrong::expected("\"auto\", or a whole number from 1 to 1024")),
    }
}

/// A number within a range.
pub(in crate::config) fn number(range: RangeInclusive<f64>) -> impl Fn(&Value) -> Result<f64, Wrong> {
    move |value| {
        let number = match value {
            Value::Float(float) => Some(*float),
            // Exact up to 2^53, far beyond every range.
            #[allow(clippy::cast_precision_loss)]
            Value::Integer(integer) => Some(*integer as f64),
            Value::Outside(text) => text.parse().ok(),
            _ => None,
        };
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            let expected = format!("a number from {} to {}", range.start(), range.end());
            Wrong::expected(expected).form(Form::Number)
        })
    }
}

/// A moment, in seconds since the Unix epoch.
pub(in crate::config) fn moment(value: &Value) -> Result<i64, Wrong> {
    let text = match value {
        Value::Datetime(datetime) => Some(datetime.to_string()),
        other => str_of(other).map(str::to_owned),
    };
    // A date without an offset is a moment nowhere; jiff refuses it.
    let moment = text.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    moment
        .map(jiff::Timestamp::as_second)
        .ok_or_else(|| Wrong::expected("a date and time with its offset, such as 2027-06-30T00:00:00Z"))
}

/// `30s` → 30 and `s`.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit)?;
    Some((digits(number)?, unit))
}

/// Digits only: no sign, no separator.
fn digits(text: &str) -> Option<u64> {
    let all = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}
