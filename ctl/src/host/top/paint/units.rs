//! Numbers as people read them. What is not known is a dash, which is not zero.

/// What is not known.
pub(super) const DASH: &str = "-";

/// Bytes, in three digits and a unit.
pub(super) fn bytes(value: Option<f64>) -> String {
    scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

/// Bytes a second.
pub(super) fn byte_rate(value: Option<f64>) -> String {
    value.map_or_else(|| DASH.into(), |value| format!("{}/s", bytes(Some(value))))
}

/// A number of things a second.
pub(super) fn rate(value: Option<f64>) -> String {
    scaled(value, 1000.0, &["", "k", "M", "G"]).trim_end().to_owned()
}

/// Hertz.
pub(super) fn hertz(value: Option<f64>) -> String {
    scaled(value, 1000.0, &["Hz", "kHz", "MHz", "GHz"])
}

/// A share of one, in hundredths.
pub(super) fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| DASH.into(), |share| format!("{:.0} %", share * 100.0))
}

/// The same for shares that matter when they are small.
pub(super) fn fine_percent(value: Option<f64>) -> String {
    value.map_or_else(|| DASH.into(), |share| format!("{:.1} %", share * 100.0))
}

/// Degrees.
pub(super) fn celsius(value: Option<f64>) -> String {
    value.map_or_else(|| DASH.into(), |degrees| format!("{degrees:.0} °C"))
}

/// Power.
pub(super) fn watts(value: Option<f64>) -> String {
    value.map_or_else(
        || DASH.into(),
        |watts| if watts < 10.0 { format!("{watts:.1} W") } else { format!("{watts:.0} W") },
    )
}

/// Seconds of a request.
pub(super) fn millis(value: Option<f64>) -> String {
    let text = |s: f64| match s {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 0.01 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} ms", s * 1e3),
    };
    value.map_or_else(|| DASH.into(), text)
}

/// A plain number with two places.
pub(super) fn two_places(value: Option<f64>) -> String {
    value.map_or_else(|| DASH.into(), |value| format!("{value:.2}"))
}

fn scaled(value: Option<f64>, step: f64, units: &[&str]) -> String {
    let Some(mut value) = value else { return DASH.into() };
    let mut unit = 0;
    while value.abs() >= step * 0.9995 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let places = usize::from(unit > 0 && value.abs() < 99.95);
    format!("{value:.places$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_what_is_not_known_is_no_zero() {
        let told = [0.0, 999.0, 1023.9, 1536.0, 104_857_600.0, 1e30].map(|value| bytes(Some(value)));
        assert_eq!(told, ["0 B", "999 B", "1.0 KiB", "1.5 KiB", "100 MiB", "888178419700125 PiB"]);
        assert_eq!([byte_rate(None), rate(None), percent(None), celsius(None), watts(None), millis(None)], ["-"; 6]);
        assert_eq!([rate(Some(12.0)), rate(Some(12_345.0))], ["12", "12.3 k"]);
        assert_eq!([percent(Some(0.456)), fine_percent(Some(0.004)), hertz(Some(2.4e9))], ["46 %", "0.4 %", "2.4 GHz"]);
        assert_eq!(
            [watts(Some(3.21)), watts(Some(312.4)), millis(Some(0.0012)), millis(Some(9e-6))],
            ["3.2 W", "312 W", "1.2 ms", "9 µs"]
        );
    }
}
