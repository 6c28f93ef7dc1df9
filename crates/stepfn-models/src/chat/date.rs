//! The date that templates may ask for.

use std::time::{SystemTime, UNIX_EPOCH};

use super::error;
use crate::ModelError;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const DAY: u64 = 86_400;

/// A day and a time of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    year: u32,
    /// From 1.
    month: u32,
    /// From 1.
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

impl Date {
    /// The system's date and time, in UTC.
    pub(super) fn today() -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self::after_epoch(seconds)
    }

    fn after_epoch(seconds: u64) -> Self {
        let (mut days, rest) = (seconds / DAY, seconds % DAY);
        // Whole cycles of the calendar first, so that the loop below is short.
        let cycles = days / 146_097;
        days %= 146_097;
        let mut year = u32::try_from(1970 + 400 * cycles).unwrap_or(9999);
        while days >= days_of_year(year) {
            days -= days_of_year(year);
            year += 1;
        }
        let mut month = 1;
        while days >= u64::from(days_of_month(year, month)) {
            days -= u64::from(days_of_month(year, month));
            month += 1;
        }
        let small = |number: u64| u32::try_from(number).unwrap_or(0);
        let (hour, minute, second) = (small(rest / 3600), small(rest / 60 % 60), small(rest % 60));
        Self { year, month, day: small(days) + 1, hour, minute, second }
    }

    /// Reads `2025-01-31`, `2025-01-31 18:30` or `2025-01-31T18:30:00`.
    pub(super) fn parse(text: &str) -> Result<Self, ModelError> {
        Self::parsed(text).ok_or_else(|| {
            error(format!(
                "`now` must be a date such as `2025-01-31` or `2025-01-31 18:30:00`, not `{}`",
                text.escape_debug()
            ))
        })
    }

    fn parsed(text: &str) -> Option<Self> {
        let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
        let numbers = |text: &str, separator: char| -> Option<Vec<u32>> {
            let digits =
                |part: &str| !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
            text.split(separator).map(|part| digits(part).then(|| part.parse().ok()).flatten()).collect()
        };
        let [year, month, day] = *numbers(date, '-')? else { return None };
        let (hour, minute, second) = match *numbers(time, ':')? {
            [hour, minute] => (hour, minute, 0),
            [hour, minute, second] => (hour, minute, second),
            _ => return None,
        };
        let valid = (1..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_of_month(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        valid.then_some(Self { year, month, day, hour, minute, second })
    }

    fn day_of_year(self) -> u32 {
        (1..self.month).map(|month| days_of_month(self.year, month)).sum::<u32>() + self.day
    }

    /// From 0 for Sunday.
    fn weekday(self) -> u32 {
        let before = self.year - 1;
        (before + before / 4 - before / 100 + before / 400 + self.day_of_year()) % 7
    }

    /// `strftime`, in English. Directives may have a `-` against leading zeros.
    pub(super) fn format(self, format: &str) -> Result<String, String> {
        let mut output = String::new();
        let mut characters = format.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                output.push(character);
                continue;
            }
            let mut directive = characters.next();
            let bare = directive == Some('-');
            if bare {
                directive = characters.next();
            }
            let written = directive.and_then(|directive| self.directive(directive, bare)).ok_or_else(|| {
                let directive = directive.map_or_else(String::new, String::from);
                format!(
                    "strftime_now: `%{}{directive}` in a date's format is not supported",
                    if bare { "-" } else { "" }
                )
            })?;
            output.push_str(&written);
        }
        Ok(output)
    }

    fn directive(self, directive: char, bare: bool) -> Option<String> {
        let padded = |number: u32, width: usize| {
            if bare { number.to_string() } else { format!("{number:0width$}") }
        };
        let hour = (self.hour + 11) % 12 + 1;
        let (month, weekday) = (name(&MONTHS, self.month.wrapping_sub(1)), name(&WEEKDAYS, self.weekday()));
        let weekday_number = self.weekday();
        Some(match directive {
            'Y' => self.year.to_string(),
            'y' => padded(self.year % 100, 2),
            'm' => padded(self.month, 2),
            'd' => padded(self.day, 2),
            'e' if bare => self.day.to_string(),
            'e' => format!("{:2}", self.day),
            'j' => padded(self.day_of_year(), 3),
            'H' => padded(self.hour, 2),
            'I' => padded(hour, 2),
            'M' => padded(self.minute, 2),
            'S' => padded(self.second, 2),
            'f' if !bare => "000000".to_owned(),
            'p' => if self.hour < 12 { "AM" } else { "PM" }.to_owned(),
            'B' => month.to_owned(),
            'b' | 'h' => month.get(..3)?.to_owned(),
            'A' => weekday.to_owned(),
            'a' => weekday.get(..3)?.to_owned(),
            'w' => weekday_number.to_string(),
            'u' => (if weekday_number == 0 { 7 } else { weekday_number }).to_string(),
            'F' => self.format("%Y-%m-%d").ok()?,
            'T' | 'X' => self.format("%H:%M:%S").ok()?,
            'R' => self.format("%H:%M").ok()?,
            'D' | 'x' => self.format("%m/%d/%y").ok()?,
            'c' => self.format("%a %b %e %H:%M:%S %Y").ok()?,
            'z' | 'Z' => String::new(),
            'n' => "\n".to_owned(),
            't' => "\t".to_owned(),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

fn name(names: &[&'static str], at: u32) -> &'static str {
    usize::try_from(at).ok().and_then(|at| names.get(at)).copied().unwrap_or_default()
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_year(year: u32) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_of_month(year: u32, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_735_689_599, "2024-12-31 23:59:59"),
            (16_725_225_600, "2500-01-01 00:00:00"),
        ] {
            assert_eq!(Date::after_epoch(seconds), Date::parsed(date).unwrap(), "{date}");
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "2025",
            "2025-02-29",
            "2025-13-01",
            "2025-00-10",
            "2025-01-01 24:00",
            "2025-01-01T1:2:3:4",
            "+025-01-01",
            "0-1-1",
            "today",
        ] {
            assert_eq!(Date::parsed(text), None, "{text}");
        }
    }
}
