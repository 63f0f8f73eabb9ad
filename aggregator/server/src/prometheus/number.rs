//! Numbers and times as Prometheus writes them in JSON.

use std::fmt::Write;

/// Writes a value as Prometheus does (Go's `strconv.FormatFloat(v, 'f' or 'e', -1, 64)`): the shortest decimal that reads
/// back the same, with an exponent only beyond 1e-6 and 1e21, and `NaN`, `+Inf`, `-Inf`.
pub(crate) fn push_value(out: &mut String, value: f64) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) {
        // Rust writes 1e-7 and 1e21 where Go writes 1e-07 and 1e+21.
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(rest) => ('-', rest),
            None => ('+', exponent),
        };
        write!(out, "{digits}e{sign}{exponent:0>2}").expect("writing to memory cannot fail");
    } else {
        write!(out, "{value}").expect("writing to memory cannot fail");
    }
}

/// Writes a time in seconds as Prometheus does: three digits of milliseconds, or none at a whole second.
pub(crate) fn push_time(out: &mut String, time_ms: i64) {
    let (sign, ms) = (if time_ms < 0 { "-" } else { "" }, time_ms.unsigned_abs());
    write!(out, "{sign}{}", ms / 1000).expect("writing to memory cannot fail");
    if ms % 1000 != 0 {
        write!(out, ".{:03}", ms % 1000).expect("writing to memory cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(v: f64) -> String {
        let mut out = String::new();
        push_value(&mut out, v);
        out
    }

    fn time(ms: i64) -> String {
        let mut out = String::new();
        push_time(&mut out, ms);
        out
    }

    #[test]
    fn values_look_as_prometheus_prints_them() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (123_456_789_012.0, "123456789012"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-2.5e30, "-2.5e+30"),
            (1e-6, "0.000001"),
            (1e-7, "1e-07"),
            (1.5e-10, "1.5e-10"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (v, text) in cases {
            assert_eq!(value(v), text);
        }
    }

    #[test]
    fn times_look_as_prometheus_prints_them() {
        let cases =
            [(0, "0"), (1_435_781_451_781, "1435781451.781"), (1500, "1.500"), (1_002, "1.002"), (-1, "-0.001")];
        for (ms, text) in cases {
            assert_eq!(time(ms), text);
        }
    }

    proptest! {
        #[test]
        fn a_value_reads_back(bits: u64) {
            let v = f64::from_bits(bits);
            let back: f64 = value(v).parse().expect("a number");
            prop_assert!(back == v || (v.is_nan() && back.is_nan()));
        }
    }
}
