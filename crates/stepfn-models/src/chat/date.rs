//! The date, as templates write it: `strftime_now` of transformers, in the C locale.

use std::time::{SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
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
/// Longest result, in bytes.
const LONGEST: usize = 1000;

/// A moment as people write it, in UTC.
struct Date {
    year: i64,
    /// From 0.
    month: usize,
    day: i64,
    /// Of the year, from 0.
    day_of_year: i64,
    /// From Sunday.
    weekday: usize,
    hour: i64,
    minute: i64,
    second: i64,
    micros: u32,
}

impl Date {
    fn new(time: SystemTime) -> Self {
        let (seconds, micros) = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX / 2), after.subsec_micros()),
            // Before 1970, nobody asks for parts of a second.
            Err(before) => (-i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX / 2), 0),
        };
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years of this count start in March, so that the leap day is the last of its year.
        let from_march = days + 719_468;
        let (era, of_era) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 2 } else { shifted - 10 };
        let year = year_of_era + era * 400 + i64::from(month < 2);
        let leap = i64::from((year % 4 == 0 && year % 100 != 0) || year % 400 == 0);
        let day_of_year = if month < 2 { of_year - 306 } else { of_year + 59 + leap };
        Self {
            year,
            month: usize::try_from(month).unwrap_or_default(),
            day: of_year - (153 * shifted + 2) / 5 + 1,
            day_of_year,
            weekday: usize::try_from((days + 4).rem_euclid(7)).unwrap_or_default(),
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            micros,
        }
    }
}

/// A date in a format of `strftime`, in UTC.
///
/// # Errors
/// What is wrong with the format.
pub(super) fn strftime(format: &str, time: SystemTime) -> Result<String, String> {
    let date = Date::new(time);
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut code = rest.next();
        let bare = code == Some('-');
        if bare {
            code = rest.next();
        }
        let Some(part) = code.and_then(|code| part(&date, code)) else {
            return Err(format!("strftime_now doesn't know `{format}`"));
        };
        let digits = part.trim_start_matches(['0', ' ']);
        out.push_str(match bare {
            true if digits.is_empty() => "0",
            true => digits,
            false => &part,
        });
        if out.len() > LONGEST {
            return Err("strftime_now: the format is too long".into());
        }
    }
    Ok(out)
}

fn part(date: &Date, code: char) -> Option<String> {
    let [day, month] = [DAYS.get(date.weekday)?, MONTHS.get(date.month)?];
    let hour_12 = (date.hour + 11) % 12 + 1;
    let whole = |format: &str| -> Option<String> {
        format.chars().map(|c| if c.is_alphabetic() { part(date, c) } else { Some(c.into()) }).collect()
    };
    Some(match code {
        'Y' => date.year.to_string(),
        'y' => format!("{:02}", date.year.rem_euclid(100)),
        'C' => format!("{:02}", date.year.div_euclid(100)),
        'm' => format!("{:02}", date.month + 1),
        'B' => (*month).to_owned(),
        'b' | 'h' => month.get(..3)?.to_owned(),
        'd' => format!("{:02}", date.day),
        'e' => format!("{:2}", date.day),
        'j' => format!("{:03}", date.day_of_year + 1),
        'A' => (*day).to_owned(),
        'a' => day.get(..3)?.to_owned(),
        'w' => date.weekday.to_string(),
        'u' => (if date.weekday == 0 { 7 } else { date.weekday }).to_string(),
        'H' => format!("{:02}", date.hour),
        'I' => format!("{hour_12:02}"),
        'M' => format!("{:02}", date.minute),
        'S' => format!("{:02}", date.second),
        'f' => format!("{:06}", date.micros),
        'p' => (if date.hour < 12 { "AM" } else { "PM" }).to_owned(),
        'F' => whole("Y-m-d")?,
        'T' | 'X' => whole("H:M:S")?,
        'R' => whole("H:M")?,
        'D' | 'x' => whole("m/d/y")?,
        'c' => whole("a b e H:M:S Y")?,
        'Z' | 'z' => String::new(),
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
        '%' => "%".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_written_as_the_c_library_writes_them() {
        let all = "%Y %y %m %B %b %d %e %j %A %a %w %u %H %I %M %S %p %F %T %D %-d/%-m %c %%";
        for (seconds, expected) in [
            (
                0,
                "1970 70 01 January Jan 01  1 001 Thursday Thu 4 4 00 12 00 00 AM 1970-01-01 00:00:00 01/01/70 1/1 Thu Jan  1 00:00:00 1970 %",
            ),
            (
                1_709_210_096,
                "2024 24 02 February Feb 29 29 060 Thursday Thu 4 4 12 12 34 56 PM 2024-02-29 12:34:56 02/29/24 29/2 Thu Feb 29 12:34:56 2024 %",
            ),
            (
                1_735_689_599,
                "2024 24 12 December Dec 31 31 366 Tuesday Tue 2 2 23 11 59 59 PM 2024-12-31 23:59:59 12/31/24 31/12 Tue Dec 31 23:59:59 2024 %",
            ),
            (
                951_868_800,
                "2000 00 03 March Mar 01  1 061 Wednesday Wed 3 3 00 12 00 00 AM 2000-03-01 00:00:00 03/01/00 1/3 Wed Mar  1 00:00:00 2000 %",
            ),
        ] {
            assert_eq!(strftime(all, UNIX_EPOCH + Duration::from_secs(seconds)).as_deref(), Ok(expected));
        }
        assert!(strftime("%Q", UNIX_EPOCH).is_err() && strftime("%", UNIX_EPOCH).is_err());
    }
}
