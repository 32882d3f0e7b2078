//! Numbers as exact decimals.

use std::fmt;

/// The exact value of a JSON number. Equal values are equal, in whatever notation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    is_negative: bool,
    /// Without zeros at either end; empty for zero.
    digits: String,
    /// The power of ten of the last digit.
    exponent: i64,
}

impl Decimal {
    /// Reads a JSON number. Returns `None` if the exponent exceeds 64 bits.
    pub fn parse(text: &str) -> Option<Self> {
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let all = all.trim_start_matches('0');
        let digits = all.trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self { is_negative: false, digits: String::new(), exponent: 0 });
        }
        let shift = i64::try_from(all.len() - digits.len()).ok()?;
        let exponent = exponent.parse::<i64>().ok()?;
        let exponent =
            exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(shift)?;
        Some(Self { is_negative, digits: digits.to_owned(), exponent })
    }

    /// Returns the value as a whole number, if it is one of at most 20 digits.
    pub fn to_integer(&self) -> Option<i128> {
        const MAX_DIGITS: usize = 20;
        let zeros = usize::try_from(self.exponent).ok().filter(|zeros| *zeros < MAX_DIGITS)?;
        if self.digits.len() + zeros > MAX_DIGITS {
            return None;
        }
        let digits = format!("{}{}", self.digits, "0".repeat(zeros));
        let value: i128 = if self.digits.is_empty() { 0 } else { digits.parse().ok()? };
        Some(if self.is_negative { -value } else { value })
    }

    /// Returns the one notation of this value: that of `serde_json` if it is exact.
    ///
    /// So the notation is what earlier releases wrote for a number, unless they changed its
    /// value.
    pub fn canonical(&self) -> String {
        if let Some(integer) = self.to_integer()
            && (i64::try_from(integer).is_ok() || u64::try_from(integer).is_ok())
        {
            return integer.to_string();
        }
        let exact = self.to_string();
        let float = exact.parse::<f64>().ok().filter(|float| float.is_finite());
        let shortest = float.and_then(|float| serde_json::to_string(&float).ok());
        shortest.filter(|text| Self::parse(text).as_ref() == Some(self)).unwrap_or(exact)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_negative { "-" } else { "" };
        let digits = if self.digits.is_empty() { "0" } else { &self.digits };
        write!(f, "{sign}{digits}e{}", self.exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        Decimal::parse(text).expect(text).canonical()
    }

    #[test]
    fn notation_does_not_matter() {
        for (expected, texts) in [
            ("0", &["0", "-0", "0.0", "-0.000", "0e9", "0E-5", "0e99999999999999999999"][..]),
            ("5", &["5", "5.0", "5e0", "50e-1", "0.5E+1", "500.00e-2"]),
            ("1.5", &["1.5", "1.50", "15e-1", "0.15e1"]),
            ("-1000", &["-1000", "-1e3", "-1.0E+3", "-0.1e4"]),
            ("0.1", &["0.1", "1e-1", "0.100"]),
            ("1e+21", &["1e21", "1000000000000000000000", "10.0e20"]),
            ("18446744073709551615", &["18446744073709551615", "1844674407370955161.5e1"]),
            ("1000000000000000000001e0", &["1000000000000000000001"]),
            ("10000000000000000001e-20", &["0.10000000000000000001"]),
            ("1e-400", &["1e-400", "0.1e-399"]),
        ] {
            for text in texts {
                assert_eq!(canonical(text), expected, "{text}");
            }
        }
        assert_eq!(Decimal::parse("1e99999999999999999999"), None);
    }

    #[test]
    fn only_whole_numbers_are_integers() {
        let integer = |text: &str| Decimal::parse(text).expect(text).to_integer();
        assert_eq!(integer("-12e2"), Some(-1200));
        assert_eq!(integer("0.0"), Some(0));
        for text in ["5.00000000000000000000001", "1e999", "1e-999", "0.5"] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn canonical_keeps_the_value(text in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?") {
            let value = Decimal::parse(&text).expect("a number");
            proptest::prop_assert_eq!(Decimal::parse(&value.canonical()), Some(value));
        }

        #[test]
        fn plain_numbers_are_written_as_before(number in proptest::prelude::any::<i64>(), float in proptest::num::f64::NORMAL) {
            proptest::prop_assert_eq!(canonical(&number.to_string()), number.to_string());
            let text = serde_json::to_string(&float).expect("a number");
            if float.fract() != 0.0 {
                proptest::prop_assert_eq!(canonical(&text), text);
            }
        }
    }
}
